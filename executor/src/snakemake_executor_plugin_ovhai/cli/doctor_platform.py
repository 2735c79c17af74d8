"""The doctor's checks of the platform: program, login, data store, clock, quota, flavors."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..choice import AUTO
from ..client import INSTALL, Client, NotAuthenticatedError, OvhaiError
from ..datastore import find_datastore_problem
from ..estimate import load_speeds
from ..flavors import Flavor, check_resources, read_flavors
from ..job import read_job
from ..job_spec import Resources
from ..prices import PriceError, Prices, load_prices
from ..records import get_list, get_map, get_text, read_int, read_time
from .finding import Finding

CLOCK_TOLERANCE = 60  # seconds; S3 servers refuse requests that are 15 minutes off


def check_login(client: Client) -> Generator[Finding, None, dict[str, Any] | None]:
    """Returns the account, or None if nobody is logged in."""
    if not client.is_installed():
        yield Finding("program", "`ovhai` is not on PATH", INSTALL)
        return None
    try:
        yield Finding("program", client.get_version() or "`ovhai` does not tell its version")
    except OvhaiError as error:
        yield Finding("program", str(error), INSTALL.replace("install it", "install it again"))
    try:
        account = client.get_account()
    except NotAuthenticatedError:
        yield Finding("login", "nobody is logged in, or the login has expired", "run `ovhai login`")
        return None
    except OvhaiError as error:
        yield Finding("login", str(error), "try again later, or run `ovhai login`")
        return None
    yield Finding("login", f"{get_text(account, 'name') or 'a user without a name'} is logged in")
    return account


def check_datastore(client: Client, datastore: str | None, endpoint: str) -> Iterator[Finding]:
    if not datastore:
        yield Finding("data store", "none is set", "set it with --datastore or OVHAI_DATASTORE")
        return
    try:
        problem = find_datastore_problem(client.list_datastores(), datastore, endpoint, "--endpoint")
    except OvhaiError as error:
        yield Finding("data store", str(error), "try again later")
        return
    yield (
        Finding(problem.what, problem.text, "" if problem.passing else problem.remedy)
        if problem
        else Finding("data store", f"{datastore} is there")
    )


def check_platform(
    client: Client, account: Mapping[str, Any], names: Sequence[str], bucket_ahead: timedelta | None
) -> Iterator[Finding]:
    try:
        records = client.list_records()
    except OvhaiError as error:
        yield Finding("jobs", str(error), "try again later")
        yield from check_clock([], bucket_ahead)
    else:
        yield from check_clock(records, bucket_ahead)
        yield from check_quota(records, account)
    yield from check_flavors(client, names)


def check_clock(records: Sequence[object], bucket_ahead: timedelta | None) -> Iterator[Finding]:
    """Compare this machine's clock with those of bucket and platform.

    The platform does not tell the time, but its jobs do: nothing in them happened later than now, and a running job has
    a duration. So a platform's clock that is behind shows only while a job runs.
    """
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
        text = " and ".join(
            f"{name} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine"
            for name, seconds in wrong.items()
        )
        yield Finding("clock", text, "set this machine's clock, such as by `timedatectl set-ntp true`")
    elif ahead:
        yield Finding("clock", f"{' and '.join(ahead)} and this machine agree")
    else:
        yield Finding("clock", "it cannot be compared, because there is neither a bucket nor a recent job")


def find_platform_time(records: Sequence[object]) -> tuple[datetime | None, bool]:
    """The latest time in the platform's jobs, and whether that is the platform's present time."""
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
            # A duration that was counted when the job last changed says nothing about now.
            is_present = all(end - time > timedelta(seconds=2) for time in times)
            times.append(end)
        if times and (latest is None or max(times) > latest):
            latest, present = max(times), is_present
    return latest, present


def check_quota(records: Sequence[object], account: Mapping[str, Any]) -> Iterator[Finding]:
    """What is left of the project's quota. As on the platform, CPUs that come with GPUs do not count."""
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
        yield Finding("quota", "the platform does not tell the quota")
        return
    text = ", ".join(f"{max(0, number)} of {totals[name]} {name.upper()}s left" for name, number in left.items())
    if any(number <= 0 for number in left.values()):
        yield Finding(
            "quota", text, "wait, stop jobs with `snakemake-ovhai stop`, or ask OVHcloud's support for a higher quota"
        )
    else:
        yield Finding("quota", text)


def list_flavors(flavors: Mapping[str, Flavor]) -> Iterator[Finding]:
    """What `flavor: auto` chooses from."""
    try:
        prices = load_prices()
    except PriceError as error:
        yield Finding("prices", str(error), "correct or remove the file")
        return
    for flavor in sorted(flavors.values(), key=lambda flavor: (flavor.kind, prices.get_hour(flavor.id, 1) or 1e9)):
        yield Finding(f"flavor {flavor.id}", describe_flavor(flavor, prices))


def describe_flavor(flavor: Flavor, prices: Prices) -> str:
    parts = []
    if flavor.kind == "gpu":
        memory = f" with {flavor.gpu_memory / 1e9:.0f} GB" if flavor.gpu_memory else ""
        parts.append(f"{flavor.gpus} GPUs{memory and memory + ' each'}" if flavor.gpus > 1 else f"GPU{memory}")
    parts.append(f"{flavor.cpu or '?'} CPUs and {f'{flavor.memory / 1e9:.0f}' if flavor.memory else '?'} GB a unit")
    parts.append(f"up to {flavor.max or '?'} units")
    hour = prices.get_hour(flavor.id, 1)
    cost = f"{hour:.4g} {prices.currency} an hour" if hour else "price unknown"
    speed = load_speeds().get(flavor.id)
    return ", ".join(parts) + f"; {cost}" + (f", {speed:g} times as fast as a V100S" if speed else "")


def check_flavors(client: Client, names: Sequence[str]) -> Iterator[Finding]:
    try:
        flavors = read_flavors(client.list_flavors())
    except OvhaiError as error:
        yield Finding("flavors", str(error), "try again later")
        return
    if not names:
        yield Finding("flavors", f"there are {', '.join(sorted(flavors))}")
    yield from list_flavors(flavors)
    for name in names:
        if name == AUTO:
            continue
        unit = flavors[name].kind if name in flavors else ""
        problems = check_resources(Resources(int(unit == "gpu"), 1, name, 1), flavors)
        if problems or not flavors:
            text = "; ".join(problems) or "the platform names none"
            yield Finding("flavor", text, "choose one of `ovhai capabilities flavor list`")
        else:
            yield Finding("flavor", f"{name} is known")
