"""Which frames of made videos are kept, how they look, and what is said of bad ones."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import media
from frames_program import keep, numbers, refuse, run
from videomesh.frames.decoding import find_ffmpeg, timing_option

COUNT = 60


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 sharp frames, 10 a second. Copied by each test that runs on it."""
    return media.write_video(tmp_path_factory.mktemp("plain") / "plain.mp4", [media.picture(n) for n in range(COUNT)])


@pytest.fixture
def video(plain: Path, tmp_path: Path) -> Path:
    path = tmp_path / "scene.mp4"
    path.write_bytes(plain.read_bytes())
    return path


# Which frames are kept -------------------------------------------------------------------------------------------


def test_every_keeps_what_the_upstream_script_keeps(video: Path, tmp_path: Path) -> None:
    summary, pictures = keep(video, "--downsample=3")
    assert numbers(pictures) == [frame["video_frame"] for frame in summary["frames"]] == list(range(0, COUNT, 3))
    assert summary["source_frames"] == COUNT and summary["duration"] == pytest.approx(6)
    assert [frame["time"] for frame in summary["frames"]] == pytest.approx(np.arange(0, 6, 0.3))
    timing = timing_option(find_ffmpeg())
    media.ffmpeg("-i", str(video), "-vf", r"select=not(mod(n\,3))", *timing, str(tmp_path / "%06d.png"))
    theirs = [media.number_of(Image.open(path)) for path in sorted(tmp_path.glob("*.png"))]
    assert numbers(pictures) == theirs


def test_sharp_frames_win(tmp_path: Path) -> None:
    made = [media.picture(n, blurred=n % 2 == 1) for n in range(COUNT)]
    summary, pictures = keep(media.write_video(tmp_path / "scene.mp4", made), "--target=20")
    kept = [frame["video_frame"] for frame in summary["frames"]]
    assert numbers(pictures) == kept and len(kept) == 20
    assert all(n % 2 == 0 for n in kept) and max(np.diff(kept)) <= 4
    assert [frame["time"] for frame in summary["frames"]] == pytest.approx([n / 10 for n in kept])
    assert summary["source"] == "video" and summary["select"] == "sharpest"


def test_blurred_stretches_stay_covered(tmp_path: Path) -> None:
    made = [media.picture(n, blurred=20 <= n < 40) for n in range(COUNT)]
    summary, _ = keep(media.write_video(tmp_path / "scene.mp4", made), "--target=30")
    kept = [frame["video_frame"] for frame in summary["frames"]]
    assert len(kept) == 30 and max(np.diff(kept)) <= 4 and 8 <= sum(20 <= n < 40 for n in kept) <= 12
    measured = {frame["video_frame"]: frame["sharpness"] for frame in summary["frames"]}
    blurred = [value for n, value in measured.items() if 20 <= n < 40]
    assert max(blurred) < 0.4 * np.median(list(measured.values()))


def test_a_short_video_is_kept_whole(video: Path) -> None:
    _, pictures = keep(video)
    assert numbers(pictures) == list(range(COUNT))


def test_scattered_frames_of_a_long_video(tmp_path: Path) -> None:
    """150 frames that are no neighbours: more than ffmpeg takes in one flat expression."""
    made = [media.picture(n % 256) for n in range(460)]
    summary, pictures = keep(media.write_video(tmp_path / "scene.mp4", made, rate=30))
    assert len(pictures) == 150
    assert numbers(pictures) == [frame["video_frame"] % 256 for frame in summary["frames"]]


def test_frames_are_spread_by_motion_with_a_little_time(tmp_path: Path) -> None:
    """40 steps of equal size in the first 4 s, then 20 in the next 20 s: a third of the motion, most of the time."""
    timing = timing_option(find_ffmpeg())
    slow = "setpts='if(lt(N,40),N,40+(N-40)*10)/(10*TB)'"
    made = [media.picture(n) for n in range(COUNT)]
    video = media.write_video(tmp_path / "scene.mkv", made, "-vf", slow, *timing)
    summary, pictures = keep(video, "--target=24")
    kept = [frame["video_frame"] for frame in summary["frames"]]
    assert numbers(pictures) == kept
    assert len(kept) == 24 and 8 <= sum(n >= 40 for n in kept) <= 11
    times = [n / 10 if n < 40 else 4 + (n - 40) for n in kept]
    assert [frame["time"] for frame in summary["frames"]] == pytest.approx(times, abs=0.002)


