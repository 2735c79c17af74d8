"""What a source is: a path on this machine or an address; and what it holds in place of footage."""

import contextlib
import re
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from videomesh.download import SHARE_DRIVE
from videomesh.errors import UserError
from videomesh.sources import join_sources, resolve_path


@contextlib.contextmanager
def named_in_errors(scene: str, sources: Sequence[str]) -> Iterator[None]:
    """An error inside becomes a UserError that begins with the scene and the sources."""
    begin = f"scene {scene}: source {join_sources([without_secrets(source) for source in sources])}"
    try:
        yield
    except UserError as error:
        raise UserError(f"{begin}: {error}")
    except OSError as error:
        file = error.filename or "while copying"
        raise UserError(f"{begin}: {error.strerror or error} ({file}); check permissions and free disk space")


def without_secrets(source: str) -> str:
    """The source as it may be printed: an address without its user, password, query and fragment."""
    if "://" not in source:
        return source
    with contextlib.suppress(ValueError):  # such as brackets that do not match
        parts = urlsplit(source)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return source.partition("://")[0] + "://..."


def local_path(source: str) -> Path:
    """The file or folder that the source names. UserError if there is none."""
    path = Path(resolve_path(source))
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
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\0": "an xz archive",
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
    if known in ("", "a gzip archive", "a bzip2 archive", "an xz archive") and tarfile.is_tarfile(path):
        return "a compressed tar archive" if known else "a tar archive"
    return known


def remedy(source: str, found: str) -> str:
    """The next step for somebody whose source gave `found`."""
    drive = re.search(r"(?:drive|docs)\.google\.com/.*?(?:/d/|[?&]id=)([\w-]{10,})", source)
    if drive:
        return f"write the source as gdrive://{drive[1]}, and share the file with anyone who has the link"
    if source.startswith("gdrive://"):
        return SHARE_DRIVE
    if "archive" in found:
        return (
            "if it holds photos, its name must end in .zip, .tar or .tar.gz; if it holds videos, unpack it and name "
            "the video or the folder"
        )
    if is_remote(source):
        return "the address must give the file itself: opened in a private browser window, a download must start"
    return "name a file that a video player plays"


def is_remote(source: str) -> bool:
    """Whether the source must be downloaded. UserError for a kind of address that is not known."""
    scheme, separator, _ = source.partition("://")
    if separator and scheme not in ("http", "https", "gdrive"):
        raise UserError(f"{scheme}:// is not known here; use a path, https://, s3:// (in the table), or gdrive://ID")
    return bool(separator)
