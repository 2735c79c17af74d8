"""`snakemake-ovhai reap`: live jobs of a workflow that no run watches any more."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..bucket import Bucket, BucketError, make_client
from ..client import Client
from ..environment import find_endpoint
from ..flavors import Flavor
from ..heartbeat import BEAT, Head, Watch, read_heads, sort_jobs
from ..job import Job
from ..labels import find_prefix, get_label, get_submission_time, get_workflow_label, may_be_in
from ..place import PlaceError, split_storage_prefix
from ..prices import PriceError, Prices, load_prices
from ..probe import probe_bucket
from . import table
from .doctor_bucket import NAMES, add_place_arguments, get_access_of_variables
from .jobs import format_seconds, make_record
from .prices import add_prices_argument, list_flavors
from .selection import CommandError
from .stop import stop_and_tell
from .waiting import add_wait_argument

HELP = "list the live jobs of a workflow whose run is gone, with age and cost an hour, and stop them once you say so"
# Seconds until a silent head is looked for again. After an outage of the bucket each head gives a sign within one BEAT
# and the time of a request.
AGAIN = 2 * BEAT
UNKNOWN = "nothing was stopped, since it cannot be told which runs are alive"


@dataclass(frozen=True)
class Place:
    """The files of a workflow."""

    bucket: Bucket
    name: str
    root: str

    def look(self, jobs: Iterable[Job]) -> Watch:
        """jobs: all that the platform knows. BucketError if it cannot be told who watches them."""
        label = get_workflow_label(self.name, self.root)
        ours = [job for job in jobs if get_label(job, "workflow").lower() == label]
        return sort_jobs(ours, read_heads(self.bucket, self.name, self.root) if ours else [])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="stop them without asking")
    add_place_arguments(parser)
    add_wait_argument(parser)
    add_prices_argument(parser)


def run(arguments: argparse.Namespace, client: Client) -> int:
    try:
        return reap(arguments, client, load_prices(arguments.prices))
    except PriceError as error:
        raise CommandError(str(error)) from None
    except BucketError as error:
        raise CommandError(f"{UNKNOWN}: {error}") from None


def reap(arguments: argparse.Namespace, client: Client, prices: Prices) -> int:
    place = open_place(arguments.bucket, arguments.prefix, arguments.endpoint or find_endpoint(), arguments.region)
    listed = client.list_jobs()
    place = choose_root(place, listed, arguments.prefix)
    watch = place.look(listed)
    only_end = arguments.yes and arguments.json  # what becomes of the jobs is one JSON document
    if not only_end:
        show(watch, place, prices, list_flavors(client), arguments.json)
    if watch.left and (arguments.yes or is_confirmed(len(watch.left), arguments.json)):
        return stop_and_tell(client, look_again(client, place, watch), arguments.wait, arguments.json)
    if only_end:
        print("[]")
    return 0


def open_place(bucket: str | None, prefix: str | None, endpoint: str, region: str | None) -> Place:
    """CommandError if the bucket cannot be read: then nobody knows which jobs have a head."""
    if not bucket:
        raise CommandError("no bucket is set; name it with --bucket or OVHAI_BUCKET")
    try:
        root = split_storage_prefix(f"s3://{bucket}/{prefix or ''}")[1]
    except PlaceError as error:
        raise CommandError(f"{error}; correct --bucket or OVHAI_BUCKET, and --prefix or OVHAI_PREFIX") from None
    access = get_access_of_variables(endpoint, region)
    problem = probe_bucket(access, bucket, root, NAMES).problem
    if problem:
        raise CommandError(f"{UNKNOWN}: {problem.line}")
    return Place(Bucket(make_client(access, 10, 30, 2)), bucket, root)


def choose_root(place: Place, jobs: Iterable[Job], prefix: str | None) -> Place:
    """If no prefix is given, that of the bucket's live jobs. CommandError if there are several, or if none is sure."""
    labels = {get_label(job, "workflow").lower() for job in jobs if job.live}
    if prefix or get_workflow_label(place.name, "") in labels:
        return place
    found = {label: find_prefix(place.name, label) for label in labels if may_be_in(place.name, label)}
    known = sorted(root for root in found.values() if root)
    if len(found) == len(known) == 1:
        return Place(place.bucket, place.name, known[0])
    if found:
        names = ", ".join(f"{root or '?'} ({label})" for label, root in sorted(found.items()))
        raise CommandError(
            f"name the prefix of the workflow with --prefix or OVHAI_PREFIX; live jobs belong to {names}"
        )
    return place


