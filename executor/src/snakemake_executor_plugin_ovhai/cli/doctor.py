"""`snakemake-ovhai doctor`: check everything that jobs need."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence

from ..client import Client
from ..credentials import hide_secrets
from ..environment import find_endpoint
from .doctor_bucket import add_option, add_place_arguments, check_bucket
from .doctor_left import check_left_jobs
from .doctor_platform import check_clock, check_datastore, check_login, check_platform
from .finding import Finding

HELP = "check that jobs can run: program, login, data store, bucket, clock, quota"
DATASTORE = ("datastore", "ALIAS", "alias of the S3 data store, see `ovhai datastore list`", ["OVHAI_DATASTORE"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser, *DATASTORE)
    add_place_arguments(parser)
    flavors = [os.environ["OVHAI_FLAVOR"]] if os.environ.get("OVHAI_FLAVOR") else []
    parser.add_argument(
        "--flavor", metavar="ID", nargs="+", default=flavors, help="flavors to check (default: OVHAI_FLAVOR)"
    )


def run(arguments: argparse.Namespace, client: Client) -> int:
    findings = []
    for finding in check_all(
        client,
        arguments.datastore,
        arguments.bucket,
        arguments.prefix,
        arguments.endpoint or find_endpoint(),
        arguments.region,
        arguments.flavor,
    ):
        findings.append(finding)
        if not arguments.json:
            print(hide_secrets(finding.line), flush=True)
    if arguments.json:
        print(hide_secrets(json.dumps([finding.record for finding in findings], indent=2)))
    return 0 if all(finding.ok for finding in findings) else 1


def check_all(
    client: Client,
    datastore: str | None,
    bucket: str | None,
    prefix: str | None,
    endpoint: str,
    region: str | None,
    flavors: Sequence[str],
) -> Iterator[Finding]:
    """Each finding as soon as it is known. Without a login, the checks that need one are left out."""
    account = yield from check_login(client)
    if account is not None:
        yield from check_datastore(client, datastore, endpoint)
    bucket_ahead = yield from check_bucket(bucket, prefix, endpoint, region)
    if account is not None:
        if bucket and bucket_ahead is not None:
            yield from check_left_jobs(client, bucket, prefix, endpoint, region)
        yield from check_platform(client, account, flavors, bucket_ahead)
    else:
        yield from check_clock([], bucket_ahead)
