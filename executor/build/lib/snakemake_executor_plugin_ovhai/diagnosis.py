"""What the end of a job means: for the scheduler (success, try again or not) and for the user (cause, remedy)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from .states import IMAGE_PROBLEMS, PREEMPTED, Job

Retry = Literal["yes", "no", "free", "changed"]
TAIL = 20  # lines of the log that a message shows
SEARCHED = 200  # lines at its end that tell the cause; before them there are warnings that a program has survived


@dataclass(frozen=True)
class Signature:
    pattern: re.Pattern[str]
    cause: str
    remedy: str
    retry: Retry


@dataclass(frozen=True)
class Failure:
    """what happened, why (if known), what to do, and whether another attempt may help."""

    what: str
    cause: str = ""
    remedy: str = ""
    retry: Retry = "yes"


def load_signatures(path: Path) -> list[Signature]:
    """ValueError names the file, the entry and what is wrong with it."""
    try:
        entries = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"signatures {path}: {error}") from None
    if not isinstance(entries, list):
        raise ValueError(f"signatures {path}: a list of entries is expected")
    return [read_signature(entry, f"signatures {path}, entry {number}") for number, entry in enumerate(entries, 1)]


def read_signature(entry: Any, place: str) -> Signature:
    names = {"pattern", "cause", "remedy", "retry"}
    if not isinstance(entry, dict) or set(entry) != names:
        raise ValueError(f"{place}: needs exactly {', '.join(sorted(names))}")
    for name in ("pattern", "cause", "remedy"):
        if not isinstance(entry[name], str) or not entry[name]:
            raise ValueError(f"{place}: {name} is {entry[name]!r}; a text is expected")
    retry = entry["retry"]
    if isinstance(retry, bool):  # YAML's own reading of yes and no without quotes
        retry = "yes" if retry else "no"
    if retry not in get_args(Retry):
        raise ValueError(f"{place}: retry is {retry!r}; allowed are {', '.join(get_args(Retry))}")
    try:
        pattern = re.compile(entry["pattern"], re.MULTILINE)
    except re.error as error:
        raise ValueError(f"{place}: pattern {entry['pattern']!r}: {error}") from None
    return Signature(pattern, entry["cause"], entry["remedy"], retry)


def is_success(job: Job) -> bool:
    """What the platform says; whether the outputs are in the bucket is checked beside it."""
    return job.state == "DONE" and job.exit_code in (0, None) and not job.push_failed and not job.timed_out


def diagnose(job: Job, log: str, signatures: Sequence[Signature], limit: int) -> Failure:
    """limit: minutes after which the job was to be ended."""
    code = f" with exit code {job.exit_code}" if job.exit_code is not None else ""
    if job.timed_out:
        return Failure(
            f"ended by its time limit of {limit} minute{'s' * (limit != 1)}",
            remedy="Raise the rule's resource runtime (it may depend on attempt), unless the log shows that it hangs.",
        )
    if job.info_code in PREEMPTED:
        return Failure(
            f"taken away by the platform ({job.info_code})",
            job.info,
            "Nothing to do; it starts again, which does not count as an attempt.",
            "free",
        )
    if job.info_code in IMAGE_PROBLEMS:
        return Failure(
            f"its image could not be used ({job.info_code})",
            job.info,
            "Check the name of the image and whether the platform may pull it (`ovhai registry list`).",
            "yes" if job.info_code == "JOB_REGISTRY_UNAVAILABLE" else "no",
        )
    if job.state == "SYNC_FAILED" or job.push_failed:
        return Failure(
            "its files could not be copied between bucket and job (SYNC_FAILED)",
            job.info,
            "Check the rights of the data store's user: `snakemake-ovhai doctor`. Its results are not to be trusted.",
        )
    if job.state == "INTERRUPTED":
        return Failure(
            "stopped by somebody else, or by another run of this workflow",
            job.info,
            "Start the workflow again if it should run after all.",
            "no",
        )
    if job.state == "ERROR":
        return Failure("lost by an error of the platform", job.info, "Nothing to do; it is tried again.", "yes")
    end = "\n".join(log.splitlines()[-SEARCHED:])
    for signature in signatures:
        if signature.pattern.search(end) or signature.pattern.search(job.info):
            return Failure(f"failed{code}", signature.cause, signature.remedy, signature.retry)
    if job.exit_code in (137, -9):
        return Failure(
            f"failed{code}",
            "The process was killed, most often since the machine's memory was full.",
            "Choose a flavor with more memory or more units of it; it may depend on attempt.",
            "changed",
        )
    says_more = not re.search(r"failed with (exit )?code", job.info)
    return Failure(f"failed{code}", job.info if says_more else "", "Its log tells more.")


def get_message(name: str, job_id: str, failure: Failure, log: str, path: Path) -> str:
    lines = [f"{name} ({job_id}) {failure.what}."]
    if failure.cause:
        lines.append(f"Cause: {failure.cause}")
    if failure.remedy:
        lines.append(f"Remedy: {failure.remedy}")
    if failure.retry == "no":
        lines.append("Not tried again: another attempt would end in the same way.")
    if failure.retry == "changed":
        lines.append("Tried again only if the rule asks for another machine then.")
    tail = log.splitlines()[-TAIL:]
    if tail:
        lines += [f"The end of its log ({path}):", *(f"  {line}" for line in tail)]
    else:
        lines.append(f"There is no log ({path}).")
    return "\n".join(lines)
