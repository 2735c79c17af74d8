"""What counts as a photo, and in which order photos come. Standard library only: the configuration asks this too."""

import os
import re
from pathlib import Path
from typing import Iterator, List, Set, Tuple

# What Pillow reads, with pillow-heif for photos of iPhones.
PHOTO_SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".hif",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".mpo",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tga",
    ".tif",
    ".tiff",
    ".webp",
)
RAW_SUFFIXES = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw")  # rawpy
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
POSES_SUFFIXES = (".bin", ".json", ".txt")  # COLMAP models, transforms.json, an app's camera of each photo


def is_photo(name: str) -> bool:
    return name.lower().endswith(PHOTO_SUFFIXES + RAW_SUFFIXES)


def is_ingested(name: str) -> bool:
    """Whether ingest may read it: a photo, a mask, or a file with poses."""
    return is_photo(name) or name.lower().endswith(POSES_SUFFIXES) or name == "metadata"  # of Record3D


def find_files(folder: Path) -> Iterator[Path]:
    """All files below a folder, in no useful order. Links are followed, but no folder is entered twice."""
    seen: Set[Tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        folders.sort(key=lambda name: (os.path.islink(os.path.join(root, name)), name))
        for name in list(folders):
            try:
                status = os.stat(os.path.join(root, name))
            except OSError:  # a link to nowhere
                folders.remove(name)
                continue
            path = os.path.join(root, name)
            if (status.st_dev, status.st_ino) in seen or (os.path.islink(path) and _holds(path, folder)):
                folders.remove(name)
            seen.add((status.st_dev, status.st_ino))
        yield from (path for path in (Path(root, name) for name in names) if path.is_file())


def _holds(link: str, folder: Path) -> bool:
    """Whether a link below a folder leads to that folder or to one around it: a loop."""
    outer = os.path.realpath(link)
    return os.path.commonpath([outer, os.path.realpath(folder)]) == outer


def natural_key(name: str) -> List[Tuple[bool, int, str]]:
    """Sort key under which IMG_2 comes before IMG_10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(False, int(part), part) if part.isdigit() else (True, 0, part) for part in parts]
