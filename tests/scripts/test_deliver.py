"""scripts/deliver.py: all copies appear, or none."""

from pathlib import Path

from programs import call, run_process


def test_all_files_are_copied(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(b"mesh")
    (tmp_path / "b.glb").write_bytes(b"web")
    target = tmp_path / "deliver" / "lamp"
    pairs = ["--copy", tmp_path / "a.ply", target / "mesh.ply", "--copy", tmp_path / "b.glb", target / "mesh.glb"]
    done = run_process("deliver", *pairs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"mesh.ply": b"mesh", "mesh.glb": b"web"}


def test_one_missing_file_leaves_the_old_copies(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(b"new")
    (tmp_path / "mesh.ply").write_bytes(b"old")
    missing = tmp_path / "b.glb"
    done = call(
        "deliver", "--copy", tmp_path / "a.ply", tmp_path / "mesh.ply", "--copy", missing, tmp_path / "mesh.glb"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot copy {missing} to {tmp_path / 'mesh.glb'}: No such file")
    assert (tmp_path / "mesh.ply").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ply", "mesh.ply"]
