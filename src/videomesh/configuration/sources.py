"""The `video` cell of a row: whether footage can be where it says. What is behind an address is not looked at here."""

import itertools
import os
import re
from pathlib import Path

from videomesh.configuration.words import show, suggest_file, where_paths_begin
from videomesh.errors import suggest
from videomesh.photos import ARCHIVE_SUFFIXES, find_files, is_photo
from videomesh.sources import get_kind, is_video, resolve_path, split_sources

MAX_LOOKED_AT = 5000  # files of a folder; one that holds so many others first is no folder of photos
KINDS = (
    "the path of a video, of a folder of photos or of videos, or of an archive of photos, or an address that begins "
    "with https://, http://, s3://BUCKET/ or gdrive://"
)


def check_cell(cell: str) -> str:
    """What is wrong with a cell, which may name several clips. Empty if nothing is."""
    sources = split_sources(cell)
    if len(sources) == 1:
        return check_source(sources[0])
    problems = []
    for number, source in enumerate(sources, start=1):
        problem = check_source(source) or check_clip(source)
        if source in sources[: number - 1]:
            problem = "this clip is named twice. Remove one of the two."
        if problem:
            problems.append(f"clip {number}, {show(source)}: {problem}")
    return " ".join(problems)


def check_clip(source: str) -> str:
    """What is wrong with one of several sources, each of which is fine by itself."""
    if get_kind(source) == "photos":
        return "a semicolon separates the videos of one scene, and these are photos. Put all photos into one folder."
    return ""


def check_source(source: str) -> str:
    """What is wrong with a source. Empty if nothing is."""
    scheme, separator, rest = source.partition("://")
    return check_address(scheme, rest) if separator else check_path(Path(source))


def check_address(scheme: str, rest: str) -> str:
    """What is wrong with SCHEME://REST."""
    if scheme in ("http", "https"):
        host = rest.split("/")[0].split("@")[-1]
        if host == "drive.google.com":
            file_id = re.search(r"(?:/d/|[?&]id=)([\w-]+)", rest)
            return f"this is a web page, not a video. Write gdrive://{file_id[1] if file_id else 'FILE_ID'}."
        return "" if host else f"the server is missing. Write {scheme}://SERVER/PATH."
    if scheme == "s3":
        bucket, _, key = rest.partition("/")
        return "" if bucket and key else "the bucket or the key is missing. Write s3://BUCKET/KEY."
    if scheme == "gdrive":
        good = re.fullmatch(r"[\w-]{10,}", rest)
        return "" if good else "this is not a file id. Write gdrive:// and the part of the share link after /d/."
    near = suggest(scheme, ("https", "http", "s3", "gdrive"))
    return f"{scheme}:// is not a known kind of address. Write {KINDS}.{near}"


def check_path(path: Path) -> str:
    """What is wrong with the path of a video, of a folder of photos or of an archive of them."""
    scheme = re.match(r"(https?|s3|gdrive):", str(path))
    if scheme:
        return f"this address lacks its two slashes. Write {scheme[1]}://..."
    if not os.path.exists(path):
        if os.path.isdir(path.parent):
            return f"there is no such file or folder. {suggest_file(path) or f'Write {KINDS}. {where_paths_begin()}'}"
        advice = suggest_file(path.parent) or f"{where_paths_begin()} Write the whole path."
        return f"there is no folder {path.parent}. {advice}"
    if Path("resources/videos").resolve() in path.resolve().parents:
        return "the workflow keeps its own copies in resources/videos. Move the file elsewhere, for example to videos."
    if not os.access(path, os.R_OK):
        return "you may not read it. Change its permissions with chmod, or copy it."
    if path.is_dir():
        files = (file.name for file in itertools.islice(find_files(path), MAX_LOOKED_AT))
        if any(is_photo(name) or is_video(name) for name in files):
            return ""
        kinds = "photo (.jpg, .heic, .png, .cr2 and others) and no video (.mp4, .mov and others)"
        return f"there is no {kinds} in this folder. Write the path of a folder with photos or videos, or of a video."
    if is_photo(path.name) and path.suffix.lower() != ".gif":  # which may be a film
        return "this is a single photo. Write the path of the folder that holds all photos of the scene."
    return "" if path.stat().st_size else "this file is empty. Copy or download it again."


def check_masks(masks: str) -> str:
    """What is wrong with the setting masks. Empty if nothing is."""
    if masks in ("auto", "ignore"):
        return ""
    path = Path(resolve_path(masks))
    if not path.exists():
        near = suggest_file(path) or suggest(masks, ("auto", "ignore")).strip() or where_paths_begin()
        return f"there is no such folder. Write auto, ignore or the path of a folder of masks. {near}"
    if path.is_dir() or path.name.lower().endswith(ARCHIVE_SUFFIXES):
        return ""
    return "this is not a folder. Write auto, ignore or the path of a folder of masks."
