"""Volume rendering of a signed distance field (NeuS, Wang et al. 2021) before a background."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sdfgrid.dataset import Dataset, region_span
from sdfgrid.kernels import Kernels
from sdfgrid.model import CHUNK, SurfaceModel, direction_terms
from sdfgrid.settings import Settings


class BakedField:
    """A coarse copy of the distances, cheap to look up, that tells where along a ray to look closely."""

    def __init__(self, resolution: int, device: torch.device, kernels: Kernels | None = None) -> None:
        self.kernels = kernels
        axis = torch.linspace(-1, 1, resolution + 1, device=device)
        self.points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        self.inside = torch.nonzero(self.points.norm(dim=-1) < 1 + 3 / resolution)[:, 0]
        self.resolution = resolution
        self.values = self.points.norm(dim=-1)  # overwritten by the first refresh_all

    def __call__(self, points: Tensor) -> Tensor:
        """Distances (...) at points (..., 3)."""
        at = points.reshape(1, -1, 1, 1, 3).flip(-1)  # grid_sample takes the fastest axis first
        sampled = F.grid_sample(self.volume[None, None], at, align_corners=True, padding_mode="border")
        return sampled.view(points.shape[:-1])

    @property
    def volume(self) -> Tensor:
        """The distances as (side, side, side)."""
        return self.values.view([self.resolution + 1] * 3)

    def refresh_all(self, model: SurfaceModel) -> None:
        self._refresh(model, self.inside)

    def refresh_near_surface(self, model: SurfaceModel, distance: float) -> None:
        self._refresh(model, self.inside[self.values[self.inside].abs() < distance])

    @torch.no_grad()
    def _refresh(self, model: SurfaceModel, indices: Tensor) -> None:
        for part in indices.split(CHUNK[indices.device.type]):
            self.values[part] = model.distance_at(self.points[part])


@dataclass(frozen=True)
class Rays:
    """Rays ordered so that the first `crossing` cross the region and the others miss it."""

    origins: Tensor  # (N, 3)
    directions: Tensor  # (N, 3), unit
    terms: Tensor  # (N, DIRECTION_TERMS) of the directions
    near: Tensor  # (crossing,)
    far: Tensor  # (crossing,)
    closest: Tensor  # (N,) distance to the point nearest to the region's centre
    crossing: int
    bare: Tensor | None  # (N,) bool: those of masked frames, which have no background; None: all have one

    def pick(self, rows: Tensor, crossing: int) -> Rays:
        """Some rays (M,), of which the first `crossing` cross the region. They all have a background."""
        near, far = self.near[rows[:crossing]], self.far[rows[:crossing]]
        origins, directions, terms = self.origins[rows], self.directions[rows], self.terms[rows]
        return Rays(origins, directions, terms, near, far, self.closest[rows], crossing, None)


def make_rays(dataset: Dataset, frames: Tensor, pixels: Tensor, crossing: int) -> Rays:
    """Rays through pixels (N,) of frames (N,), the first `crossing` of which cross the region."""
    origins, directions = dataset.rays(frames, pixels)
    near, far, _, closest = region_span(origins, directions, dataset.nearest)
    terms = direction_terms(directions)
    bare = dataset.are_masked(frames) if len(dataset.masked) else None
    return Rays(origins, directions, terms, near[:crossing], far[:crossing], closest, crossing, bare)


def place_samples(rays: Rays, depths: Tensor) -> Tensor:
    """Points (crossing * K, 3) at depths (crossing, K) along the rays that cross the region."""
    directions = rays.directions[: rays.crossing]
    return (rays.origins[: rays.crossing, None] + directions[:, None] * depths[..., None]).reshape(-1, 3)


def _spread(rows: int, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """`count` numbers in 0..1 a row, one in each equal part: at random places, or in the middle without a generator."""
    steps = torch.arange(count, device=device, dtype=torch.float32)
    if generator is None:
        return ((steps + 0.5) / count).expand(rows, count)
    return (steps + torch.rand(rows, count, device=device, generator=generator)) / count


@torch.no_grad()
def sample_depths(
    baked: BakedField, rays: Rays, settings: Settings, sharpness: float, fine: int, generator: torch.Generator | None
) -> Tensor:
    """Sorted depths (crossing, fine + uniform_samples) along the rays that cross the region: most where the baked
    field's rendering weights are, some everywhere."""
    count, steps, device = rays.crossing, settings.march_steps, rays.near.device
    offset = _spread(count, 1, generator, device)
    march = F.pad(F.pad((torch.arange(steps, device=device) + offset) / steps, (1, 0)), (0, 1), value=1.0)
    fine_shares = _spread(count, fine, generator, device).contiguous()
    uniform_shares = _spread(count, settings.uniform_samples, generator, device).contiguous()
    choose = choose_depths if baked.kernels is None else baked.kernels.choose_depths
    return choose(baked, rays, sharpness, march, fine_shares, uniform_shares)


