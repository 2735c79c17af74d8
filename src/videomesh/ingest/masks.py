"""Masks in one form: as large as the photo's pixels, 255 where the subject is, 0 elsewhere."""

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageOps

from videomesh.errors import UserError
from videomesh.frames.opening import DamagedPhoto, get_orientation, open_photo
from videomesh.ingest.pictures import DAMAGE, Picture, has_alpha, may_have_alpha, to_8_bits

SAME_ASPECT = 0.02  # relative difference of width / height that is only rounding of a smaller mask
ALPHA_SUFFIXES = (".avif", ".gif", ".jp2", ".png", ".tga", ".tif", ".tiff", ".webp")
OUTLINE = 0.95  # share of the border of a picture: a mask that is white there is probably meant the other way round


def read_mask(mask: Picture, photo: Picture) -> Image.Image:
    """The mask of a photo, for its pixels before EXIF turns them. UserError if it has another shape."""
    image = load(mask, "mask")
    turned = get_orientation(image) != 1
    if turned:
        image = ImageOps.exif_transpose(image)
    pixels = binarise(image)
    # Most programs know nothing of EXIF, so a mask is usually as the photo's pixels are.
    if not turned and same_shape(pixels.size, photo.size):
        return resize(pixels, photo.size)
    if same_shape(pixels.size, photo.upright_size):
        return resize(undo_orientation(pixels, photo.orientation), photo.size)
    raise UserError(
        f"the mask {mask.path} has {image.width} x {image.height} pixels, but its photo {photo.path} has "
        f"{photo.size[0]} x {photo.size[1]}, another shape; make it again from this photo, or set masks: ignore"
    )


def read_alpha(photo: Picture) -> Image.Image | None:
    """The mask that is the photo's own transparency; None if it has none."""
    if photo.file.suffix not in ALPHA_SUFFIXES:
        return None
    image = load(photo, "photo")
    return binarise(image) if has_alpha(image) else None


def load(picture: Picture, what: str) -> Image.Image:
    """Its pixels, unless they cannot matter: a photo without transparency. Raises DamagedPhoto."""
    try:
        with picture.file.open() as file:
            image = open_photo(file, picture.path)
            if what == "mask" or may_have_alpha(image):
                image.load()
            return image
    except DAMAGE as error:
        raise DamagedPhoto(f"{picture.path}: the {what} is damaged ({error})")


def binarise(image: Image.Image) -> Image.Image:
    """8-bit L, 255 or 0: what is not transparent, or else what has at least half of the brightest value.

    Masks come as 0 and 255, as 0 and 1, or with one colour for each thing.
    """
    if has_alpha(image):
        subject = np.asarray(image.convert("RGBA"))[:, :, 3] >= 128
    else:
        values = np.asarray(to_8_bits(image).convert("RGB")).max(2)
        top = int(values.max())
        subject = values > top / 2 if top else np.zeros(values.shape, bool)
    return Image.fromarray(np.where(subject, 255, 0).astype(np.uint8))


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= SAME_ASPECT


def resize(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    return mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)


def undo_orientation(upright: Image.Image, orientation: int) -> Image.Image:
    """The pixels that EXIF's orientation would turn into these."""
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return upright.transpose(inverse[orientation]) if orientation in inverse else upright


def encode_mask(mask: Image.Image) -> bytes:
    encoded = io.BytesIO()
    mask.save(encoded, "PNG")
    return encoded.getvalue()


def describe_masks(count: int, photos: int, shares: Iterable[float], outlines: Iterable[float]) -> str:
    """One line about all masks. Which colour is the subject is not guessed, but the share tells a person."""
    share, outline = (float(np.mean(list(values))) for values in (shares, outlines))
    text = f"masks: {count} of {photos} photos have one; the subject (white) covers {share:.0%} of them"
    if outline > OUTLINE:
        text += (
            ". Nearly all of their border is white: if white is the background here, swap black and white, "
            "or set masks: ignore"
        )
    return text


def get_outline(mask: np.ndarray) -> float:
    """Share of the border pixels of a (height, width) mask that are subject."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return float((border > 0).mean())
