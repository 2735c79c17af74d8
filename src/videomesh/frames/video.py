"""Which frames of videos are kept: every N-th, or the sharpest of each stretch of motion."""

import tarfile
import time
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from videomesh.errors import UserError
from videomesh.frames.cameras import turn
from videomesh.frames.choice import Clip, choose, describe, share_out, sift
from videomesh.frames.damage import find_damage
from videomesh.frames.decoding import CHANGES, RE_ENCODE, Clock, Decoding, Source, Video, check_decoded, probe
from videomesh.frames.frame import SHARPNESS_SIDE, check_side, sharpness, store_frame
from videomesh.frames.hdr import to_image
from videomesh.frames.interlacing import find_field_order
from videomesh.frames.motion import Motion
from videomesh.frames.options import Options
from videomesh.frames.overlay import Overlay
from videomesh.moments import describe_burnt_in, describe_rejected, show_time

PROGRESS_SECONDS = 10


Frames = List[Dict[str, Any]]  # entries of frames.json
Size = Tuple[int, int]


class Kept(NamedTuple):
    """What was kept of a clip."""

    frames: Frames
    size: Size
    clock: Clock
    rejected: List[Dict[str, Any]]
    cuts: List[Dict[str, Any]]
    burnt_in: List[Dict[str, Any]]


class Measured(NamedTuple):
    """A clip after its first decoding."""

    video: Video
    scan: Decoding
    clock: Clock
    clip: Clip
    burnt_in: Optional[List[float]]  # the box of a text or a logo, in shares of the picture


def store_videos(tar: tarfile.TarFile, sources: Sequence[Source], options: Options) -> Dict[str, Any]:
    """Store the frames that the options choose. Returns frames.json; UserError if a video cannot be used."""
    videos = [find_field_order(probe(source, options.threads)) for source in sources]
    for video in videos:
        if video.others:
            size = "{} x {}".format(*video.size)
            print(f"{video.source}: the stream of {size} is used, not {', '.join(video.others)}", flush=True)
        if video.interlaced:
            tell_interlaced(video)
    turns = choose_turns(videos)
    if options.downsample:
        kept = store_every(tar, videos, turns, options.downsample, options.max_size)
    else:
        assert options.target
        kept = store_sharpest(tar, videos, turns, options.target, options.max_size)
    durations = [clip.clock.duration for clip in kept]
    cameras, numbers = group_clips(videos, kept)
    frames = [
        {**frame, "camera": camera, "clip": number, "given": None, "turned": degrees}
        for number, (clip, camera, degrees) in enumerate(zip(kept, numbers, turns))
        for frame in clip.frames
    ]
    streams = [f"{video.source.label}: {size}" for video in videos for size in video.others]
    return {
        "source": "video",
        "width": cameras[0]["width"],
        "height": cameras[0]["height"],
        "source_frames": sum(len(clip.clock.seconds) for clip in kept),
        "duration": None if None in durations else round(sum(map(float, durations)), 6),  # type: ignore[arg-type]
        "select": "every" if options.downsample else "sharpest",
        "metric": False,
        "cameras": cameras,
        "clips": [
            {"name": video.source.label, "frames": len(clip.clock.seconds), "duration": clip.clock.duration}
            for video, clip in zip(videos, kept)
        ],
        "left_out": [{"reason": "smaller video streams", "count": len(streams), "names": streams}] if streams else [],
        "rejected": [entry for clip in kept for entry in clip.rejected],
        "cuts": [entry for clip in kept for entry in clip.cuts],
        "burnt_in": [entry for clip in kept for entry in clip.burnt_in],
        "frames": frames,
    }


