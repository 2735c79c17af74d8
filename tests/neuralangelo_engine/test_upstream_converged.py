"""neuralangelo train --stop converged with upstream's test double: looks at its saves, and an end that is early."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import double
import pytest
import torch
from test_upstream_train import Scene

from neuralangelo_engine.look import Found, Looker
from neuralangelo_engine.rescue import Rescue, Save
from neuralangelo_engine.scratch import Scratch, scratch_folder
from neuralangelo_engine.train import POINTER, Training
from videomesh import convergence
from videomesh.convergence import MOVED, Ending

WHOLE, LEVELS = 20_000, 4  # the double says that so many levels are active
ENCODING = {"model": {"object": {"sdf": {"encoding": {"levels": LEVELS}}}}}
STILL = {"moved": MOVED / 2, "turned": 0.1}


def test_a_surface_that_stands_still_ends_the_training(tmp_path: Path) -> None:
    """The double's never moves. What the milestone's files say is true, and the next milestone takes no time."""
    scene = Scene(tmp_path)
    scene.configure(iterations=2000, save=100, wait=1)
    config = json.loads((tmp_path / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(json.dumps({**config, **ENCODING, "wandb_scalar_iter": 50}))
    said = scene.train(1000, "--stop=converged")
    rows = scene.metrics(1000)
    assert "the surface stands still at iteration 300; the rest of the schedule is made until iteration 375" in said
    assert "iter 300)" in said and "375 of 2000; 1625 iterations (81 %) were saved" in said
    assert "Traceback" not in said and "Error" not in said, said
    assert scene.checkpoint(1000)["iteration"] == rows[-1]["iteration"] == 375
    assert convergence.find_ending(rows) == Ending(300, 375)
    assert [row["iteration"] for row in rows if "surface_moved" in row] == [200, 300]
    kept = {path.name: path for path in (scene.out(1000) / "resume").iterdir() if path.stat().st_size}
    assert list(kept) == ["state.json"] and json.loads(kept["state.json"].read_text())["iteration"] == 375

    said = scene.train(2000, "--stop=converged", *scene.resume(1000))
    assert "Training" not in said and "were saved" in said, "upstream was not started"
    assert (scene.out(2000) / "checkpoint.pt").read_bytes() == (scene.out(1000) / "checkpoint.pt").read_bytes()
    assert scene.metrics(2000) == rows
    (scene.out(2000) / "checkpoint.pt").unlink()
    assert "--stop is never" in scene.refuse(2000, *scene.resume(1000))


def wait_for(looker: Looker) -> Found | None:
    while looker.process and looker.process.poll() is None:
        time.sleep(0.1)
    return looker.poll()


def test_looks_tell_how_far_the_surface_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A look that fails is told. The training goes on, and the next look compares with the last good one."""
    double.make_scene(tmp_path)
    source, config = double.make_source(tmp_path / "source.tar.gz"), double.make_config(tmp_path / "config.yaml")
    size = torch.tensor([0.3, 0.25, 0.2])
    with scratch_folder(source, tmp_path / "transforms.json", tmp_path / "images.tar", config) as scratch:
        looker = Looker(scratch, tmp_path / "transforms.json")
        looker.begin(Save(double.make_checkpoint(tmp_path / "first.pt", 1000, size=size.tolist()), 1000))
        assert wait_for(looker) == Found(1000, 0, None)
        (tmp_path / "broken.pt").write_bytes(b"broken")
        looker.begin(Save(tmp_path / "broken.pt", 2000))
        assert wait_for(looker) is None
        assert "warning: the surface at iteration 2000 was not looked at: error: " in capsys.readouterr().out
        moved = (size + 0.01).tolist()
        looker.begin(Save(double.make_checkpoint(tmp_path / "third.pt", 3000, size=moved), 3000))
        found = wait_for(looker)
        assert found and (found.iteration, found.before) == (3000, 1000) and found.change
        assert 0.004 < found.change["moved"] < 0.01, "the box grew by 0.01 on each side, the ring did not"
        assert not (scratch.folder / "look.pt").exists()


class StandIn:
    """A looker that found what it is given."""

    def __init__(self) -> None:
        self.process, self.iteration, self.last = None, 0, 0
        self.found: Found | None = None
        self.begun: list[int] = []

    def begin(self, save: Save) -> None:
        self.begun.append(save.iteration)
        self.iteration = save.iteration

    def poll(self) -> Found | None:
        found, self.found = self.found, None
        self.last = found.iteration if found else self.last
        return found


