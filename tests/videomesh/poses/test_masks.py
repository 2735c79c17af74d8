"""Masks of the subject, and a camera that does not move."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from poses_program import call_poses, fail_poses, needs_colmap, noise, run_poses, store

BACKENDS = ["pycolmap", pytest.param("colmap", marks=needs_colmap)]
SIZE = (320, 240)


def make_mask() -> Image.Image:
    """White where the tractor and the table below it turn."""
    mask = Image.new("L", SIZE, 0)
    ImageDraw.Draw(mask).ellipse((70, 40, 250, 232), fill=255)
    return mask


def encode(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=95)
    return encoded.getvalue()


def turn(images: list[bytes], background: Image.Image) -> list[bytes]:
    """The same pictures from a camera that stands still: what it stood on turns, the background does not."""
    mask = make_mask()
    return [encode(Image.composite(Image.open(io.BytesIO(image)), background, mask)) for image in images]


@pytest.fixture(scope="module")
def turntable(orbit: list[bytes]) -> list[bytes]:
    return turn(orbit[:30:3], Image.open(io.BytesIO(noise(0))))


def test_a_turntable_before_a_still_background_is_told_why(tmp_path: Path, turntable: list[bytes]) -> None:
    message = fail_poses(store(tmp_path, turntable))
    for part in ["the camera does not move", "pairs of frames show the same view", "plain background", "masks"]:
        assert part in message
    assert "blur" not in message


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_turntable_works_with_masks(tmp_path: Path, turntable: list[bytes], backend: str) -> None:
    mask = make_mask()
    summary = run_poses(store(tmp_path, turntable, masks=dict.fromkeys(range(9), mask)), "--backend", backend)
    assert summary["registered"] >= 8  # one frame has no mask
    assert (summary["masked_features"], summary["unmoving"]) == (True, False)
    assert summary["attempts"][0]["name"] == "sequential" and summary["attempt"].startswith("masked ")
    with tarfile.open(tmp_path / "out" / "masks.tar") as tar:
        assert len(tar.getnames()) == len({f"{k:06d}.jpg" for k in range(9)} - set(summary["unregistered"]))
        out = np.asarray(Image.open(tar.extractfile(tar.getmembers()[0])))
    assert set(np.unique(out)) == {0, 255}
    assert (out == 255).mean() == pytest.approx((np.asarray(mask) == 255).mean(), abs=0.05)


def test_a_turntable_before_a_plain_background_works(tmp_path: Path, orbit: list[bytes]) -> None:
    summary = run_poses(store(tmp_path, turn(orbit[:32:2], Image.new("RGB", SIZE, "gray"))))
    assert summary["registered"] >= 13 and not summary["unmoving"]


def test_where_the_camera_walks_the_background_helps_and_masks_only_follow(tmp_path: Path, orbit: list[bytes]) -> None:
    masks = {k: make_mask() for k in (0, 3)}
    summary = run_poses(store(tmp_path, orbit[:32:2], masks=masks))
    assert (summary["registered"], summary["masked_features"], summary["attempt"]) == (16, False, "sequential")
    with tarfile.open(tmp_path / "out" / "masks.tar") as tar:
        assert tar.getnames() == ["000000.png", "000003.png"]


def film_wall(places: np.ndarray, angles: np.ndarray) -> list[bytes]:
    """Pictures of a wall at distance 1, from places along it with the camera turned by the angles (radians)."""
    wall = Image.open(io.BytesIO(noise(1, (1600, 800))))
    lens = np.array([[300, 0, 160], [0, 300, 120], [0, 0, 1]])
    wall_from_ray = np.array([[300, 0, 800], [0, 300, 400], [0, 0, 1]])
    images = []
    for place, angle in zip(places, angles, strict=True):
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        matrix = wall_from_ray @ np.array([[1, 0, place], [0, 1, 0], [0, 0, 1]]) @ turn @ np.linalg.inv(lens)
        coefficients = (matrix / matrix[2, 2]).ravel()[:8].tolist()
        image = wall.transform(SIZE, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
        images.append(encode(image))
    return images


def test_a_camera_that_turns_on_the_spot_is_noted_for_the_gate(tmp_path: Path) -> None:
    """COLMAP takes it for a camera that walks along a wall, and gives all frames a pose."""
    result = call_poses(store(tmp_path, film_wall(np.zeros(12), np.radians(np.linspace(-35, 35, 12)))))
    assert json.loads((tmp_path / "out" / "poses.json").read_text())["unmoving"] is True
    assert "warning: " in result.stdout and "frames.tar: the camera only turns on the spot: " in result.stdout
    assert "so the poses show no depth. Walk round" in result.stdout


def test_a_camera_that_walks_along_a_wall_moves(tmp_path: Path) -> None:
    """No pair of its frames shows any depth either."""
    summary = run_poses(store(tmp_path, film_wall(np.linspace(-0.8, 0.8, 12), np.linspace(0.5, -0.5, 12))))
    assert (summary["registered"], summary["unmoving"]) == (12, False)


def test_a_mask_of_another_size(tmp_path: Path, orbit: list[bytes]) -> None:
    message = fail_poses(store(tmp_path, orbit[:12:2], masks={1: make_mask().resize((32, 24))}))
    assert "masks.tar: the mask 000001.png has 32x24 pixels, its frame 320x240" in message
