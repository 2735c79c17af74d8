"""Where the subject is: the scene type, the points that belong to it, and the sphere round them."""

from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from videomesh.region.views import Cloud, Focus, Views, good_points, up_direction, viewing_spread

SceneType = Literal["object", "indoor", "outdoor"]
SCENE_TYPES: tuple[SceneType, ...] = ("object", "indoor", "outdoor")
MIN_POINTS = 30  # fewer points say nothing about the extent of a subject


class Plane(NamedTuple):
    point: np.ndarray  # (3,)
    normal: np.ndarray  # (3,) length 1, towards the cameras


class Region(NamedTuple):
    center: np.ndarray  # (3,)
    radius: float
    aabb_range: np.ndarray  # (3, 2) lowest and highest x, y, z
    rule: str  # how it was found, in words


class Subject(NamedTuple):
    """The points that the region has to hold, whatever sphere is used in the end."""

    mask: np.ndarray  # (n,) bool, rows of Cloud
    region: Region  # the robust rule's sphere round them
    plane: Plane | None  # what the subject stands on


def guess_scene_type(focus: Focus) -> SceneType:
    """Scene type from the poses (NA-12).

    object: most cameras look at a common centre and there is something at it. indoor: they look at a common centre and
    nearly all points lie beyond the cameras (a room filmed across), or they look out, or all round. outdoor: the rest,
    cameras that look one way (a facade, a street). An object filmed outdoors counts as object: it is treated alike.
    """
    if focus.looking_at_center >= 0.5:
        return "object" if focus.between >= 0.1 else "indoor"
    if focus.looking_out > 0.6 or focus.one_way < 0.5:
        return "indoor"
    return "outdoor"


def find_subject(views: Views, cloud: Cloud, scene_type: SceneType, focus: Focus, margin: float) -> Subject:
    """The robust rule: which points are the subject, and the smallest sphere round them times margin."""
    if scene_type == "object" or (scene_type == "outdoor" and focus.point is not None):
        return _object_subject(views, cloud, focus, margin)
    return _surroundings(views, cloud, margin, with_cameras=scene_type == "indoor")


def _object_subject(views: Views, cloud: Cloud, focus: Focus, margin: float) -> Subject:
    """The thing the cameras look at: the cluster of points near their focus, without the ground it stands on."""
    center = focus.point if focus.point is not None else _middle(views, cloud)
    distance = np.linalg.norm(views.center - center, axis=1)
    scale = float(np.median(distance))  # every length below is a multiple of the usual camera distance
    near = np.linalg.norm(cloud.xyz - center, axis=1) < 0.75 * scale
    sharp = good_points(cloud, max_error=1.2) & (viewing_spread(views, cloud) > np.radians(4))
    candidates = np.flatnonzero(near & sharp)
    if len(candidates) < MIN_POINTS:
        candidates = np.flatnonzero(near & good_points(cloud))
    if len(candidates) < MIN_POINTS:
        return _poses_only(cloud, center, 0.5 * scale, "half the camera distance round the point the cameras look at")

    plane = _ground_plane(views, cloud.xyz[candidates], center, scale)
    rule = "points near the point the cameras look at"
    if plane is not None:
        height = (cloud.xyz[candidates] - plane.point) @ plane.normal
        candidates = candidates[height > 0.024 * scale]
        rule = "points above the ground plane, near the point the cameras look at"
    chosen = candidates[_main_cluster(cloud.xyz[candidates], center, scale)]
    points = cloud.xyz[chosen]
    if plane is not None:
        points = np.concatenate([points, _footprint(points, plane, 0.15 * scale)])
    middle, radius = enclosing_ball(points)
    radius *= margin
    nearest = float(np.linalg.norm(views.center - middle, axis=1).min())
    # The engines start their rays outside the sphere. A camera much nearer than the others may be a stray: ignore it.
    if nearest > 0.3 * scale and radius > 0.85 * nearest:
        radius, rule = 0.85 * nearest, rule + ", limited by the nearest camera"
    return Subject(_mask(chosen, cloud), ball_region(middle, radius, rule), plane)


def _surroundings(views: Views, cloud: Cloud, margin: float, with_cameras: bool) -> Subject:
    """A room or a street: all points except the few far away (seen through windows, mistakes); NA-11."""
    chosen = np.flatnonzero(good_points(cloud))
    if len(chosen) < MIN_POINTS:
        center = views.center.mean(0)
        extent = float(np.linalg.norm(views.center - center, axis=1).max())
        return _poses_only(cloud, center, 2 * extent, "twice the extent of the cameras")
    distance = np.linalg.norm(cloud.xyz[chosen] - np.median(cloud.xyz[chosen], axis=0), axis=1)
    chosen = chosen[distance <= 3 * np.median(distance)]
    low, high = np.percentile(cloud.xyz[chosen], [2, 98], axis=0)
    chosen = chosen[((cloud.xyz[chosen] >= low) & (cloud.xyz[chosen] <= high)).all(1)]
    points = cloud.xyz[chosen]
    rule = "points without the 2 % farthest on each side"
    if with_cameras:
        points, rule = np.concatenate([points, views.center]), rule + ", and the cameras"
    center, radius = enclosing_ball(points)
    return Subject(_mask(chosen, cloud), ball_region(center, margin * radius, rule), None)


