"""Poses that photos bring along, of each format, as ingest.json has them."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captures import HEIGHT, WIDTH, Stored, get_exif, mask, picture, save, write, write_masks
from ingest_program import fetch, refuse

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL's camera axes <-> OpenCV's
COUNT = 4


def get_pose(number: int) -> np.ndarray:
    """world_from_cam in OpenCV's axes: turned about a slanted axis."""
    angle, axis = 0.3 + 0.2 * number, np.array([1.0, 2.0, 2.0]) / 3
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    pose = np.eye(4)
    pose[:3, :3] = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    pose[:3, 3] = [number, 0.5, -2]
    return pose


def get_quaternion(rotation: np.ndarray) -> list[float]:
    """w, x, y, z of a rotation by less than half a turn."""
    w = math.sqrt(1 + np.trace(rotation)) / 2
    x, y, z = (rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1])
    return [w, x / (4 * w), y / (4 * w), z / (4 * w)]


def write_transforms(folder: Path, name: str = "transforms.json", file: str = "images/{:d}.jpg", **top: Any) -> None:
    entries = top.pop("frames", [{}] * COUNT)
    frames = [
        {"file_path": file.format(number), "transform_matrix": (get_pose(number) @ FLIP).tolist(), **entry}
        for number, entry in enumerate(entries)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({**top, "frames": frames}))


def check(stored: Stored, form: str, metric: bool, cameras: list[tuple[str, list[float]]]) -> None:
    """That the poses came through, with these models and parameters."""
    given = stored.given
    assert (given["format"], given["metric"]) == (form, metric)
    assert [frame["name"] for frame in given["frames"]] == stored.photos[: len(given["frames"])]
    for number, frame in enumerate(given["frames"]):
        assert np.allclose(frame["world_from_cam"], get_pose(number), atol=1e-6)
    assert [camera["model"] for camera in given["cameras"]] == [model for model, _ in cameras]
    for camera, (_, params) in zip(given["cameras"], cameras, strict=True):
        assert (camera["width"], camera["height"]) == (WIDTH, HEIGHT)
        assert camera["params"] == pytest.approx(params)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


NERFSTUDIO = {"w": WIDTH, "h": HEIGHT, "fl_x": 90, "fl_y": 91, "cx": 47, "cy": 36, "k1": 0.1, "p2": 0.01}


