"""Saving a region or a crop in config/regions/SCENE.json, without losing what is there."""

import hashlib
import json
from pathlib import Path
from typing import Any

from videomesh.errors import UserError
from videomesh.files import outputs, write_json
from videomesh.region.by_hand import parse_by_hand
from videomesh.region.override import is_of_add_on

PARTS = ("region", "crop")
KEPT = ("scene_type", "crop")  # what a new region leaves in the file


class Conflict(UserError):
    """The file is not the one that the page was opened with."""


def read_state(path: Path) -> dict[str, Any]:
    """What the page tells of the file: its version, the region and the crop in it, and whether it is of the add-on."""
    data = read(path)
    content = parse(data)
    add_on = is_of_add_on(content)
    names = ("sphere_center", "sphere_radius") if add_on else ("center", "radius")
    center, radius = (content.get(name) for name in names)
    region = {"center": center, "radius": radius} if center is not None and radius is not None else None
    crop = content.get("crop")
    return {
        "path": path.as_posix(),
        "version": get_version(data),
        "region": region,
        "crop": {"method": crop} if isinstance(crop, str) else crop,
        "addOn": add_on,
    }


def save(path: Path, part: str, value: Any, version: str) -> None:
    """Put one part into the file, or take it out (None); the other part stays.

    version: of the file that the page was opened with. Raises Conflict if the file is another one by now, and
    UserError if the value is none that the workflow would take.
    """
    if part not in PARTS:
        raise UserError(f"there is no part {part!r}; the parts are {', '.join(PARTS)}")
    data = read(path)
    if get_version(data) != version:
        raise Conflict(f"{path}: the file was changed or removed since this page was opened")
    content = put(parse(data), part, value)
    if not content:
        path.unlink(missing_ok=True)
        return
    parse_by_hand(str(path), content)
    with outputs(path) as (file,):
        write_json(file, content)


def put(content: dict[str, Any], part: str, value: Any) -> dict[str, Any]:
    if part == "crop":
        rest = {key: old for key, old in content.items() if key != "crop"}
        return rest if value is None else {**rest, "crop": value}
    kept = {} if is_of_add_on(content) else {key: content[key] for key in KEPT if key in content}
    if "crop" in content:
        kept["crop"] = content["crop"]
    if value is None:
        kept.pop("scene_type", None)  # it says nothing without a region
        return kept
    if not isinstance(value, dict) or set(value) != {"center", "radius"}:
        raise UserError(f"a region has center and radius, but this one is {json.dumps(value)[:80]}")
    return {**value, **kept}


def read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def parse(data: bytes | None) -> dict[str, Any]:
    """What can be kept of a file: nothing if it is broken."""
    try:
        content = json.loads(data or b"{}", parse_constant=float_only)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def float_only(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def get_version(data: bytes | None) -> str:
    return "none" if data is None else hashlib.sha256(data).hexdigest()
