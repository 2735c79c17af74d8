"""Tiny videos and photos for tests. Every picture carries its number, so that a test can tell which one came out."""

import functools
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from videomesh.frames.decoding import find_ffmpeg

WIDTH, HEIGHT = 96, 64
BLOCK = 12  # pixels of one bit of the number, which stands in the top row


def picture(number: int, blurred: bool = False) -> np.ndarray:
    """A (64, 96, 3) uint8 picture with noise below its number in 8 black or white blocks."""
    noise = np.random.default_rng(7).integers(60, 200, (HEIGHT, WIDTH), np.uint8)
    image = Image.fromarray(np.roll(noise, number, axis=1)).convert("RGB")
    if blurred:
        image = image.filter(ImageFilter.GaussianBlur(3))
    pixels = np.array(image)
    for bit in range(8):
        pixels[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
    return pixels


@functools.cache
def get_panorama(seed: int) -> Image.Image:
    """A wide picture with details of several sizes."""
    random = np.random.default_rng(seed)
    layers = np.zeros((120, 2000, 3))
    for size, weight in ((3, 50), (9, 70), (30, 90)):
        noise = random.integers(0, 256, (120 // size + 1, 2000 // size + 1, 3), np.uint8)
        layers += np.asarray(Image.fromarray(noise).resize((2000, 120), Image.Resampling.BICUBIC)) * (weight / 210)
    return Image.fromarray(layers.clip(0, 255).astype(np.uint8))


def view(place: float, seed: int = 0) -> np.ndarray:
    """(120, 160, 3) uint8: what a camera sees that has moved on by `place` pixels, of one place or another (seed)."""
    shifted = get_panorama(seed).transform(
        (160, 120), Image.Transform.AFFINE, (1, 0, place, 0, 1, 0), Image.Resampling.BILINEAR
    )
    return np.asarray(shifted)


def number_of(image: Image.Image) -> int:
    """The number in a picture of any size."""
    gray = np.asarray(image.convert("L").resize((WIDTH, HEIGHT)))
    return sum((gray[BLOCK // 2, bit * BLOCK + BLOCK // 2] > 127) << bit for bit in range(8))


def write_video(path: Path, pictures: list[np.ndarray], *options: str, rate: int = 10) -> Path:
    """A video of RGB pictures; H.264 without visible loss unless options say otherwise."""
    height, width = pictures[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "pipe:0"]
    codec = ["-c:v", "libx264", "-crf", "6", "-preset", "ultrafast", "-g", "10", "-pix_fmt", "yuv420p"]
    ffmpeg(*raw, *codec, *options, str(path), stdin=b"".join(picture.tobytes() for picture in pictures))
    return path


def ffmpeg(*arguments: str, stdin: bytes = b"") -> None:
    command = [find_ffmpeg(), "-v", "error", "-y", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def rotate_by_metadata(path: Path) -> None:
    """Mark an MP4 as to be turned by 90 degrees clockwise, as phones do: the track header's matrix (ISO 14496-12)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    numbers = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    data[matrix : matrix + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    path.write_bytes(data)


def write_photos(folder: Path, count: int, suffix: str = ".jpg") -> Path:
    """Photos IMG_0, IMG_1 ... in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(picture(number)).save(folder / f"IMG_{number}{suffix}", quality=95)
    return folder
