"""Bring a scene's video, or its photos, into the workflow: copied, never linked, and checked on arrival.

A source is a path on this machine, an address (https:// or http://) or gdrive://ID. If --output ends in .tar
the source holds photos: a folder, a .zip or an uncompressed .tar. Anything else must turn out to be a video.
"""

import argparse
import collections
import contextlib
import os
import re
import shutil
import socket
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import gdown
import requests
from urllib3.exceptions import ReadTimeoutError

from frames import MIN_FRAMES, PHOTO_SUFFIXES, natural_key, open_photo, probe
from videomesh.errors import UserError, run
from videomesh.files import outputs

PHOTOS_END = ".tar"  # of an --output for photos
TRIES = 3
CONNECT_SECONDS, READ_SECONDS = 20, 60  # to wait for a connection, and for the next bytes
PROGRESS_SECONDS = 5
CHUNK = 1 << 20
THUMBNAIL_FOLDERS = {"__macosx", "@eadir", "thumbnails", "thumbs"}


def main() -> None:
    args = parse_arguments()
    try:
        with outputs(args.output) as (part,):
            if args.output.name.endswith(PHOTOS_END):
                ingest_photos(args.source, part, Progress(args.scene))
            else:
                ingest_video(args.source, part, Progress(args.scene))
    except (UserError, OSError) as error:
        raise UserError(f"scene {args.scene}: source {shown(args.source)}: {explain(error)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", required=True, help="name of the scene, for messages")
    parser.add_argument("--source", required=True, help="path, https://..., http://... or gdrive://ID")
    parser.add_argument("--output", type=Path, required=True, help="file to write; photos if it ends in .tar")
    return parser.parse_args()


def explain(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error} ({error.filename or 'while copying'}); check permissions and free disk space"
    return str(error)


def shown(source: str) -> str:
    """The source as it may be printed: an address without its user, password, query and fragment."""
    if "://" not in source:
        return source
    with contextlib.suppress(ValueError):  # such as brackets that do not match
        parts = urlsplit(source)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return source.partition("://")[0] + "://..."


class Progress:
    """Says every few seconds how far a download is."""

    def __init__(self, scene: str) -> None:
        self.scene = scene
        self.shown = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self.shown >= PROGRESS_SECONDS:
            self.shown = time.monotonic()
            self.say(f"{megabytes(done)} of {megabytes(total) if total else 'an unknown size'} downloaded")

    def say(self, text: str) -> None:
        print(f"scene {self.scene}: {text}", flush=True)


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


# Video -----------------------------------------------------------------------------------------------------------


def ingest_video(source: str, output: Path, progress: Progress) -> None:
    """Copy or download a video. UserError unless it has a video stream whose first frame decodes."""
    if is_remote(source):
        download(source, output, progress)
    else:
        path = local_path(source)
        if path.is_dir():
            raise UserError(f"a folder, where a video was expected; photos need an --output ending in {PHOTOS_END}")
        shutil.copyfile(path, output)
    found = describe(output)
    if found:
        raise UserError(f"not a video but {found}; {remedy(source, found)}")
    try:
        probe(output)
    except UserError as error:
        raise UserError(str(error).replace(f"{output}: ", ""))


def local_path(source: str) -> Path:
    path = Path(source).expanduser()
    if not path.exists():
        raise UserError(f"no such file or folder (seen from {Path.cwd()}); check the path in the table of scenes")
    if not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
        raise UserError("neither a file nor a folder; name a video, a folder of photos, or a .zip or .tar of photos")
    return path


# What a file starts with, for things that arrive in place of a video or an archive.
SIGNATURES = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a JPEG photo",
    b"\x89PNG": "a PNG picture",
    b"#EXTM3U": "a playlist",
    b"ffconcat": "a playlist",
    b"<?xml": "an XML text",
    b"{": "a JSON text",
}


