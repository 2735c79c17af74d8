"""Cameras and sparse points: where they are, what they see, and what the cameras have in common.

Pure geometry on numpy arrays. World coordinates and lengths are COLMAP's, whose scale is arbitrary, so every threshold
here and in subject.py is an angle, a count, a share, or a multiple of a length measured in the same scene. "NA-xx" are
failures of Neuralangelo that this guards against (docs/neuralangelo.md).
"""

from typing import NamedTuple

import numpy as np

LOOK_ANGLE = np.radians(30)  # a camera looks at a point within this angle of its axis (upstream's tolerance)
TOGETHER = 0.5  # share of the cameras that make a place what they look at together
MIN_CONVERGENCE = 0.03  # axes of an arc of 35 degrees; below it their meeting point is noise


class Views(NamedTuple):
    """The cameras, one row each; vectors of length 1."""

    center: np.ndarray  # (n, 3)
    forward: np.ndarray  # (n, 3) viewing direction
    up: np.ndarray  # (n, 3) the image's upward direction

    @property
    def right(self) -> np.ndarray:
        return np.cross(self.forward, self.up)


class Cloud(NamedTuple):
    """The sparse points, one row each."""

    xyz: np.ndarray  # (n, 3)
    error: np.ndarray  # (n,) mean reprojection error, pixels
    track: np.ndarray  # (n,) number of observations
    observers: np.ndarray  # (n, k) rows of Views that see the point, -1 padded


class Lens(NamedTuple):
    """How far the picture of the one camera reaches from its axis, as tangents."""

    left: float
    right: float
    up: float
    down: float

    @property
    def narrow(self) -> float:
        """Radians from the axis to the nearest edge, for an axis in the middle of the picture."""
        return float(np.arctan(min(self.left + self.right, self.up + self.down) / 2))


class Focus(NamedTuple):
    """What the cameras have in common. Shares are of all cameras, or of the good points for `between`."""

    point: np.ndarray | None  # (3,) what the cameras look at; None if it is no one place
    rule: str  # how it was found, in words
    looking_at_center: float  # share of cameras that look at it and have it in their picture
    looking_out: float  # share of cameras that look away from the middle of all cameras
    one_way: float  # length of the mean viewing direction: 1 all look the same way, 0 all round
    between: float  # share of good points nearer to the meeting point than the cameras are (median); 1 without any


def views_from(world_from_cam: np.ndarray) -> Views:
    """Views from (n, 4, 4) matrices world_from_cam in OpenCV's axes (x right, y down, z forward)."""
    return Views(world_from_cam[:, :3, 3], world_from_cam[:, :3, 2], -world_from_cam[:, :3, 1])


def lens_from(width: float, height: float, focal: tuple[float, float], principal: tuple[float, float]) -> Lens:
    (fx, fy), (cx, cy) = focal, principal
    return Lens(cx / fx, (width - cx) / fx, cy / fy, (height - cy) / fy)


def place_in_pictures(views: Views, lens: Lens, xyz: np.ndarray) -> np.ndarray:
    """(m, n) where points (m, 3) are in the pictures: 0 on the axis, 1 at the edge, more outside, inf behind."""
    offset = xyz[:, None] - views.center
    depth, across, upward = ((offset * axis).sum(-1) for axis in (views.forward, views.right, views.up))
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(across < 0, -across / lens.left, across / lens.right) / depth
        y = np.where(upward < 0, -upward / lens.down, upward / lens.up) / depth
    return np.where(depth > 0, np.maximum(x, y), np.inf)


def depths(views: Views, cloud: Cloud) -> np.ndarray:
    """(n, k) distance along the viewing axis from each observer to its point, nan where there is no observer."""
    seen = cloud.observers >= 0
    observer = np.where(seen, cloud.observers, 0)
    offset = cloud.xyz[:, None] - views.center[observer]
    return np.where(seen, (offset * views.forward[observer]).sum(-1), np.nan)


def median_depth(views: Views, cloud: Cloud) -> np.ndarray:
    """(n,) median depth of the points each camera sees; the scene's median where it sees none, inf without points."""
    depth = depths(views, cloud)
    seen = cloud.observers >= 0
    if not seen.any():
        return np.full(len(views.center), np.inf)
    camera, depth = cloud.observers[seen], depth[seen]
    order = np.argsort(camera, kind="stable")
    names, starts = np.unique(camera[order], return_index=True)
    result = np.full(len(views.center), np.median(depth))
    result[names] = [np.median(part) for part in np.split(depth[order], starts[1:])]
    return result


def good_points(cloud: Cloud, max_error: float = 2.0) -> np.ndarray:
    """(n,) mask of points worth trusting: seen three times, reprojection error below max_error pixels (NA-11)."""
    return (cloud.track >= 3) & (cloud.error < max_error) & np.isfinite(cloud.xyz).all(1)


def viewing_spread(views: Views, cloud: Cloud) -> np.ndarray:
    """(n,) radians: largest angle between a point's mean viewing direction and one of its observers'.

    A small spread means that the depth of the point is uncertain.
    """
    seen = (cloud.observers >= 0)[..., None]
    towards = np.where(seen, views.center[np.maximum(cloud.observers, 0)] - cloud.xyz[:, None], 0.0)
    towards /= np.maximum(np.linalg.norm(towards, axis=-1, keepdims=True), 1e-12)
    mean = towards.sum(1)
    mean /= np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
    cosine = np.where(seen[..., 0], (towards * mean[:, None]).sum(-1), 1.0)
    return np.arccos(np.clip(cosine, -1, 1)).max(1, initial=0.0)


