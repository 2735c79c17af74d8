"""Which folders of the bucket a job needs, and where they appear in it.

A volume is a whole folder: its content is copied in before the command starts, and what has changed is copied back
after it. So a job gets the folders of the files that it reads and writes, and nothing above them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
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

    root: the prefix of the whole workflow. A file directly in it would bring everything into the job: VolumeError.
    """
    volumes: dict[tuple[str, str], Volume] = {}
    for files, writable in ((writes, True), (reads, False)):
        for file in files:
            volume = get_volume(file, writable, root.strip("/"))
            known = volumes.setdefault((volume.bucket, volume.mount), volume)
            if known.prefix != volume.prefix:
                raise VolumeError(f"{file.uri}: {known.prefix} and {volume.prefix} would both appear at {volume.mount}")
    return merge(volumes.values())


def get_volume(file: StoredFile, writable: bool, root: str) -> Volume:
    key = PurePosixPath(file.key)
    if key.is_absolute() or ".." in key.parts or ".." in PurePosixPath(file.path).parts:
        raise VolumeError(f"{file.uri}: a file of a job must not leave its folder by '..' or a leading '/'")
    prefix = "" if str(key.parent) == "." else str(key.parent)
    if prefix in ("", root):
        place = f"the prefix {root}" if root else "the bucket"
        raise VolumeError(
            f"{file.uri}: lies at the top of {place}, all of which would have to be copied into the job; "
            "put it into a folder"
        )
    if not set(":@,").isdisjoint(prefix):
        raise VolumeError(f"{file.uri}: the folder of a file of a job must not have ':', '@' or ',' in its name")
    return Volume(file.bucket, prefix, str((WORKDIR / file.path).parent), writable)


def merge(volumes: Iterable[Volume]) -> list[Volume]:
    """A folder inside another comes with it; if the inner one is written, the outer one has to be writable."""
    merged: list[Volume] = []
    for volume in sorted(volumes, key=lambda volume: (volume.bucket, PurePosixPath(volume.prefix).parts)):
        outer = merged[-1] if merged else None
        if outer and outer.bucket == volume.bucket and is_inside(volume, outer):
            merged[-1] = Volume(outer.bucket, outer.prefix, outer.mount, outer.writable or volume.writable)
        else:
            merged.append(volume)
    return merged


def is_inside(inner: Volume, outer: Volume) -> bool:
    """In the bucket, and at the same place under the mount."""
    try:
        below = PurePosixPath(inner.prefix).relative_to(outer.prefix)
    except ValueError:
        return False
    return PurePosixPath(outer.mount) / below == PurePosixPath(inner.mount)