class Folder:
    """What upstream has written so far, and a Training that watches it."""

    def __init__(self, folder: Path, stop: str = "converged", iterations: int = WHOLE, **config: Any) -> None:
        self.folder = folder
        self.logs = folder / "logs/scene"
        self.logs.mkdir(parents=True, exist_ok=True)
        args = argparse.Namespace(iterations=iterations, metrics_before=None, stop=stop, gpus=1, seed=0)
        rescue = Rescue(folder / "resume", "work")
        scratch = Scratch(folder, folder / "programs", folder / "config.yaml")
        self.training = Training(args, {"max_iter": WHOLE, **ENCODING, **config}, scratch, rescue)
        self.looker = StandIn()

    def save(self, iteration: int, levels: int = LEVELS, psnr: float = 20.0) -> None:
        name = f"epoch_00001_iteration_{iteration:09}_checkpoint.pt"
        torch.save({}, self.logs / name)
        (self.logs / POINTER).write_text(f"{name}\n")
        row = {"step": iteration, "time": float(iteration), "attempt": 1.0, "train/PSNR": psnr}
        with open(self.logs / "metrics.jsonl", "a") as file:
            file.write(json.dumps({**row, "train/active_levels": levels}) + "\n")

    def look(self, change: dict[str, float] | None = None) -> bool:
        """Whether the training is ended, after a look that found this change since the last one."""
        if self.looker.begun:
            self.looker.found = Found(self.looker.iteration, self.looker.last, change)
        return self.training.look(self.looker)  # type: ignore[arg-type]


def test_it_ends_where_two_looks_in_a_row_find_it_still(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number, change in enumerate([None, None, STILL, {**STILL, "moved": 2 * MOVED}, STILL]):
        folder.save(2000 + 1000 * number)
        assert not folder.look(change)
    folder.save(7000)
    assert folder.look(STILL)
    save = folder.training.shorten()
    assert save and save.iteration == 7000 and folder.training.stop == 8750
    assert folder.training.rescue.find() == Save(tmp_path / "resume/checkpoint.pt", 7000)
    assert Folder(tmp_path).training.ending == Ending(7000, 8750), "an attempt that goes on knows it"


def test_it_goes_on_while_colours_get_better(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number, change in enumerate([None, None, *[STILL] * 6]):
        folder.save(2000 + 1000 * number, psnr=20.0 + number)
        assert not folder.look(change)


def test_a_surface_that_gets_finer_later_is_not_looked_at(tmp_path: Path) -> None:
    """Nor is each save, if upstream saves often, nor a schedule that is short anyway."""
    folder = Folder(tmp_path)
    folder.save(1000, levels=LEVELS - 1)
    assert not folder.look() and folder.looker.begun == []
    for iteration in (2000, 2500, 3000, 3500):
        folder.save(iteration)
        folder.look()
        folder.looker.last = folder.looker.iteration
    assert folder.looker.begun == [2000, 3000]
    late = Folder(tmp_path / "late")
    for iteration in (16_000, 17_000, 18_000, 19_000):
        late.save(iteration)
        assert not late.look(STILL)


@pytest.mark.parametrize(
    ("two_steps", "ending", "wanted"),
    [([12_000, 16_000], (7000, 8750), "[7000,7875]"), ([2000, 16_000], (7000, 8750), "[2000,7875]"),
     ([2000, 3000], (7000, 8750), "[2000,3000]")],
)  # fmt: skip
def test_the_rest_of_the_schedule_has_what_the_whole_has(
    tmp_path: Path, two_steps: list[int], ending: tuple[int, int], wanted: str
) -> None:
    """Rates that have not fallen yet fall, and annealing takes as long as it did."""
    training = Folder(tmp_path, optim={"sched": {"two_steps": two_steps}}).training
    assert not any("two_steps" in option for option in training.get_command())
    training.ending = Ending(*ending)
    options = training.get_command()
    assert "--max_iter=8750" in options and f"--optim.sched.two_steps={wanted}" in options
    share = next(float(option.split("=")[1]) for option in options if "anneal_end" in option)
    assert share * 8750 == pytest.approx(0.1 * WHOLE)


def test_a_milestone_in_the_rest_of_the_schedule(tmp_path: Path) -> None:
    training = Folder(tmp_path, iterations=8000).training
    training.ending = Ending(7000, 8750)
    assert training.stop == 8000
