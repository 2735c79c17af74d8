"""Damaged videos: which frames are smeared over."""

from typing import Set

import numpy as np

from videomesh.errors import UserError
from videomesh.frames.decoding import RE_ENCODE, THUMBNAIL, Clock, Decoding, Video

MIN_DECODED = 0.9  # share of a damaged video that must be intact
MAX_INTERVAL = 1.5  # between frames of a damaged video, in usual intervals; beyond it one is missing
LEADING = 3  # frames before a damaged one that may be built on it, though they are shown first (B-frames)


def find_damage(video: Video, decoding: Decoding) -> Set[int]:
    """Indices of damaged frames, with a warning; UserError if more than a tenth of the video is lost.

    Only a video of which ffmpeg complained can be damaged. ffmpeg hides damage by smearing over it, so the video is
    decoded again, strictly: frames that are then missing were smeared, and so are those that build on them.
    """
    if not decoding.errors:
        return set()
    strict = Decoding(video, f"{video.input}{THUMBNAIL}", strict=True)
    for _ in strict:
        pass
    clock = Clock(decoding)
    intervals = np.diff([0.0, *clock.positions])
    usual = float(np.median(intervals))
    intact = set(strict.stamps)
    damaged: Set[int] = set()
    broken = False
    for index, stamp in enumerate(decoding.stamps):
        if stamp not in intact or intervals[index] > MAX_INTERVAL * usual:
            damaged.update(range(max(0, index - LEADING), index))
            broken = True
        if stamp in intact and index in decoding.keys:
            broken = False
        if broken:
            damaged.add(index)
    wanted = len(decoding.stamps)
    if clock.duration is not None and usual > 0:  # count what is missing on the way and at the end
        wanted += sum(round(interval / usual) - 1 for interval in intervals if interval > MAX_INTERVAL * usual)
        wanted += max(0, round(((video.duration or 0) - clock.positions[-1]) / usual) - 1)
    share = (len(decoding.stamps) - len(damaged)) / wanted
    if share < MIN_DECODED:
        raise UserError(
            f"{video.source}: only {share:.0%} of the video can be used, at least {MIN_DECODED:.0%} are needed, the "
            f"rest is damaged or missing ({decoding.complaint()}); {RE_ENCODE}"
        )
    if share < 1:
        reason = f"damaged ({decoding.complaint()})"
        print(f"warning: {video.source}: {reason}; {share:.1%} of the video is used", flush=True)
    return damaged
