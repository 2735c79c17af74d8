"""The kernels for GPUs against plain PyTorch: on a GPU if there is one, else in Triton's interpreter."""

import copy
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402

import synthetic  # noqa: E402
from sdfgrid import gpu_step, grid, optimiser, render, settings, triton_kernels  # noqa: E402
from sdfgrid.dataset import load  # noqa: E402
from sdfgrid.gpu_step import GpuStep  # noqa: E402
from sdfgrid.model import SurfaceModel, direction_terms  # noqa: E402
from sdfgrid.trainer import Batch, Trainer, points_weight_at, sharpness_at  # noqa: E402
from videomesh.convergence import Ending  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":  # the interpreter takes as long for a program, however much that does
    triton_kernels.POINTS = gpu_step.PARAMETERS = 4096
TINY = {
    **synthetic.SMALL,
    "levels": [4, 8, 12],
    "dense_up_to": 8,
    "rays": 20,
    "fine_samples": 8,
    "eikonal_points": 8,
    "point_targets": 6,
    "bake_resolution": 8,
    "march_steps": 14,
    "min_weight": 0.02,
}


def near(found: Tensor, wanted: Tensor, error: float = 1e-5) -> bool:
    """Whether they differ by no more than a share of their size."""
    return float((found - wanted).norm()) <= error * float(wanted.norm().clamp(min=1e-12))


@triton.jit
def _fill(out, seed, iteration, count, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + n, tl.rand(triton_kernels._key(seed, tl.load(iteration), STREAM), n), mask=n < count)


def test_lookup_gradient_and_step() -> None:
    """On dense, partial and absent levels, and outside of the grid."""
    generator = torch.Generator().manual_seed(1)
    points = (torch.rand(300, 3, generator=generator) * 2.2 - 1.1).to(DEVICE)
    wanted = torch.randn(300, 12, generator=generator).to(DEVICE)
    results = []
    for kernels in (triton_kernels, None):
        table = grid.FeatureGrid([3, 5, 11], 5, 1e-4, torch.Generator().manual_seed(2), kernels).to(DEVICE)
        adam = optimiser.GridAdam(table, settings.derive(100, 64, 0))
        adam.grow(table.allocate(2, table.brick_centres(2).norm(dim=-1) < 0.7))
        with torch.no_grad():
            table.table.copy_(torch.randn(table.table.shape, generator=torch.Generator().manual_seed(3)))
        features = table(points, 3)
        for step in range(2):
            (table(points[: 150 * (step + 1)], 3) * wanted[: 150 * (step + 1)]).sum().backward()
            adam.step(0.1)
        results.append([features, table.table, adam.mean, adam.square])
        assert kernels is None or not triton_kernels.get_sums(table).any(), "the gradient is cleared"
    for fast, plain in zip(*results, strict=True):
        assert torch.allclose(fast, plain, atol=2e-4, rtol=1e-4)


def make_trainer(folder: Path, masked: bool, **changes: Any) -> Trainer:
    """A field with a surface, seen sharply, a background with something in it, and three levels."""
    paths = synthetic.make_sphere_scene(folder, turntable=masked)
    values = {**dataclasses.asdict(settings.derive(40, 64, 3)), **TINY, **changes}
    chosen = settings.from_dict(values)
    trainer = Trainer(chosen, load(*paths.values(), chosen, DEVICE), DEVICE)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in trainer.model.named_parameters():
        if "grid" not in name:
            parameter.data = parameter.data + 0.3 * torch.randn(parameter.shape, generator=generator).to(DEVICE)
    trainer.model.grid.table.data += 0.01 * torch.randn(trainer.model.grid.table.shape, generator=generator).to(DEVICE)
    background = trainer.model.background_grid.table.data
    background += 0.1 * torch.randn(background.shape, generator=generator).to(DEVICE)
    trainer.baked.refresh_all(trainer.model)
    trainer.iteration = 20
    trainer._start_levels(0.5)
    trainer.baked.refresh_all(trainer.model)
    trainer.kernels = trainer.model.grid.kernels = trainer.model.background_grid.kernels = triton_kernels
    return trainer


