"""config/regions/SCENE.json: a region, a crop, or both, read once when a run is planned."""

import json
from pathlib import Path
from typing import Any

import pytest

from videomesh.errors import ConfigurationError, UserError
from videomesh.region.by_hand import ByHand, load_by_hand, parse_by_hand, read_by_hand

SPHERE = {"method": "sphere", "center": [0.1, -0.2, 1.5], "radius": 0.8}
TURN = [0, -1, 0, 1, 0, 0, 0, 0, 1]
BOX = {"method": "box", "center": [0, 0, 1], "size": [1, 2, 3], "rotation": TURN}
REGION = {"center": [0, 0, 0.5], "radius": 0.75}
ADD_ON = {"sphere_center": [0, 0, 0], "sphere_radius": 1, "frames": []}


@pytest.mark.parametrize(
    ("content", "region", "crop"),
    [
        (REGION, REGION, None),
        ({**REGION, "scene_type": "indoor"}, {**REGION, "scene_type": "indoor"}, None),
        ({"crop": SPHERE}, None, SPHERE),
        ({**REGION, "crop": BOX}, REGION, BOX),
        ({"crop": "auto"}, None, {"method": "auto"}),
        ({"crop": {"method": "none"}}, None, {"method": "none"}),
        ({**ADD_ON, "crop": "none"}, None, {"method": "none"}),
    ],
)
def test_the_two_parts_are_told_apart(content: dict[str, Any], region: Any, crop: Any) -> None:
    found = parse_by_hand("a.json", content)
    assert (found.region, found.crop) == (region, crop)
    assert bool(found.add_on) == ("frames" in content)


def test_a_crop_does_not_change_the_checksum_of_an_add_ons_file() -> None:
    first, second = (parse_by_hand("a.json", {**ADD_ON, "crop": crop}) for crop in (BOX, "auto"))
    assert first.add_on == second.add_on == parse_by_hand("a.json", dict(reversed(ADD_ON.items()))).add_on
    assert first.add_on != parse_by_hand("a.json", {**ADD_ON, "sphere_radius": 2}).add_on


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, ["'center' is missing"]),
        ([], ["holds list"]),
        ({"scene_type": "indoor"}, ["'center' is missing"]),
        ({"crop": SPHERE, "radius": 1}, ["'center' is missing"]),
        ({"crop": SPHERE, "centre": [0, 0, 0]}, ["unknown key 'centre'", "crop"]),
        ({**ADD_ON, "sphere_radius": 0}, ["sphere_radius is 0", "above 0"]),
        ({"crop": "subject"}, ["subject", '"auto"']),
        ({"crop": None}, ["null", '"auto"']),
        ({"crop": 3}, ["crop is 3"]),
        ({"crop": {"method": ["box"]}}, ["crop is"]),
        ({"crop": {"method": "auto", "radius": 1}}, ["unknown key crop.radius", "no numbers"]),
        ({"crop": {"method": "sphere", "center": [0, 0, 0]}}, ["crop.radius is missing"]),
        ({"crop": {**SPHERE, "size": [1, 1, 1]}}, ["unknown key crop.size", "center, radius"]),
        ({"crop": {**SPHERE, "radius": 0}}, ["crop.radius is 0", "above 0"]),
        ({"crop": {**SPHERE, "radius": "1"}}, ['crop.radius is "1"', "a number"]),
        ({"crop": {**SPHERE, "center": [0, 0]}}, ["crop.center is [0, 0]", "three numbers"]),
        ({"crop": {**SPHERE, "radius": float("inf")}}, ["crop.radius is Infinity", "finite"]),
        ({"center": [0, 0, 10**400], "radius": 1}, ["center is", "three numbers"]),
        ({"crop": {**BOX, "size": [1, -2, 3]}}, ["crop.size is -2", "above 0"]),
        ({"crop": {**BOX, "rotation": [1, 0, 0]}}, ["crop.rotation is", "9 numbers"]),
        ({"crop": {**BOX, "rotation": [0] * 9}}, ["crop.rotation is", "no rotation"]),
        ({"crop": {**BOX, "rotation": [-1, 0, 0, 0, 1, 0, 0, 0, 1]}}, ["no rotation", "right-handed"]),
        ({"crop": {**BOX, "rotation": [2, 0, 0, 0, 0.5, 0, 0, 0, 1]}}, ["no rotation"]),
        ({"crop": {**BOX, "rotation": [True, 0, 0, 0, 1, 0, 0, 0, 1]}}, ["crop.rotation is", "9 numbers"]),
    ],
)
def test_what_is_wrong_is_named(content: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        parse_by_hand("config/regions/lamp.json", content)
    assert str(error.value).startswith("config/regions/lamp.json: ")
    assert all(word in str(error.value) for word in words), error.value


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_bytes(b"\xff{")
    (tmp_path / "folder.json").mkdir()
    for name, words in (("broken.json", "not valid JSON"), ("folder.json", "cannot be read")):
        with pytest.raises(UserError, match=words):
            read_by_hand(tmp_path / name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config/regions").mkdir(parents=True)
    return tmp_path / "config/regions"


def test_all_files_are_read_and_all_errors_come_together(folder: Path) -> None:
    scenes = {name: {"crop": {"method": "auto"}} for name in ("lamp", "chair", "vase", "bowl")}
    (folder / "lamp.json").write_text(json.dumps({"crop": BOX}))
    assert load_by_hand(scenes) == ({"lamp": ByHand(None, "", BOX)}, [])
    (folder / "chair.json").write_text("{")
    (folder / "vase.json").write_text('{"crop": "all"}')
    with pytest.raises(ConfigurationError) as error:
        load_by_hand(scenes)
    assert len(error.value.errors) == 2 and "chair.json" in str(error.value) and "vase.json" in str(error.value)


@pytest.mark.parametrize(
    ("setting", "warned"),
    [
        ({"method": "auto", "center": None, "radius": None}, False),
        ({"method": "none"}, True),
        ({"method": "box", "box": [[0, 1], [0, 1], [0, 1]]}, True),
        ({"method": "sphere", "center": [0, 0, 0], "radius": 0.8}, True),
        ({"method": "sphere", "center": [0.1, -0.2, 1.5], "radius": 0.8}, False),
    ],
)
def test_a_crop_in_the_file_that_overrides_another_is_mentioned(folder: Path, setting: Any, warned: bool) -> None:
    (folder / "lamp.json").write_text(json.dumps({"crop": SPHERE}))
    _, warnings = load_by_hand({"lamp": {"crop": setting}})
    assert len(warnings) == warned
    assert all("config/regions/lamp.json" in warning and setting["method"] in warning for warning in warnings)
