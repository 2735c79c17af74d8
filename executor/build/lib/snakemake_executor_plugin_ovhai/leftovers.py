"""Outputs that look complete and are not: what failed jobs copied to the bucket while no head was there.

A command that fails or is stopped has its outputs removed by the job itself, and a head removes those of any other
failed job. But where the platform copies back what it had lost control of, and the head is gone, a head in another
folder knows no record that says incomplete: to Snakemake the file is just there.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from .decision import get_label
from .diagnosis import is_success
from .states import Job
from .submission import sanitise

TOLERANCE = timedelta(minutes=1)  # between the clocks of platform and bucket


def find_writer(modified: datetime, jobs: Iterable[Job]) -> Job | None:
    """The failed job that a file dates from; None if one that ended well may have written it, or no job at all.

    modified: by the bucket's clock. jobs: those for the file, in any order.
    """
    writers = [job for job in jobs if job.ended and is_within(modified, job)]
    if any(is_success(job) for job in writers):
        return None
    return max(writers, key=lambda job: job.age_key, default=None)


def is_within(modified: datetime, job: Job) -> bool:
    submitted = get_label(job, "submitted")
    begin = datetime.fromtimestamp(int(submitted), UTC) if submitted.isdigit() else job.created
    # Where the platform does not say when, nothing is proven, and what is not proven is not removed.
    return begin is not None and job.gone is not None and begin <= modified <= job.gone + TOLERANCE


def find_jobs(jobs: Sequence[Job], workflow: str, rule: str, wildcards: Mapping[str, str]) -> list[Job]:
    """The platform's jobs for a job of Snakemake, alone or in a group, from their labels."""
    labels = {f"wildcard-{name}": sanitise(value) for name, value in wildcards.items()}
    return [
        job
        for job in jobs
        if get_label(job, "workflow") == workflow
        and rule in get_label(job, "rule").split("-")
        and all(get_label(job, sanitise(name)) == value for name, value in labels.items())
    ]
