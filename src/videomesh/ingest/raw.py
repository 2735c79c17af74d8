"""Photos that the frames stage may be unable to read become JPEG: it runs in images of other people.

RAW files are read by rawpy (LibRaw), HEIC and AVIF by pillow-heif and recent versions of Pillow.
"""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from videomesh.frames.opening import ORIENTATION, DamagedPhoto, open_photo
from videomesh.ingest.pictures import DAMAGE, Picture, to_8_bits

CONVERTED = (".avif", ".heic", ".heif", ".hif", ".j2k", ".jp2")
QUALITY = 97  # of a JPEG that is encoded once more later
FULL = 0.9  # of a RAW file's width: from there on its preview is the photo as the camera would have stored it
ORIENTATIONS = {3: 3, 5: 8, 6: 6}  # LibRaw's flip -> EXIF
MAKE, MODEL, EXIF_IFD = 0x010F, 0x0110, 0x8769
LENS_TAGS = (0x920A, 0xA405, 0xA434)  # focal length, the same for 35 mm film, lens


def can_read_raw() -> bool:
    try:
        import rawpy  # noqa: F401
    except ImportError:
        return False
    return True


def read_photo(picture: Picture) -> tuple[bytes, str]:
    """The content of a photo as it is stored, and what its name then ends with. Raises DamagedPhoto."""
    if picture.is_raw:
        return develop(picture), ".jpg"
    data = picture.file.read()
    if picture.file.suffix not in CONVERTED:
        return data, ""
    image = open_photo(io.BytesIO(data), picture.path)
    try:
        image.load()
        exif = image.getexif()
        return encode(image, exif), ".jpg"
    except DAMAGE as error:
        raise DamagedPhoto(f"{picture.path}: the photo is damaged ({error})")


def encode(image: Image.Image, exif: Image.Exif) -> bytes:
    """A JPEG, with the colour profile."""
    image = to_8_bits(image)
    rgb = image if image.mode in ("RGB", "L") else image.convert("RGB")
    encoded = io.BytesIO()
    rgb.save(encoded, "JPEG", quality=QUALITY, subsampling=0, exif=exif, icc_profile=image.info.get("icc_profile"))
    return encoded.getvalue()


def develop(picture: Picture) -> bytes:
    """The JPEG inside a RAW file if it has the full size, else the picture with one exposure for all photos."""
    import rawpy

    data = picture.file.read()
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            exif = read_exif(data)
            exif[ORIENTATION] = ORIENTATIONS.get(raw.sizes.flip, 1)
            preview = open_preview(raw)
            if preview is not None and max(preview.size) >= FULL * max(raw.sizes.width, raw.sizes.height):
                return encode(preview, exif)
            # Without no_auto_bright, each photo would get a brightness of its own.
            pixels = raw.postprocess(use_camera_wb=True, no_auto_bright=True, user_flip=0)
            return encode(Image.fromarray(pixels), exif)
    except (rawpy.LibRawError, *DAMAGE) as error:
        raise DamagedPhoto(f"{picture.path}: not a RAW photo that can be read ({explain(error)})")


def explain(error: Exception) -> str:
    """LibRaw's words are bytes."""
    first = error.args[0] if error.args else error
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)


def open_preview(raw: rawpy.RawPy) -> Image.Image | None:  # type: ignore[name-defined]  # noqa: F821
    import rawpy

    try:
        thumb = raw.extract_thumb()
        if thumb.format != rawpy.ThumbFormat.JPEG:
            return None
        image = Image.open(io.BytesIO(thumb.data))
        image.load()
        return image
    except (rawpy.LibRawError, UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None


def read_exif(data: bytes) -> Image.Exif:
    """The camera and its lens, from a RAW file that is a kind of TIFF, as most are."""
    kept = Image.Exif()
    try:
        found = Image.Exif()
        found.load(b"Exif\0\0" + data)
        kept.update({tag: found[tag] for tag in (MAKE, MODEL) if tag in found})
        inner = found.get_ifd(EXIF_IFD)
        kept.get_ifd(EXIF_IFD).update({tag: inner[tag] for tag in LENS_TAGS if tag in inner})
    except Exception:  # Pillow has many ways to say that EXIF is broken, and photos do without
        pass
    return kept
