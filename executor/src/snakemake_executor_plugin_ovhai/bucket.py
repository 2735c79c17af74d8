"""The bucket, through the boto3 client of Snakemake's S3 storage plugin with its settings, credentials and retries."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import botocore.exceptions

from .volumes import StoredFile

NOT_FOUND = {"404", "NoSuchKey", "NotFound"}
EMPTY_FILE = {"416", "InvalidRange"}  # an empty file has no last bytes
LONGEST_END = 20_000  # bytes of a text


class BucketError(Exception):
    """The bucket did not answer as it should. Asking again later may help."""


@dataclass(frozen=True)
class ObjectInfo:
    checksum: str
    modified: datetime

    @property
    def version(self) -> str:
        """What tells two contents of an object apart: "ETAG SIZE"."""
        return self.checksum.replace('"', "")


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
        return ObjectInfo(f"{reply['ETag']} {reply['ContentLength']}", reply["LastModified"])

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
                    yield entry["Key"], ObjectInfo(f"{entry['ETag']} {entry['Size']}", entry["LastModified"])

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
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        raise BucketError(f"{what}: {error}") from None


def get_code(error: botocore.exceptions.ClientError) -> str:
    return str(error.response["Error"]["Code"])
