"""`snakemake-ovhai jobs`: a table of the workflows' jobs."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..bill import make_charge
from ..client import Client
from ..flavors import Flavor
from ..job import Job
from ..labels import get_label, get_wildcards
from ..prices import PriceError, Prices, load_prices
from . import table
from .prices import add_prices_argument, list_flavors
from .selection import CommandError, add_workflow_argument, list_workflow_jobs

HELP = "list the live jobs of workflows, each with the time since it was created and what it has cost so far"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also list jobs that have ended, with the time they ran")
    add_workflow_argument(parser)
    add_prices_argument(parser)


def run(arguments: argparse.Namespace, client: Client) -> int:
    jobs = list_workflow_jobs(client, arguments.workflow)
    if not arguments.all:
        jobs = [job for job in jobs if not job.ended]
    now = datetime.now(UTC)
    try:
        prices = load_prices(arguments.prices)
    except PriceError as error:
        raise CommandError(str(error)) from None
    flavors = list_flavors(client)
    records = [make_record(job, now, prices, flavors) for job in sorted(jobs, key=lambda job: job.age_key)]
    if arguments.json:
        print(json.dumps(records, indent=2))
    elif records:
        print_table(records)
    else:
        print("no jobs" if arguments.all else "no live jobs; --all also lists ended ones", file=sys.stderr)
    return 0


def make_record(job: Job, now: datetime, prices: Prices, flavors: Mapping[str, Flavor]) -> dict[str, Any]:
    """For people and programs. A live job has an age, an ended one a duration, both in seconds.

    cost: so far, without VAT. It is None if the price of the flavor is not known.
    """
    charge = make_charge(job, prices, flavors, now)
    age = duration = None
    if job.ended:
        duration = count_seconds(job.started_at, job.stopped_at)
    else:
        age = count_seconds(job.created_at, now)
    return {
        "id": job.id,
        "workflow": get_label(job, "workflow"),
        "rule": get_label(job, "rule"),
        "wildcards": get_wildcards(job),
        "attempt": get_label(job, "attempt"),
        "state": job.state,
        "age": age,
        "duration": duration,
        "flavor": job.flavor,
        "units": charge.units,
        "price_per_hour": charge.price_per_hour,
        "cost": charge.cost,
        "currency": prices.currency,
    }


def count_seconds(begin: datetime | None, end: datetime | None) -> int | None:
    """Never negative, although the platform's clock may be ahead."""
    return max(0, round((end - begin).total_seconds())) if begin and end else None


def print_table(records: Sequence[Mapping[str, Any]]) -> None:
    rows = [("ID", "RULE", "WILDCARDS", "ATTEMPT", "STATE", "TIME", "FLAVOR", "COST")]
    for record in records:
        seconds = record["age"] if record["duration"] is None else record["duration"]
        rows.append(
            (
                record["id"],
                record["rule"],
                "/".join(record["wildcards"].values()) or "-",
                record["attempt"] or "-",
                record["state"] or "-",
                "-" if seconds is None else format_seconds(seconds),
                f"{record['flavor'] or '-'} x {record['units']}",
                "unknown" if record["cost"] is None else f"{record['cost']:.2f} {record['currency']}",
            )
        )
    table.print_table(rows)


def format_seconds(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"