def test_nerfstudio_with_a_pyramid_depth_and_masks(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", COUNT + 1)
    for number in range(COUNT):
        save(picture(number, (WIDTH // 2, HEIGHT // 2)), folder / "images_2" / f"{number}.jpg")
    write(folder, "depth/{:d}.png", COUNT, first=30)
    write_masks(folder, "mymasks/{:d}.png", COUNT)
    entries = [{"mask_path": f"mymasks/{number}.png", "colmap_im_id": number} for number in range(COUNT)]
    applied = {"applied_transform": np.eye(4)[:3].tolist(), "camera_model": "OPENCV"}
    write_transforms(folder, **NERFSTUDIO, **applied, frames=entries)
    said = fetch(folder, photos)
    stored = Stored(photos)
    assert stored.photos == [f"{number}.jpg" for number in range(COUNT + 1)]
    check(stored, "nerfstudio", False, [("OPENCV", [90, 91, 47, 36, 0.1, 0, 0, 0.01])])
    assert np.array_equal(stored.masks["2.jpg"], mask(2)) and len(stored.masks) == COUNT
    assert "poses: 4 of 5 photos have one, of unknown scale, from transforms.json" in said
    assert stored.left_out == {
        "pictures of depth, normals and the like": COUNT,
        "masks (used)": COUNT,
        "pictures in other folders than the photos with poses": COUNT,
    }


def test_a_camera_for_each_frame_at_another_size(folder: Path, photos: Path) -> None:
    """Intrinsics for the full size, photos half as large: as phones' apps and smaller exports have it."""
    write(folder, "images/{:d}.jpg", COUNT)
    entries = [{"fl_x": 200 + 2 * (n % 2), "fl_y": 200, "cx": 96, "cy": 72, "w": 192, "h": 144} for n in range(COUNT)]
    write_transforms(folder, frames=entries, orientation_override="none", camera_model="OPENCV")
    fetch(folder, photos)
    check(Stored(photos), "nerfstudio", True, [("PINHOLE", [100, 100, 48, 36]), ("PINHOLE", [101, 100, 48, 36])])


def test_instant_ngp_with_an_angle_and_names_without_suffix(folder: Path, photos: Path) -> None:
    write(folder, "train/r_{:d}.png", COUNT)
    write_transforms(folder, "transforms_train.json", "./train/r_{:d}", camera_angle_x=0.9)
    write(folder, "test/r_{:d}.png", 2, first=20)
    fetch(folder, photos)
    stored = Stored(photos)
    focal = WIDTH / 2 / math.tan(0.45)
    check(stored, "instant-ngp", False, [("PINHOLE", [focal, focal, WIDTH / 2, HEIGHT / 2])])
    assert len(stored.photos) == COUNT


@pytest.mark.parametrize(
    ("keys", "model", "params"),
    [
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.2}, "OPENCV_FISHEYE", [0.1, 0, 0, 0.2]),
        ({"is_fisheye": True, "k2": 0.3}, "OPENCV_FISHEYE", [0, 0.3, 0, 0]),
        ({"k3": 0.2}, "FULL_OPENCV", [0, 0, 0, 0, 0.2, 0, 0, 0]),
    ],
)
def test_models_of_lenses(folder: Path, photos: Path, keys: dict, model: str, params: list[float]) -> None:
    write(folder, "images/{:d}.jpg", COUNT)
    write_transforms(folder, fl_x=90, **keys)
    fetch(folder, photos)
    check(
        Stored(photos),
        "nerfstudio" if "camera_model" in keys else "instant-ngp",
        False,
        [(model, [90, 90, 48, 36, *params])],
    )


@pytest.mark.parametrize("keys", [{"units": "m"}, {"generator": "KIRI Engine"}, {"integer_depth_scale": 0.001}])
def test_metres_are_known(folder: Path, photos: Path, keys: dict) -> None:
    write(folder, "images/{:d}.jpg", COUNT)
    write_transforms(folder, fl_x=90, **keys)
    assert "have one, in metres" in fetch(folder, photos)
    assert Stored(photos).given["metric"]


@pytest.mark.parametrize("corrected", [True, False])
def test_polycam_raw_data(folder: Path, photos: Path, corrected: bool) -> None:
    write(folder, "keyframes/images/10{:d}.jpg", COUNT)
    for name in ("cameras", *(["corrected_cameras"] if corrected else [])):
        (folder / "keyframes" / name).mkdir()
        for number in range(COUNT):
            pose = get_pose(number if name == "corrected_cameras" or not corrected else 9) @ FLIP
            content = {f"t_{row}{column}": pose[row, column] for row in range(3) for column in range(4)}
            content |= {"fx": 80, "fy": 80, "cx": 48, "cy": 36, "width": WIDTH, "height": HEIGHT, "blur_score": 9}
            (folder / "keyframes" / name / f"10{number}.json").write_text(json.dumps(content))
    if corrected:
        write(folder, "keyframes/corrected_images/10{:d}.jpg", COUNT)
    write(folder, "keyframes/depth/10{:d}.png", COUNT, first=20)
    (folder / "mesh_info.json").write_text("{}")
    fetch(folder, photos)
    stored = Stored(photos)
    assert len(stored.photos) == COUNT
    check(stored, "polycam", True, [("PINHOLE", [80, 80, 48, 36])])


def test_record3d(folder: Path, photos: Path) -> None:
    write(folder, "EXR_RGBD/rgb/{:d}.jpg", COUNT)
    poses = []
    for number in range(COUNT):
        pose = get_pose(number) @ FLIP
        quaternion = np.array([0.0, 0, 0, 0])
        # The pose with OpenGL's axes turns by more than half a turn: its quaternion is that of ours times (0, 1, 0, 0).
        w, x, y, z = get_quaternion(get_pose(number)[:3, :3])
        quaternion[:] = [w, z, -y, -x]  # x, y, z, w
        poses.append([*quaternion, *pose[:3, 3]])
    content = {"w": WIDTH, "h": HEIGHT, "K": [70, 0, 0, 0, 71, 0, 48, 36, 1], "poses": poses, "fps": 60}
    (folder / "EXR_RGBD" / "metadata.json").write_text(json.dumps(content))
    fetch(folder, photos)
    check(Stored(photos), "record3d", True, [("PINHOLE", [70, 71, 48, 36])])


def test_3d_scanner_app(folder: Path, photos: Path) -> None:
    """It has more poses than photos."""
    write(folder, "frame_{:05d}.jpg", COUNT)
    for number in range(COUNT + 5):
        pose = (get_pose(number) @ FLIP).ravel().tolist()
        content = {"cameraPoseARFrame": pose, "intrinsics": [70, 0, 48, 0, 71, 36, 0, 0, 1], "frame_index": number}
        (folder / f"frame_{number:05d}.json").write_text(json.dumps(content))
    said = fetch(folder, photos)
    check(Stored(photos), "3d-scanner-app", True, [("PINHOLE", [70, 71, 48, 36])])
    assert "left out" not in said


def write_colmap(folder: Path, binary: bool, names: list[str]) -> None:
    """Two cameras, the second for the last image only, which has some 2D points."""
    folder.mkdir(parents=True)
    cameras = [(1, 4, "OPENCV", [90, 91, 47, 36, 0.1, 0, 0, 0.01]), (7, 2, "SIMPLE_RADIAL", [80, 48, 36, 0.2])]
    rows = []
    for number, name in enumerate(names):
        inverse = np.linalg.inv(get_pose(number))
        rows.append((number + 1, get_quaternion(inverse[:3, :3]), inverse[:3, 3], 7 if number == 3 else 1, name))
    if not binary:
        lines = [f"{n} {model} {WIDTH} {HEIGHT} {' '.join(map(str, params))}" for n, _, model, params in cameras]
        (folder / "cameras.txt").write_text("\n".join(["# Camera list", *lines]) + "\n")
        lines = [f"{n} {' '.join(map(str, [*q, *t]))} {camera} {name}\n1 2 -1 3 4 5" for n, q, t, camera, name in rows]
        (folder / "images.txt").write_text("\n".join(["# Image list", *lines]).replace("1 2 -1 3 4 5", "", 1) + "\n")
        return
    data = struct.pack("<Q", 2)
    for n, model, _, params in cameras:
        data += struct.pack(f"<IiQQ{len(params)}d", n, model, WIDTH, HEIGHT, *params)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(rows))
    for n, q, t, camera, name in rows:
        data += struct.pack("<I7dI", n, *q, *t, camera) + name.encode() + b"\0"
        data += struct.pack("<Q", 2) + struct.pack("<ddq", 1, 2, -1) * 2
    (folder / "images.bin").write_bytes(data)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0"])
def test_colmap_models(folder: Path, photos: Path, binary: bool, place: str) -> None:
    write(folder, "images/left side/{:d} a.jpg", COUNT)
    write_colmap(folder / place, binary, [f"left side/{number} a.jpg" for number in range(COUNT)])
    fetch(folder, photos)
    cameras = [("OPENCV", [90, 91, 47, 36, 0.1, 0, 0, 0.01]), ("SIMPLE_RADIAL", [80, 48, 36, 0.2])]
    check(Stored(photos), "colmap", False, cameras)


def test_the_larger_of_two_models(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", COUNT)
    write_colmap(folder / "sparse/0", True, ["0.jpg", "1.jpg"])
    write_colmap(folder / "sparse/1", True, [f"{number}.jpg" for number in range(COUNT)])
    fetch(folder, photos)
    assert len(Stored(photos).given["frames"]) == COUNT


def test_photos_that_are_missing_are_named(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", 3)
    write_transforms(folder, fl_x=90)
    said = fetch(folder, photos)
    assert "left out: 1 photo named in transforms.json, but missing (images/3.jpg)" in said
    assert len(Stored(photos).given["frames"]) == 3


def test_a_camera_may_mean_the_upright_photo(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", COUNT, exif=get_exif(6))
    write_transforms(folder, fl_x=90, w=HEIGHT, h=WIDTH)
    fetch(folder, photos)
    (camera,) = Stored(photos).given["cameras"]
    assert (camera["width"], camera["height"], camera["params"]) == (HEIGHT, WIDTH, [90, 90, 36, 48])


def test_poses_can_be_ignored(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", COUNT)
    (folder / "transforms.json").write_text("{broken")
    refuse(folder, photos, ["transforms.json: not valid JSON", "poses.given: ignore, which finds the poses anew"])
    fetch(folder, photos, "--given=ignore")
    assert Stored(photos).given is None


BROKEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no frames": ({"frames": []}, ["transforms.json: it holds no poses"]),
    "no focal length": ({}, ["frames[0]: there is neither fl_x nor camera_angle_x"]),
    "a word": ({"fl_x": "long"}, ['fl_x is "long", not a number']),
    "not a number": ({"fl_x": math.nan}, ["fl_x is NaN"]),
    "below 0": ({"fl_x": -3}, ["the focal length is -3 x -3 pixels"]),
    "another shape": ({"fl_x": 90, "w": 100, "h": 100}, ["100 x 100 pixels, but images/0.jpg has 96 x 72", "3 more"]),
    "short matrix": ({"fl_x": 9, "frames": [{"transform_matrix": [[1, 2]]}]}, ["frames[0] (images/0.jpg)", "4 x 4"]),
    "no rotation": (
        {"fl_x": 90, "frames": [{}, {"transform_matrix": np.full((4, 4), 3).tolist()}]},
        ["frames[1]: the pose of images/1.jpg is not a rotation"],
    ),
    "mirrored": (
        {"fl_x": 90, "frames": [{"transform_matrix": np.diag([1, 1, -1, 1]).tolist()}]},
        ["frames[0]: the pose of images/0.jpg is not a rotation"],
    ),
    "no name": ({"fl_x": 90, "frames": [{"file_path": 3}]}, ["frames[0] has no file_path"]),
    "round": ({"fl_x": 90, "camera_model": "EQUIRECTANGULAR"}, ["360 degree pictures; cut flat views"]),
    "no photo": ({"fl_x": 90, "file": "x/{:d}y.jpg"}, ["none of the 4 photos", "such as x/0y.jpg"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_transforms_json(folder: Path, photos: Path, case: str) -> None:
    keys, says = BROKEN[case]
    write(folder, "images/{:d}.jpg", COUNT)
    write_transforms(folder, **keys)
    refuse(folder, photos, says if case == "round" else [*says, "poses.given: ignore"])


def test_what_is_wrong_with_a_colmap_model(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", COUNT)
    write_colmap(folder / "sparse", True, [f"{number}.jpg" for number in range(COUNT)])
    images = folder / "sparse" / "images.bin"
    whole = images.read_bytes()
    images.write_bytes(whole[:-10])
    refuse(folder, photos, ["sparse/images.bin: broken after entry 3 (the file is cut short)", "poses.given: ignore"])
    images.write_bytes(whole)
    (folder / "sparse" / "cameras.bin").write_bytes(struct.pack("<QIiQQ", 1, 1, 99, 96, 72))
    refuse(folder, photos, ["sparse/cameras.bin", "camera model number 99 is not known"])
    (folder / "sparse" / "cameras.bin").write_bytes(struct.pack("<QIiQQ3d", 1, 3, 0, 96, 72, 90, 48, 36))
    refuse(folder, photos, ["images.bin: image 0.jpg: its camera 1 is not in sparse/cameras.bin"])
