"""neuralangelo train with upstream's test double: milestones, what happens when upstream fails, and what is kept."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from double import make_source, pack

import synthetic
from neuralangelo_engine.rescue import Rescue, Save, get_identity, holding
from neuralangelo_engine.train import Training, check_arguments, combine_metrics

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "source": "source.tar.gz",
    "config": "config.yaml",
    "transforms": "transforms.json",
    "images": "images.tar",
    "masks": "masks.tar",
}
DEFAULTS = ["--seed=0", "--gpus=1", "--stall-minutes=10"]


class Scene:
    """A folder with what the job gets; outputs go to a folder for each milestone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        synthetic.make_sphere_scene(folder, size=32)
        make_source(folder / "source.tar.gz")
        self.configure()

    def configure(self, iterations: int = 60, save: int = 1000, batch: int = 4, **faults: int) -> None:
        config = {
            "_parent_": "projects/neuralangelo/configs/base.yaml",
            "max_iter": iterations,
            "wandb_scalar_iter": 5,
            "checkpoint": {"save_iter": save},
            "data": {"root": "../data", "num_images": 12, "train": {"batch_size": batch}},
            "inference_args": faults,
        }
        (self.folder / "config.yaml").write_text(json.dumps(config))

    def out(self, iterations: int) -> Path:
        return self.folder / "train" / str(iterations)

    def command(self, iterations: int, *arguments: str) -> list[str]:
        files = [f"--{name}={self.folder / file}" for name, file in FILES.items()]
        out = self.out(iterations)
        files += [f"--checkpoint={out / 'checkpoint.pt'}", f"--metrics={out / 'metrics.jsonl'}"]
        given = [f"--iterations={iterations}", *DEFAULTS, *arguments]  # the last of two counts
        return [sys.executable, "-m", "neuralangelo_engine", "train", *files, *given]

    @property
    def environment(self) -> dict[str, str]:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}

    def run(self, iterations: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            self.command(iterations, *arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert not list((self.folder / "scratch").iterdir()), "the scratch folder is left behind"
        return result

    def train(self, iterations: int, *arguments: str) -> str:
        result = self.run(iterations, *arguments)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def refuse(self, iterations: int, *arguments: str) -> str:
        result = self.run(iterations, *arguments)
        assert result.returncode == 1, result.stdout
        assert not (self.out(iterations) / "checkpoint.pt").exists()
        *_, last = result.stdout.strip().splitlines()
        assert last.startswith("error: "), result.stdout
        return last

    def checkpoint(self, iterations: int) -> dict[str, Any]:
        return dict(torch.load(self.out(iterations) / "checkpoint.pt"))

    def metrics(self, iterations: int) -> list[dict[str, Any]]:
        lines = (self.out(iterations) / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def store(self, iterations: int) -> None:
        """A milestone without a training."""
        self.out(iterations).mkdir(parents=True)
        torch.save({"model": {}, "iteration": iterations}, self.out(iterations) / "checkpoint.pt")
        (self.out(iterations) / "metrics.jsonl").write_text("")

    def resume(self, iterations: int) -> list[str]:
        out = self.out(iterations)
        return [f"--resume={out / 'checkpoint.pt'}", f"--metrics-before={out / 'metrics.jsonl'}"]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_chain_of_milestones(scene: Scene) -> None:
    """Each keeps what a resume needs, and the metrics of all before it."""
    scene.train(20)
    said = scene.train(60, *scene.resume(20))
    assert "iter 20)" in said and "Training from scratch" not in said
    checkpoint = scene.checkpoint(60)
    assert checkpoint["iteration"] == 60 and {"model", "optim", "sched"} <= set(checkpoint)
    assert [row["iteration"] for row in scene.metrics(60)] == list(range(5, 65, 5))
    assert scene.metrics(60)[-1] | {"seconds": 0} == {
        "iteration": 60,
        "seconds": 0,
        "learning_rate": 0.001,
        "loss": pytest.approx(1 / 60),
        "psnr": 20.0,
        "levels": 4,
    }
    assert {path.name for path in scene.out(60).iterdir()} == {"checkpoint.pt", "metrics.jsonl", "resume"}
    assert [path.name for path in (scene.out(60) / "resume").iterdir()] == ["state.json"], "no gigabytes stay behind"


def test_it_anneals_as_the_whole_schedule_does(scene: Scene) -> None:
    """Upstream takes a share of max_iter, which is the milestone's in a chain."""
    args = type("Arguments", (), {"metrics_before": None, "iterations": 20})()
    scratch = type("Place", (), {"folder": scene.folder})()
    for config, share in (({"max_iter": 60}, 0.3), ({"max_iter": 20}, 0.1)):
        assert Training(args, config, scratch, None).get_anneal_end() == pytest.approx(share)  # type: ignore[arg-type]


def test_seconds_are_of_training_not_of_the_pause_between_attempts() -> None:
    """A rate computed from them is that of the machine. They go on from the milestone before."""
    before = json.dumps({"iteration": 10, "seconds": 50.0}) + "\n"
    raws = [
        {"step": 20, "time": 1000.0, "attempt": 990.0, "train/PSNR": 20.0},
        {"step": 30, "time": 1004.0, "attempt": 990.0},
        {"step": 30, "time": 9000.0, "attempt": 8900.0, "train/PSNR": 21.0},
        {"step": 40, "time": 9005.0, "attempt": 8900.0},
    ]
    lines = [json.loads(line) for line in combine_metrics(before, raws).splitlines()]
    assert [(line["iteration"], line["seconds"]) for line in lines] == [(10, 50.0), (20, 50.0), (30, 54.0), (40, 59.0)]
    assert [line.get("psnr") for line in lines] == [None, 20.0, 21.0, None]


def test_a_failed_attempt_loses_no_more_than_since_its_last_save(scene: Scene) -> None:
    scene.configure(save=10, crash=35)
    said = scene.refuse(60)
    assert "CUDA error: unspecified launch failure" in said and "goes on from iteration 30" in said
    said = scene.train(60)
    assert "saved iteration 30; going on from there" in said and "iter 30)" in said
    assert [row["iteration"] for row in scene.metrics(60)] == list(range(5, 65, 5))
    # A job cannot remove anything from its bucket, where 4.4 GB cost money.
    sizes = {path.name: path.stat().st_size for path in (scene.out(60) / "resume").iterdir()}
    assert sizes.pop("state.json") < 200 and sizes == {"checkpoint.pt": 0, "metrics.jsonl": 0}


def test_a_failed_extraction_in_the_same_job_does_not_cost_the_training(scene: Scene) -> None:
    scene.train(60)
    trained, metrics = (scene.out(60) / name for name in ("checkpoint.pt", "metrics.jsonl"))
    before = trained.read_bytes(), metrics.read_bytes()
    with pytest.raises(RuntimeError), holding(trained):
        raise RuntimeError
    trained.unlink()  # as the job does with outputs of a failed command
    metrics.unlink()
    assert "failed after it; its checkpoint is taken" in scene.train(60)
    assert (trained.read_bytes(), metrics.read_bytes()) == before
    with holding(trained):
        assert (trained.parent / "resume" / "checkpoint.pt").samefile(trained)
    assert (trained.parent / "resume" / "checkpoint.pt").stat().st_size == 0
    trained.unlink()
    assert "Training from scratch" in scene.train(60, "--seed=1"), "nothing is kept once the mesh is there"


def test_a_save_of_other_work_or_a_broken_one_is_not_taken(scene: Scene) -> None:
    args = argparse.Namespace(seed=0, stop="never", **{name: scene.folder / file for name, file in FILES.items()})
    save = scene.folder / "save.pt"
    torch.save({"iteration": 30}, save)
    folder = scene.out(60) / "resume"
    rescue = Rescue(folder, get_identity(args))
    rescue.keep(Save(save, 30), "")
    found = Rescue(folder, get_identity(args)).find()
    assert found and found.iteration == 30
    for change in (
        lambda: scene.configure(save=15),
        lambda: synthetic.make_sphere_scene(scene.folder, size=24),
        lambda: setattr(args, "seed", 1),  # what a mesh that failed may need
        lambda: setattr(args, "stop", "converged"),  # its schedule may have been shortened
    ):
        before = get_identity(args)
        change()
        assert get_identity(args) != before and Rescue(folder, get_identity(args)).find() is None
    rescue.checkpoint.write_bytes(rescue.checkpoint.read_bytes()[:-100])
    assert rescue.find() is None


def test_sigterm_ends_everything_and_keeps_the_last_save(scene: Scene) -> None:
    """As a time limit does. Nothing of upstream may go on."""
    scene.configure(iterations=100_000, save=10)
    command = scene.command(100_000)
    process = subprocess.Popen(command, env=scene.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    state = scene.out(100_000) / "resume" / "state.json"
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert json.loads(state.read_text())["iteration"] >= 10
    assert not (scene.out(100_000) / "checkpoint.pt").exists()
    assert not list((scene.folder / "scratch").iterdir())
    processes = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in processes if str(scene.folder).encode() in line]


def test_a_hanging_training_is_ended(scene: Scene) -> None:
    scene.configure(save=10, hang=35)
    said = scene.refuse(60, "--stall-minutes=0.3")
    assert "no sign of life for 0.3 minutes" in said and "goes on from iteration 30" in said


def test_a_training_that_does_not_resume_is_ended_at_once(scene: Scene) -> None:
    scene.store(20)
    scene.configure(iterations=100_000, forget=1)
    assert "did not resume from iteration 20" in scene.refuse(100_000, *scene.resume(20))


def test_a_loss_that_is_no_number_gets_a_second_chance(scene: Scene) -> None:
    """From the last save, with half the learning rate; not in the first 1,000 iterations, where poses are at fault."""
    scene.configure(iterations=1300, save=100, nan=1150)
    said = scene.train(1300)
    assert "going on from iteration 1100 with half the rate" in said
    assert scene.checkpoint(1300)["optim"]["param_groups"][0]["lr"] == pytest.approx(0.0005)
    scene.configure(save=10, nan=25)
    assert "gone to NaN" in scene.refuse(60)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("oom", "OutOfMemoryError: CUDA out of memory"),
        ("silent", "without the checkpoint of iteration 60"),
        ("kill", "exitcode: -9"),
    ],
)
def test_failures_of_upstream_are_told_in_one_line(scene: Scene, fault: str, words: str) -> None:
    scene.configure(**{fault: 25})
    result = scene.run(60)
    assert result.returncode == 1 and words in result.stdout, result.stdout
    assert result.stdout.strip().splitlines()[-1].startswith("error: upstream")
    assert not (scene.out(60) / "checkpoint.pt").exists()


def test_masks_are_read_if_the_settings_are_for_a_plain_background(scene: Scene) -> None:
    transforms = json.loads((scene.folder / "transforms.json").read_text())
    transforms["frames"][3]["mask_path"] = "masks/missing.png"
    (scene.folder / "transforms.json").write_text(json.dumps(transforms))
    scene.train(60)
    config = json.loads((scene.folder / "config.yaml").read_text())
    (scene.folder / "config.yaml").write_text(json.dumps({**config, "model": {"background": {"enabled": False}}}))
    assert "masks.tar: lacks missing.png" in scene.refuse(40)


def test_a_missing_image_is_told(scene: Scene) -> None:
    """The real one hangs, and is ended by the watch."""
    transforms = json.loads((scene.folder / "transforms.json").read_text())
    transforms["frames"][3]["file_path"] = "images/missing.png"
    (scene.folder / "transforms.json").write_text(json.dumps(transforms))
    assert "missing.png" in scene.refuse(60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--iterations=61"], "--iterations 61: the schedule"),
        (["--resume=none.pt"], "none.pt: no such file"),
        (["--source=none.tar.gz"], "none.tar.gz: no such file"),
        (["--images={folder}/config.yaml"], "not a whole tar"),
        (["--config={folder}/images.tar"], "not written by this workflow"),
        (["--resume={folder}/images.tar"], "cut short or no checkpoint"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(scene: Scene, arguments: list[str], words: str) -> None:
    said = scene.refuse(60, *(argument.format(folder=scene.folder) for argument in arguments))
    assert words in said


@pytest.mark.parametrize(("batch", "gpus", "words"), [(13, 1, "a batch of 13 on 1 GPU,"), (4, 4, "16 on 4 GPUs,")])
def test_fewer_images_than_a_batch_are_refused(scene: Scene, batch: int, gpus: int, words: str) -> None:
    """The training would do nothing. Each GPU gets a batch."""
    scene.configure(batch=batch)
    said = scene.refuse(60, f"--gpus={gpus}")
    assert "transforms.json: 12 images are fewer than" in said and words in said


def test_several_gpus_are_warned_of(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    for gpus, warned in ((1, False), (2, True)):
        args = argparse.Namespace(iterations=60, gpus=gpus, config="", transforms="")
        check_arguments(args, json.loads((scene.folder / "config.yaml").read_text()))
        assert ("2 GPUs train one scene" in capsys.readouterr().out) is warned


def test_a_milestone_that_is_behind_is_refused(scene: Scene) -> None:
    scene.store(20)
    assert "holds iteration 20 already" in scene.refuse(10, *scene.resume(20))


def test_a_tar_may_not_write_elsewhere(scene: Scene) -> None:
    pack(scene.folder / "source.tar.gz", {"../outside.py": b"", "train.py": b""})
    assert "would be unpacked outside" in scene.refuse(60)
    assert not (scene.folder / "outside.py").exists()
