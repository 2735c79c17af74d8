"""What the cameras look at together: how many of them show a place, and which space they look through.

Both need no point on the subject itself, so that a plain thing, on which COLMAP finds nothing, is not overlooked.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from videomesh.region.views import Cloud, Lens, Views, place_in_pictures

CELLS = 28  # along an edge of the cube of cells
RAYS = 15_000  # lines of sight looked at; more say the same
FEW_RAYS = 0.25  # a cell through which a smaller share passes of what passes through well-seen ones is not proven empty
SPREAD = 0.5  # of the pictures' radius: middles of pictures farther from their centre show parts of a large thing
TOGETHER, IN_PARTS = 0.5, 0.25  # share of the cameras that show a place of the subject, and of a large thing
MASKS_SHOW = 0.25  # share of the cameras that must show a place; a mask that the picture's edge cuts says little beyond
MASKS_AGREE = 0.85  # share of the masks that show a place which must call it subject; edges of masks are not exact


class Masks(NamedTuple):
    """Which pixels are the subject, at a small size, for the cameras that have a mask."""

    cameras: np.ndarray  # (k,) rows of Views
    values: np.ndarray  # (k, height, width) uint8: 255 subject, 0 outside of it, else unknown


class Sight(NamedTuple):
    """The surroundings of what the cameras look at."""

    center: np.ndarray  # (3,) what they look at
    far: float  # distance of the cameras that show most of it
    narrow: float  # radius of the largest ball round the centre that fits the pictures of those cameras
    wide: float  # radius of the ball that touches the far edges of the pictures
    aims: np.ndarray | None  # (n, 3) what each camera looks at, if pictures show parts of a large thing
    least: float  # share of the cameras that show a place of the subject


def find_sight(views: Views, lens: Lens, center: np.ndarray) -> Sight:
    """Close-ups show parts only, so the extent of what is looked at is that of the pictures from farther away.

    Where the pictures' middles are far apart, there are none from farther away: each shows a part of a large thing.
    """
    depth = ((center - views.center) * views.forward).sum(1)
    aims = np.where((depth > 0)[:, None], views.center + depth[:, None] * views.forward, center)
    far = float(np.percentile(np.linalg.norm(views.center - center, axis=1), 75))
    in_parts = np.percentile(np.linalg.norm(aims - center, axis=1), 75) > SPREAD * far * np.sin(lens.narrow)
    if in_parts:
        far = float(np.percentile(np.linalg.norm(views.center - aims, axis=1), 75))
    widest = np.arctan(max(lens.left + lens.right, lens.up + lens.down) / 2)
    narrow, wide = far * float(np.sin(lens.narrow)), far * float(np.sin(widest))
    return Sight(center, far, narrow, wide, aims if in_parts else None, IN_PARTS if in_parts else TOGETHER)


def get_distance(sight: Sight, xyz: np.ndarray) -> np.ndarray:
    """(m,) distance of points (m, 3) from the nearest place that is looked at."""
    if sight.aims is None:
        return np.asarray(np.linalg.norm(xyz - sight.center, axis=1))
    return np.asarray(cKDTree(sight.aims).query(xyz)[0])


def get_spread(sight: Sight) -> float:
    """How far from the centre the farthest place is that is looked at."""
    return 0.0 if sight.aims is None else float(np.linalg.norm(sight.aims - sight.center, axis=1).max())


def share_of_cameras(views: Views, lens: Lens, sight: Sight, xyz: np.ndarray, border: float) -> np.ndarray:
    """(m,) share of the cameras that show points (m, 3) within border (0 to 1) of the way to the picture's edge.

    The picture of a camera that is nearer than most counts as if it were as wide as theirs: a close-up of a part says
    nothing against the rest.
    """
    aims = sight.center if sight.aims is None else sight.aims
    nearness = np.minimum(1.0, np.linalg.norm(views.center - aims, axis=1) / sight.far)
    shown = np.zeros(len(xyz))
    for start in range(0, len(xyz), 4096):  # to bound memory
        part = slice(start, start + 4096)
        shown[part] = (place_in_pictures(views, lens, xyz[part]) * nearness < border).mean(1)
    return shown


def make_cells(sight: Sight, half: float) -> np.ndarray:
    """Middles (CELLS ** 3, 3) of the cells of a cube."""
    ticks = (np.arange(CELLS) + 0.5) / CELLS * 2 * half - half
    return np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3) + sight.center


def half_a_cell(half: float) -> float:
    """From the middle of a cell to its corner."""
    return float(np.sqrt(3)) * half / CELLS


def count_rays(views: Views, cloud: Cloud, rows: np.ndarray, sight: Sight, half: float) -> np.ndarray:
    """(CELLS ** 3,) how many lines of sight from cameras to points pass each cell: what they pass is empty."""
    point, column = np.nonzero(cloud.observers[rows] >= 0)
    if len(point) > RAYS:
        chosen = np.sort(np.random.default_rng(0).choice(len(point), RAYS, replace=False))
        point, column = point[chosen], column[chosen]
    begin, end = views.center[cloud.observers[rows][point, column]], cloud.xyz[rows][point]
    length = np.linalg.norm(end - begin, axis=1)
    direction = (end - begin) / np.maximum(length, 1e-12)[:, None]
    size, reach = 2 * half / CELLS, np.sqrt(3) * half  # of a cell, of the ball round the cube
    offset = begin - sight.center
    closest = -(offset * direction).sum(1)
    inside = closest**2 - (offset**2).sum(1) + reach**2
    crossing = inside > 0
    chord = np.sqrt(inside[crossing])
    first = np.maximum(0, closest[crossing] - chord)
    last = np.minimum(length[crossing] - size, closest[crossing] + chord)  # the point's own cell is not empty
    offset, direction = offset[crossing] + half, direction[crossing]
    count = np.zeros(CELLS**3, dtype=np.int64)
    for step in np.arange(0.5 * size, 2 * reach, size):
        depth = first + step
        cell = np.floor((offset + direction * depth[:, None]) / size).astype(np.int64)
        within = (depth < last) & ((cell >= 0) & (cell < CELLS)).all(1)
        if not (depth < last).any():
            break
        count += np.bincount(cell[within] @ [CELLS * CELLS, CELLS, 1], minlength=CELLS**3)
    return count


def in_masks(views: Views, lens: Lens, masks: Masks, xyz: np.ndarray) -> np.ndarray:
    """(m,) whether nearly all masks that show points (m, 3) call them subject, and at least two do."""
    height, width = masks.values.shape[1:]
    votes, shown = np.zeros(len(xyz)), np.zeros(len(xyz))
    for camera, mask in zip(masks.cameras, masks.values, strict=True):
        offset = xyz - views.center[camera]
        depth = offset @ views.forward[camera]
        with np.errstate(divide="ignore", invalid="ignore"):
            x = (offset @ views.right[camera] / depth + lens.left) / (lens.left + lens.right) * width
            y = (lens.up - offset @ views.up[camera] / depth) / (lens.up + lens.down) * height
        inside = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        value = np.full(len(xyz), 128, np.uint8)
        value[inside] = mask[y[inside].astype(int), x[inside].astype(int)]
        votes += value == 255
        shown += (value == 255) | (value == 0)
    return (votes >= 2) & (votes >= MASKS_AGREE * shown)
