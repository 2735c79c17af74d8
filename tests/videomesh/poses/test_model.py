"""The reader of COLMAP's files against pycolmap's own, on made models."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest

from videomesh.errors import UserError
from videomesh.poses.model import CAMERA_MODELS, read_cameras, read_images, read_points


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with two cameras and ten images, as COLMAP writes it."""
    pycolmap.set_random_seed(0)
    options = pycolmap.SyntheticDatasetOptions()
    options.num_points3D = 40
    options.track_length = 6
    model = pycolmap.synthesize_dataset(options)
    noise = pycolmap.SyntheticNoiseOptions()
    noise.point2D_stddev = 0.5
    pycolmap.synthesize_noise(noise, model)
    model.update_point_3d_errors()
    model.write_binary(tmp_path)
    return tmp_path


def test_reads_what_pycolmap_reads(folder: Path) -> None:
    expected = pycolmap.Reconstruction(folder)

    cameras = {camera.id: camera for camera in read_cameras(folder / "cameras.bin")}
    assert sorted(cameras) == sorted(expected.cameras)
    for key, camera in expected.cameras.items():
        assert (cameras[key].model, cameras[key].width, cameras[key].height) == (
            camera.model_name,
            camera.width,
            camera.height,
        )
        np.testing.assert_array_equal(cameras[key].params, camera.params)

    images = read_images(folder / "images.bin")
    assert len(images) == 10
    assert [image.name for image in images] == sorted(image.name for image in expected.images.values())
    for image in images:
        truth = expected.images[image.id]
        assert (image.name, image.camera_id) == (truth.name, truth.camera_id)
        np.testing.assert_allclose(image.cam_from_world[:3], truth.cam_from_world().matrix(), atol=1e-12)
        np.testing.assert_allclose(image.world_from_cam[:3, 3], truth.projection_center(), atol=1e-12)

    points = read_points(folder / "points3D.bin")
    assert sorted(map(tuple, points.xyz)) == sorted(tuple(point.xyz) for point in expected.points3D.values())
    by_place = {tuple(point.xyz): point for point in expected.points3D.values()}
    for xyz, error, image_ids in zip(points.xyz, points.error, points.image_ids, strict=True):
        truth = by_place[tuple(xyz)]
        assert error == truth.error > 0
        assert sorted(image_ids) == sorted(element.image_id for element in truth.track.elements)


@pytest.mark.parametrize(("model_id", "model"), CAMERA_MODELS.items())
def test_camera_models_have_the_parameters_that_colmap_gives_them(model_id: int, model: tuple) -> None:
    name, parameters = model
    assert int(pycolmap.CameraModelId.__members__[name].value) == model_id
    assert (
        len(pycolmap.Camera.create_from_model_id(1, pycolmap.CameraModelId(model_id), 100.0, 64, 48).params)
        == parameters
    )


def test_the_three_files_are_enough_for_colmap(folder: Path, tmp_path: Path) -> None:
    """COLMAP 4 also writes rigs.bin and frames.bin, which the workflow does not keep."""
    for name in ("rigs.bin", "frames.bin"):
        (folder / name).unlink()
    assert pycolmap.Reconstruction(folder).num_reg_images() == 10


def test_an_empty_model(tmp_path: Path) -> None:
    pycolmap.Reconstruction().write_binary(tmp_path)
    assert read_cameras(tmp_path / "cameras.bin") == []
    assert read_images(tmp_path / "images.bin") == []
    assert read_points(tmp_path / "points3D.bin").xyz.shape == (0, 3)


READERS = [("cameras.bin", read_cameras), ("images.bin", read_images), ("points3D.bin", read_points)]


@pytest.mark.parametrize(("name", "read"), READERS)
def test_a_file_cut_short_anywhere(folder: Path, name: str, read: object) -> None:
    whole = (folder / name).read_bytes()
    for size in (0, 5, 9, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:size])
        with pytest.raises(UserError, match=rf"{name}.*cut short.*poses"):
            read(folder / name)


@pytest.mark.parametrize(("name", "read"), READERS)
def test_a_missing_file(tmp_path: Path, name: str, read: object) -> None:
    with pytest.raises(UserError, match=f"{name}: no such file"):
        read(tmp_path / name)


def test_an_unknown_camera_model(folder: Path) -> None:
    data = bytearray((folder / "cameras.bin").read_bytes())
    data[12:16] = (99).to_bytes(4, "little")  # after the count (8 bytes) and the camera's id (4)
    (folder / "cameras.bin").write_bytes(data)
    with pytest.raises(UserError, match="unknown camera model id 99"):
        read_cameras(folder / "cameras.bin")
