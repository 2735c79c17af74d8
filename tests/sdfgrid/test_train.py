"""sdfgrid train and settings: what a made ball becomes, milestones, and what is said of bad input."""

import dataclasses
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import synthetic
from sdfgrid import __main__, checkpoint, grid, kernels, numba_kernels, optimiser, render, settings
from sdfgrid.dataset import Dataset, grid_from_region, load
from sdfgrid.model import SurfaceModel
from sdfgrid.trainer import Trainer
from videomesh import convergence, errors
from videomesh.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("kernels")


class Scene:
    """A folder with the ball's files; `train` runs the command in this process, where PyTorch is loaded already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = synthetic.make_sphere_scene(folder)
        self.out = folder / "out"
        self.configure(40)

    def configure(self, iterations: int, **changes: object) -> None:
        values = {**dataclasses.asdict(settings.derive(iterations, 64, 0)), **synthetic.SMALL, **changes}
        (self.folder / "config.yaml").write_text(json.dumps(values))

    def load(self, image_size: int) -> Dataset:
        return load(*self.paths.values(), settings.derive(100, image_size, 0), CPU)

    def edit_transforms(self, **changes: object) -> None:
        path = self.paths["transforms"]
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def arguments(self, iterations: int, *options: str) -> list[str]:
        files = [f"--{name}={path}" for name, path in self.paths.items()]
        out = self.out / str(iterations)
        outputs = [f"--checkpoint={out / 'checkpoint.pt'}", f"--metrics={out / 'metrics.jsonl'}"]
        config = f"--config={self.folder / 'config.yaml'}"
        fixed = [f"--iterations={iterations}", "--device=cpu", "--threads=1"]
        return ["train", *files, config, *outputs, *fixed, *options]

    def train(self, iterations: int, *options: str) -> dict[str, Any]:
        """The content of the checkpoint of a run that must succeed."""
        code, said = command(self.arguments(iterations, *options))
        assert code == 0, said
        return checkpoint.read(self.checkpoint(iterations), CPU)

    def checkpoint(self, iterations: int) -> Path:
        return self.out / str(iterations) / "checkpoint.pt"

    def metrics(self, iterations: int) -> list[dict[str, Any]]:
        text = (self.out / str(iterations) / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def refuse(self, *options: str, iterations: int = 40, says: list[str]) -> None:
        """A run that must fail with one clear message and leave nothing behind."""
        code, said = command(self.arguments(iterations, *options))
        message = [line for line in said.splitlines() if not line.startswith("train: ")]
        assert code == 1 and len(message) == 1 and message[0].startswith("error: "), said
        for words in says:
            assert words in message[0], message[0]
        folder = self.out / str(iterations)
        assert not folder.exists() or not list(folder.iterdir())


def command(arguments: list[str]) -> tuple[int, str]:
    """Exit code and stderr of python3 -m sdfgrid, in this process."""
    patch = pytest.MonkeyPatch()
    said = io.StringIO()
    with patch.context() as context:
        context.setattr(sys, "argv", ["sdfgrid", *arguments])
        context.setattr(sys, "stderr", said)
        try:
            errors.run(__main__.main)
        except SystemExit as stop:
            if isinstance(stop.code, str):
                return 1, f"{said.getvalue()}{stop.code}\n"
            return stop.code or 0, said.getvalue()
    return 0, said.getvalue()


def process(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen([sys.executable, "-m", "sdfgrid", *arguments], env=environment, text=True, **options)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_learns_the_ball(scene: Scene) -> None:
    scene.configure(300)
    scene.train(300)
    metrics = scene.metrics(300)
    assert [line["iteration"] for line in metrics] == [1, 50, 100, 150, 200, 250, 300]
    assert metrics[-1]["psnr"] > metrics[0]["psnr"] + 8
    told = metrics[3]
    assert told["held_out_psnr"] > 18 and told["held_out_views"] == 1
    assert metrics[-1]["levels"] == 3

    field = checkpoint.load(scene.checkpoint(300), CPU)
    assert field.iteration == 300
    assert np.allclose(field.center, synthetic.REGION_CENTER) and field.radius == synthetic.REGION_RADIUS
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    radii = torch.linspace(0.3, 0.9, 121)
    distances = field.signed_distance((directions[:, None] * radii[:, None]).reshape(-1, 3)).view(200, 121)
    found = radii[(distances > 0).int().argmax(1)]
    truth = synthetic.BALL_RADIUS / synthetic.REGION_RADIUS
    assert (found - truth).abs().mean() < 0.02
    colours = field.colour(directions * truth, -directions)
    assert colours.shape == (200, 3) and colours.min() >= 0 and colours.max() <= 1


def test_a_resumed_run_equals_an_uninterrupted_one(scene: Scene) -> None:
    """The stop lies between refreshes and just before a level starts; one thread, so equality is exact."""
    scene.configure(80, level_starts=[0.0, 0.0, 0.5], sharpness_end=100.0)
    straight = scene.train(80)
    lines = scene.metrics(80)
    scene.train(40)
    resumed = scene.train(80, f"--resume={scene.checkpoint(40)}")
    for part in ("model", "grid_adam", "background_adam"):
        for name, value in straight[part].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(resumed[part][name])), name
    assert torch.equal(straight["baked"], resumed["baked"])

    before, after = scene.metrics(40), scene.metrics(80)
    assert after[: len(before)] == before, "a milestone's metrics begin with those of the milestones before"
    assert after[-1]["loss"] == lines[-1]["loss"]
    assert after[-1]["seconds"] > before[-1]["seconds"]


def test_frames_are_withheld_until_they_have_told_the_psnr(scene: Scene) -> None:
    """They are not measured any more once they teach. A chain does the same, wherever its milestones lie."""
    scene.configure(40)
    straight = scene.train(40)
    rows = scene.metrics(40)
    assert [(row["iteration"], row["training_frames"], "held_out_psnr" in row) for row in rows] == [
        (1, 11, False),
        (20, 11, True),
        (40, 12, False),
    ]
    previous: list[str] = []
    for milestone in (10, 20, 30, 40):
        chained = scene.train(milestone, *previous)
        previous = [f"--resume={scene.checkpoint(milestone)}"]
    assert torch.equal(straight["model"]["grid.table"], chained["model"]["grid.table"])
    told = [row["iteration"] for row in scene.metrics(40) if "held_out_psnr" in row]
    assert told == [10, 20], "what a frame tells that teaches is not what it told before"


def test_frames_may_be_withheld_to_the_end(scene: Scene) -> None:
    scene.configure(20, held_out_until=1.0)
    scene.train(20)
    assert scene.metrics(20)[-1]["training_frames"] == 11 and scene.metrics(20)[-1]["held_out_views"] == 1


# --- an early end

STANDS_STILL = {"grid_learning_rate": 1e-9, "network_learning_rate": 1e-9, "background_learning_rate": 1e-9}


@pytest.fixture
def coarse_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The PSNR of the few rays of a test moves by more than that of a training."""
    monkeypatch.setattr(convergence, "GAINED", 5.0)


