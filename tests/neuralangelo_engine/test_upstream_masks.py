"""What masks do for Neuralangelo: one colour outside of the subject, where upstream then learns that nothing is."""

import dataclasses
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from double import call_engine, make_source
from PIL import Image

import synthetic
from neuralangelo_engine import masks
from videomesh.errors import UserError
from videomesh.scene import SUBJECT, read_masks, read_scene

SETTINGS = {"schedule": "scaled", "preset": "full", "appearance": "never", "gpu_memory": None}


@pytest.fixture
def turntable(tmp_path: Path) -> dict[str, Path]:
    make_source(tmp_path / "source.tar.gz")
    (tmp_path / "region.json").write_text(json.dumps({"scene_type": {"used": "object"}}))
    (tmp_path / "frames.json").write_text(json.dumps({"frames": [{"luminance": 0.4}]}))
    return synthetic.make_sphere_scene(tmp_path, turntable=True)


def configure(paths: dict[str, Path], overrides: str = "{}") -> tuple[dict[str, Any], str]:
    """The settings of the model, and what was printed."""
    folder = paths["images"].parent
    files: dict[str, object] = {name: paths[name] for name in ("transforms", "masks")}
    files |= {"source": folder / "source.tar.gz", "region": folder / "region.json"}
    files |= {"frames-json": folder / "frames.json", "output": folder / "config.yaml"}
    done = call_engine("config", **files, **SETTINGS, iterations=1000, overrides=overrides)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "config.yaml").read_text()), done.stdout


def drop_mask(path: Path, frame: int) -> None:
    content = json.loads(path.read_text())
    del content["frames"][frame]["mask_path"]
    path.write_text(json.dumps(content))


def test_before_white_nothing_is_learnt_of_the_background(turntable: dict[str, Path]) -> None:
    config, said = configure(turntable)
    assert config["model"]["background"] == {"enabled": False, "white": True}
    assert config["model"]["render"]["num_samples"]["background"] == 0
    assert "masks: what is outside of the subject becomes white" in said
    assert masks.get_colour(config) == masks.WHITE


def test_an_image_without_a_mask_needs_the_background(turntable: dict[str, Path]) -> None:
    drop_mask(turntable["transforms"], 7)
    config, said = configure(turntable)
    assert "background" not in config["model"] and "masks" not in said
    assert masks.get_colour(config) is None


def test_a_room_is_not_before_white(turntable: dict[str, Path]) -> None:
    (turntable["images"].parent / "region.json").write_text(json.dumps({"scene_type": {"used": "indoor"}}))
    config, said = configure(turntable)
    assert masks.get_colour(config) is None and "masks" not in said


def test_a_white_subject_can_be_before_black(turntable: dict[str, Path]) -> None:
    config, said = configure(turntable, '{"model.background.white": false}')
    assert masks.get_colour(config) == masks.BLACK
    assert "masks: what is outside of the subject becomes black" in said


def test_a_background_that_is_wanted_is_learnt(turntable: dict[str, Path]) -> None:
    config, said = configure(turntable, '{"model.background.enabled": true}')
    assert masks.get_colour(config) is None and "masks" not in said
    assert "render" not in config["model"], "it has upstream's number of samples"


def unpack(images: Path, folder: Path) -> list[Path]:
    with tarfile.open(images) as tar:
        tar.extractall(folder, filter="data")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("colour", [masks.WHITE, masks.BLACK])
def test_what_is_not_the_subject_gets_the_colour(turntable: dict[str, Path], tmp_path: Path, colour: int) -> None:
    drop_mask(turntable["transforms"], 0)
    scene = read_scene(turntable["transforms"])
    files = unpack(turntable["images"], tmp_path / "images")
    before = [np.array(Image.open(file)).astype(int) for file in files]
    masks.paint(tmp_path / "images", turntable["masks"], scene, colour)
    shown = read_masks(turntable["masks"], scene, scene.names, (scene.width, scene.height)) == SUBJECT
    for file, old, subject in zip(files, before, shown, strict=True):
        new = np.array(Image.open(file)).astype(int)
        assert new.shape == old.shape and Image.open(file).format == "JPEG"
        assert np.median(np.abs(new - old)[subject]) < 4, "the subject is as it was"
        assert subject.all() or np.median(new[~subject]) == colour
    assert shown[0].all() and not shown[1:].all((1, 2)).any()


def test_an_image_that_does_not_fit_its_mask_is_named(turntable: dict[str, Path], tmp_path: Path) -> None:
    files = unpack(turntable["images"], tmp_path / "images")
    Image.new("RGB", (10, 10)).save(files[2])
    with pytest.raises(UserError, match=r"000006\.jpg: cannot be painted"):
        masks.paint(tmp_path / "images", turntable["masks"], read_scene(turntable["transforms"]), masks.WHITE)


def test_masks_of_which_one_says_nothing_are_not_used(turntable: dict[str, Path]) -> None:
    scene = read_scene(turntable["transforms"])
    assert masks.are_usable(turntable["masks"], scene)
    assert not masks.are_usable(turntable["masks"], dataclasses.replace(scene, masks=()))
