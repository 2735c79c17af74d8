"""Poses that a capture brings along: used as they are, or as a start."""

import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Set, Tuple

import numpy as np

from videomesh.errors import UserError
from videomesh.poses.backend import Backend
from videomesh.poses.database import read_ids, read_keypoints, read_pairs
from videomesh.poses.distortion import split, unproject
from videomesh.poses.frames import Frames
from videomesh.poses.mapping import MAPPER, Attempt, Model, Pairs, read_model, read_models
from videomesh.poses.model import Camera, move_world, read_cameras, read_images, to_quaternion
from videomesh.poses.progress import timed

MIN_GIVEN = 3  # poses; fewer say nothing of a scene
NEAREST, FARTHER, MAX_ANGLE = 12, 8, 75.0  # frames that are matched with each, degrees between their lines of sight
MAX_ERROR = 4.0  # pixels at REFERENCE_SIDE: COLMAP's own limit for a match (filter_max_reproj_error)
REFERENCE_SIDE = 1600  # pixels; in larger frames the same error of a pose is more pixels
MAX_LOOSE_ERROR = 15.0  # times MAX_ERROR: what is still matched with poses that are to be refined
MAX_OTHER_PAIRS = 10000  # between frames without a given pose and those with one
MIN_POINTS = 10  # per frame; with fewer no surface is known


class Solution(NamedTuple):
    attempt: Attempt
    error: float  # pixels: median distance of matches from where the poses expect them


def solve_given(backend: Backend, folder: Path, frames: Frames, refine: bool, prefix: str) -> Solution:
    """Points for the given poses, which are bettered if refine. Raises UserError if they do not fit the frames.

    Features are in the database. The world stays the given one, with its unit. prefix: of the attempt's name.
    """
    start = time.monotonic()
    database = folder / "database.db"
    folder = folder / f"{prefix}given"
    folder.mkdir()
    names = [name for name in frames.names if name in frames.given]
    poses = np.stack([frames.given[name] for name in names])
    pairs = choose_pairs(poses)
    with timed(f"matching {len(pairs)} pairs (given poses)"):
        backend.match([(names[i], names[j]) for i, j in sorted(pairs)])
    ids = read_ids(database)
    model = folder / "start"
    write_given(model, frames, ids)
    limit = MAX_ERROR * max(1.0, frames.largest_side / REFERENCE_SIDE)
    error = measure_error(database, read_given_cameras(frames, ids), {ids[n][0]: frames.given[n] for n in names}, ids)
    with timed("triangulation"):
        if refine:
            # Matches that the poses miss by much are points all the same: only with them the poses can be bettered.
            loose = min(max(3 * error, limit), MAX_LOOSE_ERROR * limit)
            for step, tolerance in enumerate([loose, limit]):
                model = triangulate(backend, folder / f"loose{step}", model, tolerance)
                model = adjust(backend, folder / f"adjusted{step}", model)
        model = triangulate(backend, folder / "triangulated", model, limit)
    if refine:
        return_to_world(model, dict(zip(names, poses)))
        cameras = {camera.id: camera for camera in read_cameras(model / "cameras.bin")}
        found = {image.id: image.world_from_cam for image in read_images(model / "images.bin")}
        error = measure_error(database, cameras, found, ids)
    result = read_model(model)
    check_fit(frames, len(pairs), result.points.image_ids, len(names), error, limit, refine)
    others = find_others(frames)
    if others:
        result, more = add_others(backend, folder, frames, result, others)
        pairs |= more
    name = prefix + ("refined poses" if refine else "given poses")
    return Solution(Attempt(name, len(pairs), [result], time.monotonic() - start), error)


def find_others(frames: Frames) -> List[str]:
    """Frames without a given pose, of cameras that are given."""
    known = [name for group in frames.groups if group.given for name in group.names]
    return [name for name in known if name not in frames.given]


