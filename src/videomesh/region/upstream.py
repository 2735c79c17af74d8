"""The region by the rules of NVIDIA's Neuralangelo, for comparison and for `region.method: upstream`."""

from typing import NamedTuple

import numpy as np

from videomesh.region.subject import Region, SceneType, ball_region
from videomesh.region.views import Views


class Upstream(NamedTuple):
    """The region that upstream Neuralangelo's preprocessing would choose, its one mistake mended (NA-10)."""

    region: Region
    radius_from_origin: float  # what it really uses: camera distances from the world's origin, not from the centre


def upstream_region(views: Views, xyz: np.ndarray, scene_type: SceneType) -> Upstream | None:
    """Upstream's three rules, reimplemented; None if they need points (n, 3) and there are none."""
    if scene_type == "object" or (scene_type == "outdoor" and upstream_concentric(views)):
        center = _mean_of_closest_points(views)
        radius = float(np.linalg.norm(views.center - center, axis=1).mean())
        rule = "upstream: mean closest point of all pairs of axes, mean camera distance"
        return Upstream(ball_region(center, radius, rule), float(np.linalg.norm(views.center, axis=1).mean()))
    if len(xyz) == 0:
        return None
    center, deviation = xyz.mean(0), xyz.std(0)
    radius = float(2 * deviation.max())
    box = np.stack([center - 3 * deviation, center + 3 * deviation], axis=1)
    return Upstream(Region(center, radius, box, "upstream: mean and two standard deviations of all points"), radius)


def upstream_concentric(views: Views) -> bool:
    """Upstream's test for outdoor scenes: over half of the cameras look at their mean and lie on a ring round it."""
    offset = views.center.mean(0) - views.center
    radius = np.linalg.norm(offset, axis=1)
    looking = (offset * views.forward).sum(1) > radius * np.cos(np.pi / 6)
    on_ring = np.abs(radius.mean() - radius) <= 0.5 * radius + 1e-8
    return float((looking & on_ring).mean()) > 0.5


def _mean_of_closest_points(views: Views) -> np.ndarray:
    """Mean over all n^2 ordered pairs of cameras of the point midway between their axes where these are closest.

    A camera with itself gives its own position. Parallel axes have no single solution: like upstream's least squares,
    the pseudoinverse takes the one of smallest norm.
    """
    total = views.center.sum(0)
    for i in range(len(views.center) - 1):
        first, second = views.forward[i], views.forward[i + 1 :]
        axes = np.stack([np.broadcast_to(first, second.shape), -second], axis=2)  # (m, 3, 2)
        offset = views.center[i + 1 :] - views.center[i]
        along = np.einsum("mij,mj->mi", np.linalg.pinv(axes, rcond=3 * np.finfo(float).eps), offset)
        closest = views.center[i] + first * along[:, :1] + views.center[i + 1 :] + second * along[:, 1:]
        total = total + closest.sum(0)  # 0.5 for the midpoint, 2 for both orders of the pair
    return total / len(views.center) ** 2
