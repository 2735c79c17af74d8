"""What counts as a photo, and in which order photos come. Standard library only: the configuration asks this too."""

import re
from typing import List, Tuple

PHOTO_SUFFIXES = (".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def natural_key(name: str) -> List[Tuple[bool, int, str]]:
    """Sort key under which IMG_2 comes before IMG_10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(False, int(part), part) if part.isdigit() else (True, 0, part) for part in parts]