def test_a_surface_that_stands_still_ends_the_training(scene: Scene, coarse_colours: None) -> None:
    """All levels are in use from iteration 25 of 80 on. Looks are 4 iterations apart: the first two comparisons are at
    32 and 36. The rest of the schedule takes a quarter of that."""
    scene.configure(80, **STANDS_STILL)
    code, said = command(scene.arguments(80, "--stop=converged"))
    assert code == 0, said
    assert "the surface stands still; the rest of the schedule is made until iteration 45" in said
    assert "stood still at iteration 36, and the training ended at 45 of 80; 35 iterations (43 %) were saved" in said
    rows, content = scene.metrics(80), checkpoint.read(scene.checkpoint(80), CPU)
    assert content["iteration"] == rows[-1]["iteration"] == checkpoint.load(scene.checkpoint(80), CPU).iteration == 45
    assert [row["iteration"] for row in rows if "surface_moved" in row] == [32, 36]
    assert max(row.get("surface_moved", 0) for row in rows) < convergence.MOVED
    assert rows[-1]["sharpness"] == settings.read(scene.folder / "config.yaml").sharpness_end
    assert rows[-1]["training_frames"] == 12, "the frames that were withheld teach before the end"


def test_a_chain_ends_early_where_one_long_run_does(scene: Scene, coarse_colours: None) -> None:
    """With milestones between two looks and in the rest of the schedule. Those behind it take no time."""
    scene.configure(80, **STANDS_STILL)
    straight = scene.train(80, "--stop=converged")
    previous: list[str] = []
    for milestone in (34, 40, 60, 80):
        chained = scene.train(milestone, "--stop=converged", *previous)
        previous = [f"--resume={scene.checkpoint(milestone)}"]
        assert chained["iteration"] == min(milestone, 45)
    assert torch.equal(straight["model"]["grid.table"], chained["model"]["grid.table"])
    assert straight["metrics"][-1]["loss"] == chained["metrics"][-1]["loss"]
    assert chained["seconds"] == checkpoint.read(scene.checkpoint(60), CPU)["seconds"]
    assert chained["made_on"] == straight["made_on"]
    (scene.out / "80" / "checkpoint.pt").unlink()
    (scene.out / "80" / "metrics.jsonl").unlink()
    scene.refuse(f"--resume={scene.checkpoint(40)}", iterations=80, says=["iteration 36", "--stop is never"])


