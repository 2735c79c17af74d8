"""Numba kernels for the CPU. `grid`, `optimiser` and `render` hold the same formulas in plain PyTorch.

What the other modules call is at the end; `sdfgrid.kernels.Kernels` says what it does.
All arrays are float32 and C-contiguous unless said otherwise. Each parallel task owns what it writes, so sums are taken
in the same order whatever the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

if TYPE_CHECKING:
    from sdfgrid.grid import FeatureGrid
    from sdfgrid.optimiser import GridAdam
    from sdfgrid.render import BakedField, Rays
    from sdfgrid.trainer import Trainer

numba.config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]  # the four channels of a vertex in one instruction; off by default

NAME = "Numba kernels"
Array = np.ndarray
FAST_MATH = {"contract", "reassoc", "nsz", "arcp", "afn"}  # all but the promise that nothing is NaN or infinite
ONE, HALF, ZERO, CELL_END = np.float32(1), np.float32(0.5), np.float32(0), np.float32(1e-3)
SATURATED = np.float32(17)  # the sigmoid of more is 1 in float32


def _compile(parallel: bool = False) -> Callable[[Callable], Any]:
    def wrap(function: Callable) -> Any:
        options: Any = {"fastmath": FAST_MATH, "error_model": "numpy", "parallel": parallel, "nogil": True}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to keep compiled code in, as in a container without a home
            return njit(**options)(function)

    return wrap


def set_threads(count: int) -> None:
    """Use at most so many threads; Numba cannot have more than it found cores at its start."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


@_compile()
def _along(coordinate: Any, cells: Any) -> Any:
    """A coordinate in [-1, 1] in units of cells, kept within the grid; 0 if it is not a number."""
    u = (coordinate + ONE) * HALF * np.float32(cells)
    if not u > ZERO:
        u = ZERO
    end = np.float32(cells) - CELL_END
    return u if u < end else end


@_compile()
def _lookup_range(
    points: Array, table: Array, bricks: Array, first_brick: Array, cells: Array, out: Array, begin: int, end: int
) -> None:
    for level in range(len(cells)):  # outermost, so that one level's vertices stay in the cache
        per_axis = cells[level] // 4 + 1
        base = first_brick[level]
        for n in range(begin, end):
            ux = _along(points[n, 0], cells[level])
            uy = _along(points[n, 1], cells[level])
            uz = _along(points[n, 2], cells[level])
            ix, iy, iz = np.int32(ux), np.int32(uy), np.int32(uz)
            fx, fy, fz = ux - np.float32(ix), uy - np.float32(iy), uz - np.float32(iz)
            a0, a1, a2, a3 = ZERO, ZERO, ZERO, ZERO
            for dx in range(2):
                x = ix + dx
                wx = fx if dx else ONE - fx
                for dy in range(2):
                    y = iy + dy
                    wxy = wx * (fy if dy else ONE - fy)
                    column = base + ((x >> 2) * per_axis + (y >> 2)) * per_axis
                    inner = ((x & 3) << 4) + ((y & 3) << 2)
                    for dz in range(2):
                        z = iz + dz
                        brick = bricks[column + (z >> 2)]
                        if brick >= 0:
                            row = np.uint64((brick << 6) + inner + (z & 3))
                            w = wxy * (fz if dz else ONE - fz)
                            a0 += w * table[row, 0]
                            a1 += w * table[row, 1]
                            a2 += w * table[row, 2]
                            a3 += w * table[row, 3]
            out[n, level * 4] = a0
            out[n, level * 4 + 1] = a1
            out[n, level * 4 + 2] = a2
            out[n, level * 4 + 3] = a3


@_compile(parallel=True)
def lookup(
    points: Array, table: Array, bricks: Array, first_brick: Array, cells: Array, out: Array, tasks: int
) -> None:
    """out (N, 4 * levels) = trilinear features of points (N, 3); bricks, first_brick and cells are integers."""
    count = points.shape[0]
    for task in prange(tasks):
        begin, end = count * task // tasks, count * (task + 1) // tasks
        _lookup_range(points, table, bricks, first_brick, cells, out, begin, end)


