"""What Neuralangelo is given: its source as one file, its settings, and what is said of wrong ones."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import neuralangelo_schedule
import neuralangelo_source
import pytest
from double import UPSTREAM, make_source
from neuralangelo_schedule import get_settings, scale

from videomesh.configuration.schema import read_schema

SCRIPTS = Path(__file__).parents[2] / "scripts"
CHECKSUM = neuralangelo_source.get_checksum(neuralangelo_source.read_programs(UPSTREAM))
INPUTS: dict[str, dict[str, Any]] = {
    "transforms": {
        "w": 64,
        "h": 48,
        "sphere_center": [0, 0, 0],
        "sphere_radius": 1,
        "frames": [{"file_path": f"images/{number:06}.jpg"} for number in range(30)],
    },
    "region": {"scene_type": {"used": "object"}},
    "gate": {"checks": [{"name": "exposure_range", "value": 0.05}]},
}


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


# Source ----------------------------------------------------------------------------------------------------------


def pack(source: Path, output: Path, checksum: str = CHECKSUM) -> subprocess.CompletedProcess[str]:
    return run(
        "neuralangelo_source.py", f"--source={source}", f"--checksum={checksum}", f"--output={output}"
    )  # fmt: skip


def archive(folder: Path, path: Path, prefix: str = "neuralangelo-94390b6") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, prefix)
    return path


def test_a_checkout_and_its_tarballs_give_the_same_file(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(UPSTREAM, checkout)
    (checkout / "assets").mkdir()
    (checkout / "assets" / "teaser.gif").write_bytes(b"not needed")
    (checkout / "projects" / "__pycache__").mkdir()
    (checkout / "projects" / "__pycache__" / "x.pyc").write_bytes(b"not needed")
    sources = [checkout, archive(checkout, tmp_path / "github.tar.gz"), archive(checkout, tmp_path / "flat.tar", ".")]
    packed = []
    for source in sources:
        result = pack(source, tmp_path / "source.tar.gz")
        assert result.returncode == 0, result.stderr
        assert "non-commercially only" in result.stdout
        packed.append((tmp_path / "source.tar.gz").read_bytes())
    assert packed[0] == packed[1] == packed[2]
    with tarfile.open(tmp_path / "source.tar.gz") as tar:
        assert {"train.py", "LICENSE.md", "imaginaire/config.py"} <= set(tar.getnames())
        assert not [name for name in tar.getnames() if "assets" in name or name.endswith(".pyc")]


def test_changed_programs_are_refused(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(UPSTREAM, checkout)
    with (checkout / "train.py").open("a") as file:
        file.write("# better\n")
    result = pack(checkout, tmp_path / "source.tar.gz")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert f"not {CHECKSUM}" in result.stderr and "neuralangelo.checksum" in result.stderr
    assert not list(tmp_path.glob("*source.tar.gz*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"x" * 1000, "not a whole .tar"), (b"", "not a whole .tar")],
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "given.tar.gz").write_bytes(content)
    result = pack(tmp_path / "given.tar.gz", tmp_path / "source.tar.gz")
    assert result.returncode == 1 and "given.tar.gz" in result.stderr and words in result.stderr, result.stderr


def test_a_tarball_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme").write_text("hello")
    result = pack(archive(tmp_path / "other", tmp_path / "other.tar"), tmp_path / "source.tar.gz")
    assert result.returncode == 1 and "no train.py at its top" in result.stderr


# Settings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    for name, content in INPUTS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    make_source(tmp_path / "source.tar.gz")
    return {name: tmp_path / f"{name}.json" for name in ("transforms", "region", "gate")}


def configure(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    files = [f"--{name}={folder / name}.json" for name in ("transforms", "region", "gate")]
    files += [f"--source={folder / 'source.tar.gz'}", f"--output={folder / 'config.yaml'}"]
    return run("neuralangelo_config.py", *files, *arguments)


def configured(folder: Path, *arguments: str) -> Any:
    result = configure(folder, "--iterations=1000", *arguments)
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
    edit(inputs["gate"], checks=[{"name": "exposure_range", "value": measured}])
    embedding = configured(tmp_path, f"--appearance={wanted}")["model"]["appear_embed"]
    assert embedding["enabled"] is enabled and ("dim" in embedding) is enabled


@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        ([], (22, 8)),
        (["--flavor=ai1-1-gpu"], (22, 8)),
        (["--flavor=l4-1-gpu"], (22, 8)),
        (["--gpu-memory=16"], (21, 8)),
        (["--gpu-memory=12"], (21, 4)),
        (["--gpu-memory=8"], (20, 4)),
        (["--preset=fast"], (19, 4)),
    ],
)
def test_the_hash_table_fits_the_gpu(
    inputs: dict[str, Path], tmp_path: Path, arguments: list[str], table: tuple[int, int]
) -> None:
    grid = configured(tmp_path, *arguments)["model"]["object"]["sdf"]["encoding"]["hashgrid"]
    assert (grid["dict_size"], grid["dim"]) == table


def test_validation_images_stay_small(inputs: dict[str, Path], tmp_path: Path) -> None:
    edit(inputs["transforms"], w=1920, h=1080)
    validation = configured(tmp_path)["data"]["val"]
    assert max(validation["image_size"]) <= 200 and validation["batch_size"] == 1


def test_many_large_images_are_not_kept_in_memory(inputs: dict[str, Path], tmp_path: Path) -> None:
    assert configured(tmp_path)["data"]["preload"] is True
    frames = [{"file_path": f"images/{number:06}.jpg"} for number in range(1000)]
    edit(inputs["transforms"], w=4000, h=3000, frames=frames)
    assert configured(tmp_path)["data"]["preload"] is False


def test_overrides_win(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = configured(tmp_path, '--overrides={"optim.params.lr": 0.002, "data.num_workers": 2}')
    assert config["optim"]["params"]["lr"] == 0.002 and config["data"]["num_workers"] == 2


def test_a_name_that_this_source_does_not_know_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    result = configure(tmp_path, "--iterations=1000", '--overrides={"cudnn.benchmark": false}')  # not in the double
    assert result.returncode == 1 and "has no setting cudnn" in result.stderr


def test_fewer_images_than_a_batch_are_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    result = configure(tmp_path, "--iterations=1000", '--overrides={"data.train.batch_size": 50}')
    assert result.returncode == 1 and "fewer than a batch of 50" in result.stderr


def test_several_gpus_and_a_schedule_that_does_not_fit_are_warned_of(inputs: dict[str, Path], tmp_path: Path) -> None:
    said = configure(tmp_path, "--iterations=1000", "--gpus=2", "--schedule=upstream").stdout
    assert "NA-34" in said and "NA-17" in said


def test_an_override_that_leaves_no_time_for_the_levels_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    result = configure(tmp_path, "--iterations=1000", '--overrides={"optim.sched.warm_up_end": 900}')
    assert result.returncode == 1 and "NA-17" in result.stderr


@pytest.mark.parametrize("name", ["transforms", "region", "gate"])
def test_inputs_of_another_kind_are_refused(inputs: dict[str, Path], tmp_path: Path, name: str) -> None:
    inputs[name].write_text("[]")
    result = configure(tmp_path, "--iterations=1000")
    assert result.returncode == 1 and f"{name}.json" in result.stderr and "Traceback" not in result.stderr


# Schedule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [10, 60, 100, 999, 1000, 2000, 2001, 5000, 20_000, 85_000, 200_000, 1_000_000])
def test_every_schedule_reaches_all_levels_and_both_drops_in_time(iterations: int) -> None:
    schedule = scale(iterations)
    assert schedule.warm_up_end + neuralangelo_schedule.LEVELS * schedule.step <= max(0.6 * iterations, 26)
    assert schedule.warm_up_end < schedule.two_steps[0] < schedule.two_steps[1] < iterations
    settings = get_settings(iterations, "scaled")
    assert 1 <= settings["checkpoint.save_iter"] <= 2000
    assert set(settings) <= set(read_schema("neuralangelo")["properties"])


def test_the_measured_schedules() -> None:
    """As in docs/neuralangelo.md: warm-up, step, drops, rate and sharpness of the runs with the measured figures."""
    assert scale(1000) == (100, 18, (700, 900), 3e-3, 4.0)
    assert scale(5000) == (100, 181, (3000, 4000), 1e-3, 3.0)


def test_upstreams_schedule_is_left_alone() -> None:
    assert not [name for name in get_settings(1000, "upstream") if name.startswith(("optim", "model"))]
