"""Triton kernels for NVIDIA GPUs. `grid`, `model`, `render` and `trainer` hold the same formulas in plain PyTorch.

What the other modules call is at the end: `sdfgrid.kernels.Kernels` says what it does. `sdfgrid.gpu_step` makes a
whole iteration of the rest. All that differs from one iteration to the next is read from device memory, so that one
CUDA graph serves them all: its number (`iteration`, one int32), and its row of the table `schedule`.

Sums into the grids are taken in whole numbers, and sums over samples in a fixed order. So a run gives the same numbers
each time on the same kind of GPU, whatever the order in which its threads come.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import cdiv, next_power_of_2

if TYPE_CHECKING:
    from sdfgrid.gpu_step import GpuStep
    from sdfgrid.grid import FeatureGrid
    from sdfgrid.optimiser import GridAdam
    from sdfgrid.render import BakedField, Rays
    from sdfgrid.trainer import Trainer

__all__ = ["cdiv", "next_power_of_2"]
NAME = "Triton kernels"
# Gradients are counted in units of 2^-44, 6e-14: sums up to 5e5 fit into 64 bits.
UNITS: tl.constexpr = tl.constexpr(2.0**44)
POINTS = 128  # a program

# Columns of the table `schedule`: a row for each iteration.
SHARPNESS: tl.constexpr = tl.constexpr(0)
POINTS_WEIGHT: tl.constexpr = tl.constexpr(1)
CURVATURE_WEIGHT: tl.constexpr = tl.constexpr(2)
GRID: tl.constexpr = tl.constexpr(3)  # each of these: a rate, and the factor of Adam's square root
BACKGROUND: tl.constexpr = tl.constexpr(5)
GEOMETRY: tl.constexpr = tl.constexpr(7)
COLOURS: tl.constexpr = tl.constexpr(9)
COLUMNS: tl.constexpr = tl.constexpr(12)


# --- feature grids ----------------------------------------------------------------------------------------------------


@triton.jit
def _cell(coordinate, cells):
    """Which cell along an axis, and where in it; a coordinate that is not a number is taken for -1."""
    u = (coordinate + 1.0) * 0.5 * cells
    u = tl.minimum(tl.where(u > 0.0, u, 0.0), cells - 1e-3)
    index = u.to(tl.int32)
    return index, u - index.to(tl.float32)


@triton.jit
def _place(points, layout, level, n, there):
    """Cells and fractions of points in a level, its first brick and its bricks along an axis."""
    cells = tl.load(layout + 2 * level)
    size = cells.to(tl.float32)
    ix, fx = _cell(tl.load(points + 3 * n, mask=there, other=0.0), size)
    iy, fy = _cell(tl.load(points + 3 * n + 1, mask=there, other=0.0), size)
    iz, fz = _cell(tl.load(points + 3 * n + 2, mask=there, other=0.0), size)
    return ix, iy, iz, fx, fy, fz, tl.load(layout + 2 * level + 1), cells // 4 + 1


@triton.jit(do_not_specialize=["count"])
def look_up_points(points, table, bricks, layout, out, count, LEVELS: tl.constexpr, BLOCK: tl.constexpr):
    """out (count, 4 * LEVELS): trilinear features of points (count, 3). layout (levels, 2): cells, first brick."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    there = n < count
    ix, iy, iz, fx, fy, fz, first, per_axis = _place(points, layout, level, n, there)
    channel = tl.arange(0, 4)
    found = tl.zeros([BLOCK, 4], dtype=tl.float32)
    for corner in tl.static_range(8):
        x, y, z = ix + (corner >> 2), iy + ((corner >> 1) & 1), iz + (corner & 1)
        wx = fx if (corner >> 2) else 1.0 - fx
        wy = fy if ((corner >> 1) & 1) else 1.0 - fy
        wz = fz if (corner & 1) else 1.0 - fz
        brick = tl.load(bricks + first + ((x >> 2) * per_axis + (y >> 2)) * per_axis + (z >> 2), mask=there, other=-1)
        row = brick * 64 + ((x & 3) << 4) + ((y & 3) << 2) + (z & 3)
        at = table + row[:, None] * 4 + channel[None, :]
        found += (wx * wy * wz)[:, None] * tl.load(at, mask=(there & (brick >= 0))[:, None], other=0.0)
    tl.store(out + n[:, None] * (4 * LEVELS) + level * 4 + channel[None, :], found, mask=there[:, None])


@triton.jit(do_not_specialize=["count"])
def scatter_gradient(points, gradient, sums, bricks, layout, count, LEVELS: tl.constexpr, BLOCK: tl.constexpr):
    """The transpose: sums (rows, 4), int64 in UNITS, += weights * gradient (count, 4 * LEVELS)."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    there = n < count
    ix, iy, iz, fx, fy, fz, first, per_axis = _place(points, layout, level, n, there)
    channel = tl.arange(0, 4)
    at = gradient + n[:, None] * (4 * LEVELS) + level * 4 + channel[None, :]
    g = tl.load(at, mask=there[:, None], other=0.0) * UNITS
    some = tl.sum(tl.abs(g), axis=1) > 0.0
    for corner in tl.static_range(8):
        x, y, z = ix + (corner >> 2), iy + ((corner >> 1) & 1), iz + (corner & 1)
        wx = fx if (corner >> 2) else 1.0 - fx
        wy = fy if ((corner >> 1) & 1) else 1.0 - fy
        wz = fz if (corner & 1) else 1.0 - fz
        brick = tl.load(bricks + first + ((x >> 2) * per_axis + (y >> 2)) * per_axis + (z >> 2), mask=some, other=-1)
        row = brick * 64 + ((x & 3) << 4) + ((y & 3) << 2) + (z & 3)
        value = ((wx * wy * wz)[:, None] * g).to(tl.int64)
        mask = (some & (brick >= 0))[:, None] & (channel >= 0)[None, :]
        tl.atomic_add(sums + row[:, None] * 4 + channel[None, :], value, mask=mask, sem="relaxed")


@triton.jit
def _adam(parameter, mean, square, g, rate, correction, beta1, beta2, epsilon):
    mean = beta1 * mean + (1.0 - beta1) * g
    square = beta2 * square + (1.0 - beta2) * g * g
    return parameter - rate * mean / (tl.sqrt(square) * correction + epsilon), mean, square


@triton.jit(do_not_specialize=["rows"])
def step_grid(
    table, sums, means, squares, iteration, schedule, rows, beta1, beta2, epsilon,
    COLUMN: tl.constexpr, STRIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """GridAdam.step; clears the sums."""
    numbers = schedule + tl.load(iteration) * STRIDE + COLUMN
    rate, correction = tl.load(numbers), tl.load(numbers + 1)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = row[:, None] * 4 + tl.arange(0, 4)[None, :]
    there = (row < rows)[:, None] & (at >= 0)
    total = tl.load(sums + at, mask=there, other=0)
    used = there & (tl.max(tl.abs(total), axis=1) > 0)[:, None]
    g = total.to(tl.float32) / UNITS
    mean = tl.load(means + at, mask=used, other=0.0)
    square = tl.load(squares + at, mask=used, other=0.0)
    parameter = tl.load(table + at, mask=used, other=0.0)
    parameter, mean, square = _adam(parameter, mean, square, g, rate, correction, beta1, beta2, epsilon)
    tl.store(means + at, mean, mask=used)
    tl.store(squares + at, square, mask=used)
    tl.store(table + at, parameter, mask=used)
    tl.store(sums + at, total * 0, mask=used)


@triton.jit(do_not_specialize=["count", "geometry", "programs"])
def step_networks(
    parameters, parts, means, squares, iteration, schedule, count, geometry, programs, beta1, beta2, epsilon,
    STRIDE: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adam on the networks. Their gradients are the sums of parts (programs, count), in the order of the rows."""
    numbers = schedule + tl.load(iteration) * STRIDE
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    row = tl.arange(0, PARTS)
    total = tl.zeros([PARTS, BLOCK], dtype=tl.float32)
    begin = programs * 0
    while begin < programs:
        mask = (begin + row < programs)[:, None] & there[None, :]
        total += tl.load(parts + (begin + row)[:, None] * count + at[None, :], mask=mask, other=0.0)
        begin += PARTS
    g = tl.sum(total, axis=0)
    rate = tl.where(at < geometry, tl.load(numbers + GEOMETRY), tl.load(numbers + COLOURS))
    correction = tl.where(at < geometry, tl.load(numbers + GEOMETRY + 1), tl.load(numbers + COLOURS + 1))
    mean = tl.load(means + at, mask=there, other=0.0)
    square = tl.load(squares + at, mask=there, other=0.0)
    parameter = tl.load(parameters + at, mask=there, other=0.0)
    parameter, mean, square = _adam(parameter, mean, square, g, rate, correction, beta1, beta2, epsilon)
    tl.store(means + at, mean, mask=there)
    tl.store(squares + at, square, mask=there)
    tl.store(parameters + at, parameter, mask=there)


