"""A frame in the tar: stored as a JPEG, measured, described."""

import io
import tarfile
from typing import Any, Dict, Optional, Tuple

import numpy as np
from PIL import Image

from videomesh.errors import UserError
from videomesh.files import add_to_tar

MIN_SIDE = 16  # pixels; below this nothing can be measured in a picture
SHARPNESS_SIDE = 960  # long side at which sharpness is measured, so that noise of large pictures is not detail
JPEG_QUALITY = 95  # about the size and quality of ffmpeg's -q:v 2


def store_frame(
    tar: tarfile.TarFile, before: int, index: int, frame_time: Optional[float], image: Image.Image
) -> Dict[str, Any]:
    """Add an RGB image to the tar as a JPEG named by its index in the footage; returns its entry in frames.json.

    before: frames in the clips before its own. index: in its own clip, or among the photos. frame_time: seconds from
    the start of the clip, None if that is not known.
    """
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    name = f"{before + index:06d}.jpg"
    add_to_tar(tar, name, encoded.getvalue())
    gray = image.convert("L")
    scale = min(1.0, SHARPNESS_SIDE / max(gray.size))
    small = gray.resize((max(1, round(gray.width * scale)), max(1, round(gray.height * scale))))
    return {
        "name": name,
        "video_frame": index,
        "time": frame_time,
        "sharpness": round(sharpness(np.asarray(small)), 3),
        "luminance": round(float(np.asarray(gray).mean()) / 255, 5),
    }


def sharpness(gray: np.ndarray) -> float:
    """Variance of the Laplacian of a (height, width) uint8 picture: large where edges are crisp.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000. It depends on what is seen, so
    only frames of one scene can be compared.
    """
    signed = gray.astype(np.int16)
    laplacian = 4 * signed[1:-1, 1:-1]
    for neighbour in (signed[:-2, 1:-1], signed[2:, 1:-1], signed[1:-1, :-2], signed[1:-1, 2:]):
        laplacian -= neighbour
    return float(laplacian.astype(np.float32).var())


def check_side(where: str, size: Tuple[int, int]) -> None:
    """UserError, which begins with `where`, if a (width, height) in pixels is too small."""
    if min(size) < MIN_SIDE:
        raise UserError(f"{where}: a picture of {size[0]}x{size[1]} pixels is too small; at least {MIN_SIDE} a side")
