"""The doctor's checks of the bucket: its keys, its address, and whether objects can be written, read and deleted."""

import argparse
import contextlib
import os
import uuid
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import botocore.exceptions

from ..bucket import Access, get_code, make_client
from ..place import PlaceError, split_storage_prefix
from ..probe import Names, probe_bucket
from .finding import Finding

# Option, name of its value, help, and the environment variables that give its default.
OPTIONS = (
    ("bucket", "NAME", "bucket of the workflow", ["OVHAI_BUCKET"]),
    ("prefix", "P", "prefix of the workflow in the bucket", ["OVHAI_PREFIX"]),
    ("endpoint", "URL", "address of the S3 server", ["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", "OVHAI_ENDPOINT"]),
    ("region", "R", "region of the S3 server", ["SNAKEMAKE_STORAGE_S3_REGION", "OVHAI_REGION"]),
)
S3_ERRORS = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
NAMES = Names("--bucket or OVHAI_BUCKET", "--endpoint or OVHAI_ENDPOINT", "--region or OVHAI_REGION")


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    for option in OPTIONS:
        add_option(parser, *option)


def add_option(parser: argparse.ArgumentParser, name: str, value: str, text: str, variables: list[str]) -> None:
    default = next((os.environ[variable] for variable in variables if os.environ.get(variable)), None)
    parser.add_argument(f"--{name}", metavar=value, default=default, help=f"{text} (default: {' or '.join(variables)})")


def check_bucket(
    bucket: str | None, prefix: str | None, endpoint: str, region: str | None
) -> Generator[Finding, None, timedelta | None]:
    """Returns how far the bucket's clock is ahead of this machine's. None if that is not known.

    A wrong clock is no finding here: the check of clocks tells it.
    """
    if not bucket:
        yield Finding("bucket", "none is set", "set it with --bucket or OVHAI_BUCKET")
        return None
    try:
        root = split_storage_prefix(f"s3://{bucket}/{prefix or ''}")[1]
    except PlaceError as error:
        yield Finding("bucket", str(error), "correct --bucket or OVHAI_BUCKET, and --prefix or OVHAI_PREFIX")
        return None
    access = get_access_of_variables(endpoint, region)
    answer = probe_bucket(access, bucket, root, NAMES)
    if answer.problem:
        if answer.problem.what != "clock" or answer.ahead is None:
            yield Finding("bucket", answer.problem.text, answer.problem.remedy)
        return answer.ahead
    problem = try_bucket(make_client(access, 10, 30, 2), bucket, f"{root}/.ovhai/doctor-{uuid.uuid4().hex}".lstrip("/"))
    yield problem or Finding("bucket", f"s3://{bucket} is readable and writable")
    return answer.ahead


def get_access_of_variables(endpoint: str, region: str | None) -> Access:
    """With the keys that Snakemake's S3 storage plugin would take, or else with what boto3 finds by itself."""
    access_key, secret_key, token = (
        os.environ.get(f"SNAKEMAKE_STORAGE_S3_{name}", "") for name in ("ACCESS_KEY", "SECRET_KEY", "TOKEN")
    )
    return Access(endpoint, region or "", access_key, secret_key, token)


def try_bucket(client: Any, bucket: str, key: str) -> Finding | None:
    """Write, list, read and delete a small object. Returns the first of these steps that fails."""
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
    """Reading works, so it is about rights, or the server is not well."""
    if isinstance(error, botocore.exceptions.ClientError) and get_code(error) in ("AccessDenied", "403"):
        return "give the S3 user of these keys the role ObjectStore Operator and rights on the bucket"
    return "try again later, or ask who runs the server"