def up_direction(views: Views) -> np.ndarray:
    """(3,) the scene's upward direction as the person held the camera.

    People keep the horizon level, so all image x axes are horizontal and up is the direction at right angles to them.
    That needs cameras that turn; otherwise the mean of the images' up directions has to do. Where that is none, as on a
    flight to and fro, the cameras look down.
    """
    mean, ahead = views.up.mean(0), views.forward.mean(0)
    values, vectors = np.linalg.eigh(views.right.T @ views.right / len(views.right))
    if values[1] < 0.1:  # all x axes point the same way: two directions are at right angles to them
        return _unit(mean if np.linalg.norm(mean) > 0.3 else -ahead)
    normal = vectors[:, 0]
    return normal if normal @ (mean - 0.5 * ahead) >= 0 else -normal


def meeting_point(views: Views) -> tuple[np.ndarray, float]:
    """The point nearest to all optical axes, robust against strays, and how well the axes determine it (0 to 2/3).

    Least squares over the distances to the axes, reweighted by the inverse distance (an L1 fit). The second number is
    the smallest eigenvalue of the mean projector across the axes: 0 for parallel axes, 0.5 for a full circle.
    """
    across = np.eye(3) - views.forward[:, :, None] * views.forward[:, None, :]
    weight = np.ones(len(across))
    point = views.center.mean(0)
    for _ in range(10):
        matrix = np.einsum("n,nij->ij", weight, across)
        right_side = np.einsum("n,nij,nj->i", weight, across, views.center)
        point = np.linalg.lstsq(matrix, right_side, rcond=None)[0]
        distance = np.linalg.norm(np.einsum("nij,nj->ni", across, point - views.center), axis=1)
        weight = 1 / np.maximum(distance, 0.5 * np.median(distance) + 1e-9)
    return point, float(np.linalg.eigvalsh(across.mean(0))[0])


def looks_at(views: Views, point: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """(n,) mask of cameras that look at a point: ahead, within 30 degrees of the axis, no farther than reach (n,)."""
    offset = point - views.center
    distance = np.linalg.norm(offset, axis=1)
    return ((offset * views.forward).sum(1) > distance * np.cos(LOOK_ANGLE)) & (distance <= reach)


def find_focus(views: Views, cloud: Cloud, lens: Lens) -> Focus:
    """Measure how the cameras look at, or away from, a common centre (NA-12)."""
    point, convergence = meeting_point(views)
    rule = "the point where the axes of the cameras meet"
    # Without points there is nothing better than axes that hardly converge.
    enough = convergence >= (MIN_CONVERGENCE if len(cloud.xyz) else 0.1 * MIN_CONVERGENCE)
    share = _share_that_looks_at(views, cloud, lens, point) if enough else 0.0
    if share < TOGETHER:  # a short arc, or photos that show a thing at many places of the picture
        seen = middle_of_pictures(views, cloud, lens)
        if seen is not None:
            share = _share_that_looks_at(views, cloud, lens, seen)
            point, rule = seen, "the point that is in the middle of the pictures"

    outward = views.center - views.center.mean(0)
    away = (outward * views.forward).sum(1) > 0.5 * np.linalg.norm(outward, axis=1)  # within 60 degrees
    good = cloud.xyz[good_points(cloud)]
    ring = np.median(np.linalg.norm(views.center - point, axis=1))
    between = float((np.linalg.norm(good - point, axis=1) < ring).mean()) if len(good) else 1.0
    one_way = float(np.linalg.norm(views.forward.mean(0)))
    found = share >= TOGETHER
    return Focus(point if found else None, rule, share, float(away.mean()), one_way, between)


def _share_that_looks_at(views: Views, cloud: Cloud, lens: Lens, point: np.ndarray) -> float:
    """Share of the cameras that look at a point and have it in their picture."""
    # What lies twice as far as the things a camera sees is not what it looks at: such axes are as good as parallel.
    looking = looks_at(views, point, 2 * median_depth(views, cloud))
    return float((looking & (place_in_pictures(views, lens, point[None])[0] < 1)).mean())


def middle_of_pictures(views: Views, cloud: Cloud, lens: Lens) -> np.ndarray | None:
    """The place that the middles of most pictures show, by the depth of the points in them; None if they differ.

    They are one place if they lie within a quarter of their distance from each other. The pictures of a walk along a
    facade, or of a flight over a field, show many.
    """
    rows, columns = np.nonzero(cloud.observers >= 0)
    camera = cloud.observers[rows, columns]
    offset = cloud.xyz[rows] - views.center[camera]
    depth = (offset * views.forward[camera]).sum(-1)
    beside = np.linalg.norm(offset - depth[:, None] * views.forward[camera], axis=1)
    central = (depth > 0) & (beside < 0.5 * np.tan(lens.narrow) * depth)
    camera, depth = camera[central], depth[central]
    cameras = [k for k in np.unique(camera) if (camera == k).sum() >= 5]
    if len(cameras) < 0.5 * len(views.center):
        return None
    depth = np.array([np.median(depth[camera == k]) for k in cameras])
    places = views.center[cameras] + depth[:, None] * views.forward[cameras]
    point = np.median(places, axis=0)
    away = np.median(np.linalg.norm(places - point, axis=1))
    return point if away < 0.25 * np.median(depth) else None


def _unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])
