"""A video, decoded by ffmpeg 4.2 or newer, and when its frames are shown."""

import re
import shutil
import subprocess
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, Callable, Iterator, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from videomesh.errors import UserError

MAX_COMPLAINTS = 5000  # without a frame between; strict decoding by ffmpeg 9 can repeat one error for ever


class Video(NamedTuple):
    path: Path
    ffmpeg: str  # the program
    threads: Optional[int]
    duration: Optional[float]  # seconds, as the file's header says
    hdr: Optional[str]  # "arib-std-b67" (HLG), "smpte2084" (PQ) or None


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
CHANGES = "the picture's size or format changes on the way; split it there and use one part, from one camera setting"


def check_decoded(video: Video, decoding: "Decoding") -> None:
    if not decoding.stamps:
        raise UserError(f"{video.path}: no frame of the video decodes ({decoding.complaint()}); {RE_ENCODE}")


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
