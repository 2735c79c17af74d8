"""Where the subject is: the scene type, the points that belong to it, and the sphere round them."""

from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from videomesh.region.together import (
    FEW_RAYS,
    MASKS_SHOW,
    Masks,
    Sight,
    count_rays,
    find_sight,
    get_distance,
    get_spread,
    half_a_cell,
    in_masks,
    make_cells,
    share_of_cameras,
)
from videomesh.region.views import Cloud, Focus, Lens, Views, good_points, median_depth, viewing_spread

SceneType = Literal["object", "indoor", "outdoor"]
SCENE_TYPES: tuple[SceneType, ...] = ("object", "indoor", "outdoor")
MIN_POINTS = 30  # fewer points say nothing about the extent of a subject
FEW = 8  # points together that may be a mistake
NEIGHBOURS = 6
FILLED = 0.67  # of the ball that fits the pictures: people leave some room round what they film


class Plane(NamedTuple):
    point: np.ndarray  # (3,)
    normal: np.ndarray  # (3,) length 1, towards the cameras
    thickness: float  # within which its points lie


class Region(NamedTuple):
    center: np.ndarray  # (3,)
    radius: float
    aabb_range: np.ndarray  # (3, 2) lowest and highest x, y, z
    rule: str  # how it was found, in words


class Subject(NamedTuple):
    """What the region has to hold, whatever sphere is used in the end."""

    mask: np.ndarray  # (n,) bool, rows of Cloud
    region: Region  # the robust rule's sphere round them
    plane: Plane | None  # what the subject stands on
    extent: np.ndarray  # (m, 3) its points, and middles of cells that may be part of it


def guess_scene_type(focus: Focus) -> SceneType:
    """Scene type from the poses (NA-12).

    object: most cameras look at a common centre and there is something at it. indoor: they look at a common centre and
    nearly all points lie beyond the cameras (a room filmed across), or they look out, or all round. outdoor: the rest,
    cameras that look one way (a facade, a street). An object filmed outdoors counts as object: it is treated alike.
    """
    if focus.point is not None:
        return "object" if focus.between >= 0.1 else "indoor"
    if focus.looking_out > 0.6 or focus.one_way < 0.5:
        return "indoor"
    return "outdoor"


def find_subject(
    views: Views,
    cloud: Cloud,
    lens: Lens,
    scene_type: SceneType,
    focus: Focus,
    up: np.ndarray,
    margin: float,
    masks: Masks | None,
) -> Subject:
    """The robust rule: which points are the subject, and the smallest sphere round it times margin."""
    if scene_type == "object" or (scene_type == "outdoor" and guess_scene_type(focus) == "object"):
        return _object_subject(views, cloud, lens, focus, up, margin, masks)
    return _surroundings(views, cloud, margin, with_cameras=scene_type == "indoor")


def find_ground(views: Views, cloud: Cloud, lens: Lens, focus: Focus, up: np.ndarray) -> Plane | None:
    """The floor or table below what the cameras look at, or the ground below a flight; None if there is none.

    up: roughly; only it tells a ground from a wall
    """
    if focus.point is not None:
        candidates = _points_in_sight(views, cloud, lens, find_sight(views, lens, focus.point))
        scale = float(np.median(np.linalg.norm(views.center - focus.point, axis=1)))
        return _ground_plane(views, cloud.xyz[candidates], focus.point, scale, up)
    points = cloud.xyz[good_points(cloud)]
    depth = float(np.median(median_depth(views, cloud)))
    if focus.one_way < 0.5 or not np.isfinite(depth):
        return None
    # Of cameras that all look one way, up may be off by as much as they look down.
    return _ground_plane(views, points, None, depth, up, least=0.35)


