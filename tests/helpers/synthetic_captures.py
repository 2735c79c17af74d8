"""Made captures with known geometry, written as the frames and poses stages write them.

World: z up, lengths in metres. Every scene is deterministic.
"""

import json
import struct
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from programs import call, load

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
UP = np.array([0.0, 0.0, 1.0])


class Capture(NamedTuple):
    world_from_cam: np.ndarray  # (n, 4, 4) OpenCV axes
    points: np.ndarray  # (m, 3)


def look(position: Any, target: Any, up: Any = UP) -> np.ndarray:
    """world_from_cam in OpenCV axes of a camera at position that looks at target."""
    position, target = np.array(position, float), np.array(target, float)
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(forward, right), forward, position], axis=1)
    return matrix


def orbit(count: int, degrees: float = 360.0, radius: float = 3.0, center: Any = (0, 0, 0.4)) -> np.ndarray:
    """Cameras on an arc round the z axis, counterclockwise from the x axis, 1 to 2 m high."""
    angles = np.radians(np.arange(count) * degrees / count)
    height = 1.5 + 0.5 * np.sin(3 * angles)
    places = np.stack([radius * np.cos(angles), radius * np.sin(angles), height], axis=1)
    return np.stack([look(place, center) for place in places])


def box(random: np.random.Generator, count: int, low: Any, high: Any) -> np.ndarray:
    """Points on the six faces of a box."""
    low, high = np.array(low, float), np.array(high, float)
    points = random.uniform(low, high, (count, 3))
    face = random.integers(6, size=count)
    rows = np.arange(count)
    points[rows, face % 3] = np.where(face < 3, low[face % 3], high[face % 3])
    return points


def table(random: np.random.Generator, count: int, half: float = 1.5) -> np.ndarray:
    return np.concatenate([random.uniform(-half, half, (count, 2)), random.normal(0, 0.003, (count, 1))], axis=1)


