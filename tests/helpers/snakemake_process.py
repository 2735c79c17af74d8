"""`snakemake` in a process of its own, as in a terminal, but without the seconds in which Python reads its libraries.

A server that has read them forks a process for each call. workflow/test_front_door.py tries the command itself.
"""

import contextlib
import functools
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

COMMAND = Path(sys.executable).with_name("snakemake")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["snakemake_libraries"])


class SnakemakeProcess:
    """As subprocess.Popen, for `snakemake ARGUMENTS` in a session of its own. All that it says goes into one file.

    module: whose main() to call.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
        module: str = "snakemake.cli",
    ) -> None:
        start_server()
        call = (list(arguments), folder, dict(environment), log, module, get_search_path())
        self.process = CONTEXT.Process(target=become_snakemake, args=call)
        self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(str(COMMAND), timeout or 0)
        return self.process.exitcode


def run_snakemake(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout: float = 900,
    module: str = "snakemake.cli",
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run; output and messages come together in stdout."""
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary) / "log"
        process = SnakemakeProcess(arguments, folder, environment, log, module)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            kill_session(process.pid)
            raise AssertionError(f"snakemake was killed after {timeout} s:\n{log.read_text()}") from None
        return subprocess.CompletedProcess([str(COMMAND), *arguments], code, log.read_text())


@functools.cache
def start_server() -> None:
    """With the folder of this file, in which it looks for the module that it reads first."""
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(Path(__file__).parent)}):
        forkserver.ensure_running()


def kill_all() -> None:
    """Kill what is left of all calls, and what they have started."""
    for process in multiprocessing.active_children():
        assert process.pid
        kill_session(process.pid)
        process.join()


def kill_session(pid: int) -> None:
    """Kill a process and its session, which may outlive it, or may not have begun."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


@functools.cache
def get_search_path() -> list[str]:
    """Where a Python that was started by a user looks for modules: that of the tests has their folders too."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = "import json, sys; print(json.dumps(sys.path[1:]))"
    said = subprocess.run([sys.executable, "-c", program], env=clean, check=True, capture_output=True, text=True)
    return list(json.loads(said.stdout))


def become_snakemake(
    arguments: list[str], folder: Path, environment: dict[str, str], log: Path, module: str, search_path: list[str]
) -> None:
    """Do in a forked process what the command does in a new one."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    python_path = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [str(COMMAND.parent), *python_path, *search_path]
    sys.argv = [str(COMMAND), *arguments]
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    importlib.import_module(module).main()
