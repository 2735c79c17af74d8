"""Which frames of a video are kept: every N-th, or the sharpest of each stretch of time."""

import tarfile
import time
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

import numpy as np

from videomesh.errors import UserError
from videomesh.frames.damage import find_damage
from videomesh.frames.decoding import CHANGES, RE_ENCODE, Clock, Decoding, Video, check_decoded, probe
from videomesh.frames.frame import SHARPNESS_SIDE, check_side, sharpness, store_frame
from videomesh.frames.hdr import to_image
from videomesh.frames.options import Options

PROGRESS_SECONDS = 10


Frames = List[Dict[str, Any]]  # entries of frames.json


def store_video(tar: tarfile.TarFile, footage: Path, options: Options) -> Dict[str, Any]:
    """Store the frames that the options choose. Returns frames.json; UserError if the video cannot be used."""
    video = probe(footage, options.threads)
    if options.downsample:
        select = "every"
        frames, size, clock = store_every(tar, video, options.downsample, options.max_size)
    else:
        assert options.target
        select = "sharpest"
        frames, size, clock = store_sharpest(tar, video, options.target, options.max_size)
    return {
        "source": "video",
        "width": size[0],
        "height": size[1],
        "source_frames": len(clock.seconds),
        "duration": clock.duration,
        "select": select,
        "frames": frames,
    }


def store_every(tar: tarfile.TarFile, video: Video, step: int, max_size: int) -> Tuple[Frames, Tuple[int, int], Clock]:
    """Keep frames 0, step, 2 step ..., damaged ones too: one decoding of the video."""
    decoding = Decoding(video, keep_graph(f"not(mod(n,{step}))", video, max_size))
    frames = []
    size = (0, 0)
    for position, picture in enumerate(with_progress(decoding, video, "frames kept")):
        image = to_image(picture, video.hdr)
        size = same_size(video, image.size, size)
        frames.append(store_frame(tar, position * step, None, image))
    check_decoded(video, decoding)
    find_damage(video, decoding)
    clock = Clock(decoding)
    for frame in frames:
        frame["time"] = clock.seconds[frame["video_frame"]]
    return frames, size, clock


def store_sharpest(
    tar: tarfile.TarFile, video: Video, target: int, max_size: int
) -> Tuple[Frames, Tuple[int, int], Clock]:
    """Keep the sharpest frame of each of `target` equal lengths of time.

    Two decodings: the first, small and gray, measures all frames; the second, at stored size, ends at the last frame
    kept. Neither holds more than one picture in memory.
    """
    scan = Decoding(video, f"[0:V:0]{fit(SHARPNESS_SIDE)}:flags=area,format=gray,showinfo[out]")
    measured = [sharpness(picture) for picture in with_progress(scan, video, "frames measured")]
    check_decoded(video, scan)
    damaged = find_damage(video, scan)
    clock = Clock(scan)
    chosen = sharpest_of_buckets(clock.positions, measured, damaged, target)

    decoding = Decoding(video, keep_graph(select_expression(chosen), video, max_size), frames=len(chosen))
    frames = []
    size = (0, 0)
    for position, picture in enumerate(decoding):
        index = chosen[position]
        image = to_image(picture, video.hdr)
        size = same_size(video, image.size, size)
        frames.append(store_frame(tar, index, clock.seconds[index], image))
    if len(frames) < len(chosen) or any(a != b for a, b in zip(scan.stamps, decoding.stamps)):
        raise UserError(f"{video.path}: decoding it twice gave different frames; {RE_ENCODE}")
    return frames, size, clock


def sharpest_of_buckets(
    positions: Sequence[float], measured: Sequence[float], damaged: Set[int], target: int
) -> List[int]:
    """Indices of the sharpest frame in each of `target` equal intervals of `positions` (increasing), in order.

    With at most `target` frames all are kept. A bucket's winner is kept however blurred it is: matching neighbours
    needs an unbroken chain. Damaged frames never win.
    """
    if len(positions) <= target:
        return [index for index in range(len(positions)) if index not in damaged]
    count = len(positions)
    length = (positions[-1] - positions[0]) * count / (count - 1)  # the last frame lasts as long as the others
    best: Dict[int, int] = {}
    for index, position in enumerate(positions):
        bucket = int((position - positions[0]) / length * target)
        if index not in damaged and (bucket not in best or measured[index] > measured[best[bucket]]):
            best[bucket] = index
    return sorted(best.values())


def select_expression(indices: Sequence[int]) -> str:
    """ffmpeg's select expression for these frame numbers (increasing). It has to fit into a command line."""
    runs: List[Tuple[int, int]] = []  # first and last of neighbouring numbers
    for index in indices:
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return _search_tree(runs)


def _search_tree(runs: Sequence[Tuple[int, int]]) -> str:
    """Whether n lies in one of the runs, as a binary search: ffmpeg limits how deep an expression may be nested."""
    if len(runs) == 1:
        return "between(n,{},{})".format(*runs[0])
    middle = len(runs) // 2
    return f"if(lt(n,{runs[middle][0]}),{_search_tree(runs[:middle])},{_search_tree(runs[middle:])})"


def keep_graph(expression: str, video: Video, max_size: int) -> str:
    """Filters that time-stamp every frame of the video, cheaply, and pass on those that `expression` selects."""
    pixels = "rgb48be" if video.hdr else "rgb24"
    return (
        "[0:V:0]split[all][kept];[all]scale=16:16:flags=neighbor,showinfo,nullsink;"
        f"[kept]select='{expression}',{fit(max_size)}:flags=bicubic+accurate_rnd+full_chroma_int,format={pixels}[out]"
    )


def fit(side: int) -> str:
    """ffmpeg's scale filter: square pixels, long side at most `side`, never enlarged."""
    factor = f"min(1,{side}/max(iw*sar,ih))"
    return f"scale=w='max(1,round(iw*sar*{factor}))':h='max(1,round(ih*{factor}))'"


def same_size(video: Video, size: Tuple[int, int], before: Tuple[int, int]) -> Tuple[int, int]:
    check_side(str(video.path), size)
    if before not in (size, (0, 0)):
        raise UserError(f"{video.path}: {CHANGES}")
    return size


def with_progress(pictures: Iterable[np.ndarray], video: Video, what: str) -> Iterator[np.ndarray]:
    shown = time.monotonic()
    for count, picture in enumerate(pictures, 1):
        yield picture
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            print(f"{video.path}: {count} {what}", flush=True)
