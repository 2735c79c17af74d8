"""What the cell `video` of a scene names: a video, several clips, or photos. Standard library only."""

import os
import re
import unicodedata
from pathlib import Path

from videomesh.photos import ARCHIVE_SUFFIXES, find_files, is_photo, natural_key

# What cameras, phones and editing programs write. The last two are raw files of 360 degree cameras, which are refused
# with a word of their own.
VIDEO_SUFFIXES = (
    *(".3g2", ".3gp", ".avi", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"),
    *(".ogv", ".ts", ".vob", ".webm", ".wmv", ".insv", ".360"),
)
IGNORED_FOLDERS = {"__macosx", "@eadir"}
LEAST_PHOTOS = 3  # in a folder with fewer, a single video counts for more


def split_sources(cell: str) -> list[str]:
    """The sources that a cell names, parted by semicolons; one that exists with a semicolon in its name is one.

    In addresses a semicolon may stand, so there a space or another address has to follow it.
    """
    if os.path.exists(cell):
        return [cell]
    separator = r"\s+;\s*|;\s+|;(?=[a-z0-9]+://)" if "://" in cell else ";"
    return [part.strip() for part in re.split(separator, cell) if part.strip()] or [cell]


def join_sources(sources: list[str]) -> str:
    return " ; ".join(sources)


def resolve(cell: str) -> str:
    """The cell with the user's home folder in place of ~, and names spelled as on the disk."""
    if os.path.exists(cell):
        return cell
    return join_sources([resolve_path(source) for source in split_sources(cell)])


def resolve_path(path: str) -> str:
    """A path as it is spelled on the disk; as it is if nothing there is called so.

    An umlaut can be one character or a letter and a sign (Unicode's forms NFC and NFD), which look the same. macOS
    makes no difference between them, Linux does.
    """
    path = os.path.expanduser(path)  # the shell's shorthand for the home folder, which programs do not know
    if "://" in path or os.path.exists(path):
        return path
    found = "/" if path.startswith("/") else ""
    for name in path.split("/"):
        exact = os.path.join(found, name)
        if not name or os.path.exists(exact):
            found = exact if name else found
            continue
        try:
            names = sorted(os.listdir(found or "."))
        except OSError:
            return path
        alike = [other for other in names if normalize(other) == normalize(name)]
        if not alike:
            return path
        found = os.path.join(found, alike[0])
    return found


def normalize(text: str) -> str:
    """Unicode's composed form, NFC."""
    return unicodedata.normalize("NFC", text)


def get_kind(cell: str) -> str:
    """photos, clips or video. In a folder that holds photos and videos, what is more counts."""
    sources = split_sources(cell)
    if len(sources) > 1:
        return "clips"
    if Path(cell).is_dir():
        videos, photos = list_folder(Path(cell))
        return "clips" if videos and (len(videos) > len(photos) or len(photos) < LEAST_PHOTOS) else "photos"
    name = re.sub(r"[?#].*", "", cell) if "://" in cell else cell  # an address may go on with ?...
    return "photos" if name.lower().endswith(ARCHIVE_SUFFIXES) else "video"


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The videos and the photos below a folder, each in their natural order, without hidden ones."""
    videos, photos = [], []
    for path in find_files(folder):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part.lower() in IGNORED_FOLDERS for part in parts):
            continue
        if is_video(path.name):
            videos.append(path)
        elif is_photo(path.name):
            photos.append(path)
    videos.sort(key=lambda path: natural_key(str(path)))
    photos.sort(key=lambda path: natural_key(str(path)))
    return videos, photos


def is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES)
