"""Job records: {"job": what the platform shows, "private": what only the stand-in knows}.

Private: number (jobs before this one), runner (process), stop (asked to stop), syncs (directions asked for by hand),
gone_at (when a deleted job leaves the platform, in seconds since 1970).
"""

import datetime
import uuid
from typing import Any

from ovhai_standin.flavors import GPUS_PER_UNIT
from ovhai_standin.folder import PlatformFolder

Job = dict[str, Any]
Record = dict[str, Any]

LAST_STATES = ("DONE", "FAILED", "ERROR", "INTERRUPTED", "SYNC_FAILED", "TIMEOUT")
MOMENTS = {
    "QUEUED": "queuedAt",
    "INITIALIZING": "initializingAt",
    "RUNNING": "startedAt",
    "TIMEOUT": "timeoutAt",
}


def new(folder: PlatformFolder, spec: dict[str, Any], settings: dict[str, Any]) -> Record:
    """The record of a new job, not yet written. Needs the lock, so that numbers are unique."""
    job_id = str(uuid.uuid4())
    now = timestamp(settings)
    region = settings["region"].lower()
    labels = {**spec["labels"], "ovh/id": job_id, "ovh/type": "job"}
    job: Job = {
        "id": job_id,
        "createdAt": now,
        "updatedAt": now,
        "user": settings["user"],
        "spec": {**spec, "labels": labels, "name": spec["name"] or f"standin-{job_id[:8]}"},
        "status": {
            "state": None,
            "exitCode": None,
            "duration": None,
            **dict.fromkeys(["queuedAt", "initializingAt", "startedAt", "stoppedAt", "finalizedAt", "timeoutAt"]),
            "lastTransitionDate": now,
            "history": [],
            "info": {},
            "dataSync": [],
            "volumes": [volume_status(volume) for volume in spec["volumes"]],
            "url": f"https://{job_id}.job.{region}.ai.cloud.ovh.net",
            "infoUrl": f"https://ui.{region}.ai.cloud.ovh.net/job/{job_id}",
            "monitoringUrl": None,
            "sshUrl": f"ssh://{job_id}@{region}.ai.cloud.ovh.net" if spec["sshPublicKeys"] else None,
            "grpcAddress": "",
            "ip": None,
            "externalIp": None,
        },
    }
    enter(job, "QUEUED", settings)
    private: dict[str, Any] = {
        "number": folder.next_number(),
        "runner": None,
        "stop": False,
        "syncs": [],
        "gone_at": None,
    }
    return {"job": job, "private": private}


def volume_status(volume: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "mountPath": volume["mountPath"], "userVolumeId": str(uuid.uuid4())}


def enter(
    job: Job,
    state: str,
    settings: dict[str, Any],
    code: str | None = None,
    message: str | None = None,
    last: bool = False,
) -> None:
    """Change a job's state; last: the job has ended."""
    now = timestamp(settings)
    status = job["status"]
    status["state"] = state
    status["history"].append({"state": state, "date": now})
    status["lastTransitionDate"] = job["updatedAt"] = now
    if state in MOMENTS and not status[MOMENTS[state]]:
        status[MOMENTS[state]] = now
    if last:
        status["finalizedAt"] = now
    set_info(job, code or f"JOB_{state}", message or f"Job is {state.lower()}")


def set_info(job: Job, code: str, message: str) -> None:
    job["status"]["info"] = {"code": code, "message": message}


def tell(job: Job, rule: dict[str, Any]) -> None:
    """What a rule of faults says about the job's state."""
    if "code" in rule:
        set_info(job, rule["code"], rule.get("message", ""))


def has_ended(job: Job) -> bool:
    return bool(job["status"]["finalizedAt"])


def in_use(jobs: list[Job]) -> dict[str, int]:
    """GPUs and CPUs that count against the quota: those of a GPU flavor come with its GPUs."""
    live = [job["spec"]["resources"] for job in jobs if not has_ended(job)]
    return {
        "gpu": sum(resources["gpu"] for resources in live),
        "cpu": sum(resources["cpu"] for resources in live if not resources["gpu"]),
    }


def exceeds_quota(resources: dict[str, Any], jobs: list[Job], quota: dict[str, int]) -> bool:
    kind = "gpu" if resources["gpu"] else "cpu"
    return bool(in_use(jobs)[kind] + resources[kind] > quota[kind])


