"""`snakemake-ovhai bill`: sums of a bill that runs with --ovhai-bill have written."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ..bill import BillError, Charge, add_up, read_bill
from ..client import Client
from .selection import CommandError
from .table import print_table

HELP = "add up what jobs have cost, from the CSV file that --ovhai-bill names"
NAMES = ("run", "rules", "flavor", "state", "job")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the bill")
    parser.add_argument(
        "--by", default="run", metavar="NAME", help=f"{', '.join(NAMES)} or a wildcard (default: %(default)s)"
    )


def run(arguments: argparse.Namespace, client: Client) -> int:
    try:
        charges = read_bill(arguments.file)
    except BillError as error:
        raise CommandError(str(error)) from None
    if not charges:
        raise CommandError(f"{arguments.file} has no jobs, or there is no such file")
    groups: dict[str, list[Charge]] = {}
    for charge in charges:
        groups.setdefault(get_key(charge, arguments.by), []).append(charge)
    if list(groups) == [""]:
        raise CommandError(f"no job has a wildcard {arguments.by!r}; add up by {', '.join(NAMES)} or a wildcard")
    totals = {name: add_up(group) for name, group in sorted(groups.items())}
    if arguments.json:
        print(json.dumps({name: asdict(total) for name, total in totals.items()}, indent=2))
        return 0
    rows = [(arguments.by.upper(), "JOBS", "BILLED", "USEFUL", "RESTARTS", "LOST", "COST")]
    for name, total in [*totals.items(), ("all", add_up(charges))]:
        least = "at least " if total.unknown else ""
        minutes = (f"{total.billed / 60:.1f} min", f"{total.useful / 60:.1f} min")
        counts = (str(total.restarts), str(total.lost))
        rows.append(
            (name or "-", str(total.jobs), *minutes, *counts, f"{least}{total.cost:,.2f} {total.currency}".rstrip())
        )
    print_table(rows)
    return 0


def get_key(charge: Charge, name: str) -> str:
    if name in NAMES:
        return str(getattr(charge, name))
    wildcards = dict(part.split("=", 1) for part in charge.wildcards.split() if "=" in part)
    return wildcards.get(name, "")
