"""scripts/poses.py as a process of its own, also one that is stopped."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from poses_program import BANNER, HELP, OUTPUTS, get_arguments, make_temporary, program, read_orbit, store
from programs import get_command, get_environment, run_process


@pytest.fixture(scope="session")
def orbit(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return read_orbit(tmp_path_factory.mktemp("orbit"))


def test_the_same_frames_give_the_same_poses(tmp_path: Path, orbit: list[bytes]) -> None:
    """pycolmap with one thread: to the byte. More may differ on a busy machine, COLMAP 3.8 always may."""
    store(tmp_path, orbit[:24:2])
    for out in ("first", "second"):
        flags = ("--backend=pycolmap", "--seed=3", "--threads=1")
        done = run_process("poses", *get_arguments(tmp_path, *flags, out=out))
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("model: 12 of 12 frames, 0.")
        assert sorted(path.name for path in (tmp_path / out).iterdir()) == OUTPUTS
    for name in OUTPUTS[:-1]:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_a_bad_input_is_one_message_and_leaves_nothing(tmp_path: Path, orbit: list[bytes]) -> None:
    (store(tmp_path, orbit[:6]) / "frames.tar").unlink()
    done = run_process("poses", *get_arguments(tmp_path), TMPDIR=str(make_temporary(tmp_path)))
    assert done.returncode == 1
    assert re.fullmatch(r"features and matches on the .PU.*\n", done.stdout)
    assert done.stderr == f"error: {tmp_path}/frames.tar: no such file; run the frames stage first\n"
    assert list((tmp_path / "out").iterdir()) == [] == list((tmp_path / "tmp").iterdir())


def test_a_number_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    done = run_process("poses", *get_arguments(tmp_path, "--seed=-1"))
    assert done.returncode == 2
    assert done.stderr.endswith("error: argument --seed: -1 is too small; it must be 0 or more\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_colmap_and_leaves_nothing(
    tmp_path: Path, orbit: list[bytes], number: signal.Signals
) -> None:
    stub = f"#!/bin/sh\n{BANNER}{HELP}echo $$ > {tmp_path}/pid\nexec sleep 60\n"
    changes = program(tmp_path, stub)
    process = start(store(tmp_path, orbit[:6]), number, "--backend", "colmap", **changes)
    wait_for((tmp_path / "pid").exists)
    child = int((tmp_path / "pid").read_text())
    process.send_signal(number)
    assert process.wait(10) == 130
    wait_for(lambda: not Path("/proc", str(child)).exists())
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_with_pycolmap_leaves_nothing(tmp_path: Path, orbit: list[bytes], number: signal.Signals) -> None:
    process = start(store(tmp_path, orbit * 2), number, "--backend", "pycolmap")
    wait_for(lambda: any((tmp_path / "tmp").glob("poses-*/database.db")))
    process.send_signal(number)
    assert process.wait(30) == 130
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def start(folder: Path, number: signal.Signals, *flags: str, **changes: str) -> subprocess.Popen:
    # A test runner in the background ignores SIGINT, and its children would, too.
    return subprocess.Popen(
        get_command("poses", *get_arguments(folder, *flags)),
        env={**get_environment(**changes), "TMPDIR": str(make_temporary(folder))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
