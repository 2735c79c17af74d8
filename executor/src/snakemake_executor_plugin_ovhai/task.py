"""One Snakemake job on its way through the platform, and its result."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .bucket import ObjectInfo
from .decision import Claim
from .diagnosis import Failure
from .identity import get_output_id
from .job import Job
from .job_spec import JobSpec
from .logs import get_log_path
from .provenance import Made
from .volumes import StoredFile


@dataclass
class Task:
    """handle is for the caller, who gets it back with the result."""

    spec: JobSpec
    handle: Any
    # What a head that died may have left behind (see Claim).
    unfinished: list[str] = field(default_factory=list)
    orphaned: bool = False
    forced: bool = False  # a user asked for it, so no earlier result counts
    priority: float = 0.0  # Snakemake's
    # The identity of the work. It is empty until the checksums of the inputs are known.
    target: str = ""
    fingerprint: str = ""
    outputs: dict[str, str] = field(default_factory=dict)  # id -> fingerprint of the work that makes it (identity.py)
    inputs: dict[StoredFile, ObjectInfo] = field(default_factory=dict)  # those that exist before the job
    # The job that does the work.
    job_id: str | None = None
    submission: str | None = None  # mark of a submission whose reply is missing
    state: str = ""
    since: float = 0.0  # when this head first saw the job in this state, by time.monotonic()
    given_up: Failure | None = None  # what to report once the job has stopped
    # When it may be submitted, by time.monotonic().
    not_before: float = 0.0
    waits_for_quota: bool = False
    # A copy of the job's files that was asked for (rescue.py): of which job, how many, how many had failed, since when.
    rescue_job: str = ""
    rescues: int = 0
    rescue_seen: int = 0
    rescue_since: float = 0.0
    # For a group: the spec of some of its members, by their numbers. And the members that have been done alone.
    narrow: Callable[[Collection[int]], JobSpec] | None = None
    done: list["Task"] = field(default_factory=list)
    # Checks that missed something.
    lists_without_job: int = 0
    checks_without_outputs: int = 0
    # The outputs as they were verified, and whether another job may have written them since.
    made: dict[StoredFile, ObjectInfo] = field(default_factory=dict)
    contested: bool = False

    @property
    def claim(self) -> Claim:
        return Claim(
            self.target,
            self.fingerprint,
            self.job_id,
            self.submission,
            self.unfinished,
            self.orphaned,
            self.outputs,
        )

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def log_path(self) -> Path:
        return get_log_path(self.spec.rule, self.spec.wildcards, self.job_id or "none")

    def begin_submission(self, mark: str) -> None:
        """From now on only the new job's result counts."""
        self.forget_earlier_jobs()
        self.submission = mark

    def set_submitted(self, job: Job) -> None:
        self.job_id, self.submission = job.id, None
        self.state, self.since = job.state, time.monotonic()

    def take_over(self, job: Job) -> None:
        self.job_id, self.submission, self.given_up, self.state = job.id, None, None, ""

    def leave_out(self, done: list["Task"], needed: Collection[int]) -> None:
        """done: members of a group that need no job. needed: numbers of the others. SubmissionError if they cannot run
        without the rest."""
        assert self.narrow
        if needed:
            spec = self.narrow(needed)
            protected = tuple(file for file in spec.protected if file in self.spec.protected)
            self.spec, self.fingerprint = replace(spec, protected=protected), ""
        self.done = done

    def forget_earlier_jobs(self) -> None:
        self.job_id, self.unfinished, self.orphaned = None, [], False

    def start_over(self) -> None:
        """Leave the job to its other work, or to its end. The task needs a job again."""
        self.forget_earlier_jobs()
        self.submission, self.given_up, self.state, self.lists_without_job = None, None, "", 0


@dataclass(frozen=True)
class Result:
    """The end of a task. failure is None if it succeeded. message is for the user."""

    task: Task
    failure: Failure | None = None
    message: str = ""
    log: Path | None = None


def refuse(task: Task, error: Exception) -> Result:
    """The result of a task whose submission cannot succeed, now or later."""
    failure = Failure("cannot be submitted", str(error), retry="no")
    return Result(task, failure, f"{task.name} cannot be submitted: {error}")


def describe(task: Task) -> dict[str, Made]:
    """What a task that succeeded made, by URI: for the records that travel with the results."""
    earlier = {uri: made for member in task.done for uri, made in describe(member).items()}
    present = {**task.inputs, **task.made}
    inputs = {file.path: present[file].version for file in task.spec.inputs if file in present}
    return earlier | {
        file.uri: Made(None if task.contested else info, (*get_works(task, file), *filter(None, [task.job_id])), inputs)
        for file, info in task.made.items()
    }


def get_works(task: Task, file: StoredFile) -> tuple[str, ...]:
    """Fingerprints of the work that makes an output: that of the whole job, and that of the one rule in a group."""
    return tuple(dict.fromkeys([task.fingerprint, task.outputs.get(get_output_id(file), task.fingerprint)]))
