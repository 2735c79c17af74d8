"""Adam for feature grids: vertices without a gradient in an iteration are left alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdfgrid.grid import FeatureGrid, kernels, tasks
from sdfgrid.settings import Settings


class GridAdam:
    """Adam (Kingma & Ba 2015) on a FeatureGrid's table, skipping vertices whose gradient is 0.

    An iteration touches a few percent of a fine level; skipping the others, as instant-ngp does for its hash tables
    (Mueller et al. 2022, appendix B), saves most of the time of a step on a CPU.
    """

    def __init__(self, grid: FeatureGrid, settings: Settings) -> None:
        self.grid = grid
        self.beta1, self.beta2, self.epsilon = settings.adam_beta1, settings.adam_beta2, settings.adam_epsilon
        self.steps = 0
        self.mean = torch.zeros_like(grid.table.detach())
        self.square = torch.zeros_like(grid.table.detach())

    def grow(self, rows: int) -> None:
        """Add moments of 0 for rows that the grid has just got."""
        self.mean = torch.cat([self.mean, self.mean.new_zeros(rows, self.mean.shape[1])])
        self.square = torch.cat([self.square, self.square.new_zeros(rows, self.square.shape[1])])

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one step and clear the gradient."""
        self.steps += 1
        rate = rate / (1 - self.beta1**self.steps)
        correction = 1 / math.sqrt(1 - self.beta2**self.steps)
        grid, gradient = self.grid, self.grid.gradient()
        if kernels is not None and gradient.device.type == "cpu":
            arrays = [
                tensor.numpy() for tensor in (grid.table.detach(), gradient, self.mean, self.square, grid.touched)
            ]
            numbers = [kernels.np.float32(x) for x in (rate, self.beta1, self.beta2, self.epsilon, correction)]
            kernels.adam(*arrays, *numbers, tasks())
            return
        used = (gradient != 0).any(1, keepdim=True)
        mean = torch.lerp(gradient, self.mean, self.beta1)
        square = torch.lerp(gradient * gradient, self.square, self.beta2)
        self.mean = torch.where(used, mean, self.mean)
        self.square = torch.where(used, square, self.square)
        grid.table.sub_(used * rate * mean / (square.sqrt() * correction + self.epsilon))
        gradient.zero_()

    def state(self) -> dict[str, object]:
        return {"steps": self.steps, "mean": self.mean, "square": self.square}

    def restore(self, steps: int, mean: Tensor, square: Tensor) -> None:
        device = self.grid.bricks.device
        self.steps, self.mean, self.square = steps, mean.to(device), square.to(device)
