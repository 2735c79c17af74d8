"""sdfgrid train_and_extract: what both programs make, in one process."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import synthetic
from programs import call_main
from sdfgrid import __main__, checkpoint, settings

PARAMETERS = {
    "train": ("transforms", "images", "masks", "points", "config", "iterations", "checkpoint", "metrics"),
    "extract": (
        "transforms",
        "images",
        "masks",
        "checkpoint",
        "mesh",
        "summary",
        "resolution",
        "crop",
        "min-component",
    ),
}
PARAMETERS["train_and_extract"] = tuple({*PARAMETERS["train"], *PARAMETERS["extract"]})


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Of a ball whose masks say that it is one: a sphere counts as untrained otherwise."""
    made = synthetic.make_sphere_scene(tmp_path, turntable=True)
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({**dataclasses.asdict(settings.derive(60, 64, 0)), **synthetic.SMALL}))
    return {**made, "config": config}


def call(command: str, paths: dict[str, Path], out: Path, **changes: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    names = {"checkpoint": "checkpoint.pt", "metrics": "metrics.jsonl", "mesh": "mesh.ply", "summary": "mesh.json"}
    values = {
        **paths,
        **{name: out / file for name, file in names.items()},
        **{"iterations": 60, "resolution": 48, "crop": "none", "min-component": 0.01, **changes},
    }
    arguments = [f"--{name}={values[name]}" for name in PARAMETERS[command]]
    done = call_main(__main__, ["sdfgrid", command, *arguments, "--device=cpu", "--threads=1"])
    return done.returncode, done.stdout, done.stderr


def test_one_process_makes_what_two_make(paths: dict[str, Path], tmp_path: Path) -> None:
    apart, together = tmp_path / "apart", tmp_path / "together"
    said = [call(command, paths, apart) for command in ("train", "extract")]
    code, output, messages = call("train_and_extract", paths, together)
    assert [code for code, _, _ in said] == [0, 0] and code == 0, messages
    assert output.startswith("mesh: ") and "train: iteration 60 of 60" in messages
    assert (together / "mesh.ply").read_bytes() == (apart / "mesh.ply").read_bytes()
    one, two = (checkpoint.read(out / "checkpoint.pt", torch.device("cpu"))["model"] for out in (together, apart))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert sorted(path.name for path in together.iterdir()) == sorted(path.name for path in apart.iterdir())


def test_an_extraction_that_fails_says_why_and_leaves_the_checkpoint(paths: dict[str, Path], tmp_path: Path) -> None:
    code, output, messages = call("train_and_extract", paths, tmp_path / "out", resolution=1_000_000)
    assert code == 1 and not output
    assert messages.splitlines()[-1].startswith("error: --resolution 1000000"), messages
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"checkpoint.pt", "metrics.jsonl"}