@_compile()
def _scatter_part(
    points: Array,
    grad_out: Array,
    bricks: Array,
    first_brick: Array,
    cells: Array,
    grad: Array,
    touched: Array,
    task: int,
    tasks: int,
) -> None:
    """Adds the gradient of the bricks whose x index is `task` modulo `tasks`."""
    for level in range(len(cells)):
        per_axis = cells[level] // 4 + 1
        base = first_brick[level]
        for n in range(points.shape[0]):
            ux = _along(points[n, 0], cells[level])
            ix = np.int32(ux)
            lower_mine = (ix >> 2) % tasks == task
            upper_mine = ((ix + 1) >> 2) % tasks == task
            if not (lower_mine or upper_mine):
                continue
            uy = _along(points[n, 1], cells[level])
            uz = _along(points[n, 2], cells[level])
            iy, iz = np.int32(uy), np.int32(uz)
            fx, fy, fz = ux - np.float32(ix), uy - np.float32(iy), uz - np.float32(iz)
            g0 = grad_out[n, level * 4]
            g1 = grad_out[n, level * 4 + 1]
            g2 = grad_out[n, level * 4 + 2]
            g3 = grad_out[n, level * 4 + 3]
            for dx in range(2):
                if not (upper_mine if dx else lower_mine):
                    continue
                x = ix + dx
                wx = fx if dx else ONE - fx
                for dy in range(2):
                    y = iy + dy
                    wxy = wx * (fy if dy else ONE - fy)
                    column = base + ((x >> 2) * per_axis + (y >> 2)) * per_axis
                    inner = ((x & 3) << 4) + ((y & 3) << 2)
                    for dz in range(2):
                        z = iz + dz
                        brick = bricks[column + (z >> 2)]
                        if brick >= 0:
                            row = np.uint64((brick << 6) + inner + (z & 3))
                            w = wxy * (fz if dz else ONE - fz)
                            touched[row] = 1
                            grad[row, 0] += w * g0
                            grad[row, 1] += w * g1
                            grad[row, 2] += w * g2
                            grad[row, 3] += w * g3


@_compile(parallel=True)
def scatter(
    points: Array,
    grad_out: Array,
    bricks: Array,
    first_brick: Array,
    cells: Array,
    grad: Array,
    touched: Array,
    tasks: int,
) -> None:
    """The transpose of lookup: grad (rows, 4) += weights * grad_out (N, 4 * levels); touched (uint8) marks rows."""
    for task in prange(tasks):
        _scatter_part(points, grad_out, bricks, first_brick, cells, grad, touched, task, tasks)


@_compile()
def _adam_range(
    table: Array,
    grad: Array,
    mean: Array,
    square: Array,
    touched: Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    correction: float,
    begin: int,
    end: int,
) -> None:
    words = touched.view(np.uint64)  # most rows are not touched: look at eight at a time
    for word in range(begin, end):
        if words[word] == 0:
            continue
        for row in range(word * 8, word * 8 + 8):
            if touched[row] == 0:
                continue
            touched[row] = 0
            g0, g1, g2, g3 = grad[row, 0], grad[row, 1], grad[row, 2], grad[row, 3]
            if g0 == 0 and g1 == 0 and g2 == 0 and g3 == 0:
                continue
            for channel in range(4):
                g = grad[row, channel]
                m = beta1 * mean[row, channel] + (ONE - beta1) * g
                v = beta2 * square[row, channel] + (ONE - beta2) * g * g
                mean[row, channel] = m
                square[row, channel] = v
                table[row, channel] -= rate * m / (np.sqrt(v) * correction + epsilon)
                grad[row, channel] = ZERO


@_compile(parallel=True)
def adam(
    table: Array,
    grad: Array,
    mean: Array,
    square: Array,
    touched: Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    correction: float,
    tasks: int,
) -> None:
    """step of the grid's optimiser; clears grad and touched."""
    count = touched.shape[0] // 8
    for task in prange(tasks):
        begin, end = count * task // tasks, count * (task + 1) // tasks
        _adam_range(table, grad, mean, square, touched, rate, beta1, beta2, epsilon, correction, begin, end)


