"""Made captures with known geometry, written as the frames and poses stages write them.

World: z up, lengths in metres. Every scene is deterministic.
"""

import json
import struct
import subprocess
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from programs import call, load
from videomesh.region.reading import OBSERVERS
from videomesh.region.views import Cloud

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
MARGIN = 1.06  # the default of region.margin
UP = np.array([0.0, 0.0, 1.0])


class Capture(NamedTuple):
    world_from_cam: np.ndarray  # (n, 4, 4) OpenCV axes
    points: np.ndarray  # (m, 3)
    seen: np.ndarray | None = None  # (m, n) which cameras see which points; None: those in whose picture they are


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


class Truth(NamedTuple):
    """A capture, and what of its subject the cameras show."""

    capture: Capture
    subject: np.ndarray  # (k, 3) on the surface of the subject, each seen by two cameras or more


def with_truth(
    cameras: np.ndarray,
    textured: Sequence[tuple[Any, Any]],
    plain: Sequence[tuple[Any, Any]] = (),
    ground: np.ndarray | None = None,
    seed: int = 11,
    count: int = 300,
) -> Truth:
    """Boxes (low, high) with points, and plain ones without; the boxes hide what is behind them."""
    random = np.random.default_rng(seed)
    boxes = [*textured, *plain]
    points = [box(random, count, *part) for part in textured] + ([] if ground is None else [ground])
    cloud = np.concatenate(points) if points else np.zeros((0, 3))
    surface = np.concatenate([box(random, 400, *part) for part in boxes])
    shown = find_seen(cameras, surface, boxes).sum(1) >= 2
    seen = find_seen(cameras, cloud, boxes)
    return Truth(Capture(cameras, cloud[seen.sum(1) >= 2], seen[seen.sum(1) >= 2]), surface[shown])


def textured_object(degrees: float = 360.0, count: int = 36, ground: bool = True) -> Truth:
    """The box of object_on_table, which hides what is behind it."""
    floor = table(np.random.default_rng(1), 1000) if ground else None
    return with_truth(orbit(count, degrees), [((-0.4, -0.3, 0), (0.4, 0.3, 0.8))], ground=floor)


def plain_object(degrees: float = 360.0) -> Truth:
    """A box without a point, on a patterned table."""
    random = np.random.default_rng(12)
    return with_truth(orbit(36, degrees), [], [((-0.4, -0.3, 0), (0.4, 0.3, 0.8))], table(random, 1500, 2.0))


def several_objects() -> Truth:
    """Three boxes on a table: the one on the right is plain."""
    random = np.random.default_rng(13)
    textured = [((-0.75, -0.2, 0), (-0.45, 0.2, 0.4)), ((-0.2, -0.3, 0), (0.1, 0.2, 0.6))]
    return with_truth(
        orbit(36, center=(0, 0, 0.2)), textured, [((0.4, -0.2, 0), (0.75, 0.2, 0.35))], table(random, 1500, 2.0)
    )


def tall_object() -> Truth:
    random = np.random.default_rng(14)
    cameras = orbit(36, radius=3.6, center=(0, 0, 0.95))
    return with_truth(cameras, [((-0.1, -0.1, 0), (0.1, 0.1, 1.9))], ground=table(random, 1000, 2.0))


def tall_in_parts() -> Truth:
    """A tower, filmed from so near that each picture shows a part: one round looks at its foot, one at its top."""
    random = np.random.default_rng(20)
    rounds = [orbit(20, radius=2.2, center=(0, 0, height)) for height in (0.6, 2.4)]
    for cameras, height in zip(rounds, (0.0, 1.6), strict=True):
        cameras[:, 2, 3] += height  # people hold the phone higher for the top
    cameras = np.concatenate([[look(c[:3, 3], (0, 0, h)) for c in r] for r, h in zip(rounds, (0.6, 2.4), strict=True)])
    return with_truth(cameras, [((-0.2, -0.2, 0), (0.2, 0.2, 3.0))], ground=table(random, 1000, 2.0))


