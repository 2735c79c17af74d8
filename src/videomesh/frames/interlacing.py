"""Interlaced video whose frames do not say so, as capture cards and converters leave it."""

import re

from videomesh.frames.decoding import Decoding, Video

MAX_HEIGHT = 1088  # pixels; there is no interlaced video of larger pictures
LOOKED_AT = 512  # frames at the beginning, of which one in eight is examined
LEAST = 4  # frames that have to look interlaced
SURE = 8  # times as many as all that look otherwise
FOUND = re.compile(r"Multi frame detection: TFF: *(\d+) *BFF: *(\d+) *Progressive: *(\d+)")


def find_field_order(video: Video) -> Video:
    """The video with the order of its half pictures, if it is interlaced without a flag."""
    if video.interlaced or not 0 < video.size[1] <= MAX_HEIGHT:
        return video
    graph = (
        f"{video.input}split[all][some];[some]select='lt(mod(n,64),8)',idet,nullsink;"
        "[all]scale=16:16:flags=neighbor,format=gray[out]"
    )
    decoding = Decoding(video, graph, frames=LOOKED_AT)
    for _ in decoding:
        pass
    found = [match for match in map(FOUND.search, decoding.log) if match]
    if not found:
        return video
    top, bottom, progressive = map(int, found[-1].groups())
    for order, count in (("tff", top), ("bff", bottom)):
        if count >= LEAST and count >= SURE * (top + bottom + progressive - count):
            return video._replace(interlaced=True, field_order=order)
    return video
