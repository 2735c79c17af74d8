"""Checks of everything that jobs need, one after the other: `snakemake-ovhai doctor`."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.config
import botocore.exceptions

from .bucket import Bucket, BucketError
from .client import Client, NotAuthenticatedError, OvhaiError
from .states import get_list, get_map, get_text, read_int, read_job, read_time
from .submission import Resources
from .validation import check_resources, read_flavors

S3_ERRORS = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
CLOCK_TOLERANCE = 60  # seconds; S3 servers refuse requests that are 15 minutes off
SECRETS = (
    "SNAKEMAKE_STORAGE_S3_ACCESS_KEY",
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY",
    "SNAKEMAKE_STORAGE_S3_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "OVH_AI_TOKEN",
)
KEYS = "SNAKEMAKE_STORAGE_S3_ACCESS_KEY and SNAKEMAKE_STORAGE_S3_SECRET_KEY"
# What S3 servers say, and what to do about it.
REMEDIES = {
    "NoSuchBucket": "check --bucket, or create it: `ovhai bucket create DATA_STORE NAME`",
    "404": "check --bucket, or create it: `ovhai bucket create DATA_STORE NAME`",
    "InvalidAccessKeyId": f"set {KEYS} to keys of the project's S3 user",
    "SignatureDoesNotMatch": f"set {KEYS} to keys of the project's S3 user, and check the region",
    "AccessDenied": "give the S3 user of these keys the role ObjectStore Operator and rights on the bucket",
    "403": f"check {KEYS}, and the rights of their S3 user on the bucket",
    "RequestTimeTooSkewed": "set this machine's clock",
    "AuthorizationHeaderMalformed": "check --region",
}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor. A remedy is what makes it wrong."""

    check: str
    text: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return not self.remedy

    @property
    def line(self) -> str:
        words = " ".join(f"{self.check}: {self.text}".split())
        return f"ok    {words}" if self.ok else f"WRONG {words} -> {self.remedy}"

    @property
    def record(self) -> dict[str, Any]:
        return {"check": self.check, "ok": self.ok, "text": self.text, "remedy": self.remedy}


def hide_secrets(text: str) -> str:
    """Programs and servers may repeat what they were given."""
    for value in filter(None, map(os.environ.get, SECRETS)):
        if len(value) >= 8:
            text = text.replace(value, "***")
    return text


def check_all(
    client: Client,
    datastore: str | None,
    bucket: str | None,
    prefix: str | None,
    endpoint: str | None,
    region: str | None,
    flavors: Sequence[str],
) -> Iterator[Finding]:
    """Each finding as soon as it is known. What needs the login is left out without one."""
    if not endpoint and (place := os.environ.get("OVHAI_REGION")):
        endpoint = f"https://s3.{place}.io.cloud.ovh.net"  # as OVHcloud's documentation of data stores has it
    account: dict[str, Any] | None = None
    if not client.is_installed():
        yield Finding("program", "`ovhai` is not on PATH", "install it from https://cli.gra.ai.cloud.ovh.net")
    else:
        yield from check_version(client)
        try:
            account = client.get_account()
        except NotAuthenticatedError:
            yield Finding("login", "nobody is logged in, or the login has expired", "run `ovhai login`")
        except OvhaiError as error:
            yield Finding("login", str(error), "try again later, or run `ovhai login`")
        else:
            yield Finding("login", f"{get_text(account, 'name') or 'a user without name'} is logged in")
    if account is not None:
        yield from check_datastore(client, datastore, endpoint)
    bucket_time = yield from check_bucket(bucket, prefix, endpoint, region)
    if account is not None:
        yield from check_platform(client, account, flavors, bucket_time)


def check_version(client: Client) -> Iterator[Finding]:
    try:
        yield Finding("program", client.get_version() or "`ovhai` does not tell its version")
    except OvhaiError as error:
        yield Finding("program", str(error), "install it again from https://cli.gra.ai.cloud.ovh.net")


