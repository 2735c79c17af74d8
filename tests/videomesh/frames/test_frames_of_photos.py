"""How photos become frames, and what is said of bad ones."""

import json
import shutil
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import captures
import media
from frames_program import keep, numbers, read_masks, refuse
from ingest_program import fetch


def pack(folder: Path) -> Path:
    """The photos of a folder as ingest hands them over."""
    path = folder.parent / "scene.images.tar"
    with tarfile.open(path, "w") as tar:
        for photo in sorted(folder.iterdir()):
            tar.add(photo, photo.name)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return media.write_photos(tmp_path / "photos", 21)


def test_all_photos_are_kept_in_natural_order(photos: Path) -> None:
    summary, pictures = keep(pack(photos), "--downsample=4")
    assert numbers(pictures) == list(range(21))
    assert [frame["source"] for frame in summary["frames"]] == [f"IMG_{n}.jpg" for n in range(21)]
    assert [frame["name"] for frame in summary["frames"]] == [f"{n:06d}.jpg" for n in range(21)]
    assert summary["source"] == "photos" and summary["duration"] is None and summary["source_frames"] == 21
    assert all(frame["time"] is None and frame["sharpness"] > 0 for frame in summary["frames"])


def test_exif_orientation_is_applied(photos: Path) -> None:
    for n in range(21):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned 90 degrees clockwise
        image = Image.fromarray(np.rot90(media.picture(n)).copy())
        image.save(photos / f"IMG_{n}.jpg", quality=95, exif=exif)
    summary, pictures = keep(pack(photos))
    assert (summary["width"], summary["height"]) == (media.WIDTH, media.HEIGHT)
    assert numbers(pictures) == list(range(21))


def test_kinds_of_photos(photos: Path) -> None:
    """PNG, WebP, TIFF, palette, gray, 16 bits, opaque alpha: all give the picture that a viewer shows."""
    for n in range(7):
        (photos / f"IMG_{n}.jpg").unlink()
    image = [Image.fromarray(media.picture(n)) for n in range(7)]
    image[0].save(photos / "IMG_0.png")
    image[1].save(photos / "IMG_1.webp", lossless=True)
    image[2].save(photos / "IMG_2.TIFF")
    image[3].convert("L").quantize(256).save(photos / "IMG_3.png")
    image[4].convert("L").save(photos / "IMG_4.jpeg", quality=95)
    Image.fromarray(np.asarray(image[5].convert("L")).astype(np.uint16) * 257).save(photos / "IMG_5.png")
    image[6].convert("RGBA").save(photos / "IMG_6.png")
    _, pictures = keep(pack(photos))
    assert numbers(pictures) == list(range(21))
    for n, frame in enumerate(pictures.values()):
        expected = np.asarray(Image.fromarray(media.picture(n)).convert("L")).astype(int)
        difference = np.asarray(frame.convert("L")) - expected
        assert np.abs(difference).mean() < 4, n


