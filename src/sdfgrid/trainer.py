"""The training loop: what one iteration does, what is measured, what a checkpoint must keep."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from sdfgrid import checkpoint
from sdfgrid.dataset import Dataset, psnr, region_span
from sdfgrid.kernels import Kernels, say_slow
from sdfgrid.model import SurfaceModel
from sdfgrid.optimiser import GridAdam, NetworkAdam
from sdfgrid.render import (
    BakedField,
    Rays,
    add_background,
    come_near,
    log_transmittance,
    make_rays,
    place_samples,
    render_rays,
    render_surface,
    sample_depths,
    surface_alpha,
)
from sdfgrid.settings import Settings
from videomesh import convergence
from videomesh.convergence import Ending
from videomesh.errors import UserError
from videomesh.meshing import change
from videomesh.meshing.change import Snapshot

if TYPE_CHECKING:
    from sdfgrid.gpu_step import GpuStep

TETRAHEDRON = [[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]


@dataclass(frozen=True)
class Batch:
    """What an iteration looks at."""

    rays: Rays
    colours: Tensor  # (N, 3) in 0..1: what the photographs have there
    depths: Tensor  # (crossing, K) of the samples along the rays that cross the region
    empty_depths: Tensor | None  # (M, K) along rays that pass the subject, by the masks; None: there are none
    points: Tensor  # (P, 3): the samples in that order, probes in any, the targets last
    centres: Tensor  # (E,) indices of points where the field's gradient is wanted
    corners: int  # the index of the first of 4 * E corners of tetrahedra round them
    targets: int  # triangulated points


class Trainer:
    """The state of a run. All randomness of an iteration comes from (seed, iteration), so resuming needs none."""

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        device: torch.device,
        kernels: Kernels | None = None,
        stop_early: bool = False,
    ) -> None:
        """stop_early: end the schedule quickly once the surface stands still."""
        self.settings, self.dataset, self.device = settings, dataset, device
        self.stop_early = stop_early
        self.model = SurfaceModel(settings, kernels).to(device)
        self.baked = BakedField(settings.bake_resolution, device, kernels)
        self.grid_adam = GridAdam(self.model.grid, settings)
        self.background_adam = GridAdam(self.model.background_grid, settings)
        networks = [p for name, p in self.model.named_parameters() if "grid" not in name]
        self.network_adam = NetworkAdam(networks, settings)
        self.generator = torch.Generator(device)
        self.iteration = 0
        self.seconds = 0.0
        self.metrics: list[dict[str, Any]] = []
        self.kernels = kernels
        self.fast: GpuStep | None = None  # does the iterations, where there is a GPU
        self.losses: dict[str, Tensor] = {}  # of the last iteration, unless that was a fast one
        self.snapshot: Snapshot | None = None  # of the last look at the surface
        self.ending: Ending | None = None  # once the surface stood still

    def train(self, stop: int, report: Callable[[int, int, dict[str, Any]], None]) -> None:
        """Iterate until `stop` iterations are done, or the schedule ends before.

        Calls report(iteration, where it stops by now, latest metrics) after each. Raises UserError if the loss stops
        being a number or no surface is left.
        """
        if self.iteration >= self.end:
            return  # a milestone before has ended the schedule
        settings, started, before = self.settings, time.perf_counter(), self.seconds
        self._use_all_frames()
        self._make_fast()
        if self.iteration == 0:
            self.warm_up()
        evaluating = 0.0
        while self.iteration < min(stop, self.end):
            self.step()
            self.seconds = before + time.perf_counter() - started - evaluating
            last = self.iteration == min(stop, self.end)
            looks, tells = self._is_look_due(), self._is_withholding() and self._may_use_all_frames()
            if self.iteration % settings.check_every == 0 or last:
                self._check_finite(self.get_losses()["loss"])
            if self.iteration % settings.log_every == 0 or self.iteration == 1 or last or looks or tells:
                self._log(self.get_losses())
            if self.iteration % settings.evaluate_every == 0 or last or tells:
                begin = time.perf_counter()
                self.metrics[-1].update(self.evaluate())
                evaluating += time.perf_counter() - begin
            if looks:
                self._look()
            report(self.iteration, min(stop, self.end), self.metrics[-1])
        self._check_surface()

    def step(self) -> None:
        """One iteration."""
        self._use_all_frames()
        settings, progress = self.settings, self.progress
        self._start_levels(progress)
        self._refresh_baked()
        if self.fast is not None:
            self.fast()
            return
        self.generator.manual_seed(_stream(settings.seed, self.iteration))
        loss, self.losses = self.compare(self._draw(sharpness_at(settings, progress)), progress)
        self._descend(loss, learning_rate_share(settings, self.iteration, progress))
        self.iteration += 1

    def _make_fast(self) -> None:
        self.fast = None  # its memory is free for the new one
        try:
            self.fast = None if self.kernels is None else self.kernels.make_step(self)
        except Exception as error:  # it compiles: a network too wide for the GPU, say
            say_slow(error)

    def get_losses(self) -> dict[str, Tensor]:
        """The terms of the last iteration, not yet synchronised with the device."""
        return self.losses if self.fast is None else self.fast.losses()

    def _draw(self, sharpness: float) -> Batch:
        """Random rays, and random points along them and elsewhere."""
        settings = self.settings
        frames, pixels, crossing = self._choose_pixels()
        rays = make_rays(self.dataset, frames, pixels, crossing)
        depths = self._sample(rays, sharpness)
        samples, empty_depths = place_samples(rays, depths), None
        empty_rays = self._choose_empty_rays()
        if empty_rays is not None:
            empty_depths = self._sample(empty_rays, sharpness)
            samples = torch.cat([samples, place_samples(empty_rays, empty_depths)])
        probes, centres = self._probes(samples)
        targets = self._random_points(settings.point_targets)
        points, corners = torch.cat([samples, probes, targets]), len(samples) + self._count_anywhere()
        colours = self.dataset.colours(frames, pixels)
        return Batch(rays, colours, depths, empty_depths, points, centres, corners, len(targets))

    def compare(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its terms without their gradients and not yet synchronised with the device."""
        settings, model, rays, depths = self.settings, self.model, batch.rays, batch.depths
        sharpness = sharpness_at(settings, progress)
        features = model.features(batch.points)
        distances = model.distance(features)
        shown = depths.numel()
        surface, light = render_surface(model, rays, features, distances[:shown].view(depths.shape), sharpness)
        rendered = add_background(model, rays, surface, light, settings, self.generator)

        error = rendered - batch.colours
        colour = error.abs().mean()
        eikonal, curvature = self._smoothness(distances, batch.centres, batch.corners)
        loss = colour + settings.eikonal_weight * eikonal
        loss = loss + curvature_weight_at(settings, progress) * curvature
        point_term = distances[len(distances) - batch.targets :].abs().clamp(max=settings.points_reach)
        point_term = point_term.mean() if batch.targets else colour.new_zeros(())
        loss = loss + points_weight_at(settings, progress) * point_term
        terms: dict[str, Tensor] = {}
        if rays.bare is not None:
            terms["subject"] = subject_term(light[rays.bare[: rays.crossing]])
            loss = loss + settings.subject_weight * terms["subject"]
        if batch.empty_depths is not None:
            end = shown + batch.empty_depths.numel()
            terms["empty"] = empty_term(distances[shown:end].view(batch.empty_depths.shape), sharpness)
            loss = loss + settings.empty_weight * terms["empty"]
        return loss, {
            **{name: term.detach() for name, term in terms.items()},
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
        return self.get_progress(self.iteration)

    def get_progress(self, iteration: int) -> float:
        """Share of the schedule that is behind. Where the surface stood still, the rest begins to go by quickly."""
        whole = self.settings.iterations
        if self.ending is None or iteration <= self.ending.still_at:
            return iteration / whole
        done, (still_at, ends_at) = self.ending.still_at / whole, self.ending
        return done + (1 - done) * (iteration - still_at) / (ends_at - still_at)

    @property
    def end(self) -> int:
        """The last iteration of the schedule."""
        return self.settings.iterations if self.ending is None else self.ending.ends_at

    def _is_withholding(self) -> bool:
        return bool(self.dataset.held_out)

    def _may_use_all_frames(self) -> bool:
        return self.progress >= self.settings.held_out_until

    def _use_all_frames(self) -> None:
        """Once the frames that were withheld have told the PSNR, they teach too."""
        if self._is_withholding() and self._may_use_all_frames():
            self.dataset = self.dataset.with_all_frames()
            if self.fast is not None:
                self._make_fast()  # it knows the lists of pixels, and how many there are

    def _is_look_due(self) -> bool:
        """A surface that has yet to get finer is not looked at: it may stand still for lack of detail."""
        distance = convergence.get_distance(self.settings.iterations)
        due = self.stop_early and self.ending is None and self.iteration % distance == 0
        return due and self.model.levels == len(self.model.cells)

    def _look(self) -> None:
        """Compare the surface with that of the last look, and end the schedule quickly if it stands still."""
        field = checkpoint.Field(self.model, self.dataset.center, self.dataset.radius, self.iteration)
        before, self.snapshot = self.snapshot, change.take(field, self.device)
        if before is None:
            return
        whole = self.settings.iterations
        distance = convergence.get_distance(whole)
        every = self.settings.log_every, distance  # a line of a milestone would make a chain differ from one long run
        rows = [row for row in self.metrics if not all(row["iteration"] % number for number in every)]
        gained = convergence.find_gain(rows, self.iteration - distance, self.iteration, distance)
        self.metrics[-1].update(convergence.describe_look(*change.compare(before, self.snapshot), gained))
        if convergence.is_still(self.metrics):
            self.ending = convergence.plan_ending(self.iteration, whole)
        if self.ending is not None:
            self.metrics[-1].update(self.ending._asdict())
            self.snapshot = None
            if self.fast is not None:
                self._make_fast()  # it holds the rest of the schedule

    def _choose_pixels(self) -> tuple[Tensor, Tensor, int]:
        """Frames and pixels of an iteration, those that see the region first, and the number of those."""
        data, settings = self.dataset, self.settings
        outside = round(settings.rays * settings.outside_share) if len(data.outside) else 0
        crossing = settings.rays - outside - self._count_empty()
        chosen = [self._choose_inside(crossing)]
        if outside:
            chosen.append(data.outside[self._random_integers(len(data.outside), outside)])
        frames, pixels = self._split(torch.cat(chosen))
        return frames, pixels, crossing

    def _choose_inside(self, count: int) -> Tensor:
        """Indices of random pixels that see the region. Those that miss the surface by far are drawn once more.

        So the share of rays that teach the surface grows: from 0.7 to 0.9 where the subject fills 0.7 of the region.
        """
        inside, settings = self.dataset.inside, self.settings
        chosen = inside[self._random_integers(len(inside), count)]
        if not settings.redraw_distance:
            return chosen
        rays = make_rays(self.dataset, *self._split(chosen), count)
        look = come_near if self.kernels is None else self.kernels.come_near
        near = look(self.baked, rays, settings.redraw_distance, settings.march_steps)
        return torch.where(near, chosen, inside[self._random_integers(len(inside), count)])

    def _split(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Frames and pixels of indices into the pixels of all frames."""
        flat, count = flat.long(), self.dataset.pixels_per_frame
        frames = torch.div(flat, count, rounding_mode="floor")
        return frames, flat - frames * count

    def _count_empty(self) -> int:
        return round(self.settings.rays * self.settings.empty_share) if len(self.dataset.empty) else 0

    def _choose_empty_rays(self) -> Rays | None:
        """Rays that pass the subject, by the masks; None if there are none."""
        empty, count = self.dataset.empty, self._count_empty()
        if not count:
            return None
        return make_rays(self.dataset, *self._split(empty[self._random_integers(len(empty), count)]), count)

    def _sample(self, rays: Rays, sharpness: float) -> Tensor:
        return sample_depths(self.baked, rays, self.settings, sharpness, self.settings.fine_samples, self.generator)

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
        total, anywhere = self.settings.eikonal_points, self._count_anywhere()
        near = self._random_integers(len(samples), total - anywhere)
        free = torch.rand(anywhere, 3, generator=self.generator, device=self.device) * 2 - 1
        centres = torch.cat([near, len(samples) + torch.arange(anywhere, device=self.device)])
        corners = torch.tensor(TETRAHEDRON, device=self.device) * self.model.finest_cell
        around = (torch.cat([samples[near], free])[None] + corners[:, None]).reshape(-1, 3)
        return torch.cat([free, around]), centres

    def _count_anywhere(self) -> int:
        return int(self.settings.eikonal_points * self.settings.eikonal_anywhere)

    def _smoothness(self, distances: Tensor, centres: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Eikonal term and mean absolute Laplacian, by differences over the corners of tetrahedra whose size is the
        finest active cell (numerical gradients as in Neuralangelo, with 5 evaluations instead of 7).

        first: the index of the first corner. All first corners come first, then all second ones, and so on."""
        step = self.model.finest_cell
        corners = distances[first : first + 4 * len(centres)].view(4, -1)
        directions = torch.tensor(TETRAHEDRON, device=self.device)
        gradient = (corners[:, :, None] * directions[:, None]).sum(0) / (4 * step)
        laplacian = (corners.sum(0) - 4 * distances[centres]) / (2 * step * step)
        return (gradient.norm(dim=-1) - 1).square().mean(), laplacian.abs().mean()

    def _descend(self, loss: Tensor, share: float) -> None:
        """One step of all optimisers, at a share of their full learning rates."""
        settings = self.settings
        self.network_adam.clear_gradients()
        loss.backward()
        self.network_adam.step(settings.network_learning_rate * share)
        self.grid_adam.step(settings.grid_learning_rate * share)
        self.background_adam.step(settings.background_learning_rate * share)

    def _refresh_baked(self) -> None:
        settings = self.settings
        early = self.iteration < settings.early_iterations
        if self.iteration % (settings.refresh_all_early if early else settings.refresh_all_later) == 0:
            self.baked.refresh_all(self.model)
        elif self.iteration % (settings.refresh_near_early if early else settings.refresh_near_later) == 0:
            if self.fast is None:
                self.baked.refresh_near_surface(self.model, settings.refresh_distance)
            else:  # to find the part takes longer than to refresh all
                self.baked.refresh_all(self.model)

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
            reach = cell * 1.5 * math.sqrt(3) + settings.level_reach * cell + 1.0 / settings.bake_resolution
            inside = centres.norm(dim=-1) < 1 + settings.level_margin * cell
            near = (self.baked(centres).abs() < reach) & inside
            self.grid_adam.grow(model.grid.allocate(level, near))
        model.levels = due

    def warm_up(self) -> None:
        """Fit the field to the triangulated points: zero there, empty towards the cameras, solid just behind."""
        data, settings, count = self.dataset, self.settings, self.settings.warmup_points
        for index in range(settings.warmup_steps if len(data.points) else 0):
            self.generator.manual_seed(_stream(settings.seed, -1 - index))
            chosen = self._random_integers(len(data.points), count)
            points, observers = data.points[chosen], data.observers[chosen]
            observer = observers.gather(1, self._random_integers(observers.shape[1], count)[:, None])[:, 0]
            seen = observer >= 0
            towards = F.normalize(data.poses[observer.clamp(min=0)][:, :, 3] - points, dim=-1)
            depth = torch.rand(count, generator=self.generator, device=self.device) * settings.warmup_ray
            before, behind = points + towards * depth[:, None], points - towards * settings.warmup_behind
            probes, centres = self._probes(points)
            distances = self.model.distance_at(torch.cat([points, probes, before, behind]))
            eikonal, curvature = self._smoothness(distances, centres, count + self._count_anywhere())
            at, free, solid = distances[:count], distances[-2 * count : -count], distances[-count:]
            least = (depth * settings.warmup_slope).clamp(max=settings.warmup_free)
            free_term = F.relu(least - free) * (seen & (before.norm(dim=-1) < 1))
            solid_term = F.relu(solid + settings.warmup_solid) * seen
            loss = at.abs().mean() + settings.warmup_free_weight * free_term.mean()
            loss = loss + settings.warmup_solid_weight * solid_term.mean()
            loss = loss + settings.warmup_eikonal_weight * eikonal + settings.warmup_curvature_weight * curvature
            self._descend(loss, 1.0)

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """PSNR on held-out views, over whole images and over the pixels that see the region.

        Of masked frames only the subject counts, and of others what is known.
        """
        data, settings = self.dataset, self.settings
        if not data.held_out:
            return {}
        most, stride = settings.held_out_views, settings.held_out_stride
        views = data.held_out[:: max(1, len(data.held_out) // most)][:most]
        height, width = data.images.shape[1:3]
        y, x = torch.meshgrid(
            torch.arange(stride // 2, height, stride, device=self.device),
            torch.arange(stride // 2, width, stride, device=self.device),
            indexing="ij",
        )
        sharpness = sharpness_at(settings, self.progress)
        pixels = (y * width + x).reshape(-1)
        whole, region = [], []
        for view in views:
            frames = torch.full_like(pixels, view)
            crosses = region_span(*data.rays(frames, pixels), data.nearest)[2]
            shows, masked = data.look_up(frames, pixels)[0], data.are_masked(frames)
            ordered = torch.cat([pixels[crosses & shows], pixels[~crosses & shows & ~masked]])
            if not len(ordered):
                continue
            frames, crossing = frames[: len(ordered)], int((crosses & shows).sum())
            rays = make_rays(data, frames, ordered, crossing)
            colours = render_rays(self.model, self.baked, rays, settings, sharpness)
            error = (colours.clamp(0, 1) - data.colours(frames, ordered)).square().mean(-1)
            whole.append(psnr(float(error.mean())))
            if crossing:
                region.append(psnr(float(error[:crossing].mean())))
        return {
            "held_out_psnr": round(sum(whole) / len(whole), 3) if whole else None,
            "held_out_psnr_region": round(sum(region) / len(region), 3) if region else None,
            "held_out_views": len(whole),
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
                **{name: values[name] for name in ("empty", "subject") if name in values},
                "transmittance": values["transmittance"],
                "psnr": round(psnr(values["squared_error"]), 3),
                "sharpness": round(sharpness_at(self.settings, self.progress), 2),
                "levels": self.model.levels,
                "training_frames": len(self.dataset.training),
            }
        )

    def _check_finite(self, loss: Tensor) -> None:
        if not math.isfinite(float(loss)):
            raise UserError(
                f"the loss is {float(loss)} by iteration {self.iteration} of {self.settings.iterations}. The poses "
                "contradict each other, or the region does not hold the subject. See region.png and gate.json, or try "
                "another train.seed"
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
                f"{'empty' if low >= 0 else 'solid'}). The region holds nothing that the cameras agree on. See "
                "region.png, and set region.center and region.radius"
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
            "network_adam": self.network_adam.state(),
            **({} if self.snapshot is None else {"snapshot": self.snapshot._asdict()}),
        }

    def resume(self, content: dict[str, Any]) -> None:
        """Take over the state of a checkpoint written by content(), of the same settings and dataset."""
        checkpoint.restore_model(self.model, content)
        self.baked.values = content["baked"]
        self.grid_adam.restore(**content["grid_adam"])
        self.background_adam.restore(**content["background_adam"])
        self.network_adam.restore(**content["network_adam"])
        self.iteration, self.seconds, self.metrics = content["iteration"], content["seconds"], content["metrics"]
        self.ending = convergence.find_ending(self.metrics)
        if "snapshot" in content:
            self.snapshot = Snapshot(**content["snapshot"])


# The mask loss of NeuS (Wang et al. 2021): binary cross entropy of the opacity that a ray gathers.


def subject_term(light: Tensor) -> Tensor:
    """Of rays that the masks call subject, which let so much light (N,) through: the opacity should be 1.

    It is taken as at least NeuS's 1e-3. Where no surface is near, the colours have to find it.
    """
    return -torch.log((1 - light).clamp(min=1e-3)).mean() if len(light) else light.new_zeros(())


def empty_term(distances: Tensor, sharpness: float) -> Tensor:
    """Of rays that pass the subject, with distances (N, K): the opacity should be 0.

    The logarithm of the light is a sum over the samples. So it has a gradient however much is in the way.
    """
    return -log_transmittance(surface_alpha(distances, sharpness)).mean()


def sharpness_at(settings: Settings, progress: float) -> float:
    """The s of NeuS: from start to end along a straight line in its logarithm, reached at sharpness_end_at."""
    share = min(progress / settings.sharpness_end_at, 1.0)
    return settings.sharpness_start * (settings.sharpness_end / settings.sharpness_start) ** share


def curvature_weight_at(settings: Settings, progress: float) -> float:
    still_sharpening = progress < settings.sharpness_end_at
    return settings.curvature_weight * (1.0 if still_sharpening else settings.curvature_last)


def points_weight_at(settings: Settings, progress: float) -> float:
    return settings.points_weight * (1 - progress)


def learning_rate_share(settings: Settings, iteration: int, progress: float) -> float:
    """Share of the full learning rate: a short rise, constant, then an exponential fall to learning_rate_decay."""
    flat = settings.learning_rate_flat
    fallen = max(0.0, (progress - flat) / (1 - flat))
    return min(1.0, (iteration + 1) / settings.learning_rate_rise) * settings.learning_rate_decay**fallen


def _stream(seed: int, iteration: int) -> int:
    """A seed for the random numbers of one iteration; warm-up steps are negative iterations."""
    return (seed * 1_000_003 + iteration + 1_000_000) % 2**63