def add_others(backend: Backend, folder: Path, frames: Frames, model: Model, others: List[str]) -> Tuple[Model, Pairs]:
    """Poses of frames without a given one, from the points of those that have one. What is known stays as it is."""
    place = {name: index for index, name in enumerate(frames.names)}
    given = [name for name in frames.names if name in frames.given]
    step = max(1, len(given) * len(others) // MAX_OTHER_PAIRS)
    pairs = {(min(place[a], place[b]), max(place[a], place[b])) for a in others for b in given[::step]}
    with timed(f"matching {len(pairs)} pairs ({len(others)} frames without a given pose)"):
        backend.match([(frames.names[i], frames.names[j]) for i, j in sorted(pairs)])
    (folder / "others").mkdir()
    with timed("mapping"):
        backend.map(
            folder / "others", {**MAPPER, "ba_refine_focal_length": 0, "ba_refine_extra_params": 0}, model.folder
        )
    found = read_models(folder / "others")
    if found and set(model.names) < set(found[0].names):
        before = {image.name: image.world_from_cam for image in read_images(model.folder / "images.bin")}
        return_to_world(found[0].folder, before)  # COLMAP 3.8 gives the world another size
        return read_model(found[0].folder), pairs
    return model, pairs


def choose_pairs(poses: np.ndarray) -> Pairs:
    """Pairs of frames that may show the same, as places in the list: those that are near each other and look the same
    way, and ever fewer of those farther away, because the nearest ones have no parallax. poses: (n, 4, 4)."""
    places, sights = poses[:, :3, 3], poses[:, :3, 2]
    size = np.median(np.linalg.norm(places - np.median(places, axis=0), axis=1)) or 1.0
    pairs: Set[Tuple[int, int]] = set()
    for i in range(len(poses)):
        angle = np.degrees(np.arccos(np.clip(sights @ sights[i], -1, 1)))
        cost = np.linalg.norm(places - places[i], axis=1) / size + angle / 45
        order = [int(j) for j in np.argsort(cost, kind="stable") if j != i and angle[j] <= MAX_ANGLE]
        far = np.linspace(NEAREST, len(order) - 1, FARTHER).astype(int).tolist() if len(order) > NEAREST else []
        pairs |= {(min(i, j), max(i, j)) for j in [*order[:NEAREST], *(order[k] for k in far)]}
    return pairs


def read_given_cameras(frames: Frames, ids: Dict[str, Tuple[int, int]]) -> Dict[int, Camera]:
    """The cameras of the frames with given poses, by their ids in the database."""
    cameras = {}
    for group in frames.groups:
        if group.given:
            key = ids[group.names[0]][1]
            cameras[key] = Camera(key, group.given.model, *group.size, np.array(group.given.params))
    return cameras


def write_given(folder: Path, frames: Frames, ids: Dict[str, Tuple[int, int]]) -> None:
    """The given poses as a model without points, in COLMAP's text format, with the ids of the database."""
    folder.mkdir()
    cameras = [
        f"{camera.id} {camera.model} {camera.width} {camera.height} {' '.join(map(repr, camera.params.tolist()))}\n"
        for camera in read_given_cameras(frames, ids).values()
    ]
    images = []
    for name, world_from_cam in frames.given.items():
        cam_from_world = np.linalg.inv(world_from_cam)
        pose = [*to_quaternion(cam_from_world[:3, :3]).tolist(), *cam_from_world[:3, 3].tolist()]
        images.append(f"{ids[name][0]} {' '.join(map(repr, pose))} {ids[name][1]} {name}\n\n")
    (folder / "cameras.txt").write_text("".join(cameras))
    (folder / "images.txt").write_text("".join(images))
    (folder / "points3D.txt").write_text("")


def triangulate(backend: Backend, folder: Path, model: Path, tolerance: float) -> Path:
    folder.mkdir()
    names = ("filter_max_reproj_error", "tri_complete_max_reproj_error", "tri_merge_max_reproj_error")
    backend.triangulate(model, folder, dict.fromkeys(names, tolerance))
    return folder


def adjust(backend: Backend, folder: Path, model: Path) -> Path:
    if not len(read_model(model).points.xyz):
        return model  # COLMAP ends with an error where there is nothing to adjust
    folder.mkdir()
    backend.adjust(model, folder)
    return folder


def measure_error(
    database: Path, cameras: Dict[int, Camera], poses: Dict[int, np.ndarray], ids: Dict[str, Tuple[int, int]]
) -> float:
    """Median distance in pixels of verified matches from the lines on which the poses expect them (Sampson's, Hartley
    and Zisserman, Multiple View Geometry, 11.4.3). poses: image id -> world_from_cam. NaN if nothing matches."""
    camera_of = dict(ids.values())
    keypoints = read_keypoints(database)
    rays = {
        image: unproject(cameras[camera_of[image]], pixels) for image, pixels in keypoints.items() if image in poses
    }
    errors: List[np.ndarray] = []
    for pair in read_pairs(database):
        first, second = pair.images
        if first not in rays or second not in rays:
            continue
        relative = np.linalg.inv(poses[second]) @ poses[first]
        x, y, z = relative[:3, 3]
        essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ relative[:3, :3]
        a, b = (np.insert(rays[image][pair.matches[:, k]], 2, 1, axis=1) for k, image in enumerate(pair.images))
        lines, back = a @ essential.T, b @ essential
        gradient = np.sqrt((lines[:, :2] ** 2).sum(axis=1) + (back[:, :2] ** 2).sum(axis=1))
        focal = (split(cameras[camera_of[first]])[0][0] + split(cameras[camera_of[second]])[0][0]) / 2
        with np.errstate(all="ignore"):
            errors.append(np.abs((b * lines).sum(axis=1)) / gradient * focal)
    return float(np.nanmedian(np.concatenate(errors))) if errors else float("nan")


def return_to_world(model: Path, given: Dict[str, np.ndarray]) -> None:
    """Adjustment leaves place, size and direction of the world open: fit the cameras to the given ones again."""
    images = [image for image in read_images(model / "images.bin") if image.name in given]
    found = np.stack([image.world_from_cam for image in images])
    wanted = np.stack([given[image.name] for image in images])
    scale, rotation, translation = fit_similarity(found[:, :3, 3], wanted[:, :3, 3])
    move_world(model, scale, rotation, translation)


def fit_similarity(source: np.ndarray, target: np.ndarray) -> Tuple[float, np.ndarray, np.ndarray]:
    """scale, rotation, translation with target = scale * rotation @ source + translation (Umeyama, PAMI 13:4, 1991)."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    u, d, vt = np.linalg.svd((target - target_mean).T @ (source - source_mean) / len(source))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float((d * sign).sum() / ((source - source_mean) ** 2).sum(axis=1).mean())
    return scale, rotation, target_mean - scale * rotation @ source_mean


def check_fit(
    frames: Frames, pairs: int, tracks: List[np.ndarray], count: int, error: float, limit: float, refine: bool
) -> None:
    """UserError if the given poses are not those of the frames."""
    points = sum(map(len, tracks)) / count
    if error <= limit and points >= MIN_POINTS:
        return
    if not np.isfinite(error):
        raise UserError(
            f"{frames.archive}: no two of the {count} frames with given poses match ({pairs} pairs were tried), so "
            "there is no point to build on. Likely causes: blur, plain or shiny surfaces, too few frames; or the poses "
            "belong to other pictures. Set poses.given to ignore to find the poses from the pictures alone"
        )
    if refine:
        advice = "even after they were refined. Set poses.given to ignore to find the poses from the pictures alone"
    else:
        advice = (
            "so they are inexact, or follow another convention than their format says. Set poses.given to refine if "
            "they are nearly right, or to ignore to find the poses from the pictures alone"
        )
    raise UserError(
        f"{frames.archive}: the given poses do not fit the pictures: points lie {error:.1f} px from where the poses "
        f"expect them (median; at most {limit:.1f} is good), and {points:.0f} points per frame come out (at least "
        f"{MIN_POINTS}), {advice}"
    )
