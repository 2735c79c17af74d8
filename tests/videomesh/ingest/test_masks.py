"""Masks on arrival: all in one form, like the photo's pixels, white where the subject is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from captures import HEIGHT, WIDTH, Stored, get_exif, mask, picture, save, write, write_masks
from ingest_program import fetch, refuse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


def differ(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float((np.asarray(one) != np.asarray(other)).mean())


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_transparency_is_a_mask(folder: Path, photos: Path, suffix: str) -> None:
    for number in range(3):
        image = picture(number)
        image.putalpha(mask(number))
        save(image, folder / f"{number}{suffix}", **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    save(picture(7).convert("RGBA"), folder / "whole.png")
    assert "3 of 4 photos have one" in fetch(folder, photos)
    stored = Stored(photos)
    assert list(stored.masks) == [f"{number}{suffix}" for number in range(3)]
    assert differ(stored.masks[f"2{suffix}"], mask(2)) == 0
    fetch(folder, photos, "--masks=ignore")
    assert not Stored(photos).masks


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("upright", [True, False])
def test_a_mask_may_be_upright_or_as_the_pixels_are(
    folder: Path, photos: Path, orientation: int, upright: bool
) -> None:
    """Programs that know EXIF make upright masks. Where both would fit, it is as the pixels are."""
    exif = get_exif(orientation)
    write(folder, "images/{:d}.jpg", 3, exif=exif)
    for number in range(3):
        image = mask(number)
        if upright and orientation >= 5:
            encoded = save(image, folder.parent / "turned.png", exif=exif)
            image = ImageOps.exif_transpose(Image.open(encoded))
            image.info.clear()
        save(image, folder / "masks" / f"{number}.png")
    fetch(folder, photos)
    for number, stored in enumerate(Stored(photos).masks.values()):
        assert differ(stored, mask(number)) == 0


def test_a_mask_that_says_itself_how_it_is_turned(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", 3, exif=get_exif(8))
    write_masks(folder, "masks/{:d}.png", 3, exif=get_exif(8))
    fetch(folder, photos)
    assert differ(Stored(photos).masks["1.jpg"], mask(1)) == 0


def test_a_smaller_mask_is_enlarged_and_one_of_another_shape_is_named(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", 3)
    for number in range(3):
        save(mask(number, (WIDTH // 2, HEIGHT // 2)), folder / "masks" / f"{number}.png")
    fetch(folder, photos)
    assert differ(Stored(photos).masks["1.jpg"], mask(1)) < 0.03
    save(mask(0, (90, 90)), folder / "masks" / "1.png")
    photos.unlink()
    says = ["masks/1.png has 90 x 90 pixels", "images/1.jpg has 96 x 72", "masks: ignore"]
    refuse(folder, photos, says)


def test_photos_without_a_mask_stay_and_those_with_an_empty_one_go(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", 6)
    write_masks(folder, "masks/{:d}.png", 5)
    save(Image.new("L", (WIDTH, HEIGHT)), folder / "masks" / "3.png")
    said = fetch(folder, photos)
    stored = Stored(photos)
    assert stored.photos == [f"{number}.jpg" for number in (0, 1, 2, 4, 5)]
    assert list(stored.masks) == [f"{number}.jpg" for number in (0, 1, 2, 4)]
    assert "1 photo whose mask is empty (black) (images/3.jpg)" in said and "4 of 5 photos have one" in said


def test_masks_that_are_all_black_are_refused(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", 4)
    write_masks(folder, "masks/{:d}.png", 4)
    for number in range(4):
        save(picture(number).point(lambda value: 0), folder / "masks" / f"{number}.png")
    refuse(folder, photos, ["the masks of 4 photos are all black", "the subject must be white"])


def test_which_colour_is_the_subject_is_not_guessed_but_said(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", 3)
    for number in range(3):
        save(ImageOps.invert(mask(number)), folder / "masks" / f"{number}.png")
    said = fetch(folder, photos)
    assert "the subject (white) covers 81% of them. Nearly all of their border is white: if white is the" in said
    assert differ(Stored(photos).masks["1.jpg"], ImageOps.invert(mask(1))) == 0


def test_a_folder_of_masks_that_a_setting_names(folder: Path, photos: Path, tmp_path: Path) -> None:
    write(folder, "IMG_{:d}.jpg", 4)
    write_masks(tmp_path / "elsewhere", "IMG_{:d}.png", 3)
    fetch(folder, photos, f"--masks={tmp_path / 'elsewhere'}")
    assert list(Stored(photos).masks) == [f"IMG_{number}.jpg" for number in range(3)]
    write_masks(tmp_path / "wrong", "other_{:d}x.png", 1)
    photos.unlink()
    says = ["no picture in it is called like a photo, such as IMG_0.jpg", "masks: ignore"]
    refuse(folder, photos, says, f"--masks={tmp_path / 'wrong'}")
    refuse(folder, photos, ["nowhere: no such file or folder"], f"--masks={tmp_path / 'nowhere'}")


def test_masks_that_are_ignored_are_no_photos_either(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", 3)
    write_masks(folder, "masks/{:d}.png", 3)
    assert "left out: 3 masks (not used)" in fetch(folder, photos, "--masks=ignore")
    assert (len(Stored(photos).photos), Stored(photos).masks) == (3, {})


def test_pictures_that_are_called_masks_but_are_none(folder: Path, photos: Path) -> None:
    write(folder, "images/{:d}.jpg", 3)
    write(folder, "masked/{:d}.jpg", 3, first=20)
    write(folder, "mask/{:d}.jpg", 3, first=20)
    said = fetch(folder, photos)
    assert "3 pictures called masks that do not look like masks (mask/0.jpg" in said
    assert not Stored(photos).masks
