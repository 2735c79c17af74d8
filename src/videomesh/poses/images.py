"""The undistorted images: packed in one tar, and what is wrong with each."""

import io
import tarfile
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from PIL import Image, UnidentifiedImageError

from videomesh.files import add_to_tar
from videomesh.poses.model import read_cameras

Image.MAX_IMAGE_PIXELS = None  # the frames are this workflow's own files


def pack_images(folder: Path, names: Sequence[str], archive: Path) -> None:
    """Write the images of the folder to an uncompressed tar."""
    with tarfile.open(archive, "w") as tar:
        for name in names:
            add_to_tar(tar, name, (folder / name).read_bytes())


def read_size(cameras: Path) -> Tuple[int, int]:
    """Width and height in pixels of the one camera."""
    (camera,) = read_cameras(cameras)
    return camera.width, camera.height


def inspect_images(archive: Path, size: Tuple[int, int]) -> List[Dict[str, str]]:
    """Name and flaw of each image in the tar, as the gate judges them: it need not load them again, from far away."""
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            found.append({"name": member.name, "flaw": find_flaw(file.read() if file else b"", size)})
    return found


def find_flaw(data: bytes, size: Tuple[int, int]) -> str:
    """What is wrong with an image of which an engine expects width x height 8-bit RGB; "" if nothing."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()  # raises on truncated data: Pillow is strict unless told otherwise
            if image.mode != "RGB":
                return f"mode {image.mode}, not 8-bit RGB without alpha"
            return "" if image.size == size else f"{image.width} x {image.height}, not {size[0]} x {size[1]}"
    except UnidentifiedImageError:
        return "not an image"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's plugins raise these
        return f"cannot be decoded: {error}"
