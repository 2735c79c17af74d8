"""Why a job failed, what the user can do about it, and whether another attempt may help."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .job import IMAGE_PROBLEMS, PREEMPTED, Job
from .signatures import Retry, Signature

SHOWN_LINES = 20  # at the end of the log, in a message
SEARCHED_LINES = 200  # at the end of the log; earlier lines may hold errors that the program survived
# What the platform says if it took a job away because of the job itself, and if an image could not be pulled. The words
# are those of Kubernetes and of container registries.
DISK = r"ephemeral.{0,10}storage|\bdisk|no space left|emptydir"
MEMORY = r"\bmemory\b|\boom"
RATE_LIMIT = r"too ?many ?requests|rate.?limit|\b429\b|\b50[0-4]\b|time.?d? ?out|connection|temporar|unavailable"
WRONG_IMAGE = r"not found|\b404\b|manifest|unknown|denied|unauthori|\b40[13]\b|invalid|no such|does not exist"
PULL_WAIT = 120.0  # seconds until an image is pulled again for the first time
RETRIED = "You need not do anything: the job is tried again."


@dataclass(frozen=True)
class Failure:
    """what completes the sentence "The job ...". cause and remedy are empty if they are not known.

    wait: seconds before the next attempt, which double with each free one. lost: whether the platform lost the machine.
    """

    what: str
    cause: str = ""
    remedy: str = ""
    retry: Retry = "yes"
    wait: float = 0.0
    lost: bool = False


def diagnose(job: Job, log: str, signatures: Sequence[Signature], limit: int) -> Failure:
    """limit: the job's time limit in minutes. The first signature that matches counts."""
    code = f" with exit code {job.exit_code}" if job.exit_code is not None else ""
    if job.timed_out:
        return Failure(
            f"reached its time limit of {limit} minute{'s' * (limit != 1)}",
            remedy="Raise the rule's resource runtime (it may depend on attempt), unless the log shows that it hangs.",
        )
    if job.info_code in PREEMPTED:
        return diagnose_eviction(job)
    if job.info_code in IMAGE_PROBLEMS:
        return diagnose_image(job)
    if job.state == "SYNC_FAILED" or job.push_failed:
        return Failure(
            "could not copy its files between bucket and machine (SYNC_FAILED)",
            job.info,
            "Do not trust its results. Check the rights of the data store's user with `snakemake-ovhai doctor`.",
        )
    if job.state == "INTERRUPTED":
        return Failure(
            "was stopped by somebody else, or by another run of this workflow",
            job.info,
            "Start the workflow again if you need the job.",
            "no",
        )
    if job.state == "ERROR":
        return Failure("was lost to an error of the platform", job.info, RETRIED, lost=True)
    end = "\n".join(log.splitlines()[-SEARCHED_LINES:])
    for signature in signatures:
        if signature.pattern.search(end) or signature.pattern.search(job.info):
            return Failure(f"failed{code}", signature.cause, signature.remedy, signature.retry)
    if job.exit_code in (137, -9):
        return Failure(
            f"failed{code}",
            "The process was killed, most often because the machine's memory was full.",
            "Choose a flavor with more memory or ask for more units of it. Both may depend on attempt.",
            "changed",
        )
    says_more = not re.search(r"failed with (exit )?code", job.info)
    return Failure(f"failed{code}", job.info if says_more else "", "Its log tells more.")


def is_lost(job: Job) -> bool:
    """Whether the platform lost the machine, or took it away for reasons of its own."""
    return job.state == "ERROR" or (job.info_code in PREEMPTED and diagnose_eviction(job).lost)


def diagnose_eviction(job: Job) -> Failure:
    """The platform takes a job away for reasons of its own, or because the job needs more than its machine has."""
    what = f"was taken away by the platform ({job.info_code})"
    if re.search(DISK, job.info, re.IGNORECASE):
        remedy = "Choose a flavor with more disk, ask for more units of it, or write less. Both may depend on attempt."
        return Failure(what, f"The machine's disk is full: {job.info}", remedy, "changed")
    if re.search(MEMORY, job.info, re.IGNORECASE):
        remedy = "Choose a flavor with more memory or ask for more units of it. Both may depend on attempt."
        return Failure(what, f"The machine's memory is full: {job.info}", remedy, "changed")
    remedy = "You need not do anything: the job starts again, and this does not count as an attempt."
    return Failure(what, job.info, remedy, "free", lost=True)


def diagnose_image(job: Job) -> Failure:
    """A registry that does not answer or counts requests will answer later. A wrong name stays wrong."""
    what = f"could not use its container image ({job.info_code})"
    passing = re.search(RATE_LIMIT, job.info, re.IGNORECASE) or job.info_code == "JOB_REGISTRY_UNAVAILABLE"
    # The platform backs off after any failed pull, and may not say of which kind it was.
    backoff = job.info_code == "JOB_IMAGE_PULL_BACKOFF" and not re.search(WRONG_IMAGE, job.info, re.IGNORECASE)
    if passing or backoff:
        remedy = (
            "You need not do anything: the image is pulled again after a while, and this does not count as an attempt. "
            "If its registry limits requests, add a registry of your own (`ovhai registry add`)."
        )
        return Failure(what, job.info, remedy, "free", PULL_WAIT)
    remedy = "Check the name of the image and whether the platform may pull it (`ovhai registry list`)."
    return Failure(what, job.info, remedy, "no")


def format_failure(name: str, job_id: str, failure: Failure, log: str, path: Path) -> str:
    """The message for the user. log is the job's log, path the file that holds it."""
    lines = [f"{name} ({job_id}) {failure.what}."]
    if failure.cause:
        lines.append(f"Cause: {failure.cause}")
    if failure.remedy:
        lines.append(f"Remedy: {failure.remedy}")
    if failure.retry == "no":
        lines.append("The job is not tried again, because another attempt would end in the same way.")
    if failure.retry == "changed":
        lines.append("The job is tried again only if the next attempt asks for another machine.")
    tail = log.splitlines()[-SHOWN_LINES:]
    if tail:
        lines += [f"The end of its log ({path}):", *(f"  {line}" for line in tail)]
    else:
        lines.append(f"There is no log ({path}).")
    return "\n".join(lines)
