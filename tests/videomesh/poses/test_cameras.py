"""Frames of several cameras become images of one."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from poses_program import needs_colmap, run_poses, store
from videomesh.poses.model import Camera, read_cameras
from videomesh.poses.undistortion import choose_camera, make_map, resample

BACKENDS = ["pycolmap", pytest.param("colmap", marks=needs_colmap)]


def zoomed(image: bytes, size: tuple[int, int] = (320, 240), share: float = 0.6) -> bytes:
    """The middle of the picture, as a longer focal length shows it."""
    picture = Image.open(io.BytesIO(image))
    width, height = round(picture.width * share), round(picture.height * share)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    picture = picture.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=95)
    return encoded.getvalue()


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_cameras_of_other_sizes_and_zooms(tmp_path: Path, orbit: list[bytes], backend: str) -> None:
    images = [zoomed(image, (400, 300)) if k % 3 == 1 else image for k, image in enumerate(orbit[:32:2])]
    summary = run_poses(store(tmp_path, images), "--backend", backend)
    out = tmp_path / "out"
    assert (summary["registered"], summary["cameras"]) == (16, 2)
    assert all(image["flaw"] == "" for image in summary["images"])

    (camera,) = read_cameras(out / "cameras.bin")
    assert camera.model == "PINHOLE"
    assert camera.params[:2] == pytest.approx(302.2, rel=0.06)  # that of the larger group
    read_errors = measure_errors(out)
    assert np.median(read_errors) < 0.8  # pixels: cameras, poses, points and observations belong together

    with tarfile.open(out / "masks.tar") as tar:
        assert tar.getnames() == [f"{index:06d}.png" for index in range(1, 16, 3)]
        for member in tar:
            mask = np.asarray(Image.open(tar.extractfile(member)))
            assert mask.shape == (camera.height, camera.width) and mask.dtype == np.uint8
            assert set(np.unique(mask)) == {128, 255}
            assert (mask == 255).mean() == pytest.approx(0.36, abs=0.05)  # 0.6 of both sides
            assert mask[camera.height // 2, camera.width // 2] == 255
    with tarfile.open(out / "images.tar") as tar:
        near, zoom = (np.asarray(Image.open(tar.extractfile(f"00000{k}.jpg"))).astype(float) for k in (0, 1))
    assert zoom[:10].std() < 1 and zoom[:10].mean() == pytest.approx(128, abs=2)
    middle = (slice(80, 160), slice(110, 210))
    assert np.corrcoef(near[middle].ravel(), zoom[middle].ravel())[0, 1] > 0.4  # 7.5 degrees farther, at one scale


def measure_errors(folder: Path) -> np.ndarray:
    """Distances of the observations in images.bin from where the camera and the poses see their points."""
    model = pycolmap.Reconstruction(folder)
    errors = []
    for image in model.images.values():
        for point in image.points2D:
            if point.has_point3D():
                place = image.cam_from_world() * model.points3D[point.point3D_id].xyz
                errors.append(np.linalg.norm(model.cameras[image.camera_id].img_from_cam(place) - point.xy))
    return np.array(errors)


def pinhole(width: int, height: int, focal: float, cx: float | None = None, key: int = 1) -> Camera:
    cx = width / 2 if cx is None else cx
    return Camera(key, "PINHOLE", width, height, np.array([focal, focal, cx, height / 2]))


def test_which_camera_is_the_common_one() -> None:
    one, zoom = pinhole(640, 480, 600), pinhole(640, 480, 1200, key=2)
    assert choose_camera({1: one}, {1: 10}) is one
    assert choose_camera({1: one, 2: zoom}, {1: 5, 2: 5}) is one  # a zoomed picture fills its middle
    # The wider group is large: the camera sees all that it sees, with more pixels for the sake of the others.
    both = choose_camera({1: one, 2: zoom}, {1: 5, 2: 20})
    assert (both.width, both.height) == (960, 720) and both.params.tolist() == [900, 900, 480, 360]
    assert choose_camera({1: one, 2: zoom}, {1: 2, 2: 20}) is zoom  # the wider group is small: its edges are cut


def test_a_camera_that_later_steps_could_not_use_is_replaced() -> None:
    off = choose_camera({1: pinhole(320, 240, 300, cx=220)}, {1: 3})
    assert off.params[2:].tolist() == [off.width / 2, off.height / 2]
    assert off.width / 2 / off.params[0] == pytest.approx(220 / 300, rel=0.01)
    oblong = choose_camera({1: Camera(1, "PINHOLE", 320, 240, np.array([300.0, 330, 160, 120]))}, {1: 3})
    assert oblong.params[0] == oblong.params[1]


def test_resampling_takes_the_mean_and_knows_where_the_picture_ends() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 120, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    same = pinhole(120, 80, 100)
    np.testing.assert_array_equal(resample(image, make_map(same, same)), pixels)
    half = make_map(pinhole(120, 80, 50), same)
    inner = resample(image, half)[20:60, 30:90]
    np.testing.assert_allclose(inner, pixels.reshape(40, 2, 60, 2, 3).mean((1, 3)), atol=1)
    assert half.known.sum() == 40 * 60 and half.known[20:60, 30:90].all()
