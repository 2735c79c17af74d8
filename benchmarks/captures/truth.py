"""What is known exactly of a rendered capture: its surface, and which frame sees which part of it."""

import math
from typing import Any

import numpy as np

from shapes import Part, Scene, to_shapes
from tracing import FAR, ROOM, crossings, normals, seen_from

MARGIN = 0.02  # what is nearer to the table or wall than this does not count: the mesh has both in one piece
SEEN_WITHIN = 2e-3  # a point is seen if its ray meets nothing up to this before it
LINES = 100_000  # at a time


def describe(scene: Scene, cameras: np.ndarray, focal: float, width: int, height: int, points: int) -> dict[str, Any]:
    """The content of truth.npz. cameras: (frames, 4, 4) camera-to-world, OpenGL axes.

    surface (n, 3) and normals: points spread evenly over the whole subject, about `spacing` apart
    visible (m, 3): those of the first third of them that some frame sees, away from table and wall
    seen_by (m, frames / 8): a bit for each frame that sees the point, as np.packbits orders them
    distance (frames,): of the visible points from the camera's plane, median
    planes (k, 4): a x + b y + c z + d is the height above a table or wall; below `margin` nothing counts
    """
    surface, spacing = sample_surface(scene, points)
    facing = normals(to_shapes(scene, subject_only=True), surface)  # it may touch the table
    planes = np.array(scene.planes, float).reshape(-1, 4)
    candidates = np.arange(len(surface) // 3)
    above = surface[candidates] @ planes[:, :3].T + planes[:, 3] > MARGIN
    candidates = candidates[above.all(1)]
    seen = count_views(scene, surface[candidates], facing[candidates], cameras, focal, width, height)
    some = seen.any(1)
    visible, seen = surface[candidates[some]], seen[some]
    if not len(visible):
        raise ValueError("no frame sees the subject")
    centre = (surface.min(0) + surface.max(0)) / 2
    radius = np.linalg.norm(surface - centre, axis=1).max()
    return {
        "surface": surface.astype("f4"),
        "normals": facing.astype("f4"),
        "spacing": spacing,
        "visible": visible.astype("f4"),
        "seen_by": np.packbits(seen, axis=1),
        "scale": 1.0,
        "camera_to_world": cameras,
        "focal": focal,
        "width": width,
        "height": height,
        "distance": median_depth(visible, seen, cameras),
        "object_length": float(np.ptp(surface, axis=0).max()),
        "crop_center": centre,
        "crop_radius": 1.05 * float(radius),
        "planes": planes,
        "margin": MARGIN,
    }


def sample_surface(scene: Scene, count: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """(count, 3) points spread evenly over the subject's surface, and the side of the square that each stands for.

    Lines that are as likely in each place and direction meet each piece of a surface as often as it is large, and
    their number gives the area (Crofton's formula).
    """
    shapes = to_shapes(scene, subject_only=True)
    centre, radius = ball_round([part for thing in scene.things if thing.subject for part in thing.parts])
    generator = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    lines = 0
    while sum(map(len, found)) < count:
        directions = unit(generator.standard_normal((LINES, 3)))
        across = unit(np.cross(directions, generator.standard_normal((LINES, 3))))
        offset = radius * np.sqrt(generator.random((LINES, 1)))
        origins = centre + offset * across - radius * directions
        lengths = crossings(shapes, origins, directions, 2 * radius, 24)
        rows, columns = np.nonzero(lengths < FAR)
        found.append(origins[rows] + lengths[rows, columns, None] * directions[rows])
        lines += LINES
    points = np.concatenate(found)
    area = len(points) / lines * 2 * math.pi * radius**2
    return points[:count], math.sqrt(area / count)


def ball_round(parts: list[Part]) -> tuple[np.ndarray, float]:
    """A ball round all parts, with some room."""
    reach = np.array([math.hypot(*part.size) if part.kind == ROOM else part.reach() for part in parts])
    at = np.array([part.at for part in parts])
    centre = ((at - reach[:, None]).min(0) + (at + reach[:, None]).max(0)) / 2
    return centre, 1.01 * float((np.linalg.norm(at - centre, axis=1) + reach).max())


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def count_views(
    scene: Scene, points: np.ndarray, facing: np.ndarray, cameras: np.ndarray, focal: float, width: int, height: int
) -> np.ndarray:
    """(n, frames) whether each frame sees each point."""
    shapes = to_shapes(scene)
    views = [seen_from(shapes, points, facing, camera, focal, width, height, SEEN_WITHIN) for camera in cameras]
    return np.stack(views, axis=1)


def median_depth(points: np.ndarray, seen: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """(frames,) median depth of what each frame sees; of all points where it sees none."""
    depths = []
    for camera, mask in zip(cameras, seen.T, strict=True):
        chosen = points[mask] if mask.any() else points
        depths.append(float(np.median((camera[:3, 3] - chosen) @ camera[:3, 2])))
    return np.array(depths)
