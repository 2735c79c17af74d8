"""A video, decoded by ffmpeg 4.2 or newer, and when its frames are shown."""

import itertools
import re
import shutil
import subprocess
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, Callable, Iterator, List, Match, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np

from videomesh.errors import UserError
from videomesh.frames.spherical import WIDTH, is_dual_fisheye, is_equirectangular

MIN_SPHERICAL = 1024  # pixels; no 360 degree camera's video is narrower
MAX_COMPLAINTS = 5000  # without a frame between; strict decoding by ffmpeg 9 can repeat one error for ever


class Source(NamedTuple):
    """Where the bytes of a video are: a file, or a member of an uncompressed tar, which need not be unpacked."""

    path: Path
    name: str = ""  # of the member
    start: int = 0  # bytes
    size: int = 0  # bytes, of the member

    def __str__(self) -> str:
        return f"{self.path}: {self.name}" if self.name else str(self.path)

    @property
    def label(self) -> str:
        """The name of the clip alone."""
        return self.name.partition("_")[2] or self.path.name

    @property
    def address(self) -> str:
        """As ffmpeg opens it. Only this file: a playlist in disguise must not make ffmpeg open other addresses."""
        if self.name:
            return f"subfile,,start,{self.start},end,{self.start + self.size},,:{self.path}"
        return f"file:{self.path}"

    def read(self, count: int) -> bytes:
        """The first bytes."""
        with open(self.path, "rb") as file:
            file.seek(self.start)
            return file.read(min(count, self.size) if self.name else count)

    @property
    def is_empty(self) -> bool:
        return (self.size if self.name else self.path.stat().st_size) == 0


class Stream(NamedTuple):
    """A video stream as ffmpeg describes it in its log."""

    number: int  # in the file
    size: Tuple[int, int]  # width and height, pixels
    about: str  # the rest of the line


class Video(NamedTuple):
    source: Source
    ffmpeg: str  # the program
    threads: Optional[int]
    duration: Optional[float] = None  # seconds, as the file's header says
    hdr: Optional[str] = None  # "arib-std-b67" (HLG), "smpte2084" (PQ) or None
    stream: str = "0:V:0"  # ffmpeg's name for the one to use: by default the first that is no cover picture
    others: Tuple[str, ...] = ()  # sizes of smaller streams, which are left out
    size: Tuple[int, int] = (0, 0)  # width and height of the coded picture, pixels
    turned: int = 0  # degrees by which it is shown turned clockwise
    interlaced: bool = False  # some frames are two fields of different times
    field_order: str = ""  # tff or bff, if all are and the frames do not say so
    device: str = ""  # maker, model and lens, where the file tells them

    @property
    def input(self) -> str:
        """What a graph of filters begins with. Interlaced frames become whole pictures."""
        which = f"parity={self.field_order}:deint=all" if self.field_order else "deint=interlaced"
        return f"[{self.stream}]" + (f"bwdif=mode=send_frame:{which}," if self.interlaced else "")


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


RE_ENCODE = "copy or download it again, or re-encode it: ffmpeg -i FILE -c:v libx264 -crf 14 repaired.mp4"
REFRAME = "export a normal, flat (reframed) video with the app of the camera, and name that one"
CHANGES = "the picture's size or format changes on the way; split it there, and name the parts as clips: a.mp4 ; b.mp4"


def check_decoded(video: Video, decoding: "Decoding") -> None:
    if not decoding.stamps:
        raise UserError(f"{video.source}: no frame of the video decodes ({decoding.complaint()}); {RE_ENCODE}")


