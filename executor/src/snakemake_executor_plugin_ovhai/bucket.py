"""The bucket, and the one function that makes its clients."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import botocore.parsers

from .outage import is_outage
from .volumes import StoredFile

NOT_FOUND = {"404", "NoSuchKey", "NotFound"}
EMPTY_FILE = {"416", "InvalidRange"}  # an empty file has no last bytes
LONGEST_END = 20_000  # bytes of a text
PIECE = 1 << 20  # bytes


DEFAULT_REGION = "us-east-1"  # that of Snakemake's S3 storage plugin


class BucketError(Exception):
    """The bucket did not answer as it should. Asking again later may help."""


class SilenceError(BucketError):
    """The bucket did not answer at all. It will some day."""


@dataclass(frozen=True)
class ObjectInfo:
    checksum: str
    modified: datetime
    size: int  # bytes

    @cached_property  # a plan asks dozens of times
    def version(self) -> str:
        """What tells two contents of an object apart: "ETAG SIZE"."""
        return self.checksum.replace('"', "")


@dataclass(frozen=True)
class Access:
    """How to reach an S3 server. What is empty is left to boto3, as Snakemake's S3 storage plugin does."""

    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    signature_version: str = ""


def get_access(settings: Any) -> Access:
    """From the settings of Snakemake's S3 storage plugin."""
    names = {"endpoint": "endpoint_url"}
    return Access(
        **{item.name: getattr(settings, names.get(item.name, item.name), None) or "" for item in fields(Access)}
    )


def make_client(access: Access, connect: float = 60, read: float = 60, attempts: int = 6) -> Any:
    """A boto3 client. connect and read: seconds. attempts: requests in all, if the server does not answer.

    No other function makes one, and it asks as Snakemake's S3 storage plugin does. In particular it sends a checksum
    only where S3 needs one: servers that do not know these headers refuse or spoil objects.
    """
    client = boto3.client(
        "s3",
        endpoint_url=access.endpoint or None,
        region_name=access.region or DEFAULT_REGION,
        aws_access_key_id=access.access_key or None,
        aws_secret_access_key=access.secret_key or None,
        aws_session_token=access.token or None,
        config=botocore.config.Config(
            signature_version=access.signature_version or None,
            connect_timeout=connect,
            read_timeout=read,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.meta.events.register("before-call.s3.HeadBucket", follow_no_redirect)
    return client


def follow_no_redirect(params: dict[str, Any], **_: Any) -> None:
    """If a server says 301 and no region, boto3 asks HEAD for the region, which says 301, and so on without an end."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


class Bucket:
    """client: a boto3 S3 client, which several threads may use."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def get_info(self, file: StoredFile) -> ObjectInfo | None:
        """None if the bucket has no such object."""
        with translate_errors(file.uri):
            try:
                reply = self.client.head_object(Bucket=file.bucket, Key=file.key)
            except botocore.exceptions.ClientError as error:
                if get_code(error) in NOT_FOUND:
                    return None
                raise
        return ObjectInfo(f"{reply['ETag']} {reply['ContentLength']}", reply["LastModified"], reply["ContentLength"])

    def get_end(self, file: StoredFile, since: datetime) -> str:
        """The end of a text that was written since then. Empty if there is none."""
        with translate_errors(file.uri):
            try:
                reply = self.client.get_object(Bucket=file.bucket, Key=file.key, Range=f"bytes=-{LONGEST_END}")
                return reply["Body"].read().decode(errors="replace") if reply["LastModified"] >= since else ""
            except botocore.exceptions.ClientError as error:
                if get_code(error) in NOT_FOUND | EMPTY_FILE:
                    return ""
                raise

    def read(self, file: StoredFile) -> Iterator[bytes]:
        """The content, piece by piece."""
        with translate_errors(file.uri):
            yield from self.client.get_object(Bucket=file.bucket, Key=file.key)["Body"].iter_chunks(PIECE)

    def get(self, bucket: str, key: str) -> bytes | None:
        """A whole object. None if there is none."""
        with translate_errors(f"s3://{bucket}/{key}"):
            try:
                return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())
            except botocore.exceptions.ClientError as error:
                if get_code(error) in NOT_FOUND:
                    return None
                raise

    def list_objects(self, bucket: str, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        """Key and properties of each object whose key begins with the prefix. One request lists a thousand."""
        with translate_errors(f"s3://{bucket}/{prefix}"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield (
                        entry["Key"],
                        ObjectInfo(f"{entry['ETag']} {entry['Size']}", entry["LastModified"], entry["Size"]),
                    )

    def get_time(self, bucket: str) -> datetime:
        """The bucket's own clock in whole seconds. The dates of objects come from the same clock."""
        with translate_errors(f"s3://{bucket}"):
            reply = self.client.head_bucket(Bucket=bucket)
        try:
            return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)
        except (KeyError, ValueError) as error:
            raise BucketError(f"s3://{bucket} does not tell the time: {error!r}") from None

    def remove(self, file: StoredFile) -> None:
        with translate_errors(file.uri):
            self.client.delete_object(Bucket=file.bucket, Key=file.key)

    def remove_all(self, bucket: str, keys: Sequence[str]) -> None:
        with translate_errors(f"s3://{bucket}"):
            for key in keys:
                self.client.delete_object(Bucket=bucket, Key=key)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        with translate_errors(f"s3://{bucket}/{key} could not be written"):
            self.client.put_object(Bucket=bucket, Key=key, Body=content)

    def upload(self, path: Path, bucket: str, key: str) -> None:
        try:
            self.client.upload_file(str(path), bucket, key)
        except Exception as error:  # boto3 wraps its errors into several unrelated classes here
            raise BucketError(f"{path} could not be uploaded to s3://{bucket}/{key}: {error}") from None


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn boto3's errors into BucketError."""
    try:
        yield
    except botocore.parsers.ResponseParserError as error:
        raise SilenceError(f"{what}: {error}") from None
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        raise (SilenceError if is_outage(error) else BucketError)(f"{what}: {error}") from None


def get_code(error: botocore.exceptions.ClientError) -> str:
    return str(error.response["Error"]["Code"])
