"""The settings that the rules get."""

from pathlib import Path

import pytest
import yaml

from checkout import ROOT
from settings_folder import CONFIG, HEADER, ROW, TABLE, load, write, write_cell
from videomesh.configuration.load import find_unused_regions, load_scenes
from videomesh.errors import ConfigurationError


def test_defaults_then_files_then_row() -> None:
    write(CONFIG, "train: {iterations: 500, seed: 3}\n")
    write("more.yaml", "train: {seed: 4}\nregion:\n")
    columns = "train.iterations\tregion.center\tregion.radius\ttrain.milestones\tgate.models.warn\tframes.downsample"
    write(TABLE, f"{HEADER}\t{columns}\n{ROW}\t700\t1,-2,3.5\t2\t100,200\tnull\t3\nchair\tvideos/chair.mov\n")
    scenes = load(CONFIG, "more.yaml")
    lamp, chair = scenes["lamp"], scenes["chair"]
    assert list(scenes) == ["lamp", "chair"]
    assert (lamp["video"], chair["video"]) == ("videos/lamp.mp4", "videos/chair.mov")
    assert lamp["train"] == {"iterations": 700, "milestones": [100, 200], "stop": "never", "seed": 4}
    assert chair["train"] == {"iterations": 500, "milestones": [], "stop": "never", "seed": 4}
    assert (lamp["region"]["center"], lamp["region"]["radius"]) == ([1, -2, 3.5], 2)
    assert (lamp["gate"]["models"], chair["gate"]["models"]) == (
        {"warn": None, "fail": None},
        {"warn": 1, "fail": None},
    )
    assert (lamp["frames"]["downsample"], chair["frames"]["downsample"]) == (3, None)
    assert "scenes" not in lamp


def test_every_scene_has_every_setting() -> None:
    expected = yaml.safe_load((ROOT / CONFIG).read_text())
    del expected["scenes"]
    assert load()["lamp"] == {"video": "videos/lamp.mp4", **expected}


def test_cells_take_back_what_the_configuration_sets() -> None:
    write(CONFIG, "frames: {downsample: 2}\ntrain: {milestones: [100]}\n")
    write(TABLE, f"{HEADER}\tframes.downsample\ttrain.milestones\n{ROW}\tnull\t[]\n")
    lamp = load()["lamp"]
    assert (lamp["frames"]["downsample"], lamp["train"]["milestones"]) == (None, [])


def test_whole_numbers_are_integers_however_they_are_written() -> None:
    write(CONFIG, "train: {iterations: 1e3, seed: 5.0}\n")
    write_cell("mesh.resolution", "128.0")
    lamp = load()["lamp"]
    values = lamp["train"]["iterations"], lamp["train"]["seed"], lamp["mesh"]["resolution"]
    assert values == (1000, 5, 128)
    assert all(type(value) is int for value in values)


def test_values_from_the_command_line_are_text_and_have_their_own_place() -> None:
    config = {"train": {"iterations": "400", "milestones": ["100"]}, "frames": {"downsample": "null"}}
    assert load_scenes(config)["lamp"]["train"]["milestones"] == [100]
    with pytest.raises(ConfigurationError, match=r"--config, train.iterations: x is not allowed"):
        load_scenes({"train": {"iterations": "x"}}, [CONFIG])


def test_a_configuration_handed_over_needs_no_file() -> None:
    """As a workflow that uses this one as a module does it."""
    Path(CONFIG).unlink()
    lamp = load_scenes({"scenes": TABLE, "train": {"seed": 5}})["lamp"]
    assert (lamp["train"]["seed"], lamp["train"]["iterations"]) == (5, 3000)
    with pytest.raises(ConfigurationError, match=r"--config, train.seed: x is not allowed"):
        load_scenes({"scenes": TABLE, "train": {"seed": "x"}})


def test_a_fresh_clone_runs_and_the_demo_is_its_only_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shipped, demo = load(), load(CONFIG, "config/demo/config.yaml")
    # The same results: the demo after `make demo`, and the other way round, is not computed again.
    assert shipped == demo
    assert demo["tractor"]["video"] == "config/demo/tractor.mp4"
    assert demo["tractor"]["frames"]["target"] == 48


def test_a_region_without_a_scene_is_a_warning() -> None:
    for name in ("lamp", "lamps"):
        write(f"config/regions/{name}.json", "{}")
    (warning,) = find_unused_regions(load())
    assert "config/regions/lamps.json" in warning and "Did you mean lamp?" in warning
