"""Frames that cannot get poses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from poses_program import fail_poses, noise, store


def without_name(folder: Path) -> None:
    with_frames(folder, lambda frames: [{"index": 3}])


def with_frames(folder: Path, change: Callable[[list], list]) -> None:
    content = json.loads((folder / "frames.json").read_text())
    content["frames"] = change(content["frames"])
    (folder / "frames.json").write_text(json.dumps(content))


def with_cameras(folder: Path, cameras: object) -> None:
    content = json.loads((folder / "frames.json").read_text())
    (folder / "frames.json").write_text(json.dumps({**content, "cameras": cameras}))


def cut(path: Path, share: float) -> None:
    with open(path, "r+b") as file:
        file.truncate(int(path.stat().st_size * share))


def replaced(images: list[bytes], data: bytes) -> list[bytes]:
    return [*images[:3], data, *images[4:]]


BAD_INPUTS: dict[str, tuple[Callable[[Path, list[bytes]], object], list[str]]] = {
    "no tar": (lambda folder, _: (folder / "frames.tar").unlink(), ["frames.tar: no such file", "frames stage"]),
    "no json": (lambda folder, _: (folder / "frames.json").unlink(), ["frames.json: no such file"]),
    "broken json": (lambda folder, _: cut(folder / "frames.json", 0.5), ["frames.json: not valid JSON"]),
    "other json": (lambda folder, _: (folder / "frames.json").write_text("[1]"), ["not written by the frames stage"]),
    "json without names": (lambda folder, _: without_name(folder), ["frames.json", "'name'", "frames stage"]),
    "escaping name": (
        lambda folder, _: with_frames(folder, lambda frames: [*frames, {**frames[0], "name": "../evil.jpg"}]),
        ["../evil.jpg", "expected digits and .jpg"],
    ),
    "no frames": (lambda folder, _: store(folder, []), ["frames.json: 0 frames", "at least 3"]),
    "two frames": (lambda folder, images: store(folder, images[:2]), ["2 frames", "at least 3"]),
    "tar cut short": (lambda folder, _: cut(folder / "frames.tar", 0.5), ["frames.tar", "cut short", "again"]),
    "not a tar": (lambda folder, _: (folder / "frames.tar").write_text("x" * 2000), ["frames.tar", "not a tar"]),
    "empty tar": (lambda folder, _: (folder / "frames.tar").write_text(""), ["frames.tar", "not a tar"]),
    "frame not in the tar": (
        lambda folder, _: with_frames(folder, lambda frames: [*frames, {**frames[0], "name": "000099.jpg"}]),
        ["000099.jpg", "is not in it", "again"],
    ),
    "no image": (
        lambda folder, images: store(folder, replaced(images, b"<html>")),
        ["frames.tar: 000003.jpg is not a whole image", "again"],
    ),
    "image cut short": (
        lambda folder, images: store(folder, replaced(images, images[3][:-500])),
        ["frames.tar: 000003.jpg is not a whole image", "truncated"],
    ),
    "size of another run": (
        lambda folder, images: with_cameras(store(folder, images), [{"width": 240, "height": 320, "given": None}]),
        ["000000.jpg has 320x240 pixels", "frames.json says 240x320", "frames stage again"],
    ),
    "no cameras": (lambda folder, images: with_cameras(folder, None), ["not written by the frames stage"]),
    "no masks": (lambda folder, images: (folder / "masks.tar").unlink(), ["masks.tar: no such file"]),
    "nothing matches": (
        lambda folder, images: store(folder, [noise(seed) for seed in range(6)]),
        ["frames.tar: no two of the 6 frames match", "blur", "texture", "jumps"],
    ),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_frames(tmp_path: Path, orbit: list[bytes], case: str) -> None:
    spoil, parts = BAD_INPUTS[case]
    spoil(store(tmp_path, orbit[:12:2]), orbit[:12:2])
    message = fail_poses(tmp_path)
    for part in parts:
        assert part in message
