"""Copies between buckets and volumes: in before the command, back after it."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ovhai_standin import s3

# Size and time of change of files when they were copied: what differs later was changed by the job.
Snapshot = dict[str, tuple[int, int]]


class SyncError(Exception):
    """A copy failed; the code is one of the platform's DATASYNC_ codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Counters:
    total: int = 0
    processed: int = 0
    completed: int = 0
    skipped: int = 0
    failed: int = 0
    deleted: int = 0
    transferred: int = 0  # bytes


@dataclass
class BucketFolder:
    """Objects of a bucket under a prefix, which stands for a folder: `a` does not cover `ab/c`."""

    store: s3.Store
    bucket: str
    prefix: str | None

    def check(self, create: bool) -> None:
        """Make a missing bucket, or refuse it: an S3 server of tests might make it at the first upload."""
        if self.bucket in self.store.get_bucket_names():
            return
        if not create:
            raise SyncError("DATASYNC_INVALID_CONTAINER", f"container {self.bucket} does not exist")
        self.store.create_bucket(self.bucket)

    def objects(self) -> Iterator[tuple[str, int]]:
        """Names below the prefix, with sizes."""
        start = f"{self.prefix}/" if self.prefix else ""
        for key, size in self.store.list_objects(self.bucket, start):
            if name := key.removeprefix(start):
                yield name, size

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name


def pull(source: BucketFolder, volume: Path, user: int | None) -> tuple[Counters, Snapshot]:
    """Copy all objects of a bucket that exists into the volume; answers also the state of the copies.

    Their owner is the user, if given; a running job never sees a part of a file, or one that it may not change.
    """
    counters = Counters()
    pulled: Snapshot = {}
    for name, size in source.objects():
        counters.total += 1
        target = volume / name
        if not is_below(target, volume):
            counters.skipped += 1
        elif name.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            counters.completed += 1
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.part")
            source.store.download(source.bucket, source.key(name), part)
            if user is not None:
                os.chown(part, user, user)
            part.replace(target)
            pulled[name] = file_state(target)
            counters.completed += 1
            counters.transferred += size
        counters.processed += 1
    return counters, pulled


def is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(folder)


def push(
    volume: Path, target: BucketFolder, known: Snapshot, unchanged_too: bool, delete: bool
) -> tuple[Counters, Snapshot]:
    """Copy new and changed files into the bucket; delete: afterwards the bucket holds no other objects.

    Known: files that are in the bucket already. Answers also the state of the files that were copied.

    Deletion looks at the bucket and not at what was pulled, so that of two jobs on one prefix the last one deletes
    what the other has written: such a loss was reported.
    """
    counters = Counters()
    files = snapshot(volume)
    pushed: Snapshot = {}
    for name, state in files.items():
        counters.total += 1
        counters.processed += 1
        if known.get(name) == state and not unchanged_too:
            counters.skipped += 1
            continue
        try:
            target.store.upload(volume / name, target.bucket, target.key(name))
        except FileNotFoundError:  # a running job has deleted it meanwhile
            counters.failed += 1
            continue
        pushed[name] = state
        counters.completed += 1
        counters.transferred += state[0]
    if delete:
        for name, _ in list(target.objects()):
            if name not in files:
                target.store.delete(target.bucket, target.key(name))
                counters.deleted += 1
    return counters, pushed


def snapshot(volume: Path) -> Snapshot:
    """Regular files only: object stores have neither links nor empty folders."""
    files: Snapshot = {}
    for folder, _, names in os.walk(volume):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                if path.is_file() and not path.is_symlink():
                    files[str(path.relative_to(volume))] = file_state(path)
    return files


def file_state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def as_sync_error(error: Exception) -> SyncError:
    """What the platform says about an error of the S3 client."""
    if isinstance(error, SyncError):
        return error
    code = error.code if isinstance(error, s3.S3Error) else ""
    if code in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "403"):
        return SyncError("DATASYNC_AUTHENTICATE_FAILED", f"authentication failed: {error}")
    if code in ("InvalidBucketName", "NoSuchBucket"):
        return SyncError("DATASYNC_INVALID_CONTAINER", f"invalid container: {error}")
    return SyncError("DATASYNC_FAILED", str(error))


def add_to_snapshot(files: Snapshot, path: Path) -> None:
    path.write_text(json.dumps({**load_snapshot(path), **files}))


def load_snapshot(path: Path) -> Snapshot:
    if not path.exists():
        return {}
    return {name: (size, time) for name, (size, time) in json.loads(path.read_text()).items()}
