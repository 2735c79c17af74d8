"""Read COLMAP's binary model files cameras.bin, images.bin, points3D.bin.

Format: https://colmap.github.io/format.html#binary-file-format (little endian). Python 3.8 and numpy only, because it
also runs inside COLMAP's own image, which has no pycolmap.
"""

import struct
from pathlib import Path
from typing import BinaryIO, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from videomesh.errors import UserError

# Model id -> name and number of parameters (COLMAP, src/colmap/sensor/models.h).
CAMERA_MODELS: Dict[int, Tuple[str, int]] = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
}
PARAMETERS = dict(CAMERA_MODELS.values())
Move = Callable[[int, np.ndarray], np.ndarray]  # an image's camera id, (n, 2) pixels -> pixels in another camera


class Camera(NamedTuple):
    id: int
    model: str
    width: int
    height: int
    params: np.ndarray  # float64; PINHOLE: fx, fy, cx, cy in pixels


class Image(NamedTuple):
    id: int
    name: str
    camera_id: int
    cam_from_world: np.ndarray  # 4 x 4, OpenCV axes (x right, y down, z forward)

    @property
    def world_from_cam(self) -> np.ndarray:
        return np.linalg.inv(self.cam_from_world)


class Points(NamedTuple):
    xyz: np.ndarray  # (n, 3) world coordinates
    error: np.ndarray  # (n,) mean reprojection error, pixels
    image_ids: List[np.ndarray]  # per point: ids of the images that observe it (its track)


def read_cameras(path: Path) -> List[Camera]:
    """All cameras of a cameras.bin. Raises UserError if the file is cut short or has an unknown model."""
    with _open(path) as file:
        cameras = []
        for _ in range(_unpack(file, "Q")[0]):
            camera_id, model_id, width, height = _unpack(file, "IiQQ")
            if model_id not in CAMERA_MODELS:
                raise UserError(f"{path}: unknown camera model id {model_id}; known: {sorted(CAMERA_MODELS)}")
            name, count = CAMERA_MODELS[model_id]
            cameras.append(Camera(camera_id, name, width, height, np.array(_unpack(file, f"{count}d"))))
        return cameras


def read_images(path: Path) -> List[Image]:
    """All registered images of an images.bin, sorted by name."""
    with _open(path) as file:
        images = []
        for _ in range(_unpack(file, "Q")[0]):
            image_id, *pose, camera_id = _unpack(file, "I7dI")
            name = b"".join(iter(lambda: _read(file, 1), b"\0")).decode()
            _read(file, 24 * _unpack(file, "Q")[0])  # 2D points: x, y, point3D id
            images.append(Image(image_id, name, camera_id, _pose(np.array(pose[:4]), np.array(pose[4:]))))
        return sorted(images, key=lambda image: image.name)


def read_points(path: Path) -> Points:
    """All points of a points3D.bin with their tracks."""
    xyz, error, tracks = [], [], []
    with _open(path) as file:
        for _ in range(_unpack(file, "Q")[0]):
            _, x, y, z, _, _, _, point_error, length = _unpack(file, "Q3d3BdQ")
            xyz.append((x, y, z))
            error.append(point_error)
            tracks.append(np.frombuffer(_read(file, 8 * length), "<u4").reshape(-1, 2)[:, 0])
    return Points(np.array(xyz).reshape(-1, 3), np.array(error), tracks)


def _pose(quaternion: np.ndarray, translation: np.ndarray) -> np.ndarray:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file")


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise UserError(f"{file.name}: the file is cut short; run the poses stage again")
    return data


def _unpack(file: BinaryIO, fields: str) -> Tuple:
    fields = "<" + fields
    return struct.unpack(fields, _read(file, struct.calcsize(fields)))


def write_cameras(path: Path, cameras: List[Camera]) -> None:
    ids = {name: number for number, (name, _) in CAMERA_MODELS.items()}
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(cameras)))
        for camera in cameras:
            file.write(struct.pack("<IiQQ", camera.id, ids[camera.model], camera.width, camera.height))
            file.write(struct.pack(f"<{len(camera.params)}d", *camera.params))


def move_observations(
    source: Path, target: Path, move: Callable[[int, np.ndarray], np.ndarray], camera_id: int
) -> None:
    """Copy an images.bin: all images get this camera, and their points new pixels."""
    with _open(source) as file, open(target, "wb") as output:
        (count,) = _unpack(file, "Q")
        output.write(struct.pack("<Q", count))
        for _ in range(count):
            head = _read(file, 60)  # id, quaternion, translation
            (before,) = _unpack(file, "I")
            name = b"".join(iter(lambda: _read(file, 1), b"\0"))
            (length,) = _unpack(file, "Q")
            fields = [("pixel", "<f8", 2), ("point", "<u8")]
            observations = np.frombuffer(bytearray(_read(file, 24 * length)), fields)
            observations["pixel"] = move(before, observations["pixel"])
            output.write(head + struct.pack("<I", camera_id) + name + b"\0" + struct.pack("<Q", length))
            output.write(observations.tobytes())


def move_world(folder: Path, scale: float, rotation: np.ndarray, translation: np.ndarray) -> None:
    """Change the world of images.bin and points3D.bin in the folder to x -> scale * rotation @ x + translation."""
    images = bytearray((folder / "images.bin").read_bytes())
    with _open(folder / "images.bin") as file:
        for _ in range(_unpack(file, "Q")[0]):
            place = file.tell()
            _, *pose = _unpack(file, "I7d")
            cam_from_world = _pose(np.array(pose[:4]), np.array(pose[4:]))
            turned = cam_from_world[:3, :3] @ rotation.T
            shifted = scale * cam_from_world[:3, 3] - turned @ translation
            struct.pack_into("<7d", images, place + 4, *to_quaternion(turned), *shifted)
            _read(file, 4)
            while _read(file, 1) != b"\0":
                pass
            _read(file, 24 * _unpack(file, "Q")[0])
    (folder / "images.bin").write_bytes(images)
    points = bytearray((folder / "points3D.bin").read_bytes())
    with _open(folder / "points3D.bin") as file:
        for _ in range(_unpack(file, "Q")[0]):
            place = file.tell() + 8
            _, *rest = _unpack(file, "Q3d3Bd")
            struct.pack_into("<3d", points, place, *(scale * rotation @ rest[:3] + translation))
            _read(file, 8 * _unpack(file, "Q")[0])
    (folder / "points3D.bin").write_bytes(points)
    for name in ("frames.bin", "rigs.bin"):  # of COLMAP 4, which reads poses from there, and from images.bin without
        if (folder / name).exists():
            (folder / name).unlink()


def to_quaternion(rotation: np.ndarray) -> np.ndarray:
    """(w, x, y, z), w >= 0, of a 3 x 3 rotation: the eigenvector of Bar-Itzhack's matrix (J. Guidance 23:6, 2000)."""
    r = rotation
    lower = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    x, y, z, w = np.linalg.eigh(lower)[1][:, -1]  # eigh reads the lower triangle
    return np.array([w, x, y, z]) * (1 if w >= 0 else -1)
