"""Which folders of the bucket a job gets, and where they appear in it.

A volume is a whole folder. The platform copies its content into the job before the command starts, and copies changes
back after the command ends. So a job gets the folders of the files that it reads and writes, and nothing above them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

WORKDIR = PurePosixPath("/workspace")


class VolumeError(ValueError):
    """A job cannot get a file. The text names the file and says what to do."""


@dataclass(frozen=True, order=True)
class StoredFile:
    """A file in a bucket. path is what the command calls it, relative to the working folder or absolute."""

    bucket: str
    key: str
    path: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, order=True)
class Volume:
    bucket: str
    prefix: str
    mount: str
    writable: bool = False

    def argument(self, datastore: str) -> str:
        """As `ovhai job run --volume` takes it. There is no slash after the prefix, or the platform would drop it."""
        return f"{self.bucket}@{datastore}/{self.prefix}:{self.mount}:{'rw' if self.writable else 'ro'}"


def plan_volumes(reads: Iterable[StoredFile], writes: Iterable[StoredFile], root: str = "") -> list[Volume]:
    """The fewest folders that hold all files, none inside another. A folder is writable if a file in it is written.

    root: the prefix of the whole workflow. VolumeError if a file is directly in it or above it, since that volume would
    bring everything into the job.
    """
    volumes: dict[str, Volume] = {}
    for files, writable in ((writes, True), (reads, False)):
        for file in files:
            volume = get_volume(file, writable, root.strip("/"))
            known = volumes.setdefault(volume.mount, volume)
            if (known.bucket, known.prefix) != (volume.bucket, volume.prefix):
                raise VolumeError(
                    f"{file.uri}: s3://{known.bucket}/{known.prefix} and s3://{volume.bucket}/{volume.prefix} "
                    f"would both appear at {volume.mount}"
                )
    return merge(volumes.values())


def get_volume(file: StoredFile, writable: bool, root: str) -> Volume:
    key = PurePosixPath(file.key)
    if key.is_absolute() or ".." in key.parts or ".." in PurePosixPath(file.path).parts:
        raise VolumeError(f"{file.uri}: the path of a job's file must not have a leading '/' or a '..'")
    prefix = "" if str(key.parent) == "." else str(key.parent)
    mount = str((WORKDIR / file.path).parent)
    if not prefix or f"{root}/".startswith(f"{prefix}/"):
        where = f"the prefix {root}" if root else "the bucket"
        raise VolumeError(
            f"{file.uri}: the file is at the top of {where}, all of which would have to be copied into the job; "
            "put it into a folder"
        )
    if not set(":@,").isdisjoint(prefix + mount):
        raise VolumeError(f"{file.uri}: the folder of a job's file must not have ':', '@' or ',' in its name")
    return Volume(file.bucket, prefix, mount, writable)


def merge(volumes: Iterable[Volume]) -> list[Volume]:
    """Leave out folders inside other folders. If an inner folder is written, the outer one becomes writable."""
    merged: list[Volume] = []
    for volume in sorted(volumes, key=lambda volume: (volume.bucket, PurePosixPath(volume.prefix).parts)):
        index = next((index for index, outer in enumerate(merged) if is_inside(volume, outer)), None)
        if index is None:
            merged.append(volume)
        elif volume.writable:
            merged[index] = replace(merged[index], writable=True)
    return merged


def is_inside(inner: Volume, outer: Volume) -> bool:
    """Whether a volume brings another one: it holds its folder in the bucket, and mounts it at the same path."""
    if inner.bucket != outer.bucket:
        return False
    try:
        below = PurePosixPath(inner.prefix).relative_to(outer.prefix)
    except ValueError:
        return False
    return PurePosixPath(outer.mount) / below == PurePosixPath(inner.mount)
