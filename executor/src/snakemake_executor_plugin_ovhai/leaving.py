"""What happens when somebody tells the head to end, by a signal.

Ctrl-C (SIGINT)                    Snakemake stops all jobs. A second one ends the wait for the platform's confirmation.
SIGTERM, SIGHUP (closed terminal)  the head ends within seconds and leaves the jobs to the next run.

Python runs a handler between any two instructions of the main thread, which may hold any lock. Snakemake's own handler
of SIGTERM takes such a lock, and then it waits for ever. So the handlers here only write a byte into a pipe. A thread
reads it and does the rest.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import psutil

from .notices import Logger

GRACE = 15.0  # seconds to end in; a call of the program that hangs, or a bucket that is silent, takes longer
BOUNCE = 2.0  # seconds in which a second Ctrl-C does not count: it is easily pressed twice
REASONS = {
    signal.SIGTERM: "The run was told to end (SIGTERM)",
    signal.SIGHUP: "The terminal was closed (SIGHUP)",
}
LEAVE, END = b"l", b"e"


class Leaving:
    """The signal handlers of one head.

    say_goodbye: ends the run in good order; it is called in a thread of its own. unlock: removes Snakemake's lock.
    get_job_ids: of jobs that may be live.
    """

    def __init__(
        self,
        say_goodbye: Callable[[str], None],
        unlock: Callable[[], None],
        get_job_ids: Callable[[], list[str]],
        logger: Logger,
    ) -> None:
        self.say_goodbye, self.unlock, self.get_job_ids, self.logger = say_goodbye, unlock, get_job_ids, logger
        self.reason = ""  # why the jobs are left, once they are
        self.interrupted: float | None = None  # when Ctrl-C was pressed first, by time.monotonic()
        self.reader, self.writer = os.pipe()
        threading.Thread(target=self.obey, daemon=True).start()

    def install(self) -> None:
        """A signal that whoever started the head has made it ignore, as `nohup` does, stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return  # Python handles signals only there
        for number, handler in {**dict.fromkeys(REASONS, self.leave), signal.SIGINT: self.interrupt}.items():
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)

    # The handlers ----------------------------------------------------------------------------------------------------

    def leave(self, number: int, frame: FrameType | None = None) -> None:
        if self.interrupted is not None:
            os.write(self.writer, END)
        elif not self.reason:
            self.reason = REASONS[signal.Signals(number)]
            os.write(self.writer, LEAVE)

    def interrupt(self, number: int, frame: FrameType | None = None) -> None:
        if self.interrupted is None and not self.reason:
            self.interrupted = time.monotonic()
            raise KeyboardInterrupt
        if self.reason or time.monotonic() - (self.interrupted or 0.0) > BOUNCE:
            os.write(self.writer, END)

    # The thread ------------------------------------------------------------------------------------------------------

    def obey(self) -> None:
        while order := os.read(self.reader, 1):
            if order == END:
                self.end_now()
            threading.Thread(target=self.say_goodbye, args=(self.reason,), daemon=True).start()
            start_timer(GRACE, self.end_now)

    def end_now(self) -> None:
        """Without the ends of threads, of which one may wait for a program that hangs."""
        start_timer(3, lambda: os._exit(1))  # should the log hang too
        self.logger.warning(self.describe_jobs())
        try:
            self.unlock()
            time.sleep(0.5)  # another thread writes the log
        finally:
            os._exit(1)

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


def start_timer(seconds: float, function: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()


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
        with contextlib.suppress(psutil.Error, OSError):  # it may have ended
            if os.getsid(process.pid) == session:
                process.terminate()
