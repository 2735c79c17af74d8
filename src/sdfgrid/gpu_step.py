"""An iteration on an NVIDIA GPU: the Triton kernels one after another, as one CUDA graph.

Trainer.step does the same in plain PyTorch. There, sizes depend on what the rays show, and PyTorch starts a thousand
kernels. Here, all sizes are fixed, a few dozen kernels are started by one call, and the host waits for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdfgrid import triton_kernels as kernels
from sdfgrid.model import DIRECTION_TERMS
from sdfgrid.triton_kernels import cdiv, next_power_of_2

if TYPE_CHECKING:
    from sdfgrid.trainer import Trainer

assert DIRECTION_TERMS == 8, "triton_kernels counts on it"
ROWS = 1024  # of the schedule, filled at a time
RAYS, ROWS_OF_RAYS = 128, 256  # rays a program, and the most samples of rays at once
NETWORK_POINTS = 64  # a program, in the backward passes of networks
PARTS, PARAMETERS = 32, 64  # a program, in the step of the networks
PROGRAMS_PER_PROCESSOR = 2
TENSOR_CORES = (8, 0)  # compute capability of the first GPUs that multiply in TF32


class GpuStep:
    """Call it for one iteration of a trainer; `losses()` gives that iteration's terms.

    It works on the trainer's own model and optimisers. Its random numbers come from (seed, iteration) too, but they are
    not those of Trainer.step.
    """

    def __init__(self, trainer: Trainer) -> None:
        settings, data, model = trainer.settings, trainer.dataset, trainer.model
        self.trainer, self.device = trainer, trainer.device
        self.outside = round(settings.rays * settings.outside_share) if len(data.outside) else 0
        self.empty = round(settings.rays * settings.empty_share) if len(data.empty) else 0
        self.hits = settings.rays - self.outside - self.empty
        self.coloured = self.outside + self.hits
        self.samples = settings.fine_samples + settings.uniform_samples
        self.sampled = self.hits + self.empty
        self.count = self.sampled * self.samples
        self.probes = settings.eikonal_points
        self.anywhere = int(settings.eikonal_points * settings.eikonal_anywhere)
        self.targets = settings.point_targets if len(data.points) else 0
        self.around = settings.front_samples + settings.behind_samples
        self.seed = settings.seed % 2**31
        self.masked = bool(len(data.masked))
        self.programs, self.precise, self.coarse = 2, "ieee", "ieee"
        if self.device.type == "cuda":
            properties = torch.cuda.get_device_properties(self.device)
            self.programs = PROGRAMS_PER_PROCESSOR * properties.multi_processor_count
            if (properties.major, properties.minor) >= TENSOR_CORES:
                self.precise, self.coarse = "tf32x3", "tf32"  # as exact as float32; as exact as colours need
        self._flatten_networks()
        self._make_buffers()
        self.iteration = torch.full((1,), trainer.iteration, dtype=torch.int32, device=self.device)
        self.schedule = torch.zeros(settings.iterations, int(kernels.COLUMNS), device=self.device)
        self.filled = trainer.iteration
        self.levels = 0
        self.graph: Any = None
        self.around_levels = len(model.background_grid.cells)
        if self.device.type == "cuda":
            kernels.compile_all(self._launch_with_all_levels)

    def _flatten_networks(self) -> None:
        """Makes the networks' parameters and moments parts of one buffer each, for one kernel."""
        adam = self.trainer.network_adam
        sizes = [parameter.numel() for parameter in adam.parameters]
        self.parameters, self.means, self.squares = (torch.empty(sum(sizes), device=self.device) for _ in range(3))
        self.parts = torch.zeros(self.programs, sum(sizes), device=self.device)
        self.part_of: dict[int, Tensor] = {}
        begin = 0
        for index, (parameter, size) in enumerate(zip(adam.parameters, sizes)):
            place, shape = slice(begin, begin + size), parameter.shape
            for flat, tensor in (
                (self.parameters, parameter.detach()),
                (self.means, adam.means[index]),
                (self.squares, adam.squares[index]),
            ):
                flat[place] = tensor.reshape(-1)
            parameter.data = self.parameters[place].view(shape)
            adam.means[index], adam.squares[index] = self.means[place].view(shape), self.squares[place].view(shape)
            self.part_of[id(parameter)] = self.parts[0, place]
            begin += size
        geometry = [self.trainer.model.distance_hidden, self.trainer.model.distance_out]
        self.geometry = sum(p.numel() for module in geometry for p in module.parameters())

    def _make_buffers(self) -> None:
        settings, around = self.trainer.settings, self.coloured * self.around

        def new(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=kind, device=self.device)

        self.origins, self.directions, self.pixels = (new(settings.rays, 3) for _ in range(3))
        self.nears, self.fars, self.closests = (new(settings.rays) for _ in range(3))
        self.bare, self.bare_count = new(settings.rays, kind=torch.int32), new(1, kind=torch.int64)
        self.inside = new(self.sampled, settings.march_steps + 2)
        self.points = new(self.count + 5 * self.probes + self.targets, 3)
        self.depths = new(self.sampled, self.samples)
        self.distances, self.from_start, self.from_end = (new(len(self.points)) for _ in range(3))
        self.weights = new(self.hits, self.samples - 1)
        self.lights, self.counts = new(self.hits), new(self.hits, kind=torch.int32)
        self.ends = new(self.hits, kind=torch.int32)
        self.places = new(self.hits, self.samples - 1, kind=torch.int32)
        self.listed = new(self.places.numel(), kind=torch.int32)
        self.colours, self.colour_gradient = new(self.places.numel(), 3), new(self.places.numel(), 3)
        self.around_points, self.gaps = new(around, 3), new(around)
        width = 4 * len(settings.background_levels)
        self.around_features, self.around_gradient = new(around, width), new(around, width)
        self.fronts, self.behinds = new(self.coloured, 3), new(self.coloured, 3)
        self.front_gradient, self.behind_gradient = new(self.coloured, 3), new(self.coloured, 3)
        self.front_lights, self.front_light_gradient = new(self.coloured), new(self.coloured)
        self.absolute, self.squared, self.subject_terms = (new(self.coloured) for _ in range(3))
        self.empty_terms, self.misses = new(max(1, self.empty)), new(max(1, self.targets))
        self.eikonals, self.curvatures = new(self.probes), new(self.probes)

    def __call__(self) -> None:
        trainer = self.trainer
        if trainer.iteration >= self.filled:
            self._fill_schedule()
        if self.levels != trainer.model.levels:
            self._start_levels(trainer.model.levels)
        if self.graph is not None:
            self.graph.replay()
        else:
            self.run()  # the first time as it is; a graph does the rest
            if self.device.type == "cuda":
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph):
                    self.run()
        trainer.grid_adam.steps += 1
        trainer.background_adam.steps += 1
        trainer.iteration += 1

    def _start_levels(self, levels: int) -> None:
        """The tables have grown, so the graph is that of another memory."""
        self.graph, self.levels = None, levels
        width = 4 * levels
        self.features = torch.zeros(len(self.points), width, device=self.device)
        self.feature_gradient = torch.zeros_like(self.features)
        self.mean_gradient = torch.zeros(self.places.numel(), width, device=self.device)

    def _fill_schedule(self) -> None:
        from sdfgrid import trainer as formulas
        from sdfgrid.optimiser import correct_bias

        trainer, settings, adam = self.trainer, self.trainer.settings, self.trainer.grid_adam
        done = self.filled  # iterations; at the first call all steps of the warm-up are behind
        steps = [adam.steps, trainer.background_adam.steps, *(int(trainer.network_adam.steps[i]) for i in (0, -1))]
        rates = [settings.grid_learning_rate, settings.background_learning_rate, *[settings.network_learning_rate] * 2]
        rows = []
        end = min(self.filled + ROWS, settings.iterations)
        for iteration in range(self.filled, end):
            progress = trainer.get_progress(iteration)
            share = formulas.learning_rate_share(settings, iteration, progress)
            row = [
                formulas.sharpness_at(settings, progress),
                formulas.points_weight_at(settings, progress),
                formulas.curvature_weight_at(settings, progress),
            ]
            for rate, before in zip(rates, steps):
                row += correct_bias(rate * share, before + iteration - done + 1, adam.beta1, adam.beta2)
            rows.append(row)
        block = torch.tensor(rows, dtype=torch.float32)
        self.schedule[self.filled : end, : block.shape[1]] = block.to(self.device)
        self.filled = end

    # --- the iteration

    def run(self) -> None:
        self._launch()
        torch._foreach_add_(self.trainer.network_adam.steps, 1)
        self.iteration.add_(1)

    def _launch(self) -> None:
        self.draw()
        self.render()
        self.find_gradients()
        self.descend()

    def _launch_with_all_levels(self) -> None:
        for levels in range(self.trainer.model.levels, len(self.trainer.model.cells) + 1):
            self._start_levels(levels)
            self._launch()
        self.levels = 0

    def draw(self) -> None:
        """Rays, samples along them, and points elsewhere."""
        settings, data = self.trainer.settings, self.trainer.dataset
        height, width = data.images.shape[1:3]
        rays, sampled = settings.rays, self.sampled
        steps, baked = settings.march_steps, self.trainer.baked
        kernels.launch(
            kernels.choose_rays, (cdiv(rays, RAYS),),
            self.iteration, self.seed, data.outside, max(1, len(data.outside)), data.inside, len(data.inside),
            data.empty, max(1, len(data.empty)), data.images, data.poses, data.masked, self.origins, self.directions,
            self.nears, self.fars, self.closests, self.pixels, self.bare, self.outside, self.hits, rays, width,
            width * height, *data.focal, *data.principal, data.nearest, baked.values, baked.resolution + 1,
            settings.redraw_distance, settings.redraw_distance > 0, steps, self.masked, RAYS,
        )  # fmt: skip
        if self.masked:
            torch.sum(self.bare[self.outside : self.coloured], 0, keepdim=True, out=self.bare_count)
        kernels.launch(
            kernels.march, (cdiv(self.inside.numel(), ROWS_OF_RAYS),),
            self.iteration, self.seed, self.schedule, baked.values, baked.resolution + 1, self.origins,
            self.directions, self.nears, self.fars, self.inside, self.outside, sampled, steps, self.schedule.shape[1],
            ROWS_OF_RAYS,
        )  # fmt: skip
        fine, uniform = settings.fine_samples, settings.uniform_samples
        blocks = [next_power_of_2(size) for size in (steps + 2, fine, uniform)]
        at_once = max(1, 4096 // (blocks[0] * blocks[1]))
        kernels.launch(
            kernels.choose_samples, (cdiv(sampled, at_once),),
            self.iteration, self.seed, self.origins, self.directions, self.nears, self.fars, self.inside, self.points,
            self.depths, self.outside, sampled, steps, blocks[0], fine, blocks[1], uniform, blocks[2], at_once,
        )  # fmt: skip
        near, known = self.probes - self.anywhere, data.points if self.targets else self.points
        kernels.launch(
            kernels.choose_probes, (cdiv(max(self.probes, self.targets), RAYS),),
            self.iteration, self.seed, self.points, known, self.count, self.probes, near, len(known), self.targets,
            self.trainer.model.finest_cell, RAYS,
        )  # fmt: skip

    def _rays_at_once(self) -> tuple[int, int]:
        block = next_power_of_2(self.samples)
        return block, max(1, ROWS_OF_RAYS // block)

    def _geometry(self) -> tuple[list[Tensor], list[float], dict[str, Any]]:
        """The weights, the numbers and the sizes of the network behind the distances."""
        model, settings = self.trainer.model, self.trainer.settings
        weights: list[Tensor] = [*model.distance_hidden.parameters(), *model.distance_out.parameters()]
        numbers = [settings.feature_scale, settings.geometry_share, settings.softplus_beta]
        return weights, numbers, self._sizes(4 * self.levels, weights[0])

    def _colours(self) -> tuple[list[Tensor], dict[str, Any]]:
        model = self.trainer.model
        weights: list[Tensor] = [*model.colour_hidden.parameters(), *model.colour_rest.parameters()]
        return weights, self._sizes(4 * self.levels, weights[0])

    def _background(self) -> tuple[list[Tensor], list[float], dict[str, Any]]:
        settings = self.trainer.settings
        weights: list[Tensor] = list(self.trainer.model.background.parameters())
        block = next_power_of_2(self.around)
        sizes = self._sizes(4 * self.around_levels, weights[0])
        sizes.update(FRONT=settings.front_samples, SAMPLES=self.around, SAMPLES_BLOCK=block)
        sizes["RAYS"] = max(1, NETWORK_POINTS // block)
        return weights, [settings.feature_scale, settings.background_bias, settings.background_density], sizes

    @staticmethod
    def _sizes(channels: int, weight: Tensor) -> dict[str, Any]:
        """A product on tensor cores needs at least 16 of everything."""
        blocks = [max(16, next_power_of_2(size)) for size in (channels, weight.shape[0])]
        return {
            "CHANNELS": channels,
            "CHANNELS_BLOCK": blocks[0],
            "STRIDE": weight.shape[1],
            "WIDTH": weight.shape[0],
            "WIDTH_BLOCK": blocks[1],
        }

    def find_distances(self, features: Tensor, distances: Tensor) -> None:
        weights, numbers, sizes = self._geometry()
        kernels.launch(
            kernels.find_distances,
            (cdiv(len(features), RAYS),),
            features,
            *weights,
            distances,
            len(features),
            *numbers,
            **sizes,
            PRECISION=self.precise,
            BLOCK=RAYS,
        )

    def render(self) -> None:
        """Distances, colours and the background."""
        settings, model = self.trainer.settings, self.trainer.model
        kernels.find_features(model.grid, self.points, self.levels, self.features)
        self.find_distances(self.features, self.distances)
        block, at_once = self._rays_at_once()
        rays = (cdiv(self.hits, at_once),)
        kernels.launch(
            kernels.weigh, rays,
            self.iteration, self.schedule, self.distances, self.weights, self.lights, self.counts, self.hits,
            settings.min_weight, self.samples, block, self.schedule.shape[1], at_once,
        )  # fmt: skip
        torch.cumsum(self.counts, 0, out=self.ends)
        kernels.launch(
            kernels.list_intervals, rays,
            self.weights, self.counts, self.ends, self.places, self.listed, self.hits, settings.min_weight,
            self.samples, block, at_once,
        )  # fmt: skip
        weights, sizes = self._colours()
        kernels.launch(
            kernels.find_colours, (cdiv(len(self.listed), RAYS),),
            self.listed, self.ends, self.features, self.directions, *weights, self.colours, self.hits, self.outside,
            settings.feature_scale, SAMPLES=self.samples, **sizes, PRECISION=self.coarse, BLOCK=RAYS,
        )  # fmt: skip
        kernels.launch(
            kernels.place_background, (cdiv(len(self.gaps), RAYS),),
            self.iteration, self.seed, self.origins, self.directions, self.nears, self.fars, self.closests,
            self.around_points, self.gaps, self.outside, self.coloured, settings.front_begin, settings.front_gap,
            settings.front_end, settings.behind_gap, settings.behind_end, settings.front_samples,
            settings.behind_samples, RAYS,
        )  # fmt: skip
        kernels.find_features(model.background_grid, self.around_points, self.around_levels, self.around_features)
        weights, numbers, sizes = self._background()
        kernels.launch(
            kernels.find_background, (cdiv(self.coloured, sizes["RAYS"]),),
            self.around_features, self.directions, self.gaps, *weights, self.fronts, self.front_lights, self.behinds,
            self.coloured, *numbers, **sizes, PRECISION=self.coarse,
        )  # fmt: skip

    def find_gradients(self) -> None:
        """From the loss back to the grids and the networks."""
        settings, model = self.trainer.settings, self.trainer.model
        block, at_once = self._rays_at_once()
        kernels.launch(
            kernels.compare_colours, (cdiv(settings.rays, at_once),),
            self.iteration, self.schedule, self.distances, self.places, self.colours, self.fronts, self.front_lights,
            self.behinds, self.pixels, self.bare, self.bare_count, self.from_start, self.from_end,
            self.colour_gradient, self.front_gradient, self.front_light_gradient, self.behind_gradient, self.absolute,
            self.squared, self.subject_terms, self.empty_terms, self.outside, self.hits, self.empty,
            settings.min_weight, settings.min_transmittance, settings.subject_weight, settings.empty_weight,
            self.samples, block, self.masked, self.schedule.shape[1], at_once,
        )  # fmt: skip
        kernels.launch(
            kernels.find_smoothness, (cdiv(max(self.probes, self.targets), RAYS),),
            self.iteration, self.schedule, self.distances[self.count :], self.from_start[self.count :], self.eikonals,
            self.curvatures, self.misses, self.probes, self.targets, model.finest_cell, settings.eikonal_weight,
            settings.points_reach, self.schedule.shape[1], RAYS,
        )  # fmt: skip
        stride = self.parts.shape[1]
        weights, sizes = self._colours()
        kernels.launch(
            kernels.find_colours_backward, (self.programs,),
            self.listed, self.ends, self.features, self.directions, *weights, self.colour_gradient,
            self.mean_gradient, *self._parts(weights), stride, self.hits, self.outside, self.programs,
            settings.feature_scale, SAMPLES=self.samples, **sizes, PRECISION=self.coarse, BLOCK=NETWORK_POINTS,
        )  # fmt: skip
        weights, numbers, sizes = self._background()
        kernels.launch(
            kernels.find_background_backward, (self.programs,),
            self.around_features, self.directions, self.gaps, *weights, self.front_gradient,
            self.front_light_gradient, self.behind_gradient, self.around_gradient, *self._parts(weights), stride,
            self.coloured, self.programs, *numbers, **sizes, PRECISION=self.coarse,
        )  # fmt: skip
        kernels.add_gradient(model.background_grid, self.around_points, self.around_gradient, self.around_levels)
        weights, numbers, sizes = self._geometry()
        kernels.launch(
            kernels.find_distances_backward, (self.programs,),
            self.features, *weights[:3], self.from_start, self.from_end, self.places, self.mean_gradient,
            self.feature_gradient, *self._parts(weights), stride, len(self.points), self.hits * self.samples,
            self.programs, *numbers, SAMPLES=self.samples, **sizes, PRECISION=self.precise, BLOCK=NETWORK_POINTS,
        )  # fmt: skip
        kernels.add_gradient(model.grid, self.points, self.feature_gradient, self.levels)

    def _parts(self, weights: list[Tensor]) -> list[Tensor]:
        return [self.part_of[id(weight)] for weight in weights]

    def descend(self) -> None:
        trainer, schedule = self.trainer, self.schedule
        adam, count = trainer.grid_adam, len(self.parameters)
        kernels.launch(
            kernels.step_networks, (cdiv(count, PARAMETERS),),
            self.parameters, self.parts, self.means, self.squares, self.iteration, schedule, count, self.geometry,
            self.programs, adam.beta1, adam.beta2, adam.epsilon, schedule.shape[1], PARTS, PARAMETERS,
        )  # fmt: skip
        kernels.step_table(adam, self.iteration, schedule, int(kernels.GRID))
        kernels.step_table(trainer.background_adam, self.iteration, schedule, int(kernels.BACKGROUND))

    # --- what is asked for now and then

    def losses(self) -> dict[str, Tensor]:
        """As Trainer.compare gives them, of the last iteration."""
        settings, numbers = self.trainer.settings, self.schedule[self.trainer.iteration - 1]
        terms: dict[str, Tensor] = {}
        if self.masked:
            terms["subject"] = self.subject_terms.sum() / self.bare_count[0].clamp(min=1)
        if self.empty:
            terms["empty"] = self.empty_terms.mean()
        colour, squared = self.absolute.mean() / 3, self.squared.mean() / 3
        eikonal, curvature = self.eikonals.mean(), self.curvatures.mean()
        points = self.misses.mean()
        loss = colour + settings.eikonal_weight * eikonal + numbers[int(kernels.CURVATURE_WEIGHT)] * curvature
        loss = loss + numbers[int(kernels.POINTS_WEIGHT)] * points
        loss = loss + settings.subject_weight * terms.get("subject", 0.0)
        loss = loss + settings.empty_weight * terms.get("empty", 0.0)
        named = {"loss": loss, "colour": colour, "eikonal": eikonal, "curvature": curvature, "points": points}
        return {**terms, **named, "squared_error": squared, "transmittance": self.lights.mean()}
