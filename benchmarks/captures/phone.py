"""A phone's flaws, and its video."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from videomesh.frames.decoding import find_ffmpeg

BITRATE = 17.0 / (1920 * 1080)  # Mbit/s a pixel: what phones write for 1080p
READ_NOISE, SHOT_NOISE = 0.004, 0.0008  # deviation of black, variance of white (white is 1): a phone in a room


class Flaws(NamedTuple):
    """0: none."""

    rolling_shutter: float = 0  # milliseconds from the first row to the last
    motion_blur: float = 0  # milliseconds that the shutter is open
    drift: float = 0  # of exposure, in stops to both sides; the white balance drifts with it
    noise: float = 0  # 1: READ_NOISE and SHOT_NOISE
    breathing: float = 0  # percent that the focal length changes to both sides


def sample_times(time: float, flaws: Flaws, height: int, samples: int) -> np.ndarray:
    """(height, samples) seconds at which each sample of each row is taken; their mean is `time`."""
    row = (np.arange(height)[:, None] + 0.5) / height - 0.5
    sample = (np.arange(samples)[None] + 0.5) / samples - 0.5
    return time + (row * flaws.rolling_shutter + sample * flaws.motion_blur) / 1000


def breathe(share: float, flaws: Flaws) -> float:
    """What the focal length is multiplied by after this share of the video: the phone focuses anew all the time."""
    return 1 + flaws.breathing / 100 * float(np.sin(2 * np.pi * 2.3 * share + 1))


def develop(light: np.ndarray, share: float, flaws: Flaws, generator: np.random.Generator) -> np.ndarray:
    """(height, width, 3) bytes in sRGB of linear light."""
    stops = flaws.drift * np.sin(2 * np.pi * 1.7 * share + 0.5)
    warm = 0.12 * flaws.drift * np.sin(2 * np.pi * 1.1 * share + 2)
    light = light * 2**stops * np.array([1 + warm, 1, 1 - warm])
    if flaws.noise:
        deviation = flaws.noise * np.sqrt(READ_NOISE**2 + SHOT_NOISE * light.clip(0))
        light = light + deviation * generator.standard_normal(light.shape)
    light = light.clip(0, 1)
    coded = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    return np.asarray((255 * coded + 0.5).astype(np.uint8))


@contextmanager
def video_writer(path: Path, width: int, height: int, fps: float, bitrate: float) -> Iterator[IO[bytes]]:
    """ffmpeg, which takes RGB pictures at its stdin. bitrate: Mbit/s; 0: as good as lossless."""
    quality = ["-b:v", f"{bitrate}M", "-maxrate", f"{1.5 * bitrate}M", "-bufsize", f"{bitrate}M"]
    command = [
        *(find_ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps}", "-i", "pipe:0"),
        *("-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p"),
        *(quality if bitrate else ["-crf", "3"]),
        str(path),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        yield process.stdin
        process.stdin.close()
    if process.returncode:
        raise RuntimeError(f"{path}: ffmpeg ended with code {process.returncode}")
