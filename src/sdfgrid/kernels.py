"""Which kernels do what takes nearly all of a run's time.

There are three: plain PyTorch, whose formulas stand in `grid`, `optimiser` and `render` and which the tests compare the
others with; Numba on CPUs; Triton on NVIDIA GPUs. Both others are optional.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sdfgrid.grid import FeatureGrid
    from sdfgrid.optimiser import GridAdam
    from sdfgrid.render import BakedField, Rays

PLAIN = "plain PyTorch"


class Kernels(Protocol):
    """What a module of kernels has; None stands for plain PyTorch."""

    NAME: str

    def look_up(self, grid: FeatureGrid, points: Tensor, levels: int) -> Tensor:
        """FeatureGrid.forward, whose gradient is added to table.grad."""

    def step(self, optimiser: GridAdam, rate: float, correction: float) -> None:
        """GridAdam.step with the numbers that depend on the step; clears the gradient."""

    def choose_depths(
        self, baked: BakedField, rays: Rays, sharpness: float, march: Tensor, fine: Tensor, uniform: Tensor
    ) -> Tensor:
        """render.choose_depths."""


def choose(device: torch.device, wanted: str = "auto", threads: int | None = None) -> Kernels | None:
    """The fastest kernels for a device that are installed; None, plain PyTorch, if there are none or it is wanted.

    threads: of a CPU, at most; None: as many as it has.
    """
    if wanted == "torch":
        return None
    try:
        if device.type == "cpu":
            from sdfgrid import numba_kernels

            if threads is not None:
                numba_kernels.set_threads(threads)
            return numba_kernels
    except ImportError:
        pass
    return None


def get_name(kernels: Kernels | None) -> str:
    return PLAIN if kernels is None else kernels.NAME
