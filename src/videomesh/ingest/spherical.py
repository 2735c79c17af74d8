"""Photos of 360 degrees are recognised. COLMAP and the engines know no such camera."""

import numpy as np
from PIL import Image

from videomesh.errors import UserError
from videomesh.frames.opening import open_photo
from videomesh.frames.spherical import WIDTH, is_equirectangular
from videomesh.ingest.pictures import DAMAGE, Picture

ADVICE = (
    "cut flat views out of them, for example with "
    "ffmpeg -i IN.jpg -vf v360=e:flat:h_fov=90:v_fov=90:yaw=0 OUT.jpg for yaw 0, 90, 180 and 270, or with the app of "
    "the camera, and name the folder of the views"
)


def check_spherical(photos: list[Picture]) -> list[Picture]:
    """The 360 degree photos among few others. UserError if most photos are of that kind."""
    found = [photo for photo in photos if is_spherical(photo)]
    if found and 2 * len(found) >= len(photos):
        raise UserError(
            f"{len(found)} of {len(photos)} photos, such as {found[0].path}, show 360 degrees (equirectangular), which "
            f"cannot be used as they are; {ADVICE}"
        )
    return found


def is_spherical(photo: Picture) -> bool:
    """A picture twice as wide as high that says so, or whose edges meet and whose poles are single points."""
    width, height = photo.upright_size
    if width != 2 * height or photo.is_raw:
        return False
    try:
        with photo.file.open() as file:
            image = open_photo(file, photo.path)
            said = image.info.get("xmp") or b""
            said = said if isinstance(said, bytes) else str(said).encode()
            if b"equirectangular" in said.lower():
                return True
            if width < WIDTH:  # no photo of a 360 degree camera
                return False
            image.draft("RGB", (WIDTH, WIDTH // 2))
            small = image.convert("RGB").resize((WIDTH, WIDTH // 2), Image.Resampling.BOX)
    except (UserError, *DAMAGE):
        return False
    return is_equirectangular(np.asarray(small))