def _object_subject(
    views: Views,
    cloud: Cloud,
    lens: Lens,
    focus: Focus,
    up: np.ndarray,
    margin: float,
    masks: Masks | None,
) -> Subject:
    """What the cameras look at together: the points there, without the ground it stands on, and the space there that is
    not proven empty, since a plain thing has no points."""
    center = focus.point if focus.point is not None else _middle(views, cloud)
    scale = float(np.median(np.linalg.norm(views.center - center, axis=1)))  # lengths below are multiples of it
    sight = find_sight(views, lens, center)
    candidates = _points_in_sight(views, cloud, lens, sight)
    if masks is not None:
        candidates = candidates[in_masks(views, lens, masks, cloud.xyz[candidates])]
        space = _space_in_masks(views, lens, sight, masks)
        if len(space):
            chosen = candidates[_dense(cloud.xyz[candidates])]
            points = np.concatenate([space, cloud.xyz[chosen]])
            rule = "what most masks call the subject"
            return _round(
                points, chosen, views, cloud, margin, None, rule, half_a_cell(1.1 * sight.wide + get_spread(sight))
            )

    plane = _ground_plane(views, cloud.xyz[candidates], center, scale, up)
    shown = "most pictures show" if sight.aims is None else "a quarter of the pictures show, as each shows a part"
    rule = f"what {shown}, near {focus.rule}"
    above, footprint = candidates, np.zeros((0, 3))
    if plane is not None:
        height = (cloud.xyz[candidates] - plane.point) @ plane.normal
        above = candidates[height > plane.thickness]
        flat = candidates[np.abs(height) <= plane.thickness]
        if len(above) < MIN_POINTS and _is_bare(cloud.xyz[flat], plane, sight):
            above = candidates[share_of_cameras(views, lens, sight, cloud.xyz[candidates], 0.8) >= sight.least]
            rule += ", with the ground, since nothing stands on it"
        else:
            rule += ", above the ground plane"
    if len(above):
        usual = float(np.median(_distance_to_neighbours(cloud.xyz[candidates])))
        above = above[_distance_to_neighbours(cloud.xyz[above]) <= 6 * usual]
    if len(above):
        above = above[_main_clusters(cloud.xyz[above], sight, scale)]
    if plane is not None:
        footprint = _footprint(cloud.xyz[above], plane, 0.15 * scale)
    space = _space_not_empty(views, cloud, lens, sight, plane)
    points = np.concatenate([_widen(cloud.xyz[above]), footprint, space])
    if len(above) < MIN_POINTS:
        rule += "; too few points are on it to tell more"
    return _round(points, above, views, cloud, margin, plane, rule)


def _round(
    points: np.ndarray,
    chosen: np.ndarray,
    views: Views,
    cloud: Cloud,
    margin: float,
    plane: Plane | None,
    rule: str,
    more: float = 0.0,
) -> Subject:
    middle, least = enclosing_ball(points)
    least += more
    radius = least * margin
    # Engines learn from cameras outside of the sphere more surely, but never shall that cut the subject. A camera much
    # nearer than the others may be a stray.
    nearest = 0.95 * float(np.percentile(np.linalg.norm(views.center - middle, axis=1), 5))
    if least < nearest < radius:
        radius, rule = nearest, rule + ", limited by the nearest cameras"
    return Subject(_mask(chosen, cloud), ball_region(middle, radius, rule), plane, points)


def _points_in_sight(views: Views, cloud: Cloud, lens: Lens, sight: Sight) -> np.ndarray:
    """Rows of the sharp points that at least half of the pictures show, no farther away than pictures reach."""
    near = get_distance(sight, cloud.xyz) < min(0.75 * sight.far, 1.1 * sight.wide)
    near &= share_of_cameras(views, lens, sight, cloud.xyz, 0.85) >= sight.least
    sharp = np.flatnonzero(near & good_points(cloud, max_error=1.2) & (viewing_spread(views, cloud) > np.radians(4)))
    return sharp if len(sharp) >= MIN_POINTS else np.flatnonzero(near & good_points(cloud))


def _space_in_masks(views: Views, lens: Lens, sight: Sight, masks: Masks) -> np.ndarray:
    """Middles of the cells that the masks call subject, of those that enough cameras show to tell."""
    cells = make_cells(sight, 1.1 * sight.wide + get_spread(sight))
    cells = cells[share_of_cameras(views, lens, sight, cells, 1.0) >= MASKS_SHOW]
    return cells[in_masks(views, lens, masks, cells)]


def _space_not_empty(views: Views, cloud: Cloud, lens: Lens, sight: Sight, plane: Plane | None) -> np.ndarray:
    """Middles of the cells in the middle of most pictures through which no camera sees a point behind."""
    half = sight.narrow + get_spread(sight)
    cells = make_cells(sight, half)
    inside = get_distance(sight, cells) < FILLED * sight.narrow
    if plane is not None:
        inside &= (cells - plane.point) @ plane.normal > plane.thickness
    rows = np.flatnonzero(good_points(cloud))
    if len(rows) < MIN_POINTS:
        return cells[inside]
    count = count_rays(views, cloud, rows, sight, half)
    enough = max(2.0, FEW_RAYS * float(np.percentile(count[inside], 75))) if inside.any() else 2.0
    return cells[inside & (count < enough)]