@pytest.fixture(params=[False, True], ids=["background", "masks"])
def trainer(request: pytest.FixtureRequest, tmp_path: Path) -> Trainer:
    return make_trainer(tmp_path, request.param)


def as_batch(step: GpuStep, data: Any) -> Batch:
    """What the kernels drew, as the reference takes it: rays that cross the region come first there."""
    order = [*range(step.outside, step.coloured), *range(step.outside)]
    hits = slice(step.outside, step.coloured)
    origins, directions = step.origins[order], step.directions[order]
    bare = step.bare[order] > 0 if step.masked else None
    rays = render.Rays(
        origins, directions, direction_terms(directions), step.nears[hits], step.fars[hits], step.closests[order],
        step.hits, bare,
    )  # fmt: skip
    depths = step.depths[: step.hits], step.depths[step.hits :]
    centres = step.count + torch.arange(step.probes, device=DEVICE)
    return Batch(
        rays, step.pixels[order], depths[0], depths[1] if step.empty else None, step.points, centres,
        step.count + step.probes, step.targets,
    )  # fmt: skip


def recorded_spread(step: GpuStep) -> Any:
    """render._spread with the kernels' random numbers, for the rays that the reference asks it for in turn."""
    random = torch.zeros(step.coloured * step.around, device=DEVICE)
    _fill[(triton.cdiv(len(random), 64),)](random, step.seed, step.iteration, len(random), 5, 64)
    order = [*range(step.outside, step.coloured), *range(step.outside)]
    random = random.view(step.coloured, step.around)[order]
    front = step.trainer.settings.front_samples
    has_background = step.bare[order] == 0
    lights = torch.ones(step.coloured, device=DEVICE)
    lights[: step.hits] = step.lights
    seen = has_background & (lights > step.trainer.settings.min_transmittance)
    parts = [random[has_background, :front], random[seen, front:]]

    def spread(rows: int, count: int, *_: Any) -> Tensor:
        part = parts.pop(0)
        assert part.shape == (rows, count)
        return (torch.arange(count, device=DEVICE) + part) / count

    return spread


