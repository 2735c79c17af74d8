"""Files that stand for another photo: each layout gives its photos once, and says what it left out."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from captures import HEIGHT, WIDTH, Stored, get_exif, make_dng, mask, picture, save, write, write_masks
from ingest_program import fetch, refuse
from videomesh.ingest.listing import make_singular

pillow_heif.register_heif_opener()
COUNT = 6
USED = {"masks (used)": COUNT}


def beside(folder: Path, photos: str, masks: str) -> None:
    write(folder, photos)
    write_masks(folder, masks)


def in_one_folder(folder: Path) -> None:
    beside(folder, "{:03d}.jpg", "{:03d}.png")


def neus_of_dtu(folder: Path) -> None:
    """Photos have six digits, masks three."""
    beside(folder, "image/{:06d}.png", "mask/{:03d}.png")
    (folder / "cameras_sphere.npz").write_bytes(b"numpy")


def rig_with_masks(folder: Path) -> None:
    """Cameras of a rig number their photos alike."""
    for camera in range(2):
        write(folder, f"images/cam{camera}/{{:04d}}.jpg", 3, first=10 * camera)
        write_masks(folder, f"masks/cam{camera}/{{:04d}}.png", 3)


def masks_inside_each_camera(folder: Path) -> None:
    for camera in range(2):
        write(folder, f"cam{camera}/rgb/{{:04d}}.jpg", 3, first=10 * camera)
        write_masks(folder, f"cam{camera}/mask/{{:04d}}.png", 3)


def labels(folder: Path) -> None:
    """Masks that hold 0 and 1, in which a person sees only black."""
    write(folder, "images/{:03d}.jpg")
    for number in range(COUNT):
        save(mask(number).point(lambda value: value // 255), folder / "segmentation" / f"{number:03d}.png")


def colours(folder: Path) -> None:
    """Masks of video segmentation: a palette in which the first thing is dark red."""
    write(folder, "images/{:03d}.jpg")
    for number in range(COUNT):
        indexed = mask(number).point(lambda value: value // 255).convert("P")
        indexed.putpalette([0, 0, 0, 128, 0, 0])
        save(indexed, folder / "annotations_masks" / f"{number:03d}.png")


def silhouettes_of_another_name(folder: Path) -> None:
    beside(folder, "shots/{:03d}.jpg", "cutouts/{:03d}.png")


MASKED: dict[str, Callable[[Path], None]] = {
    "neus": lambda folder: beside(folder, "image/{:03d}.png", "mask/{:03d}.png"),
    "neus-dtu": neus_of_dtu,
    "nerfstudio": lambda folder: beside(folder, "images/{:04d}.jpg", "masks/{:04d}.jpg.png"),
    "opendronemap": lambda folder: beside(folder, "DJI_{:04d}.JPG", "DJI_{:04d}_mask.JPG"),
    "metashape": lambda folder: beside(folder, "a/IMG_{:04d}.jpg", "a/IMG_{:04d}.mask.png"),
    "colmap": lambda folder: beside(folder, "photos/P{:d}.jpeg", "photos_masks/P{:d}.jpeg.png"),
    "before": lambda folder: beside(folder, "{:d}.png", "masks/mask_{:d}.png"),
    "sam": lambda folder: beside(folder, "images/{:d}.png", "sam/{:d}_mask_0.png"),
    "one folder": in_one_folder,
    "rig": rig_with_masks,
    "rig inside": masks_inside_each_camera,
    "labels": labels,
    "colours": colours,
    "other name": silhouettes_of_another_name,
}


@pytest.mark.parametrize("layout", MASKED)
def test_masks_are_used_and_are_no_photos(layout: str, tmp_path: Path, photos: Path) -> None:
    MASKED[layout](tmp_path / "folder")
    said = fetch(tmp_path / "folder", photos)
    stored = Stored(photos)
    assert len(stored.photos) == COUNT and "left out: 6 masks (used)" in said
    assert "6 of 6 photos have one; the subject (white) covers 19% of them" in said
    assert sorted(stored.masks) == sorted(stored.photos)
    for number, image in enumerate(stored.masks.values()):
        assert (image.mode, image.size, set(np.unique(image))) == ("L", (WIDTH, HEIGHT), {0, 255})
        expected = np.asarray(mask(number % 3 if "rig" in layout else number))
        assert (np.asarray(image) != expected).mean() < 0.01


def heic_and_jpeg(folder: Path) -> dict[str, int]:
    write(folder, "IMG_{:04d}.HEIC")
    write(folder, "IMG_{:04d}.JPG")
    return {".heic files of shots that are there as .jpg too": 6}


def iphone_edits(folder: Path) -> dict[str, int]:
    write(folder, "IMG_{:04d}.JPG")
    for number in (2, 4):
        save(ImageOps.grayscale(picture(number)), folder / f"IMG_E{number:04d}.JPG")
    (folder / "IMG_0002.AAE").write_text("<plist/>")
    return {"edited versions of photos": 2, ".aae": 1}


def other_edits(folder: Path) -> dict[str, int]:
    write(folder, "PXL_{:d}.jpg")
    save(picture(20), folder / "PXL_1-edited.jpg")
    save(picture(20), folder / "PXL_2~2.jpg")
    save(picture(20), folder / "PXL_3-bearbeitet.jpg")
    return {"edited versions of photos": 3}


def pyramid(folder: Path) -> dict[str, int]:
    """LLFF renames the smaller photos."""
    write(folder, "images/IMG_{:d}.jpg")
    for factor in (2, 4, 8):
        for number in range(COUNT):
            size = (WIDTH // factor, HEIGHT // factor)
            save(picture(number, size), folder / f"images_{factor}" / f"image{number:03d}.png")
    (folder / "poses_bounds.npy").write_bytes(b"numpy")
    return {"smaller versions of photos": 18, ".npy": 1}


def only_smaller_levels(folder: Path) -> dict[str, int]:
    for factor in (2, 4):
        for number in range(COUNT):
            size = (2 * WIDTH // factor, 2 * HEIGHT // factor)
            save(picture(number, size), folder / f"images_{factor}" / f"{number:03d}.png")
    return {"smaller versions of photos": 6}


def depth_and_normals(folder: Path) -> dict[str, int]:
    write(folder, "rgb/{:d}.jpg")
    for number in range(COUNT):
        depth = np.asarray(ImageOps.grayscale(picture(number))).astype(np.uint16) * 100
        save(Image.fromarray(depth), folder / "depth" / f"{number}.png")
        save(picture(number + 50), folder / "normal" / f"{number}.png")
        save(ImageOps.grayscale(picture(number)), folder / "confidence" / f"{number}.png")
    return {"pictures of depth, normals and the like": 18}


def rendered_depth(folder: Path) -> dict[str, int]:
    write(folder, "test/r_{:d}.png")
    write(folder, "test/r_{:d}_depth_0001.png", first=20)
    write(folder, "test/r_{:d}_normal_0001.png", first=40)
    return {"pictures of depth, normals and the like": 12}


def raw_and_jpeg(folder: Path) -> dict[str, int]:
    write(folder, "DSC_{:04d}.JPG")
    for number in range(COUNT):
        (folder / f"DSC_{number:04d}.NEF").write_bytes(b"raw")
    return {"RAW files beside photos of the same name": 6}


def raw_in_a_folder_of_its_own(folder: Path) -> dict[str, int]:
    write(folder, "jpg/DSC_{:04d}.JPG")
    (folder / "raw").mkdir()
    for number in range(COUNT):
        (folder / "raw" / f"DSC_{number:04d}.CR2").write_bytes(b"raw")
    return {"RAW files beside photos of the same name": 6}


def converted_in_another_folder(folder: Path) -> dict[str, int]:
    for number in range(COUNT):
        save(picture(number, (4 * WIDTH, 4 * HEIGHT)), folder / "originals" / f"{number}.jpg")
        save(picture(number), folder / "for the web" / f"{number}.jpg")
    return {"other versions of photos": 6}


def thumbnails(folder: Path) -> dict[str, int]:
    write(folder, "IMG_{:d}.jpg")
    for number in range(COUNT):
        save(picture(number, (24, 18)), folder / f"IMG_{number}_thumb.jpg")
        save(picture(number, (48, 36)), folder / f"IMG_{number}-48x36.jpg")
        save(picture(number, (24, 18)), folder / "thumbnails" / f"IMG_{number}.jpg")
    return {"small previews": 12, "smaller versions of photos": 6}


def downloaded_twice(folder: Path) -> dict[str, int]:
    write(folder, "IMG_{:d}.jpg")
    shutil.copy(folder / "IMG_2.jpg", folder / "IMG_2 (1).jpg")
    shutil.copy(folder / "IMG_3.jpg", folder / "IMG_3 copy.jpg")
    return {"copies of other photos": 2}


def other_files(folder: Path) -> dict[str, int]:
    write(folder, "{:d}.jpg")
    for name in ("Thumbs.db", "notes.txt", "a.mov", "b.mov"):
        (folder / name).write_bytes(b"content")
    return {".mov": 2, ".db": 1, ".txt": 1}


def a_folder_called_masks(folder: Path) -> dict[str, int]:
    """Photos of carnival masks."""
    write(folder, "masks/mask_{:d}.jpg")
    return {}


def a_rig(folder: Path) -> dict[str, int]:
    """Folders cam_2 and cam_4 hold other photos, not smaller ones."""
    for camera in (2, 4):
        write(folder, f"cam_{camera}/{{:d}}.jpg", 3, first=10 * camera)
    return {}


def a_stereo_camera(folder: Path) -> dict[str, int]:
    """Its two eyes see nearly the same, under the same names."""
    for eye, left in (("left", 0), ("right", 8)):
        for number in range(3):
            wide = picture(number, (2 * WIDTH, 2 * HEIGHT))
            save(wide.crop((left, 0, left + WIDTH, HEIGHT)), folder / eye / f"{number}.png")
    return {}


def suffixes(folder: Path) -> dict[str, int]:
    kinds = (".jfif", ".jpe", ".bmp", ".jp2", ".ppm", ".tga")
    for number, suffix in enumerate(kinds):
        save(picture(number), folder / f"{number}{suffix}")
    return {}


def a_link_and_a_loop(folder: Path) -> dict[str, int]:
    write(folder, "cam0/a{:d}.png", 3)
    write(folder.parent / "elsewhere", "b{:d}.png", 3, first=10)
    os.symlink("../../elsewhere", folder / "cam0" / "cam1")
    os.symlink("..", folder / "cam0" / "up")
    os.symlink("nowhere", folder / "broken")
    return {}


OTHERS: list[Callable[[Path], dict[str, int]]] = [
    *(heic_and_jpeg, iphone_edits, other_edits, pyramid, only_smaller_levels, depth_and_normals, rendered_depth),
    *(raw_and_jpeg, raw_in_a_folder_of_its_own, converted_in_another_folder, thumbnails, downloaded_twice),
    *(other_files, a_folder_called_masks, a_rig, a_stereo_camera, suffixes, a_link_and_a_loop),
]


@pytest.mark.parametrize("layout", OTHERS, ids=[layout.__name__ for layout in OTHERS])
def test_each_photo_is_taken_once(layout: Callable[[Path], dict[str, int]], tmp_path: Path, photos: Path) -> None:
    expected = layout(tmp_path / "folder")
    said = fetch(tmp_path / "folder", photos)
    stored = Stored(photos)
    assert stored.left_out == expected, said
    assert len(stored.photos) == COUNT, said
    largest = 4 * WIDTH if layout is converted_in_another_folder else WIDTH
    assert {stored.open(name).size[0] for name in stored.photos} == {largest}
    for reason, count in expected.items():
        assert f"{count} {reason if count > 1 else make_singular(reason)}" in said


def test_what_others_may_be_unable_to_read_becomes_jpeg(tmp_path: Path, photos: Path) -> None:
    write(tmp_path / "folder", "{:d}.heic", 2, exif=get_exif(model="Phone", focal=4.2))
    write(tmp_path / "folder", "a{:d}.avif", 2, first=5)
    fetch(tmp_path / "folder", photos)
    stored = Stored(photos)
    assert stored.photos == ["0.heic.jpg", "1.heic.jpg", "a0.avif.jpg", "a1.avif.jpg"]
    image = stored.open("0.heic.jpg")
    assert (image.format, image.getexif()[0x0110], image.getexif().get_ifd(0x8769)[0x920A]) == ("JPEG", "Phone", 4.2)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(picture(0))).mean() < 6  # 4:2:0


def test_raw_photos_are_developed(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "folder").mkdir()
    for number in range(3):
        gray = ImageOps.grayscale(picture(number))
        data = make_dng(np.asarray(gray).astype(np.uint16) * 200, flip=6)
        (tmp_path / "folder" / f"{number}.DNG").write_bytes(data)
    fetch(tmp_path / "folder", photos)
    stored = Stored(photos)
    assert stored.photos == [f"{number}.DNG.jpg" for number in range(3)]
    image = stored.open("1.DNG.jpg")
    assert (image.size, image.getexif()[0x0112], image.getexif()[0x0110]) == ((WIDTH, HEIGHT), 6, "RAW")
    values = [np.asarray(one.convert("L")).ravel() for one in (image, picture(1))]
    assert np.corrcoef(*values)[0, 1] > 0.9


def test_without_rawpy_raw_photos_are_left_out_and_named(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rawpy", None)
    write(tmp_path / "folder", "{:d}.jpg", 3)
    (tmp_path / "folder" / "x.cr2").write_bytes(b"raw")
    (tmp_path / "folder" / "1.cr2").write_bytes(b"raw")
    said = fetch(tmp_path / "folder", photos)
    assert "1 RAW file beside photos of the same name (1.cr2), 1 RAW file (install rawpy to use them) (x.cr2)" in said
    assert Stored(photos).left_out == {
        "RAW files beside photos of the same name": 1,
        "RAW files (install rawpy to use them)": 1,
    }


def spherical(number: int, tagged: bool) -> Image.Image:
    """Its left and right edge meet, and its first and last row are one colour each."""
    wide = picture(number, (512, 512)).transpose(Image.Transpose.ROTATE_90)
    both = Image.new("RGB", (1024, 512))
    both.paste(wide, (0, 0))
    both.paste(ImageOps.mirror(wide), (512, 0))
    rows = np.asarray(both).astype(float)
    fade = np.abs(np.linspace(-1, 1, 512))[:, None, None] ** 8
    return Image.fromarray((rows * (1 - fade) + rows.mean((0, 1)) * fade).astype(np.uint8)) if not tagged else both


def test_360_degree_photos_are_refused_in_one_line(tmp_path: Path, photos: Path) -> None:
    tag = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" GPano:ProjectionType="equirectangular"/>'
    for number in range(3):
        save(spherical(number, tagged=False), tmp_path / "plain" / f"{number}.jpg")
        save(picture(number, (200, 100)), tmp_path / "tagged" / f"{number}.jpg", xmp=tag)
        save(picture(number, (1024, 512)), tmp_path / "wide" / f"{number}.jpg")
    for folder in ("plain", "tagged"):
        says = ["3 of 3 photos, such as 0.jpg, show 360 degrees (equirectangular)", "v360=e:flat", "name the folder"]
        refuse(tmp_path / folder, photos, says)
    fetch(tmp_path / "wide", photos)
    assert len(Stored(photos).photos) == 3


def test_one_360_degree_photo_among_others_is_left_out(tmp_path: Path, photos: Path) -> None:
    write(tmp_path / "folder", "{:d}.jpg", 4)
    save(spherical(9, tagged=False), tmp_path / "folder" / "round.jpg")
    assert "left out: 1 360 degree photo (round.jpg)" in fetch(tmp_path / "folder", photos)
