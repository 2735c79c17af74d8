"""The contract between stages and engines: what is written is read again, and what is broken is named."""

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from synthetic import write_pictures
from videomesh.errors import UserError
from videomesh.scene import (
    Scene,
    SparsePoints,
    find_masked,
    list_masks,
    read_images,
    read_masks,
    read_points,
    read_scene,
    write_points,
    write_scene,
)

NAMES = ["000000.jpg", "000003.jpg", "000006.jpg"]
TIMES = [{"video_frame": 3 * k, "time": k / 10} for k in range(len(NAMES))]
BOX = np.array([[-1.0, 1.0], [0.0, 2.0], [0.5, 1.5]])


def make_scene(box: np.ndarray | None = BOX) -> Scene:
    random = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (len(NAMES), 1, 1))
    poses[:, :3, :3] = np.linalg.qr(random.normal(size=(len(NAMES), 3, 3)))[0]
    poses[:, :3, 3] = random.normal(size=(len(NAMES), 3))
    return Scene(
        path=Path("transforms.json"),
        names=NAMES,
        width=8,
        height=6,
        focal=(7.5, 7.25),
        principal=(4.0, 3.125),
        distortion=[],
        world_from_cam=poses,
        center=np.array([0.1, -0.2, 0.3]),
        radius=1.7,
        box=box,
    )


@pytest.fixture
def transforms(tmp_path: Path) -> Path:
    write_scene(tmp_path / "transforms.json", make_scene(), TIMES)
    return tmp_path / "transforms.json"


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def assert_refused(read: Callable[[], Any], *words: str) -> None:
    with pytest.raises(UserError) as error:
        read()
    for word in words:
        assert word in str(error.value)


# --- transforms.json --------------------------------------------------------------------------------------------------


def test_a_scene_is_read_as_it_was_written(transforms: Path) -> None:
    written, read = make_scene(), read_scene(transforms)
    for name in ("names", "width", "height", "focal", "principal", "radius"):
        assert getattr(read, name) == getattr(written, name)
    for name in ("world_from_cam", "center", "box"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
    assert read.path == transforms
    assert read.distortion == [0] * 9


def test_the_file_has_opengls_axes_and_the_frames_times(transforms: Path) -> None:
    frames = json.loads(transforms.read_text())["frames"]
    for frame, pose, time in zip(frames, make_scene().world_from_cam, TIMES, strict=True):
        assert np.array_equal(frame["transform_matrix"], pose * [1, -1, -1, 1])
        assert {key: frame[key] for key in time} == time


def test_without_a_box_the_file_has_the_spheres(tmp_path: Path) -> None:
    write_scene(tmp_path / "transforms.json", make_scene(box=None), TIMES)
    box = read_scene(tmp_path / "transforms.json").box
    assert box is not None and np.allclose(box, [[-1.6, 1.8], [-1.9, 1.5], [-1.4, 2.0]])


def test_files_of_other_programs_are_read_too(transforms: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        del content["aabb_range"], content["k1"], content["is_fisheye"]
        content.update(w=8.0, k2=0.25)
        content["frames"][1]["file_path"] = ".\\images\\000003.jpg"

    edit(transforms, change)
    scene = read_scene(transforms)
    assert scene.names == NAMES and scene.box is None
    assert (scene.width, type(scene.width)) == (8, int)
    assert max(scene.distortion) == 0.25


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("sphere_radius"), ["lacks sphere_radius", "region stage"]),
        (lambda c: [c.pop("fl_x"), c.pop("w")], ["lacks fl_x, w"]),
        (lambda c: c.update(fl_x="7"), ["fl_x is '7'", "not a number"]),
        (lambda c: c.update(cx=True), ["cx is True", "not a number"]),
        (lambda c: c.update(cy=float("nan")), ["cy is nan", "not a number"]),
        (lambda c: c.update(k1="a"), ["k1 is 'a'", "not a number"]),
        (lambda c: c.update(p2=None), ["p2 is None", "not a number"]),
        (lambda c: c.update(sk_x=float("inf")), ["sk_x is inf", "not a number"]),
        (lambda c: c.update(fl_y=0), ["fl_y is 0", "above 0"]),
        (lambda c: c.update(h=-6), ["h is -6", "above 0"]),
        (lambda c: c.update(sphere_radius=0), ["sphere_radius is 0", "above 0"]),
        (lambda c: c.update(w=8.5), ["w is 8.5", "whole number"]),
        (lambda c: c.update(sphere_center=[0, 0]), ["sphere_center is [0, 0]", "3 numbers"]),
        (lambda c: c.update(sphere_center=[0, None, 0]), ["sphere_center", "3 numbers"]),
        (lambda c: c.update(frames=[]), ["no frames"]),
        (lambda c: c.update(frames={}), ["frames holds dict"]),
        (lambda c: c["frames"][1].pop("file_path"), ["frame 1 has no file_path"]),
        (lambda c: c["frames"].append(None), ["frame 3 has no file_path"]),
        (lambda c: c["frames"][2].pop("transform_matrix"), ["frame 2 (images/000006.jpg)", "4 x 4"]),
        (lambda c: c["frames"][2]["transform_matrix"].pop(), ["frame 2", "4 x 4", "poses stage"]),
        (lambda c: c["frames"][0]["transform_matrix"][0].pop(), ["frame 0", "4 x 4"]),
        (lambda c: c["frames"][0]["transform_matrix"][1].__setitem__(3, float("nan")), ["frame 0", "finite"]),
        (lambda c: c.update(aabb_range=[[0, 1], [0, 1]]), ["aabb_range is", "[low, high]"]),
    ],
)
def test_a_broken_scene_is_refused(transforms: Path, change: Callable[[dict[str, Any]], Any], words: list[str]) -> None:
    edit(transforms, change)
    assert_refused(lambda: read_scene(transforms), str(transforms), *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, ["no such file", "region stage writes it"]), ("{", ["not valid JSON"]), ("[]", ["lacks fl_x"])],
)
def test_a_file_that_is_no_scene_is_refused(tmp_path: Path, text: str | None, words: list[str]) -> None:
    path = tmp_path / "transforms.json"
    if text is not None:
        path.write_text(text)
    assert_refused(lambda: read_scene(path), str(path), *words)


