"""A sphere given by hand: in a file of this workflow or of Blender's add-on, or in the configuration."""

import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videomesh.errors import UserError
from videomesh.files import read_json
from videomesh.region.subject import SCENE_TYPES, Region, SceneType, ball_region
from videomesh.scene import Scene, read_poses

OVERRIDE_KEYS = ("center", "radius", "aabb_range", "scene_type")


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + shift"""

    scale: float
    rotation: np.ndarray
    shift: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.scale * points @ self.rotation.T + self.shift

    def move(self, region: Region) -> Region:
        """The box becomes the one along the new axes that holds the old one, within the cube round the sphere."""
        corners = self(np.array(list(itertools.product(*region.aabb_range))))
        center, radius = self(region.center), self.scale * region.radius
        box = np.stack([corners.min(0).clip(min=center - radius), corners.max(0).clip(max=center + radius)], axis=1)
        return Region(center, radius, box, f"{region.rule}, moved to the present world")


SAME = Similarity(1.0, np.eye(3), np.zeros(3))


class Override(NamedTuple):
    region: Region
    scene_type: SceneType | None


def parse_sphere(center: str, radius: str) -> Region | None:
    """The sphere of --center and --radius, or None. Raises UserError on half of one or on what is no number."""
    if not center and not radius:
        return None
    if not (center and radius):
        raise UserError("region.center and region.radius belong together; give both or neither")
    values = [_number(part, "region.center") for part in center.split(",")]
    if len(values) != 3:
        raise UserError(f"region.center: {center!r} has {len(values)} numbers, but needs three, as X,Y,Z")
    value = _number(radius, "region.radius")
    if value <= 0:
        raise UserError(f"region.radius: {radius} is not above 0")
    return ball_region(np.array(values), value, "given by hand")


def _number(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{place}: {text.strip()!r} is not a number")
    if not math.isfinite(value):
        raise UserError(f"{place}: {text.strip()!r} is not a finite number")
    return value


def is_of_add_on(content: dict[str, Any]) -> bool:
    """Whether it is a transforms.json, as Blender's add-on saves it, not our own small JSON."""
    return "frames" in content or "sphere_center" in content


def read_override(path: str, scene: Scene, values: str = "") -> Override:
    """The region in an override file: our own small JSON, or a transforms.json. Raises UserError on any flaw.

    It is a region in the scene's world. A transforms.json may be of an earlier world, which was turned, scaled or
    shifted against it: its poses tell how. values: the region as JSON, if the file itself is not to be read.
    """
    content = json.loads(values) if values else read_json(Path(path))
    if isinstance(content, dict):
        content.pop("crop", None)  # is for the mesh, and was read when the run was planned
    override = parse_override(path, content)
    change = _match_poses(path, content, scene) if is_of_add_on(content) else SAME
    return override if change is SAME else override._replace(region=change.move(override.region))


def parse_override(path: str, content: Any) -> Override:
    """The region in the world of the file. Raises UserError on any flaw that shows without the scene."""
    if not isinstance(content, dict):
        raise UserError(f'{path}: holds {type(content).__name__}, but must hold {{"center": [x, y, z], "radius": r}}')
    if is_of_add_on(content):
        names = ("sphere_center", "sphere_radius", "aabb_range")
    else:
        names = ("center", "radius", "aabb_range")
        for key in content:
            if key not in OVERRIDE_KEYS:
                raise UserError(f"{path}: unknown key {key!r}; the keys are {', '.join(OVERRIDE_KEYS)}, crop")
    center_key, radius_key, box_key = names
    for key in (center_key, radius_key):
        if key not in content:
            raise UserError(f"{path}: key {key!r} is missing; it holds the sphere's {key.split('_')[-1]}")
    center = read_numbers(path, center_key, content[center_key], (3,), "three numbers [x, y, z]")
    radius = float(read_numbers(path, radius_key, content[radius_key], (), "a number"))
    if radius <= 0:
        raise UserError(f"{path}: {radius_key} is {radius:g}; it must be above 0")
    region = ball_region(center, radius, f"read from {path}")
    if box_key in content:
        box = read_numbers(path, box_key, content[box_key], (3, 2), "[[xmin, xmax], [ymin, ymax], [zmin, zmax]]")
        if not (box[:, 0] < box[:, 1]).all():
            raise UserError(f"{path}: {box_key} is {box.tolist()}; each minimum must be below its maximum")
        if (np.linalg.norm(np.clip(center, box[:, 0], box[:, 1]) - center)) >= radius:
            raise UserError(f"{path}: {box_key} lies outside the sphere of {center_key} and {radius_key}")
        region = region._replace(aabb_range=box)
    scene_type = content.get("scene_type")
    if scene_type is not None and scene_type not in SCENE_TYPES:
        raise UserError(f"{path}: scene_type is {scene_type!r}; it must be one of {', '.join(SCENE_TYPES)}")
    return Override(region, scene_type)


