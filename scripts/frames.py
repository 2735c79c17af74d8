"""Turn a video, or a tar of photos, into the frames that the next steps use: frames.tar and frames.json.

A video is sampled: `--select sharpest` cuts its time into equal buckets and keeps the sharpest frame of each, because
blurred frames cost poses and detail (Neuralangelo's FAQ names motion blur first); `--select every` keeps frames 0, N,
2N ... as Neuralangelo's own script does. Photos are all kept. Every frame ends as an 8-bit sRGB JPEG, upright.

Needs ffmpeg 4.2 or newer; Python 3.8, numpy and pillow only, because it also runs inside COLMAP's own image.
"""

import argparse
import io
import re
import shutil
import subprocess
import tarfile
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from videomesh.errors import UserError, run
from videomesh.files import outputs, write_json

MIN_FRAMES = 20  # with fewer, neither the poses nor the surface can come out
MAX_COMPLAINTS = 5000  # without a frame between; strict decoding by ffmpeg 9 can repeat one error for ever
MAX_TARGET = 2000  # training has stalled with 2,400 images; the search tree must fit into a command line
MIN_SIDE = 16  # pixels; below this nothing can be measured in a picture
SHARPNESS_SIDE = 960  # long side at which sharpness is measured, so that noise of large pictures is not detail
MIN_DECODED = 0.9  # share of a damaged video that must be intact
MAX_INTERVAL = 1.5  # between frames of a damaged video, in usual intervals; beyond it one is missing
LEADING = 3  # frames before a damaged one that may be built on it, though they are shown first (B-frames)
JPEG_QUALITY = 95  # about the size and quality of ffmpeg's -q:v 2
PROGRESS_SECONDS = 10

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif"}

Image.MAX_IMAGE_PIXELS = 250_000_000  # pillow's default refuses the 200-megapixel photos of current phones