def choose_depths(
    baked: BakedField, rays: Rays, sharpness: float, march: Tensor, fine: Tensor, uniform: Tensor
) -> Tensor:
    """Sorted depths along rays: the fine ones at the given shares (crossing, n) in 0..1 of the rendering weight found
    by marching, the uniform ones at shares of the length within the region."""
    origins, directions = rays.origins[: rays.crossing, None], rays.directions[: rays.crossing, None]
    near, length = rays.near[:, None], (rays.far - rays.near)[:, None]
    depths = near + length * march
    distances = baked(origins + directions * depths[..., None])
    # no sharper than the marching step can see
    alpha = surface_alpha(distances, (4 * (march.shape[1] - 2) / length).clamp(max=sharpness))
    weights = alpha * transmittance(alpha)[:, :-1]
    neighbours = torch.maximum(F.pad(weights[:, 1:], (0, 1)), F.pad(weights[:, :-1], (1, 0)))
    weights = torch.maximum(weights, 0.5 * neighbours) + 1e-3
    cumulative = F.pad(torch.cumsum(weights, 1), (1, 0))
    cumulative = cumulative / cumulative[:, -1:]
    right = torch.searchsorted(cumulative, fine, right=True).clamp(1, march.shape[1] - 1)
    low, high = cumulative.gather(1, right - 1), cumulative.gather(1, right)
    start, end = depths.gather(1, right - 1), depths.gather(1, right)
    fine_depths = start + (end - start) * ((fine - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return torch.sort(torch.cat([fine_depths, near + length * uniform], 1), 1)[0]


def come_near(baked: BakedField, rays: Rays, distance: float, steps: int) -> Tensor:
    """Whether the rays that cross the region come so near to the surface (crossing,), or into it.

    The baked field tells it in the middles of so many equal parts of their length within the region.
    """
    shares = _spread(rays.crossing, steps, None, rays.near.device)
    depths = rays.near[:, None] + (rays.far - rays.near)[:, None] * shares
    return (baked(place_samples(rays, depths)).view(depths.shape) <= distance).any(1)


def surface_alpha(distances: Tensor, sharpness: Tensor | float) -> Tensor:
    """Opacity (B, K - 1) of the intervals between samples with signed distances (B, K): NeuS, equation 13."""
    inside = torch.sigmoid(distances * sharpness)
    return ((inside[:, :-1] - inside[:, 1:]) / (inside[:, :-1] + 1e-5)).clamp(0, 1 - 1e-4)


def transmittance(alpha: Tensor) -> Tensor:
    """Light left (B, K + 1) before each of K intervals, and behind the last."""
    return torch.cumprod(F.pad(1 - alpha, (1, 0), value=1.0), 1)


def log_transmittance(alpha: Tensor) -> Tensor:
    """Logarithm (B,) of the light left behind all intervals; unlike the light itself it cannot become 0."""
    return torch.log1p(-alpha).sum(1)


def render_surface(
    model: SurfaceModel, rays: Rays, features: Tensor, distances: Tensor, sharpness: float
) -> tuple[Tensor, Tensor]:
    """RGB (crossing, 3), not yet over a background, and transmittance (crossing,).

    features: (crossing * K, C) at K samples a ray; distances: (crossing, K).
    """
    alpha = surface_alpha(distances, sharpness)
    light = transmittance(alpha)
    weights = alpha * light[:, :-1]
    ray, interval = torch.nonzero(weights.detach() > model.settings.min_weight, as_tuple=True)
    sample = ray * distances.shape[1] + interval
    between = 0.5 * features[torch.cat([sample, sample + 1])].view(2, len(sample), features.shape[1]).sum(0)
    colours = weights[ray, interval, None] * model.colour(between, rays.terms[ray])
    return features.new_zeros(rays.crossing, 3).index_add(0, ray, colours), light[:, -1]


def render_background(
    model: SurfaceModel, rays: Rays, light: Tensor, settings: Settings, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The background before and behind the region: RGB (N, 3) and transmittance (N,) before it, RGB (N, 3) behind it.

    light (crossing,): the region's transmittance; where none is left, the RGB behind is 0.
    """
    device = rays.origins.device
    total, front, behind = len(rays.origins), settings.front_samples, settings.behind_samples
    missing = rays.closest[rays.crossing :]
    end = torch.cat([rays.near, (missing - settings.front_gap).clamp(min=settings.front_end)])[:, None]
    length = 1 - settings.front_begin  # as a share of the way to the end
    front_depths = end * (settings.front_begin + length * _spread(total, front, generator, device))
    seen = torch.cat(
        [light.detach() > settings.min_transmittance, light.new_ones(total - rays.crossing, dtype=torch.bool)]
    )
    seen = torch.nonzero(seen)[:, 0]
    start = torch.cat([rays.far, (missing + settings.behind_gap).clamp(min=settings.behind_gap)])[seen, None]
    shares = _spread(len(seen), behind, generator, device)
    behind_depths = 1 / ((1 - shares) / start + shares / settings.behind_end)  # uniform in disparity

    ray = torch.cat([torch.arange(total, device=device).repeat_interleave(front), seen.repeat_interleave(behind)])
    depths = torch.cat([front_depths.reshape(-1), behind_depths.reshape(-1)])
    points = rays.origins[ray] + rays.directions[ray] * depths[:, None]
    density, colour = model.background_at(points, rays.terms[ray])
    split = total * front
    front_rgb, front_light = _composite(
        density[:split].view(total, front),
        colour[:split].view(total, front, 3),
        (length / front * end).expand(-1, front),
    )
    gaps = F.pad(behind_depths[:, 1:] - behind_depths[:, :-1], (0, 1), value=1e3)  # the last one ends the ray
    behind_rgb, _ = _composite(density[split:].view(-1, behind), colour[split:].view(-1, behind, 3), gaps)
    return front_rgb, front_light, torch.zeros_like(front_rgb).index_copy(0, seen, behind_rgb)


def _composite(density: Tensor, colour: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
    """RGB (B, 3) and transmittance (B,) of samples with density and gaps (B, K) and colour (B, K, 3)."""
    alpha = 1 - torch.exp(-density * gaps)
    light = transmittance(alpha)
    return ((alpha * light[:, :-1])[..., None] * colour).sum(1), light[:, -1]


def combine(surface: Tensor, light: Tensor, front: Tensor, front_light: Tensor, behind: Tensor) -> Tensor:
    """RGB (N, 3): front over surface over behind. surface and light cover only the first rays, those that cross."""
    missing = len(front) - len(surface)
    surface = F.pad(surface, (0, 0, 0, missing))
    light = F.pad(light, (0, missing), value=1.0)
    return front + front_light[:, None] * (surface + light[:, None] * behind)


def add_background(
    model: SurfaceModel,
    rays: Rays,
    surface: Tensor,
    light: Tensor,
    settings: Settings,
    generator: torch.Generator | None,
) -> Tensor:
    """RGB (N, 3) of what render_surface gave, before the background of those rays that have one."""
    if rays.bare is None:
        return combine(surface, light, *render_background(model, rays, light, settings, generator))
    rows = torch.nonzero(~rays.bare)[:, 0]
    colours = F.pad(surface, (0, 0, 0, len(rays.origins) - rays.crossing))
    if not len(rows):
        return colours
    part = rays.pick(rows, int((rows < rays.crossing).sum()))
    first = rows[: part.crossing]
    background = render_background(model, part, light[first], settings, generator)
    return colours.index_copy(0, rows, combine(surface[first], light[first], *background))


@torch.no_grad()
def render_rays(model: SurfaceModel, baked: BakedField, rays: Rays, settings: Settings, sharpness: float) -> Tensor:
    """RGB (N, 3) for evaluation: no random numbers, twice the fine samples."""
    depths = sample_depths(baked, rays, settings, sharpness, 2 * settings.fine_samples, None)
    features = model.features(place_samples(rays, depths))
    distances = model.distance(features).view(depths.shape)
    surface, light = render_surface(model, rays, features, distances, sharpness)
    return add_background(model, rays, surface, light, settings, None)
