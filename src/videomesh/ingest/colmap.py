"""COLMAP models that somebody else made: binary or text, any number of cameras of any model.

Format: https://colmap.github.io/format.html
"""

import io
import struct
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import numpy as np

from videomesh.errors import UserError
from videomesh.ingest.listing import File

# Model id -> name, and what each parameter is measured in (COLMAP, src/colmap/sensor/models.h): pixels along x, along
# y, along both (one focal length), or nothing.
MODELS: dict[int, tuple[str, str]] = {
    0: ("SIMPLE_PINHOLE", "fxy"),
    1: ("PINHOLE", "xyxy"),
    2: ("SIMPLE_RADIAL", "fxy-"),
    3: ("RADIAL", "fxy--"),
    4: ("OPENCV", "xyxy----"),
    5: ("OPENCV_FISHEYE", "xyxy----"),
    6: ("FULL_OPENCV", "xyxy--------"),
    7: ("FOV", "xyxy-"),
    8: ("SIMPLE_RADIAL_FISHEYE", "fxy-"),
    9: ("RADIAL_FISHEYE", "fxy--"),
    10: ("THIN_PRISM_FISHEYE", "xyxy--------"),
}
PARAMS = dict(MODELS.values())
AGAIN = "copy the model again, or set poses.given: ignore, which finds the poses anew"

CameraRow = tuple[str, int, int, tuple[float, ...]]  # model, width, height, params


class Image(NamedTuple):
    name: str
    where: str  # for messages
    camera: CameraRow
    cam_from_world: np.ndarray  # 4 x 4, OpenCV's axes


def scale_params(model: str, params: tuple[float, ...], scale_x: float, scale_y: float) -> tuple[float, ...]:
    """Parameters for the same picture at another size."""
    factors = {"x": scale_x, "y": scale_y, "f": (scale_x * scale_y) ** 0.5, "-": 1.0}
    return tuple(value * factors[kind] for kind, value in zip(PARAMS[model], params, strict=True))


def get_pose(quaternion: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """4 x 4 of a quaternion (w, x, y, z) of any length and a translation."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


def read_model(cameras: File, images: File) -> list[Image]:
    """The images of a model. Raises UserError naming file and place if one of the two is broken."""
    binary = cameras.suffix == ".bin"
    known = read_whole(cameras, read_cameras_bin if binary else read_cameras_txt)
    found: list[Image] = []
    for name, camera, quaternion, translation in read_whole(images, read_images_bin if binary else read_images_txt):
        where = f"{images.path}: image {name}"
        if camera not in dict(known):
            raise UserError(f"{where}: its camera {camera} is not in {cameras.path}; {AGAIN}")
        if not np.linalg.norm(quaternion) > 0:
            raise UserError(f"{where}: its quaternion is zero; {AGAIN}")
        found.append(Image(name, where, dict(known)[camera], get_pose(np.array(quaternion), np.array(translation))))
    return found


CamerasRead = Iterator[tuple[int, CameraRow]]
ImagesRead = Iterator[tuple[str, int, tuple[float, ...], tuple[float, ...]]]


def read_whole(file: File, read: Callable[[IO[bytes]], Iterator]) -> list:
    """What a reader finds in a file. Errors name the place where it ends or makes no sense."""
    content = io.BytesIO(file.read())
    found = []
    try:
        for item in read(content):
            found.append(item)
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise UserError(f"{file.path}: broken after entry {len(found)} ({error}); {AGAIN}")
    return found


def get_row(model: str, width: int, height: int, params: tuple[float, ...]) -> CameraRow:
    if model not in PARAMS:
        raise ValueError(f"camera model {model} is not known; known are {', '.join(PARAMS)}")
    if len(params) != len(PARAMS[model]) or not np.isfinite(params).all():
        raise ValueError(f"{model} needs {len(PARAMS[model])} numbers, found {len(params)}")
    if min(width, height) < 1:
        raise ValueError(f"a picture of {width} x {height} pixels")
    return model, width, height, params


# --- binary -----------------------------------------------------------------------------------------------------------


def unpack(file: IO[bytes], fields: str) -> tuple:
    size = struct.calcsize(f"<{fields}")
    data = file.read(size)
    if len(data) < size:
        raise ValueError("the file is cut short")
    return struct.unpack(f"<{fields}", data)


def read_cameras_bin(file: IO[bytes]) -> CamerasRead:
    for _ in range(unpack(file, "Q")[0]):
        camera, number, width, height = unpack(file, "IiQQ")
        if number not in MODELS:
            raise ValueError(f"camera model number {number} is not known; known are {', '.join(PARAMS)}")
        model, kinds = MODELS[number]
        yield camera, get_row(model, width, height, unpack(file, f"{len(kinds)}d"))


def read_images_bin(file: IO[bytes]) -> ImagesRead:
    for _ in range(unpack(file, "Q")[0]):
        _, *pose, camera = unpack(file, "I7dI")
        name = bytearray()
        while (letter := unpack(file, "c")[0]) != b"\0":
            name += letter
        points = unpack(file, "Q")[0]
        here = file.tell()
        if file.seek(0, io.SEEK_END) < here + 24 * points:  # each has x, y and the number of a 3D point
            raise ValueError("the file is cut short")
        file.seek(here + 24 * points)
        yield name.decode(), camera, tuple(pose[:4]), tuple(pose[4:])


# --- text -------------------------------------------------------------------------------------------------------------


def read_lines(file: IO[bytes]) -> list[str]:
    return [line.rstrip("\r\n") for line in io.TextIOWrapper(file, encoding="utf-8-sig")]


def read_cameras_txt(file: IO[bytes]) -> CamerasRead:
    for line in read_lines(file):
        if line.strip() and not line.startswith("#"):
            camera, model, width, height, *params = line.split()
            yield int(camera), get_row(model, int(width), int(height), tuple(map(float, params)))


def read_images_txt(file: IO[bytes]) -> ImagesRead:
    """Two lines an image, the second of which, with its 2D points, may be empty."""
    lines = [line for line in read_lines(file) if not line.startswith("#")]
    while lines and not lines[0].strip():
        lines.pop(0)
    for line in lines[::2]:
        if line.strip():
            _, *pose, camera, name = line.split(maxsplit=9)
            numbers = tuple(map(float, pose))
            yield name.strip(), int(camera), numbers[:4], numbers[4:]
