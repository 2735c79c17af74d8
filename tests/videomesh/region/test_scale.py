"""A known distance between two places in pictures gives the world its size."""

from pathlib import Path

import numpy as np
import pytest

import synthetic_captures as made
from videomesh.errors import UserError
from videomesh.poses.model import Camera, Image
from videomesh.region.scale import Mark, find_place, get_scale, parse_marks
from videomesh.scene import read_scene

CAMERAS = made.orbit(12)
CAMERA = Camera(1, "PINHOLE", made.WIDTH, made.HEIGHT, np.array([made.FOCAL, made.FOCAL, 32.0, 24.0]))
IMAGES = [Image(k + 1, f"{3 * k:06d}.jpg", 1, np.linalg.inv(pose)) for k, pose in enumerate(CAMERAS)]
LEFT, RIGHT = np.array([-0.3, 0.1, 0.2]), np.array([0.2, -0.1, 0.6])


def mark(place: np.ndarray, row: int, off: float = 0.0) -> Mark:
    local = CAMERAS[row, :3, :3].T @ (place - CAMERAS[row, :3, 3])
    x, y = local[:2] / local[2] * made.FOCAL + [32, 24]
    return Mark(IMAGES[row].name, x + off, y)


def write(marks: list[Mark]) -> str:
    return ", ".join(f"{name} {x:.4f} {y:.4f}" for name, x, y in marks)


def test_marks_are_read() -> None:
    found = parse_marks("000012.jpg 812 440.5,  a photo.png 3 4", "scale.from")
    assert found == [Mark("000012.jpg", 812, 440.5), Mark("a photo.png", 3, 4)]


def test_the_place_is_where_the_rays_meet() -> None:
    place = find_place(
        "scale.from", [mark(LEFT, row, off) for row, off in ((0, 0.2), (3, -0.2), (7, 0.1))], CAMERA, IMAGES
    )
    assert np.linalg.norm(place - LEFT) < 0.02


def test_the_scale_makes_the_distance_what_it_is() -> None:
    marks = {"scale.from": [mark(LEFT, 0), mark(LEFT, 4)], "scale.to": [mark(RIGHT, 1), mark(RIGHT, 4), mark(RIGHT, 8)]}
    assert get_scale(0.42, marks, CAMERA, IMAGES) == pytest.approx(0.42 / np.linalg.norm(LEFT - RIGHT))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["scale.from", "NAME X Y"]),
        ("000000.jpg 1", ["scale.from", "'000000.jpg 1'", "NAME X Y"]),
        ("000000.jpg x y", ["scale.from", "NAME X Y"]),
        ("000000.jpg 3 4", ["one picture", "two or more"]),
        ("000000.jpg 3 4, 000000.jpg 5 6", ["one picture", "two or more"]),
        ("000000.jpg 3 4, 000004.jpg 3 4", ["no picture 000004.jpg", "Did you mean"]),
        ("000000.jpg 3 4, 000003.jpg 3 400", ["scale.from", "3 400", "outside of 000003.jpg", "64 x 48 px"]),
        (write([mark(LEFT, 0), mark(RIGHT, 3)]), ["rays miss each other", "px", "same spot"]),
        (write([mark(LEFT, 0), mark(LEFT, 3)._replace(y=5.0)]), ["scale.from", "miss each other"]),
    ],
)
def test_wrong_marks_are_named(text: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        find_place("scale.from", parse_marks(text, "scale.from"), CAMERA, IMAGES)
    for word in words:
        assert word in str(error.value)


def test_pictures_from_the_same_side_show_no_depth() -> None:
    near = [Image(1, "a.jpg", 1, IMAGES[0].cam_from_world), Image(2, "b.jpg", 1, IMAGES[0].cam_from_world)]
    with pytest.raises(UserError, match="nearly the same side"):
        find_place("scale.to", [Mark("a.jpg", 30, 20), Mark("b.jpg", 30, 20)], CAMERA, near)


def test_the_same_place_twice_has_no_distance() -> None:
    marks = {key: [mark(LEFT, 0), mark(LEFT, 4)] for key in ("scale.from", "scale.to")}
    with pytest.raises(UserError, match="same place"):
        get_scale(1.0, marks, CAMERA, IMAGES)


def test_the_program_writes_the_world_in_metres(tmp_path: Path) -> None:
    inputs = made.write(tmp_path / "in", made.object_on_table(count=12))
    plain = made.call_region(tmp_path / "plain", inputs)
    options = ("--scale-distance=2.0", f"--scale-from={write([mark(LEFT, 0), mark(LEFT, 4)])}")
    options += (f"--scale-to={write([mark(RIGHT, 0), mark(RIGHT, 4)])}",)
    scaled = made.call_region(tmp_path / "scaled", inputs, *options)
    assert plain.returncode == scaled.returncode == 0, scaled.stderr
    before, after = (read_scene(tmp_path / name / "transforms.json") for name in ("plain", "scaled"))
    factor = 2.0 / np.linalg.norm(LEFT - RIGHT)
    assert (before.units, after.units) == ("arbitrary", "m")
    assert after.applied_scale == pytest.approx(factor, rel=1e-3)
    assert np.allclose(after.world_from_cam[:, :3, 3], factor * before.world_from_cam[:, :3, 3], rtol=1e-3)
    assert after.radius == pytest.approx(factor * before.radius, rel=0.02)
    with np.load(tmp_path / "plain/points.npz") as first, np.load(tmp_path / "scaled/points.npz") as second:
        assert np.allclose(second["xyz"], factor * first["xyz"], rtol=1e-3, atol=1e-3)


def test_poses_in_metres_need_no_scale(tmp_path: Path) -> None:
    inputs = made.write(tmp_path / "in", made.object_on_table())
    inputs["poses-json"].write_text('{"metric": true, "given": "used"}')
    assert made.call_region(tmp_path / "out", inputs).returncode == 0
    scene = read_scene(tmp_path / "out/transforms.json")
    assert (scene.units, scene.applied_scale) == ("m", 1)
