"""`snakemake-ovhai quote`: what a run will take and cost, for each value of a wildcard and in all."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..client import Client
from ..dry_run import VARIABLE
from ..quote import get_rows, group_record
from .selection import CommandError
from .table import print_table

HELP = "say what a run will take and cost, from a dry run of Snakemake; nothing is started"
LAST_WORDS = 15  # lines of a dry run that failed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", metavar="WILDCARD", default="", help="by which sums are made (default: a fitting one)")
    parser.add_argument(
        "snakemake", metavar="...", nargs=argparse.REMAINDER, help="-- and the arguments of snakemake for the run"
    )


def run(arguments: argparse.Namespace, client: Client) -> int:
    given = arguments.snakemake[1:] if arguments.snakemake[:1] == ["--"] else arguments.snakemake
    record = plan(given)
    if not record:
        print("nothing is to be done as a job", file=sys.stderr)
    elif arguments.by and not any(arguments.by in job["wildcards"] for job in record["jobs"]):
        names = ", ".join(sorted({name for job in record["jobs"] for name in job["wildcards"]}))
        raise CommandError(f"no job has a wildcard {arguments.by!r}; there are {names or 'none'}")
    else:
        record = group_record(record, arguments.by) if arguments.by else record
    if arguments.json:
        print(json.dumps(record, indent=2))
    elif record:
        print_table(get_rows(record))
        print("Low and high stand in brackets. What is not counted has no expected time, or no known price.")
    return 0


def plan(arguments: list[str]) -> dict[str, Any]:
    """The quote of a dry run. Empty if no job would run. CommandError if Snakemake cannot plan."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "quote.json"
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments, "--dry-run"],
            env={**os.environ, VARIABLE: str(file)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        said = (done.stdout + done.stderr).strip().splitlines()
        if done.returncode:
            raise CommandError("snakemake cannot plan: " + " | ".join(said[-LAST_WORDS:]))
        if file.exists():
            record = json.loads(file.read_text(encoding="utf-8"))
            return record if isinstance(record, dict) and record["jobs"] else {}
        if reason := next((line for line in said if "No quote" in line or "do not say what" in line), ""):
            raise CommandError(reason.strip())
        if any("Nothing to be done" in line for line in said):
            return {}
        raise CommandError("the plan has no quote; name the executor, such as by --profile or --executor ovhai")
