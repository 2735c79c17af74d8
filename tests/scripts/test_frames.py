"""scripts/frames.py as a process of its own."""

import json
import tarfile
from pathlib import Path

import pytest

import media
from frames_program import get_arguments
from programs import run_process


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.write_video(tmp_path_factory.mktemp("made") / "made.mp4", [media.picture(n) for n in range(30)])


def test_all_files_and_a_line_of_what_was_kept(video: Path) -> None:
    done = run_process("frames", *get_arguments(video, "--target=20"))
    assert (done.returncode, done.stderr) == (0, "")
    burnt_in, kept = done.stdout.splitlines()
    assert burnt_in.startswith(f"warning: {video}: something stays where it is")  # the number in the pictures
    assert kept == f"{video}: kept 20 of 30 frames"
    out = video.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == ["frames.json", "frames.tar", "masks.tar"]
    with tarfile.open(out / "frames.tar", "r:") as tar:
        assert tar.getnames() == [frame["name"] for frame in json.loads((out / "frames.json").read_text())["frames"]]


def test_a_bad_source_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_process("frames", *get_arguments(tmp_path / "scene.mp4"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path}/scene.mp4: no such file; run the ingest stage first\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_outputs_that_cannot_be_written(video: Path) -> None:
    arguments = get_arguments(video, f"--frames={video}/f.tar")
    done = run_process("frames", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "check permissions" in done.stderr and done.stderr.count("\n") == 1


def test_a_number_that_makes_no_sense_is_refused(video: Path) -> None:
    done = run_process("frames", *get_arguments(video, "--target=2"))
    assert done.returncode == 2
    assert done.stderr.endswith("error: argument --target: 2 is too small; it must be 3 or more\n")
