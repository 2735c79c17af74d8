"""Numba kernels of the feature grids for the CPU. `grid` and `optimiser` hold the same formulas in plain PyTorch.

All arrays are float32, C-contiguous; `bricks` is int32. Each parallel task owns what it writes, so sums are taken in
the same order whatever the number of threads.
"""

from typing import Any, Callable

import numpy as np
from numba import njit, prange

CHANNELS = 4
ROWS_PER_BRICK = 64


def _compile(parallel: bool = False) -> Callable[[Callable], Any]:
    def wrap(function: Callable) -> Any:
        options = {"fastmath": True, "boundscheck": False, "parallel": parallel, "nogil": True}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to keep compiled code in, as in a container without a home
            return njit(**options)(function)

    return wrap


@_compile()
def _cell(coordinate, cells):
    """Index of the cell and position in it, of a coordinate in [-1, 1] on an axis of `cells` cells."""
    u = (coordinate + np.float32(1)) * np.float32(0.5) * np.float32(cells)
    u = min(max(u, np.float32(0)), np.float32(cells) - np.float32(1e-3))
    i = int(u)
    return i, u - np.float32(i)


@_compile()
def _lookup_range(points, table, bricks, first_brick, cells, levels, out, begin, end):
    for n in range(begin, end):
        for level in range(levels):
            per_axis = cells[level] // 4 + 1
            base = first_brick[level]
            ix, fx = _cell(points[n, 0], cells[level])
            iy, fy = _cell(points[n, 1], cells[level])
            iz, fz = _cell(points[n, 2], cells[level])
            a0 = np.float32(0)
            a1 = np.float32(0)
            a2 = np.float32(0)
            a3 = np.float32(0)
            for dx in range(2):
                x = ix + dx
                wx = fx if dx else np.float32(1) - fx
                for dy in range(2):
                    y = iy + dy
                    wxy = wx * (fy if dy else np.float32(1) - fy)
                    column = base + ((x >> 2) * per_axis + (y >> 2)) * per_axis
                    inner = ((x & 3) << 4) + ((y & 3) << 2)
                    for dz in range(2):
                        z = iz + dz
                        brick = bricks[column + (z >> 2)]
                        if brick >= 0:
                            row = (brick << 6) + inner + (z & 3)
                            w = wxy * (fz if dz else np.float32(1) - fz)
                            a0 += w * table[row, 0]
                            a1 += w * table[row, 1]
                            a2 += w * table[row, 2]
                            a3 += w * table[row, 3]
            out[n, level * 4] = a0
            out[n, level * 4 + 1] = a1
            out[n, level * 4 + 2] = a2
            out[n, level * 4 + 3] = a3


@_compile(parallel=True)
def lookup(points, table, bricks, first_brick, cells, levels, out, tasks):
    """out (N, 4 * levels) = trilinear features of points (N, 3)."""
    count = points.shape[0]
    for task in prange(tasks):
        _lookup_range(
            points, table, bricks, first_brick, cells, levels, out, count * task // tasks, count * (task + 1) // tasks
        )


@_compile()
def _scatter_part(points, grad_out, bricks, first_brick, cells, levels, grad, touched, task, tasks):
    """Adds the gradient of the bricks whose x index is `task` modulo `tasks`."""
    for level in range(levels):
        per_axis = cells[level] // 4 + 1
        base = first_brick[level]
        for n in range(points.shape[0]):
            ix, fx = _cell(points[n, 0], cells[level])
            mine0 = (ix >> 2) % tasks == task
            mine1 = ((ix + 1) >> 2) % tasks == task
            if not (mine0 or mine1):
                continue
            iy, fy = _cell(points[n, 1], cells[level])
            iz, fz = _cell(points[n, 2], cells[level])
            g0 = grad_out[n, level * 4]
            g1 = grad_out[n, level * 4 + 1]
            g2 = grad_out[n, level * 4 + 2]
            g3 = grad_out[n, level * 4 + 3]
            for dx in range(2):
                if not (mine1 if dx else mine0):
                    continue
                x = ix + dx
                wx = fx if dx else np.float32(1) - fx
                for dy in range(2):
                    y = iy + dy
                    wxy = wx * (fy if dy else np.float32(1) - fy)
                    column = base + ((x >> 2) * per_axis + (y >> 2)) * per_axis
                    inner = ((x & 3) << 4) + ((y & 3) << 2)
                    for dz in range(2):
                        z = iz + dz
                        brick = bricks[column + (z >> 2)]
                        if brick >= 0:
                            row = (brick << 6) + inner + (z & 3)
                            w = wxy * (fz if dz else np.float32(1) - fz)
                            touched[brick] = 1
                            grad[row, 0] += w * g0
                            grad[row, 1] += w * g1
                            grad[row, 2] += w * g2
                            grad[row, 3] += w * g3


@_compile(parallel=True)
def scatter(points, grad_out, bricks, first_brick, cells, levels, grad, touched, tasks):
    """The transpose of `lookup`: grad (rows, 4) += weights * grad_out (N, 4 * levels); marks bricks in touched."""
    for task in prange(tasks):
        _scatter_part(points, grad_out, bricks, first_brick, cells, levels, grad, touched, task, tasks)


@_compile()
def _adam_range(table, grad, mean, square, touched, rate, beta1, beta2, epsilon, correction, begin, end):
    one = np.float32(1)
    for brick in range(begin, end):
        if touched[brick] == 0:
            continue
        touched[brick] = 0
        for i in range(brick * 256, brick * 256 + 256):
            g = grad[i]
            if g != 0:
                m = beta1 * mean[i] + (one - beta1) * g
                v = beta2 * square[i] + (one - beta2) * g * g
                mean[i] = m
                square[i] = v
                table[i] -= rate * m / (np.sqrt(v) * correction + epsilon)
                grad[i] = 0


@_compile(parallel=True)
def adam(table, grad, mean, square, touched, rate, beta1, beta2, epsilon, correction, tasks):
    """Adam on the entries with a gradient, all flat (rows * 4); clears grad and touched. See optimiser.GridAdam."""
    count = touched.shape[0]
    for task in prange(tasks):
        _adam_range(
            table,
            grad,
            mean,
            square,
            touched,
            rate,
            beta1,
            beta2,
            epsilon,
            correction,
            count * task // tasks,
            count * (task + 1) // tasks,
        )