def long_in_parts() -> Truth:
    """A boat along which the camera walks on both sides, looking at what is before it, and round its ends."""
    random = np.random.default_rng(21)
    places = [(x, side * 2.2, 1.6, x, 0.0, 0.5) for side in (-1, 1) for x in np.linspace(-2.4, 2.4, 14)]
    places += [(side * 4.6, y, 1.6, side * 2.2, 0.0, 0.5) for side in (-1, 1) for y in (-1.2, -0.4, 0.4, 1.2)]
    cameras = np.stack([look(place[:3], place[3:]) for place in places])
    return with_truth(cameras, [((-2.8, -0.5, 0), (2.8, 0.5, 1.0))], ground=table(random, 1500, 4.0), count=400)


def low_object() -> Truth:
    """5 cm high on a table."""
    random = np.random.default_rng(15)
    cameras = orbit(36, radius=2.4, center=(0, 0, 0))
    return with_truth(cameras, [((-0.5, -0.4, 0), (0.5, 0.4, 0.05))], ground=table(random, 1500))


def relief(degrees: float = 80.0) -> Truth:
    """A wall with a relief, seen from an arc in front of it. The subject is the relief with the wall next to it."""
    random = np.random.default_rng(16)
    angles = np.radians(np.linspace(-degrees / 2, degrees / 2, 24) - 90)
    places = np.stack([3 * np.cos(angles), 3 * np.sin(angles), 1.2 + 0.3 * np.sin(5 * angles)], axis=1)
    wall = np.stack([random.uniform(-2.5, 2.5, 900), random.normal(0, 0.003, 900), random.uniform(0, 2.6, 900)], 1)
    cameras = np.stack([look(place, (0, 0, 1.2)) for place in places])
    made = with_truth(cameras, [((-0.8, -0.25, 0.5), (0.8, 0, 1.9))], ground=wall)
    beside = (np.abs(wall[:, 0]) < 1.1) & (np.abs(wall[:, 2] - 1.2) < 1)
    return made._replace(subject=np.concatenate([made.subject, wall[beside]]))


def close_and_far() -> Truth:
    """A thing that only the pictures from farther away show whole."""
    random = np.random.default_rng(19)
    cameras = np.concatenate([orbit(16, radius=3.5), orbit(24, radius=1.7)])
    return with_truth(cameras, [((-0.6, -0.5, 0), (0.6, 0.5, 0.9))], ground=table(random, 1000))


def drone(rows: int = 5, columns: int = 8) -> Truth:
    """A flight to and fro over houses, 60 m high, with a camera that looks down obliquely. The subject is the field."""
    random = np.random.default_rng(17)
    x, y = np.meshgrid(np.linspace(-40, 40, columns), np.linspace(-40, 40, rows))
    places = np.stack([x.ravel(), y.ravel(), np.full(x.size, 60.0)], axis=1)
    cameras = np.stack([look(place, place + np.array([0, 35, -60])) for place in places])
    houses = [((a, b, 0), (a + 8, b + 10, 6)) for a in (-40, -10, 20) for b in (-30, 0, 30, 60)]
    field = np.concatenate([random.uniform(-150, 150, (6000, 2)), random.normal(0, 0.1, (6000, 1))], axis=1)
    made = with_truth(cameras, houses, ground=field, count=60)
    often = made.capture.seen.sum(1) >= 3  # type: ignore[union-attr]
    return Truth(made.capture, made.capture.points[often])


def inside(capture: Capture) -> Truth:
    """A capture whose points are all its subject: a room, a facade."""
    return Truth(capture, capture.points[np.array([len(track) > 1 for track in _tracks(capture)])])


def with_outliers(truth: Truth, share: float = 0.1) -> Truth:
    """Wrong points far and near, each seen by three cameras."""
    random = np.random.default_rng(18)
    points, cameras = truth.capture.points, truth.capture.world_from_cam
    seen = get_seen(truth.capture)
    low, high = points.min(0), points.max(0)
    count = int(share * len(points))
    wrong = random.uniform(low - 0.5 * (high - low), high + 0.5 * (high - low), (count, 3))
    observed = np.zeros((count, len(cameras)), bool)
    for row in observed:
        row[random.choice(len(cameras), 3, replace=False)] = True
    return truth._replace(capture=Capture(cameras, np.concatenate([points, wrong]), np.concatenate([seen, observed])))