def test_a_surface_that_changes_trains_to_the_end(
    scene: Scene, coarse_colours: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In so few iterations the ball moves little from one look to the next, but more than one that stands still."""
    monkeypatch.setattr(convergence, "MOVED", 1e-4)
    monkeypatch.setattr(convergence, "LOOKS", 10)
    scene.configure(80)
    assert scene.train(80, "--stop=converged")["iteration"] == 80
    looks = [row for row in scene.metrics(80) if "surface_moved" in row]
    assert len(looks) > 4 and not any("ends_at" in row for row in looks)
    assert min(row["surface_moved"] for row in looks[:3]) > convergence.MOVED


def test_never_looks_and_never_ends_early(scene: Scene) -> None:
    scene.configure(80, **STANDS_STILL)
    assert scene.train(80)["iteration"] == 80
    assert not any("surface_moved" in row for row in scene.metrics(80))


def test_a_checkpoint_from_before_a_number_was_a_setting_goes_on(scene: Scene) -> None:
    """It was trained with the value that is the default now. Another value is another training."""
    scene.train(20)
    path = scene.checkpoint(20)
    content = checkpoint.read(path, CPU)
    del content["settings"]["points_reach"]
    torch.save(content, path)
    assert scene.train(40, f"--resume={path}")["iteration"] == 40
    assert checkpoint.load(path, CPU).iteration == 20
    scene.configure(40, points_reach=0.1)
    (scene.out / "40" / "checkpoint.pt").unlink()
    (scene.out / "40" / "metrics.jsonl").unlink()
    scene.refuse(f"--resume={path}", says=["other settings", "points_reach 0.05 -> 0.1"])


def test_a_gpu_without_triton_gets_plain_pytorch_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Triton is not there with PyTorch for CPUs; where it is, it needs a compiler."""
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "sdfgrid.triton_kernels", raising=False)
    assert kernels.choose(torch.device("cuda")) is None
    said = capsys.readouterr().err
    assert said.startswith("warning: Triton's kernels do not work here") and "gcc" in said and said.count("\n") == 1
    assert kernels.choose(torch.device("cuda"), "torch") is None and not capsys.readouterr().err