def main() -> None:
    args = parse_arguments()
    check_arguments(args)
    try:
        with outputs(args.frames, args.summary) as (frames, summary):
            with tarfile.open(frames, "w") as tar:
                result = store_photos(tar, args) if args.source.suffix == ".tar" else store_video(tar, args)
            check_count(args, result)
            write_json(summary, result)
    except OSError as error:
        place = error.filename or args.frames
        raise UserError(f"{place}: {error.strerror or error}; check permissions and free disk space")
    print(f"{args.source}: kept {len(result['frames'])} of {result['source_frames']} frames", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a video, or photos in an uncompressed .tar")
    parser.add_argument("--frames", type=Path, required=True, help="tar of JPEGs to write, named by video frame")
    parser.add_argument("--summary", type=Path, required=True, help="JSON to write: index, time, sharpness of each")
    parser.add_argument(
        "--select",
        choices=["sharpest", "every"],
        default="sharpest",
        help="which frames of a video are kept (default: sharpest)",
    )
    parser.add_argument(
        "--target", type=int, default=150, help="frames wanted by --select sharpest, 20 to 2000 (default: 150)"
    )
    parser.add_argument(
        "--downsample", type=int, default=1, help="N of --select every: keep frames 0, N, 2N ... (default: 1)"
    )
    parser.add_argument(
        "--max-size", type=int, default=1920, help="largest long side of a stored frame in pixels (default: 1920)"
    )
    parser.add_argument("--threads", type=int, help="decoder threads (default: ffmpeg decides)")
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    for flag, value, least, most in [
        ("--target", args.target, MIN_FRAMES, MAX_TARGET),
        ("--downsample", args.downsample, 1, 100_000),
        ("--max-size", args.max_size, MIN_SIDE, 16_384),
        ("--threads", args.threads, 1, 1024),
    ]:
        if value is not None and not least <= value <= most:
            raise UserError(f"{args.source}: {flag} {value} is out of range; allowed: {least} to {most}")
    if not args.source.is_file():
        raise UserError(f"{args.source}: no such file; run the ingest stage first")


def check_count(args: argparse.Namespace, result: Dict[str, Any]) -> None:
    kept, total = len(result["frames"]), result["source_frames"]
    if kept >= MIN_FRAMES:
        return
    if result["source"] == "photos":
        remedy = "take more photos, each overlapping the one before by more than half"
    elif total < MIN_FRAMES:
        remedy = "film for longer"
    elif result["select"] == "every":
        remedy = f"set --downsample {total // MIN_FRAMES} or less"
    else:
        remedy = "film again, moving steadily round the scene"
    raise UserError(f"{args.source}: only {kept} of {total} frames to use, at least {MIN_FRAMES} are needed; {remedy}")


# Storing and measuring -------------------------------------------------------------------------------------------


def store_frame(tar: tarfile.TarFile, index: int, frame_time: Optional[float], image: Image.Image) -> Dict[str, Any]:
    """Add an RGB image to the tar as a JPEG named by its index in the source; returns its entry in the summary."""
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    member = tarfile.TarInfo(f"{index:06d}.jpg")  # no time, no owner: the same frames give the same tar
    member.size = encoded.tell()
    encoded.seek(0)
    tar.addfile(member, encoded)
    gray = image.convert("L")
    scale = min(1.0, SHARPNESS_SIDE / max(gray.size))
    small = gray.resize((max(1, round(gray.width * scale)), max(1, round(gray.height * scale))))
    return {
        "name": member.name,
        "video_frame": index,
        "time": frame_time,
        "sharpness": round(sharpness(np.asarray(small)), 3),
        "luminance": round(float(np.asarray(gray).mean()) / 255, 5),
    }


def sharpness(gray: np.ndarray) -> float:
    """Variance of the Laplacian of a (height, width) uint8 picture: large where edges are crisp.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000. It depends on what is seen, so
    only frames of one scene can be compared.
    """
    signed = gray.astype(np.int16)
    laplacian = 4 * signed[1:-1, 1:-1]
    for neighbour in (signed[:-2, 1:-1], signed[2:, 1:-1], signed[1:-1, :-2], signed[1:-1, 2:]):
        laplacian -= neighbour
    return float(laplacian.astype(np.float32).var())


def check_side(place: str, size: Tuple[int, int]) -> None:
    if min(size) < MIN_SIDE:
        raise UserError(f"{place}: a picture of {size[0]}x{size[1]} pixels is too small; at least {MIN_SIDE} a side")


# Video -----------------------------------------------------------------------------------------------------------


class Video(NamedTuple):
    path: Path
    ffmpeg: str  # the program
    threads: Optional[int]
    duration: Optional[float]  # seconds, as the file's header says
    hdr: Optional[str]  # "arib-std-b67" (HLG), "smpte2084" (PQ) or None


def store_video(tar: tarfile.TarFile, args: argparse.Namespace) -> Dict[str, Any]:
    video = probe(args.source, args.threads)
    store = store_every if args.select == "every" else store_sharpest
    frames, size, clock = store(tar, video, args)
    return {
        "source": "video",
        "width": size[0],
        "height": size[1],
        "source_frames": len(clock.seconds),
        "duration": clock.duration,
        "select": args.select,
        "frames": frames,
    }


def store_every(tar: tarfile.TarFile, video: Video, args: argparse.Namespace) -> Tuple[List, Tuple[int, int], "Clock"]:
    """Keep frames 0, N, 2N ..., damaged ones too: one decoding of the video."""
    decoding = Decoding(video, keep_graph(f"not(mod(n,{args.downsample}))", video, args.max_size))
    frames = []
    size = (0, 0)
    for position, picture in enumerate(with_progress(decoding, video, "frames kept")):
        image = to_image(picture, video.hdr)
        size = same_size(video, image.size, size)
        frames.append(store_frame(tar, position * args.downsample, None, image))
    check_decoded(video, decoding)
    find_damage(video, decoding)
    clock = Clock(decoding)
    for frame in frames:
        frame["time"] = clock.seconds[frame["video_frame"]]
    return frames, size, clock


def store_sharpest(
    tar: tarfile.TarFile, video: Video, args: argparse.Namespace
) -> Tuple[List, Tuple[int, int], "Clock"]:
    """Keep the sharpest frame of each of --target equal lengths of time.

    Two decodings: the first, small and gray, measures all frames; the second, at stored size, ends at the last frame
    kept. Neither holds more than one picture in memory.
    """
    scan = Decoding(video, f"[0:V:0]{fit(SHARPNESS_SIDE)}:flags=area,format=gray,showinfo[out]")
    measured = [sharpness(picture) for picture in with_progress(scan, video, "frames measured")]
    check_decoded(video, scan)
    damaged = find_damage(video, scan)
    clock = Clock(scan)
    chosen = sharpest_of_buckets(clock.positions, measured, damaged, args.target)

    decoding = Decoding(video, keep_graph(select_expression(chosen), video, args.max_size), frames=len(chosen))
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
    """ffmpeg's select expression for these frame numbers (increasing)."""
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


class Clock:
    """When the frames of a decoded video are shown."""

    def __init__(self, decoding: "Decoding") -> None:
        stamps = [stamp for stamp in decoding.stamps if stamp is not None]
        usable = len(stamps) == len(decoding.stamps) and all(a < b for a, b in zip(stamps, stamps[1:]))
        base = decoding.time_base
        # seconds from the start of the file, None where the file has no usable time stamps
        self.seconds: List[Optional[float]] = (
            [round(stamp * base, 6) for stamp in stamps] if usable else [None for _ in decoding.stamps]
        )
        # what buckets are cut in: seconds, or plain counting without time stamps
        self.positions: List[float] = [s * base for s in stamps] if usable else [*map(float, range(len(self.seconds)))]
        self.duration: Optional[float] = None
        if usable and len(stamps) > 1:
            self.duration = round((stamps[-1] - stamps[0]) * base * len(stamps) / (len(stamps) - 1), 6)


# Damaged videos --------------------------------------------------------------------------------------------------

RE_ENCODE = "copy or download it again, or re-encode it: ffmpeg -i FILE -c:v libx264 -crf 14 repaired.mp4"
CHANGES = "the picture's size or format changes on the way; split it there and use one part, from one camera setting"


def check_decoded(video: Video, decoding: "Decoding") -> None:
    if not decoding.stamps:
        raise UserError(f"{video.path}: no frame of the video decodes ({decoding.complaint()}); {RE_ENCODE}")


def find_damage(video: Video, decoding: "Decoding") -> Set[int]:
    """Indices of damaged frames, with a warning; UserError if more than a tenth of the video is lost.

    Only a video of which ffmpeg complained can be damaged. ffmpeg hides damage by smearing over it, so the video is
    decoded again, strictly: frames that are then missing were smeared, and so are those that build on them.
    """
    if not decoding.errors:
        return set()
    strict = Decoding(video, "[0:V:0]scale=16:16:flags=neighbor,format=gray,showinfo[out]", strict=True)
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
            f"{video.path}: only {share:.0%} of the video can be used, at least {MIN_DECODED:.0%} are needed, the rest "
            f"is damaged or missing ({decoding.complaint()}); {RE_ENCODE}"
        )
    if share < 1:
        print(f"warning: {video.path}: damaged ({decoding.complaint()}); {share:.1%} of the video is used", flush=True)
    return damaged