def without_points(truth: Truth) -> Truth:
    return truth._replace(capture=Capture(truth.capture.world_from_cam, np.zeros((0, 3)), None))


def moved(truth: Truth, seed: int) -> Truth:
    """In another world, as COLMAP chooses it: turned, scaled and shifted."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    scale, shift = 10 ** random.uniform(-2, 2), random.normal(0, 100, 3)
    cameras = truth.capture.world_from_cam.copy()
    cameras[:, :3, :3] = turn @ cameras[:, :3, :3]
    cameras[:, :3, 3] = scale * cameras[:, :3, 3] @ turn.T + shift
    capture = Capture(cameras, scale * truth.capture.points @ turn.T + shift, get_seen(truth.capture))
    return Truth(capture, scale * truth.subject @ turn.T + shift)


def find_seen(cameras: np.ndarray, points: np.ndarray, boxes: Sequence[tuple[Any, Any]]) -> np.ndarray:
    """(m, n) whether a point is in the picture of a camera and no box is between them."""
    offset = points[:, None] - cameras[:, :3, 3]
    local = np.einsum("mni,nij->mnj", offset, cameras[:, :3, :3])
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = (np.abs(local[..., 0] / local[..., 2]) < WIDTH / 2 / FOCAL) & (local[..., 2] > 0.05)
        seen &= np.abs(local[..., 1] / local[..., 2]) < HEIGHT / 2 / FOCAL
        for low, high in boxes:
            bounds = np.stack([np.array(low, float), np.array(high, float)])
            hits = (bounds[:, None, None] - cameras[:, :3, 3]) / offset  # as shares of the way
            enter, leave = hits.min(0).max(-1), hits.max(0).min(-1)
            seen &= ~((enter < leave) & (enter < 1 - 1e-6) & (leave > 0))
    return np.asarray(seen)


def get_cloud(capture: Capture) -> Cloud:
    """The points as the region reads them."""
    seen = get_seen(capture)
    observers = np.full((len(seen), OBSERVERS), -1, np.int32)
    for row, cameras in zip(observers, seen, strict=True):
        track = np.flatnonzero(cameras)
        if len(track) > OBSERVERS:
            track = track[np.linspace(0, len(track) - 1, OBSERVERS).astype(int)]
        row[: len(track)] = track
    return Cloud(capture.points, np.full(len(seen), 0.5), seen.sum(1).astype(np.int32), observers)


def draw_masks(cameras: np.ndarray, part: tuple[Any, Any]) -> np.ndarray:
    """(n, HEIGHT, WIDTH) masks of a box: 255 where the picture shows it."""
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    rays = np.stack([(x - WIDTH / 2) / FOCAL, (y - HEIGHT / 2) / FOCAL, np.ones_like(x)], -1).reshape(-1, 3)
    masks = []
    for camera in cameras:
        free = find_seen(camera[None], camera[:3, 3] + 100 * rays @ camera[:3, :3].T, [part])
        masks.append(np.where(free.reshape(HEIGHT, WIDTH), 0, 255))
    return np.array(masks, np.uint8)


def get_seen(capture: Capture) -> np.ndarray:
    return find_seen(capture.world_from_cam, capture.points, []) if capture.seen is None else capture.seen


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
    paths["frames-json"].write_text(json.dumps({"source": "video", "clips": [], "cuts": [], "frames": frames}))
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
        "unmoving": False,
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
    return [np.flatnonzero(row).tolist() for row in get_seen(capture)]


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
    settings = {"scene-type": "auto", "method": "robust", "margin": MARGIN}
    settings |= {name.replace("_", "-"): value for name, value in changes.items()}
    return [f"--{name}={value}" for name, value in {**inputs, **outputs, **settings}.items()]