def test_an_iteration_that_no_gpu_can_compile_is_left_to_plain_pytorch(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_step(trainer: object) -> None:
        raise RuntimeError("ptxas failed\nout of resource: shared memory")

    monkeypatch.setattr(numba_kernels, "make_step", make_step)
    code, said = command(scene.arguments(20))
    assert code == 0 and scene.checkpoint(20).exists()
    assert "warning: Triton's kernels do not work here (RuntimeError: out of resource: shared memory)" in said


def test_a_training_needs_neither_pytorch_s_compiler_nor_its_optimisers(scene: Scene) -> None:
    """PyTorch imports its compiler when one of its optimisers is made: 3 s before anything is learnt."""
    program = (
        "import sys; from sdfgrid import __main__; __main__.main()\n"
        "print([name for name in ('torch._dynamo', 'torch._inductor', 'triton') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    options = {"capture_output": True, "text": True, "env": environment}
    done = subprocess.run([sys.executable, "-c", program, *scene.arguments(20)], **options)
    assert done.returncode == 0 and done.stdout == "[]\n", done


def test_adam_of_networks_is_pytorch_s() -> None:
    """Bit by bit, also where a parameter has no gradient for some iterations, and where PyTorch has no fused one."""
    chosen = settings.derive(100, 64, 0)
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(size, generator=generator) for size in ((5, 12), (5,), (1, 37))]
    ours = [tensor.clone().requires_grad_() for tensor in start]
    plain = [tensor.clone().requires_grad_() for tensor in start]
    theirs = [tensor.clone().requires_grad_() for tensor in start]
    adam, plain_adam = optimiser.NetworkAdam(ours, chosen), optimiser.NetworkAdam(plain, chosen)
    betas = (chosen.adam_beta1, chosen.adam_beta2)
    wanted = torch.optim.Adam(theirs, lr=0.01, betas=betas, eps=chosen.adam_epsilon, fused=True)
    for iteration in range(5):
        for index, parameters in enumerate(zip(ours, plain, theirs, strict=True)):
            gradient = torch.randn(parameters[0].shape, generator=generator)
            for parameter in parameters:
                parameter.grad = None if index == 1 and iteration < 2 else gradient.clone()
        adam.step(0.01)
        wanted.step()
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(torch, "_fused_adam_")
            plain_adam.step(0.01)
    for mine, simple, reference in zip(ours, plain, theirs, strict=True):
        assert torch.equal(mine, reference)
        assert torch.allclose(simple, reference, atol=1e-6)
    adam.restore(**wanted.state_dict())  # an older checkpoint holds this
    assert torch.equal(adam.means[1], wanted.state_dict()["state"][1]["exp_avg"]) and adam.steps[1] == 3


def test_same_seed_same_result_other_seed_another(scene: Scene) -> None:
    losses = []
    for seed in (0, 0, 1):
        scene.configure(20, seed=seed)
        losses.append(scene.train(20)["metrics"][-1]["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_without_numba_the_same(scene: Scene) -> None:
    scene.configure(20)
    runs = []
    for options, name in (([], "Numba kernels"), (["--kernels=torch"], "plain PyTorch")):
        code, said = command([*scene.arguments(20), *options])
        assert code == 0 and f"train: on the CPU with {name}: images of 64 px, 256 rays" in said
        runs.append(scene.metrics(20))
    with_numba, without = runs
    assert without[0]["loss"] == pytest.approx(with_numba[0]["loss"], rel=1e-4)
    assert without[-1]["loss"] == pytest.approx(with_numba[-1]["loss"], rel=0.05)


def test_kernels_equal_plain_torch() -> None:
    """Lookup, gradient, optimiser step and sampling, each on random input, on dense, partial and absent levels."""
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(3000, 3, generator=generator) * 2.2 - 1.1  # some outside the grid
    wanted = torch.randn(3000, 12, generator=generator)
    results = []
    for each in (numba_kernels, None):
        table = grid.FeatureGrid([5, 8, 19], 8, 1e-4, torch.Generator().manual_seed(2), each)
        adam = optimiser.GridAdam(table, settings.derive(100, 64, 0))
        adam.grow(table.allocate(2, table.brick_centres(2).norm(dim=-1) < 0.7))
        with torch.no_grad():
            table.table.copy_(torch.randn(table.table.shape, generator=torch.Generator().manual_seed(3)))
        features = table(points, 3)
        for step in range(2):
            (table(points[: 1500 * (step + 1)], 3) * wanted[: 1500 * (step + 1)]).sum().backward()
            adam.step(0.1)
        assert not table.gradient().any()
        results.append([features, table.table, adam.mean, adam.square])
    for fast, plain in zip(*results, strict=True):
        assert torch.allclose(fast, plain, atol=2e-4, rtol=1e-4)


def test_sampling_kernel_equals_plain_torch(scene: Scene) -> None:
    data = scene.load(64)
    pixels = data.inside[::37].long()
    rays = render.make_rays(data, pixels // 4096, pixels % 4096, len(pixels))
    baked = render.BakedField(32, CPU)
    baked.values = baked.points.norm(dim=-1) - 0.6
    depths = []
    for each in (numba_kernels, None):
        baked.kernels = each
        generator = torch.Generator().manual_seed(0)
        depths.append(render.sample_depths(baked, rays, settings.derive(100, 64, 0), 200.0, 16, generator))
    assert (depths[0].diff(dim=1) >= 0).all()
    assert ((depths[0] - depths[1]).abs() < 1e-3).float().mean() > 0.999
    crossing = torch.isfinite(rays.near) & (
        (rays.origins + rays.directions * rays.closest[:, None]).norm(dim=-1) < 0.55
    )
    at = rays.origins[crossing, None] + rays.directions[crossing, None] * depths[0][crossing][..., None]
    near_surface = ((at.norm(dim=-1) - 0.6).abs() < 0.1).float().mean()
    assert near_surface > 0.6, "most samples lie where the ray enters the ball"


def test_rays_that_miss_the_surface_by_far_are_drawn_once_more(scene: Scene) -> None:
    data = scene.load(64)
    chosen = dataclasses.replace(settings.derive(100, 64, 0), rays=4000)
    missed = []
    for distance, each in [(0.0, None), (chosen.redraw_distance, None), (chosen.redraw_distance, numba_kernels)]:
        trainer = Trainer(dataclasses.replace(chosen, redraw_distance=distance), data, CPU, each)
        trainer.baked.values = trainer.baked.points.norm(dim=-1) - 0.6  # the ball is smaller than the region
        trainer.generator.manual_seed(0)
        rays = render.make_rays(data, *trainer._choose_pixels())
        aim = (rays.origins + rays.directions * rays.closest[:, None])[: rays.crossing].norm(dim=-1)
        near = render.come_near(trainer.baked, rays, chosen.redraw_distance, chosen.march_steps)
        assert near[aim < 0.62].all() and not near[aim > 0.65].any()
        missed.append(1 - float(near.float().mean()))
    assert missed[0] > 0.4 and missed[1] == pytest.approx(missed[0] ** 2, abs=0.03) and missed[2] == missed[1], missed


def test_photographs_are_averaged_down(scene: Scene) -> None:
    data = scene.load(32)
    assert data.images.shape == (12, 32, 32, 3) and data.focal == (44.8, 44.8)
    with tarfile.open(scene.paths["images"]) as tar:
        full = np.asarray(Image.open(tar.extractfile("000009.jpg")))  # type: ignore[arg-type]
    mean = full.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(data.images[3].numpy() - mean).mean() < 2
    assert data.held_out == [4] and 4 not in data.training
    centre = data.rays(torch.arange(12), torch.full((12,), 16 * 32 + 16))
    aim = centre[0] + centre[1] * -(centre[0] * centre[1]).sum(-1, keepdim=True)
    assert (aim.norm(dim=-1) < 0.1).all(), "cameras look at the region's centre"


def test_works_without_points(scene: Scene) -> None:
    arrays = dict(np.load(scene.paths["points"]))
    np.savez(scene.paths["points"], **{name: array[:0] for name, array in arrays.items()})
    assert scene.train(20)["iteration"] == 20


def test_progress_in_a_log_and_on_a_terminal(scene: Scene) -> None:
    code, said = command(scene.arguments(40))
    assert code == 0
    assert re.fullmatch(r"train: iteration 40 of 40 \(100 %\), .* it/s, 0:00 left, PSNR .* dB", said.splitlines()[-1])
    assert "\r" not in said
    ours, theirs = pty.openpty()
    running = process(scene.arguments(30), stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(ours, 1000)
        except OSError:  # the other end is closed
            break
    assert running.wait() == 0
    assert re.search(rb"\rtrain: iteration \d+ of 30 .* left", text) and text.count(b"\n") == 2


def test_interrupting_leaves_nothing(scene: Scene) -> None:
    scene.configure(100_000)
    running = process(scene.arguments(100_000), stderr=subprocess.PIPE)
    assert running.stderr is not None
    assert running.stderr.readline().startswith("train: on the CPU")
    assert running.stderr.readline().startswith("train: iteration")
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert not scene.out.exists()


def test_output_that_cannot_be_written(scene: Scene) -> None:
    """Found out before the work, not after it."""
    scene.out.write_text("a file where the folder should be")
    code, said = command(scene.arguments(40))
    assert code == 1 and said.startswith("error: ") and "cannot be written" in said and "checkpoint.pt" in said


# --- settings


def test_settings_need_no_torch(tmp_path: Path) -> None:
    """The head of a workflow writes config.yaml on a machine that may have neither PyTorch nor NumPy."""
    config = tmp_path / "config.yaml"
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy', 'numba', 'PIL']))\n"
        f"sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "sys.argv = ['sdfgrid', 'config', '--iterations=3000', '--image-size=480', '--seed=7']\n"
        f"sys.argv += ['--output', {str(config)!r}]\n"
        "from sdfgrid.__main__ import main; main()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert settings.read(config) == settings.derive(3000, image_size=480, seed=7)


@pytest.mark.parametrize(("options", "size"), [([], 640), (["--image-size=480"], 480)])
def test_a_gpu_gets_more_to_do_and_a_size_given_by_hand_is_kept(tmp_path: Path, options: list[str], size: int) -> None:
    config = tmp_path / "config.yaml"
    assert command(["config", "--iterations=3000", "--seed=7", f"--output={config}", *options]) == (0, "")
    on_cpu, on_gpu = settings.read(config), settings.read(config, on_gpu=True)
    assert (on_gpu.image_size, on_gpu.rays, on_gpu.fine_samples) == (size, 8192, 32)
    assert (on_cpu.image_size, on_cpu.rays, on_cpu.fine_samples) == (480 if options else 320, 1024, 16)
    same = {"image_size": on_cpu.image_size, "rays": 1024, "fine_samples": 16}
    same |= {"eikonal_weight": 0.03, "curvature_weight": 1e-4}
    assert dataclasses.replace(on_gpu, **same) == on_cpu


@pytest.mark.parametrize(
    ("iterations", "eikonal", "curvature"),
    [(500, 0.01, 1e-4), (3000, 0.01, 1e-4), (12_000, 0.01, 7.07e-5), (30_000, 0.0198, 5.62e-5)],
)
def test_a_gpu_smooths_less_but_holds_walls_in_a_long_schedule(
    tmp_path: Path, iterations: int, eikonal: float, curvature: float
) -> None:
    config = tmp_path / "config.yaml"
    assert command(["config", f"--iterations={iterations}", "--seed=7", f"--output={config}"]) == (0, "")
    on_cpu, on_gpu = settings.read(config), settings.read(config, on_gpu=True)
    assert (on_cpu.eikonal_weight, on_cpu.curvature_weight) == (0.03, 1e-4)
    assert on_gpu.eikonal_weight == eikonal and on_gpu.curvature_weight == pytest.approx(curvature, rel=1e-3)


def test_a_training_goes_on_with_the_settings_it_began_with_on_another_machine(scene: Scene) -> None:
    """The same files, whichever machine makes the next milestone; another setting is still another training."""
    config = scene.folder / "config.yaml"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "rays": 200}))
    began = scene.train(20)
    assert began["settings"]["rays"] == 200 and began["made_on"] == {"device": "the CPU", "kernels": "Numba kernels"}
    resume = f"--resume={scene.checkpoint(20)}"
    config.write_text(json.dumps({**values, "on_gpu": {"rays": 200}}))  # as if the CPU had been a GPU
    code, said = command(scene.arguments(40, resume))
    assert code == 0 and "train: goes on with the settings for a GPU, with which" in said, said
    assert checkpoint.read(scene.checkpoint(40), CPU)["settings"]["rays"] == 200
    config.write_text(json.dumps({**values, "on_gpu": {"rays": 210}}))
    code, said = command(scene.arguments(40, resume))
    assert code == 1 and "other settings" in said and "rays 200 -> 256" in said


@pytest.mark.parametrize("changes", [[1], {"rayz": 1}])
def test_bad_changes_for_a_gpu(scene: Scene, changes: object) -> None:
    config = scene.folder / "config.yaml"
    config.write_text(json.dumps({**json.loads(config.read_text()), "on_gpu": changes}))
    with pytest.raises(UserError, match=r"on_gpu holds a list|Did you mean rays"):
        settings.read(config, on_gpu=True)


@pytest.mark.parametrize("name", ["iterations", "image_size", "seed"])
def test_what_the_configuration_hands_over_has_no_default(name: str) -> None:
    values = dataclasses.asdict(settings.derive(100, 64, 0))
    del values[name]
    with pytest.raises(UserError, match=f"settings are missing: {name}"):
        settings.from_dict(values)


def test_longer_runs_end_sharper_and_keep_their_rates_for_longer() -> None:
    short, long = settings.derive(1000, 320, 0), settings.derive(6000, 320, 0)
    assert short.sharpness_end < long.sharpness_end and short.learning_rate_flat < long.learning_rate_flat


def test_the_warm_up_is_no_longer_than_the_training() -> None:
    assert [settings.derive(iterations, 320, 0).warmup_steps for iterations in (20, 200, 6000)] == [20, 200, 200]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rayz": 1}, ["'rayz'", "Did you mean rays?"]),
        ({"rays": 0}, ["rays", "more than 0"]),
        ({"rays": 12.5}, ["rays", "12.5", "whole number"]),
        ({"seed": -1}, ["seed", "0 or more"]),
        ({"iterations": 0}, ["iterations", "more than 0"]),
        ({"image_size": 0}, ["image_size", "more than 0"]),
        ({"levels": [8]}, ["levels", "increasing"]),
        ({"levels": [8, 128, 256]}, ["levels", "first two"]),
        ({"front_begin": 1.5}, ["front_begin", "less than 1"]),
        ({"level_starts": [0.0]}, ["level_starts", "one share per level"]),
        ({"curvature_weight": "much"}, ["curvature_weight", "'much'", "number"]),
    ],
)
def test_bad_settings(scene: Scene, changes: dict[str, object], says: list[str]) -> None:
    config = scene.folder / "config.yaml"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    scene.refuse(says=[str(config), *says])