def look_again(client: Client, place: Place, before: Watch) -> list[Job]:
    """Those jobs that still have no head. One that was silent may only have lost its connection for a while."""
    if not all(head.ended for _, head in before.left):
        print(f"Looking once more in {AGAIN:.0f} s, in case a run has lost its connection.", file=sys.stderr)
        time.sleep(AGAIN)
    still = {job.id: job for job, _ in place.look(client.list_jobs()).left}
    for job, head in before.left:
        if job.id not in still:
            print(f"{job.id} stays: it has ended, or a run watches it ({head.place}).", file=sys.stderr)
    return [still[job.id] for job, _ in before.left if job.id in still]


def is_confirmed(number: int, as_json: bool) -> bool:
    """CommandError if there is nobody to ask."""
    if as_json or not sys.stdin.isatty():
        reason = "--json asks nothing" if as_json else "there is no terminal to ask on"
        raise CommandError(f"nothing was stopped, since {reason}; add --yes to stop {describe(number)}")
    print(f"Stop {describe(number)}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("Nothing was stopped.", file=sys.stderr)
    return False


def describe(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


# What is shown -------------------------------------------------------------------------------------------------------


def show(watch: Watch, place: Place, prices: Prices, flavors: Mapping[str, Flavor], as_json: bool) -> None:
    now = place.bucket.get_time(place.name) if watch.left else None
    records = [describe_job(job, head, now, prices, flavors) for job, head in watch.left] if now else []
    if as_json:
        print(json.dumps(records, indent=2))
    elif records:
        print_table(records)
        print(describe_cost(records, prices))
    where = f"s3://{place.name}/{place.root}".rstrip("/")
    print(f"{where}: {describe(len(watch.kept))} that a run watches.", file=sys.stderr)
    if watch.unknown:
        names = " ".join(job.id for job in watch.unknown)
        print(
            f"It is not known whether the runs of these jobs are alive, since the bucket has no sign of them, so they "
            f"stay: {names}. To stop one: snakemake-ovhai stop ID",
            file=sys.stderr,
        )
    if not records:
        print("No live job is left without a run.", file=sys.stderr)


def describe_job(job: Job, head: Head, now: datetime, prices: Prices, flavors: Mapping[str, Flavor]) -> dict[str, Any]:
    """now: by the bucket's clock, as the time of the submission."""
    record = make_record(job, now, prices, flavors)
    submitted = get_submission_time(job)
    if submitted:
        record["age"] = max(0, round((now - submitted).total_seconds()))
    return record | {"head": head.place, "head_ended": head.ended, "head_silent": round(head.silent)}


def print_table(records: Sequence[Mapping[str, Any]]) -> None:
    rows = [("ID", "RULE", "WILDCARDS", "STATE", "AGE", "FLAVOR", "AN HOUR", "SO FAR", "ITS RUN")]
    for record in records:
        silent = f"silent for {format_seconds(record['head_silent'])}"
        rows.append(
            (
                record["id"],
                record["rule"],
                "/".join(record["wildcards"].values()) or "-",
                record["state"] or "-",
                "-" if record["age"] is None else format_seconds(record["age"]),
                f"{record['flavor'] or '-'} x {record['units']}",
                show_money(record["price_per_hour"], record["currency"]),
                show_money(record["cost"], record["currency"]),
                f"{'ended' if record['head_ended'] else silent}, {record['head']}",
            )
        )
    table.print_table(rows)


def show_money(amount: float | None, currency: str) -> str:
    return "unknown" if amount is None else f"{amount:.2f} {currency}"


def describe_cost(records: Sequence[Mapping[str, Any]], prices: Prices) -> str:
    known = [record["price_per_hour"] for record in records if record["price_per_hour"] is not None]
    least = "at least " if len(known) < len(records) else ""
    return f"{describe(len(records))}: {least}{prices.show(sum(known))} an hour, without VAT"
