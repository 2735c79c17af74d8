"""The bucket, through the client of Snakemake's S3 storage plugin: its settings, its credentials, its retries."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import botocore.exceptions

from .volumes import WORKDIR, StoredFile, Volume

NOT_FOUND = {"404", "NoSuchKey", "NotFound"}
LONGEST_END = 20_000  # bytes of a text


class BucketError(Exception):
    """The bucket could not be asked: ask again later."""


@dataclass(frozen=True)
class ObjectInfo:
    checksum: str
    modified: datetime


class Bucket:
    """client: a boto3 S3 client, which is safe to use from several threads."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def get_info(self, file: StoredFile) -> ObjectInfo | None:
        """None if there is no such object."""
        try:
            reply = self.client.head_object(Bucket=file.bucket, Key=file.key)
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in NOT_FOUND:
                return None
            raise BucketError(f"{file.uri}: {error}") from None
        except botocore.exceptions.BotoCoreError as error:
            raise BucketError(f"{file.uri}: {error}") from None
        return ObjectInfo(f"{reply['ETag']} {reply['ContentLength']}", reply["LastModified"])

    def get_end(self, file: StoredFile, since: datetime) -> str:
        """The last part of a text, if it was written since then; else nothing."""
        try:
            reply = self.client.get_object(Bucket=file.bucket, Key=file.key, Range=f"bytes=-{LONGEST_END}")
            return reply["Body"].read().decode(errors="replace") if reply["LastModified"] >= since else ""
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in NOT_FOUND | {"416", "InvalidRange"}:  # the latter: it is empty
                return ""
            raise BucketError(f"{file.uri}: {error}") from None
        except botocore.exceptions.BotoCoreError as error:
            raise BucketError(f"{file.uri}: {error}") from None

    def remove(self, file: StoredFile) -> None:
        try:
            self.client.delete_object(Bucket=file.bucket, Key=file.key)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise BucketError(f"{file.uri}: {error}") from None

    def get_time(self, bucket: str) -> datetime:
        """The bucket's own clock, in whole seconds: the one that sets the dates of objects."""
        try:
            reply = self.client.head_bucket(Bucket=bucket)
            return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, KeyError, ValueError) as error:
            raise BucketError(f"s3://{bucket}: {error}") from None

    def keep_alive(self, bucket: str, prefix: str) -> None:
        """Put a small object there: the storage plugin deletes a bucket together with its last object."""
        try:
            self.client.put_object(Bucket=bucket, Key=f"{prefix}/keep".lstrip("/"), Body=b"Snakemake executor ovhai\n")
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise BucketError(f"s3://{bucket} cannot be written to: {error}") from None

    def upload_sources(self, folder: Path, path: str, bucket: str, prefix: str) -> Volume:
        """Put a folder into the bucket under the checksum of its content, if it is not there yet.

        path: where the commands find it, relative to the working folder. Returns the volume that brings it there.
        """
        files = sorted(find_sources(folder))
        content = hashlib.sha256()
        for file in files:
            content.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes() + b"\0")
        name = f"{prefix}/sources/{content.hexdigest()[:16]}".lstrip("/")
        # Written last and outside the volume: it says that the upload before it was not cut off.
        complete = StoredFile(bucket, f"{name}.complete", "")
        if self.get_info(complete) is None:
            try:
                for file in files:
                    self.client.upload_file(str(file), bucket, f"{name}/{file.relative_to(folder)}")
                self.client.put_object(Bucket=bucket, Key=complete.key, Body=str(path).encode())
            except Exception as error:  # boto3 wraps its own errors into several unrelated classes here
                raise BucketError(f"{folder} could not be uploaded to s3://{bucket}/{name}: {error}") from None
        return Volume(bucket, name, str(WORKDIR / path), writable=False)


def find_sources(folder: Path) -> Iterator[Path]:
    """Files that belong to a program, without what Python and installers leave beside them."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith((".", "__pycache__")) or ".egg-info" in part for part in parts):
            yield path