def test_bad_config_file(scene: Scene) -> None:
    (scene.folder / "config.yaml").write_text("iterations: 40\n")
    scene.refuse(says=["config.yaml", "not JSON"])
    (scene.folder / "config.yaml").write_text("[1]")
    scene.refuse(says=["config.yaml", "list"])
    (scene.folder / "config.yaml").unlink()
    scene.refuse(says=["config.yaml", "no such file"])


# --- bad input


def test_iterations_beyond_the_schedule(scene: Scene) -> None:
    scene.refuse(iterations=41, says=["--iterations 41", "40 iterations", "train.iterations"])


def test_no_cuda_here(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    scene.refuse("--device=cuda", says=["--device cuda", "--device cpu"])


def test_no_threads(scene: Scene) -> None:
    scene.refuse("--threads=0", says=["--threads 0", "1 or more"])


def test_missing_files(scene: Scene) -> None:
    for name in ("transforms", "images", "points"):
        there = scene.paths[name]
        scene.paths[name] = there.with_name("nowhere")
        scene.refuse(says=["nowhere", "no such file"])
        scene.paths[name] = there


def test_broken_files(scene: Scene) -> None:
    for name, says in (("transforms", "not valid JSON"), ("images", "tar"), ("points", ".npz")):
        whole = scene.paths[name].read_bytes()
        scene.paths[name].write_bytes(b"\x80 nonsense" * 100)
        scene.refuse(says=[str(scene.paths[name]), says])
        scene.paths[name].write_bytes(whole)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frames": []}, ["holds no frames"]),
        ({"frames": [{"transform_matrix": np.eye(4).tolist()}] * 5}, ["frame 0", "file_path"]),
        ({"frames": [{"file_path": "images/a.jpg", "transform_matrix": [[1]]}] * 5}, ["a.jpg", "4 x 4"]),
        ({"sphere_radius": 0}, ["sphere_radius", "above 0"]),
        ({"sphere_radius": None}, ["sphere_radius", "None", "number"]),
        ({"sphere_radius": "2"}, ["sphere_radius", "'2'", "number"]),
        ({"sphere_center": [1, 2]}, ["sphere_center", "3 numbers"]),
        ({"w": 65}, ["64 x 64", "65 x 64", "000000.jpg"]),
        ({"sphere_center": [500, 0, 500]}, ["no pixel", "region.center"]),
    ],
)
def test_bad_transforms(scene: Scene, changes: dict[str, object], says: list[str]) -> None:
    scene.edit_transforms(**changes)
    scene.refuse(says=[str(scene.paths["transforms"]), *says])