class Decoding:
    """One run of ffmpeg. Iterate for its pictures; after that `stamps`, `errors` and `log` are complete.

    Pictures are (height, width) or (height, width, 3), uint8 or uint16. They come through a pipe as PGM or PPM, which
    say their own size, so neither rotation nor pixel shape need be foreseen.
    """

    FRAME = re.compile(r"\[Parsed_showinfo_\S* @ \S+\] \[info\] n: *(\d+) +pts: *(\S+) .*? i:(\S) iskey:(\d)")
    TIME_BASE = re.compile(r"\[Parsed_showinfo_\S* @ \S+\] \[info\] config in time_base: (\d+)/(\d+)")
    ERROR = re.compile(r"\[(?:error|fatal)\] *(.*)")

    def __init__(self, video: Video, graph: str, frames: Optional[int] = None, strict: bool = False) -> None:
        """graph: filters from video.input to [out], with a showinfo on all frames.
        frames: stop after that many pictures. strict: drop damaged frames."""
        self.video = video
        self.strict = strict
        self.stamps: List[Optional[int]] = []  # time stamp of each frame, in units of time_base
        self.time_base = 0.0  # seconds
        self.keys: Set[int] = set()  # frames that build on no other
        self.interlaced = 0  # number of frames that are flagged so where they reach showinfo
        self.changed = False  # the picture's size or format is not the same throughout
        self.errors: List[str] = []
        self.log: List[str] = []  # what else ffmpeg said, first
        self.command = [
            *(video.ffmpeg, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"),
            *(["-threads", str(video.threads)] if video.threads else []),
            *(["-err_detect:v", "explode"] if strict else []),
            *("-protocol_whitelist", "file,subfile", "-i", video.source.address),
            *("-filter_complex", graph, "-map", "[out]"),
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
            raise UserError(f"{self.video.source}: {CHANGES}")

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
                self.interlaced += frame[3] != "P"
                if frame[4] == "1":
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


THUMBNAIL = "scale=16:16:flags=neighbor,format=gray,showinfo[out]"  # all that is needed where only frames count
STREAM = re.compile(r"^\[info\] +Stream #0:(\d+)\S*: (.*)")
SPHERICAL = re.compile(r"\] +spherical(?: mapping)?: ([\w -]*\w)", re.IGNORECASE)  # as versions of ffmpeg write it
OUTPUT = re.compile(r"\[info\] (Stream mapping|Output #0)")  # from here on it is about what ffmpeg makes
DEVICE = re.compile(r"^\[info\] +(?:\S+\.)?(make|model|manufacturer|camera\.lens_model) *: (.+)")


def probe(file: Union[Path, Source], threads: Optional[int] = None) -> Video:
    """The largest video stream of a file. UserError unless one can be used and its first frame decodes."""
    source = file if isinstance(file, Source) else Source(file)
    if source.is_empty:
        raise UserError(f"{source}: the file is empty; copy or download it again")
    video = Video(source, find_ffmpeg(), threads)
    first = Decoding(video, f"{video.input}{THUMBNAIL}", frames=1)
    pictures = list(first)
    about_input = itertools.takewhile(
        lambda line: not re.match(r"\[info\] (Stream mapping|Output #0)", line), first.log
    )
    streams = [match for match in map(STREAM.search, about_input) if match]
    videos = list_videos(streams)
    if any("moov atom not found" in error for error in first.errors) and is_mp4(source):
        raise UserError(f"{source}: the video is cut short, its index is missing; copy or download it again")
    if not streams:
        raise UserError(f"{source}: not a video ({first.complaint()}); use a file that a video player plays")
    if not videos:
        kinds = ", ".join(match[2] for match in streams)
        raise UserError(f"{source}: no video stream, only {kinds[:120]}; use a file with a picture")
    check_flat(source, videos, first.log)
    used = max(videos, key=lambda stream: (stream.size[0] * stream.size[1], -stream.number))
    if len(videos) > 1:
        others = tuple(f"{w} x {h}" for index, (w, h), _ in videos if index != used.number)
        video = video._replace(stream=f"0:{used.number}", others=others)
        first = Decoding(video, f"{video.input}{THUMBNAIL}", frames=1)
        pictures = list(first)
    if not pictures:
        raise UserError(f"{source}: the first frame does not decode ({first.complaint()}); {RE_ENCODE}")
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", "\n".join(first.log))
    hdr = re.search(r"arib-std-b67|smpte2084", used.about)
    check_picture(video, used.size)
    rotation = re.search(r"rotation of (-?\d+)", "\n".join(first.log))
    return video._replace(
        duration=int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3]) if duration else None,
        hdr=hdr[0] if hdr else None,
        size=used.size,
        turned=-int(rotation[1]) % 360 if rotation else 0,
        interlaced=bool(first.interlaced) or re.search(r"(top|bottom) (first|coded first)", used.about) is not None,
        device=" ".join(dict.fromkeys(match[2].strip() for match in map(DEVICE.search, first.log) if match)),
    )


def list_videos(streams: Sequence[Match[str]]) -> List[Stream]:
    """The streams that are videos and no cover pictures."""
    found = []
    for index, about in (match.groups() for match in streams):
        size = re.search(r", (\d+)x(\d+)\b", about)
        if about.startswith("Video:") and not re.search(r"\((attached pic|timed thumbnails|still image)\)", about):
            found.append(Stream(int(index), (int(size[1]), int(size[2])) if size else (0, 0), about))
    return found


def check_flat(source: Source, videos: Sequence[Stream], log: Sequence[str]) -> None:
    """UserError if the file is one of a camera that looks all around."""
    sizes = [stream.size for stream in videos]
    largest = max(sizes, key=lambda size: size[0] * size[1])
    if sizes.count(largest) > 1 and largest != (0, 0):
        raise UserError(
            f"{source}: {sizes.count(largest)} video streams of {largest[0]} x {largest[1]} pixels, which is how 360 "
            f"degree cameras store the pictures of their lenses; {REFRAME}. If it is no such file, keep one stream: "
            "ffmpeg -i FILE -map 0:v:0 -c copy one.mp4"
        )
    spherical = next((match for match in map(SPHERICAL.search, log) if match), None)
    if spherical:
        raise UserError(f"{source}: a 360 degree video ({spherical[1]}), which cannot be used as it is; {REFRAME}")


def check_picture(video: Video, size: Tuple[int, int]) -> None:
    """UserError if pictures of the video show all directions, though the file does not say so."""
    if size[0] != 2 * size[1] or size[0] < MIN_SPHERICAL:
        return
    graph = f"{video.input}select='not(mod(n,30))',scale={WIDTH}:{WIDTH // 2}:flags=area,format=rgb24,showinfo[out]"
    pictures = list(Decoding(video, graph, frames=3))
    for kind, matches in (("two fisheye pictures", is_dual_fisheye), ("equirectangular", is_equirectangular)):
        if pictures and all(map(matches, pictures)):
            raise UserError(f"{video.source}: a 360 degree video ({kind}), which cannot be used as it is; {REFRAME}")


def is_mp4(source: Source) -> bool:
    """Whether the file starts as MP4 and MOV files do (ISO/IEC 14496-12)."""
    return source.read(8)[4:] in (b"ftyp", b"mdat", b"wide", b"free", b"skip")
