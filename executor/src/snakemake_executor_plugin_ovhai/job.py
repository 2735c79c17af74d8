"""A job as the platform shows it, and what its state means.

The fields and states are those of the job object of the AI Training API. Any field may be missing, and there may be new
states. A field that cannot be read becomes None. A job in an unknown state counts as live, so the executor keeps
watching it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .records import get_list, get_map, get_text, read_int, read_time

WAITING = frozenset({"QUEUED", "INITIALIZING", "PENDING"})
LIVE = WAITING | {"RUNNING", "RESTARTING", "FINALIZING"}
ENDING = frozenset({"INTERRUPTING", "TIMEOUT"})
ENDED = frozenset({"DONE", "FAILED", "ERROR", "INTERRUPTED", "SYNC_FAILED"})
KNOWN = LIVE | ENDING | ENDED

# These codes tell a job that the platform took away from one that ended by itself.
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
RESCUABLE = frozenset({"DONE", "SYNC_FAILED"})  # unless the last push failed, there is nothing to rescue
FAILED_PUSH = frozenset({"FAILED", "ERROR", "INTERRUPTED"})
LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Job:
    """One job of the platform. Times are UTC, units are GPUs or else CPUs."""

    id: str
    state: str
    created_at: datetime | None = None
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)  # of its environment
    exit_code: int | None = None
    info_code: str = ""
    info: str = ""
    timed_out: bool = False
    finalized: bool = False
    stop_requested: bool = False
    push_failed: bool = False
    saved: bool = False  # its outputs were copied back after all, by a push that somebody asked for
    copies_failed: int = 0  # such pushes that failed
    flavor: str = ""
    units: int = 0
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    finalized_at: datetime | None = None  # when its outputs had been copied back
    pending_at: datetime | None = None  # when it began to wait for a machine and to pull its image
    changed_at: datetime | None = None  # when it came into its state
    timeout: int | None = None  # seconds that it may run

    @property
    def ended(self) -> bool:
        """The job will write nothing more to the bucket.

        OVHcloud's documentation says that a job in TIMEOUT still runs and is about to be interrupted. Other sources say
        that it has stopped. So it counts as ended once its outputs have been copied back.
        """
        return self.state in ENDED or (self.state == "TIMEOUT" and self.finalized)

    @property
    def ending(self) -> bool:
        """The job is on its way to a bad end. A stopped job passes through FINALIZING, as a successful one does."""
        return (self.state in ENDING or (self.state == "FINALIZING" and self.stop_requested)) and not self.ended

    @property
    def live(self) -> bool:
        return not self.ended and not self.ending

    @property
    def succeeded(self) -> bool:
        """What the platform says. The executor also checks that the outputs are in the bucket."""
        if self.exit_code not in (0, None) or self.timed_out:
            return False
        if self.push_failed:
            return self.saved and self.state in RESCUABLE and not self.stop_requested
        return self.state == "DONE"

    @property
    def rescuable(self) -> bool:
        """The command succeeded, but its outputs are not in the bucket. The platform can still copy them."""
        good = self.exit_code == 0 or (self.exit_code is None and self.push_failed)
        if not good or self.timed_out or self.stop_requested or self.saved:
            return False
        return self.state == "SYNC_FAILED" or (self.state == "DONE" and self.push_failed)

    @property
    def age_key(self) -> tuple[datetime, str]:
        """Every head sorts jobs for the same work in this order. The oldest comes first."""
        return (self.created_at or LONG_AGO, self.id)


def read_job(record: object) -> Job | None:
    """A job from the platform's JSON. None if the record has no id."""
    if not isinstance(record, Mapping) or not get_text(record, "id"):
        return None
    spec, status = get_map(record, "spec"), get_map(record, "status")
    resources, info = get_map(spec, "resources"), get_map(status, "info")
    history = [entry for entry in get_list(status, "history") if isinstance(entry, Mapping)]
    states = [get_text(entry, "state") for entry in history]
    dates = [read_time(entry.get("date")) for entry in history]
    code = get_text(info, "code")
    state = get_text(status, "state").upper()
    # The platform's own pushes tell the end. One that a user asked for counts only if it came after them.
    pushes, later = [], []
    for sync in sorted_by_time([sync for sync in get_list(status, "dataSync") if is_push(sync)]):
        if is_manual(sync):
            later.append(get_text(get_map(sync, "status"), "state"))
        else:
            pushes.append(get_map(sync, "status"))
            later = []
    push_failed = bool(pushes) and get_text(pushes[-1], "state") in FAILED_PUSH
    return Job(
        id=record["id"],
        state=state,
        created_at=read_time(record.get("createdAt")) or read_time(status.get("queuedAt")),
        name=get_text(spec, "name"),
        labels={str(name): str(value) for name, value in get_map(spec, "labels").items()},
        variables=read_variables(spec),
        exit_code=read_int(status.get("exitCode")),
        info_code=code,
        info=get_text(info, "message"),
        timed_out=state == "TIMEOUT" or "TIMEOUT" in states or code == "JOB_TIMEOUT",
        finalized=bool(status.get("finalizedAt")) or bool(pushes and get_text(pushes[-1], "state") == "DONE"),
        stop_requested="INTERRUPTING" in states,
        push_failed=push_failed,
        saved=push_failed and "DONE" in later,
        copies_failed=sum(name in FAILED_PUSH for name in later),
        flavor=get_text(resources, "flavor"),
        units=read_int(resources.get("gpu")) or read_int(resources.get("cpu")) or 0,
        started_at=read_time(status.get("startedAt")),
        stopped_at=read_time(status.get("stoppedAt")),
        finalized_at=read_time(status.get("finalizedAt")),
        pending_at=dates[states.index("PENDING")] if "PENDING" in states else None,
        changed_at=read_time(status.get("lastTransitionDate")) or (dates[-1] if dates else None),
        timeout=read_int(spec.get("timeout")),
    )


def read_variables(spec: Mapping[str, Any]) -> dict[str, str]:
    """Older versions of the platform write `env` instead of `envVars`."""
    entries = [*get_list(spec, "env"), *get_list(spec, "envVars")]
    return {get_text(entry, "name"): get_text(entry, "value") for entry in entries if isinstance(entry, Mapping)}


def is_push(sync: object) -> bool:
    """Whether a data sync copies from the job to the bucket."""
    return isinstance(sync, Mapping) and get_text(get_map(sync, "spec"), "direction").lower() == "push"


def sorted_by_time(syncs: list[Any]) -> list[Any]:
    """The oldest first. As they are if one of them has no date."""
    times = [read_time(sync.get("createdAt")) for sync in syncs]
    return sorted(syncs, key=lambda sync: times[syncs.index(sync)] or LONG_AGO) if all(times) else syncs


def is_manual(sync: Mapping[str, Any]) -> bool:
    return get_map(sync, "spec").get("manual") is True
