"""Features and matches on a GPU: chosen, refused, and done without where it fails. No GPU is needed.

A pycolmap for CPUs that is told to use CUDA stands for a GPU that fails.
"""

import sqlite3
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any

import pycolmap
import pytest

from poses_program import call_poses, fail_poses, run_poses, store
from videomesh.poses import colmap_package
from videomesh.poses.colmap_package import Pycolmap
from videomesh.poses.database import read_pairs
from videomesh.poses.device import Device
from videomesh.poses.frames import Group

pytestmark = pytest.mark.skipif(pycolmap.has_cuda, reason="this pycolmap may use a real GPU")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colmap_package, "count_gpus", lambda: 1)
    monkeypatch.setattr(pycolmap, "has_cuda", True)


@pytest.fixture
def frames(tmp_path: Path, orbit: list[bytes]) -> Group:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        (tmp_path / "frames" / f"{number}.jpg").write_bytes(orbit[2 * number])
    return Group([f"{number}.jpg" for number in range(3)], (320, 240), None)


def solve(folder: Path, frames: Group, device: str = "auto") -> Pycolmap:
    backend = Pycolmap(folder, threads=2, seed=0, device=device)
    backend.extract([frames], 1600, 700, None)
    backend.match(list(combinations(frames.names, 2)))
    return backend


def test_the_log_and_the_summary_say_where_features_were_found_and_why(tmp_path: Path, orbit: list[bytes]) -> None:
    store(tmp_path, orbit[:20:2])
    run = call_poses(tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("features and matches on the CPU (no NVIDIA GPU can be seen)\n")
    run = call_poses(tmp_path, "--device", "cpu", out="again")
    assert run.stdout.startswith("features and matches on the CPU (poses.device is cpu)\n")


def test_the_summary_names_the_device(tmp_path: Path, orbit: list[bytes]) -> None:
    assert run_poses(store(tmp_path, orbit[:20:2]))["device"] == "cpu"


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, orbit: list[bytes]) -> None:
    message = fail_poses(store(tmp_path, orbit[:6]), "--device", "gpu")
    assert "poses.device is gpu" in message and "no NVIDIA GPU can be seen" in message
    assert "set poses.device to auto" in message


def test_a_pycolmap_for_cpus_is_told_by_the_extra_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colmap_package, "count_gpus", lambda: 1)
    assert "without CUDA" in colmap_package.find_lack() and "extra gpu" in colmap_package.find_lack()
    monkeypatch.setattr(pycolmap, "has_cuda", True)
    assert colmap_package.find_lack() == ""


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_fails_is_done_without(tmp_path: Path, frames: Group, capfd: pytest.CaptureFixture[str]) -> None:
    backend = solve(tmp_path, frames)
    assert backend.device.name == "CPU" and len(read_pairs(tmp_path / "database.db")) == 3
    said = capfd.readouterr()
    assert said.out == "features and matches on the GPU\n"
    assert said.err.count("COLMAP cannot use this machine's GPU and goes on without it (COLMAP's feature") == 1


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_was_asked_for_and_fails_is_an_error(tmp_path: Path, frames: Group) -> None:
    with pytest.raises(Exception, match=r"COLMAP fails on this machine's GPU: .*set poses.device to auto or cpu"):
        solve(tmp_path, frames, "gpu")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("step", ["extract_features", "match_image_pairs"])
def test_a_gpu_that_does_nothing_and_says_nothing_is_done_without(
    tmp_path: Path, frames: Group, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], step: str
) -> None:
    """What COLMAP does whose GPU threads cannot begin."""
    for name in ("extract_features", "match_image_pairs"):
        real = getattr(pycolmap, name)

        def work(*arguments: Any, real: Any = real, name: str = name, **options: Any) -> None:
            if options["device"] == pycolmap.Device.cpu or name != step:
                real(*arguments, **{**options, "device": pycolmap.Device.cpu})

        monkeypatch.setattr(pycolmap, name, work)
    backend = solve(tmp_path, frames)
    assert backend.device.name == "CPU" and len(read_pairs(tmp_path / "database.db")) == 3
    fault = {"extract_features": "no features of 3 of 3 frames", "match_image_pairs": "it matched no two frames"}[step]
    assert fault in capfd.readouterr().err


@pytest.mark.usefixtures("gpu")
def test_pairs_that_a_gpu_left_empty_are_matched_again(
    tmp_path: Path, frames: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COLMAP skips pairs that have a row, though it may be empty."""
    real = pycolmap.match_image_pairs

    def match(*arguments: Any, **options: Any) -> None:
        real(*arguments, **{**options, "device": pycolmap.Device.cpu})
        if options["device"] != pycolmap.Device.cpu:
            with closing(sqlite3.connect(tmp_path / "database.db")) as connection, connection:
                connection.execute("UPDATE matches SET rows = 0, data = x''")

    monkeypatch.setattr(pycolmap, "match_image_pairs", match)
    backend = Pycolmap(tmp_path, threads=2, seed=0, device="auto")
    backend.device.gpu = False
    backend.extract([frames], 1600, 700, None)
    backend.device.gpu = True
    backend.match(list(combinations(frames.names, 2)))
    assert not backend.device.gpu and len(read_pairs(tmp_path / "database.db")) == 3


def test_a_step_that_fails_on_the_cpu_too_says_so_once() -> None:
    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Device("auto", "").run(fail, lambda: "")
