"""The labels on a job. They tell every head which work a job does, whoever started it.

workflow              bucket and prefix of the workflow
rule, wildcard-NAME   the Snakemake job; the rules of a group are joined by "-"
attempt               number of the attempt
target, fingerprint   which work it does (fingerprint.py); the single files stand elsewhere (identity.py)
submission            a random mark of one submission, to find a job whose reply was lost
submitted             time of the submission by the bucket's clock, in seconds since 1970
expected              seconds that its command was expected to take (estimate.py)
run                   the head that submitted it: when it started (UTC), and random digits
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from .job import Job

LABEL_PREFIX = "snakemake-"


def sanitise(text: str) -> str:
    """Make a text fit for any label or name.

    What remains are letters, digits, ".", "_" and "-". There are at most 63, and both ends are a letter or a digit.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:63].strip("._-") or "x"


def make_labels(values: Mapping[str, str]) -> dict[str, str]:
    """Add the prefix to each name, and keep only what a label may hold."""
    return {sanitise(LABEL_PREFIX + name): sanitise(value) for name, value in values.items()}


def get_label(job: Job, name: str) -> str:
    return job.labels.get(LABEL_PREFIX + name, "")


def get_checksum_label(job: Job, name: str) -> str:
    """A label of hexadecimal digits, whichever letters the platform shows."""
    return get_label(job, name).lower()


def name_rules(rule: str) -> str:
    """The rules of a job in words: rule is that of a spec or a label, in which "-" joins those of a group."""
    return " ".join(sanitise(rule).split("-"))


def get_workflow_label(bucket: str, root: str) -> str:
    """Two workflows never have the same label, however long their prefixes are: it ends with a checksum."""
    checksum = hashlib.sha256(f"{bucket}/{root}".encode()).hexdigest()[:8]
    return f"{sanitise(f'{bucket}-{root}')[:50].strip('._-')}-{checksum}".lower()


def find_prefix(bucket: str, label: str) -> str | None:
    """The prefix of a workflow in this bucket. None if the label does not tell it, or is of another bucket."""
    root = label[:-9].removeprefix(bucket).removeprefix("-")
    return root if get_workflow_label(bucket, root) == label else None


def may_be_in(bucket: str, label: str) -> bool:
    """Whether the label may be one of a workflow in this bucket. Names of buckets need no change in a label."""
    return label.startswith(f"{bucket[:50].strip('._-')}-")


def get_wildcards(job: Job) -> dict[str, str]:
    """Name -> value, sorted by name. Both are sanitised."""
    prefix = LABEL_PREFIX + "wildcard-"
    return {name.removeprefix(prefix): value for name, value in sorted(job.labels.items()) if name.startswith(prefix)}


def get_submission_time(job: Job) -> datetime | None:
    """When the job was submitted by the bucket's clock, in whole seconds. None if the label is missing."""
    seconds = get_label(job, "submitted")
    return datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() else None