def _surroundings(views: Views, cloud: Cloud, margin: float, with_cameras: bool) -> Subject:
    """A room or a street: all points except the few far away (seen through windows, mistakes); NA-11."""
    chosen = np.flatnonzero(good_points(cloud))
    if len(chosen) < MIN_POINTS:
        center = views.center.mean(0)
        extent = float(np.linalg.norm(views.center - center, axis=1).max())
        inside = np.linalg.norm(cloud.xyz - center, axis=1) < 2 * extent
        region = ball_region(center, 2 * extent, "too few points, so twice the extent of the cameras")
        return Subject(inside, region, None, views.center)
    distance = np.linalg.norm(cloud.xyz[chosen] - np.median(cloud.xyz[chosen], axis=0), axis=1)
    chosen = chosen[distance <= 3 * np.median(distance)]
    chosen = chosen[_dense(cloud.xyz[chosen])]
    points = _widen(cloud.xyz[chosen])
    rule = "points that are not alone"
    if with_cameras:
        points, rule = np.concatenate([points, views.center]), rule + ", and the cameras"
    center, radius = enclosing_ball(points)
    return Subject(_mask(chosen, cloud), ball_region(center, margin * radius, rule), None, points)


def _middle(views: Views, cloud: Cloud) -> np.ndarray:
    """The middle of the good points, for cameras whose axes do not meet; a point ahead of them if there are none."""
    good = good_points(cloud)
    if good.any():
        return np.median(cloud.xyz[good], axis=0)
    extent = np.linalg.norm(views.center - views.center.mean(0), axis=1).max()
    return views.center.mean(0) + views.forward.mean(0) * max(float(extent), 1e-6)


def _ground_plane(
    views: Views, points: np.ndarray, focus: np.ndarray | None, scale: float, up: np.ndarray, least: float = 0.7
) -> Plane | None:
    """The plane that the subject stands on, or None: RANSAC with the cameras above it and little below it.

    least: cosine of the angle between its normal and up; a smaller one is that of a wall
    """
    if len(points) < MIN_POINTS:
        return None
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
    if focus is not None:
        usable &= np.abs(normal @ focus - offset) < 0.45 * scale
    usable &= normal @ up > least
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
    if (height < -3 * thickness).mean() >= 0.15:  # many points below: the plane cuts the subject
        return None
    depth = -((on_plane - origin) @ refined)  # the subject is above, what is below is noise
    noise = float(np.percentile(depth[depth > 0], 99)) if (depth > 0).any() else 0.0
    return Plane(origin, refined, float(np.clip(1.5 * noise, 0.002 * scale, 2 * thickness)))


def _is_bare(points: np.ndarray, plane: Plane, sight: Sight) -> bool:
    """Whether the ground shows at what the cameras look at as it does around it: then nothing stands there."""
    offset = points - sight.center
    level = offset - np.outer(offset @ plane.normal, plane.normal)
    away = np.linalg.norm(level, axis=1) / sight.narrow
    inner, outer = (away < 0.3).sum() / 0.3**2, ((away >= 0.3) & (away < 0.85)).sum() / (0.85**2 - 0.3**2)
    return bool(inner >= 0.5 * outer)


def _widen(points: np.ndarray) -> np.ndarray:
    """Points moved outwards by their usual distance from each other: so far a surface may go on beyond the last one."""
    if len(points) < 2:
        return points
    offset = points - enclosing_ball(points)[0]
    spacing = float(np.median(np.asarray(cKDTree(points).query(points, k=[2])[0])))
    return points + spacing * offset / np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-12)


def _distance_to_neighbours(points: np.ndarray) -> np.ndarray:
    """(n,) distance to the sixth-nearest other point."""
    return np.asarray(cKDTree(points).query(points, k=[min(NEIGHBOURS + 1, len(points))])[0])[:, 0]


def _dense(points: np.ndarray) -> np.ndarray:
    """Rows of points that have neighbours as near as most have: wrong points are alone."""
    if len(points) <= NEIGHBOURS:
        return np.arange(len(points))
    away = _distance_to_neighbours(points)
    return np.flatnonzero(away <= 3 * np.median(away))


def _main_clusters(points: np.ndarray, sight: Sight, scale: float) -> np.ndarray:
    """Rows of points that form the subject or its parts: not alone, and what is off the middle of the pictures only if
    it is large or joined with what is in it."""
    rows = _dense(points)
    # Clusters of occupied cells of 2 % of the camera distance, linked over up to five cells.
    cells, cell = np.unique(np.floor(points[rows] / (0.02 * scale)), axis=0, return_inverse=True)
    pairs = cKDTree(cells).query_pairs(5.0, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(cells), len(cells)))
    count, label = connected_components(graph, directed=False)
    label = label[cell.reshape(-1)]
    size = np.bincount(label)
    middle = np.array([np.median(points[rows[label == k]], axis=0) for k in range(count)])
    away = get_distance(sight, middle) / sight.narrow
    weight = size * np.exp(-(away**2))
    kept = np.where(away < 0.85, size >= FEW, weight >= 0.1 * weight.max())
    if not kept.any():
        kept = weight == weight.max()
    return rows[kept[label]]


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
