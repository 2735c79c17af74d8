"""A sphere given by hand: in a file of this workflow or of Blender's add-on, or in the configuration."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videomesh.errors import UserError
from videomesh.files import read_json
from videomesh.poses.model import Image
from videomesh.region.subject import SCENE_TYPES, Region, SceneType, ball_region
from videomesh.region.views import Views
from videomesh.scene import read_poses

OVERRIDE_KEYS = ("center", "radius", "aabb_range", "scene_type")


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


def read_override(path: str, images: list[Image], views: Views) -> Override:
    """The region in an override file: our own small JSON, or a transforms.json. Raises UserError on any flaw."""
    content = read_json(Path(path))
    if not isinstance(content, dict):
        raise UserError(f'{path}: holds {type(content).__name__}, but must hold {{"center": [x, y, z], "radius": r}}')
    if "frames" in content or "sphere_center" in content:
        _check_same_poses(path, content, images, views)
        names = ("sphere_center", "sphere_radius", "aabb_range")
    else:
        names = ("center", "radius", "aabb_range")
        for key in content:
            if key not in OVERRIDE_KEYS:
                raise UserError(f"{path}: unknown key {key!r}; the keys are {', '.join(OVERRIDE_KEYS)}")
    center_key, radius_key, box_key = names
    for key in (center_key, radius_key):
        if key not in content:
            raise UserError(f"{path}: key {key!r} is missing; it holds the sphere's {key.split('_')[-1]}")
    center = _array(path, center_key, content[center_key], (3,), "three numbers [x, y, z]")
    radius = float(_array(path, radius_key, content[radius_key], (), "a number"))
    if radius <= 0:
        raise UserError(f"{path}: {radius_key} is {radius:g}; it must be above 0")
    region = ball_region(center, radius, f"read from {path}")
    if box_key in content:
        box = _array(path, box_key, content[box_key], (3, 2), "[[xmin, xmax], [ymin, ymax], [zmin, zmax]]")
        if not (box[:, 0] < box[:, 1]).all():
            raise UserError(f"{path}: {box_key} is {box.tolist()}; each minimum must be below its maximum")
        if (np.linalg.norm(np.clip(center, box[:, 0], box[:, 1]) - center)) >= radius:
            raise UserError(f"{path}: {box_key} lies outside the sphere of {center_key} and {radius_key}")
        region = region._replace(aabb_range=box)
    scene_type = content.get("scene_type")
    if scene_type is not None and scene_type not in SCENE_TYPES:
        raise UserError(f"{path}: scene_type is {scene_type!r}; it must be one of {', '.join(SCENE_TYPES)}")
    return Override(region, scene_type)


def _array(path: str, key: str, value: Any, shape: tuple[int, ...], wanted: str) -> np.ndarray:
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    # float() accepts "1" and True, JSON numbers are neither
    if array.shape != shape or any(not isinstance(v, int | float) or isinstance(v, bool) for v in _leaves(value)):
        raise UserError(f"{path}: {key} is {json.dumps(value)[:80]}; it must be {wanted}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: {key} is {json.dumps(value)[:80]}; it must be finite")
    return array


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


def _check_same_poses(path: str, content: dict[str, Any], images: list[Image], views: Views) -> None:
    """COLMAP chooses its world anew in each run, so a sphere drawn for other poses would lie anywhere."""
    if "frames" not in content:
        return
    names, world_from_cam = read_poses(Path(path), content["frames"], "save it again from the add-on")
    saved = dict(zip(names, world_from_cam[:, :3, 3], strict=True))
    again = (
        "The poses were made anew since it was saved. Draw the sphere again on the present poses, or remove the file"
    )
    current = {image.name: center for image, center in zip(images, views.center, strict=True)}
    common = sorted(saved.keys() & current.keys())
    if not common:
        raise UserError(f"{path}: none of its {len(saved)} images has a pose in this scene. {again}")
    extent = float(np.linalg.norm(views.center - views.center.mean(0), axis=1).max())
    for name in common:
        distance = float(np.linalg.norm(saved[name] - current[name]))
        if not distance <= 0.01 * extent:
            raise UserError(f"{path}: the camera of {name} is {distance:.3g} away from where it is now. {again}")
