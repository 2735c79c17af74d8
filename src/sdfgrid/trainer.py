"""The training loop: what one iteration does, what is measured, what a checkpoint must keep."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sdfgrid import checkpoint
from sdfgrid.dataset import Dataset, psnr, region_span
from sdfgrid.model import SurfaceModel
from sdfgrid.optimiser import BETA1, BETA2, EPSILON, GridAdam
from sdfgrid.render import BakedField, combine, make_rays, render_background, render_rays, render_surface, sample_depths
from sdfgrid.settings import Settings
from videomesh.errors import UserError

LOG_EVERY = 50  # iterations between metrics
EVALUATE_EVERY = 400  # iterations between held-out measurements
CHECK_EVERY = 25  # iterations between looks for NaN
EARLY = 500  # iterations in which the surface moves fast
REFRESH_NEAR, REFRESH_ALL = (25, 100), (200, 500)  # iterations between refreshes of the baked field: early, later
HELD_OUT_VIEWS, HELD_OUT_STRIDE = 6, 4  # at most so many views, every so many-th pixel along both axes
POINT_TARGETS = 256  # triangulated points an iteration
SHARPEST_AT = 0.9  # progress at which the sharpness reaches its end
CONSTANT_RATE_UNTIL = 0.2  # progress at which the learning rate begins to fall
RISING_RATE = 50  # iterations over which the learning rate rises
TETRAHEDRON = [[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]


class Trainer:
    """The state of a run. All randomness of an iteration comes from (seed, iteration), so resuming needs none."""

    def __init__(self, settings: Settings, dataset: Dataset, device: torch.device) -> None:
        self.settings, self.dataset, self.device = settings, dataset, device
        self.model = SurfaceModel(settings).to(device)
        self.baked = BakedField(settings.bake_resolution, device)
        self.grid_adam = GridAdam(self.model.grid)
        self.background_adam = GridAdam(self.model.background_grid)
        self.networks = [p for name, p in self.model.named_parameters() if "grid" not in name]
        self.network_adam = _network_adam(self.networks, settings.network_learning_rate)
        self.generator = torch.Generator(device)
        self.iteration = 0
        self.seconds = 0.0
        self.metrics: list[dict[str, Any]] = []

    def train(self, stop: int, report: Callable[[int, dict[str, Any]], None]) -> None:
        """Iterate until `stop` iterations are done; calls report(iteration, latest metrics) after each.

        Raises UserError if the loss stops being a number or no surface is left.
        """
        started, before = time.perf_counter(), self.seconds
        if self.iteration == 0:
            self.warm_up()
        evaluating = 0.0
        while self.iteration < stop:
            losses = self.step()
            self.seconds = before + time.perf_counter() - started - evaluating
            if self.iteration % CHECK_EVERY == 0 or self.iteration == stop:
                self._check_finite(losses["loss"])
            if self.iteration % LOG_EVERY == 0 or self.iteration in (1, stop):
                self._log(losses)
            if self.iteration % EVALUATE_EVERY == 0 or self.iteration == stop:
                begin = time.perf_counter()
                self.metrics[-1].update(self.evaluate())
                evaluating += time.perf_counter() - begin
            report(self.iteration, self.metrics[-1])
        self._check_surface()

    def step(self) -> dict[str, Tensor]:
        """One iteration; returns its loss terms, not yet synchronised with the device."""
        settings, model, progress = self.settings, self.model, self.progress
        self._start_levels(progress)
        later = self.iteration >= EARLY
        if self.iteration % REFRESH_ALL[later] == 0:
            self.baked.refresh_all(model)
        elif self.iteration % REFRESH_NEAR[later] == 0:
            self.baked.refresh_near_surface(model)
        self.generator.manual_seed(_stream(settings.seed, self.iteration))
        sharpness = sharpness_at(settings, progress)
        frames, pixels, crossing = self._choose_pixels()
        rays = make_rays(self.dataset, frames, pixels, crossing)

        depths = sample_depths(self.baked, rays, settings, sharpness, settings.fine_samples, self.generator)
        directions = rays.directions[:crossing]
        samples = (rays.origins[:crossing, None] + directions[:, None] * depths[..., None]).reshape(-1, 3)
        probes, centres = self._probes(samples)
        targets = self._random_points(POINT_TARGETS)
        features = model.features(torch.cat([samples, probes, targets]))
        distances = model.distance(features)
        count = len(samples)
        surface, light = render_surface(model, rays, features, distances[:count].view(depths.shape), sharpness)
        background = render_background(model, rays, light, settings, self.generator)
        rendered = combine(surface, light, *background)

        error = rendered - self.dataset.colours(frames, pixels)
        colour = error.abs().mean()
        eikonal, curvature = self._smoothness(distances, centres, count)
        loss = colour + settings.eikonal_weight * eikonal
        loss = loss + settings.curvature_weight * (1.0 if progress < SHARPEST_AT else 0.3) * curvature
        point_term = distances[len(distances) - len(targets) :].abs().clamp(max=0.05)
        point_term = point_term.mean() if len(targets) else colour.new_zeros(())
        loss = loss + settings.points_weight * (1 - progress) * point_term
        self._descend(loss, learning_rate_share(settings, self.iteration))
        self.iteration += 1
        return {
            "loss": loss.detach(),
            "colour": colour.detach(),
            "eikonal": eikonal.detach(),
            "curvature": curvature.detach(),
            "points": point_term.detach(),
            "squared_error": error.detach().square().mean(),
            "transmittance": light.detach().mean(),
        }

    @property
    def progress(self) -> float:
        return self.iteration / self.settings.iterations

    def _choose_pixels(self) -> tuple[Tensor, Tensor, int]:
        """Frames and pixels (rays,) of an iteration, those that see the region first, and the number of those."""
        data, settings = self.dataset, self.settings
        outside = round(settings.rays * settings.outside_share) if len(data.outside) else 0
        crossing = settings.rays - outside
        chosen = [data.inside[self._random_integers(len(data.inside), crossing)]]
        if outside:
            chosen.append(data.outside[self._random_integers(len(data.outside), outside)])
        flat = torch.cat(chosen).long()
        frames = torch.div(flat, data.pixels_per_frame, rounding_mode="floor")
        return frames, flat - frames * data.pixels_per_frame, crossing

    def _random_integers(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.generator, device=self.device)

    def _random_points(self, count: int) -> Tensor:
        """Triangulated points (count, 3), or none if the scene has none."""
        points = self.dataset.points
        return points[self._random_integers(len(points), count)] if len(points) else points

    def _probes(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Points where the field's gradient is wanted: most are samples, so near the surface, some anywhere.

        Returns the points to evaluate beside the samples and the index of each probe's centre among all points: four
        tetrahedron corners per probe come last.
        """
        total = self.settings.eikonal_points
        anywhere = total // 8
        near = self._random_integers(len(samples), total - anywhere)
        free = torch.rand(anywhere, 3, generator=self.generator, device=self.device) * 2 - 1
        centres = torch.cat([near, len(samples) + torch.arange(anywhere, device=self.device)])
        corners = torch.tensor(TETRAHEDRON, device=self.device) * self.model.finest_cell
        around = (torch.cat([samples[near], free])[None] + corners[:, None]).reshape(-1, 3)
        return torch.cat([free, around]), centres

    def _smoothness(self, distances: Tensor, centres: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Eikonal term and mean absolute Laplacian, by differences over the corners of tetrahedra whose size is the
        finest active cell (numerical gradients as in Neuralangelo, with 5 evaluations instead of 7)."""
        step = self.model.finest_cell
        first = samples + self.settings.eikonal_points // 8
        corners = distances[first : first + 4 * len(centres)].view(4, -1)
        directions = torch.tensor(TETRAHEDRON, device=self.device)
        gradient = (corners[:, :, None] * directions[:, None]).sum(0) / (4 * step)
        laplacian = (corners.sum(0) - 4 * distances[centres]) / (2 * step * step)
        return (gradient.norm(dim=-1) - 1).square().mean(), laplacian.abs().mean()

    def _descend(self, loss: Tensor, share: float) -> None:
        """One step of all optimisers, at a share of their full learning rates."""
        settings = self.settings
        self.network_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.network_adam.param_groups[0]["lr"] = settings.network_learning_rate * share
        self.network_adam.step()
        self.grid_adam.step(settings.grid_learning_rate * share)
        self.background_adam.step(settings.background_learning_rate * share)

    def _start_levels(self, progress: float) -> None:
        """Switch on the levels whose time has come; those above dense_up_to get bricks near the surface only."""
        model, settings = self.model, self.settings
        due = sum(start <= progress for start in settings.level_starts)
        if due <= model.levels:
            return
        self.baked.refresh_all(model)
        for level in range(model.levels, due):
            if settings.levels[level] <= settings.dense_up_to:
                continue
            cell = 2.0 / settings.levels[level]
            centres = model.grid.brick_centres(level)
            # half a brick's diagonal, what training may still move, and the baked field's own coarseness
            reach = cell * 1.5 * math.sqrt(3) + 2.5 * cell + 1.0 / settings.bake_resolution
            near = (self.baked(centres).abs() < reach) & (centres.norm(dim=-1) < 1 + 4 * cell)
            self.grid_adam.grow(model.grid.allocate(level, near))
        model.levels = due

    def warm_up(self) -> None:
        """Fit the field to the triangulated points: zero there, empty towards the cameras, solid just behind."""
        data, settings, count = self.dataset, self.settings, 768
        for index in range(settings.warmup_steps if len(data.points) else 0):
            self.generator.manual_seed(_stream(settings.seed, -1 - index))
            chosen = self._random_integers(len(data.points), count)
            points, observers = data.points[chosen], data.observers[chosen]
            observer = observers.gather(1, self._random_integers(observers.shape[1], count)[:, None])[:, 0]
            seen = observer >= 0
            towards = F.normalize(data.poses[observer.clamp(min=0)][:, :, 3] - points, dim=-1)
            depth = torch.rand(count, generator=self.generator, device=self.device) * 1.2
            before, behind = points + towards * depth[:, None], points - towards * 0.05
            probes, centres = self._probes(points)
            distances = self.model.distance_at(torch.cat([points, probes, before, behind]))
            eikonal, curvature = self._smoothness(distances, centres, count)
            at, free, solid = distances[:count], distances[-2 * count : -count], distances[-count:]
            free_term = F.relu((depth * 0.5).clamp(max=0.1) - free) * (seen & (before.norm(dim=-1) < 1))
            solid_term = F.relu(solid + 0.02) * seen
            loss = at.abs().mean() + 2 * free_term.mean() + 0.5 * solid_term.mean()
            self._descend(loss + 0.1 * eikonal + 1e-4 * curvature, 1.0)

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """PSNR on held-out views, over whole images and over the pixels that see the region."""
        data = self.dataset
        if not data.held_out:
            return {}
        views = data.held_out[:: max(1, len(data.held_out) // HELD_OUT_VIEWS)][:HELD_OUT_VIEWS]
        height, width = data.images.shape[1:3]
        y, x = torch.meshgrid(
            torch.arange(HELD_OUT_STRIDE // 2, height, HELD_OUT_STRIDE, device=self.device),
            torch.arange(HELD_OUT_STRIDE // 2, width, HELD_OUT_STRIDE, device=self.device),
            indexing="ij",
        )
        pixels = (y * width + x).reshape(-1)
        whole, region = [], []
        for view in views:
            frames = torch.full_like(pixels, view)
            crosses = region_span(*data.rays(frames, pixels))[2]
            ordered = torch.cat([pixels[crosses], pixels[~crosses]])
            crossing = int(crosses.sum())
            rays = make_rays(data, frames, ordered, crossing)
            colours = render_rays(
                self.model, self.baked, rays, self.settings, sharpness_at(self.settings, self.progress)
            )
            error = (colours.clamp(0, 1) - data.colours(frames, ordered)).square().mean(-1)
            whole.append(psnr(float(error.mean())))
            if crossing:
                region.append(psnr(float(error[:crossing].mean())))
        return {
            "held_out_psnr": round(sum(whole) / len(whole), 3),
            "held_out_psnr_region": round(sum(region) / len(region), 3) if region else None,
            "held_out_views": len(views),
        }

    def _log(self, losses: dict[str, Tensor]) -> None:
        values = {name: float(value) for name, value in losses.items()}
        self.metrics.append(
            {
                "iteration": self.iteration,
                "seconds": round(self.seconds, 3),
                "loss": values["loss"],
                "colour": values["colour"],
                "eikonal": values["eikonal"],
                "curvature": values["curvature"],
                "points": values["points"],
                "transmittance": values["transmittance"],
                "psnr": round(psnr(values["squared_error"]), 3),
                "sharpness": round(sharpness_at(self.settings, self.progress), 2),
                "levels": self.model.levels,
            }
        )

    def _check_finite(self, loss: Tensor) -> None:
        if not math.isfinite(float(loss)):
            raise UserError(
                f"the loss is {float(loss)} by iteration {self.iteration} of {self.settings.iterations}: the poses "
                "contradict each other or the region does not hold the object; look at region.png and gate.json, "
                "or try another train.seed"
            )

    def _check_surface(self) -> None:
        points = self.baked.points
        distances = checkpoint.Field(
            self.model, self.dataset.center, self.dataset.radius, self.iteration
        ).signed_distance(points[points.norm(dim=-1) < 1])
        low, high = float(distances.min()), float(distances.max())
        if low >= 0 or high <= 0:
            raise UserError(
                f"no surface in the region after {self.iteration} iterations (distances {low:.3f} to {high:.3f}, all "
                f"{'empty' if low >= 0 else 'solid'}): the region holds nothing that the cameras agree on; look at "
                "region.png and set region.center and region.radius"
            )

    def content(self) -> dict[str, Any]:
        """All that resuming or reading the field needs, as tensors and plain values."""
        data = self.dataset
        return {
            **checkpoint.model_content(self.model, self.settings, data.center, data.radius, self.iteration),
            "fingerprint": data.fingerprint,
            "seconds": self.seconds,
            "metrics": self.metrics,
            "baked": self.baked.values,
            "grid_adam": self.grid_adam.state(),
            "background_adam": self.background_adam.state(),
            "network_adam": self.network_adam.state_dict(),
        }

    def resume(self, content: dict[str, Any]) -> None:
        """Take over the state of a checkpoint written by content(), of the same settings and dataset."""
        checkpoint.restore_model(self.model, content)
        self.baked.values = content["baked"]
        self.grid_adam.restore(**content["grid_adam"])
        self.background_adam.restore(**content["background_adam"])
        self.network_adam.load_state_dict(content["network_adam"])
        self.iteration, self.seconds, self.metrics = content["iteration"], content["seconds"], content["metrics"]


def sharpness_at(settings: Settings, progress: float) -> float:
    """The s of NeuS: from start to end along a straight line in its logarithm, reached at SHARPEST_AT."""
    share = min(progress / SHARPEST_AT, 1.0)
    return settings.sharpness_start * (settings.sharpness_end / settings.sharpness_start) ** share


def learning_rate_share(settings: Settings, iteration: int) -> float:
    """Share of the full learning rate: a short rise, constant, then an exponential fall to learning_rate_decay."""
    fallen = max(0.0, (iteration / settings.iterations - CONSTANT_RATE_UNTIL) / (1 - CONSTANT_RATE_UNTIL))
    return min(1.0, (iteration + 1) / RISING_RATE) * settings.learning_rate_decay**fallen


def _stream(seed: int, iteration: int) -> int:
    """A seed for the random numbers of one iteration; warm-up steps are negative iterations."""
    return (seed * 1_000_003 + iteration + 1_000_000) % 2**63


def _network_adam(parameters: Sequence[Tensor], rate: float) -> torch.optim.Adam:
    options: dict[str, Any] = {"lr": rate, "betas": (BETA1, BETA2), "eps": EPSILON}
    try:
        return torch.optim.Adam(parameters, fused=True, **options)
    except RuntimeError:  # before PyTorch 2.4 only on GPUs
        return torch.optim.Adam(parameters, **options)
