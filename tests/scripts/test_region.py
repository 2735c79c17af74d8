"""scripts/region.py through its command line, as the rule calls it."""

import json
from pathlib import Path

import synthetic_captures as made
from programs import run_process


def test_it_writes_the_region_and_says_how_it_was_found(tmp_path: Path) -> None:
    inputs = made.write(tmp_path / "in", made.object_on_table())
    done = run_process("region", *made.get_region_arguments(tmp_path / "out", inputs))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("region: object, robust, radius ")
    names = ["points.npz", "region.json", "region.png", "transforms.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert len(json.loads((tmp_path / "out/transforms.json").read_text())["frames"]) == 36


def test_what_the_user_can_mend_is_one_message(tmp_path: Path) -> None:
    inputs = made.write(tmp_path / "in", made.object_on_table())
    done = run_process("region", *made.get_region_arguments(tmp_path / "out", inputs), "--center=1,2,3")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: region.center and region.radius belong together; give both or neither\n"
    assert not (tmp_path / "out").exists()
