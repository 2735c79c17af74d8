"""Photos: all are kept, upright, in sRGB, at one size."""

import io
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image, ImageCms, ImageOps

from videomesh.errors import UserError
from videomesh.frames.frame import check_side, store_frame
from videomesh.frames.opening import open_photo
from videomesh.photos import natural_key


def store_photos(tar: tarfile.TarFile, footage: Path, max_size: int) -> Dict[str, Any]:
    """Keep all photos, in the natural order of their names, upright, all of one size. Returns frames.json."""
    with open_tar(footage) as photos:
        members = [member for member in photos if member.isfile()]
        members.sort(key=lambda member: natural_key(member.name))
        if not members:
            raise UserError(f"{footage}: no photos in it; run the ingest stage again")
        check_photo_sizes(footage, photos, members)
        frames = []
        size = (0, 0)
        for index, member in enumerate(members):
            image = load_photo(photos, member, f"{footage}: {member.name}")
            image.thumbnail((max_size, max_size))
            image = to_srgb(image)
            size = image.size
            frames.append({**store_frame(tar, index, None, image), "source": member.name})
    return {
        "source": "photos",
        "width": size[0],
        "height": size[1],
        "source_frames": len(members),
        "duration": None,
        "select": "every",
        "frames": frames,
    }


def open_tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise UserError(f"{path}: not an uncompressed tar of photos ({error}); run the ingest stage again")


def upright_size(image: Image.Image) -> Tuple[int, int]:
    """(width, height) after EXIF orientation, from the header alone."""
    sideways = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF tag Orientation
    return (image.height, image.width) if sideways else image.size


def check_photo_sizes(footage: Path, photos: tarfile.TarFile, members: Sequence[tarfile.TarInfo]) -> None:
    """UserError unless all photos have one size: they are solved for as one camera."""
    sizes: Dict[Tuple[int, int], List[str]] = {}
    for member in members:
        file = photos.extractfile(member)
        assert file
        where = f"{footage}: {member.name}"
        size = upright_size(open_photo(file, where))
        check_side(where, size)
        sizes.setdefault(size, []).append(member.name)
    if len(sizes) > 1:
        common_first = sorted(sizes, key=lambda size: -len(sizes[size]))
        found = ", ".join(f"{w}x{h} ({len(sizes[w, h])}, such as {sizes[w, h][0]})" for w, h in common_first)
        raise UserError(
            f"{footage}: the photos differ in size: {found}; keep those of one size, taken with one camera, one zoom "
            "and held one way"
        )


def load_photo(photos: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> Image.Image:
    """The whole photo, upright, 8 bits a channel (RGB, L or CMYK). UserError if damaged or partly transparent."""
    file = photos.extractfile(member)
    assert file
    image = open_photo(file, where)
    try:
        image.load()
        image = ImageOps.exif_transpose(image) or image
    except (OSError, ValueError, SyntaxError) as error:  # pillow reports a broken PNG as SyntaxError
        raise UserError(f"{where}: the photo is damaged ({error}); copy it again, or remove it")
    check_opaque(image, where)
    if image.mode == "F":
        raise UserError(f"{where}: brightness is stored as floating-point numbers; export it as 8-bit JPEG or PNG")
    if image.mode.startswith("I"):  # 16-bit gray, which pillow would clip rather than scale
        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
    return image if image.mode in ("RGB", "L", "CMYK") else image.convert("RGB")


def check_opaque(image: Image.Image, where: str) -> None:
    """UserError if any pixel is transparent: the colour hidden under it would be learnt as if it were seen."""
    if image.mode not in ("RGBA", "RGBa", "LA", "La", "PA") and "transparency" not in image.info:
        return
    least = int(np.asarray(image.convert("RGBA"))[:, :, 3].min())
    if least < 255:
        raise UserError(
            f"{where}: the photo is partly transparent (alpha down to {least} of 255); masks are not used and the "
            "colour under them would be learnt: use the original photos with their background"
        )


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB image with its colour profile (such as the Display P3 of phones) converted to sRGB."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: viewers ignore it, too
    return image.convert("RGB")
