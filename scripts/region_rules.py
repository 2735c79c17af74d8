"""Where the subject of a capture is: scene type, up direction and bounding sphere from camera poses and sparse points.

Pure geometry on numpy arrays, no files. World coordinates and lengths are COLMAP's, whose scale is arbitrary, so every
threshold here is an angle, a count, a share, or a multiple of a length measured in the same scene.
"NA-xx" are the failure cases this workflow guards against (docs/troubleshooting.md).
"""

from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

SceneType = Literal["object", "indoor", "outdoor"]
SCENE_TYPES: tuple[SceneType, ...] = ("object", "indoor", "outdoor")

LOOK_ANGLE = np.radians(30)  # a camera looks at a point within this angle of its axis (upstream's tolerance)
MIN_CONVERGENCE = 0.03  # axes of an arc of 35 degrees; below it their meeting point is noise
MIN_POINTS = 30  # fewer points say nothing about the extent of a subject


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


class Plane(NamedTuple):
    point: np.ndarray  # (3,)
    normal: np.ndarray  # (3,) length 1, towards the cameras


class Focus(NamedTuple):
    """What the cameras have in common. Shares are of all cameras, or of the good points for `between`."""

    point: np.ndarray | None  # (3,) where the optical axes meet; None if they do not
    looking_at_center: float  # share of cameras that look at it
    looking_out: float  # share of cameras that look away from the middle of all cameras
    one_way: float  # length of the mean viewing direction: 1 all look the same way, 0 all round
    between: float  # share of good points nearer to the meeting point than the cameras are (median); 1 without any


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


# ---------------------------------------------------------------------------------------------- cameras and points


def views_from(camera_to_world: np.ndarray) -> Views:
    """Views from (n, 4, 4) camera-to-world matrices in OpenCV axes (x right, y down, z forward)."""
    return Views(camera_to_world[:, :3, 3], camera_to_world[:, :3, 2], -camera_to_world[:, :3, 1])


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
    That needs cameras that turn; otherwise the mean of the images' up directions has to do.
    """
    mean = _unit(views.up.mean(0))
    values, vectors = np.linalg.eigh(views.right.T @ views.right / len(views.right))
    if values[1] < 0.1:  # all x axes point the same way: two directions are at right angles to them
        return mean
    normal = vectors[:, 0]
    return normal if normal @ views.up.mean(0) >= 0 else -normal


# -------------------------------------------------------------------------------------------------- focus and type


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


def find_focus(views: Views, cloud: Cloud) -> Focus:
    """Measure how the cameras look at, or away from, a common centre (NA-12)."""
    point, convergence = meeting_point(views)
    # What lies twice as far as the things a camera sees is not what it looks at: such axes are as good as parallel.
    looking = looks_at(views, point, 2 * median_depth(views, cloud))
    share = float(looking.mean()) if convergence >= MIN_CONVERGENCE else 0.0

    outward = views.center - views.center.mean(0)
    away = (outward * views.forward).sum(1) > 0.5 * np.linalg.norm(outward, axis=1)  # within 60 degrees
    good = cloud.xyz[good_points(cloud)]
    ring = np.median(np.linalg.norm(views.center - point, axis=1))
    between = float((np.linalg.norm(good - point, axis=1) < ring).mean()) if len(good) else 1.0
    one_way = float(np.linalg.norm(views.forward.mean(0)))
    return Focus(point if share >= 0.5 else None, share, float(away.mean()), one_way, between)


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


# ------------------------------------------------------------------------------------------------------ robust rule


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


def _unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])


# ----------------------------------------------------------------------------------------------- upstream's rules


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