def test_transforms_without_a_region(scene: Scene) -> None:
    values = json.loads(scene.paths["transforms"].read_text())
    del values["sphere_center"]
    scene.paths["transforms"].write_text(json.dumps(values))
    scene.refuse(says=["lacks sphere_center"])


def replace_member(tar_path: Path, name: str, content: bytes | None) -> None:
    with tarfile.open(tar_path) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    del members[name]
    if content is not None:
        members[name] = content
    with tarfile.open(tar_path, "w") as tar:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_tar_lacks_a_frame(scene: Scene) -> None:
    replace_member(scene.paths["images"], "000006.jpg", None)
    scene.refuse(says=["images.tar", "lacks 1 of the 12 frames", "000006.jpg"])


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_undecodable_frame(scene: Scene, content: bytes | str) -> None:
    with tarfile.open(scene.paths["images"]) as tar:
        half = tar.extractfile("000006.jpg").read()[:700]  # type: ignore[union-attr]
    replace_member(scene.paths["images"], "000006.jpg", half if content == "half" else bytes(content))  # type: ignore[arg-type]
    scene.refuse(says=["images.tar", "000006.jpg", "cannot be decoded"])


def test_points_of_another_scene(scene: Scene) -> None:
    arrays = dict(np.load(scene.paths["points"]))
    np.savez(scene.paths["points"], **{**arrays, "observers": arrays["observers"] + 50})
    scene.refuse(says=["points.npz", "another file"])
    np.savez(scene.paths["points"], **{**arrays, "track": arrays["track"][1:]})
    scene.refuse(says=["points.npz", "one row for each point"])
    np.savez(scene.paths["points"], xyz=arrays["xyz"])
    scene.refuse(says=["points.npz", "lacks the arrays error"])