def describe(path: Path) -> str:
    """What the file is, if it is one of the usual wrong things; else an empty text."""
    with open(path, "rb") as file:
        head = file.read(65536)
    if not head.strip(b"\0"):
        return "a file of zero bytes" if head else "an empty file"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")) or b"<html" in start[:1024]:
        title = re.search(rb"<title[^>]*>(.*?)</title>", head, re.IGNORECASE | re.DOTALL)
        name = " ".join(title[1].decode(errors="replace").split())[:80] if title else ""
        return f'a web page ("{name}")' if name else "a web page"
    known = next((name for magic, name in SIGNATURES.items() if start.startswith(magic.lower())), "")
    return known or ("a tar archive" if tarfile.is_tarfile(path) else "")


def remedy(source: str, found: str) -> str:
    """The next step for somebody whose source gave `found`."""
    drive = re.search(r"(?:drive|docs)\.google\.com/.*?(?:/d/|[?&]id=)([\w-]{10,})", source)
    if drive:
        return f"write the source as gdrive://{drive[1]}, and share the file with anyone who has the link"
    if source.startswith("gdrive://"):
        return (
            "share the file with anyone who has the link; if Google says that its quota is exceeded, wait a day or "
            "keep the file elsewhere"
        )
    if "archive" in found:
        return "if it holds photos, its name must end in .zip or .tar; else unpack it and name the video"
    if is_remote(source):
        return "the address must give the file itself: opened in a private browser window, a download must start"
    return "name a file that a video player plays"


# Photos ----------------------------------------------------------------------------------------------------------

PHOTO_KINDS = "/".join(sorted(PHOTO_SUFFIXES))


class File(NamedTuple):
    """A file of a folder or an archive."""

    path: str  # inside it
    size: int  # bytes
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
    progress.say(f"{len(photos)} photos")


def choose_photos(files: list[File]) -> dict[str, File]:
    """The photos among the files, by a flat name that is theirs alone. UserError if there are too few."""
    photos = [(parts, file) for parts, file in ((path_parts(file.path), file) for file in files) if is_photo(parts)]
    if len(photos) < MIN_FRAMES:
        raise UserError(
            f"{len(photos) or 'no'} photos in it, at least {MIN_FRAMES} are needed; found: {census(files)}; "
            f"usable are {PHOTO_KINDS} files"
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
        member = tarfile.TarInfo(name)
        member.size = photo.size
        with photo.open() as file:
            tar.addfile(member, file)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"{photo.path}: damaged in the archive ({error}); make or download the archive again")
    except (RuntimeError, NotImplementedError) as error:  # zipfile on passwords and rare compressions
        raise UserError(f"{photo.path}: cannot be unpacked ({error}); make the archive without password, or unpack it")


def list_folder(folder: Path) -> list[File]:
    """All files below a folder."""
    paths = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return [
        File(path.relative_to(folder).as_posix(), path.stat().st_size, partial(open_file, path))
        for path in paths
        if path.is_file()
    ]


def list_archive(path: Path, source: str, stack: contextlib.ExitStack) -> list[File]:
    """All files in a zip or an uncompressed tar, which stays open as long as the stack."""
    try:
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            return [
                File(info.filename, info.file_size, partial(archive.open, info))
                for info in archive.infolist()
                if not info.is_dir()
            ]
        tar = stack.enter_context(tarfile.open(path, "r:"))  # noqa: SIM115 - the stack closes it
        return [File(member.name, member.size, partial(open_member, tar, member)) for member in tar if member.isfile()]
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


@contextlib.contextmanager
def downloaded(source: str, output: Path, progress: Progress) -> Iterator[Path]:
    """A downloaded archive, under a temporary name that stage.outputs would clear away after a kill."""
    path = output.with_name(f"{output.name.rsplit('.', 2)[0]}.download.{os.getpid()}.part")
    try:
        download(source, path, progress)
        yield path
    finally:
        path.unlink(missing_ok=True)


# Download --------------------------------------------------------------------------------------------------------


