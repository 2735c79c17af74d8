"""Which NVIDIA GPUs a job may use: `python3 -m videomesh.gpus --count 1 -- COMMAND` gives the command a GPU of its own.

Jobs that run side by side on one machine would all take the first GPU. A lock on a file for each GPU, which the kernel
releases however a process ends, keeps them apart, also those of two runs of Snakemake and those in containers.

Python 3.8 and the standard library only: it also runs inside foreign images.
"""

import argparse
import ctypes
import fcntl
import os
import time
from pathlib import Path
from typing import Dict, List, Optional

from videomesh.arguments import at_least
from videomesh.errors import UserError, run

VISIBLE = "CUDA_VISIBLE_DEVICES"
LOCKS = Path("/tmp")  # Apptainer shows it to containers; TMPDIR may be another for each job
WAIT = 1.0  # seconds between looks for a GPU that has become free


def main() -> None:
    args = parse_arguments()
    gpus = list_gpus()
    if args.count > len(gpus) > 0:
        raise UserError(
            f"the job asks for {args.count} GPUs, and {len(gpus)} can be seen here ({VISIBLE} counts); lower its "
            "resource gpu (--set-resources RULE:gpu=1)"
        )
    if args.count == 0:
        os.environ[VISIBLE] = ""
    elif gpus:
        claimed = wait_for(gpus, args.count)
        os.environ[VISIBLE] = ",".join(claimed)
        print(f"this job has GPU {' and '.join(claimed)} of {len(gpus)} to itself", flush=True)
    try:
        os.execvp(args.command[0], args.command)
    except FileNotFoundError:
        raise UserError(f"{args.command[0]}: no such program")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a command with GPUs of its own. Without a GPU, just run it.")
    parser.add_argument("--count", type=at_least(0), required=True, help="GPUs; with 0 the command sees none")
    parser.add_argument("command", nargs="+", help="the command and its arguments, after --")
    return parser.parse_args()


def list_gpus() -> List[str]:
    """Names of the GPUs that programs see, as CUDA_VISIBLE_DEVICES has them: indices, or UUIDs of GPUs and parts."""
    visible = os.environ.get(VISIBLE)
    if visible is None:
        # The kernel's or the container's devices. To ask CUDA would start it, which takes a second.
        return [str(index) for index in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    names = [name.strip() for name in visible.split(",")]
    return names[: names.index("-1")] if "-1" in names else [name for name in names if name]


def count_gpus() -> int:
    """GPUs that CUDA can use here. CUDA_VISIBLE_DEVICES counts."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def wait_for(gpus: List[str], count: int) -> List[str]:
    """So many of the GPUs, for this process alone until it ends. What it becomes by exec keeps them."""
    told = False
    while True:
        locks: Dict[str, int] = {}
        for gpu in gpus:
            lock = try_lock(gpu)
            if lock is not None:
                locks[gpu] = lock
            if len(locks) == count:
                for held in locks.values():
                    os.set_inheritable(held, True)
                return list(locks)
        for held in locks.values():  # all or none: half of them would keep others waiting
            os.close(held)
        if not told:
            print(f"waiting for {count} of {len(gpus)} GPUs, which other jobs have", flush=True)
            told = True
        time.sleep(WAIT)


def try_lock(gpu: str) -> Optional[int]:
    """An open file that holds the lock of the GPU; None while another process has it."""
    job = os.environ.get("SLURM_JOB_ID")  # SLURM counts the GPUs of each of its jobs from 0
    name = f"{job}-{gpu}" if job else gpu
    path = LOCKS / f"videomesh-gpu-{name.replace('/', '-')}.lock"
    # A file of another user in a folder for all cannot be opened with O_CREAT (fs.protected_regular), and need not be.
    lock = os.open(str(path), os.O_RDONLY | (0 if path.exists() else os.O_CREAT), 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


if __name__ == "__main__":
    run(main)
