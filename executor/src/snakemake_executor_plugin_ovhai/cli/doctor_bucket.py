"""The doctor's checks of the bucket: its keys, its address, and whether objects can be written, read and deleted."""

import contextlib
import os
import re
import uuid
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.config
import botocore.exceptions

from ..bucket import Bucket, BucketError
from .finding import Finding

S3_ERRORS = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
KEYS = "SNAKEMAKE_STORAGE_S3_ACCESS_KEY and SNAKEMAKE_STORAGE_S3_SECRET_KEY"
# A code in an S3 server's message -> what to do about it.
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


def check_bucket(
    bucket: str | None, prefix: str | None, endpoint: str, region: str | None
) -> Generator[Finding, None, timedelta | None]:
    """Returns how far the bucket's clock is ahead of this machine's. None if that is not known."""
    if not bucket:
        yield Finding("bucket", "none is set", "set it with --bucket or OVHAI_BUCKET")
        return None
    try:
        client = make_client(endpoint, region)
        ahead = Bucket(client).get_time(bucket) - datetime.now(UTC)
        problem = try_bucket(client, bucket, f"{prefix or ''}/.ovhai/doctor-{uuid.uuid4().hex}".lstrip("/"))
    except (*S3_ERRORS, ValueError) as error:
        yield Finding("bucket", f"s3://{bucket}: {error}", get_remedy(error))
        return None
    except BucketError as error:  # its text holds the server's code
        yield Finding("bucket", str(error), get_remedy(error))
        return None
    if problem:
        yield problem
    else:
        yield Finding("bucket", f"s3://{bucket} is readable and writable")
    return ahead


def make_client(endpoint: str, region: str | None) -> Any:
    """A boto3 client with the settings of Snakemake's S3 storage plugin, or else with what boto3 finds by itself."""
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
    message = str(error)
    for code, remedy in REMEDIES.items():
        if re.search(rf"\b{code}\b", message):
            return remedy
    if isinstance(error, botocore.exceptions.NoCredentialsError) or "credentials" in message:
        return f"set {KEYS}"
    return "check --endpoint, --region and --bucket"
