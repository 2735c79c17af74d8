"""Outputs that appear complete or not at all, and members of tars."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from videomesh.files import add_to_tar, outputs


def test_outputs_appear_when_all_is_done(tmp_path: Path) -> None:
    finals = [tmp_path / "new" / "a.json", tmp_path / "new" / "b.tar"]
    with outputs(*finals) as parts:
        for part in parts:
            part.write_text("content")
        assert not any(final.exists() for final in finals)
    assert sorted((tmp_path / "new").iterdir()) == finals


def test_a_step_that_fails_leaves_what_was_there_before(tmp_path: Path) -> None:
    final = tmp_path / "a.json"
    final.write_text("before")
    with pytest.raises(ValueError), outputs(final) as (part,):
        part.write_text("half")
        raise ValueError
    assert final.read_text() == "before" and list(tmp_path.iterdir()) == [final]


def test_only_the_leftovers_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left, in_use = tmp_path / f".a.json.{gone.stdout.strip()}.part", tmp_path / f".a.json.{os.getppid()}.part"
    left.touch()
    in_use.touch()
    with outputs(tmp_path / "a.json") as (part,):
        part.touch()
    assert not left.exists() and in_use.exists()


def test_the_same_files_give_the_same_tar(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            add_to_tar(tar, "000000.jpg", b"picture")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "r:") as tar:
        (member,) = tar
        assert (member.name, member.size, member.mtime, member.uid, member.uname) == ("000000.jpg", 7, 0, 0, "")
        assert tar.extractfile(member).read() == b"picture"  # type: ignore[union-attr]