def check_datastore(client: Client, datastore: str | None, endpoint: str | None) -> Iterator[Finding]:
    remedy = "`ovhai datastore add s3 ALIAS ENDPOINT REGION ACCESS_KEY SECRET_KEY` adds one"
    if not datastore:
        yield Finding("data store", "none was given", "name it with --datastore or OVHAI_DATASTORE")
        return
    try:
        rows = [line.split() for line in client.list_datastores().splitlines()]
    except OvhaiError as error:
        yield Finding("data store", str(error), "try again later")
        return
    stores = {row[0]: row[1:] for row in rows if row and row[0] != "ALIAS"}
    if datastore not in stores:
        known = [name for name, columns in stores.items() if "s3" in columns]
        yield Finding(
            "data store", f"{datastore!r} is unknown; S3 data stores are {', '.join(known) or 'none'}", remedy
        )
        return
    kind = next(iter(stores[datastore]), "")
    if kind != "s3":
        yield Finding("data store", f"{datastore} is of type {kind or 'unknown'}, but jobs need type s3", remedy)
        return
    address = next((column for column in stores[datastore] if "://" in column), None)
    if address and endpoint and get_host(address) != get_host(endpoint):
        yield Finding(
            "data store",
            f"{datastore} is at {address}, but Snakemake's storage is at {endpoint}: jobs would read another bucket",
            "choose the data store or the --endpoint of the same place",
        )
        return
    yield Finding("data store", f"{datastore} is there")


def get_host(address: str) -> str:
    """OVHcloud has two addresses for the same buckets."""
    return urlsplit(address).netloc.lower().replace(".perf.cloud.ovh", ".io.cloud.ovh")


# The bucket -------------------------------------------------------------------------------------------------------


def check_bucket(bucket: str | None, prefix: str | None, endpoint: str | None, region: str | None) -> Any:
    """Yields findings, returns how far the bucket's clock is ahead of this machine's, None if it is not known."""
    if not bucket:
        yield Finding("bucket", "none was given", "name it with --bucket or OVHAI_BUCKET")
        return None
    try:
        client = make_client(endpoint, region)
        ahead = Bucket(client).get_time(bucket) - datetime.now(UTC)
        problem = try_bucket(client, bucket, f"{prefix or ''}/.ovhai/doctor-{uuid.uuid4().hex}".lstrip("/"))
    except (*S3_ERRORS, ValueError) as error:
        yield Finding("bucket", f"s3://{bucket}: {error}", get_remedy(error))
        return None
    except BucketError as error:  # its text has the server's code in it
        yield Finding("bucket", str(error), get_remedy(error))
        return None
    if problem:
        yield problem
    else:
        yield Finding("bucket", f"s3://{bucket} is readable and writable")
    return ahead


