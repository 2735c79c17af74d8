"""The photos of a folder or an archive, in one tar with flat names."""

import collections
import contextlib
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import IO, NamedTuple

from videomesh.download import Progress, downloaded
from videomesh.errors import UserError
from videomesh.files import add_to_tar
from videomesh.frames.count import MIN_FRAMES
from videomesh.frames.opening import open_photo
from videomesh.ingest.sources import describe, is_remote, local_path, remedy
from videomesh.photos import PHOTO_SUFFIXES, natural_key

PHOTOS_END = ".tar"  # of an --output for photos
THUMBNAIL_FOLDERS = {"__macosx", "@eadir", "thumbnails", "thumbs"}
PHOTO_KINDS = "/".join(PHOTO_SUFFIXES)


class File(NamedTuple):
    """A file of a folder or an archive."""

    path: str  # inside it
    open: Callable[[], IO[bytes]]


def ingest_photos(source: str, output: Path, progress: Progress) -> None:
    """Write the photos of a folder or an archive to an uncompressed tar, with flat names, in their natural order."""
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(downloaded(source, output, progress)) if is_remote(source) else local_path(source)
        files = list_folder(path) if path.is_dir() else list_archive(path, source, stack)
        photos = choose_photos(files)
        with tarfile.open(output, "w") as tar:
            for name in sorted(photos, key=natural_key):
                add_photo(tar, name, photos[name])
    progress.report(f"{len(photos)} photos")


def choose_photos(files: list[File]) -> dict[str, File]:
    """Flat name -> photo, for the photos among the files. UserError if there are too few, or two have one name."""
    photos = [(parts, file) for parts, file in ((path_parts(file.path), file) for file in files) if is_photo(parts)]
    if len(photos) < MIN_FRAMES:
        raise UserError(
            f"{len(photos) or 'no'} photos in it, at least {MIN_FRAMES} are needed; found: {census(files)}; "
            f"files that can be used end in {PHOTO_KINDS}"
        )
    folders = [parts[:-1] for parts, _ in photos]
    levels = zip(*folders, strict=False)
    common = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))  # folders around all photos
    named: dict[str, File] = {}
    for parts, file in photos:
        name = "_".join(parts[common:])
        if name in named:
            raise UserError(f"two photos would both be called {name}: {named[name].path} and {file.path}; rename one")
        named[name] = file
    return named


def path_parts(path: str) -> list[str]:
    """A path from an archive as names only, so that nothing in it can point outside."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def is_photo(parts: list[str]) -> bool:
    hidden = any(part.startswith(".") or part.lower() in THUMBNAIL_FOLDERS for part in parts)
    return bool(parts) and not hidden and Path(parts[-1]).suffix.lower() in PHOTO_SUFFIXES


def census(files: list[File]) -> str:
    """The kinds of files and their number, for a message."""
    kinds = collections.Counter(Path(file.path).suffix.lower() or "without suffix" for file in files)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)) or "nothing"


def add_photo(tar: tarfile.TarFile, name: str, photo: File) -> None:
    """Copy a photo into the tar. UserError if it is no photo; whether all of it decodes is for the frames stage."""
    try:
        with photo.open() as file:
            open_photo(file, photo.path)
        with photo.open() as file:
            add_to_tar(tar, name, file.read())
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"{photo.path}: damaged in the archive ({error}); make or download the archive again")
    except (RuntimeError, NotImplementedError) as error:  # zipfile on passwords and rare compressions
        raise UserError(f"{photo.path}: cannot be unpacked ({error}); make the archive without password, or unpack it")


def list_folder(folder: Path) -> list[File]:
    """All files below a folder."""
    paths = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return [File(path.relative_to(folder).as_posix(), partial(open_file, path)) for path in paths if path.is_file()]


def list_archive(path: Path, source: str, stack: contextlib.ExitStack) -> list[File]:
    """All files in a zip or an uncompressed tar, which stays open as long as the stack."""
    try:
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            return [
                File(info.filename, partial(archive.open, info)) for info in archive.infolist() if not info.is_dir()
            ]
        tar = stack.enter_context(tarfile.open(path, "r:"))  # noqa: SIM115 - the stack closes it
        return [File(member.name, partial(open_member, tar, member)) for member in tar if member.isfile()]
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        found = describe(path) or "something else"
        raise UserError(
            f"neither a folder, a zip nor an uncompressed tar of photos but {found} ({error}); "
            + (remedy(source, found) if "web page" in found else "make or copy the archive again, or unpack it")
        )


def open_file(path: Path) -> IO[bytes]:
    return open(path, "rb")


def open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file  # a file, not a folder
    return file