@_compile()
def _baked_distance(values: Array, x: Any, y: Any, z: Any) -> Any:
    """Trilinear interpolation in values (side, side, side)."""
    cells = values.shape[0] - 1
    ux, uy, uz = _along(x, cells), _along(y, cells), _along(z, cells)
    ix, iy, iz = np.int32(ux), np.int32(uy), np.int32(uz)
    fx, fy, fz = ux - np.float32(ix), uy - np.float32(iy), uz - np.float32(iz)
    low = (ONE - fy) * (values[ix, iy, iz] * (ONE - fz) + values[ix, iy, iz + 1] * fz)
    low += fy * (values[ix, iy + 1, iz] * (ONE - fz) + values[ix, iy + 1, iz + 1] * fz)
    ix += 1
    high = (ONE - fy) * (values[ix, iy, iz] * (ONE - fz) + values[ix, iy, iz + 1] * fz)
    high += fy * (values[ix, iy + 1, iz] * (ONE - fz) + values[ix, iy + 1, iz + 1] * fz)
    return low * (ONE - fx) + high * fx


@_compile()
def _sample_range(
    origins: Array,
    directions: Array,
    near: Array,
    far: Array,
    values: Array,
    sharpness: float,
    march: Array,
    fine: Array,
    uniform: Array,
    out: Array,
    begin: int,
    end: int,
) -> None:
    steps, fine_count, uniform_count = march.shape[1], fine.shape[1], uniform.shape[1]
    depths = np.empty(steps, np.float32)
    weights = np.zeros(steps + 1, np.float32)  # one 0 at each end
    cumulative = np.empty(steps, np.float32)
    for n in range(begin, end):
        length = far[n] - near[n]
        sharp = min(np.float32(sharpness), np.float32(4 * (steps - 2)) / length)
        light, before = ONE, ZERO
        weights[:] = ZERO
        for k in range(steps):
            t = near[n] + length * march[n, k]
            depths[k] = t
            distance = _baked_distance(
                values,
                origins[n, 0] + t * directions[n, 0],
                origins[n, 1] + t * directions[n, 1],
                origins[n, 2] + t * directions[n, 2],
            )
            inside = ONE if distance * sharp > SATURATED else ONE / (ONE + np.exp(-distance * sharp))
            if k > 0:
                alpha = min(max((before - inside) / (before + np.float32(1e-5)), ZERO), np.float32(1 - 1e-4))
                weights[k] = alpha * light
                light *= ONE - alpha
            if light < np.float32(1e-4):  # nothing behind matters; only the depths are still wanted
                for rest in range(k + 1, steps):
                    depths[rest] = near[n] + length * march[n, rest]
                break
            before = inside
        cumulative[0] = ZERO
        for k in range(1, steps):
            wide = max(weights[k], HALF * max(weights[k - 1], weights[k + 1] if k + 1 < steps else ZERO))
            cumulative[k] = cumulative[k - 1] + wide + np.float32(1e-3)
        total = cumulative[steps - 1]
        right, taken = 1, 0
        for k in range(fine_count):
            wanted = fine[n, k] * total
            while right < steps - 1 and cumulative[right] <= wanted:
                right += 1
            low, high = cumulative[right - 1], cumulative[right]
            share = min(max((wanted - low) / max(high - low, np.float32(1e-6) * total), ZERO), ONE)
            t = depths[right - 1] + (depths[right] - depths[right - 1]) * share
            while taken < uniform_count and near[n] + length * uniform[n, taken] < t:
                out[n, k + taken] = near[n] + length * uniform[n, taken]
                taken += 1
            out[n, k + taken] = t
        while taken < uniform_count:
            out[n, fine_count + taken] = near[n] + length * uniform[n, taken]
            taken += 1


