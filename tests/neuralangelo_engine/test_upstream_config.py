"""The settings that Neuralangelo is given, and what is said of inputs that do not fit."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from double import call_engine, make_source


def make_frames(count: int) -> list[dict[str, Any]]:
    return [{"file_path": f"images/{n:06}.jpg", "transform_matrix": np.eye(4).tolist()} for n in range(count)]


INPUTS: dict[str, dict[str, Any]] = {
    "transforms": {
        **{"w": 64, "h": 48, "fl_x": 70, "fl_y": 70, "cx": 32, "cy": 24},
        "sphere_center": [0, 0, 0],
        "sphere_radius": 1,
        "frames": make_frames(30),
    },
    "region": {"scene_type": {"used": "object"}},
    "frames": {"frames": [{"luminance": 0.4}, {"luminance": 0.45}]},
}
DEFAULTS: dict[str, object] = {
    "iterations": 1000,
    "schedule": "scaled",
    "preset": "full",
    "appearance": "auto",
    "gpu_memory": None,
    "overrides": "{}",
}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    for name, content in INPUTS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    make_source(tmp_path / "source.tar.gz")
    return {name: tmp_path / f"{name}.json" for name in INPUTS}


def configure(folder: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    files = {"source": "source.tar.gz", "transforms": "transforms.json", "region": "region.json"}
    files |= {"frames-json": "frames.json", "masks": "masks.tar", "output": "config.yaml"}
    paths = {name: folder / file for name, file in files.items()}
    return call_engine("config", **{**paths, **DEFAULTS, **changes})


def configured(folder: Path, **changes: object) -> Any:
    result = configure(folder, **changes)
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "config.yaml").read_text())


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_what_upstreams_generator_writes_is_there(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert config["_parent_"] == "projects/neuralangelo/configs/base.yaml"
    assert config["data"]["type"] == "projects.neuralangelo.data"
    assert config["data"]["train"]["image_size"] == [48, 64]  # height first
    assert config["data"]["num_images"] == 30
    assert config["data"]["readjust"] == {"center": [0, 0, 0], "scale": 1}
    assert config["model"]["object"]["sdf"]["mlp"]["inside_out"] is False
    assert config["model"]["object"]["sdf"]["encoding"]["coarse2fine"]["init_active_level"] == 4


def test_rooms_are_seen_from_inside(inputs: dict[str, Path], tmp_path: Path) -> None:
    edit(inputs["region"], scene_type={"used": "indoor"})
    model = configured(tmp_path)["model"]
    assert model["object"]["sdf"]["mlp"]["inside_out"] is True
    assert model["background"]["enabled"] is False and model["render"]["num_samples"]["background"] == 0
    assert model["object"]["sdf"]["encoding"]["coarse2fine"]["init_active_level"] == 8


@pytest.mark.parametrize(
    ("measured", "wanted", "enabled"),
    [(0.05, "auto", False), (0.3, "auto", True), (0.3, "never", False), (0.05, "always", True)],
)
def test_the_exposure_decides_about_appearance(
    inputs: dict[str, Path], tmp_path: Path, measured: float, wanted: str, enabled: bool
) -> None:
    edit(inputs["frames"], frames=[{"luminance": 0.4}, {"luminance": 0.4 + measured / 0.9}])  # 5th to 95th percentile
    embedding = configured(tmp_path, appearance=wanted)["model"]["appear_embed"]
    assert embedding["enabled"] is enabled and ("dim" in embedding) is enabled


@pytest.mark.parametrize(
    ("changes", "table"),
    [
        ({}, (22, 8)),
        ({"gpu_memory": 24}, (22, 8)),
        ({"gpu_memory": 16.0}, (21, 8)),
        ({"gpu_memory": 12}, (21, 4)),
        ({"gpu_memory": 8}, (20, 4)),
        ({"preset": "fast"}, (19, 4)),
    ],
)
def test_the_hash_table_fits_the_gpu(
    inputs: dict[str, Path], tmp_path: Path, changes: dict[str, object], table: tuple[int, int]
) -> None:
    grid = configured(tmp_path, **changes)["model"]["object"]["sdf"]["encoding"]["hashgrid"]
    assert (grid["dict_size"], grid["dim"]) == table


def test_validation_images_stay_small(inputs: dict[str, Path], tmp_path: Path) -> None:
    edit(inputs["transforms"], w=1920, h=1080)
    validation = configured(tmp_path)["data"]["val"]
    assert max(validation["image_size"]) <= 200 and validation["batch_size"] == 1


def test_many_large_images_are_not_kept_in_memory(inputs: dict[str, Path], tmp_path: Path) -> None:
    assert configured(tmp_path)["data"]["preload"] is True
    edit(inputs["transforms"], w=4000, h=3000, frames=make_frames(1000))
    assert configured(tmp_path)["data"]["preload"] is False


def test_overrides_win(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = configured(tmp_path, overrides='{"optim.params.lr": 0.002, "data.num_workers": 2}')
    assert config["optim"]["params"]["lr"] == 0.002 and config["data"]["num_workers"] == 2


def test_a_name_that_this_source_does_not_know_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    result = configure(tmp_path, overrides='{"cudnn.benchmark": false}')  # not in the double
    assert result.returncode == 1 and "has no setting cudnn" in result.stderr


def test_a_schedule_that_does_not_fit_is_warned_of(inputs: dict[str, Path], tmp_path: Path) -> None:
    said = configure(tmp_path, schedule="upstream").stdout
    assert "do not reach all levels of detail. Set neuralangelo.schedule to scaled" in said


def test_an_override_that_leaves_no_time_for_the_levels_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    result = configure(tmp_path, overrides='{"optim.sched.warm_up_end": 900}')
    assert result.returncode == 1 and "optim.sched.warm_up_end" in result.stderr


@pytest.mark.parametrize("name", ["transforms", "region", "frames"])
def test_inputs_of_another_kind_are_refused(inputs: dict[str, Path], tmp_path: Path, name: str) -> None:
    inputs[name].write_text("[]")
    result = configure(tmp_path)
    assert result.returncode == 1 and f"{name}.json" in result.stderr and "Traceback" not in result.stderr