# --- images.tar -------------------------------------------------------------------------------------------------------


def pack(path: Path, images: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def encode(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def make_pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)


def test_images_come_in_the_order_asked_for(tmp_path: Path) -> None:
    tar = pack(tmp_path / "images.tar", {f"images/{name}": encode(make_pixels(k)) for k, name in enumerate(NAMES)})
    images = read_images(tar, make_scene(), [NAMES[2], NAMES[0]], (8, 6))
    assert images.dtype == np.uint8
    assert np.array_equal(images, [make_pixels(2), make_pixels(0)])


def test_smaller_images_are_means_of_the_pixels(tmp_path: Path) -> None:
    pixels = make_pixels(0)
    tar = pack(tmp_path / "images.tar", {NAMES[0]: encode(pixels)})
    (image,) = read_images(tar, make_scene(), NAMES[:1], (4, 3))
    means = pixels.reshape(3, 2, 4, 2, 3).mean((1, 3))
    assert np.abs(image - means).max() <= 1  # Pillow rounds once for each axis


def test_images_that_do_not_fit_the_scene_are_refused(tmp_path: Path) -> None:
    good = encode(make_pixels(0))

    def refused(images: dict[str, bytes], *words: str) -> None:
        tar = pack(tmp_path / "images.tar", images)
        assert_refused(lambda: read_images(tar, make_scene(), NAMES, (8, 6)), str(tar), *words)

    refused({NAMES[0]: good}, "lacks 2 of the 3", "000003.jpg, 000006.jpg", "transforms.json", "same run")
    refused(dict.fromkeys(NAMES, encode(make_pixels(0)[:5])), "000000.jpg", "8 x 5 px", "8 x 6 px")
    refused({**dict.fromkeys(NAMES, good), NAMES[1]: good[:60]}, "000003.jpg", "cannot be decoded", "poses stage")
    (tmp_path / "images.tar").write_bytes(b"no tar" * 200)
    assert_refused(lambda: read_images(tmp_path / "images.tar", make_scene(), NAMES, (8, 6)), "not a readable tar")
    (tmp_path / "images.tar").unlink()
    assert_refused(lambda: read_images(tmp_path / "images.tar", make_scene(), NAMES, (8, 6)), "poses stage writes it")


# --- points.npz -------------------------------------------------------------------------------------------------------


def make_points(count: int = 5) -> SparsePoints:
    random = np.random.default_rng(0)
    return SparsePoints(
        xyz=random.normal(size=(count, 3)),
        error=random.random(count),
        track=np.full(count, 3, np.int32),
        observers=np.tile(np.array([0, 2, -1], np.int32), (count, 1)),
        subject=np.arange(count) % 2 == 0,
    )


@pytest.mark.parametrize("count", [0, 5])
def test_points_are_read_as_they_were_written(tmp_path: Path, count: int) -> None:
    write_points(tmp_path / "points.npz", make_points(count))
    for written, read in zip(make_points(count), read_points(tmp_path / "points.npz", make_scene()), strict=True):
        assert np.array_equal(written, read) and written.dtype == read.dtype


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"error": np.zeros(4)}, ["one row for each point"]),
        ({"xyz": np.zeros((5, 2))}, ["one row for each point"]),
        ({"xyz": np.float64(0)}, ["one row for each point"]),
        ({"observers": np.zeros(5, np.int32)}, ["one row for each point"]),
        ({"observers": np.full((5, 1), 3)}, ["names frame 3 of 3", "another file than transforms.json"]),
        ({"subject": np.array([{}] * 5, object)}, ["not a readable .npz"]),
    ],
)
def test_points_of_another_scene_are_refused(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    write_points(tmp_path / "points.npz", make_points()._replace(**changes))
    assert_refused(lambda: read_points(tmp_path / "points.npz", make_scene()), "points.npz", "region stage", *words)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", **{k: v for k, v in make_points()._asdict().items() if k != "track"})
    assert_refused(lambda: read_points(tmp_path / "points.npz", make_scene()), "lacks the arrays track")


def spoil(data: bytes, place: int, value: int) -> bytes:
    """The file with one byte of the zip's first directory entry changed."""
    at = data.index(b"PK\1\2") + place
    return data[:at] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:200] + bytes([data[200] ^ 255]) + data[201:],
        lambda data: spoil(data, 8, 1),  # says that it is encrypted
        lambda data: spoil(data, 10, 99),  # says that it is packed in a way that nobody knows
        lambda data: data[data.index(b"\x93NUMPY") : data.index(b"PK\3\4", 1)],  # one array, as .npy
    ],
    ids=["empty", "cut", "flipped", "encrypted", "packed", "npy"],
)
def test_damaged_points_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "points.npz"
    write_points(path, make_points())
    path.write_bytes(damage(path.read_bytes()))
    assert_refused(lambda: read_points(path, make_scene()), str(path), "not a readable .npz", "region stage")