def _poses_only(cloud: Cloud, center: np.ndarray, radius: float, rule: str) -> Subject:
    inside = np.linalg.norm(cloud.xyz - center, axis=1) < radius
    return Subject(inside, ball_region(center, radius, "too few points, so " + rule), None)


def _middle(views: Views, cloud: Cloud) -> np.ndarray:
    """The middle of the good points, for cameras whose axes do not meet; a point ahead of them if there are none."""
    good = good_points(cloud)
    if good.any():
        return np.median(cloud.xyz[good], axis=0)
    extent = np.linalg.norm(views.center - views.center.mean(0), axis=1).max()
    return views.center.mean(0) + views.forward.mean(0) * max(float(extent), 1e-6)


def _ground_plane(views: Views, points: np.ndarray, focus: np.ndarray, scale: float) -> Plane | None:
    """The plane that the subject stands on, or None: RANSAC with the cameras above it and little below it."""
    thickness = 0.012 * scale
    random = np.random.default_rng(0)
    sample = points if len(points) <= 4000 else points[random.choice(len(points), 4000, replace=False)]
    corner = sample[random.integers(len(sample), size=(1500, 3))]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    length = np.linalg.norm(normal, axis=1)
    corner, normal = corner[length > 1e-9 * scale**2, 0], normal[length > 1e-9 * scale**2]
    normal = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    offset = (corner * normal).sum(1)
    camera_height = views.center @ normal.T - offset  # (cameras, planes)
    flip = np.where(np.median(camera_height, axis=0) < 0, -1.0, 1.0)
    normal, offset, camera_height = normal * flip[:, None], offset * flip, camera_height * flip
    usable = (camera_height > 0.02 * scale).mean(0) >= 0.97
    usable &= np.abs(normal @ focus - offset) < 0.45 * scale
    usable &= normal @ up_direction(views) > 0.5  # a floor or a table, not the facade of the subject
    if not usable.any():
        return None
    normal, offset = normal[usable], offset[usable]
    support = (np.abs(sample @ normal.T - offset) < thickness).sum(0)
    best = int(support.argmax())
    if support[best] <= 0.12 * len(sample):
        return None
    on_plane = points[np.abs(points @ normal[best] - offset[best]) < thickness]
    origin = on_plane.mean(0)
    refined = np.linalg.svd(on_plane - origin, full_matrices=False)[2][2]
    refined = refined * np.sign(refined @ normal[best])
    height = (points - origin) @ refined
    # Many points below: the plane cuts the subject. Few above: it is a side of the subject.
    if (height < -3 * thickness).mean() >= 0.15 or (height > 2 * thickness).sum() < 2 * MIN_POINTS:
        return None
    return Plane(origin, refined)


def _main_cluster(points: np.ndarray, focus: np.ndarray, scale: float) -> np.ndarray:
    """Rows of points that form the subject: dense, connected, near the focus, without the outermost percent."""
    neighbours = min(6, len(points) - 1)
    sparse = np.asarray(cKDTree(points).query(points, k=[neighbours + 1])[0])[:, 0]
    rows = np.flatnonzero(sparse <= np.percentile(sparse, 97))
    # Clusters of occupied cells of 2 % of the camera distance, linked over up to five cells. Those that count little
    # against the best one go; several stay if they are alike, because a plain middle part without points must not cost
    # half of the subject.
    cells, cell = np.unique(np.floor(points[rows] / (0.02 * scale)), axis=0, return_inverse=True)
    pairs = cKDTree(cells).query_pairs(5.0, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(cells), len(cells)))
    count, label = connected_components(graph, directed=False)
    label = label[cell.reshape(-1)]
    middle = np.array([np.median(points[rows[label == k]], axis=0) for k in range(count)])
    nearness = np.exp(-((np.linalg.norm(middle - focus, axis=1) / (0.4 * scale)) ** 2))
    weight = np.bincount(label) * nearness
    rows = rows[(weight >= 0.1 * weight.max())[label]]
    low, high = np.percentile(points[rows], [1, 99], axis=0)
    slack = 0.02 * scale
    return rows[((points[rows] >= low - slack) & (points[rows] <= high + slack)).all(1)]


def _footprint(points: np.ndarray, plane: Plane, height: float) -> np.ndarray:
    """The low points dropped onto the plane: where the subject touches the ground, points are rare."""
    above = (points - plane.point) @ plane.normal
    low = above < height
    return points[low] - above[low, None] * plane.normal


def enclosing_ball(points: np.ndarray, iterations: int = 1000) -> tuple[np.ndarray, float]:
    """Centre and radius of a ball round all points, nearly the smallest (Badoiu and Clarkson 2003: steps of 1/i)."""
    center = points.mean(0)
    for i in range(iterations):
        farthest = points[((points - center) ** 2).sum(1).argmax()]
        center = center + (farthest - center) / (i + 2)
    return center, float(np.linalg.norm(points - center, axis=1).max())


def ball_region(center: np.ndarray, radius: float, rule: str) -> Region:
    """A region whose box is the cube round its sphere."""
    return Region(center, radius, np.stack([center - radius, center + radius], axis=1), rule)


def _mask(rows: np.ndarray, cloud: Cloud) -> np.ndarray:
    mask = np.zeros(len(cloud.xyz), dtype=bool)
    mask[rows] = True
    return mask
