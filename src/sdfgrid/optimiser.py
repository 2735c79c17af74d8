"""Adam (Kingma & Ba 2015) for feature grids and for networks.

PyTorch's own imports its compiler, torch._dynamo, when the first optimiser is made. That takes 3 s.
"""

from __future__ import annotations

import math
from typing import Any, Sequence

import torch
from torch import Tensor

from sdfgrid.grid import FeatureGrid
from sdfgrid.settings import Settings


class GridAdam:
    """Adam on a FeatureGrid's table, skipping vertices whose gradient is 0.

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
        rate, correction = correct_bias(rate, self.steps, self.beta1, self.beta2)
        if self.grid.kernels is not None:
            self.grid.kernels.step(self, rate, correction)
            return
        grid, gradient = self.grid, self.grid.gradient()
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


class NetworkAdam:
    """Adam on the parameters of networks, skipping those that have no gradient in an iteration."""

    def __init__(self, parameters: Sequence[Tensor], settings: Settings) -> None:
        self.parameters = list(parameters)
        self.beta1, self.beta2, self.epsilon = settings.adam_beta1, settings.adam_beta2, settings.adam_epsilon
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]
        self.means = [torch.zeros_like(parameter.detach()) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter.detach()) for parameter in self.parameters]

    def clear_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        used = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not used:
            return
        parameters, steps, means, squares = (
            [tensors[index] for index in used] for tensors in (self.parameters, self.steps, self.means, self.squares)
        )
        torch._foreach_add_(steps, 1)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]  # all of them
        try:
            torch._fused_adam_(
                parameters,
                gradients,
                means,
                squares,
                [],
                steps,
                lr=rate,
                beta1=self.beta1,
                beta2=self.beta2,
                weight_decay=0.0,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
            )
        except (AttributeError, NotImplementedError):  # before PyTorch 2.4 there is none for CPUs
            for index, parameter, gradient in zip(used, parameters, gradients):
                self._step_plain(index, parameter, gradient, rate)

    def _step_plain(self, index: int, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        mean, square = self.means[index], self.squares[index]
        mean.lerp_(gradient, 1 - self.beta1)
        square.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        rate, correction = correct_bias(rate, int(self.steps[index]), self.beta1, self.beta2)
        parameter.sub_(rate * mean / (square.sqrt() * correction + self.epsilon))

    def state(self) -> dict[str, Any]:
        """In the form of torch.optim.Adam.state_dict(), which older checkpoints hold."""
        parts = zip(self.steps, self.means, self.squares)
        return {
            "state": {
                index: {"step": steps, "exp_avg": mean, "exp_avg_sq": square}
                for index, (steps, mean, square) in enumerate(parts)
                if steps
            }
        }

    def restore(self, state: dict[int, dict[str, Tensor]], **_: object) -> None:
        for index, part in state.items():
            self.steps[index].copy_(part["step"])
            self.means[index].copy_(part["exp_avg"])
            self.squares[index].copy_(part["exp_avg_sq"])


def correct_bias(rate: float, steps: int, beta1: float, beta2: float) -> tuple[float, float]:
    """The rate, and the factor of the square root, that make up for moments that began at 0."""
    return rate / (1 - beta1**steps), 1 / math.sqrt(1 - beta2**steps)