# Running ffmpeg --------------------------------------------------------------------------------------------------


class Decoding:
    """One run of ffmpeg. Iterate for its pictures; after that `stamps`, `errors` and `log` are complete.

    Pictures are (height, width) or (height, width, 3), uint8 or uint16. They come through a pipe as PGM or PPM, which
    say their own size, so neither rotation nor pixel shape need be foreseen.
    """

    FRAME = re.compile(r"\[Parsed_showinfo_\S* @ \S+\] \[info\] n: *(\d+) +pts: *(\S+) .*?iskey:(\d)")
    TIME_BASE = re.compile(r"\[Parsed_showinfo_\S* @ \S+\] \[info\] config in time_base: (\d+)/(\d+)")
    ERROR = re.compile(r"\[(?:error|fatal)\] *(.*)")

    def __init__(self, video: Video, graph: str, frames: Optional[int] = None, strict: bool = False) -> None:
        """graph: filters from [0:V:0] (first video that is no cover picture) to [out], with a showinfo on all frames.
        frames: stop after that many pictures. strict: drop damaged frames."""
        self.video = video
        self.strict = strict
        self.stamps: List[Optional[int]] = []  # time stamp of each frame, in units of time_base
        self.time_base = 0.0  # seconds
        self.keys: Set[int] = set()  # frames that build on no other
        self.changed = False  # the picture's size or format is not the same throughout
        self.errors: List[str] = []
        self.log: List[str] = []  # what else ffmpeg said, first
        self.command = [
            *(video.ffmpeg, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"),
            *(["-threads", str(video.threads)] if video.threads else []),
            *(["-err_detect:v", "explode"] if strict else []),
            # Only this file: a playlist in disguise must not make ffmpeg open addresses.
            *("-protocol_whitelist", "file", "-i", f"file:{video.path}", "-filter_complex", graph, "-map", "[out]"),
            *timing_option(video.ffmpeg),
            *(["-frames:v", str(frames)] if frames else []),
            *("-c:v", "ppm" if "format=rgb" in graph else "pgm", "-f", "image2pipe", "pipe:1"),
        ]

    def __iter__(self) -> Iterator[np.ndarray]:
        process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout and process.stderr
        reader = threading.Thread(target=self._read_log, args=(process.stderr, process.kill), daemon=True)
        reader.start()
        try:
            yield from read_pictures(process.stdout)
            process.wait()
        finally:
            process.stdout.close()  # ends ffmpeg if the caller has stopped early
            early = process.poll() is None
            code = process.wait()
            reader.join()
        if code != 0 and not early:
            self.errors.append(f"ffmpeg ended with code {code}")
        if self.changed:
            raise UserError(f"{self.video.path}: {CHANGES}")

    def _read_log(self, stream: IO[bytes], stop: Callable[[], None]) -> None:
        complaints = 0  # since the last frame
        for raw in stream:
            line = raw.decode(errors="replace").rstrip()
            frame = self.FRAME.search(line)
            base = self.TIME_BASE.search(line)
            error = self.ERROR.search(line)
            if frame:
                if int(frame[1]) != len(self.stamps):  # ffmpeg counts anew when the picture changes
                    self.changed = True
                if frame[3] == "1":
                    self.keys.add(len(self.stamps))
                self.stamps.append(int(frame[2]) if frame[2] != "NOPTS" else None)
                complaints = 0
            elif base:
                self.time_base = int(base[1]) / int(base[2])
            elif error:
                self.errors += [error[1]] if len(self.errors) < 100 else []
                complaints += 1
                if self.strict and complaints == MAX_COMPLAINTS:
                    stop()
            elif len(self.log) < 1000:
                self.log.append(line)

    def complaint(self) -> str:
        """What ffmpeg complained of first."""
        return self.errors[0] if self.errors else "ffmpeg gives no reason"


def read_pictures(stream: IO[bytes]) -> Iterator[np.ndarray]:
    """PGM and PPM pictures one after another; 16-bit ones are big-endian. A last, incomplete picture is left out."""
    while True:
        kind, size, largest = stream.readline(), stream.readline().split(), stream.readline()
        if not largest:
            return
        width, height = int(size[0]), int(size[1])
        sample = np.dtype(np.uint8) if int(largest) < 256 else np.dtype(">u2")
        shape = (height, width) if kind.strip() == b"P5" else (height, width, 3)
        data = stream.read(int(np.prod(shape)) * sample.itemsize)
        if len(data) < int(np.prod(shape)) * sample.itemsize:
            return
        yield np.frombuffer(data, sample).reshape(shape)


def find_ffmpeg() -> str:
    """Path of the ffmpeg to use: the one on PATH, else the imageio-ffmpeg wheel's. UserError if there is none."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise UserError("ffmpeg is not installed; install it (apt install ffmpeg, or pip install imageio-ffmpeg)")


@lru_cache(maxsize=None)
def timing_option(ffmpeg: str) -> Tuple[str, str]:
    """The option that makes ffmpeg neither drop nor double frames: -vsync until 5.0, -fps_mode since 5.1."""
    try:
        text = subprocess.run([ffmpeg, "-hide_banner", "-h", "long"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{ffmpeg}: this ffmpeg does not run ({error}); install another one")
    return "-fps_mode" if b"-fps_mode" in text else "-vsync", "passthrough"


def probe(source: Path, threads: Optional[int] = None) -> Video:
    """The video in a file. UserError unless it has a video stream whose first frame decodes."""
    if source.stat().st_size == 0:
        raise UserError(f"{source}: the file is empty; copy or download it again")
    video = Video(source, find_ffmpeg(), threads, None, None)
    first = Decoding(video, "[0:V:0]scale=16:16:flags=neighbor,format=gray,showinfo[out]", frames=1)
    pictures = list(first)
    streams = [line.split(": ", 1)[1] for line in first.log if re.search(r"^\[info\] +Stream #0:\d+.*: ", line)]
    videos = [stream for stream in streams if stream.startswith("Video:") and "(attached pic)" not in stream]
    if any("moov atom not found" in error for error in first.errors) and is_mp4(source):
        raise UserError(f"{source}: the video is cut short, its index is missing; copy or download it again")
    if not streams:
        raise UserError(f"{source}: not a video ({first.complaint()}); use a file that a video player plays")
    if not videos:
        raise UserError(f"{source}: no video stream, only {', '.join(streams)[:120]}; use a file with a picture")
    if not pictures:
        raise UserError(f"{source}: the first frame does not decode ({first.complaint()}); {RE_ENCODE}")
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", "\n".join(first.log))
    hdr = re.search(r"arib-std-b67|smpte2084", videos[0])
    return video._replace(
        duration=int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3]) if duration else None,
        hdr=hdr[0] if hdr else None,
    )


def is_mp4(path: Path) -> bool:
    """Whether the file starts as MP4 and MOV files do (ISO/IEC 14496-12)."""
    with open(path, "rb") as file:
        return file.read(8)[4:] in (b"ftyp", b"mdat", b"wide", b"free", b"skip")


# HDR to 8-bit sRGB -----------------------------------------------------------------------------------------------
# In numpy rather than by ffmpeg's zscale and tonemap: not every build has those, and so all builds give one result.

PEAK = 1000.0  # cd/m2: nominal peak of HLG (ITU-R BT.2100) and usual mastering peak of PQ
WHITE = 203.0  # cd/m2: diffuse white in HDR (ITU-R BT.2408); becomes a bright, not a clipped, tone
KNEE = 0.5  # of WHITE: below it brightness is kept as it is, above it highlights are compressed
BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # ITU-R BT.2020
BT2020_TO_BT709 = np.array(  # linear light, ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def to_image(picture: np.ndarray, hdr: Optional[str]) -> Image.Image:
    """The 8-bit sRGB image of a decoded picture: (height, width, 3) uint8 sRGB, or uint16 HDR signal."""
    return Image.fromarray(tone_map(picture, hdr) if hdr else picture)


def tone_map(signal: np.ndarray, transfer: str) -> np.ndarray:
    """HLG or PQ signal with BT.2020 primaries, (height, width, 3) uint16 -> sRGB, uint8, same shape."""
    codes = np.linspace(0, 1, 65536)
    if transfer == "arib-std-b67":
        scene = hlg_to_linear(codes).astype(np.float32)[signal]
        # The display's system gamma of 1.2 (BT.2100) acts on luminance, so that hues stay.
        gain = np.maximum(scene @ BT2020_LUMINANCE, 1e-6) ** np.float32(0.2)
        light = scene * (gain * np.float32(PEAK / WHITE))[..., None]
    else:
        light = (pq_to_nits(codes) / WHITE).astype(np.float32)[signal]
    light = np.maximum(light @ BT2020_TO_BT709.T, 0)
    brightest = light.max(axis=2, keepdims=True)
    light *= compress(brightest) / np.maximum(brightest, 1e-6)
    return srgb_encode(codes)[(light * 65535 + 0.5).astype(np.uint16)]


def hlg_to_linear(signal: np.ndarray) -> np.ndarray:
    """HLG signal 0..1 -> scene light 0..1 (BT.2100, inverse OETF)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """PQ signal 0..1 -> cd/m2, 0..10000 (BT.2100, EOTF of SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    return 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def compress(light: np.ndarray) -> np.ndarray:
    """Light in units of WHITE, from 0 -> 0..1: straight up to KNEE, then a smooth shoulder that reaches 1 at PEAK.

    The shoulder is the extended curve of Reinhard et al., "Photographic tone reproduction", SIGGRAPH 2002.
    """
    peak = (PEAK / WHITE - KNEE) / (1 - KNEE)
    above = np.clip((light - KNEE) / (1 - KNEE), 0, peak)
    return np.minimum(light, KNEE) + (1 - KNEE) * above * (1 + above / peak**2) / (1 + above)


def srgb_encode(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 -> sRGB, uint8 (IEC 61966-2-1)."""
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)


