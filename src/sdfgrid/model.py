"""The signed distance field, the colours on its surface and the background around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdfgrid.grid import CHANNELS, FeatureGrid
from sdfgrid.kernels import Kernels
from sdfgrid.settings import Settings

CHUNK = {"cpu": 1 << 16, "cuda": 1 << 19}  # points that are evaluated at once, to bound memory
START_LEVEL = 1  # the level that holds the sphere that the field begins as


class SurfaceModel(nn.Module):
    """A signed distance field over the unit sphere, positive outside, with colours, and a background beyond it.

    distance = sum over levels of channel 0 + geometry_share * network(all features). The first term gives each level a
    direct way to the surface, the network removes the marks of the grid.
    """

    def __init__(self, settings: Settings, kernels: Kernels | None = None) -> None:
        super().__init__()
        self.settings = settings
        generator = torch.Generator().manual_seed(settings.seed)
        self.cells = list(settings.levels)
        self.levels = sum(start <= 0 for start in settings.level_starts)  # active; grows during training
        start, background_levels = settings.initial_feature, settings.background_levels
        self.grid = FeatureGrid(self.cells, settings.dense_up_to, start, generator, kernels)
        self.background_grid = FeatureGrid(background_levels, max(background_levels), start, generator, kernels)
        inputs, background_inputs = CHANNELS * len(self.cells), CHANNELS * len(background_levels)
        self.distance_hidden = nn.Linear(inputs, settings.geometry_width)
        self.distance_out = nn.Linear(settings.geometry_width, 1)
        width = settings.colour_width
        self.colour_hidden = nn.Linear(inputs + DIRECTION_TERMS, width)
        self.colour_rest = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
        width = settings.background_width
        self.background = nn.Sequential(
            nn.Linear(background_inputs + DIRECTION_TERMS, width), nn.ReLU(), nn.Linear(width, 4)
        )
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):  # PyTorch's own ranges, from our generator
                bound = module.in_features**-0.5
                for parameter in (module.weight, module.bias):
                    parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
        for parameter in (self.distance_hidden.bias, self.distance_out.weight, self.distance_out.bias):
            parameter.zero_()
        rows, points = self.grid.vertices(START_LEVEL)
        self.grid.table[rows, 0] = points.norm(dim=-1) - self.settings.initial_radius

    def features(self, points: Tensor) -> Tensor:
        """Features (N, CHANNELS * levels) at points (N, 3)."""
        return self.grid(points, self.levels)

    def distance(self, features: Tensor) -> Tensor:
        """Signed distance (N,) from features."""
        used, settings = features.shape[1], self.settings
        weight = self.distance_hidden.weight[:, :used] * settings.feature_scale
        hidden = F.softplus(F.linear(features, weight, self.distance_hidden.bias), beta=settings.softplus_beta)
        direct = features.new_zeros(used)
        direct[::CHANNELS] = 1  # a product is faster than the sum of a strided view, above all backwards
        return features.mv(direct) + settings.geometry_share * self.distance_out(hidden)[:, 0]

    def distance_at(self, points: Tensor) -> Tensor:
        """Signed distance (N,) at points (N, 3)."""
        return self.distance(self.features(points))

    def colour(self, features: Tensor, terms: Tensor) -> Tensor:
        """RGB (N, 3) in 0..1 from features and the direction_terms of unit viewing directions, camera to surface."""
        used = features.shape[1]
        weight = self.colour_hidden.weight
        weight = torch.cat([weight[:, :used] * self.settings.feature_scale, weight[:, -DIRECTION_TERMS:]], 1)
        hidden = F.linear(torch.cat([features, terms], -1), weight, self.colour_hidden.bias)
        return torch.sigmoid(self.colour_rest(hidden))

    def background_at(self, points: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
        """Density (N,) and RGB (N, 3) of the background at points (N, 3), seen along directions with these
        direction_terms. Space outside the unit sphere is contracted into a ball of radius 2 (mip-NeRF 360, Barron et
        al. 2022)."""
        radius = points.norm(dim=-1, keepdim=True).clamp(min=1)
        return self.background_in(points * ((2 - 1 / radius) / radius * 0.5), terms)

    def background_in(self, contracted: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
        """The same, at points that are contracted already, into half of that ball: the grid covers [-1, 1]."""
        settings = self.settings
        features = self.background_grid(contracted, len(self.background_grid.cells))
        out = self.background(torch.cat([features * settings.feature_scale, terms], -1))
        density = F.softplus(out[:, 0] + settings.background_bias) * settings.background_density
        return density, torch.sigmoid(out[:, 1:])

    @property
    def finest_cell(self) -> float:
        """Edge of a cell of the finest active level."""
        return 2.0 / self.cells[self.levels - 1]


DIRECTION_TERMS = 8


def direction_terms(directions: Tensor) -> Tensor:
    """The spherical harmonics of degrees 1 and 2, not normalised: (N, 3) -> (N, DIRECTION_TERMS)."""
    x, y, z = directions.unbind(-1)
    return torch.stack([x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], -1)
