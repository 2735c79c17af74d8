"""The files of a folder or an archive, and those of them that were left out."""

import bz2
import contextlib
import gzip
import lzma
import os
import re
import shutil
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from videomesh.errors import UserError
from videomesh.ingest.sources import describe, remedy
from videomesh.photos import find_files

# What a compressed tar starts with.
COMPRESSIONS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
DAMAGED = "{} that is cut short or damaged ({}); copy or download it again, or make it again"
IGNORED_FOLDERS = {"__macosx", "@eadir"}
NAMES_KEPT = 20  # of files left out for one reason


class File(NamedTuple):
    """A file of a folder or an archive."""

    parts: tuple[str, ...]  # of its path inside it, which cannot point outside
    open: Callable[[], IO[bytes]]

    @property
    def path(self) -> str:
        return "/".join(self.parts)

    @property
    def suffix(self) -> str:
        return Path(self.parts[-1]).suffix.lower()

    def read(self) -> bytes:
        with self.open() as file:
            return file.read()


class LeftOut:
    """What is not taken, by its reason: a plural such as "masks (used)"."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}

    def add(self, reason: str, files: Iterable[File | str]) -> None:
        names = [file if isinstance(file, str) else file.path for file in files]
        if names:
            self.names.setdefault(reason, []).extend(names)

    def rename(self, reason: str, new: str) -> None:
        if reason in self.names:
            self.names[new] = self.names.pop(reason)

    def describe(self) -> list[dict[str, Any]]:
        """The entry left_out of ingest.json."""
        return [
            {"reason": reason, "count": len(names), "names": sorted(names)[:NAMES_KEPT]}
            for reason, names in self.names.items()
        ]

    def __str__(self) -> str:
        """In one line. Where there are few files of a kind, the line has their names."""
        return ", ".join(
            f"{len(names)} {reason if len(names) > 1 else make_singular(reason)}"
            + (f" ({', '.join(sorted(names))})" if len(names) <= 3 else "")
            for reason, names in self.names.items()
        )


def make_singular(reason: str) -> str:
    """1 damaged photo, not 1 damaged photos: the first word that is a plural."""
    plurals = {"copies": "copy", "files": "file", "masks": "mask", "photos": "photo", "pictures": "picture"}
    plurals |= {"previews": "preview", "versions": "version"}
    return re.sub(rf"\b({'|'.join(plurals)})\b", lambda match: plurals[match[1]], reason, count=1)


def split_path(path: str) -> tuple[str, ...]:
    """A path from an archive as names only, so that nothing in it can point outside."""
    names = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    return tuple(name for name in names if name not in ("", ".", ".."))


def is_hidden(parts: tuple[str, ...]) -> bool:
    return not parts or any(part.startswith(".") or part.lower() in IGNORED_FOLDERS for part in parts)


def list_source(path: Path, source: str, output: Path, stack: contextlib.ExitStack) -> list[File]:
    """All files in a folder, a zip or a tar but hidden ones, sorted. Archives stay open as long as the stack."""
    files = list_folder(path) if path.is_dir() else list_archive(path, source, output, stack)
    return sorted((file for file in files if not is_hidden(file.parts)), key=lambda file: file.parts)


def list_folder(folder: Path) -> list[File]:
    """All files below a folder, through links too."""
    return [
        File(split_path(path.relative_to(folder).as_posix()), partial(open_file, path)) for path in find_files(folder)
    ]


def list_archive(path: Path, source: str, output: Path, stack: contextlib.ExitStack) -> list[File]:
    try:
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = [info for info in archive.infolist() if not info.is_dir()]
            return [File(split_path(info.filename), partial(open_zipped, archive, info)) for info in members]
        plain = decompress(path, output, stack)
        tar = stack.enter_context(tarfile.open(plain, "r:"))  # noqa: SIM115 - the stack closes it
        return [File(split_path(member.name), partial(open_member, tar, member)) for member in tar if member.isfile()]
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        found = describe(path)
        if found in ("a zip archive", "a tar archive"):
            raise UserError(DAMAGED.format(found, error))
        if found.endswith(" archive"):
            raise UserError(f"{found} without a tar in it ({error}); name a folder, a .zip, a .tar or a .tar.gz")
        advice = remedy(source, found) if "web page" in found else "name a folder, a .zip or a .tar of photos"
        raise UserError(f"not a folder, a zip or a tar of photos, but {found or 'something else'}; {advice}")


def decompress(path: Path, output: Path, stack: contextlib.ExitStack) -> Path:
    """The tar inside a .tar.gz and the like, under a temporary name that files.outputs clears away after a kill.

    Photos are read in another order than they have in the archive, for which a compressed one would start anew.
    """
    with open(path, "rb") as file:
        head = file.read(8)
    for magic, open_compressed in COMPRESSIONS.items():
        if head.startswith(magic):
            plain = output.with_name(f"{output.name.rsplit('.', 2)[0]}.unpacked.{os.getpid()}.part")
            stack.callback(plain.unlink, missing_ok=True)
            try:
                with open_compressed(path) as compressed, open(plain, "wb") as file:
                    shutil.copyfileobj(compressed, file, 1 << 20)
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                if getattr(error, "errno", None) is not None:  # a full disk, not the archive
                    raise
                raise UserError(DAMAGED.format(describe(path), error))
            return plain
    return path


def open_file(path: Path) -> IO[bytes]:
    return open(path, "rb")


def open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(info)
    except (RuntimeError, NotImplementedError) as error:  # passwords, and rare ways to compress
        remedy = "make the archive without password, or unpack it"
        raise UserError(f"{info.filename}: cannot be unpacked ({error}); {remedy}")


def open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file  # a file, not a folder
    return file
