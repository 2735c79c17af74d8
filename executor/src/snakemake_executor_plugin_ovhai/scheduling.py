"""Snakemake's scheduler does nothing that grows with the number of jobs that could start.

Each time that a job ends, Snakemake 9.27.1 goes through all of these jobs. That is fine, but for two things:

* It asks the bucket for the size of each input, one after the other, and starts nothing meanwhile. It needs the sizes
  only to put larger inputs first among jobs of the same priority, and for files with the flag temp().
* It goes through them again a second later, in case its limit of jobs a second has kept some back. Each end of a job
  begins such a chain of its own, so after a thousand jobs it would do that a thousand times a second.
"""

import functools
import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from .outage import tell
from .snakemake_records import has_lines

# What this module stands on: function -> lines that it must have.
READS: dict[str, tuple[str, ...]] = {
    "snakemake.scheduling.job_scheduler.JobScheduler.update_input_sizes": (
        "async def update_input_sizes(self, jobs: Iterable[AbstractJob]):",
        "paths = {path for job in jobs for path in job.input}",
        "self._input_sizes.update(",
    ),
    "snakemake.scheduling.job_scheduler.JobScheduler.job_selector": (
        "self.workflow.async_run(self.update_input_sizes(jobs))",
        "n_free_jobs = self.job_rate_limiter.get_free_jobs()",
        "self.job_rate_limiter.register_jobs(len(selected))",
    ),
    "snakemake.scheduling.job_scheduler.JobScheduler.schedule": (
        "self._schedule_reevalutation(self.job_rate_limiter.timespan)",
        "self.workflow.execution_settings.queue_input_wait_time",
    ),
    "snakemake.scheduling.job_scheduler.JobScheduler._schedule_reevalutation": (
        "def _schedule_reevalutation(self, delay: int) -> None:",
        "lambda: self._open_jobs.release(),",
    ),
}
SLOW = (
    "The executor ovhai does not know the scheduler of this version of Snakemake. With hundreds of scenes, each start "
    "of a job takes long, because the bucket is asked about the inputs of all jobs that could start."
)


def attach() -> None:
    """A second call does nothing."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    if getattr(JobScheduler.update_input_sizes, "leaves_out_stored", False):
        return
    if not has_lines(READS):
        tell("warning", SLOW)
        return
    JobScheduler.update_input_sizes = leave_out_stored(JobScheduler.update_input_sizes)
    JobScheduler._schedule_reevalutation = look_again_once(JobScheduler._schedule_reevalutation)


def leave_out_stored(update: Any) -> Any:
    """Files in the bucket count as equally large."""

    @functools.wraps(update)
    async def update_others(scheduler: Any, jobs: Iterable[Any]) -> None:
        paths = {path for job in jobs for path in job.input}
        stored = {path for path in paths if path.is_storage and not path.is_flagged("temp")}
        await update(scheduler, [SimpleNamespace(input=paths - stored)])
        scheduler._input_sizes.update(dict.fromkeys(stored, 0))

    update_others.leaves_out_stored = True  # type: ignore[attr-defined]
    return update_others


def look_again_once(schedule: Any) -> Any:
    """Only if the limit keeps jobs back, and one look at a time."""

    @functools.wraps(schedule)
    def schedule_once(scheduler: Any, delay: float) -> None:
        limiter = scheduler.job_rate_limiter
        if limiter is not None and delay == limiter.timespan and limiter.get_free_jobs() > 0:
            return
        due = scheduler.__dict__.setdefault("ovhai_due", set())  # delays of the looks to come
        if delay in due:
            return
        due.add(delay)

        def look() -> None:
            due.discard(delay)
            scheduler._open_jobs.release()

        timer = threading.Timer(delay, look)
        timer.daemon = True  # the end of a run does not wait for it
        timer.start()

    return schedule_once
