"""Outputs that look complete although the job that wrote them failed.

A job whose command fails or is stopped removes its outputs itself. For any other failed job a running head removes
them. But the platform may lose a job and still copy its files to the bucket. If no head is running then, nobody removes
them. A head in another folder has no record that says "incomplete", so for Snakemake the files are simply there.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from .job import Job
from .labels import get_submission_time

TOLERANCE = timedelta(minutes=1)  # between the clocks of platform and bucket


def find_failed_writer(modified: datetime, jobs: Iterable[Job]) -> Job | None:
    """The failed job that wrote a file. None if a successful job may have written it, or no job at all.

    modified: by the bucket's clock. jobs: those that write the file, in any order.
    """
    writers = [job for job in jobs if job.ended and may_have_written(modified, job)]
    if any(job.succeeded for job in writers):
        return None
    return max(writers, key=lambda job: job.age_key, default=None)


def may_have_written(modified: datetime, job: Job) -> bool:
    begin = get_submission_time(job) or job.created_at
    # If the platform does not say when a job was finalized, nothing is proven, and the file stays.
    if begin is None or job.finalized_at is None:
        return False
    # The clocks of bucket and platform may be hours apart, so only the job's duration is taken from the platform.
    end = begin + (job.finalized_at - job.created_at) if job.created_at else job.finalized_at
    return begin <= modified <= end + TOLERANCE
