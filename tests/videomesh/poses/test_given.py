"""Poses that a capture brings along."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageDraw

from poses_program import fail_poses, needs_colmap, noise, run_poses, store
from videomesh.poses.given import choose_pairs, fit_similarity
from videomesh.poses.model import read_cameras, read_images, to_quaternion

BACKENDS = ["pycolmap", pytest.param("colmap", marks=needs_colmap)]
COUNT = 11  # frames, 7.5 degrees apart
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


class Posed(NamedTuple):
    images: list[bytes]
    cameras: list[dict[str, Any]]
    poses: list[np.ndarray]  # world_from_cam


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory, orbit: list[bytes]) -> Posed:
    """Undistorted pictures with the poses that COLMAP found, in a world of another size that lies elsewhere."""
    folder = tmp_path_factory.mktemp("posed")
    run_poses(store(folder, orbit[: COUNT * 2 : 2]))
    with tarfile.open(folder / "out" / "images.tar") as tar:
        images = [tar.extractfile(member).read() for member in tar]  # type: ignore[union-attr]
    (camera,) = read_cameras(folder / "out" / "cameras.bin")
    poses = [image.world_from_cam for image in read_images(folder / "out" / "images.bin")]
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    for pose in poses:
        pose[:3, :3] = turn @ pose[:3, :3]
        pose[:3, 3] = 0.25 * turn @ pose[:3, 3] + [5, 6, 7]
    given = {"model": "PINHOLE", "params": camera.params.tolist()}
    return Posed(images, [{"width": camera.width, "height": camera.height, "given": given}], poses)


def store_posed(folder: Path, posed: Posed, poses: list[np.ndarray] | None = None, **changes: Any) -> Path:
    given = [pose.tolist() for pose in poses or posed.poses]
    changes = {"source": "photos", "cameras": posed.cameras, "given": given, "metric": True, **changes}
    return store(folder, posed.images, **changes)


def shaken(poses: list[np.ndarray], degrees: float, seed: int = 0) -> list[np.ndarray]:
    """The cameras turned by about so many degrees each."""
    random = np.random.default_rng(seed)
    result = []
    for pose in poses:
        x, y, z = np.radians(degrees) * random.normal(0, 1, 3)
        turned = pose.copy()
        u, _, vt = np.linalg.svd(pose[:3, :3] @ (np.eye(3) + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])))
        turned[:3, :3] = u @ vt
        result.append(turned)
    return result


def get_centers(poses: list[np.ndarray]) -> np.ndarray:
    return np.array([pose[:3, 3] for pose in poses])


@pytest.mark.parametrize("backend", BACKENDS)
def test_given_poses_are_used_as_they_are(tmp_path: Path, posed: Posed, backend: str) -> None:
    summary = run_poses(store_posed(tmp_path, posed), "--backend", backend)
    assert (summary["given"], summary["metric"], summary["registered"]) == ("used", True, COUNT)
    assert summary["given_error"] < 1 and summary["reprojection_error"] < 1 and summary["points"] > 200
    (camera,) = read_cameras(tmp_path / "out" / "cameras.bin")
    assert camera.params.tolist() == posed.cameras[0]["given"]["params"]
    found = [image.world_from_cam for image in read_images(tmp_path / "out" / "images.bin")]
    np.testing.assert_allclose(found, posed.poses, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_poses_that_are_nearly_right_are_refined_in_their_own_world(tmp_path: Path, posed: Posed, backend: str) -> None:
    poses = shaken(posed.poses, 1.0)
    flags = ("--backend", backend)
    message = fail_poses(store_posed(tmp_path, posed, poses), *flags)
    for part in ["do not fit the pictures", "px from where the poses expect them", "refine", "ignore", "convention"]:
        assert part in message
    summary = run_poses(tmp_path, *flags, "--given", "refine")
    assert (summary["given"], summary["metric"], summary["registered"]) == ("refined", True, COUNT)
    assert summary["given_error"] < 1
    found = [image.world_from_cam for image in read_images(tmp_path / "out" / "images.bin")]
    scale, _, _ = fit_similarity(get_centers(found), get_centers(posed.poses))
    assert scale == pytest.approx(1, abs=0.02)
    extent = np.ptp(get_centers(posed.poses), axis=0).max()
    np.testing.assert_allclose(get_centers(found), get_centers(posed.poses), atol=0.03 * extent)


def test_given_poses_are_ignored_if_so_wished(tmp_path: Path, posed: Posed) -> None:
    summary = run_poses(store_posed(tmp_path, posed, shaken(posed.poses, 30)), "--given", "ignore")
    assert (summary["given"], summary["metric"], summary["given_error"]) == ("ignored", False, None)
    assert summary["registered"] == COUNT and summary["attempt"] == "exhaustive"


def test_poses_of_another_convention(tmp_path: Path, posed: Posed) -> None:
    store_posed(tmp_path, posed, [pose @ OPENGL for pose in posed.poses])
    assert "do not fit the pictures" in fail_poses(tmp_path)
    assert "even after they were refined" in fail_poses(tmp_path, "--given", "refine")


def test_given_poses_of_a_turntable_need_its_masks(tmp_path: Path, posed: Posed) -> None:
    """They are the poses relative to what turns; the still background contradicts them."""
    size = (posed.cameras[0]["width"], posed.cameras[0]["height"])
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).ellipse((70, 40, 250, 232), fill=255)
    background = Image.open(io.BytesIO(noise(0, size))).resize(size)
    images = []
    for data in posed.images:
        encoded = io.BytesIO()
        Image.composite(Image.open(io.BytesIO(data)), background, mask).save(encoded, "JPEG", quality=95)
        images.append(encoded.getvalue())
    turntable = posed._replace(images=images)
    assert "do not fit the pictures" in fail_poses(store_posed(tmp_path, turntable))
    summary = run_poses(store_posed(tmp_path, turntable, masks=dict.fromkeys(range(COUNT), mask)))
    assert (summary["given"], summary["masked_features"], summary["attempt"]) == ("used", True, "masked given poses")


def test_a_distorted_given_camera_is_undistorted(tmp_path: Path, orbit: list[bytes], posed: Posed) -> None:
    """The frames as they were, with the camera that COLMAP found, in the form of an OPENCV camera."""
    fx, fy, *_ = posed.cameras[0]["given"]["params"]
    camera = {"model": "OPENCV", "params": [fx, fy, 160, 120, 0.004, 0, 0, 0]}
    given = [pose.tolist() for pose in posed.poses]
    cameras = [{"width": 320, "height": 240, "given": camera}]
    summary = run_poses(store(tmp_path, orbit[: COUNT * 2 : 2], source="photos", cameras=cameras, given=given))
    assert (summary["given"], summary["registered"], summary["metric"]) == ("used", COUNT, False)
    (found,) = read_cameras(tmp_path / "out" / "cameras.bin")
    assert found.model == "PINHOLE"


@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_without_a_given_pose_get_one_from_the_others(tmp_path: Path, posed: Posed, backend: str) -> None:
    given = [None if k in (2, 9) else pose.tolist() for k, pose in enumerate(posed.poses)]
    summary = run_poses(store_posed(tmp_path, posed, given=given), "--backend", backend)
    assert (summary["given"], summary["registered"]) == ("used", COUNT)
    found = [image.world_from_cam for image in read_images(tmp_path / "out" / "images.bin")]
    extent = np.ptp(get_centers(posed.poses), axis=0).max()
    kept = [k for k in range(COUNT) if k not in (2, 9)]
    np.testing.assert_allclose(get_centers(found)[kept], get_centers(posed.poses)[kept], atol=1e-6 * extent)
    np.testing.assert_allclose(get_centers(found), get_centers(posed.poses), atol=0.03 * extent)


def test_two_given_poses_say_nothing(tmp_path: Path, posed: Posed) -> None:
    given = [pose.tolist() if k < 2 else None for k, pose in enumerate(posed.poses)]
    summary = run_poses(store_posed(tmp_path, posed, given=given))
    assert (summary["given"], summary["registered"], summary["metric"]) == ("none", COUNT, False)


BAD: dict[str, tuple[Callable[[dict], Any], list[str]]] = {
    "no rotation": (
        lambda content: content["frames"][3].update(given=np.diag([2.0, 1, 1, 1]).tolist()),
        ["the given pose of 000003.jpg is not a rotation", "poses.given to ignore"],
    ),
    "other shape": (lambda content: content["frames"][3].update(given=[[1, 2], [3]]), ["000003.jpg is not a rotation"]),
    "unknown model": (
        lambda content: content["cameras"][0].update(given={"model": "LENS", "params": [1]}),
        ["camera 0 is given as LENS with 1 parameters", "OPENCV (8)"],
    ),
    "no such camera": (lambda content: content["frames"][3].update(camera=4), ["000003.jpg has no camera"]),
}


@pytest.mark.parametrize("case", BAD)
def test_given_data_that_makes_no_sense(tmp_path: Path, posed: Posed, case: str) -> None:
    change, parts = BAD[case]
    store_posed(tmp_path, posed)
    content = json.loads((tmp_path / "frames.json").read_text())
    change(content)
    (tmp_path / "frames.json").write_text(json.dumps(content))
    message = fail_poses(tmp_path)
    for part in parts:
        assert part in message


def test_pairs_are_near_and_look_the_same_way() -> None:
    angles = np.radians(np.arange(100) * 3.6)
    poses = np.tile(np.eye(4), (100, 1, 1))
    for pose, angle in zip(poses, angles, strict=True):
        inwards = np.array([-np.cos(angle), -np.sin(angle), 0])
        pose[:3, :3] = np.stack([np.cross([0, 0, -1], inwards), [0, 0, -1], inwards], axis=1)
        pose[:3, 3] = -3 * inwards
    pairs = choose_pairs(poses)
    steps = np.array([min(j - i, 100 - j + i) for i, j in pairs])
    assert {(0, 1), (0, 99), (0, 6), (50, 56)} <= pairs
    assert steps.max() == 20  # 72 degrees
    assert 600 <= len(pairs) <= 2000


def test_quaternions() -> None:
    """Also those of half turns, for which w is 0."""
    random = np.random.default_rng(0).normal(0, 1, (20, 4))
    for q in [*random, [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]:
        w, x, y, z = q = np.array(q) / np.linalg.norm(q)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        assert abs(to_quaternion(rotation) @ q) == pytest.approx(1)
