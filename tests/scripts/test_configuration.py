"""scripts/configuration.py: what it prints."""

import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT
from programs import call
from settings_folder import CONFIG, HEADER, TABLE, make_folder, write, write_cell


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path)
    monkeypatch.chdir(tmp_path)


def test_it_prints_each_setting_and_where_it_was_set() -> None:
    write("more.yaml", "# mine\ntrain: {seed: 4}\n")
    write_cell("mesh.resolution", "128")
    command = [sys.executable, str(ROOT / "scripts/configuration.py"), "--config", CONFIG, "more.yaml"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in run.stdout.splitlines()]
    assert lines[0] == ["lamp"]
    assert ["video", "videos/lamp.mp4", f"{TABLE} line 2"] in lines
    assert ["mesh.resolution", "128", f"{TABLE} line 2"] in lines
    assert ["train.seed", "4", "more.yaml line 2"] in lines
    assert ["train.iterations", "3000", "default"] in lines


def test_it_prints_the_errors_and_nothing_else() -> None:
    write(TABLE, f"{HEADER}\nlamp\tvideos/lanp.mp4\n")
    run = call("configuration")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "configuration: 1 error\n"
        f"  {TABLE} line 2, column video: videos/lanp.mp4: there is no such file or folder. "
        "Did you mean videos/lamp.mp4?\n"
    )


def test_it_warns_of_a_region_without_a_scene() -> None:
    write("config/regions/lamps.json", "{}")
    run = call("configuration")
    assert run.returncode == 0
    assert run.stderr.startswith("warning: config/regions/lamps.json: there is no scene lamps")