def object_on_table(degrees: float = 360.0, count: int = 36, plane: bool = True, points: int = 500) -> Capture:
    """A box of 0.8 x 0.6 x 0.8 m; its enclosing ball has centre (0, 0, 0.4) and radius 0.6403."""
    random = np.random.default_rng(1)
    parts = [box(random, points, (-0.4, -0.3, 0), (0.4, 0.3, 0.8))]
    if plane:
        parts += [table(random, 2 * points), random.uniform((-8, -8, -1), (8, 8, 3), (points // 5, 3))]
    return Capture(orbit(count, degrees), np.concatenate(parts))


def two_objects() -> Capture:
    """The object on the table, and another one behind it that the cameras do not look at."""
    random = np.random.default_rng(2)
    other = box(random, 500, (1.8, -0.2, 0), (2.2, 0.2, 0.5))
    first = object_on_table()
    return first._replace(points=np.concatenate([first.points, other]))


def room(outward: bool = True, count: int = 36) -> Capture:
    """A room of 6 x 5 x 2.6 m: cameras in the middle that look out, or along the walls that look across."""
    random = np.random.default_rng(3)
    walls = box(random, 1500, (-3, -2.5, 0), (3, 2.5, 2.6))
    angles = np.radians(np.arange(count) * 360 / count)
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    height = np.array([0, 0, 1.5])
    if outward:
        return Capture(np.stack([look(0.6 * r + height, 3 * r + height) for r in ring]), walls)
    return Capture(np.stack([look(2.2 * r + height, height) for r in ring]), walls)


def street(count: int = 30) -> Capture:
    """Forward motion between two facades."""
    random = np.random.default_rng(4)
    side = random.choice([-4.0, 4.0], 1500)
    facades = np.stack([random.uniform(0, 30, 1500), side + random.normal(0, 0.1, 1500), random.uniform(0, 6, 1500)], 1)
    sway = 0.2 * np.sin(np.arange(count))
    cameras = [look((0.5 * i, sway[i], 1.6), (0.5 * i + 10, 2 * sway[i], 1.6)) for i in range(count)]
    return Capture(np.stack(cameras), facades)


def facade(count: int = 30) -> Capture:
    """Sideways motion along one facade."""
    random = np.random.default_rng(5)
    wall = np.stack([random.uniform(-10, 10, 1500), random.normal(0, 0.1, 1500), random.uniform(0, 6, 1500)], axis=1)
    cameras = [look((x, -6, 1.6), (x + 0.2 * np.sin(x), 0, 2.5)) for x in np.linspace(-8, 8, count)]
    return Capture(np.stack(cameras), wall)


def turntable(count: int = 30) -> Capture:
    """What COLMAP makes of a turntable before a textured wall: a camera that does not move."""
    random = np.random.default_rng(6)
    wall = np.stack([random.uniform(-3, 3, 800), 3 + random.normal(0, 0.2, 800), random.uniform(-2, 3, 800)], axis=1)
    places = np.array([0, 0, 1]) + random.normal(0, 0.01, (count, 3))
    return Capture(np.stack([look(place, place + np.array([0, 3, -0.3])) for place in places]), wall)


def write(folder: Path, capture: Capture) -> dict[str, Path]:
    """Write a capture's files; points are seen by the cameras they project into. Returns the paths by option name."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{3 * i:06d}.jpg" for i in range(len(capture.world_from_cam))]
    paths = {
        "cameras": folder / "cameras.bin",
        "image-poses": folder / "images.bin",
        "points3d": folder / "points3D.bin",
        "frames-json": folder / "frames.json",
        "poses-json": folder / "poses.json",
    }
    write_cameras(paths["cameras"])
    write_images(paths["image-poses"], capture.world_from_cam, names)
    tracks = _tracks(capture)
    write_points(paths["points3d"], capture.points, tracks)
    frames = [
        {"name": name, "video_frame": 3 * i, "time": i / 10, "sharpness": 100.0 + i % 7, "luminance": 0.5}
        for i, name in enumerate(names)
    ]
    paths["frames-json"].write_text(json.dumps({"source": "video", "frames": frames}))
    seen = sum(map(len, tracks))
    poses = {
        "backend": "made",
        "frames": len(names),
        "registered": len(names),
        "registered_share": 1.0,
        "reprojection_error": 0.5,
        "track_length": seen / max(len(tracks), 1),
        "points": len(tracks),
        "points_per_image": seen / len(names),
        "unregistered": [],
        "images": [{"name": name, "flaw": ""} for name in names],
        "attempts": [{"name": "sequential", "pairs": 1, "models": [{"registered": len(names)}], "seconds": 1.0}],
    }
    paths["poses-json"].write_text(json.dumps(poses))
    return paths


def write_cameras(path: Path, cameras: int = 1, model: int = 1) -> None:
    """cameras.bin; model 1 is PINHOLE, 0 SIMPLE_PINHOLE."""
    params = (FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2) if model == 1 else (FOCAL, WIDTH / 2, HEIGHT / 2)
    body = b"".join(struct.pack(f"<IiQQ{len(params)}d", i + 1, model, WIDTH, HEIGHT, *params) for i in range(cameras))
    path.write_bytes(struct.pack("<Q", cameras) + body)


def write_images(path: Path, world_from_cam: np.ndarray, names: list[str]) -> None:
    """images.bin; image ids are 1, 2, ... in the order of names."""
    body = b""
    for i, (matrix, name) in enumerate(zip(world_from_cam, names, strict=True)):
        inverse = np.linalg.inv(matrix) if np.isfinite(matrix).all() else matrix
        body += struct.pack("<I7dI", i + 1, *_quaternion(inverse[:3, :3]), *inverse[:3, 3], 1)
        body += name.encode() + b"\0" + struct.pack("<Q", 0)
    path.write_bytes(struct.pack("<Q", len(names)) + body)


def write_points(path: Path, points: np.ndarray, tracks: list[list[int]], error: float = 0.5) -> None:
    """points3D.bin; tracks hold rows of the images."""
    body = b""
    for i, (point, track) in enumerate(zip(points, tracks, strict=True)):
        body += struct.pack("<Q3d3BdQ", i + 1, *point, 128, 128, 128, error, len(track))
        body += b"".join(struct.pack("<II", row + 1, 0) for row in track)
    path.write_bytes(struct.pack("<Q", len(points)) + body)


def _tracks(capture: Capture) -> list[list[int]]:
    offset = capture.points[:, None] - capture.world_from_cam[:, :3, 3]
    local = np.einsum("mni,nij->mnj", offset, capture.world_from_cam[:, :3, :3])
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (np.abs(local[..., 0] / local[..., 2]) < WIDTH / 2 / FOCAL) & (local[..., 2] > 0.05)
        inside &= np.abs(local[..., 1] / local[..., 2]) < HEIGHT / 2 / FOCAL
    return [np.flatnonzero(row).tolist() for row in inside]


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """(w, x, y, z): the eigenvector of Bar-Itzhack's 4 x 4 matrix with the largest eigenvalue."""
    if not np.isfinite(rotation).all():
        return np.full(4, np.nan)
    r = rotation
    matrix = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r.trace()],
        ]
    )
    x, y, z, w = np.linalg.eigh(matrix / 3)[1][:, -1]
    return np.array([w, x, y, z])


def call_region(
    folder: Path, inputs: dict[str, Path], *options: str, picture: bool = False, **changes: object
) -> subprocess.CompletedProcess[str]:
    """scripts/region.py as the rule calls it. Drawing takes most of its time: region.png is empty unless asked for."""
    drawing = nullcontext() if picture else mock.patch.object(load("region"), "draw", lambda path, *_: path.touch())
    with drawing:
        return call("region", *get_region_arguments(folder, inputs, **changes), *options)


def get_region_arguments(folder: Path, inputs: dict[str, Path], **changes: object) -> list[str]:
    """Arguments of scripts/region.py as the rule gives them, with changes by their names; outputs lie in folder."""
    outputs = {
        "transforms": folder / "transforms.json",
        "summary": folder / "region.json",
        "picture": folder / "region.png",
        "points": folder / "points.npz",
    }
    settings = {"scene-type": "auto", "method": "robust", "margin": 1.08}
    settings |= {name.replace("_", "-"): value for name, value in changes.items()}
    return [f"--{name}={value}" for name, value in {**inputs, **outputs, **settings}.items() if name != "poses-json"]