def shown(job: Job, settings: dict[str, Any]) -> Job:
    """A job as the present variant of the platform prints it. It shares what is not changed."""
    job = {**job, "status": dict(job["status"])}
    status = job["status"]
    status["duration"] = None if settings["duration_empty"] else duration(status, settings)
    status[settings["url_field"]] = status.pop("url")
    if settings["volume_source"]:
        job["spec"] = {**job["spec"], "volumes": [name_source(volume) for volume in job["spec"]["volumes"]]}
    return job


def name_source(volume: dict[str, Any]) -> dict[str, Any]:
    if "dataStore" not in volume:
        return volume
    others = {name: value for name, value in volume.items() if name != "dataStore"}
    return {**others, "volumeSource": {"dataStore": volume["dataStore"]}}


def duration(status: dict[str, Any], settings: dict[str, Any]) -> int | None:
    """Seconds of the platform since RUNNING."""
    if not status["startedAt"]:
        return None
    started, stopped = (
        datetime.datetime.fromisoformat(text)
        for text in (status["startedAt"], status["stoppedAt"] or timestamp(settings))
    )
    return round((stopped - started).total_seconds() * settings["time_scale"])


def bill(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Flavor, units and the platform's seconds from PENDING (the image pull) to the job's end, or to now."""
    status, resources = job["status"], job["spec"]["resources"]
    begin = next((entry["date"] for entry in status["history"] if entry["state"] == "PENDING"), None)
    end = status["finalizedAt"] or timestamp(settings)
    seconds = 0.0
    if begin:
        seconds = (datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(begin)).total_seconds()
    units = resources["gpu"] // GPUS_PER_UNIT.get(resources["flavor"], 1) or resources["cpu"]
    return {"flavor": resources["flavor"], "units": units, "seconds": seconds * settings["time_scale"]}


def timestamp(settings: dict[str, Any]) -> str:
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=settings["clock_skew"])
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def description(job: Job) -> str:
    """What `match` of a fault is searched in."""
    spec = job["spec"]
    labels = [f"{name}={value}" for name, value in spec["labels"].items()]
    return "\n".join([spec["name"], spec["image"], *labels, " ".join(spec["command"] or [])])


def new_data_sync(direction: str, manual: bool, job_id: str, settings: dict[str, Any]) -> dict[str, Any]:
    now = timestamp(settings)
    return {
        "id": str(uuid.uuid4()),
        "createdAt": now,
        "updatedAt": now,
        "spec": {"direction": direction, "manual": manual, "jobId": job_id, "volume": None},
        "status": {
            "state": "RUNNING",
            "queuedAt": now,
            "startedAt": now,
            "endedAt": None,
            "info": {"code": "DATASYNC_RUNNING", "message": "Data sync is running"},
            "progress": [],
        },
    }


def add_progress(
    data_sync: dict[str, Any],
    volume: dict[str, Any],
    place: str,
    counters: dict[str, int],
    error_code: str | None,
    settings: dict[str, Any],
) -> None:
    now = timestamp(settings)
    counters = dict(counters)
    data_sync["status"]["progress"].append(
        {
            "id": str(uuid.uuid4()),
            "direction": data_sync["spec"]["direction"],
            "state": "FAILED" if error_code else "DONE",
            "info": place,
            "transferredBytes": counters.pop("transferred"),
            **counters,
            "createdAt": now,
            "updatedAt": now,
            "jobVolume": volume,
            **({"reason": {"code": error_code, "message": ""}} if error_code else {}),
        }
    )


def end_data_sync(data_sync: dict[str, Any], error_code: str | None, message: str, settings: dict[str, Any]) -> None:
    now = timestamp(settings)
    status = data_sync["status"]
    status["state"] = "FAILED" if error_code else "DONE"
    status["info"] = {"code": error_code or "DATASYNC_DONE", "message": message}
    status["endedAt"] = data_sync["updatedAt"] = now


def replace_data_sync(job: Job, data_sync: dict[str, Any]) -> None:
    syncs = job["status"]["dataSync"]
    job["status"]["dataSync"] = [data_sync if entry["id"] == data_sync["id"] else entry for entry in syncs]
    moment = "lastPulledCreatedAt" if data_sync["spec"]["direction"] == "pull" else "lastPushedCreatedAt"
    copied = {entry["jobVolume"]["mountPath"] for entry in data_sync["status"]["progress"] if entry["state"] == "DONE"}
    for volume in job["status"]["volumes"]:
        if volume["mountPath"] in copied:
            volume[moment] = data_sync["createdAt"]
