"""A SLURM cluster of one node on this machine, made of Debian's packages slurmctld and slurmd.

Configuration, state, logs and sockets are in one folder, and the ports are free ones. Another SLURM on this machine is
neither asked nor changed. Tests that are killed leave no daemon behind, but a job goes on until its command ends.
"""

import contextlib
import ctypes
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])  # where Debian puts the daemons
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
PATIENCE = 30.0  # seconds in which a daemon answers

# The node says that it has more than the machine, so that several small jobs run at a time. Its two GPUs are devices
# that every machine has: they are counted and handed out. Without cgroups, nothing of the system is touched.
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,NoShared
MpiDefault=none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
MinJobAge=3600
KillWait=2
ReturnToService=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 Port={node_port} CPUs=8 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=UNLIMITED State=UP
PartitionName=gpu Nodes={host} MaxTime=UNLIMITED State=UP
"""

# The plugin starts srun in a job without SLURM_CONF, since most clusters have their configuration in /etc/slurm.
SRUN = """\
#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""


MISSING = [program for program in PROGRAMS if not shutil.which(program, path=PATH)]
needs_slurm = pytest.mark.skipif(
    bool(MISSING), reason=f"SLURM is not installed ({', '.join(MISSING)}); see tests/install_program.sh"
)


class SlurmCluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True)
        with free_ports(2) as (control_port, node_port):
            self.write("slurm.conf", CONFIGURATION.format(
                folder=self.folder, host=socket.gethostname().split(".")[0], user=getpass.getuser(),
                control_port=control_port, node_port=node_port, plugins=find_plugins(),
            ))  # fmt: skip
        self.write("gres.conf", "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        self.write("bin/srun", SRUN.format(folder=self.folder, srun=shutil.which("srun")), mode=0o755)
        self.write("munge.key", secrets.token_hex(64), mode=0o400)
        self.folder.chmod(0o755)  # munged wants its socket where all can reach it
        paths = {"socket": "munge.socket", "key-file": "munge.key", "log-file": "munged.log", "pid-file": "munged.pid",
                 "seed-file": "munge.seed"}  # fmt: skip
        self.start_daemon("munged", "--foreground", "--force", "--num-threads=2",
                          *(f"--{option}={self.folder / name}" for option, name in paths.items()))  # fmt: skip
        self.wait_for("munged", (self.folder / "munge.socket").exists)
        self.start_daemon("slurmctld", "-D")
        self.wait_for("slurmctld", lambda: self.ask("scontrol", "ping").returncode == 0)
        self.start_daemon("slurmd", "-D")
        self.wait_for("slurmd", lambda: self.ask("sinfo", "--noheader", "--format=%T").stdout.split() == ["idle"])

    def stop(self) -> None:
        """Ends jobs first, so that none outlives its cluster."""
        if len(self.daemons) == len(PROGRAMS):
            self.ask("scancel", "--user", getpass.getuser())
            with contextlib.suppress(AssertionError):
                self.wait_for("squeue", lambda: not self.ask("squeue", "--noheader").stdout.strip())
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def get_environment(self) -> dict[str, str]:
        """Variables with which a command finds this cluster, and no other."""
        path = os.pathsep.join([str(self.folder / "bin"), PATH])
        others = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return {**others, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.get_environment(), capture_output=True, text=True)

    def list_jobs(self) -> list[dict[str, str]]:
        """All jobs since the cluster began, as `scontrol show job` tells: JobState, TimeLimit, NumCPUs, ..."""
        lines = self.ask("scontrol", "--oneliner", "show", "job").stdout.splitlines()
        pairs = [[word.split("=", 1) for word in line.split() if "=" in word] for line in lines]
        return [dict(job) for job in pairs if job]

    def start_daemon(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=PATH)
        assert path
        with open(self.folder / f"{program}.output", "wb") as output:
            self.daemons.append(subprocess.Popen(
                [path, *arguments], env=self.get_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                preexec_fn=end_with_parent, start_new_session=True,
            ))  # fmt: skip

    def wait_for(self, program: str, answers: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not answers():
            ended = any(daemon.poll() is not None for daemon in self.daemons)
            assert not ended and time.monotonic() < end, f"{program} does not answer:\n{self.read_logs()}"
            time.sleep(0.1)

    def read_logs(self) -> str:
        logs = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.output")])
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def write(self, name: str, content: str, mode: int = 0o644) -> None:
        file = self.folder / name
        file.write_text(content)
        file.chmod(mode)


@contextlib.contextmanager
def slurm_cluster(folder: Path) -> Iterator[SlurmCluster]:
    cluster = SlurmCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def end_with_parent() -> None:
    """A daemon must not outlive tests that are killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def free_ports(number: int) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in sockets]


def find_plugins() -> Path:
    """SLURM's own folder of plugins, such as /usr/lib/x86_64-linux-gnu/slurm-wlm."""
    return next(Path("/usr/lib").glob("*/slurm-wlm/auth_munge.so")).parent
