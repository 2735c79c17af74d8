"""Several clips of one scene: how many frames each gives, which are one camera, how they are numbered."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import media
from frames_program import keep, refuse, run
from ingest_program import fetch

STEP = 3.0  # pixels between neighbouring frames


def write_clip(folder: Path, name: str, first: int, count: int, step: float = STEP, *options: str) -> Path:
    """Views of one place from another beginning: the clip shows the places first, first + 1 ..."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [media.view(STEP * first + step * k) for k in range(count)]
    return media.write_video(folder / name, pictures, "-crf", "18", *options)


def ingest(folder: Path) -> Path:
    output = folder.parent / "ingested" / "clips.tar"
    fetch(folder, output)
    return output


def shares(summary: dict[str, Any]) -> list[int]:
    return [sum(frame["clip"] == clip for frame in summary["frames"]) for clip in range(len(summary["clips"]))]


def test_frames_are_shared_out_by_motion(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips", "a.mp4", 0, 40)
    write_clip(tmp_path / "clips", "b.mp4", 40, 80)
    write_clip(tmp_path / "clips", "c.mp4", 120, 80, STEP / 2)  # as much motion as in a, filmed at half the speed
    summary, pictures = keep(ingest(tmp_path / "clips"), "--target=40")
    a, b, c = shares(summary)
    assert a + b + c == 40 and 9 <= a <= 11 and 18 <= b <= 21 and 10 <= c <= 12
    assert summary["clips"] == [
        {"name": "a.mp4", "frames": 40, "duration": 4},
        {"name": "b.mp4", "frames": 80, "duration": 8},
        {"name": "c.mp4", "frames": 80, "duration": 8},
    ]
    assert summary["source"] == "video" and summary["source_frames"] == 200 and summary["duration"] == 20
    assert summary["cameras"] == [{"width": 160, "height": 120, "given": None}]
    before = [0, 40, 120]
    assert [frame["name"] for frame in summary["frames"]] == [
        f"{before[frame['clip']] + frame['video_frame']:06d}.jpg" for frame in summary["frames"]
    ]
    assert list(pictures) == sorted(pictures)
    assert all(frame["time"] == pytest.approx(frame["video_frame"] / 10) for frame in summary["frames"])
    expected = media.view(STEP * (40 + 10))  # frame 10 of b
    frame = min(
        (frame for frame in summary["frames"] if frame["clip"] == 1), key=lambda frame: abs(frame["video_frame"] - 10)
    )
    shown = media.view(STEP * (40 + frame["video_frame"]))
    assert np.abs(np.asarray(pictures[frame["name"]]).astype(int) - shown).mean() < 8, expected.shape


def test_every_nth_frame_of_each_clip(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips", "a.mp4", 0, 20)
    write_clip(tmp_path / "clips", "b.mp4", 20, 31)
    summary, _ = keep(ingest(tmp_path / "clips"), "--downsample=5")
    assert [(frame["clip"], frame["video_frame"]) for frame in summary["frames"]] == [
        *[(0, n) for n in range(0, 20, 5)],
        *[(1, n) for n in range(0, 31, 5)],
    ]


def test_a_short_clip_gives_all_it_has_and_a_still_one_a_few(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips", "a.mp4", 0, 120)
    write_clip(tmp_path / "clips", "b.mp4", 50, 2)
    write_clip(tmp_path / "clips", "c.mp4", 60, 40, 0.0)
    summary, _ = keep(ingest(tmp_path / "clips"), "--target=40")
    a, b, c = shares(summary)
    assert a + b + c == 40 and b in (1, 2) and 1 <= c <= 6


def test_clips_of_several_sizes_are_several_cameras(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips", "a.mp4", 0, 30, STEP, "-vf", "scale=128:96")
    write_clip(tmp_path / "clips", "b.mp4", 30, 60)
    summary, _ = keep(ingest(tmp_path / "clips"), "--target=30")
    assert [(camera["width"], camera["height"]) for camera in summary["cameras"]] == [(160, 120), (128, 96)]
    assert (summary["width"], summary["height"]) == (160, 120)
    assert {(frame["clip"], frame["camera"]) for frame in summary["frames"]} == {(0, 1), (1, 0)}
    summary, _ = keep(tmp_path / "ingested" / "clips.tar", "--target=30", "--max-size=96")
    assert [(camera["width"], camera["height"]) for camera in summary["cameras"]] == [(96, 72), (96, 72)]


def test_clips_of_two_phones_are_two_cameras(tmp_path: Path) -> None:
    options = ["-movflags", "use_metadata_tags"]
    write_clip(tmp_path / "clips", "a.mov", 0, 30, STEP, *options, "-metadata", "com.apple.quicktime.model=iPhone 15")
    write_clip(tmp_path / "clips", "b.mov", 30, 30, STEP, *options, "-metadata", "com.apple.quicktime.model=iPhone 8")
    summary, _ = keep(ingest(tmp_path / "clips"), "--target=30")
    assert len(summary["cameras"]) == 2


def test_a_camera_held_both_ways_is_one_camera(tmp_path: Path) -> None:
    """The clip that is shorter is turned as the sensor saw it."""
    write_clip(tmp_path / "clips", "a.mp4", 0, 60)
    media.rotate_by_metadata(write_clip(tmp_path / "clips", "b.mp4", 60, 30))
    summary, pictures = keep(ingest(tmp_path / "clips"), "--target=30")
    assert summary["cameras"] == [{"width": 160, "height": 120, "given": None}]
    assert {(frame["clip"], frame["turned"]) for frame in summary["frames"]} == {(0, 0), (1, 270)}
    frame = next(frame for frame in summary["frames"] if frame["clip"] == 1)
    shown = media.view(STEP * (60 + frame["video_frame"]))
    assert np.abs(np.asarray(pictures[frame["name"]]).astype(int) - shown).mean() < 8


def test_what_gave_way_is_told_for_each_clip(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips", "a.mp4", 0, 40)
    pictures = [np.zeros((120, 160, 3), np.uint8)] * 10 + [media.view(3 * k) for k in range(40)]
    media.write_video(tmp_path / "clips" / "b.mp4", pictures)
    footage = ingest(tmp_path / "clips")
    summary, _ = keep(footage, "--target=30")
    assert summary["rejected"] == [{"clip": 1, "from": 0, "to": 0.9, "frames": 10, "reason": "black"}]
    assert f"{footage}: 001_b.mp4: the picture is black between 0:00 and 0:01" in run(footage, "--target=30").stdout


def test_what_ingest_left_out_stays_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips", "a.mp4", 0, 30)
    media.write_photos(tmp_path / "clips", 1)
    summary, _ = keep(ingest(tmp_path / "clips"), "--target=20")
    assert summary["left_out"] == [{"reason": "photos", "count": 1, "names": ["IMG_0.jpg"]}]


def test_tars_that_are_none_of_clips(tmp_path: Path) -> None:
    footage = tmp_path / "clips.tar"
    footage.write_text("no tar, but long enough to be looked at")
    refuse(footage, says=["not a tar of clips", "ingest"])
    with tarfile.open(footage, "w"):
        pass
    refuse(footage, says=["no clips in it", "ingest"])
    (tmp_path / "000_a.mp4").write_text("no video")
    with tarfile.open(footage, "w") as tar:
        tar.add(tmp_path / "000_a.mp4", "000_a.mp4")
    refuse(footage, says=["000_a.mp4: not a video"])


def test_the_same_clips_give_the_same_bytes(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips", "a.mp4", 0, 30)
    write_clip(tmp_path / "clips", "b.mp4", 30, 30)
    footage = ingest(tmp_path / "clips")
    first = keep(footage, "--target=20")[0]
    content = (footage.parent / "out" / "frames.tar").read_bytes()
    second = keep(footage, "--target=20", "--threads=1")[0]
    assert json.dumps(first) == json.dumps(second)
    assert (footage.parent / "out" / "frames.tar").read_bytes() == content
