"""What happens when somebody tells the head to end, by a signal.

Ctrl-C (SIGINT)                    Snakemake stops all jobs. A second one ends the wait for the platform's confirmation.
SIGTERM, SIGHUP (closed terminal)  the head ends within seconds and leaves the jobs to the next run.

Snakemake's own handler of SIGTERM waits for all running jobs. It also takes a lock that the interrupted thread may
hold, and then it waits for ever. The handlers here take no lock and write no log, since a log has locks too.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import psutil

from .notices import Logger

GRACE = 20.0  # seconds to end in; a call of the program that hangs takes longer
BOUNCE = 2.0  # seconds in which a second Ctrl-C does not count: it is easily pressed twice
REASONS = {
    signal.SIGTERM: "The run was told to end (SIGTERM)",
    signal.SIGHUP: "The terminal was closed (SIGHUP)",
}


class Leaving:
    """The signal handlers of one head.

    unlock: removes Snakemake's lock. get_job_ids: of jobs that may be live.
    """

    def __init__(self, unlock: Callable[[], None], get_job_ids: Callable[[], list[str]]) -> None:
        self.unlock, self.get_job_ids = unlock, get_job_ids
        self.reason = ""  # why the jobs are left, once they are
        self.interrupted: float | None = None  # when Ctrl-C was pressed, by time.monotonic()

    def install(self) -> None:
        """A signal that whoever started the head has made it ignore, as `nohup` does, stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return  # Python handles signals only there
        for number in REASONS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.leave)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, self.interrupt)

    def leave(self, number: int, frame: FrameType | None = None) -> None:
        if self.reason or self.interrupted is not None:
            if self.interrupted is not None:
                self.end_now()
            return
        self.reason = REASONS[signal.Signals(number)]
        self.end_in_time()
        end_local_commands()
        raise SystemExit(1)

    def interrupt(self, number: int, frame: FrameType | None = None) -> None:
        if self.interrupted is None and not self.reason:
            self.interrupted = time.monotonic()
            raise KeyboardInterrupt
        if self.reason or time.monotonic() - (self.interrupted or 0.0) > BOUNCE:
            self.end_now()

    def describe_jobs(self) -> str:
        """What the user has to know if the head ends now."""
        job_ids = self.get_job_ids()
        if not job_ids:
            return f"{self.reason or 'Interrupted again'}. No job is known to be live."
        names = " ".join(job_ids)
        if self.reason:
            return (
                f"{self.reason}. {len(job_ids)} jobs keep running and cost money, and the next run finds them. To stop "
                f"them: snakemake-ovhai stop {names}"
            )
        return (
            "Interrupted again, so the run ends before the platform has confirmed that all jobs stopped. They may "
            f"still cost money. To stop them: snakemake-ovhai stop {names}"
        )

    def end_in_time(self) -> None:
        timer = threading.Timer(GRACE, self.end_now)
        timer.daemon = True
        timer.start()

    def end_now(self) -> None:
        """Without the ends of threads, of which one may wait for a program that hangs."""
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            os.write(sys.stderr.fileno(), f"\n{self.describe_jobs()}\n".encode())
        try:
            self.unlock()
        finally:
            os._exit(1)


def take_over_sigterm(leaving: Leaving, logger: Logger) -> None:
    """Snakemake's scheduler sets its own handler of SIGTERM after it has made the executor. Its method is replaced."""
    from snakemake.scheduling.job_scheduler import JobScheduler  # the command snakemake-ovhai works without Snakemake

    if not callable(getattr(JobScheduler, "exit_gracefully", None)):
        logger.warning(
            "The executor ovhai does not know this version of Snakemake. Until the first job is submitted, SIGTERM "
            "waits for the rules that run on this machine."
        )
        return
    JobScheduler.exit_gracefully = lambda scheduler, *arguments: leaving.leave(*arguments)


def end_local_commands() -> None:
    """Snakemake would wait for the commands of its local rules. A terminal sends them Ctrl-C too, but not SIGTERM.

    Calls of the platform's program have sessions of their own, and go on.
    """
    session = os.getsid(0)
    for process in psutil.Process().children(recursive=True):
        try:
            if os.getsid(process.pid) == session:
                process.terminate()
        except (psutil.Error, OSError):  # it has ended
            continue
