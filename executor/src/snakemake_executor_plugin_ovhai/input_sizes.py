"""Snakemake's scheduler does without the sizes of files in the bucket.

Each time that a job ends, Snakemake 9.27.1 asks the bucket for the size of each input of each job that could start, one
after the other, and starts nothing meanwhile. It needs them only to put larger inputs first among jobs of the same
priority, and for files with the flag temp(). With hundreds of scenes, that took longer than the jobs do.
"""

import functools
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
    ),
}
SLOW = (
    "The executor ovhai does not know the scheduler of this version of Snakemake. With hundreds of scenes, each start "
    "of a job takes long, because the bucket is asked about the inputs of all jobs that could start."
)


def attach() -> None:
    """A second call does nothing."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    update = JobScheduler.update_input_sizes
    if getattr(update, "leaves_out_stored", False):
        return
    if not has_lines(READS):
        tell("warning", SLOW)
        return

    @functools.wraps(update)
    async def update_others(scheduler: Any, jobs: Iterable[Any]) -> None:
        paths = {path for job in jobs for path in job.input}
        stored = {path for path in paths if path.is_storage and not path.is_flagged("temp")}
        await update(scheduler, [SimpleNamespace(input=paths - stored)])
        scheduler._input_sizes.update(dict.fromkeys(stored, 0))

    update_others.leaves_out_stored = True  # type: ignore[attr-defined]
    JobScheduler.update_input_sizes = update_others