def choose_turns(videos: Sequence[Video]) -> List[int]:
    """Degrees by which the frames of each clip are turned clockwise, so that those of one camera have one size.

    Where one camera was held both ways, what is shorter is turned as the rest was.
    """
    turns = [0] * len(videos)
    for index, video in enumerate(videos):
        alike = [other for other in videos if (other.device, sorted(other.size)) == (video.device, sorted(video.size))]
        seconds: Dict[Size, float] = {}
        for other in alike:
            seconds[get_upright(other)] = seconds.get(get_upright(other), 0.0) + (other.duration or 1.0)
        usual = max(seconds, key=lambda shape: seconds[shape])
        if get_upright(video) != usual:
            held = next(other.turned for other in alike if get_upright(other) == usual)
            turns[index] = (held - video.turned) % 360 if (held - video.turned) % 180 else 90
    return turns


def get_upright(video: Video) -> Size:
    width, height = video.size
    return (height, width) if video.turned % 180 else (width, height)


def group_clips(videos: Sequence[Video], kept: Sequence[Kept]) -> Tuple[List[Dict[str, Any]], List[int]]:
    """The entry cameras of frames.json, that with most frames first; and the number of each clip's camera.

    Clips of one size by one device are taken as one camera. Their files do not tell the zoom.
    """
    members: Dict[Tuple[Any, ...], List[int]] = {}
    for number, (video, clip) in enumerate(zip(videos, kept)):
        members.setdefault((clip.size, video.device, *sorted(video.size)), []).append(number)
    ordered = sorted(members.items(), key=lambda item: -sum(len(kept[number].frames) for number in item[1]))
    cameras, numbers = [], [0] * len(videos)
    for camera, (key, clips) in enumerate(ordered):
        cameras.append({"width": key[0][0], "height": key[0][1], "given": None})
        for number in clips:
            numbers[number] = camera
    return cameras, numbers


def store_every(
    tar: tarfile.TarFile, videos: Sequence[Video], turns: Sequence[int], step: int, max_size: int
) -> List[Kept]:
    """Keep frames 0, step, 2 step ... of each video, damaged ones too: one decoding of the video."""
    kept: List[Kept] = []
    for video, degrees in zip(videos, turns):
        before = sum(len(clip.clock.seconds) for clip in kept)
        decoding = Decoding(video, keep_graph(f"not(mod(n,{step}))", video, max_size))
        frames: Frames = []
        size = (0, 0)
        for position, picture in enumerate(with_progress(decoding, video, "frames kept")):
            image = turn(to_image(picture, video.hdr), degrees)
            size = same_size(video, image.size, size)
            frames.append(store_frame(tar, before, position * step, None, image))
        check_decoded(video, decoding)
        find_damage(video, decoding)
        if decoding.interlaced:
            count = f"{decoding.interlaced} of {len(decoding.stamps)} frames"
            print(f"warning: {video.source}: {count} are interlaced and kept as they are", flush=True)
        clock = Clock(decoding)
        for frame in frames:
            frame["time"] = clock.seconds[frame["video_frame"]]
        kept.append(Kept(frames, size, clock, [], [], []))
    return kept


def store_sharpest(
    tar: tarfile.TarFile, videos: Sequence[Video], turns: Sequence[int], target: int, max_size: int
) -> List[Kept]:
    """Keep the sharpest frame of each of `target` equal stretches of motion.

    Two decodings: the first, small and gray, measures all frames; the second, at stored size, ends at the last frame
    kept. Neither holds more than a few pictures in memory.
    """
    measured = [measure(video) for video in videos]
    total = sum(len(clip.clip.positions) for clip in measured)
    sifted = [sift(clip.clip, max(1, round(target * len(clip.clip.positions) / total))) for clip in measured]
    kept: List[Kept] = []
    for clip, degrees, left, share in zip(measured, turns, sifted, share_out(sifted, target)):
        before = sum(len(other.clock.seconds) for other in kept)
        chosen = choose(left, clip.clip.sharpness, share)
        frames, size = store_chosen(tar, clip, chosen, before, degrees, max_size)
        times = clip.clock.seconds
        cuts = [{"clip": len(kept), "time": times[cut], "frame": cut} for cut in left.cuts]
        burnt_in = [{"clip": len(kept), "box": clip.burnt_in}] if clip.burnt_in else []
        kept.append(Kept(frames, size, clip.clock, describe(left.rejected, times, len(kept)), cuts, burnt_in))
        tell(clip.video, kept[-1])
    return kept


