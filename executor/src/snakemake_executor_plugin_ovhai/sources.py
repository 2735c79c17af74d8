"""The user's own files: folders of programs that the commands call, and files that options name.

Names are looked up below the working folder first and beside the Snakefile second. So a workflow finds its own files
from any working folder (`snakemake -s PATH/Snakefile -d PROJECT`).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from .bucket import Bucket
from .volumes import WORKDIR, StoredFile, Volume


class SourceError(ValueError):
    """A folder of programs cannot be used. The text names it."""


def find_file(path: Path, snakefile: str) -> Path:
    """The file beside the Snakefile if only that one exists. In all other cases the path stays as it is."""
    beside = Path(snakefile).parent / path
    return beside if beside.exists() and not path.exists() else path


def find_folder(name: str, snakefile: str) -> Path:
    """SourceError if the name leads out of the working folder or if there is no such folder."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise SourceError(f"{name!r} must be a relative path without '..'")
    for folder in (path, Path(snakefile).parent / path):
        if folder.is_dir():
            return folder
    raise SourceError(f"{name!r} is not a folder, neither below the working folder nor beside the Snakefile")


def upload_folder(bucket: Bucket, folder: Path, name: str, bucket_name: str, prefix: str) -> Volume:
    """Put a folder into the bucket under the checksum of its content, unless it is there already.

    name: the folder's path in the job, relative to the working folder. Returns the volume that brings it there.
    BucketError if a file cannot be uploaded.
    """
    files = sorted(find_programs(folder))
    content = hashlib.sha256()
    for file in files:
        content.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes() + b"\0")
    key = f"{prefix}/sources/{content.hexdigest()[:16]}".lstrip("/")
    # This marker is written last and outside the volume. It shows that the upload was not cut off.
    complete = StoredFile(bucket_name, f"{key}.complete", "")
    if bucket.get_info(complete) is None:
        for file in files:
            bucket.upload(file, bucket_name, f"{key}/{file.relative_to(folder)}")
        bucket.put(bucket_name, complete.key, name.encode())
    return Volume(bucket_name, key, str(WORKDIR / name), writable=False)


def find_programs(folder: Path) -> Iterator[Path]:
    """The files that belong to a program, without what Python and installers leave beside them."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith((".", "__pycache__")) or ".egg-info" in part for part in parts):
            yield path
