"""The head is told to end: by Ctrl-C, by a closed terminal, by a service manager. The next run goes on."""

import os
import pty
import select
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from heads import Head, finish, states
from snakemake.scheduling.job_scheduler import JobScheduler
from submission import wait_until

from snakemake_executor_plugin_ovhai.leaving import Leaving, take_over_sigterm
from snakemake_process import COMMAND

LOCAL = """\
rule all:
    input:
        local("deliver/a.txt"),

rule deliver:
    localrule: True
    output:
        local("deliver/a.txt"),
    shell:
        "sleep 60; echo 6 > {output:q}"
"""


def get_log(head: Head) -> str:
    return "".join(path.read_text() for path in sorted((head.folder / ".snakemake" / "log").glob("*.log")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_head_that_is_told_to_end_leaves_its_jobs_to_the_next_run(head: Head, number: signal.Signals) -> None:
    head.write(make="sleep 8;")
    process = head.start("--config", "scenes=a,b")
    wait_until(lambda: states(head) == ["RUNNING"] * 2)
    process.send_signal(number)
    begin = time.monotonic()
    assert process.wait(30) == 1
    assert time.monotonic() - begin < 15
    assert states(head) == ["RUNNING"] * 2
    assert number.name in get_log(head) and "2 jobs keep running, and the next run finds them" in get_log(head)
    assert "Traceback" not in head.said()
    assert "is already there" in finish(head, "--config", "scenes=a,b")
    assert states(head) == ["DONE"] * 2


def test_sigterm_ends_a_head_whose_jobs_fail_and_are_tried_again(head: Head) -> None:
    """Snakemake's own handler waits for a lock that its thread may hold. It hung in three of three runs."""
    head.platform.set(quota={"gpu": 100, "cpu": 400})
    process = head.write(make="sleep 0.5; exit 1;").start("--config", "scenes=a,b,c,d,e,f", "--retries", "8")
    wait_until(lambda: "Error in rule" in head.said())
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 1
    assert "Traceback" not in head.said()


def test_a_platform_that_hangs_does_not_keep_the_head_and_the_lock_goes(head: Head) -> None:
    head.write(make="sleep 60;")
    arguments = [word for word in head.arguments() if word != "--nolock"]
    head.arguments = lambda *more: [*arguments, *more]  # type: ignore[method-assign]
    process = head.start()
    wait_until(lambda: states(head) == ["RUNNING"])
    fault = head.platform.fault(when="job list", action="hang")
    wait_until(lambda: head.platform.fired(fault))
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 1
    assert "1 jobs keep running and cost money" in head.said()
    assert not list((head.folder / ".snakemake" / "locks").glob("*"))


def test_the_command_of_a_local_rule_ends_with_the_head(head: Head) -> None:
    process = head.write(snakefile=LOCAL).start()
    wait_until(lambda: "rule deliver" in head.said())
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 1
    assert not any(is_sleeping_in(head.folder, path) for path in Path("/proc").glob("[0-9]*"))


def test_a_closed_terminal_is_told_in_the_log(head: Head) -> None:
    """Nobody can be told on the terminal."""
    head.write(make="sleep 8;")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(head.folder)
        os.execvpe(COMMAND, ["snakemake", *head.arguments()], head.environment)
    while states(head) != ["RUNNING"]:
        if select.select([terminal], [], [], 0.1)[0]:
            os.read(terminal, 10_000)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) in (1, 120)  # 120: Python could not write to the terminal
    assert "The terminal was closed" in get_log(head) and "1 jobs keep running" in get_log(head)
    finish(head)
    assert states(head) == ["DONE"]


def is_sleeping_in(folder: Path, process: Path) -> bool:
    try:
        return process.joinpath("cwd").readlink() == folder and b"sleep" in process.joinpath("cmdline").read_bytes()
    except OSError:
        return False


def make_leaving() -> Leaving:
    logger: Any = SimpleNamespace(warning=print)
    return Leaving(lambda reason: None, lambda: None, list, logger)


def test_a_head_under_nohup_outlives_its_terminal() -> None:
    previous = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        make_leaving().install()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN != signal.getsignal(signal.SIGTERM)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def test_another_version_of_snakemake_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(JobScheduler, "exit_gracefully")
    said: list[str] = []
    logger: Any = SimpleNamespace(warning=said.append)
    take_over_sigterm(make_leaving(), logger)
    assert "does not know this version of Snakemake" in said[0]


def test_a_second_ctrl_c_ends_with_words(head: Head) -> None:
    head.platform.fault(when="job stop", action="ignore")
    process = head.write(make="sleep 60;").start()
    wait_until(lambda: states(head) == ["RUNNING"])
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)  # a key that bounces is pressed once
    wait_until(lambda: "Stopping 1 jobs" in head.said())
    time.sleep(3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 1
    (job,) = head.platform.jobs()
    assert "Interrupted again" in head.said() and f"snakemake-ovhai stop {job['id']}" in head.said()
    assert "Traceback" not in head.said()
