"""Jobs as the platform shows them, and what their states mean.

Fields and states: the job object of the AI Training API. Everything may be missing or new here: what cannot be read is
None, and a state that nobody knows counts as live, so that the job is watched on.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

WAITING = frozenset({"QUEUED", "INITIALIZING", "PENDING"})
LIVE = WAITING | {"RUNNING", "RESTARTING", "FINALIZING"}
ENDING = frozenset({"INTERRUPTING", "TIMEOUT"})
ENDED = frozenset({"DONE", "FAILED", "ERROR", "INTERRUPTED", "SYNC_FAILED"})
KNOWN = LIVE | ENDING | ENDED

# How a job that ended by itself differs from one that the platform took away.
PREEMPTED = frozenset({"JOB_INTERRUPTED_BY_PLATFORM", "JOB_EVICTED"})
IMAGE_PROBLEMS = frozenset(
    {
        "JOB_IMAGE_PULL",
        "JOB_IMAGE_PULL_BACKOFF",
        "JOB_IMAGE_INSPECT_ERROR",
        "JOB_INVALID_IMAGE_NAME",
        "JOB_REGISTRY_UNAVAILABLE",
    }
)
LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Job:
    """One job of the platform; times are UTC."""

    id: str
    state: str
    created: datetime | None = None
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    info_code: str = ""
    info: str = ""
    timed_out: bool = False
    finalized: bool = False
    stop_ordered: bool = False
    push_failed: bool = False
    flavor: str = ""
    units: int = 0
    started: datetime | None = None
    stopped: datetime | None = None
    gone: datetime | None = None  # once its data has been copied back

    @property
    def ended(self) -> bool:
        """Nothing more will be written to the bucket.

        The documentation says of TIMEOUT that the job still runs and is about to be interrupted, other sources that it
        has stopped: it counts as ended once its outputs have been copied back.
        """
        return self.state in ENDED or (self.state == "TIMEOUT" and self.finalized)

    @property
    def ending(self) -> bool:
        """It will not end well; a job that was stopped goes on to FINALIZING, as one does that has done its work."""
        return (self.state in ENDING or (self.state == "FINALIZING" and self.stop_ordered)) and not self.ended

    @property
    def live(self) -> bool:
        return not self.ended and not self.ending

    @property
    def age_key(self) -> tuple[datetime, str]:
        """The first of several jobs for the same work has the smallest: every head sees the same order."""
        return (self.created or LONG_AGO, self.id)


def read_job(record: object) -> Job | None:
    """A job from the JSON of the platform, None if there is no id in it."""
    if not isinstance(record, Mapping) or not get_text(record, "id"):
        return None
    spec, status = get_map(record, "spec"), get_map(record, "status")
    resources, info = get_map(spec, "resources"), get_map(status, "info")
    states = [get_text(entry, "state") for entry in get_list(status, "history") if isinstance(entry, Mapping)]
    code = get_text(info, "code")
    state = get_text(status, "state").upper()
    # Only those of the platform itself: one that a user has asked for says nothing about the end.
    pushes = [get_map(sync, "status") for sync in get_list(status, "dataSync") if is_push(sync) and not is_manual(sync)]
    return Job(
        id=record["id"],
        state=state,
        created=read_time(record.get("createdAt")) or read_time(status.get("queuedAt")),
        name=get_text(spec, "name"),
        labels={str(name): str(value) for name, value in get_map(spec, "labels").items()},
        exit_code=read_int(status.get("exitCode")),
        info_code=code,
        info=get_text(info, "message"),
        timed_out=state == "TIMEOUT" or "TIMEOUT" in states or code == "JOB_TIMEOUT",
        finalized=bool(status.get("finalizedAt")) or bool(pushes and get_text(pushes[-1], "state") == "DONE"),
        stop_ordered="INTERRUPTING" in states,
        push_failed=bool(pushes and get_text(pushes[-1], "state") in {"FAILED", "ERROR"}),
        flavor=get_text(resources, "flavor"),
        units=read_int(resources.get("gpu")) or read_int(resources.get("cpu")) or 0,
        started=read_time(status.get("startedAt")),
        stopped=read_time(status.get("stoppedAt")),
        gone=read_time(status.get("finalizedAt")),
    )


def is_push(sync: object) -> bool:
    """Whether it copies from the job to the bucket."""
    return isinstance(sync, Mapping) and get_text(get_map(sync, "spec"), "direction").lower() == "push"


def is_manual(sync: Mapping[str, Any]) -> bool:
    return get_map(sync, "spec").get("manual") is True


def get_map(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}


def get_list(record: Mapping[str, Any], name: str) -> list[Any]:
    value = record.get(name)
    return value if isinstance(value, list) else []


def get_text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""


def read_int(value: object) -> int | None:
    """A number, which some versions of the platform send as text."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):  # JSON of Python may hold Infinity
        return None


def read_time(value: object) -> datetime | None:
    """RFC 3339 with any number of digits after the second (nine have been seen), as UTC."""
    found = re.match(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?", value) if isinstance(value, str) else None
    if not found:
        return None
    date, clock, fraction = found.groups()
    try:
        return datetime.strptime(f"{date} {clock} {fraction or '.0'}", "%Y-%m-%d %H:%M:%S .%f").replace(tzinfo=UTC)
    except ValueError:
        return None