@_compile(parallel=True)
def sample(
    origins: Array,
    directions: Array,
    near: Array,
    far: Array,
    values: Array,
    sharpness: float,
    march: Array,
    fine: Array,
    uniform: Array,
    out: Array,
    tasks: int,
) -> None:
    """render.choose_depths. march, fine and uniform hold sorted numbers in 0..1, a row for each ray."""
    count = near.shape[0]
    for task in prange(tasks):
        begin, end = count * task // tasks, count * (task + 1) // tasks
        _sample_range(origins, directions, near, far, values, sharpness, march, fine, uniform, out, begin, end)


@_compile(parallel=True)
def find_near(
    origins: Array, directions: Array, near: Array, far: Array, values: Array, distance: float, steps: int, out: Array
) -> None:
    """render.come_near; out (N,) is uint8."""
    for n in prange(near.shape[0]):
        step = (far[n] - near[n]) / np.float32(steps)
        out[n] = 0
        for k in range(steps):
            t = near[n] + step * (np.float32(k) + HALF)
            x = origins[n, 0] + t * directions[n, 0]
            y = origins[n, 1] + t * directions[n, 1]
            z = origins[n, 2] + t * directions[n, 2]
            if _baked_distance(values, x, y, z) <= distance:
                out[n] = 1
                break


# --- what the other modules call --------------------------------------------------------------------------------------


def look_up(grid: FeatureGrid, points: Tensor, levels: int) -> Tensor:
    features: Tensor = _Lookup.apply(points, grid.table, grid, levels)
    return features


class _Lookup(torch.autograd.Function):
    """The gradient is added to table.grad at once, not returned."""

    @staticmethod
    def forward(context: Any, points: Tensor, table: Tensor, grid: FeatureGrid, levels: int) -> Tensor:
        out = points.new_empty(len(points), 4 * levels)
        lookup(points.numpy(), table.detach().numpy(), *_layout(grid, levels), out.numpy(), _tasks())
        context.points, context.grid, context.levels = points, grid, levels
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, None, None, None]:
        grid, levels = context.grid, context.levels
        scatter(
            context.points.numpy(),
            gradients[0].contiguous().numpy(),
            *_layout(grid, levels),
            grid.gradient().numpy(),
            grid.touched.numpy(),
            _tasks(),
        )
        return None, None, None, None


def _layout(grid: FeatureGrid, levels: int) -> tuple[Any, Any, Any]:
    first, cells = torch.tensor(grid.first_brick[:levels]), torch.tensor(grid.cells[:levels])
    return grid.bricks.numpy(), first.numpy(), cells.numpy()


def step(optimiser: GridAdam, rate: float, correction: float) -> None:
    grid = optimiser.grid
    tensors = [grid.table.detach(), grid.gradient(), optimiser.mean, optimiser.square, grid.touched]
    numbers = [rate, optimiser.beta1, optimiser.beta2, optimiser.epsilon, correction]
    adam(*(tensor.numpy() for tensor in tensors), *map(np.float32, numbers), _tasks())


def choose_depths(
    baked: BakedField, rays: Rays, sharpness: float, march: Tensor, fine: Tensor, uniform: Tensor
) -> Tensor:
    out = torch.empty(len(fine), fine.shape[1] + uniform.shape[1])
    tensors = [rays.origins, rays.directions, rays.near, rays.far, baked.volume]
    shares = [march, fine, uniform, out]
    sample(*(t.numpy() for t in tensors), sharpness, *(t.numpy() for t in shares), _tasks())
    return out


def come_near(baked: BakedField, rays: Rays, distance: float, steps: int) -> Tensor:
    out = torch.empty(rays.crossing, dtype=torch.bool)
    tensors = [rays.origins, rays.directions, rays.near, rays.far, baked.volume]
    find_near(*(t.numpy() for t in tensors), np.float32(distance), steps, out.view(torch.uint8).numpy())
    return out


def make_step(trainer: Trainer) -> None:
    """On a CPU, an iteration of plain PyTorch takes as long as the kernels in it."""


def _tasks() -> int:
    """Parallel tasks of a kernel."""
    count: int = numba.get_num_threads()
    return count