def test_heic_photos(photos: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Image.fromarray(media.picture(0)).save(photos / "IMG_0.heic", quality=95)
    (photos / "IMG_0.jpg").unlink()
    _, pictures = keep(pack(photos))
    assert numbers(pictures) == list(range(21))


def test_heic_photos_without_the_library(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()  # what Pillow loads only later would be forgotten with the changes below
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # an import of it fails
    for kind in ("HEIF", "AVIF"):  # another test may have taught Pillow to read these
        monkeypatch.delitem(Image.OPEN, kind, raising=False)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind in Image.OPEN])
    (photos / "IMG_3.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    refuse(pack(photos), says=["IMG_3.jpg: a HEIC photo", "pip install pillow-heif"])


def test_colour_profiles_are_converted(photos: Path) -> None:
    """A red photo whose profile calls blue "red" is shown blue. A broken profile is ignored, as viewers do."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")
    red = Image.new("RGB", (media.WIDTH, media.HEIGHT), (200, 30, 30))
    red.save(photos / "IMG_0.jpg", quality=95, icc_profile=swapped)
    red.save(photos / "IMG_1.jpg", quality=95, icc_profile=b"broken")
    _, pictures = keep(pack(photos))
    assert pictures["000000.jpg"].getpixel((20, 40)) == pytest.approx((30, 30, 200), abs=6)
    assert pictures["000001.jpg"].getpixel((20, 40)) == pytest.approx((200, 30, 30), abs=6)


def test_the_colours_below_transparent_pixels_stay(photos: Path) -> None:
    image = Image.fromarray(media.picture(7)).convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.uint8([0, 255]), (media.HEIGHT, media.WIDTH // 2))))
    image.save(photos / "IMG_7.png")
    (photos / "IMG_7.jpg").unlink()
    _, pictures = keep(pack(photos))
    assert numbers(pictures) == list(range(21))


def test_damaged_photos_are_left_out_and_many_named_all_at_once(photos: Path) -> None:
    whole = (photos / "IMG_4.jpg").read_bytes()
    (photos / "IMG_4.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "IMG_9.jpg").write_bytes(b"no photo")
    summary, pictures = keep(pack(photos))
    assert numbers(pictures) == [n for n in range(21) if n not in (4, 9)]
    assert summary["left_out"] == [{"reason": "damaged photos", "count": 2, "names": ["IMG_4.jpg", "IMG_9.jpg"]}]
    Image.new("L", (10, 10)).save(photos / "IMG_2.jpg")
    shutil.rmtree(photos.parent / "out")
    says = ["3 of 21 photos", "IMG_4.jpg: the photo is damaged", "IMG_9.jpg: not a photo", "IMG_2.jpg: 10 x 10 pixels"]
    refuse(pack(photos), says=says)


def test_other_tars_are_refused(tmp_path: Path, photos: Path) -> None:
    wrong = tmp_path / "scene.images.tar"
    wrong.write_text("no tar, but long enough to be looked at")
    refuse(wrong, says=["not an uncompressed tar", "ingest"])
    with tarfile.open(wrong, "w"):
        pass
    refuse(wrong, says=["no photos in it"])
    for n in range(19):
        (photos / f"IMG_{n}.jpg").unlink()
    refuse(pack(photos), says=["only 2 of 2", "take more photos"])


# --- cameras, turns, masks, poses -------------------------------------------------------------------------------------


def pack_folder(folder: Path, tmp_path: Path, *options: str) -> Path:
    """The photos of a folder as ingest packs them."""
    output = tmp_path / "ingested" / "photos.tar"
    fetch(folder, output, *options)
    return output


def get_cameras(summary: dict) -> list[tuple[int, int, int]]:
    """Width, height, number of frames."""
    counts = Counter(frame["camera"] for frame in summary["frames"])
    return [(camera["width"], camera["height"], counts[k]) for k, camera in enumerate(summary["cameras"])]


def same(one: Image.Image, other: Image.Image) -> bool:
    return np.abs(np.asarray(one.convert("RGB")).astype(int) - np.asarray(other.convert("RGB"))).mean() < 6


def test_a_camera_held_both_ways_is_one_camera_as_its_sensor_sees(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for number, orientation in enumerate((1, 6, 8, 3, 1, 1)):
        exif = captures.get_exif(orientation, "Phone", 4.2)
        captures.save(captures.picture(number), folder / "images" / f"{number}.jpg", exif=exif)
        captures.save(captures.mask(number), folder / "masks" / f"{number}.png")
    footage = pack_folder(folder, tmp_path)
    summary, pictures = keep(footage)
    assert get_cameras(summary) == [(96, 72, 6)]
    assert [frame["turned"] for frame in summary["frames"]] == [0, 270, 90, 180, 0, 0]
    masks = read_masks(footage)
    for number, (name, image) in enumerate(pictures.items()):
        assert same(image, captures.picture(number))
        assert np.array_equal(masks[name.replace(".jpg", ".png")], captures.mask(number))


def test_photos_that_lie_on_their_side_without_exif_are_turned(tmp_path: Path) -> None:
    """The fewer ones. Their masks turn with them."""
    folder = tmp_path / "photos"
    for number in range(5):
        image, mask = captures.picture(number), captures.mask(number)
        if number in (1, 3):
            image, mask = image.rotate(90, expand=True), mask.rotate(90, expand=True)
        captures.save(image, folder / "images" / f"{number}.jpg")
        captures.save(mask, folder / "masks" / f"{number}.png")
    footage = pack_folder(folder, tmp_path)
    summary, pictures = keep(footage)
    assert get_cameras(summary) == [(96, 72, 5)]
    assert [frame["turned"] for frame in summary["frames"]] == [0, 90, 0, 90, 0]
    masks = read_masks(footage)
    for number, (name, image) in enumerate(pictures.items()):
        assert same(image, captures.picture(number))
        assert np.array_equal(masks[name.replace(".jpg", ".png")], captures.mask(number))


def test_photos_of_one_camera_held_one_way_stay_upright(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    captures.write(folder, "{:d}.jpg", 4, exif=captures.get_exif(6, "Phone"))
    summary, _ = keep(pack_folder(folder, tmp_path))
    assert get_cameras(summary) == [(72, 96, 4)]
    assert {frame["turned"] for frame in summary["frames"]} == {0}


def test_sizes_zooms_and_phones_are_cameras_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    captures.write(folder, "a{:d}.jpg", 4, exif=captures.get_exif(1, "Phone", 4.2))
    captures.write(folder, "b{:d}.jpg", 3, first=10, exif=captures.get_exif(1, "Phone", 1.5))
    captures.write(folder, "c{:d}.jpg", 2, first=20, exif=captures.get_exif(1, "Camera", 4.2))
    captures.save(captures.picture(30, (120, 60)), folder / "panorama.jpg")
    summary, _ = keep(pack_folder(folder, tmp_path), "--max-size=80")
    assert get_cameras(summary) == [(80, 60, 4), (80, 60, 3), (80, 60, 2), (80, 40, 1)]
    assert [frame["source"][0] for frame in summary["frames"] if frame["camera"] == 1] == ["b"] * 3
    assert [camera["given"] for camera in summary["cameras"]] == [None] * 4
    assert (summary["metric"], summary["rejected"], summary["left_out"]) == (False, [], [])


def write_poses(folder: Path, count: int, **keys: Any) -> None:
    frames = [
        {"file_path": f"images/{number}.jpg", "transform_matrix": np.diag([1, -1, -1, 1]).tolist()}
        for number in range(count)
    ]
    (folder / "transforms.json").write_text(json.dumps({"units": "m", **keys, "frames": frames}))


def test_given_poses_and_their_camera_at_the_size_of_the_frames(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    captures.write(folder, "images/{:d}.jpg", 4)
    write_poses(folder, 3, fl_x=90, cx=40, cy=30, k1=0.1, w=96, h=72)
    summary, _ = keep(pack_folder(folder, tmp_path), "--max-size=48")
    (camera,) = summary["cameras"]  # the photo without a pose was taken by the same
    assert camera == {
        "width": 48,
        "height": 36,
        "given": {"model": "OPENCV", "params": pytest.approx([45, 45, 20, 15, 0.1, 0, 0, 0])},
    }
    assert [frame["given"] for frame in summary["frames"]] == [np.eye(4).tolist()] * 3 + [None]
    assert summary["metric"] is True


@pytest.mark.parametrize("upright", [True, False])
def test_given_poses_are_for_the_upright_photo_or_its_pixels(tmp_path: Path, upright: bool) -> None:
    """The size of the camera tells which; the frame is stored that way, and its pose stays as it is."""
    folder = tmp_path / "photos"
    captures.write(folder, "images/{:d}.jpg", 3, exif=captures.get_exif(6))
    width, height = (72, 96) if upright else (96, 72)
    write_poses(folder, 3, fl_x=90, w=width, h=height)
    summary, pictures = keep(pack_folder(folder, tmp_path))
    assert get_cameras(summary) == [(width, height, 3)]
    assert summary["cameras"][0]["given"]["params"] == [90, 90, width / 2, height / 2]
    assert [frame["turned"] for frame in summary["frames"]] == [0 if upright else 270] * 3
    expected = captures.picture(1).rotate(-90, expand=True) if upright else captures.picture(1)
    assert same(pictures["000001.jpg"], expected)


def test_damage_found_by_ingest_is_told_with_that_found_later(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    captures.write(folder, "{:02d}.jpg", 30)
    (folder / "03.jpg").write_bytes(b"nothing")
    half = (folder / "07.jpg").read_bytes()
    (folder / "07.jpg").write_bytes(half[: len(half) // 2])
    summary, _ = keep(pack_folder(folder, tmp_path))
    assert summary["left_out"] == [{"reason": "damaged photos", "count": 2, "names": ["03.jpg", "07.jpg"]}]
    assert len(summary["frames"]) == 28 and summary["source_frames"] == 29
    for number in (11, 12):
        (folder / f"{number}.jpg").write_bytes(half[: len(half) // 2])
    says = ["4 of 30 photos cannot be used: 1 that ingest has left out", "07.jpg: ", "11.jpg: ", "12.jpg: "]
    refuse(pack_folder(folder, tmp_path / "again"), says=says)
