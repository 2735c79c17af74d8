"""scripts/gate.py through its command line, as the two rules call it."""

import json
from pathlib import Path

import pytest

import synthetic_captures as made
from programs import run_process
from videomesh.gate import verdict

OFF = {check.name: {"warn": None, "fail": None} for check in verdict.CHECKS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    done = made.call_region(tmp_path, made.write(tmp_path, made.object_on_table(count=19)))
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_it_measures_and_decides(folder: Path) -> None:
    files = {"frames-json": "frames.json", "poses-json": "poses.json", "transforms": "transforms.json"}
    files |= {"region": "region.json", "points": "points.npz", "output": "gate.json"}
    limits = json.dumps({**OFF, "frame_count": {"warn": None, "fail": 20}})
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    done = run_process("gate", "check", "--scene=toy", f"--thresholds={limits}", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"gate: toy: fail, {len(OFF)} checks, 1 failed, 0 with a warning\n"

    decide = ["decide", f"--gate={folder}/gate.json", f"--output={folder}/gate.pass"]
    done = run_process("gate", *decide, "--mode=fail")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: scene toy: the capture is not good enough to train on")
    assert "failed: frame_count is 19 frames and should be at least 20 frames" in done.stderr
    assert not (folder / "gate.pass").exists()

    done = run_process("gate", *decide, "--mode=warn")
    assert (done.returncode, done.stdout) == (0, "")
    assert "failed: frame_count" in done.stderr
    assert (folder / "gate.pass").read_text().startswith(f"toy: fail, {len(OFF)} checks, 1 failed")