# --- rays, and the samples along them ---------------------------------------------------------------------------------


@triton.jit
def _key(seed, iteration, STREAM: tl.constexpr):
    """The key of a stream of random numbers of one iteration, for Philox (Salmon et al. 2011)."""
    return (seed.to(tl.int64) << 32) + iteration * 8 + STREAM


@triton.jit
def _random_integer(key, n, below):
    return (tl.randint(key, n) & 0x7FFFFFFF).to(tl.int32) % below


@triton.jit
def _load_vector(vectors, n, there):
    return (
        tl.load(vectors + 3 * n, mask=there, other=0.0),
        tl.load(vectors + 3 * n + 1, mask=there, other=0.0),
        tl.load(vectors + 3 * n + 2, mask=there, other=0.0),
    )


@triton.jit
def _store_vector(vectors, n, x, y, z, there):
    tl.store(vectors + 3 * n, x, mask=there)
    tl.store(vectors + 3 * n + 1, y, mask=there)
    tl.store(vectors + 3 * n + 2, z, mask=there)


@triton.jit
def _find_rays(flat, poses, width, pixels, focal_x, focal_y, principal_x, principal_y, there):
    """Origins and unit directions of rays through pixels, the depth nearest to the region's centre, and half of the
    length within the region."""
    frame = flat // pixels
    pixel = flat - frame * pixels
    x = ((pixel % width).to(tl.float32) + 0.5 - principal_x) / focal_x
    y = ((pixel // width).to(tl.float32) + 0.5 - principal_y) / focal_y
    pose = poses + frame * 12
    dx = tl.load(pose, mask=there, other=0.0) * x + tl.load(pose + 1, mask=there, other=0.0) * y
    dy = tl.load(pose + 4, mask=there, other=0.0) * x + tl.load(pose + 5, mask=there, other=0.0) * y
    dz = tl.load(pose + 8, mask=there, other=0.0) * x + tl.load(pose + 9, mask=there, other=0.0) * y
    dx += tl.load(pose + 2, mask=there, other=0.0)
    dy += tl.load(pose + 6, mask=there, other=0.0)
    dz += tl.load(pose + 10, mask=there, other=1.0)
    scale = 1.0 / tl.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * scale, dy * scale, dz * scale
    ox = tl.load(pose + 3, mask=there, other=0.0)
    oy = tl.load(pose + 7, mask=there, other=0.0)
    oz = tl.load(pose + 11, mask=there, other=0.0)
    closest = -(ox * dx + oy * dy + oz * dz)
    half = tl.sqrt(tl.maximum(closest * closest - (ox * ox + oy * oy + oz * oz - 1.0), 1e-6))
    return ox, oy, oz, dx, dy, dz, closest, half


@triton.jit
def _find_baked(baked, side, x, y, z, there):
    """BakedField: the distances at points."""
    size = (side - 1).to(tl.float32)
    ix, fx = _cell(x, size)
    iy, fy = _cell(y, size)
    iz, fz = _cell(z, size)
    distance = x * 0.0
    for corner in tl.static_range(8):
        wx = fx if (corner >> 2) else 1.0 - fx
        wy = fy if ((corner >> 1) & 1) else 1.0 - fy
        wz = fz if (corner & 1) else 1.0 - fz
        at = ((ix + (corner >> 2)) * side + iy + ((corner >> 1) & 1)) * side + iz + (corner & 1)
        distance += wx * wy * wz * tl.load(baked + at, mask=there, other=0.0)
    return distance


@triton.jit
def _find_least(baked, side, ox, oy, oz, dx, dy, dz, near, length, there, STEPS: tl.constexpr):
    """As render.come_near: the least baked distance in the middles of so many equal parts of rays."""
    least = near * 0.0 + 10.0
    for k in range(STEPS):
        t = near + length * ((k + 0.5) / STEPS)
        least = tl.minimum(least, _find_baked(baked, side, ox + t * dx, oy + t * dy, oz + t * dz, there))
    return least


@triton.jit(do_not_specialize=["seed", "outside_count", "inside_count", "empty_count", "outside", "hits", "rays",
                               "width", "pixels", "side"])  # fmt: skip
def choose_rays(
    iteration, seed, outside_pixels, outside_count, inside_pixels, inside_count, empty_pixels, empty_count,
    images, poses, masked, origins, directions, nears, fars, closests, targets, bare,
    outside, hits, rays, width, pixels, focal_x, focal_y, principal_x, principal_y, nearest,
    baked, side, redraw_distance, REDRAW: tl.constexpr, STEPS: tl.constexpr,
    MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Random pixels, their rays and colours: `outside` rays that miss the region, then `hits` that cross it, then up to
    `rays` in all of those that cross it and by the masks show that nothing is there. Those of `hits` that stay farther
    than redraw_distance from the surface are drawn once more."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = n < rays
    key = _key(seed, tl.load(iteration), 0)
    misses = n < outside
    crosses = there & (n >= outside) & (n < outside + hits)
    passes = there & (n >= outside + hits)
    flat = tl.load(outside_pixels + _random_integer(key, n, outside_count), mask=misses, other=0)
    flat += tl.load(inside_pixels + _random_integer(key, n, inside_count), mask=crosses, other=0)
    flat += tl.load(empty_pixels + _random_integer(key, n, empty_count), mask=passes, other=0)
    if REDRAW:
        ox, oy, oz, dx, dy, dz, closest, half = _find_rays(
            flat, poses, width, pixels, focal_x, focal_y, principal_x, principal_y, there
        )
        near = tl.maximum(closest - half, nearest)
        least = _find_least(baked, side, ox, oy, oz, dx, dy, dz, near, closest + half - near, crosses, STEPS)
        again = crosses & (least > redraw_distance)
        other = tl.load(inside_pixels + _random_integer(key, n + rays, inside_count), mask=again, other=0)
        flat = tl.where(again, other, flat)
    ox, oy, oz, dx, dy, dz, closest, half = _find_rays(
        flat, poses, width, pixels, focal_x, focal_y, principal_x, principal_y, there
    )
    frame = flat // pixels
    _store_vector(origins, n, ox, oy, oz, there)
    _store_vector(directions, n, dx, dy, dz, there)
    tl.store(nears + n, tl.maximum(closest - half, nearest), mask=there)
    tl.store(fars + n, closest + half, mask=there)
    tl.store(closests + n, closest, mask=there)
    for channel in tl.static_range(3):
        value = tl.load(images + flat.to(tl.int64) * 3 + channel, mask=there, other=0)
        tl.store(targets + 3 * n + channel, value.to(tl.float32) / 255.0, mask=there)
    if MASKED:
        is_masked = tl.load(masked + frame, mask=there & (n < outside + hits), other=0).to(tl.int32)
        tl.store(bare + n, is_masked, mask=there)


@triton.jit
def _march_share(k, offset, STEPS: tl.constexpr):
    """Where along the ray the k-th of STEPS + 2 depths is: 0, one in each equal part, 1."""
    share = ((k - 1).to(tl.float32) + offset) / STEPS
    return tl.where(k == 0, 0.0, tl.where(k == STEPS + 1, 1.0, share))


@triton.jit(do_not_specialize=["seed", "side", "first", "count"])
def march(
    iteration, seed, schedule, baked, side, origins, directions, nears, fars, inside, first, count,
    STEPS: tl.constexpr, STRIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """inside (count, STEPS + 2): how much each depth of the rays from `first` on is inside, by the baked field."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ray, k = e // (STEPS + 2), e % (STEPS + 2)
    there = ray < count
    n = first + ray
    now = tl.load(iteration)
    near = tl.load(nears + n, mask=there, other=0.0)
    length = tl.load(fars + n, mask=there, other=1.0) - near
    t = near + length * _march_share(k, tl.rand(_key(seed, now, 1), n), STEPS)
    ox, oy, oz = _load_vector(origins, n, there)
    dx, dy, dz = _load_vector(directions, n, there)
    distance = _find_baked(baked, side, ox + t * dx, oy + t * dy, oz + t * dz, there)
    sharpness = tl.minimum(tl.load(schedule + now * STRIDE + SHARPNESS), 4.0 * STEPS / length)
    tl.store(inside + e, tl.sigmoid(distance * sharpness), mask=there)


@triton.jit
def _alpha(before, after):
    """NeuS, equation 13."""
    return tl.minimum(tl.maximum((before - after) / (before + 1e-5), 0.0), 1.0 - 1e-4)


@triton.jit(do_not_specialize=["seed", "first", "count"])
def choose_samples(
    iteration, seed, origins, directions, nears, fars, inside, points, depths, first, count,
    STEPS: tl.constexpr, STEPS_BLOCK: tl.constexpr, FINE: tl.constexpr, FINE_BLOCK: tl.constexpr,
    UNIFORM: tl.constexpr, UNIFORM_BLOCK: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """render.choose_depths: sorted depths (count, FINE + UNIFORM) of the rays from `first` on, and their points."""
    ray = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    there = ray < count
    n = first + ray
    now = tl.load(iteration)
    near = tl.load(nears + n, mask=there, other=0.0)[:, None]
    length = tl.load(fars + n, mask=there, other=1.0)[:, None] - near
    k = tl.arange(0, STEPS_BLOCK)[None, :]
    offset = tl.rand(_key(seed, now, 1), n)[:, None]
    at = inside + ray[:, None] * (STEPS + 2) + k
    some = there[:, None]
    a = tl.load(at - 2, mask=some & (k >= 2) & (k < STEPS + 3), other=0.0)
    b = tl.load(at - 1, mask=some & (k >= 1) & (k < STEPS + 3), other=0.0)
    c = tl.load(at, mask=some & (k < STEPS + 2), other=0.0)
    d = tl.load(at + 1, mask=some & (k < STEPS + 1), other=0.0)
    left = tl.where(k >= 2, _alpha(a, b), 0.0)  # of the intervals that end one before, at, and one after k
    middle = tl.where((k >= 1) & (k < STEPS + 2), _alpha(b, c), 0.0)
    right = tl.where(k < STEPS + 1, _alpha(c, d), 0.0)
    loss = tl.log(1.0 - middle)
    light = tl.exp(tl.cumsum(loss, axis=1) - loss)
    near_weight = tl.maximum(left * light / (1.0 - left), right * light * (1.0 - middle))
    near_weight = tl.where(k <= 1, right * light * (1.0 - middle), near_weight)
    weight = tl.maximum(middle * light, 0.5 * near_weight) + 1e-3
    weight = tl.where((k >= 1) & (k < STEPS + 2), weight, 0.0)
    cumulative = tl.cumsum(weight, axis=1) / tl.sum(weight, axis=1)[:, None]

    j = tl.arange(0, FINE_BLOCK)[None, :]
    wanted = (j.to(tl.float32) + tl.rand(_key(seed, now, 2), n[:, None] * FINE_BLOCK + j)) / FINE
    below = (cumulative[:, None, :] <= wanted[:, :, None]) & (k < STEPS + 1)[:, None, :]
    above = (below == 0) & (k < STEPS + 2)[:, None, :]
    low = tl.max(tl.where(below, cumulative[:, None, :], 0.0), axis=2)
    high = tl.min(tl.where(above, cumulative[:, None, :], 2.0), axis=2)
    right = tl.sum(below.to(tl.int32), axis=2)
    start = near + length * _march_share(right - 1, offset, STEPS)
    end = near + length * _march_share(right, offset, STEPS)
    share = tl.minimum(tl.maximum((wanted - low) / tl.maximum(high - low, 1e-6), 0.0), 1.0)
    t = tl.where(j < FINE, start + (end - start) * share, 1e30)
    i = tl.arange(0, UNIFORM_BLOCK)[None, :]
    u = (i.to(tl.float32) + tl.rand(_key(seed, now, 3), n[:, None] * UNIFORM_BLOCK + i)) / UNIFORM
    u = tl.where(i < UNIFORM, near + length * u, 1e30)
    rank_t = j + tl.sum((u[:, None, :] < t[:, :, None]).to(tl.int32), axis=2)  # both are sorted: this merges them
    rank_u = i + tl.sum((t[:, None, :] <= u[:, :, None]).to(tl.int32), axis=2)
    ox, oy, oz = _load_vector(origins, n, there)
    dx, dy, dz = _load_vector(directions, n, there)
    ox, oy, oz, dx, dy, dz = ox[:, None], oy[:, None], oz[:, None], dx[:, None], dy[:, None], dz[:, None]
    at_t = ray[:, None] * (FINE + UNIFORM) + rank_t
    at_u = ray[:, None] * (FINE + UNIFORM) + rank_u
    tl.store(depths + at_t, t, mask=some & (j < FINE))
    tl.store(depths + at_u, u, mask=some & (i < UNIFORM))
    _store_vector(points, at_t, ox + t * dx, oy + t * dy, oz + t * dz, some & (j < FINE))
    _store_vector(points, at_u, ox + u * dx, oy + u * dy, oz + u * dz, some & (i < UNIFORM))


@triton.jit(do_not_specialize=["seed", "samples", "probes", "near", "known_count", "targets"])
def choose_probes(
    iteration, seed, points, known, samples, probes, near, known_count, targets, step, BLOCK: tl.constexpr
):
    """Points after the samples: `probes` centres, of which `near` are samples and the others lie anywhere, the four
    corners of a tetrahedron round each, and `targets` of the `known` triangulated points."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    key = _key(seed, tl.load(iteration), 4)
    there = e < probes
    x, y, z = _load_vector(points, _random_integer(key, e, samples), there & (e < near))
    anywhere = there & (e >= near)
    x = tl.where(anywhere, tl.rand(key, probes + 3 * e) * 2.0 - 1.0, x)
    y = tl.where(anywhere, tl.rand(key, probes + 3 * e + 1) * 2.0 - 1.0, y)
    z = tl.where(anywhere, tl.rand(key, probes + 3 * e + 2) * 2.0 - 1.0, z)
    at = samples + e
    _store_vector(points, at, x, y, z, there)
    _store_vector(points, at + probes, x + step, y + step, z + step, there)
    _store_vector(points, at + 2 * probes, x + step, y - step, z - step, there)
    _store_vector(points, at + 3 * probes, x - step, y + step, z - step, there)
    _store_vector(points, at + 4 * probes, x - step, y - step, z + step, there)
    aims = e < targets
    x, y, z = _load_vector(known, _random_integer(key, 4 * probes + e, known_count), aims)
    _store_vector(points, samples + 5 * probes + e, x, y, z, aims)


# --- distances --------------------------------------------------------------------------------------------------------


@triton.jit
def _load_features(features, n, there, CHANNELS: tl.constexpr, CHANNELS_BLOCK: tl.constexpr):
    c = tl.arange(0, CHANNELS_BLOCK)[None, :]
    return tl.load(features + n[:, None] * CHANNELS + c, mask=there[:, None] & (c < CHANNELS), other=0.0)


@triton.jit
def _load_weight(weight, STRIDE: tl.constexpr, FIRST: tl.constexpr, IN: tl.constexpr, IN_BLOCK: tl.constexpr,
                 OUT: tl.constexpr, OUT_BLOCK: tl.constexpr):  # fmt: skip
    """Columns FIRST to FIRST + IN of a Linear's weight (OUT, STRIDE), transposed: (IN_BLOCK, OUT_BLOCK)."""
    i, o = tl.arange(0, IN_BLOCK)[:, None], tl.arange(0, OUT_BLOCK)[None, :]
    return tl.load(weight + o * STRIDE + FIRST + i, mask=(i < IN) & (o < OUT), other=0.0)


@triton.jit
def _store_weight(weight, value, STRIDE: tl.constexpr, FIRST: tl.constexpr, IN: tl.constexpr, IN_BLOCK: tl.constexpr,
                  OUT: tl.constexpr, OUT_BLOCK: tl.constexpr):  # fmt: skip
    i, o = tl.arange(0, IN_BLOCK)[:, None], tl.arange(0, OUT_BLOCK)[None, :]
    tl.store(weight + o * STRIDE + FIRST + i, value, mask=(i < IN) & (o < OUT))


@triton.jit
def _load_bias(bias, OUT: tl.constexpr, OUT_BLOCK: tl.constexpr):
    o = tl.arange(0, OUT_BLOCK)
    return tl.load(bias + o, mask=o < OUT, other=0.0)


@triton.jit
def _store_bias(bias, value, OUT: tl.constexpr, OUT_BLOCK: tl.constexpr):
    o = tl.arange(0, OUT_BLOCK)
    tl.store(bias + o, value, mask=o < OUT)


@triton.jit
def _softplus(x):
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit(do_not_specialize=["count"])
def find_distances(
    features, weight, bias, out_weight, out_bias, distances, count, scale, share, beta,
    CHANNELS: tl.constexpr, CHANNELS_BLOCK: tl.constexpr, STRIDE: tl.constexpr, WIDTH: tl.constexpr,
    WIDTH_BLOCK: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """SurfaceModel.distance: distances (count,) of features (count, CHANNELS)."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = n < count
    f = _load_features(features, n, there, CHANNELS, CHANNELS_BLOCK)
    w = _load_weight(weight, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK) * scale
    z = tl.dot(f, w, input_precision=PRECISION) + _load_bias(bias, WIDTH, WIDTH_BLOCK)[None, :]
    hidden = _softplus(beta * z) / beta
    out = tl.sum(hidden * _load_bias(out_weight, WIDTH, WIDTH_BLOCK)[None, :], axis=1) + tl.load(out_bias)
    is_direct = tl.arange(0, CHANNELS_BLOCK)[None, :] % 4 == 0
    tl.store(distances + n, tl.sum(tl.where(is_direct, f, 0.0), axis=1) + share * out, mask=there)


@triton.jit(do_not_specialize=["count", "hit_samples", "programs"])
def find_distances_backward(
    features, weight, bias, out_weight, from_start, from_end, places, colour_gradient, feature_gradient,
    weight_part, bias_part, out_weight_part, out_bias_part, part_stride, count, hit_samples, programs, scale, share,
    beta,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, CHANNELS_BLOCK: tl.constexpr, STRIDE: tl.constexpr,
    WIDTH: tl.constexpr, WIDTH_BLOCK: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of features and weights, from those of the distances, from_start + from_end (count,), and of the
    features that the colours of the first hit_samples samples were computed from."""
    program = tl.program_id(0)
    w = _load_weight(weight, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK) * scale
    b = _load_bias(bias, WIDTH, WIDTH_BLOCK)[None, :]
    out = _load_bias(out_weight, WIDTH, WIDTH_BLOCK)[None, :]
    c = tl.arange(0, CHANNELS_BLOCK)[None, :]
    weight_sum = tl.zeros([CHANNELS_BLOCK, WIDTH_BLOCK], dtype=tl.float32)
    bias_sum = tl.zeros([WIDTH_BLOCK], dtype=tl.float32)
    out_sum = tl.zeros([WIDTH_BLOCK], dtype=tl.float32)
    last_sum = tl.zeros([BLOCK], dtype=tl.float32)
    begin = program * BLOCK
    while begin < count:
        n = begin + tl.arange(0, BLOCK)
        there = n < count
        f = _load_features(features, n, there, CHANNELS, CHANNELS_BLOCK)
        z = beta * (tl.dot(f, w, input_precision=PRECISION) + b)
        g = tl.load(from_start + n, mask=there, other=0.0) + tl.load(from_end + n, mask=there, other=0.0)
        dz = share * g[:, None] * out * tl.sigmoid(z)
        out_sum += tl.sum(share * g[:, None] * (_softplus(z) / beta), axis=0)
        bias_sum += tl.sum(dz, axis=0)
        last_sum += share * g
        weight_sum += tl.dot(tl.trans(f), dz, input_precision=PRECISION)
        df = tl.dot(dz, tl.trans(w), input_precision=PRECISION) + tl.where(c % 4 == 0, g[:, None], 0.0)
        ray, k = n // SAMPLES, n % SAMPLES
        shown = n < hit_samples
        after = tl.load(places + ray * (SAMPLES - 1) + k, mask=shown & (k < SAMPLES - 1), other=-1)
        before = tl.load(places + ray * (SAMPLES - 1) + k - 1, mask=shown & (k > 0), other=-1)
        df += 0.5 * _load_features(colour_gradient, after, after >= 0, CHANNELS, CHANNELS_BLOCK)
        df += 0.5 * _load_features(colour_gradient, before, before >= 0, CHANNELS, CHANNELS_BLOCK)
        tl.store(feature_gradient + n[:, None] * CHANNELS + c, df, mask=there[:, None] & (c < CHANNELS))
        begin += programs * BLOCK
    at = program * part_stride
    _store_weight(weight_part + at, weight_sum * scale, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK)
    _store_bias(bias_part + at, bias_sum, WIDTH, WIDTH_BLOCK)
    _store_bias(out_weight_part + at, out_sum, WIDTH, WIDTH_BLOCK)
    tl.store(out_bias_part + at, tl.sum(last_sum, axis=0))


@triton.jit(do_not_specialize=["probes", "targets"])
def find_smoothness(
    iteration, schedule, distances, from_start, eikonals, curvatures, misses, probes, targets, step, eikonal_weight,
    reach, STRIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The terms of Trainer._smoothness and of the triangulated points, one by one, and their gradients.

    distances and from_start begin at the probes.
    """
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    numbers = schedule + tl.load(iteration) * STRIDE
    there = e < probes
    centre = tl.load(distances + e, mask=there, other=0.0)
    a = tl.load(distances + probes + e, mask=there, other=0.0)
    b = tl.load(distances + 2 * probes + e, mask=there, other=0.0)
    c = tl.load(distances + 3 * probes + e, mask=there, other=0.0)
    d = tl.load(distances + 4 * probes + e, mask=there, other=0.0)
    gx, gy, gz = (a + b - c - d) / (4.0 * step), (a - b + c - d) / (4.0 * step), (a - b - c + d) / (4.0 * step)
    norm = tl.sqrt(gx * gx + gy * gy + gz * gz)
    laplacian = (a + b + c + d - 4.0 * centre) / (2.0 * step * step)
    tl.store(eikonals + e, (norm - 1.0) * (norm - 1.0), mask=there)
    tl.store(curvatures + e, tl.abs(laplacian), mask=there)
    pull = eikonal_weight / probes * 2.0 * (norm - 1.0) / tl.maximum(norm, 1e-12) / (4.0 * step)
    gx, gy, gz = gx * pull, gy * pull, gz * pull
    sign = tl.where(laplacian > 0.0, 1.0, 0.0) - tl.where(laplacian < 0.0, 1.0, 0.0)
    bend = tl.load(numbers + CURVATURE_WEIGHT) / probes * sign / (2.0 * step * step)
    tl.store(from_start + e, -4.0 * bend, mask=there)
    tl.store(from_start + probes + e, bend + gx + gy + gz, mask=there)
    tl.store(from_start + 2 * probes + e, bend + gx - gy - gz, mask=there)
    tl.store(from_start + 3 * probes + e, bend - gx + gy - gz, mask=there)
    tl.store(from_start + 4 * probes + e, bend - gx - gy + gz, mask=there)
    aims = e < targets
    miss = tl.load(distances + 5 * probes + e, mask=aims, other=0.0)
    sign = tl.where(miss > 0.0, 1.0, 0.0) - tl.where(miss < 0.0, 1.0, 0.0)
    tl.store(misses + e, tl.minimum(tl.abs(miss), reach), mask=aims)
    pull = tl.load(numbers + POINTS_WEIGHT) / targets * tl.where(tl.abs(miss) <= reach, sign, 0.0)
    tl.store(from_start + 5 * probes + e, pull, mask=aims)


# --- colours ----------------------------------------------------------------------------------------------------------


@triton.jit
def _load_insides(distances, ray, j, some, sharpness, SAMPLES: tl.constexpr):
    at = distances + ray[:, None] * SAMPLES + j
    before = tl.sigmoid(tl.load(at, mask=some, other=0.0) * sharpness)
    after = tl.sigmoid(tl.load(at + 1, mask=some, other=0.0) * sharpness)
    return before, after, tl.where(some, _alpha(before, after), 0.0)


@triton.jit(do_not_specialize=["hits"])
def weigh(
    iteration, schedule, distances, weights, lights, counts, hits, min_weight,
    SAMPLES: tl.constexpr, SAMPLES_BLOCK: tl.constexpr, STRIDE: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """Of each interval its weight (hits, SAMPLES - 1); of each ray the light left, and how many weights count."""
    ray = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    there = ray < hits
    j = tl.arange(0, SAMPLES_BLOCK)[None, :]
    some = there[:, None] & (j < SAMPLES - 1)
    sharpness = tl.load(schedule + tl.load(iteration) * STRIDE + SHARPNESS)
    _, _, alpha = _load_insides(distances, ray, j, some, sharpness, SAMPLES)
    loss = tl.log(1.0 - alpha)
    weight = alpha * tl.exp(tl.cumsum(loss, axis=1) - loss)
    tl.store(weights + ray[:, None] * (SAMPLES - 1) + j, weight, mask=some)
    tl.store(lights + ray, tl.exp(tl.sum(loss, axis=1)), mask=there)
    tl.store(counts + ray, tl.sum((some & (weight > min_weight)).to(tl.int32), axis=1), mask=there)


@triton.jit(do_not_specialize=["hits"])
def list_intervals(
    weights, counts, ends, places, listed, hits, min_weight,
    SAMPLES: tl.constexpr, SAMPLES_BLOCK: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """The intervals whose colour counts, one after another: listed; and of each interval its place there, or -1."""
    ray = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    there = ray < hits
    j = tl.arange(0, SAMPLES_BLOCK)[None, :]
    some = there[:, None] & (j < SAMPLES - 1)
    at = ray[:, None] * (SAMPLES - 1) + j
    counts_in = some & (tl.load(weights + at, mask=some, other=0.0) > min_weight)
    begin = tl.load(ends + ray, mask=there, other=0) - tl.load(counts + ray, mask=there, other=0)
    place = begin[:, None] + tl.cumsum(counts_in.to(tl.int32), axis=1) - 1
    tl.store(places + at, tl.where(counts_in, place, -1), mask=some)
    tl.store(listed + place, at, mask=counts_in)


@triton.jit
def _direction_terms(directions, n, there, BLOCK: tl.constexpr):
    """model.direction_terms of the directions of rays n, (BLOCK, 16), of which the last 8 are 0."""
    x, y, z = _load_vector(directions, n, there)
    x, y, z = x[:, None], y[:, None], z[:, None]
    c = tl.arange(0, 16)[None, :]
    terms = tl.where(c == 0, x, 0.0) + tl.where(c == 1, y, 0.0) + tl.where(c == 2, z, 0.0)
    terms += tl.where(c == 3, x * y, 0.0) + tl.where(c == 4, y * z, 0.0) + tl.where(c == 5, x * z, 0.0)
    return terms + tl.where(c == 6, x * x - y * y, 0.0) + tl.where(c == 7, 3.0 * z * z - 1.0, 0.0)


@triton.jit
def _colour_inputs(
    listed, features, directions, place, there, first_hit,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, CHANNELS_BLOCK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    interval = tl.load(listed + place, mask=there, other=0)
    ray = interval // (SAMPLES - 1)
    sample = interval + ray
    f = _load_features(features, sample, there, CHANNELS, CHANNELS_BLOCK)
    f += _load_features(features, sample + 1, there, CHANNELS, CHANNELS_BLOCK)
    return 0.5 * f, _direction_terms(directions, first_hit + ray, there, BLOCK)


@triton.jit(do_not_specialize=["hits", "first_hit"])
def find_colours(
    listed, ends, features, directions, weight, bias, middle_weight, middle_bias, out_weight, out_bias, colours,
    hits, first_hit, scale,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, CHANNELS_BLOCK: tl.constexpr, STRIDE: tl.constexpr,
    WIDTH: tl.constexpr, WIDTH_BLOCK: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """SurfaceModel.colour of the listed intervals: colours (place, 3)."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    count = tl.load(ends + hits - 1)
    if tl.program_id(0) * BLOCK < count:
        there = place < count
        f, terms = _colour_inputs(
            listed, features, directions, place, there, first_hit, SAMPLES, CHANNELS, CHANNELS_BLOCK, BLOCK
        )
        w = _load_weight(weight, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK) * scale
        h = tl.dot(f, w, input_precision=PRECISION)
        w = _load_weight(weight, STRIDE, STRIDE - 8, 8, 16, WIDTH, WIDTH_BLOCK)
        h += tl.dot(terms, w, input_precision=PRECISION) + _load_bias(bias, WIDTH, WIDTH_BLOCK)[None, :]
        w = _load_weight(middle_weight, WIDTH, 0, WIDTH, WIDTH_BLOCK, WIDTH, WIDTH_BLOCK)
        h = tl.dot(tl.maximum(h, 0.0), w, input_precision=PRECISION)
        h += _load_bias(middle_bias, WIDTH, WIDTH_BLOCK)[None, :]
        w = _load_weight(out_weight, WIDTH, 0, WIDTH, WIDTH_BLOCK, 3, 16)
        out = tl.dot(tl.maximum(h, 0.0), w, input_precision=PRECISION) + _load_bias(out_bias, 3, 16)[None, :]
        c = tl.arange(0, 16)[None, :]
        tl.store(colours + place[:, None] * 3 + c, tl.sigmoid(out), mask=there[:, None] & (c < 3))


@triton.jit(do_not_specialize=["hits", "first_hit", "programs"])
def find_colours_backward(
    listed, ends, features, directions, weight, bias, middle_weight, middle_bias, out_weight, out_bias,
    colour_gradient, feature_gradient, weight_part, bias_part, middle_weight_part, middle_bias_part, out_weight_part,
    out_bias_part, part_stride, hits, first_hit, programs, scale,
    SAMPLES: tl.constexpr, CHANNELS: tl.constexpr, CHANNELS_BLOCK: tl.constexpr, STRIDE: tl.constexpr,
    WIDTH: tl.constexpr, WIDTH_BLOCK: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the weights, and of the mean features (place, CHANNELS), from that of the colours (place, 3)."""
    program = tl.program_id(0)
    count = tl.load(ends + hits - 1)
    w1 = _load_weight(weight, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK) * scale
    w1_terms = _load_weight(weight, STRIDE, STRIDE - 8, 8, 16, WIDTH, WIDTH_BLOCK)
    w2 = _load_weight(middle_weight, WIDTH, 0, WIDTH, WIDTH_BLOCK, WIDTH, WIDTH_BLOCK)
    w3 = _load_weight(out_weight, WIDTH, 0, WIDTH, WIDTH_BLOCK, 3, 16)
    b1 = _load_bias(bias, WIDTH, WIDTH_BLOCK)[None, :]
    b2 = _load_bias(middle_bias, WIDTH, WIDTH_BLOCK)[None, :]
    b3 = _load_bias(out_bias, 3, 16)[None, :]
    c = tl.arange(0, 16)[None, :]
    channel = tl.arange(0, CHANNELS_BLOCK)[None, :]
    s1 = tl.zeros([CHANNELS_BLOCK, WIDTH_BLOCK], dtype=tl.float32)
    s1_terms = tl.zeros([16, WIDTH_BLOCK], dtype=tl.float32)
    s2 = tl.zeros([WIDTH_BLOCK, WIDTH_BLOCK], dtype=tl.float32)
    s3 = tl.zeros([WIDTH_BLOCK, 16], dtype=tl.float32)
    sb1 = tl.zeros([WIDTH_BLOCK], dtype=tl.float32)
    sb2 = tl.zeros([WIDTH_BLOCK], dtype=tl.float32)
    sb3 = tl.zeros([16], dtype=tl.float32)
    begin = program * BLOCK
    while begin < count:
        place = begin + tl.arange(0, BLOCK)
        there = place < count
        f, terms = _colour_inputs(
            listed, features, directions, place, there, first_hit, SAMPLES, CHANNELS, CHANNELS_BLOCK, BLOCK
        )
        h1 = tl.dot(f, w1, input_precision=PRECISION) + tl.dot(terms, w1_terms, input_precision=PRECISION) + b1
        h1 = tl.maximum(h1, 0.0)
        h2 = tl.maximum(tl.dot(h1, w2, input_precision=PRECISION) + b2, 0.0)
        out = tl.sigmoid(tl.dot(h2, w3, input_precision=PRECISION) + b3)
        g = tl.load(colour_gradient + place[:, None] * 3 + c, mask=there[:, None] & (c < 3), other=0.0)
        g = g * out * (1.0 - out)
        sb3 += tl.sum(g, axis=0)
        s3 += tl.dot(tl.trans(h2), g, input_precision=PRECISION)
        g2 = tl.where(h2 > 0.0, tl.dot(g, tl.trans(w3), input_precision=PRECISION), 0.0)
        sb2 += tl.sum(g2, axis=0)
        s2 += tl.dot(tl.trans(h1), g2, input_precision=PRECISION)
        g1 = tl.where(h1 > 0.0, tl.dot(g2, tl.trans(w2), input_precision=PRECISION), 0.0)
        sb1 += tl.sum(g1, axis=0)
        s1 += tl.dot(tl.trans(f), g1, input_precision=PRECISION)
        s1_terms += tl.dot(tl.trans(terms), g1, input_precision=PRECISION)
        df = tl.dot(g1, tl.trans(w1), input_precision=PRECISION)
        mask = there[:, None] & (channel < CHANNELS)
        tl.store(feature_gradient + place[:, None] * CHANNELS + channel, df, mask=mask)
        begin += programs * BLOCK
    at = program * part_stride
    _store_weight(weight_part + at, s1 * scale, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK)
    _store_weight(weight_part + at, s1_terms, STRIDE, STRIDE - 8, 8, 16, WIDTH, WIDTH_BLOCK)
    _store_bias(bias_part + at, sb1, WIDTH, WIDTH_BLOCK)
    _store_weight(middle_weight_part + at, s2, WIDTH, 0, WIDTH, WIDTH_BLOCK, WIDTH, WIDTH_BLOCK)
    _store_bias(middle_bias_part + at, sb2, WIDTH, WIDTH_BLOCK)
    _store_weight(out_weight_part + at, s3, WIDTH, 0, WIDTH, WIDTH_BLOCK, 3, 16)
    _store_bias(out_bias_part + at, sb3, 3, 16)


# --- the background ---------------------------------------------------------------------------------------------------


@triton.jit
def _behind_depth(start, share, end):
    """Uniform in disparity."""
    return 1.0 / ((1.0 - share) / start + share / end)


@triton.jit(do_not_specialize=["seed", "outside", "rays"])
def place_background(
    iteration, seed, origins, directions, nears, fars, closests, points, gaps, outside, rays,
    front_begin, front_gap, front_end, behind_gap, behind_end,
    FRONT: tl.constexpr, BEHIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Samples of render.render_background for rays of which the first `outside` miss the region: contracted points
    (rays, FRONT + BEHIND, 3) and the lengths that they stand for."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ray, j = e // (FRONT + BEHIND), e % (FRONT + BEHIND)
    there = ray < rays
    crosses = ray >= outside
    closest = tl.load(closests + ray, mask=there, other=0.0)
    near = tl.load(nears + ray, mask=there, other=0.0)
    far = tl.load(fars + ray, mask=there, other=1.0)
    end = tl.where(crosses, near, tl.maximum(closest - front_gap, front_end))
    start = tl.where(crosses, far, tl.maximum(closest + behind_gap, behind_gap))
    key = _key(seed, tl.load(iteration), 5)
    k = (j - FRONT).to(tl.float32)
    front = end * (front_begin + (1.0 - front_begin) * (j.to(tl.float32) + tl.rand(key, e)) / FRONT)
    behind = _behind_depth(start, (k + tl.rand(key, e)) / BEHIND, behind_end)
    following = _behind_depth(start, (k + 1.0 + tl.rand(key, e + 1)) / BEHIND, behind_end)
    t = tl.where(j < FRONT, front, behind)
    gap = tl.where(j == FRONT + BEHIND - 1, 1e3, following - behind)  # the last one ends the ray
    tl.store(gaps + e, tl.where(j < FRONT, (1.0 - front_begin) / FRONT * end, gap), mask=there)
    ox, oy, oz = _load_vector(origins, ray, there)
    dx, dy, dz = _load_vector(directions, ray, there)
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    radius = tl.maximum(tl.sqrt(x * x + y * y + z * z), 1.0)
    contract = (2.0 - 1.0 / radius) / radius * 0.5
    _store_vector(points, e, x * contract, y * contract, z * contract, there)


@triton.jit
def _background_rows(begin, rays, RAYS: tl.constexpr, SAMPLES: tl.constexpr, SAMPLES_BLOCK: tl.constexpr):
    """Of RAYS * SAMPLES_BLOCK rows: their ray, their sample in memory, and whether they are one."""
    row = tl.arange(0, RAYS * SAMPLES_BLOCK)
    ray, j = begin + row // SAMPLES_BLOCK, row % SAMPLES_BLOCK
    return ray, ray * SAMPLES + j, (ray < rays) & (j < SAMPLES)


@triton.jit
def _column(matrix, c: tl.constexpr):
    return tl.sum(tl.where(tl.arange(0, 16)[None, :] == c, matrix, 0.0), axis=1)


@triton.jit
def _background_out(
    features, directions, w1, w1_terms, b1, w2, b2, ray, n, there,
    CHANNELS: tl.constexpr, CHANNELS_BLOCK: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    f = _load_features(features, n, there, CHANNELS, CHANNELS_BLOCK)
    terms = _direction_terms(directions, ray, there, ROWS)
    h = tl.dot(f, w1, input_precision=PRECISION) + tl.dot(terms, w1_terms, input_precision=PRECISION) + b1
    h = tl.maximum(h, 0.0)
    return f, terms, h, tl.dot(h, w2, input_precision=PRECISION) + b2


@triton.jit
def _background_weights(depth, FRONT: tl.constexpr, SAMPLES_BLOCK: tl.constexpr):
    """Weights and light before, for optical depths (rays, SAMPLES_BLOCK), of the front and the back by themselves."""
    is_front = tl.arange(0, SAMPLES_BLOCK)[None, :] < FRONT
    front = tl.where(is_front, depth, 0.0)
    behind = tl.where(is_front, 0.0, depth)
    before = tl.where(is_front, tl.cumsum(front, axis=1) - front, tl.cumsum(behind, axis=1) - behind)
    light = tl.exp(-before)
    return light * (1.0 - tl.exp(-depth)), light, is_front, tl.exp(-tl.sum(front, axis=1))


@triton.jit(do_not_specialize=["rays"])
def find_background(
    features, directions, gaps, weight, bias, out_weight, out_bias, fronts, front_lights, behinds, rays,
    scale, density_bias, density_scale,
    FRONT: tl.constexpr, SAMPLES: tl.constexpr, SAMPLES_BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
    CHANNELS_BLOCK: tl.constexpr, STRIDE: tl.constexpr, WIDTH: tl.constexpr, WIDTH_BLOCK: tl.constexpr,
    PRECISION: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """render.render_background: RGB before and behind the region (rays, 3), and the light that the front lets by."""
    begin = tl.program_id(0) * RAYS
    ray, n, there = _background_rows(begin, rays, RAYS, SAMPLES, SAMPLES_BLOCK)
    w1 = _load_weight(weight, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK) * scale
    w1_terms = _load_weight(weight, STRIDE, STRIDE - 8, 8, 16, WIDTH, WIDTH_BLOCK)
    b1 = _load_bias(bias, WIDTH, WIDTH_BLOCK)[None, :]
    w2 = _load_weight(out_weight, WIDTH, 0, WIDTH, WIDTH_BLOCK, 4, 16)
    b2 = _load_bias(out_bias, 4, 16)[None, :]
    _, _, _, out = _background_out(
        features, directions, w1, w1_terms, b1, w2, b2, ray, n, there, CHANNELS, CHANNELS_BLOCK, PRECISION,
        RAYS * SAMPLES_BLOCK,
    )  # fmt: skip
    gap = tl.load(gaps + n, mask=there, other=0.0)
    depth = tl.reshape(_softplus(_column(out, 0) + density_bias) * density_scale * gap, [RAYS, SAMPLES_BLOCK])
    weights, _, is_front, front_light = _background_weights(depth, FRONT, SAMPLES_BLOCK)
    at = begin + tl.arange(0, RAYS)
    for channel in tl.static_range(3):
        shade = weights * tl.reshape(tl.sigmoid(_column(out, channel + 1)), [RAYS, SAMPLES_BLOCK])
        tl.store(fronts + 3 * at + channel, tl.sum(tl.where(is_front, shade, 0.0), axis=1), mask=at < rays)
        tl.store(behinds + 3 * at + channel, tl.sum(tl.where(is_front, 0.0, shade), axis=1), mask=at < rays)
    tl.store(front_lights + at, front_light, mask=at < rays)


@triton.jit(do_not_specialize=["rays", "programs"])
def find_background_backward(
    features, directions, gaps, weight, bias, out_weight, out_bias, front_gradient, front_light_gradient,
    behind_gradient, feature_gradient, weight_part, bias_part, out_weight_part, out_bias_part, part_stride, rays,
    programs, scale, density_bias, density_scale,
    FRONT: tl.constexpr, SAMPLES: tl.constexpr, SAMPLES_BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
    CHANNELS_BLOCK: tl.constexpr, STRIDE: tl.constexpr, WIDTH: tl.constexpr, WIDTH_BLOCK: tl.constexpr,
    PRECISION: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    w1 = _load_weight(weight, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK) * scale
    w1_terms = _load_weight(weight, STRIDE, STRIDE - 8, 8, 16, WIDTH, WIDTH_BLOCK)
    b1 = _load_bias(bias, WIDTH, WIDTH_BLOCK)[None, :]
    w2 = _load_weight(out_weight, WIDTH, 0, WIDTH, WIDTH_BLOCK, 4, 16)
    b2 = _load_bias(out_bias, 4, 16)[None, :]
    s1 = tl.zeros([CHANNELS_BLOCK, WIDTH_BLOCK], dtype=tl.float32)
    s1_terms = tl.zeros([16, WIDTH_BLOCK], dtype=tl.float32)
    s2 = tl.zeros([WIDTH_BLOCK, 16], dtype=tl.float32)
    sb1 = tl.zeros([WIDTH_BLOCK], dtype=tl.float32)
    sb2 = tl.zeros([16], dtype=tl.float32)
    c = tl.arange(0, 16)[None, :]
    channel_index = tl.arange(0, CHANNELS_BLOCK)[None, :]
    begin = program * RAYS
    while begin < rays:
        ray, n, there = _background_rows(begin, rays, RAYS, SAMPLES, SAMPLES_BLOCK)
        f, terms, h, out = _background_out(
            features, directions, w1, w1_terms, b1, w2, b2, ray, n, there, CHANNELS, CHANNELS_BLOCK, PRECISION,
            RAYS * SAMPLES_BLOCK,
        )  # fmt: skip
        gap = tl.load(gaps + n, mask=there, other=0.0)
        raw = _column(out, 0) + density_bias
        depth = tl.reshape(_softplus(raw) * density_scale * gap, [RAYS, SAMPLES_BLOCK])
        weights, light, is_front, front_light = _background_weights(depth, FRONT, SAMPLES_BLOCK)
        at = begin + tl.arange(0, RAYS)
        weight_gradient = tl.zeros([RAYS, SAMPLES_BLOCK], dtype=tl.float32)
        g = tl.zeros([RAYS * SAMPLES_BLOCK, 16], dtype=tl.float32)
        for channel in tl.static_range(3):
            front = tl.load(front_gradient + 3 * at + channel, mask=at < rays, other=0.0)[:, None]
            behind = tl.load(behind_gradient + 3 * at + channel, mask=at < rays, other=0.0)[:, None]
            wanted = tl.where(is_front, front, behind)
            colour = tl.sigmoid(_column(out, channel + 1))
            weight_gradient += wanted * tl.reshape(colour, [RAYS, SAMPLES_BLOCK])
            pull = tl.reshape(wanted * weights, [RAYS * SAMPLES_BLOCK]) * colour * (1.0 - colour)
            g += tl.where(c == channel + 1, pull[:, None], 0.0)
        part = weights * weight_gradient
        front_part = tl.where(is_front, part, 0.0)
        behind_part = tl.where(is_front, 0.0, part)
        rest_front = tl.sum(front_part, axis=1)[:, None] - tl.cumsum(front_part, axis=1)
        rest_behind = tl.sum(behind_part, axis=1)[:, None] - tl.cumsum(behind_part, axis=1)
        by_light = tl.load(front_light_gradient + at, mask=at < rays, other=0.0) * front_light
        rest = tl.where(is_front, rest_front + by_light[:, None], rest_behind)
        depth_gradient = weight_gradient * light * tl.exp(-depth) - rest
        pull = tl.reshape(depth_gradient, [RAYS * SAMPLES_BLOCK]) * gap * density_scale * tl.sigmoid(raw)
        g += tl.where(c == 0, pull[:, None], 0.0)
        g = tl.where(there[:, None], g, 0.0)
        sb2 += tl.sum(g, axis=0)
        s2 += tl.dot(tl.trans(h), g, input_precision=PRECISION)
        g1 = tl.where(h > 0.0, tl.dot(g, tl.trans(w2), input_precision=PRECISION), 0.0)
        sb1 += tl.sum(g1, axis=0)
        s1 += tl.dot(tl.trans(f), g1, input_precision=PRECISION)
        s1_terms += tl.dot(tl.trans(terms), g1, input_precision=PRECISION)
        df = tl.dot(g1, tl.trans(w1), input_precision=PRECISION)
        mask = there[:, None] & (channel_index < CHANNELS)
        tl.store(feature_gradient + n[:, None] * CHANNELS + channel_index, df, mask=mask)
        begin += programs * RAYS
    at = program * part_stride
    _store_weight(weight_part + at, s1 * scale, STRIDE, 0, CHANNELS, CHANNELS_BLOCK, WIDTH, WIDTH_BLOCK)
    _store_weight(weight_part + at, s1_terms, STRIDE, STRIDE - 8, 8, 16, WIDTH, WIDTH_BLOCK)
    _store_bias(bias_part + at, sb1, WIDTH, WIDTH_BLOCK)
    _store_weight(out_weight_part + at, s2, WIDTH, 0, WIDTH, WIDTH_BLOCK, 4, 16)
    _store_bias(out_bias_part + at, sb2, 4, 16)


# --- the loss ---------------------------------------------------------------------------------------------------------


@triton.jit(do_not_specialize=["outside", "hits", "empty"])
def compare_colours(
    iteration, schedule, distances, places, colours, fronts, front_lights, behinds, targets, bare, bare_count,
    from_start, from_end, colour_gradient, front_gradient, front_light_gradient, behind_gradient,
    absolute, squared, subject_terms, empty_terms,
    outside, hits, empty, min_weight, min_transmittance, subject_weight, empty_weight,
    SAMPLES: tl.constexpr, SAMPLES_BLOCK: tl.constexpr, MASKED: tl.constexpr, STRIDE: tl.constexpr, RAYS: tl.constexpr,
):  # fmt: skip
    """Each ray's colour beside its pixel's, and what masks say of it, with the gradients of all that made it.

    Rays come in the order of choose_rays. distances, places, from_start and from_end begin at those that cross the
    region; each distance is the start of one interval and the end of another.
    """
    n = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    ray = n - outside
    coloured = n < outside + hits
    crosses = coloured & (ray >= 0)
    passes = (n >= outside + hits) & (n < outside + hits + empty)
    j = tl.arange(0, SAMPLES_BLOCK)[None, :]
    some = (crosses | passes)[:, None] & (j < SAMPLES - 1)
    sharpness = tl.load(schedule + tl.load(iteration) * STRIDE + SHARPNESS)
    before, after, alpha = _load_insides(distances, ray, j, some, sharpness, SAMPLES)
    loss = tl.log(1.0 - alpha)
    light_before = tl.exp(tl.cumsum(loss, axis=1) - loss)
    light = tl.exp(tl.sum(loss, axis=1))
    weight = alpha * light_before
    shown = crosses[:, None] & (j < SAMPLES - 1)
    place = tl.load(places + ray[:, None] * (SAMPLES - 1) + j, mask=shown, other=-1)
    counts = place >= 0
    weight = tl.where(counts, weight, 0.0)

    is_bare = n < 0
    if MASKED:
        is_bare = tl.load(bare + n, mask=coloured, other=0) > 0
    front_light = tl.where(is_bare, 1.0, tl.load(front_lights + n, mask=coloured, other=1.0))
    is_seen = (is_bare == 0) & (light > min_transmittance)
    pixels = 3.0 * (outside + hits)
    light_gradient = tl.zeros([RAYS], dtype=tl.float32)
    front_light_pull = tl.zeros([RAYS], dtype=tl.float32)
    weight_gradient = tl.zeros([RAYS, SAMPLES_BLOCK], dtype=tl.float32)
    absolute_sum = tl.zeros([RAYS], dtype=tl.float32)
    squared_sum = tl.zeros([RAYS], dtype=tl.float32)
    for channel in tl.static_range(3):
        colour = tl.load(colours + 3 * place + channel, mask=counts, other=0.0)
        surface = tl.sum(weight * colour, axis=1)
        front = tl.load(fronts + 3 * n + channel, mask=coloured & (is_bare == 0), other=0.0)
        behind = tl.load(behinds + 3 * n + channel, mask=coloured & is_seen, other=0.0)
        error = front + front_light * (surface + light * behind)
        error = tl.where(coloured, error - tl.load(targets + 3 * n + channel, mask=coloured, other=0.0), 0.0)
        absolute_sum += tl.abs(error)
        squared_sum += error * error
        g = (tl.where(error > 0.0, 1.0, 0.0) - tl.where(error < 0.0, 1.0, 0.0)) / pixels
        light_gradient += g * front_light * behind
        front_light_pull += g * (surface + light * behind)
        weight_gradient += (g * front_light)[:, None] * colour
        tl.store(colour_gradient + 3 * place + channel, weight * (g * front_light)[:, None], mask=counts)
        tl.store(front_gradient + 3 * n + channel, tl.where(is_bare, 0.0, g), mask=coloured)
        tl.store(behind_gradient + 3 * n + channel, tl.where(is_seen, g * front_light * light, 0.0), mask=coloured)
    tl.store(front_light_gradient + n, tl.where(is_bare, 0.0, front_light_pull), mask=coloured)
    tl.store(absolute + n, absolute_sum, mask=coloured)
    tl.store(squared + n, squared_sum, mask=coloured)
    if MASKED:  # trainer.subject_term
        opacity = 1.0 - light
        subject = is_bare & crosses
        pull = subject_weight / tl.maximum(tl.load(bare_count), 1).to(tl.float32) / tl.maximum(opacity, 1e-3)
        light_gradient += tl.where(subject & (opacity >= 1e-3), pull, 0.0)
        tl.store(subject_terms + n, tl.where(subject, -tl.log(tl.maximum(opacity, 1e-3)), 0.0), mask=coloured)

    part = weight * weight_gradient
    rest = tl.sum(part, axis=1)[:, None] - tl.cumsum(part, axis=1) + (light * light_gradient)[:, None]
    alpha_gradient = tl.where(counts, light_before * weight_gradient, 0.0) - rest / (1.0 - alpha)
    if MASKED:  # trainer.empty_term
        tl.store(empty_terms + n - outside - hits, -tl.sum(loss, axis=1), mask=passes)
        alpha_gradient = tl.where(passes[:, None], empty_weight / tl.maximum(empty, 1) / (1.0 - alpha), alpha_gradient)
    ratio = (before - after) / (before + 1e-5)
    alpha_gradient = tl.where((ratio >= 0.0) & (ratio <= 1.0 - 1e-4), alpha_gradient, 0.0)
    by_before = (after + 1e-5) / ((before + 1e-5) * (before + 1e-5)) * sharpness * before * (1.0 - before)
    by_after = -1.0 / (before + 1e-5) * sharpness * after * (1.0 - after)
    at = ray[:, None] * SAMPLES + j
    tl.store(from_start + at, alpha_gradient * by_before, mask=some)
    tl.store(from_end + at + 1, alpha_gradient * by_after, mask=some)


# --- what the other modules call --------------------------------------------------------------------------------------

COMPILERS = 16  # threads
_noted: list[tuple[Any, ...]] | None = None  # launches that are only to be compiled


def launch(kernel: Any, blocks: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    if _noted is not None:
        _noted.append((kernel, blocks, arguments, options))
    else:
        kernel[blocks](*arguments, **options)


def compile_all(run: Callable[[], None]) -> None:
    """Compile what run() launches, many at a time, and load it; nothing is launched.

    Raises what Triton raises where it cannot, or where a kernel needs more than the GPU has.
    """
    global _noted
    noted: list[tuple[Any, ...]] = []
    _noted = noted
    try:
        run()
    finally:
        _noted = None
    with ThreadPoolExecutor(COMPILERS) as pool:
        for done in [pool.submit(kernel.warmup, *a, grid=blocks, **options) for kernel, blocks, a, options in noted]:
            load = getattr(done.result(), "_init_handles", None)  # else the first launch loads it
            if load is not None:
                load()


def get_sums(grid: FeatureGrid) -> Tensor:
    """The gradient of the grid's table, (rows, 4) int64 in UNITS; all 0 between iterations."""
    if grid.sums is None or len(grid.sums) != len(grid.table):
        grid.sums = torch.zeros(grid.table.shape, dtype=torch.int64, device=grid.table.device)
    return grid.sums


def get_layout(grid: FeatureGrid) -> Tensor:
    if grid.layout is None:
        rows = list(zip(grid.cells, grid.first_brick))
        grid.layout = torch.tensor(rows, dtype=torch.int32, device=grid.bricks.device)
    return grid.layout


def find_features(grid: FeatureGrid, points: Tensor, levels: int, out: Tensor) -> None:
    """out (N, 4 * levels): features of points (N, 3)."""
    blocks = (cdiv(len(points), POINTS), levels)
    layout = get_layout(grid)
    launch(look_up_points, blocks, points, grid.table.detach(), grid.bricks, layout, out, len(points), levels, POINTS)


def add_gradient(grid: FeatureGrid, points: Tensor, gradient: Tensor, levels: int) -> None:
    blocks = (cdiv(len(points), POINTS), levels)
    layout = get_layout(grid)
    launch(scatter_gradient, blocks, points, gradient, get_sums(grid), grid.bricks, layout, len(points), levels, POINTS)


def look_up(grid: FeatureGrid, points: Tensor, levels: int) -> Tensor:
    features: Tensor = _LookUp.apply(points, grid.table, grid, levels)
    return features


class _LookUp(torch.autograd.Function):
    """The gradient is added to the grid's sums at once, not returned."""

    @staticmethod
    def forward(context: Any, points: Tensor, table: Tensor, grid: FeatureGrid, levels: int) -> Tensor:
        out = points.new_empty(len(points), 4 * levels)
        if len(points):
            find_features(grid, points, levels, out)
        context.points, context.grid, context.levels = points, grid, levels
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, None, None, None]:
        if len(context.points):
            add_gradient(context.grid, context.points, gradients[0].contiguous(), context.levels)
        return None, None, None, None


def step_table(optimiser: GridAdam, iteration: Tensor, schedule: Tensor, column: int) -> None:
    """A step with the numbers in two columns of a row of the schedule."""
    grid = optimiser.grid
    rows = len(grid.table)
    launch(
        step_grid, (cdiv(rows, POINTS),),
        grid.table.detach(), get_sums(grid), optimiser.mean, optimiser.square, iteration, schedule, rows,
        optimiser.beta1, optimiser.beta2, optimiser.epsilon, column, schedule.shape[1], POINTS,
    )  # fmt: skip


def step(optimiser: GridAdam, rate: float, correction: float) -> None:
    schedule = torch.tensor([[rate, correction]], device=optimiser.mean.device)
    step_table(optimiser, torch.zeros(1, dtype=torch.int32, device=schedule.device), schedule, 0)


def choose_depths(
    baked: BakedField, rays: Rays, sharpness: float, march: Tensor, fine: Tensor, uniform: Tensor
) -> Tensor:
    """Only measurements on held-out frames ask for it: PyTorch is quick enough. GpuStep has its own."""
    from sdfgrid import render

    return render.choose_depths(baked, rays, sharpness, march, fine, uniform)


def come_near(baked: BakedField, rays: Rays, distance: float, steps: int) -> Tensor:
    """Only where no GpuStep can be made. It has its own."""
    from sdfgrid import render

    return render.come_near(baked, rays, distance, steps)


def make_step(trainer: Trainer) -> GpuStep:
    from sdfgrid.gpu_step import GpuStep

    return GpuStep(trainer)


def try_out(device: torch.device) -> None:
    """Raises whatever is raised where Triton cannot compile, or not for this GPU."""
    points, out = torch.zeros(1, 3, device=device), torch.empty(1, 4, device=device)
    bricks = torch.full((1,), -1, dtype=torch.int32, device=device)
    layout = torch.tensor([[2, 0]], dtype=torch.int32, device=device)
    look_up_points[(1, 1)](points, out, bricks, layout, out, 1, 1, POINTS)
