"""Which folders of the bucket a job needs, and where they appear in it.

A volume is a whole folder: its content is copied in before the command starts, and what has changed is copied back
after it. So a job gets the folders of the files that it reads and writes, and nothing above them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

WORKDIR = PurePosixPath("/workspace")


class VolumeError(ValueError):
    """A file that cannot be brought to a job; the text names it and says what to do."""


@dataclass(frozen=True, order=True)
class StoredFile:
    """A file in a bucket, and the path by which the command calls it (relative to the working folder, or absolute)."""

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
        """As `ovhai job run --volume` takes it. No slash after the prefix: the platform would drop the prefix."""
        return f"{self.bucket}@{datastore}/{self.prefix}:{self.mount}:{'rw' if self.writable else 'ro'}"


def plan_volumes(reads: Iterable[StoredFile], writes: Iterable[StoredFile], root: str = "") -> list[Volume]:
    """The fewest folders that hold all files, none inside another; those that are written are writable.

    root: the prefix of the whole workflow. A file in it or above it would bring everything into the job: VolumeError.
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
        raise VolumeError(f"{file.uri}: a file of a job must not leave its folder by '..' or a leading '/'")
    prefix = "" if str(key.parent) == "." else str(key.parent)
    mount = str((WORKDIR / file.path).parent)
    if not prefix or f"{root}/".startswith(f"{prefix}/"):
        place = f"the prefix {root}" if root else "the bucket"
        raise VolumeError(
            f"{file.uri}: lies at the top of {place}, all of which would have to be copied into the job; "
            "put it into a folder"
        )
    if not set(":@,").isdisjoint(prefix + mount):
        raise VolumeError(f"{file.uri}: the folder of a file of a job must not have ':', '@' or ',' in its name")
    return Volume(file.bucket, prefix, mount, writable)


def merge(volumes: Iterable[Volume]) -> list[Volume]:
    """A folder inside another comes with it; if the inner one is written, the outer one has to be writable."""
    merged: list[Volume] = []
    for volume in sorted(volumes, key=lambda volume: (volume.bucket, PurePosixPath(volume.prefix).parts)):
        place = next((place for place, outer in enumerate(merged) if is_inside(volume, outer)), None)
        if place is None:
            merged.append(volume)
        elif volume.writable:
            merged[place] = replace(merged[place], writable=True)
    return merged


def is_inside(inner: Volume, outer: Volume) -> bool:
    """In the bucket, and at the same place under the mount."""
    if inner.bucket != outer.bucket:
        return False
    try:
        below = PurePosixPath(inner.prefix).relative_to(outer.prefix)
    except ValueError:
        return False
    return PurePosixPath(outer.mount) / below == PurePosixPath(inner.mount)
