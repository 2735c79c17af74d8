"""The file of a photo, opened by Pillow: HEIC too, where pillow-heif is installed."""

from typing import IO

from PIL import Image, UnidentifiedImageError

from videomesh.errors import UserError

Image.MAX_IMAGE_PIXELS = 250_000_000  # pillow's default refuses the 200-megapixel photos of current phones


def open_photo(file: IO[bytes], where: str) -> Image.Image:
    """A photo whose pixels are not read yet.

    Raises UserError, which begins with `where`, if the file is no photo or its format cannot be read here.
    """
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        if file.read(12)[4:8] == b"ftyp":  # the container of HEIC (ISO/IEC 14496-12)
            remedy = "install pillow-heif (pip install pillow-heif), or export the photos as JPEG"
            raise UserError(f"{where}: a HEIC photo, which cannot be read here; {remedy}")
        raise UserError(f"{where}: not a photo that can be read; export it as JPEG, or remove it")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: the photo cannot be read ({error}); export it as JPEG, or remove it")
