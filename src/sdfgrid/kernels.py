"""Which kernels do what takes nearly all of a run's time.

There are three: plain PyTorch, whose formulas stand in `grid`, `optimiser`, `render` and `trainer` and which the tests
compare the others with; Numba on CPUs; Triton on NVIDIA GPUs. Both others are optional.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sdfgrid.gpu_step import GpuStep
    from sdfgrid.grid import FeatureGrid
    from sdfgrid.optimiser import GridAdam
    from sdfgrid.render import BakedField, Rays
    from sdfgrid.trainer import Trainer

PLAIN = "plain PyTorch"


class Kernels(Protocol):
    """What a module of kernels has; None stands for plain PyTorch."""

    NAME: str

    def look_up(self, grid: FeatureGrid, points: Tensor, levels: int) -> Tensor:
        """FeatureGrid.forward, whose gradient the kernels keep until the next step."""

    def step(self, optimiser: GridAdam, rate: float, correction: float) -> None:
        """GridAdam.step with the numbers that depend on how many there were; clears the gradient."""

    def choose_depths(
        self, baked: BakedField, rays: Rays, sharpness: float, march: Tensor, fine: Tensor, uniform: Tensor
    ) -> Tensor:
        """render.choose_depths."""

    def come_near(self, baked: BakedField, rays: Rays, distance: float, steps: int) -> Tensor:
        """render.come_near."""

    def make_step(self, trainer: Trainer) -> GpuStep | None:
        """What does whole iterations in place of Trainer.step, if the kernels can."""


def choose(device: torch.device, wanted: str = "auto", threads: int | None = None) -> Kernels | None:
    """The fastest kernels for a device that work here; None, plain PyTorch, if there are none or it is wanted.

    threads: of a CPU, at most; None: as many as it has. Says on stderr why a GPU gets plain PyTorch.
    """
    if wanted == "torch":
        return None
    if device.type == "cpu":
        try:
            from sdfgrid import numba_kernels
        except ImportError:  # it is optional
            return None
        if threads is not None:
            numba_kernels.set_threads(threads)
        return numba_kernels
    if not os.access(
        os.path.expanduser("~"), os.W_OK
    ):  # where Triton keeps what it compiled; some containers have none
        os.environ.setdefault("TRITON_CACHE_DIR", os.path.join(tempfile.gettempdir(), "triton"))
    try:
        from sdfgrid import triton_kernels

        triton_kernels.try_out(device)
    except Exception as error:  # Triton needs a C compiler and a GPU that it knows, and says so in many ways
        say_slow(error)
        return None
    return cast("Kernels", triton_kernels)  # a module, as numba_kernels is


def say_slow(error: Exception) -> None:
    reason = (str(error).strip().splitlines() or [""])[-1][:200]  # a compiler's command may be long
    print(
        f"warning: Triton's kernels do not work here ({type(error).__name__}: {reason}). Plain PyTorch does the same, "
        "many times more slowly. They need the package triton, a C compiler such as gcc, and a GPU that Triton knows",
        file=sys.stderr,
        flush=True,
    )


def get_name(kernels: Kernels | None) -> str:
    return PLAIN if kernels is None else kernels.NAME
