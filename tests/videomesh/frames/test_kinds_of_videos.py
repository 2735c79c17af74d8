"""Interlaced video, several streams, 360 degrees."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import media
from frames_program import keep, numbers, refuse, run
from videomesh.frames.decoding import find_ffmpeg, timing_option
from videomesh.frames.frame import JPEG_QUALITY
from videomesh.frames.interlacing import read_order


def get_combing(pictures: dict) -> float:
    """1 where neighbouring lines have nothing to do with each other beyond what lines two apart have."""
    within = between = 0.0
    for image in pictures.values():
        rows = np.asarray(image.convert("L")).astype(float)
        within += np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean()
        between += np.abs(rows[:-2] - rows[2:]).mean()
    return within / between


def weave(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    woven = first.copy()
    woven[1::2] = second[1::2]
    return woven


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each frame holds two fields, between which the camera has moved on."""
    pictures = [weave(media.view(6 * k), media.view(6 * k + 3)) for k in range(40)]
    path = tmp_path_factory.mktemp("interlaced") / "film.mp4"
    return media.write_video(path, pictures, "-flags", "+ildct+ilme", "-x264opts", "tff=1", "-preset", "medium")


@pytest.mark.parametrize("selection", ["--target=20", "--downsample=2"])
def test_interlaced_video_is_deinterlaced(interlaced: Path, selection: str) -> None:
    _, pictures = keep(interlaced, selection)
    assert len(pictures) == 20
    assert get_combing(pictures) < 0.85


def test_interlaced_video_gives_one_frame_for_each_and_says_so(interlaced: Path) -> None:
    summary, _ = keep(interlaced)
    assert summary["source_frames"] == len(summary["frames"]) == 40
    assert [frame["time"] for frame in summary["frames"]] == pytest.approx(np.arange(40) / 10)
    assert "interlaced" in run(interlaced).stdout


def test_video_that_becomes_interlaced_on_the_way(interlaced: Path, tmp_path: Path) -> None:
    """The header and the first frames say nothing of it."""
    parts = [media.write_video(tmp_path / "a.h264", [media.view(6 * k) for k in range(40)], "-preset", "medium")]
    parts.append(tmp_path / "b.h264")
    media.ffmpeg("-i", str(interlaced), "-c", "copy", str(parts[1]))
    joined = tmp_path / "film.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    _, pictures = keep(joined, "--target=80")
    assert len(pictures) == 80 and get_combing(pictures) < 0.85


@pytest.mark.parametrize("selection", ["--target=20", "--downsample=2"])
def test_interlaced_video_without_flags_is_found(tmp_path: Path, selection: str) -> None:
    pictures = [weave(media.view(6 * k), media.view(6 * k + 3)) for k in range(40)]
    video = media.write_video(tmp_path / "film.mp4", pictures, "-preset", "medium")
    _, kept = keep(video, selection)
    assert len(kept) == 20 and get_combing(kept) < 0.85
    assert "interlaced" in run(video, selection).stdout


def test_progressive_video_passes_the_filter_unchanged(tmp_path: Path) -> None:
    """No filter is put before a video whose frames are not flagged: what is stored is what it always was."""
    video = media.write_video(tmp_path / "film.mp4", [media.view(3 * k) for k in range(30)])
    _, pictures = keep(video, "--downsample=3")
    select = r"select=not(mod(n\,3)),scale=160:120:flags=bicubic+accurate_rnd+full_chroma_int,format=rgb24"
    command = [find_ffmpeg(), "-v", "error", "-i", str(video), "-vf", select, *timing_option(find_ffmpeg())]
    raw = subprocess.run([*command, "-f", "rawvideo", "pipe:1"], capture_output=True, check=True).stdout
    expected = np.frombuffer(raw, np.uint8).reshape(-1, 120, 160, 3)
    for image, other in zip(pictures.values(), expected, strict=True):
        stored = io.BytesIO()
        Image.fromarray(other).save(stored, "JPEG", quality=JPEG_QUALITY)
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(stored)))
    assert "interlaced" not in run(video).stdout


IDET = "[Parsed_idet_2 @ 0x1] [info] {} frame detection: TFF: {:5d} BFF: {:5d} Progressive: {:5d} Undetermined:     7"


@pytest.mark.parametrize(
    ("single", "multi", "order"),
    [
        ((0, 2, 0), (0, 9, 0), ""),  # progressive, after a black second: two frames mislead those that follow
        ((0, 0, 9), (0, 0, 9), ""),
        ((38, 0, 1), (40, 0, 0), "tff"),
        ((0, 9, 0), (0, 9, 0), "bff"),
        ((5, 5, 0), (9, 1, 0), ""),
    ],
)
def test_a_few_frames_make_no_video_interlaced(single: tuple, multi: tuple, order: str) -> None:
    assert read_order(["...", IDET.format("Single", *single), IDET.format("Multi", *multi)]) == order
    assert read_order(["Stream #0:0: Video: h264"]) == ""