def test_an_iteration_has_the_values_and_the_gradients_of_plain_pytorch(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = GpuStep(trainer)
    if DEVICE.type == "cuda":
        step.precise, step.coarse = "tf32x3", "ieee"
    step._fill_schedule()
    step._start_levels(3)
    step.draw()
    step.render()
    step.find_gradients()

    reference = copy.copy(trainer)
    reference.model = SurfaceModel(trainer.settings).to(DEVICE)
    reference.model.levels = trainer.model.levels
    for plain, fast in (("grid", trainer.model.grid), ("background_grid", trainer.model.background_grid)):
        getattr(reference.model, plain).restore(fast.bricks, fast.table.detach().clone())
    reference.model.load_state_dict(trainer.model.state_dict())
    monkeypatch.setattr(render, "_spread", recorded_spread(step))
    loss, terms = reference.compare(as_batch(step, trainer.dataset), trainer.progress)
    loss.backward()

    trainer.iteration += 1  # losses() are those of the iteration before
    found = step.losses()
    assert set(found) == set(terms)
    for name, value in terms.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    assert int(step.ends[-1]) > 9, "some colours count"
    assert step.masked == bool(step.empty)

    for name, parameter in reference.model.named_parameters():
        if "grid" not in name:
            mine = trainer.model.get_parameter(name)
            index = [id(each) for each in trainer.network_adam.parameters].index(id(mine))
            sizes = [each.numel() for each in trainer.network_adam.parameters]
            begin = sum(sizes[:index])
            gradient = step.parts[:, begin : begin + sizes[index]].sum(0).view(parameter.shape)
            wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            assert near(gradient, wanted, 1e-4), name
    for name in ("grid", "background_grid"):
        mine = triton_kernels.get_sums(getattr(trainer.model, name)).double() / 2.0**44
        assert near(mine, getattr(reference.model, name).gradient().double(), 1e-4), name


def test_rays_that_miss_the_surface_by_far_are_drawn_once_more(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, masked=False, rays=200)
    chosen, missed = trainer.settings, []
    trainer.baked.values = trainer.baked.points.norm(dim=-1) - 0.4
    for distance in (0.0, chosen.redraw_distance):
        trainer.settings = dataclasses.replace(chosen, redraw_distance=distance)
        step = GpuStep(trainer)
        step._fill_schedule()
        step._start_levels(3)
        step.draw()
        rays = as_batch(step, trainer.dataset).rays
        near = render.come_near(trainer.baked, rays, chosen.redraw_distance, chosen.march_steps)
        missed.append(1 - float(near.float().mean()))
        frames = (step.origins[step.outside :, None] == trainer.dataset.poses[:, :, 3]).all(-1)
        assert frames.any(1).all() and len(frames) == step.hits, "each ray begins at a camera"
    assert missed[0] > 0.4 and missed[1] == pytest.approx(missed[0] ** 2, abs=0.1), missed


def get_state(trainer: Trainer) -> list[Tensor]:
    adams = trainer.grid_adam, trainer.background_adam
    moments = [tensor for adam in adams for tensor in (adam.mean, adam.square)]
    return [*trainer.model.state_dict().values(), *moments, *trainer.network_adam.squares, *trainer.network_adam.steps]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(tmp_path: Path) -> None:
    """Also where a level starts and all frames begin to teach, and although threads add up gradients in any order."""
    paths = synthetic.make_sphere_scene(tmp_path)
    values = {
        **dataclasses.asdict(settings.derive(2, 64, 0)),
        **TINY,
        "warmup_steps": 1,
        "warmup_points": 16,
        "held_out_views": 1,
        "held_out_stride": 16,
        "rays": 8,
        "eikonal_points": 4,
    }
    large = {"rays": 2000, "eikonal_points": 500, "levels": [4, 8, 40], "iterations": 60}
    chosen = settings.from_dict(
        {**values, "level_starts": [0.0, 0.0, 0.5], "held_out_until": 0.5, **(large if DEVICE.type == "cuda" else {})}
    )
    data = load(*paths.values(), chosen, DEVICE)
    runs = []
    whole = chosen.iterations
    for stops in ([whole], [whole // 2, whole]):
        content = None
        for stop in stops:
            trainer = Trainer(chosen, data, DEVICE, triton_kernels)
            if content is not None:
                trainer.resume(content)
            trainer.train(stop, lambda *_: None)
            content = copy.deepcopy(trainer.content())
        assert isinstance(trainer.fast, GpuStep)
        runs.append(trainer)
    for other in runs[1:]:
        assert all(map(torch.equal, get_state(runs[0]), get_state(other)))
        assert runs[0].metrics[-1]["loss"] == other.metrics[-1]["loss"]
    assert runs[0].model.levels == 3
    assert len(runs[0].dataset.training) == 12, "the frames that were withheld teach in the second half"
    assert len(runs[0].dataset.inside) > len(data.inside)


def test_a_schedule_that_is_shortened_is_that_of_plain_pytorch(trainer: Trainer) -> None:
    trainer.ending = Ending(24, 30)
    step = GpuStep(trainer)
    step._fill_schedule()
    for iteration in (20, 24, 27, 29):
        progress = trainer.get_progress(iteration)
        wanted = sharpness_at(trainer.settings, progress), points_weight_at(trainer.settings, progress)
        assert step.schedule[iteration, :2].tolist() == pytest.approx(wanted)
    assert trainer.get_progress(24) == 0.6 and trainer.get_progress(27) == pytest.approx(0.8)
