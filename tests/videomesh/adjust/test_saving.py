"""The file of a scene keeps what is not saved, and is never written over without a word."""

import json
from pathlib import Path
from typing import Any

import pytest

from videomesh.adjust.saving import Conflict, read_state, save
from videomesh.errors import UserError
from videomesh.region.by_hand import read_by_hand

REGION = {"center": [0.1, 0.2, 0.3], "radius": 1.5}
OTHER = {"center": [1, 1, 1], "radius": 2}
BOX = {"method": "box", "center": [0, 0, 1], "size": [1, 2, 3], "rotation": [1, 0, 0, 0, 1, 0, 0, 0, 1]}
ADD_ON = {"sphere_center": [0, 0, 0], "sphere_radius": 1, "frames": [], "w": 640}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config/regions/lamp.json"


def put(path: Path, part: str, value: Any) -> Any:
    save(path, part, value, read_state(path)["version"])
    return json.loads(path.read_text()) if path.exists() else None


@pytest.mark.parametrize(
    ("before", "part", "value", "after"),
    [
        (None, "region", REGION, REGION),
        (None, "crop", BOX, {"crop": BOX}),
        (OTHER, "crop", BOX, {**OTHER, "crop": BOX}),
        ({**OTHER, "crop": "none"}, "region", REGION, {**REGION, "crop": "none"}),
        ({**OTHER, "scene_type": "indoor"}, "region", REGION, {**REGION, "scene_type": "indoor"}),
        ({**OTHER, "aabb_range": [[0, 2], [0, 2], [0, 2]]}, "region", REGION, REGION),
        ({**OTHER, "crop": BOX}, "crop", None, OTHER),
        ({**OTHER, "crop": BOX}, "region", None, {"crop": BOX}),
        ({**OTHER, "scene_type": "indoor"}, "region", None, None),
        ({"crop": BOX}, "crop", None, None),
        (None, "crop", None, None),
        (ADD_ON, "crop", BOX, {**ADD_ON, "crop": BOX}),
        ({**ADD_ON, "crop": BOX}, "region", REGION, {**REGION, "crop": BOX}),
        (ADD_ON, "region", None, None),
    ],
)
def test_one_part_changes_and_the_other_stays(path: Path, before: Any, part: str, value: Any, after: Any) -> None:
    if before is not None:
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(before))
    assert put(path, part, value) == after
    if after is not None:
        read_by_hand(path)
        assert read_state(path)[part] == value
        assert [file.name for file in path.parent.iterdir()] == ["lamp.json"]


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("region", {"center": [0, 0, 0], "radius": -1}, "radius is -1"),
        ("region", {"center": [0, 0, 0]}, "center and radius"),
        ("region", {**REGION, "crop": BOX}, "center and radius"),
        ("region", [1, 2], "center and radius"),
        ("crop", {"method": "box"}, "crop.center is missing"),
        ("crop", "everything", "crop is"),
        ("name", "lamp", "no part"),
        ("region", {"center": [0, 0, float("nan")], "radius": 1}, "finite"),
    ],
)
def test_what_the_workflow_would_refuse_is_not_written(path: Path, part: str, value: Any, words: str) -> None:
    put(path, "region", OTHER)
    before = path.read_bytes()
    with pytest.raises(UserError, match=words):
        put(path, part, value)
    assert path.read_bytes() == before


def test_a_file_that_changed_is_not_written_over(path: Path) -> None:
    opened = read_state(path)["version"]
    put(path, "crop", BOX)
    with pytest.raises(Conflict, match="changed"):
        save(path, "region", REGION, opened)
    assert json.loads(path.read_text()) == {"crop": BOX}
    opened = read_state(path)["version"]
    path.unlink()
    with pytest.raises(Conflict, match="removed"):
        save(path, "region", REGION, opened)
    assert not path.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"center": NaN}', "\x00"])
def test_a_broken_file_can_be_shown_and_replaced(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    state = read_state(path)
    assert (state["region"], state["crop"]) == (None, None)
    assert put(path, "region", REGION) == REGION
