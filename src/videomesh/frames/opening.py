"""The file of a photo, opened by Pillow: HEIC too, where pillow-heif is installed."""

from typing import IO, Sequence, Tuple

from PIL import Image, UnidentifiedImageError

from videomesh.errors import UserError

Image.MAX_IMAGE_PIXELS = 250_000_000  # pillow's default refuses the 200-megapixel photos of current phones
ORIENTATION = 0x0112  # EXIF tag
MAX_DAMAGED = 0.1  # share of the photos that may be damaged; one may be in any case


class DamagedPhoto(UserError):
    """This photo cannot be used, which others do not suffer from. The text begins with the place."""


def open_photo(file: IO[bytes], where: str) -> Image.Image:
    """A photo whose pixels are not read yet.

    Raises UserError, which begins with `where`: DamagedPhoto if the file is no photo.
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
        head = file.read(12)
        if not head:
            raise DamagedPhoto(f"{where}: an empty file")
        if head[4:8] == b"ftyp":  # the container of HEIC (ISO/IEC 14496-12)
            remedy = "install pillow-heif (pip install pillow-heif), or export the photos as JPEG"
            raise UserError(f"{where}: a HEIC photo, which cannot be read here; {remedy}")
        raise DamagedPhoto(f"{where}: not a photo that can be read")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedPhoto(f"{where}: the photo cannot be read ({error})")


def get_orientation(image: Image.Image) -> int:
    """How EXIF says that the picture has to be turned, 1 to 8; 1 is not at all."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow has many ways to say that EXIF is broken; viewers ignore it then
        return 1
    return orientation if orientation in range(1, 9) else 1


def get_upright_size(image: Image.Image) -> Tuple[int, int]:
    """(width, height) after EXIF orientation, from the header alone."""
    return (image.height, image.width) if get_orientation(image) >= 5 else image.size


def check_damaged(problems: Sequence[str], count: int, before: int = 0) -> None:
    """UserError that names all damaged photos if they are more than a few of `count`.

    before: how many of the `count` an earlier stage has found to be damaged, and named.
    """
    damaged = len(problems) + before
    if problems and damaged > max(1, MAX_DAMAGED * count):
        earlier = [f"{before} that ingest has left out and named in its log"] if before else []
        listed = "; ".join([*earlier, *problems])
        raise UserError(
            f"{damaged} of {count} photos cannot be used: {listed}. Copy them again or export them as JPEG, or remove "
            "them"
        )