def test_of_several_streams_the_largest_is_used(tmp_path: Path) -> None:
    small = media.write_video(tmp_path / "small.mp4", [media.picture(99)[:32, :48]] * 20)
    large = media.write_video(tmp_path / "large.mp4", [media.picture(n) for n in range(20)])
    both = tmp_path / "film.mp4"
    media.ffmpeg("-i", str(small), "-i", str(large), "-map", "0:v", "-map", "1:v", "-c", "copy", str(both))
    for selection in ("--target=20", "--downsample=1"):
        summary, pictures = keep(both, selection)
        assert numbers(pictures) == list(range(20))
        assert summary["left_out"] == [
            {"reason": "smaller video streams", "count": 1, "names": ["film.mp4: 48 x 32"]},
        ]
    assert "the stream of 96 x 64 is used, not 48 x 32" in run(both).stdout


def test_two_streams_of_one_size_are_a_360_degree_camera(tmp_path: Path) -> None:
    one = media.write_video(tmp_path / "one.mp4", [media.picture(n) for n in range(20)])
    both = tmp_path / "film.mp4"
    media.ffmpeg("-i", str(one), "-i", str(one), "-map", "0:v", "-map", "1:v", "-c", "copy", str(both))
    says = ["2 video streams of 96 x 64 pixels", "360 degree cameras", "export a normal", "-map 0:v:0"]
    refuse(both, says=says)


def mark_spherical(path: Path) -> None:
    """Google's tag of a 360 degree video in an MP4 whose index is at its end (Spherical Video V1)."""
    data = path.read_bytes()
    said = (
        b'<?xml version="1.0"?><rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        b'xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/"><GSpherical:Spherical>true'
        b"</GSpherical:Spherical><GSpherical:Stitched>true</GSpherical:Stitched><GSpherical:StitchingSoftware>x"
        b"</GSpherical:StitchingSoftware><GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>"
        b"</rdf:SphericalVideo>"
    )
    body = b"uuid" + bytes.fromhex("ffcc8263f8554a938814587a02521fdd") + said
    box = (len(body) + 4).to_bytes(4, "big") + body
    changed = bytearray(data)
    trak = data.index(b"trak") - 4
    end = trak + int.from_bytes(data[trak : trak + 4], "big")
    for start in (trak, data.index(b"moov") - 4):
        size = int.from_bytes(data[start : start + 4], "big") + len(box)
        changed[start : start + 4] = size.to_bytes(4, "big")
    changed[end:end] = box
    path.write_bytes(changed)


def test_a_tagged_360_degree_video_is_refused(tmp_path: Path) -> None:
    video = media.write_video(tmp_path / "film.mp4", [media.view(3 * k) for k in range(20)])
    mark_spherical(video)
    refuse(video, says=["a 360 degree video (equirectangular)", "export a normal, flat (reframed) video"])


def test_a_360_degree_video_without_a_tag_is_refused(tmp_path: Path) -> None:
    """Its left and right edges meet, and its first and last rows are one point each."""
    columns, rows = np.meshgrid(np.arange(1024) * 2 * np.pi / 1024, np.linspace(0, np.pi, 512))
    x, y, z = np.sin(rows) * np.cos(columns), np.sin(rows) * np.sin(columns), np.cos(rows)
    waves = [np.sin(9 * x + 5 * y), np.sin(11 * y - 4 * z), np.sin(8 * z + 3 * x)]
    sphere = (127 + 100 * np.stack(waves, axis=2)).astype(np.uint8)
    video = media.write_video(tmp_path / "film.mp4", [np.roll(sphere, 8 * k, axis=1) for k in range(5)])
    refuse(video, says=["a 360 degree video (equirectangular)", "export a normal"])
    flat = media.write_video(tmp_path / "flat.mp4", [sphere[100:400, 100:700]] * 5)
    assert run(flat).returncode == 0


def test_a_wide_video_before_a_plain_background_is_none_of_360_degrees(tmp_path: Path) -> None:
    y, x = np.mgrid[:512, :1024]
    picture = np.repeat(
        np.where(np.hypot(x - 512, y - 256) < 200, (x * 7 + y * 3) % 200, 240 - y // 8)[..., None], 3, 2
    )
    video = media.write_video(tmp_path / "film.mp4", [picture.astype(np.uint8)] * 5)
    assert run(video).returncode == 0


def test_two_fisheye_pictures_in_one_are_refused(tmp_path: Path) -> None:
    y, x = np.mgrid[:512, :1024] + 0.5
    inside = np.hypot(x % 512 - 256, y - 256) < 250
    picture = np.where(inside[..., None], np.resize(media.view(0), (512, 1024, 3)), 0).astype(np.uint8)
    video = media.write_video(tmp_path / "film.mp4", [picture] * 5)
    refuse(video, says=["a 360 degree video (two fisheye pictures)"])
