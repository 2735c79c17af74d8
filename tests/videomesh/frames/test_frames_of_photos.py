"""How photos become frames, and what is said of bad ones."""

import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import media
from frames_program import keep, numbers, refuse


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