def test_loss_that_is_no_number(scene: Scene) -> None:
    scene.configure(40, grid_learning_rate=1e30)
    scene.refuse(says=["the loss is nan", "iteration 25 of 40", "region.png"])


def test_no_surface(scene: Scene) -> None:
    """A field that is empty everywhere cannot find a surface in a few iterations."""
    scene.configure(40)
    content = scene.train(20)
    rows = content["model"]["grid.table"]
    rows[: 3**3 * 64, 0] += 5  # the first level: 3 bricks along each axis
    checkpoint.save(scene.checkpoint(20), {key: value for key, value in content.items() if key != "format"})
    scene.refuse(f"--resume={scene.checkpoint(20)}", says=["no surface", "all empty", "region.center"])


def test_unfit_checkpoints(scene: Scene) -> None:
    scene.train(20)
    resume = f"--resume={scene.checkpoint(20)}"
    code, said = command(scene.arguments(20, resume))
    assert code == 1 and "holds iteration 20 already" in said
    scene.configure(40, rays=128)
    scene.refuse(resume, says=["other settings", "rays 256 -> 128"])
    scene.configure(40)
    scene.edit_transforms(sphere_radius=2.5)
    scene.refuse(resume, says=["other frames, poses, masks or another region", "transforms.json"])
    scene.refuse("--resume=nowhere.pt", says=["nowhere.pt", "no such file"])
    broken = scene.folder / "broken.pt"
    broken.write_bytes(scene.checkpoint(20).read_bytes()[:5000])
    scene.refuse(f"--resume={broken}", says=["broken.pt", "not a checkpoint"])
    torch.save({"format": "something else"}, broken)
    scene.refuse(f"--resume={broken}", says=["broken.pt", "something else"])


def test_the_grid_is_tilted_and_its_field_is_not(tmp_path: Path) -> None:
    """Level plates lie across the layers of the grid; what a checkpoint says is in the region's own frame."""
    paths = synthetic.make_sphere_scene(tmp_path, views=6).values()
    level = load(*paths, dataclasses.replace(settings.derive(100, 32, 0), tilt=0.0), CPU)
    tilted = load(*paths, settings.derive(100, 32, 0), CPU)
    turn = torch.tensor(grid_from_region(settings.derive(100, 32, 0).tilt), dtype=torch.float32)
    assert torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-6)
    assert turn.abs().max() < 0.9, "no axis of the world is nearly one of the grid"
    assert torch.allclose(tilted.poses, turn @ level.poses, atol=1e-6)
    assert torch.allclose(tilted.points, level.points @ turn.T, atol=1e-6)
    tilted_settings = settings.derive(100, 32, 0)
    model = SurfaceModel(tilted_settings)
    points = torch.rand(20, 3) - 0.5
    field = checkpoint.Field(model, torch.zeros(3), 1.0, 100)
    assert torch.equal(field.signed_distance(points), model.distance_at(points @ turn.T).detach())