def test_the_same_video_gives_the_same_bytes(video: Path) -> None:
    keep(video, "--target=30")
    first = (video.parent / "out" / "frames.tar").read_bytes()
    keep(video, "--target=30", "--threads=1")
    assert (video.parent / "out" / "frames.tar").read_bytes() == first


# How the frames look ---------------------------------------------------------------------------------------------


def test_a_rotated_video_comes_out_upright(video: Path) -> None:
    media.rotate_by_metadata(video)
    summary, pictures = keep(video, "--downsample=2")
    assert (summary["width"], summary["height"]) == (media.HEIGHT, media.WIDTH)
    turned_back = {name: image.rotate(90, expand=True) for name, image in pictures.items()}
    assert numbers(turned_back) == list(range(0, COUNT, 2))


def test_pixels_become_square_and_odd_sizes_stay(tmp_path: Path) -> None:
    made = [media.picture(n)[:-1, :-1] for n in range(20)]
    options = ["-pix_fmt", "yuv444p", "-vf", "setsar=2"]
    summary, pictures = keep(media.write_video(tmp_path / "scene.mp4", made, *options))
    assert (summary["width"], summary["height"]) == (2 * 95, 63)
    assert numbers(pictures) == list(range(20))


def test_large_frames_shrink_and_small_ones_do_not_grow(video: Path) -> None:
    summary, pictures = keep(video, "--max-size=48")
    assert (summary["width"], summary["height"]) == (48, 32)
    assert numbers(pictures) == list(range(COUNT))
    summary, _ = keep(video)
    assert (summary["width"], summary["height"]) == (media.WIDTH, media.HEIGHT)


def test_luminance(tmp_path: Path) -> None:
    made = [np.full((64, 96, 3), 51 if n < 10 else 255, np.uint8) for n in range(20)]
    summary, _ = keep(media.write_video(tmp_path / "scene.mp4", made))
    measured = [frame["luminance"] for frame in summary["frames"]]
    assert measured[:10] == pytest.approx([0.2] * 10, abs=0.02) and measured[10:] == pytest.approx([1] * 10, abs=0.02)


# sRGB values worked out by hand from ITU-R BT.2100: display light of the signal over 203 cd/m2 (white, BT.2408),
# then straight into sRGB below half of that, and through the shoulder of the documented curve above it.
HDR = {
    # signal 0.378 is 26 cd/m2; 0.75 is 203 cd/m2; 1 is 1000 cd/m2
    ("arib-std-b67", 395): 100,
    ("arib-std-b67", 721): 225,
    ("arib-std-b67", 940): 255,
    # signal 0.378 is 25.3 cd/m2; 0.58 is 201 cd/m2; 0.752 is 1013 cd/m2
    ("smpte2084", 395): 99,
    ("smpte2084", 572): 225,
    ("smpte2084", 723): 255,
}


@pytest.mark.parametrize(("transfer", "code"), HDR)
def test_hdr_becomes_srgb(tmp_path: Path, transfer: str, code: int) -> None:
    path = tmp_path / "scene.mkv"
    luma = np.full((64, 96), code, "<u2").tobytes()
    chroma = np.full((2, 32, 48), 512, "<u2").tobytes()
    tags = ["-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc", "-color_range", "tv"]
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", "96x64", "-r", "10", *tags, "-i", "pipe:0"]
    media.ffmpeg(*raw, "-c:v", "ffv1", *tags, str(path), stdin=(luma + chroma) * 20)
    _, pictures = keep(path)
    assert np.asarray(pictures["000010.jpg"]) == pytest.approx(HDR[transfer, code], abs=2)


def test_ten_bit_video_that_is_not_hdr_keeps_its_tones(tmp_path: Path) -> None:
    made = [media.picture(n) for n in range(20)]
    _, pictures = keep(media.write_video(tmp_path / "scene.mkv", made, "-c:v", "ffv1", "-pix_fmt", "yuv444p10le"))
    difference = np.asarray(pictures["000005.jpg"]).astype(int) - made[5]
    assert np.abs(difference).mean() < 8


