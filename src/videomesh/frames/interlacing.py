"""Interlaced video whose frames do not say so, as capture cards and converters leave it."""

import re
from typing import Sequence

from videomesh.frames.decoding import Decoding, Video

MAX_HEIGHT = 1088  # pixels; there is no interlaced video of larger pictures
LOOKED_AT = 512  # frames at the beginning, of which one in eight is examined
LEAST = 4  # frames that have to look interlaced
SURE = 8  # times as many as all that look otherwise
# Single looks at each frame alone; multi goes on from the frames before, so that a black or sudden one can mislead it.
FOUND = re.compile(r"(?:Single|Multi) frame detection: *TFF: *(\d+) *BFF: *(\d+) *Progressive: *(\d+)")


def find_field_order(video: Video) -> Video:
    """The video with the order of its fields, if it is interlaced without a flag."""
    if video.interlaced or not 0 < video.size[1] <= MAX_HEIGHT:
        return video
    graph = (
        f"{video.input}split[all][some];[some]select='lt(mod(n,64),8)',idet,nullsink;"
        "[all]scale=16:16:flags=neighbor,format=gray[out]"
    )
    decoding = Decoding(video, graph, frames=LOOKED_AT)
    for _ in decoding:
        pass
    order = read_order(decoding.log)
    return video._replace(interlaced=True, field_order=order) if order else video


def read_order(log: Sequence[str]) -> str:
    """tff or bff, as the last lines of ffmpeg's idet say; empty if the frames are progressive, or too few tell."""
    found = [match for match in map(FOUND.search, log) if match][-2:]
    orders = {find_order(*map(int, match.groups())) for match in found}
    return orders.pop() if len(orders) == 1 else ""


def find_order(top: int, bottom: int, progressive: int) -> str:
    """What these numbers of frames say."""
    for order, count in (("tff", top), ("bff", bottom)):
        if count >= LEAST and count >= SURE * (top + bottom + progressive - count):
            return order
    return ""