def test_missing_points_are_named(tmp_path: Path) -> None:
    path = tmp_path / "points.npz"
    assert_refused(lambda: read_points(path, make_scene()), str(path), "no such file", "region stage writes it")


# ------------------------------------------------------------------------------------------------- the world's pose


def test_how_the_world_was_turned_and_scaled_is_kept(tmp_path: Path) -> None:
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    scene = dataclasses.replace(make_scene(), applied_transform=turn, applied_scale=0.25, units="m")
    write_scene(tmp_path / "transforms.json", scene, TIMES)
    found = read_scene(tmp_path / "transforms.json")
    assert (found.applied_transform == turn).all() and found.applied_scale == 0.25 and found.units == "m"


def test_a_file_without_them_is_colmaps_world(transforms: Path) -> None:
    edit(transforms, lambda content: [content.pop(key) for key in ("applied_transform", "applied_scale", "units")])
    found = read_scene(transforms)
    assert (found.applied_transform == np.eye(3)).all() and found.applied_scale == 1 and found.units == "arbitrary"
    assert found.masks == [None] * 3


@pytest.mark.parametrize(
    ("key", "value"), [("applied_transform", [[1]]), ("applied_scale", 0), ("applied_scale", "1"), ("units", "feet")]
)
def test_a_wrong_pose_of_the_world_is_named(transforms: Path, key: str, value: Any) -> None:
    edit(transforms, lambda content: content.update({key: value}))
    assert_refused(lambda: read_scene(transforms), str(transforms), key)


# --------------------------------------------------------------------------------------------------------------- masks


def test_masks_are_read_at_another_size_and_images_without_one_are_all_subject(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[:, 4:], mask[3:] = 255, 128
    path = write_pictures(tmp_path / "masks.tar", {"000003.png": mask})
    assert list_masks(path) == ["000003.png"]
    write_scene(
        tmp_path / "transforms.json", dataclasses.replace(make_scene(), masks=[None, "000003.png", None]), TIMES
    )
    scene = read_scene(tmp_path / "transforms.json")
    assert scene.masks == [None, "000003.png", None]
    assert "mask_path" not in json.loads((tmp_path / "transforms.json").read_text())["frames"][0]
    found = read_masks(path, scene, NAMES, (4, 2))
    assert (found[[0, 2]] == 255).all() and found[1].tolist() == [[0, 0, 255, 255], [128] * 4]


def test_a_pixel_whose_parts_differ_is_unknown_if_masks_are_to_be_pure(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[:, 3:], mask[4:] = 255, 128
    path = write_pictures(tmp_path / "masks.tar", {"000003.png": mask})
    scene = dataclasses.replace(make_scene(), masks=[None, "000003.png", None])
    found = read_masks(path, scene, NAMES, (4, 3), pure=True)
    assert found[1].tolist() == [[0, 128, 255, 255], [0, 128, 255, 255], [128] * 4]
    assert (read_masks(path, scene, NAMES, (8, 6), pure=True)[1] == mask).all()
    assert find_masked(found).tolist() == [False, True, False]


def test_wrong_masks_are_named(tmp_path: Path) -> None:
    scene = dataclasses.replace(make_scene(), masks=[None, "000003.png", None])
    assert_refused(lambda: read_masks(tmp_path / "masks.tar", scene, NAMES, (8, 6)), "masks.tar", "no such file")
    path = write_pictures(tmp_path / "masks.tar", {"000000.png": np.zeros((6, 8), np.uint8)})
    assert_refused(lambda: read_masks(path, scene, NAMES, (8, 6)), "masks.tar", "lacks 000003.png")
    path = write_pictures(tmp_path / "masks.tar", {"000003.png": np.zeros((8, 6), np.uint8)})
    assert_refused(lambda: read_masks(path, scene, NAMES, (8, 6)), "000003.png", "6 x 8 px", "8 x 6 px")
    path.write_text("no tar")
    assert_refused(lambda: read_masks(path, scene, NAMES, (8, 6)), "masks.tar", "not a readable tar")
