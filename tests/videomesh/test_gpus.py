"""Jobs side by side on one machine: a GPU for each. No GPU is needed, since names of GPUs are all it takes."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkout import ROOT
from videomesh import gpus

SHOW = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); sys.stdin.read()"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Two GPUs that no other test has."""
    names = [f"GPU-test-{uuid.uuid4()}" for _ in range(2)]
    yield names
    for name in names:
        for lock in gpus.LOCKS.glob(f"videomesh-gpu-*{name}.lock"):
            lock.unlink()


@pytest.fixture
def start() -> Iterator[Start]:
    jobs: list[subprocess.Popen[str]] = []

    def start_job(visible: list[str] | None, count: int, **variables: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible)
        command = [sys.executable, "-m", "videomesh.gpus", "--count", str(count), "--", sys.executable, "-c", SHOW]
        jobs.append(
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return jobs[-1]

    yield start_job
    for job in jobs:
        job.kill()
        job.communicate()


def read_line(job: subprocess.Popen[str]) -> str:
    assert job.stdout
    return job.stdout.readline().strip()


def test_jobs_side_by_side_have_a_gpu_each_and_a_third_waits_for_one(names: list[str], start: Start) -> None:
    first = start(names, 1)
    assert read_line(first) == f"this job has GPU {names[0]} of 2 to itself"
    assert read_line(first) == names[0]
    second = start(names, 1)
    assert read_line(second) == f"this job has GPU {names[1]} of 2 to itself"
    assert read_line(second) == names[1]
    third = start(names, 1)
    assert read_line(third) == "waiting for 1 of 2 GPUs, which other jobs have"
    second.send_signal(signal.SIGKILL)  # it cannot tidy up
    assert read_line(third) == f"this job has GPU {names[1]} of 2 to itself"
    assert first.poll() is None


def test_gpus_of_slurm_s_jobs_may_have_the_same_name(names: list[str], start: Start) -> None:
    """SLURM counts the GPUs of each job from 0. Steps of one job share them."""
    for job in ("7", "8"):
        assert read_line(start(names[:1], 1, SLURM_JOB_ID=job)) == f"this job has GPU {names[0]} of 1 to itself"
    assert read_line(start(names[:1], 1, SLURM_JOB_ID="8")) == "waiting for 1 of 1 GPUs, which other jobs have"


def test_a_job_with_two_gpus_takes_none_while_one_is_busy(names: list[str], start: Start) -> None:
    one = start(names, 1)
    read_line(one)
    both = start(names, 2)
    assert read_line(both) == "waiting for 2 of 2 GPUs, which other jobs have"
    other = start(names, 1)
    assert read_line(other).endswith(f"{names[1]} of 2 to itself")
    one.kill()
    other.kill()
    assert read_line(both).startswith(f"this job has GPU {names[0]} and {names[1]} of 2")
    assert read_line(both) == ",".join(names)


@pytest.mark.parametrize(
    ("visible", "count", "seen"),
    [([], 1, ""), (["-1"], 1, "-1"), (["7", "-1", "8"], 0, ""), (None, 0, "")],
)
def test_a_job_without_a_gpu_just_runs(visible: list[str] | None, count: int, seen: str, start: Start) -> None:
    assert read_line(start(visible, count)) == seen


def test_more_gpus_than_there_are_is_an_error_at_once(names: list[str], start: Start) -> None:
    job = start(names, 3)
    message, _ = job.communicate()
    assert job.returncode == 1
    assert message.startswith("error: the job asks for 3 GPUs, and 2 can be seen here") and "gpu=1" in message


@pytest.mark.parametrize(
    ("visible", "found"),
    [("3,5", ["3", "5"]), (" GPU-a , MIG-GPU-b/1/0", ["GPU-a", "MIG-GPU-b/1/0"]), ("2,-1,3", ["2"]), ("", [])],
)
def test_the_visible_gpus_are_read_as_cuda_reads_them(
    visible: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.list_gpus() == found


def test_a_lock_that_another_user_made_is_used(
    tmp_path: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)
    file = tmp_path / "videomesh-gpu-MIG-GPU-b-1-0.lock"
    file.touch(mode=0o444)
    opened: list[int] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode: opened.append(flags) or real(path, flags, mode))
    lock = gpus.try_lock("MIG-GPU-b/1/0")
    assert lock is not None and not opened[0] & os.O_CREAT
    assert gpus.try_lock("MIG-GPU-b/1/0") is None
    os.close(lock)
