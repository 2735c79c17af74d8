"""What config/regions/SCENE.json says: the region, the crop, or both.

The file is our own small JSON, or a transforms.json that Blender's add-on saved; either may have the key crop. A change
of the crop must not make the region stale. So the plan reads the file once, and hands each stage its own part of it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videomesh.errors import ConfigurationError, UserError
from videomesh.files import read_json
from videomesh.region.override import is_of_add_on, parse_override, read_numbers

FOLDER = Path("config/regions")  # in the working folder
CROP_KEYS = {"auto": (), "none": (), "sphere": ("center", "radius"), "box": ("center", "size", "rotation")}
SLACK = 1e-3  # by which the rows of a rotation may miss length 1 and right angles: numbers that were typed


class ByHand(NamedTuple):
    """One file. A part that it does not have is None, or empty."""

    region: dict[str, Any] | None  # center, radius, aabb_range, scene_type, as in the file
    add_on: str  # checksum of the region in a transforms.json of the add-on, which stays an input file
    crop: dict[str, Any] | None  # method, and its numbers: what the setting crop has, or center, size and rotation


NOTHING = ByHand(None, "", None)


def get_path(scene: str) -> Path:
    return FOLDER / f"{scene}.json"


def load_by_hand(scenes: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, ByHand], list[str]]:
    """Scene -> what its file says, for the scenes that have one; and warnings where it overrides a crop that is set.

    Raises ConfigurationError with what is wrong in any of them.
    """
    found: dict[str, ByHand] = {}
    errors: list[str] = []
    warnings: list[str] = []
    for scene, settings in scenes.items():
        path = get_path(scene)
        if not path.exists():
            continue
        try:
            found[scene] = read_by_hand(path)
        except UserError as error:
            errors.append(str(error))
            continue
        crop, method = found[scene].crop, settings["crop"]["method"]
        if crop and method != "auto" and not is_same_crop(crop, settings["crop"]):
            warnings.append(
                f"{path}: its crop ({crop['method']}) is used for {scene}, not the setting crop.method: {method}. "
                "Remove one of them"
            )
    if errors:
        raise ConfigurationError(errors)
    return found, warnings


def is_same_crop(crop: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(settings.get(key) == value for key, value in crop.items())


def read_by_hand(path: Path) -> ByHand:
    """Raises UserError on any flaw that shows without the scene."""
    try:
        content = read_json(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})")
    return parse_by_hand(str(path), content)


def parse_by_hand(path: str, content: Any) -> ByHand:
    if not isinstance(content, dict):
        raise UserError(
            f'{path}: holds {type(content).__name__}, but must hold {{"center": [x, y, z], "radius": r}}, '
            'or {"crop": ...}, or both'
        )
    crop = parse_crop(path, content["crop"]) if "crop" in content else None
    region = {key: value for key, value in content.items() if key != "crop"}
    if not region and crop:
        return ByHand(None, "", crop)
    parse_override(path, region)
    if is_of_add_on(region):
        text = json.dumps(region, sort_keys=True)
        return ByHand(None, hashlib.sha256(text.encode()).hexdigest()[:16], crop)
    return ByHand(region, "", crop)


def parse_crop(path: str, crop: Any) -> dict[str, Any]:
    """The crop with the key method. Raises UserError that names the key, the value and what is allowed."""
    if isinstance(crop, str):
        crop = {"method": crop}
    method = crop.get("method") if isinstance(crop, dict) else None
    if not isinstance(method, str) or method not in CROP_KEYS:
        raise UserError(
            f"{path}: crop is {json.dumps(crop)[:80]}; it must be "
            '{"method": "sphere", "center": [x, y, z], "radius": r}, {"method": "box", "center": [x, y, z], '
            '"size": [x, y, z], "rotation": [9 numbers]}, "auto" or "none"'
        )
    keys = CROP_KEYS[method]
    check_keys(path, method, [key for key in crop if key != "method"], keys)
    found: dict[str, Any] = {"method": method}
    if "center" in keys:
        found["center"] = read_numbers(path, "crop.center", crop["center"], (3,), "three numbers [x, y, z]").tolist()
    if method == "sphere":
        radius = float(read_numbers(path, "crop.radius", crop["radius"], (), "a number"))
        check_positive(path, "crop.radius", [radius])
        found["radius"] = radius
    if method == "box":
        found["size"] = read_numbers(path, "crop.size", crop["size"], (3,), "three numbers [x, y, z]").tolist()
        check_positive(path, "crop.size", found["size"])
        found["rotation"] = read_rotation(path, crop["rotation"])
    return found


def check_keys(path: str, method: str, given: Sequence[str], wanted: Sequence[str]) -> None:
    for key in given:
        if key not in wanted:
            raise UserError(f"{path}: unknown key crop.{key}; a crop {method} has {', '.join(wanted) or 'no numbers'}")
    for key in wanted:
        if key not in given:
            raise UserError(f"{path}: crop.{key} is missing; a crop {method} has {', '.join(wanted)}")


def check_positive(path: str, key: str, numbers: Iterable[float]) -> None:
    for number in numbers:
        if not number > 0:
            raise UserError(f"{path}: {key} is {number:g}; it must be above 0")


def read_rotation(path: str, value: Any) -> list[float]:
    """Nine numbers row by row, from the axes of the box to those of the world."""
    wanted = "9 numbers row by row, from the box to the world"
    flat = read_numbers(path, "crop.rotation", value, (9,), wanted)
    matrix = flat.reshape(3, 3)
    if not (np.allclose(matrix @ matrix.T, np.eye(3), atol=SLACK) and np.linalg.det(matrix) > 0):
        raise UserError(
            f"{path}: crop.rotation is {json.dumps(value)[:80]}, which is no rotation: its three rows must have length "
            "1, be at right angles, and be right-handed. Upright is [1, 0, 0, 0, 1, 0, 0, 0, 1]"
        )
    return [float(number) for number in flat]
