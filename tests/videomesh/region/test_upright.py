"""Which way is up, whatever COLMAP's world is, and how photos that were turned count."""

import numpy as np
import pytest

import synthetic_captures as made
from videomesh.region.upright import UP, World, find_world, turn_upright
from videomesh.region.views import lens_from, up_direction, views_from

LENS = lens_from(made.WIDTH, made.HEIGHT, (made.FOCAL, made.FOCAL), (made.WIDTH / 2, made.HEIGHT / 2))
KINDS = {
    "orbit": made.textured_object,
    "quarter": lambda: made.textured_object(90, 30),
    "plain": made.plain_object,
    "low": made.low_object,
    "relief": made.relief,
    "facade": lambda: made.inside(made.facade()),
    "room": lambda: made.inside(made.room()),
    "drone": made.drone,
}


def find(truth: made.Truth, turned: np.ndarray | None = None, given: bool = False) -> tuple[World, str]:
    views, cloud = views_from(truth.capture.world_from_cam), made.get_cloud(truth.capture)
    degrees = np.zeros(len(views.center)) if turned is None else turned
    return find_world(views, cloud, LENS, degrees, given, 1.0, "arbitrary")


def get_tilt(truth: made.Truth, world: World) -> float:
    """Degrees between the made world's z and what is up in the upright world."""
    first = truth.capture.world_from_cam
    return float(np.degrees(np.arccos(np.clip((world.rotation @ made.UP) @ UP, -1, 1)))) if len(first) else 180.0


@pytest.mark.parametrize("name", KINDS)
def test_the_world_stands_upright(name: str) -> None:
    truth = KINDS[name]()
    world, source = find(truth)
    # A camera that walks along a wall and looks up a little shows no more than that.
    assert get_tilt(truth, world) < {"facade": 10, "relief": 6, "room": 3}.get(name, 1)
    assert source == ("plane" if name in ("orbit", "quarter", "plain", "low", "drone") else "cameras")


def test_the_upright_world_is_the_same_from_any_world_of_colmaps() -> None:
    """But for its size and place."""
    truth = made.textured_object()
    poses = []
    for seed in (1, 2):
        moved = made.moved(truth, seed)
        poses.append(find(moved)[0].move_poses(moved.capture.world_from_cam))
    assert np.allclose(poses[0][:, :3, :3], poses[1][:, :3, :3], atol=1e-3)
    assert np.allclose(poses[0][0, :3, 2] @ [1, 0, 0], 0, atol=1e-6)  # the first camera looks along y
    assert poses[0][0, 1, 2] > 0


def test_photos_turned_sideways_do_not_turn_the_world() -> None:
    """A third of them, clockwise by 90 degrees, so that what is up in the photograph is to the right in the pixels."""
    truth = made.textured_object(ground=False)
    cameras = truth.capture.world_from_cam.copy()
    turned = np.where(np.arange(len(cameras)) % 3 == 0, 90.0, 0.0)
    sideways = turned == 90
    # The picture's right is where up was, and its down is where right was.
    right, down = cameras[sideways, :3, 0].copy(), cameras[sideways, :3, 1].copy()
    cameras[sideways, :3, 0], cameras[sideways, :3, 1] = -down, right
    views = turn_upright(views_from(cameras), turned)
    assert np.allclose(views.up, -truth.capture.world_from_cam[:, :3, 1])
    assert np.degrees(np.arccos(up_direction(views) @ made.UP)) < 1


def test_a_flight_to_and_fro_that_looks_straight_down() -> None:
    cameras = []
    for row in range(4):
        for column in range(6):
            place = np.array([20.0 * column, 20.0 * row, 60])
            cameras.append(made.look(place, place - [0, 0, 1], up=[0, 1 if row % 2 else -1, 0]))
    assert np.allclose(up_direction(views_from(np.array(cameras))), made.UP, atol=1e-6)


def test_the_world_of_given_poses_keeps_its_axis() -> None:
    """A phone knows where up is more exactly than its pictures show."""
    truth = made.textured_object(ground=False)
    cameras = truth.capture.world_from_cam.copy()
    tilt = np.radians(3)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    cameras[:, :3] = turn @ cameras[:, :3]
    tilted = made.Truth(
        made.Capture(cameras, truth.capture.points @ turn.T, made.get_seen(truth.capture)), truth.subject
    )
    world, source = find(tilted, given=True)
    assert source == "poses" and np.allclose(world.rotation @ [0, 0, 1], UP)
    assert find(tilted)[1] == "cameras"
