"""Every setting of a platform, with its default."""

from typing import Any

DEFAULTS: dict[str, Any] = {
    # Account
    "logged_in": True,
    "user": "user-standin",
    "version": "3.37.0",
    "region": "GRA",
    # Units in use at once, over all jobs that have not ended. CPUs that come with a GPU are not counted.
    "quota": {"gpu": 4, "cpu": 20},
    # Name -> endpoint, region, access_key, secret_key of an S3 server.
    "data_stores": {},
    # Time. Seconds that a job stays in a state: a number, or [shortest, longest], drawn with the seed and the job's
    # number. RUNNING: seconds before the command starts. FINALIZING and INTERRUPTING: before the data goes back.
    "delays": {},
    "seed": 0,
    # Seconds of the platform in one real second: delays, --timeout, stop_grace and status.duration follow it.
    "time_scale": 1,
    # Seconds by which the platform's clock, and so each of its timestamps, is ahead.
    "clock_skew": 0,
    # Seconds between SIGTERM and SIGKILL for a job that is stopped or has run out of time.
    "stop_grace": 10,
    # Real seconds until a deleted job has left the list.
    "delete_seconds": 0,
    # Regular expression searched in a command (its words joined by blanks) -> seconds in RUNNING before it starts, in
    # all for those that are found.
    "simulate": {},
    # Regular expression searched in an image's name -> {"path": PATH in the job} or {"pull": "fail" or "backoff"}.
    # There are no real images here: every name works, and shows the programs of this machine.
    "images": {},
    # What a command sees. The user applies only when the platform runs as root; null: root.
    "job_uid": 42420,
    "home": "/",  # containers give this to a user without an account; null: HOME is not set
    # Folders that are empty in a job, besides those of users, other jobs, and temporary files.
    "hidden": [],
    # Container runtimes make the missing folders above a mount point as root: a job cannot write beside a volume.
    "mount_parents_writable": False,
    # Write lines of the data sync, marked [sync], into the jobs' logs.
    "sync_log_lines": False,
    # How many jobs a list shows at most, the newest; null: all. No limit is documented.
    "list_newest": None,
    # What the sources leave open.
    "create_buckets": False,  # a data sync makes a bucket that does not exist, as the help of `job run` says
    "timeout_state": "TIMEOUT",  # last state of a job that ran out of time: TIMEOUT, INTERRUPTED or FAILED
    "timeout_exit_code": None,  # its exit code; "real": that of the killed command
    "push_unchanged": False,  # files that were pulled and not changed go back too
    "volume_source": False,  # volumes[].volumeSource.dataStore instead of volumes[].dataStore
    "alter_labels": False,  # labels are shown in small letters and cut after 63 of them
    "url_field": "url",  # or "jobUrl"
    "duration_empty": False,  # status.duration is null
    "lose_prefix_with_trailing_slash": True,  # a volume `bucket@alias/prefix/:...` holds the whole bucket
}


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with changes; maps are merged, and a value None removes its key from a map.

    Raises KeyError for a name that is not a setting.
    """
    result = dict(settings)
    for name, value in changes.items():
        if name not in DEFAULTS:
            raise KeyError(f"no setting {name!r}; there are: {', '.join(DEFAULTS)}")
        if isinstance(DEFAULTS[name], dict):
            both = {**result[name], **value}
            value = {key: entry for key, entry in both.items() if entry is not None}
        result[name] = value
    return result