def read_numbers(path: str, key: str, value: Any, shape: tuple[int, ...], wanted: str) -> np.ndarray:
    """The numbers of a key, in the shape that is wanted and finite. Raises UserError on anything else."""
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        array = np.array(np.nan)
    # float() accepts "1" and True, JSON numbers are neither
    if array.shape != shape or any(not isinstance(v, int | float) or isinstance(v, bool) for v in _leaves(value)):
        raise UserError(f"{path}: {key} is {json.dumps(value)[:80]}; it must be {wanted}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: {key} is {json.dumps(value)[:80]}; it must be finite")
    return array


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


def _match_poses(path: str, content: dict[str, Any], scene: Scene) -> Similarity:
    """From the world of an override's poses to the scene's. Raises UserError if they are not the same poses.

    COLMAP chooses its world anew in each run, and finds slightly other poses: a sphere drawn for those would lie
    anywhere.
    """
    if "frames" not in content:
        return SAME
    names, saved = read_poses(Path(path), content["frames"], "save it again from the add-on")
    again = (
        "The poses were made anew since it was saved. Draw the sphere again on the present poses, or remove the file"
    )
    row = {name: k for k, name in enumerate(scene.names)}
    common = [k for k, name in enumerate(names) if name in row]
    if not common:
        raise UserError(f"{path}: none of its {len(saved)} images has a pose in this scene. {again}")
    now, before = scene.world_from_cam[[row[names[k]] for k in common]], saved[common]
    change = _fit(before, now)
    centers = scene.world_from_cam[:, :3, 3]
    extent = float(np.linalg.norm(centers - centers.mean(0), axis=1).max())
    distance = np.linalg.norm(change(before[:, :3, 3]) - now[:, :3, 3], axis=1)
    worst = int(np.nan_to_num(distance, nan=np.inf).argmax())
    if not distance[worst] <= 0.01 * extent:
        raise UserError(
            f"{path}: the camera of {names[common[worst]]} is {distance[worst]:.3g} away from where it is now. {again}"
        )
    same = np.allclose(before[:, :3, 3], now[:, :3, 3], rtol=0, atol=0.01 * extent) and np.allclose(
        change.rotation, np.eye(3), atol=0.01
    )
    return SAME if same else change


def _fit(before: np.ndarray, now: np.ndarray) -> Similarity:
    """The similarity between poses (n, 4, 4): turned as most cameras are, with the spread and the middle of all."""
    u, _, vt = np.linalg.svd(np.einsum("nij,nkj->ik", now[:, :3, :3], before[:, :3, :3]))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    old, new = before[:, :3, 3], now[:, :3, 3]
    spread = np.linalg.norm(old - old.mean(0))
    scale = float(np.linalg.norm(new - new.mean(0)) / spread) if spread > 0 else 1.0
    return Similarity(scale, rotation, new.mean(0) - scale * rotation @ old.mean(0))