# Damaged and wrong videos ----------------------------------------------------------------------------------------


def damage(video: Path, start: float, length: float) -> None:
    """Overwrite a part of the pictures' bytes with noise."""
    data = bytearray(video.read_bytes())
    first, last = data.index(b"mdat") + 4, data.index(b"moov")
    begin, size = first + int(start * (last - first)), int(length * (last - first))
    data[begin : begin + size] = np.random.default_rng(1).bytes(size)
    video.write_bytes(data)


def test_a_little_damage_is_left_out_with_a_warning(tmp_path: Path) -> None:
    """Not only the damaged frame is left out, but also those built on it, up to the next key frame."""
    made = [media.picture(n) for n in range(120)]
    video = media.write_video(tmp_path / "scene.mp4", made, "-g", "5")
    damage(video, start=0.66, length=0.005)
    done = run(video)
    assert done.returncode == 0, done.stderr
    assert f"warning: {video}: damaged (" in done.stdout
    summary, pictures = keep(video)
    assert 120 * 0.9 <= len(pictures) < 120
    assert numbers(pictures) == [round(10 * frame["time"]) for frame in summary["frames"]]


def test_much_damage_is_refused(video: Path) -> None:
    damage(video, start=0.3, length=0.4)
    refuse(video, says=["of the video can be used", "at least 90%", "ffmpeg -i FILE"])


def test_a_video_cut_short_is_refused(video: Path, tmp_path: Path) -> None:
    front = tmp_path / "front.mp4"
    media.ffmpeg("-i", str(video), "-c", "copy", "-movflags", "+faststart", str(front))
    front.write_bytes(front.read_bytes()[: int(front.stat().st_size * 0.6)])
    refuse(front, says=["of the video can be used", "copy or download it again"])
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    refuse(video, says=["cut short", "index is missing", "copy or download it again"])


def test_a_picture_that_changes_size_is_refused(video: Path, tmp_path: Path) -> None:
    parts = []
    for size in ("96:64", "64:48"):
        parts.append(tmp_path / f"{size[:2]}.h264")
        media.ffmpeg("-i", str(video), "-vf", f"scale={size}", "-c:v", "libx264", str(parts[-1]))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    refuse(joined, says=["size or format changes", "split it there"])
    refuse(joined, "--downsample=1", says=["size or format changes", "split it there"])


def test_other_files_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "scene.mp4"
    wrong.write_text("<html>no video</html>")
    refuse(wrong, says=["not a video", "a video player plays"])
    wrong.write_bytes(b"")
    refuse(wrong, says=["the file is empty", "copy or download it again"])
    wrong.unlink()
    refuse(wrong, says=["no such file", "ingest"])
    sound = tmp_path / "sound.mp4"
    media.ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(sound))
    refuse(sound, says=["no video stream, only Audio: aac", "with a picture"])


def test_a_playlist_in_disguise_opens_nothing(tmp_path: Path, video: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    refuse(fake, says=["fake.mp4: "])


def test_too_few_frames_are_refused(video: Path, tmp_path: Path) -> None:
    short = media.write_video(tmp_path / "short.mp4", [media.picture(n) for n in range(2)])
    refuse(short, says=["only 2 of 2 frames", "3 are needed", "film for longer"])
    refuse(video, "--downsample=40", says=["only 2 of 60 frames", "set frames.downsample to 20 or less"])


def test_pictures_that_are_too_small_are_refused(tmp_path: Path) -> None:
    tiny = media.write_video(tmp_path / "tiny.mp4", [np.zeros((8, 16, 3), np.uint8)] * 20)
    refuse(tiny, says=["16x8 pixels is too small", "at least 16"])


def test_without_ffmpeg_the_message_says_how_to_get_it(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # an import of it fails
    done = run(video)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ffmpeg is not installed") and "apt install ffmpeg" in done.stderr


def test_an_ffmpeg_that_does_not_run_is_named(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin" / "ffmpeg"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:/usr/bin:/bin")
    done = run(video)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {broken}: this ffmpeg does not run") and "Traceback" not in done.stderr