def measure(video: Video) -> Measured:
    """Decode the video small and gray: sharpness and motion of all frames."""
    scan = Decoding(video, f"{video.input}{fit(SHARPNESS_SIDE)}:flags=area,format=gray,showinfo[out]")
    motion, overlay = Motion(), Overlay()
    measured = []
    for picture in with_progress(scan, video, "frames measured"):
        measured.append(sharpness(picture))
        motion.add(picture)
        overlay.add(picture, motion.frames[-1])
    check_decoded(video, scan)
    if scan.interlaced:  # not from the first frame on
        tell_interlaced(video)
        return measure(video._replace(interlaced=True))
    clock = Clock(scan)
    timed = None not in clock.seconds
    clip = Clip(clock.positions, timed, measured, motion.frames, find_damage(video, scan))
    return Measured(video, scan, clock, clip, overlay.find())


def store_chosen(
    tar: tarfile.TarFile, clip: Measured, chosen: Sequence[int], before: int, degrees: int, max_size: int
) -> Tuple[Frames, Size]:
    """Decode the video again and store the frames of these numbers (increasing)."""
    video, scan = clip.video, clip.scan
    frames: Frames = []
    size = (0, 0)
    if not chosen:
        return frames, size
    decoding = Decoding(video, keep_graph(select_expression(chosen), video, max_size), frames=len(chosen))
    for position, picture in enumerate(decoding):
        index = chosen[position]
        image = turn(to_image(picture, video.hdr), degrees)
        size = same_size(video, image.size, size)
        frames.append(store_frame(tar, before, index, clip.clock.seconds[index], image))
    if len(frames) < len(chosen) or any(a != b for a, b in zip(scan.stamps, decoding.stamps)):
        raise UserError(f"{video.source}: decoding it twice gave different frames; {RE_ENCODE}")
    return frames, size


def tell_interlaced(video: Video) -> None:
    print(f"{video.source}: interlaced; each frame is deinterlaced", flush=True)


def tell(video: Video, kept: Kept) -> None:
    """Say where shots begin, what gave way, and what is burnt in."""
    for cut in kept.cuts:
        place = f"frame {cut['frame']}" if cut["time"] is None else show_time(cut["time"])
        print(f"warning: {video.source}: another shot begins at {place}", flush=True)
    for entry in kept.rejected:
        print(f"{video.source}: {describe_rejected(entry)}", flush=True)
    for entry in kept.burnt_in:
        print(f"warning: {video.source}: {describe_burnt_in(entry)}", flush=True)


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
        f"{video.input}split[all][kept];[all]scale=16:16:flags=neighbor,showinfo,nullsink;"
        f"[kept]select='{expression}',{fit(max_size)}:flags=bicubic+accurate_rnd+full_chroma_int,format={pixels}[out]"
    )


def fit(side: int) -> str:
    """ffmpeg's scale filter: square pixels, long side at most `side`, never enlarged."""
    factor = f"min(1,{side}/max(iw*sar,ih))"
    return f"scale=w='max(1,round(iw*sar*{factor}))':h='max(1,round(ih*{factor}))'"


def same_size(video: Video, size: Tuple[int, int], before: Tuple[int, int]) -> Tuple[int, int]:
    check_side(str(video.source), size)
    if before not in (size, (0, 0)):
        raise UserError(f"{video.source}: {CHANGES}")
    return size


def with_progress(pictures: Iterable[np.ndarray], video: Video, what: str) -> Iterator[np.ndarray]:
    shown = time.monotonic()
    for count, picture in enumerate(pictures, 1):
        yield picture
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            print(f"{video.source}: {count} {what}", flush=True)