def is_remote(source: str) -> bool:
    """Whether the source must be downloaded. UserError for a kind of address that is not known."""
    scheme, separator, _ = source.partition("://")
    if separator and scheme not in ("http", "https", "gdrive"):
        raise UserError(f"{scheme}:// is not known here; use a path, https://, s3:// (in the table), or gdrive://ID")
    return bool(separator)


def download(source: str, path: Path, progress: Progress) -> None:
    """Download to a file, trying again after passing troubles. No message quotes the address: it may hold secrets."""
    fetch = fetch_drive if source.startswith("gdrive://") else fetch_address
    for attempt in range(1, TRIES + 1):
        try:
            with open(path, "wb") as file:
                fetch(source, file, progress)
            return
        except (requests.RequestException, gdown.exceptions.DownloadError) as error:
            reason, advice, passing = diagnose(error)
        if not passing or attempt == TRIES:
            tried = f" (tried {attempt} times)" if attempt > 1 else ""
            raise UserError(f"{reason}{tried}; {advice}")
        progress.say(f"{reason}; trying again")
        time.sleep(attempt)


def fetch_address(source: str, file: BinaryIO, progress: Progress) -> None:
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    with requests.get(source, stream=True, timeout=timeout) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        done = 0
        for chunk in response.iter_content(CHUNK):  # raises if fewer bytes come than announced
            file.write(chunk)
            done += len(chunk)
            progress(done, total)


def fetch_drive(source: str, file: BinaryIO, progress: Progress) -> None:
    """Google Drive asks questions before it hands out large files; gdown answers them."""
    drive_id = source.removeprefix("gdrive://").split("/")[0]
    if not re.fullmatch(r"[\w-]{10,}", drive_id):
        raise UserError("not gdrive://ID; the ID is what stands between /d/ and /view in the link to the file")
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    gdown.download(id=drive_id, output=file, quiet=True, progress=progress, timeout=timeout)


def diagnose(error: Exception) -> tuple[str, str, bool]:
    """What happened, the next step, and whether trying again may help."""
    if isinstance(error, gdown.exceptions.FileURLRetrievalError):
        said = " ".join(str(error).split())[:200]
        return f"Google Drive does not hand the file out ({said})", remedy("gdrive://", ""), False
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return diagnose_status(error.response.status_code)
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not valid", "check the address and this machine's clock", False
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refuses", "check the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY", False
    if isinstance(error, requests.TooManyRedirects):
        return "the address leads in circles", "use the address of the file itself", False
    if isinstance(error, requests.Timeout) or is_caused_by(error, ReadTimeoutError):
        return "the server does not answer in time", "check the address and the network, or try later", True
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, gdown.exceptions.DownloadError)):
        return "the download broke off before its end", "check the network, or try later", True
    if isinstance(error, requests.ConnectionError):
        if is_caused_by(error, socket.gaierror):
            return "the host name is not known", "check the address and the network (DNS)", True
        if is_caused_by(error, ConnectionRefusedError):
            return "the server refuses the connection", "check the address and that the server runs", True
        return "the connection failed", "check the address and the network, or try later", True
    return "the address is not valid", "check it in the table of scenes", False


def diagnose_status(status: int) -> tuple[str, str, bool]:
    reason = f"the server answers HTTP {status}"
    if status in (401, 403):
        return (
            f"{reason} (access refused)",
            "make the file public, or renew the signature in the address",
            False,
        )
    if status in (404, 410):
        return f"{reason} (not found)", "check the address", False
    passing = status == 429 or status >= 500
    return reason, "try later" if passing else "check the address", passing


def is_caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an exception of this kind is among what led to the error; urllib3 keeps some in `reason` only."""
    seen: list[BaseException] = [error]
    for current in seen:
        if isinstance(current, kind):
            return True
        further = (current.__cause__, current.__context__, getattr(current, "reason", None), *current.args)
        seen += [other for other in further if isinstance(other, BaseException) and other not in seen]
    return False


if __name__ == "__main__":
    run(main)
