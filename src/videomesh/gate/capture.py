"""What the checks look at, read from the files of the stages before."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videomesh.errors import UserError
from videomesh.files import read_json
from videomesh.region.views import Cloud, Views, views_from
from videomesh.scene import Scene, read_points, read_scene


class Capture(NamedTuple):
    footage: dict[str, Any]  # frames.json
    poses: dict[str, Any]  # poses.json
    scene: Scene
    region: dict[str, Any]  # region.json
    views: Views
    cloud: Cloud
    subject: np.ndarray  # (m,) bool: points that the region has to hold

    @property
    def frames(self) -> list[dict[str, Any]]:
        return list(self.footage["frames"])

    @property
    def scene_type(self) -> str:
        return str(self.region["scene_type"]["used"])


def read_capture(frames_json: Path, poses_json: Path, transforms: Path, region_json: Path, points_npz: Path) -> Capture:
    """Raises UserError naming the file and what is wrong with it."""
    footage = _read(frames_json, {"source": str, "frames": list, "clips": list, "cuts": list})
    for frame in footage["frames"]:
        _need(frames_json, frame, {"name": str, "sharpness": float, "luminance": float})
    if not footage["frames"]:
        raise UserError(f"{frames_json}: holds no frames; run the frames stage again")
    numbers = ("registered_share", "reprojection_error", "track_length", "points_per_image")
    counts = {
        "frames": int,
        "registered": int,
        "unregistered": list,
        "attempts": list,
        "images": list,
        "unmoving": bool,
    }
    poses = _read(poses_json, {**dict.fromkeys(numbers, float), **counts})
    for image in poses["images"]:
        _need(poses_json, image, {"name": str, "flaw": str})
    scene = read_scene(transforms)
    region = _read(region_json, {"scene_type": dict, "up": list})
    shares = ("looking_at_center", "points_between")
    _need(region_json, region["scene_type"], {"used": str, "guess": str, **dict.fromkeys(shares, float)})
    *cloud, subject = read_points(points_npz, scene)
    return Capture(footage, poses, scene, region, views_from(scene.world_from_cam), Cloud(*cloud), subject)


def _read(path: Path, keys: dict[str, type]) -> dict[str, Any]:
    content = read_json(path)
    _need(path, content, keys)
    return content  # type: ignore[no-any-return]


def _need(path: Path, content: Any, keys: dict[str, type]) -> None:
    """Raise UserError unless content is an object with these keys; float stands for any finite number."""
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__} instead of an object with {', '.join(keys)}")
    for key, kind in keys.items():
        if key not in content:
            raise UserError(f"{path}: lacks the key {key!r}; run the stage that writes it again")
        value = content[key]
        good = isinstance(value, int | float) and math.isfinite(value) if kind is float else isinstance(value, kind)
        if not good:
            raise UserError(f"{path}: {key} is {json.dumps(value)[:80]}; it must be {_WORDS[kind]}")


_WORDS = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    list: "a list",
    dict: "an object",
    bool: "true or false",
}