def make_client(endpoint: str | None, region: str | None) -> Any:
    """With the settings of Snakemake's S3 storage plugin, or what boto3 finds by itself."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint or None,
        region_name=region or None,
        aws_access_key_id=os.environ.get("SNAKEMAKE_STORAGE_S3_ACCESS_KEY") or None,
        aws_secret_access_key=os.environ.get("SNAKEMAKE_STORAGE_S3_SECRET_KEY") or None,
        aws_session_token=os.environ.get("SNAKEMAKE_STORAGE_S3_TOKEN") or None,
        config=botocore.config.Config(connect_timeout=10, read_timeout=30, retries={"max_attempts": 2}),
    )


def try_bucket(client: Any, bucket: str, key: str) -> Finding | None:
    """Write, list, read and delete a small object; returns the first of these that fails."""
    content = uuid.uuid4().hex.encode()
    step = "written"
    try:
        client.put_object(Bucket=bucket, Key=key, Body=content)
        try:
            step = "listed"
            client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
            step = "read"
            same = client.get_object(Bucket=bucket, Key=key)["Body"].read() == content
        except S3_ERRORS:
            with contextlib.suppress(*S3_ERRORS):
                client.delete_object(Bucket=bucket, Key=key)
            raise
        step = "deleted"
        client.delete_object(Bucket=bucket, Key=key)
    except S3_ERRORS as error:
        return Finding("bucket", f"s3://{bucket}/{key} could not be {step}: {error}", get_remedy(error))
    if not same:
        return Finding(
            "bucket", f"s3://{bucket}/{key} is not what was written", "choose a server with consistent reads"
        )
    return None


def get_remedy(error: Exception) -> str:
    words = str(error)
    for code, remedy in REMEDIES.items():
        if re.search(rf"\b{code}\b", words):
            return remedy
    if isinstance(error, botocore.exceptions.NoCredentialsError) or "credentials" in words:
        return f"set {KEYS}"
    return "check --endpoint, --region and --bucket"


# The platform -----------------------------------------------------------------------------------------------------


def check_platform(
    client: Client, account: Mapping[str, Any], names: Sequence[str], bucket_ahead: timedelta | None
) -> Iterator[Finding]:
    try:
        records = client.list_records()
    except OvhaiError as error:
        yield Finding("jobs", str(error), "try again later")
    else:
        yield from check_clock(records, bucket_ahead)
        yield from check_quota(records, account)
    yield from check_flavors(client, names)


def check_clock(records: Sequence[object], bucket_ahead: timedelta | None) -> Iterator[Finding]:
    """The platform does not tell the time. Its jobs do: nothing has happened later than now, and a job that runs has a
    duration. So a clock that is behind shows only while a job runs."""
    ahead: dict[str, float] = {}
    if bucket_ahead is not None:
        ahead["the bucket"] = bucket_ahead.total_seconds()
    known, now = find_platform_time(records)
    if known:
        seconds = (known - datetime.now(UTC)).total_seconds()
        if now or seconds > 0:
            ahead["the platform"] = seconds
    wrong = {name: seconds for name, seconds in ahead.items() if abs(seconds) > CLOCK_TOLERANCE}
    if wrong:
        words = " and ".join(
            f"{name} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine"
            for name, seconds in wrong.items()
        )
        yield Finding("clock", words, "set this machine's clock, such as by `timedatectl set-ntp true`")
    elif ahead:
        yield Finding("clock", f"{' and '.join(ahead)} and this machine agree")
    else:
        yield Finding("clock", "cannot be compared, as there is neither a bucket nor a recent job")


def find_platform_time(records: Sequence[object]) -> tuple[datetime | None, bool]:
    """The latest time in the platform's jobs, and whether that is its present time."""
    latest, present = None, False
    for record in records:
        if not isinstance(record, Mapping):
            continue
        status = get_map(record, "status")
        history = [entry.get("date") for entry in get_list(status, "history") if isinstance(entry, Mapping)]
        dates = map(read_time, (record.get("createdAt"), record.get("updatedAt"), *history))
        times = [date for date in dates if date]
        started, duration = read_time(status.get("startedAt")), read_int(status.get("duration"))
        is_present = False
        if get_text(status, "state") == "RUNNING" and started and duration and duration < 10**8:
            end = started + timedelta(seconds=duration)
            # A duration that was counted at the job's last change says nothing about now.
            is_present = all(end - time > timedelta(seconds=2) for time in times)
            times.append(end)
        if times and (latest is None or max(times) > latest):
            latest, present = max(times), is_present
    return latest, present


def check_quota(records: Sequence[object], account: Mapping[str, Any]) -> Iterator[Finding]:
    """Units of jobs that have not ended, as the platform counts them: CPUs that come with GPUs do not count."""
    used = {"cpu": 0, "gpu": 0}
    for record in records:
        job = read_job(record)
        if job and not job.ended and isinstance(record, Mapping):
            resources = get_map(get_map(record, "spec"), "resources")
            gpu = read_int(resources.get("gpu")) or 0
            used["gpu" if gpu else "cpu"] += gpu or read_int(resources.get("cpu")) or 0
    quotas = get_map(get_map(account, "quotas"), "resources")
    totals = {name.lower(): read_int(value) for name, value in quotas.items() if name.lower() in used}
    left = {name: total - used[name] for name, total in totals.items() if total is not None}
    if not left:
        yield Finding("quota", "the platform does not tell it")
        return
    words = ", ".join(f"{max(0, number)} of {totals[name]} {name.upper()}s left" for name, number in left.items())
    if any(number <= 0 for number in left.values()):
        yield Finding(
            "quota", words, "wait, stop jobs with `snakemake-ovhai stop`, or ask OVHcloud's support for a higher quota"
        )
    else:
        yield Finding("quota", words)


def check_flavors(client: Client, names: Sequence[str]) -> Iterator[Finding]:
    try:
        flavors = read_flavors(client.list_flavors())
    except OvhaiError as error:
        yield Finding("flavors", str(error), "try again later")
        return
    if not names:
        yield Finding("flavors", f"there are {', '.join(sorted(flavors))}")
    for name in names:
        unit = flavors[name].kind if name in flavors else ""
        problems = check_resources(Resources(int(unit == "gpu"), 1, name, 1), flavors)
        if problems or not flavors:
            text = "; ".join(problems) or "the platform names none"
            yield Finding("flavor", text, "choose one of `ovhai capabilities flavor list`")
        else:
            yield Finding("flavor", f"{name} is known")