# Photos ----------------------------------------------------------------------------------------------------------


def store_photos(tar: tarfile.TarFile, args: argparse.Namespace) -> Dict[str, Any]:
    """Keep all photos, in the natural order of their names, upright, all of one size."""
    with open_tar(args.source) as photos:
        members = [member for member in photos if member.isfile()]
        members.sort(key=lambda member: natural_key(member.name))
        if not members:
            raise UserError(f"{args.source}: no photos in it; run the ingest stage again")
        check_photo_sizes(args.source, photos, members)
        frames = []
        size = (0, 0)
        for index, member in enumerate(members):
            image = load_photo(photos, member, f"{args.source}: {member.name}")
            image.thumbnail((args.max_size, args.max_size))
            image = to_srgb(image)
            size = image.size
            frames.append({**store_frame(tar, index, None, image), "source": member.name})
    return {
        "source": "photos",
        "width": size[0],
        "height": size[1],
        "source_frames": len(members),
        "duration": None,
        "select": "every",
        "frames": frames,
    }


def open_tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise UserError(f"{path}: not an uncompressed tar of photos ({error}); run the ingest stage again")


def natural_key(name: str) -> List[Tuple[bool, int, str]]:
    """Sort key under which IMG_2 comes before IMG_10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(False, int(part), part) if part.isdigit() else (True, 0, part) for part in parts]


def open_photo(file: IO[bytes], place: str) -> Image.Image:
    """A photo whose pixels are not read yet. UserError, naming the place, if it is none or its format needs help."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        if file.read(12)[4:8] == b"ftyp":  # the container of HEIC (ISO/IEC 14496-12)
            remedy = "install pillow-heif (pip install pillow-heif), or export the photos as JPEG"
            raise UserError(f"{place}: a HEIC photo, which cannot be read here; {remedy}")
        raise UserError(f"{place}: not a photo that can be read; export it as JPEG, or remove it")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{place}: the photo cannot be read ({error}); export it as JPEG, or remove it")


