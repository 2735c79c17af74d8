"""Folders of photos as cameras, phones and other programs leave them. Pictures are smooth, each unlike the others."""

import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 96, 72


def picture(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A coloured picture that is the same at any size."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def mask(number: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """White in an ellipse that moves to the right with the number."""
    image = Image.new("L", size)
    left = size[0] * (0.2 + 0.01 * number)
    ImageDraw.Draw(image).ellipse((left, size[1] * 0.2, left + size[0] * 0.4, size[1] * 0.8), fill=255)
    return image


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "JPEG" if path.suffix.lower() in (".jfif", ".jpe") else None
    image.save(path, kind, **{"quality": 92} | options)
    return path


def write(folder: Path, pattern: str, count: int = 6, first: int = 0, **options: Any) -> None:
    """Photos, named by a pattern such as "images/{:04d}.jpg"."""
    for number in range(count):
        save(picture(number + first), folder / pattern.format(number), **options)


def write_masks(folder: Path, pattern: str, count: int = 6, **options: Any) -> None:
    for number in range(count):
        save(mask(number), folder / pattern.format(number), **options)


def get_exif(orientation: int = 1, model: str = "", focal: float = 0) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if model:
        exif[0x010F], exif[0x0110] = "Maker", model
    if focal:
        exif.get_ifd(0x8769)[0x920A] = focal
    return exif


def make_dng(pixels: np.ndarray, flip: int = 1) -> bytes:
    """A RAW file of (height, width) uint16 values behind a Bayer filter: Adobe's DNG with the least that it needs."""
    height, width = pixels.shape
    identity = struct.pack("<18i", *(value for number in np.eye(3, dtype=int).ravel() for value in (int(number), 1)))
    short, long, ascii_, byte, rational, signed = 3, 4, 2, 1, 5, 10
    entries = [
        (254, long, 1, struct.pack("<I", 0)),
        (256, long, 1, struct.pack("<I", width)),
        (257, long, 1, struct.pack("<I", height)),
        (258, short, 1, struct.pack("<H", 16)),
        (259, short, 1, struct.pack("<H", 1)),
        (262, short, 1, struct.pack("<H", 32803)),
        (271, ascii_, 6, b"Maker\0"),
        (272, ascii_, 4, b"RAW\0"),
        (273, long, 1, b""),  # where the pixels begin
        (274, short, 1, struct.pack("<H", flip)),
        (277, short, 1, struct.pack("<H", 1)),
        (278, long, 1, struct.pack("<I", height)),
        (279, long, 1, struct.pack("<I", pixels.size * 2)),
        (33421, short, 2, struct.pack("<HH", 2, 2)),
        (33422, byte, 4, bytes([0, 1, 1, 2])),
        (50706, byte, 4, bytes([1, 4, 0, 0])),
        (50708, ascii_, 10, b"Maker RAW\0"),
        (50721, signed, 9, identity),
        (50728, rational, 3, struct.pack("<6I", 1, 1, 1, 1, 1, 1)),
        (50778, short, 1, struct.pack("<H", 21)),
    ]
    begin, extra = 8 + 2 + 12 * len(entries) + 4, b""
    rows = []
    for tag, kind, count, value in entries:
        if len(value) > 4:
            value, extra = struct.pack("<I", begin + len(extra)), extra + value
        rows.append((tag, kind, count, value))
    pixels_at = struct.pack("<I", begin + len(extra))
    table = b"".join(
        struct.pack("<HHI", tag, kind, count) + (pixels_at if tag == 273 else value.ljust(4, b"\0"))
        for tag, kind, count, value in rows
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + table + bytes(4) + extra + pixels.astype("<u2").tobytes()


# --- what came out ----------------------------------------------------------------------------------------------------


class Stored:
    """The content of photos.tar."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path, "r:") as tar:
            self.files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        self.about = json.loads(self.files.pop("ingest.json"))
        self.masks = {name[6:-4]: self.open(name) for name in self.files if name.startswith("masks/")}
        self.photos = [name for name in self.files if "/" not in name]
        self.given = self.about["given"]
        self.left_out = {entry["reason"]: entry["count"] for entry in self.about["left_out"]}

    def open(self, name: str) -> Image.Image:
        return Image.open(io.BytesIO(self.files[name]))
