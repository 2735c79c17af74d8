"""What a user can choose about frames."""

from typing import NamedTuple, Optional


class Options(NamedTuple):
    """Of a video, either `target` or `downsample` is given. Photos are all kept."""

    target: Optional[int]  # so many frames: the sharpest of each of as many stretches of equal motion
    downsample: Optional[int]  # N: frames 0, N, 2N ...
    max_size: int  # pixels: a stored frame's long side is not larger
    threads: Optional[int]  # of the decoder; None: ffmpeg decides