def upright_size(image: Image.Image) -> Tuple[int, int]:
    """(width, height) after EXIF orientation, from the header alone."""
    sideways = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF tag Orientation
    return (image.height, image.width) if sideways else image.size


def check_photo_sizes(source: Path, photos: tarfile.TarFile, members: Sequence[tarfile.TarInfo]) -> None:
    """UserError unless all photos have one size: they are solved for as one camera."""
    sizes: Dict[Tuple[int, int], List[str]] = {}
    for member in members:
        file = photos.extractfile(member)
        assert file
        place = f"{source}: {member.name}"
        size = upright_size(open_photo(file, place))
        check_side(place, size)
        sizes.setdefault(size, []).append(member.name)
    if len(sizes) > 1:
        common_first = sorted(sizes, key=lambda size: -len(sizes[size]))
        found = ", ".join(f"{w}x{h} ({len(sizes[w, h])}, such as {sizes[w, h][0]})" for w, h in common_first)
        raise UserError(
            f"{source}: the photos differ in size: {found}; keep those of one size, taken with one camera, one zoom "
            "and held one way"
        )


def load_photo(photos: tarfile.TarFile, member: tarfile.TarInfo, place: str) -> Image.Image:
    """The whole photo, upright, 8 bits a channel (RGB, L or CMYK). UserError if damaged or partly transparent."""
    file = photos.extractfile(member)
    assert file
    image = open_photo(file, place)
    try:
        image.load()
        image = ImageOps.exif_transpose(image) or image
    except (OSError, ValueError, SyntaxError) as error:  # pillow reports a broken PNG as SyntaxError
        raise UserError(f"{place}: the photo is damaged ({error}); copy it again, or remove it")
    check_opaque(image, place)
    if image.mode == "F":
        raise UserError(f"{place}: brightness is stored as floating-point numbers; export it as 8-bit JPEG or PNG")
    if image.mode.startswith("I"):  # 16-bit gray, which pillow would clip rather than scale
        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
    return image if image.mode in ("RGB", "L", "CMYK") else image.convert("RGB")


def check_opaque(image: Image.Image, place: str) -> None:
    """UserError if any pixel is transparent: the colour hidden under it would be learnt as if it were seen."""
    if image.mode not in ("RGBA", "RGBa", "LA", "La", "PA") and "transparency" not in image.info:
        return
    least = int(np.asarray(image.convert("RGBA"))[:, :, 3].min())
    if least < 255:
        raise UserError(
            f"{place}: the photo is partly transparent (alpha down to {least} of 255); masks are not used and the "
            "colour under them would be learnt: use the original photos with their background"
        )


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB image with its colour profile (such as the Display P3 of phones) converted to sRGB."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: viewers ignore it, too
    return image.convert("RGB")


if __name__ == "__main__":
    run(main)
