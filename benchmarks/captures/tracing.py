"""What rays meet of a scene and what a camera sees of it: all compiled functions, in one file because Numba's cache
notices no change in another.

Three numbers are written to an array one by one: for a tuple, Numba compiles the words of its error messages too, which
takes a quarter of all.

A part's distance is exact or a little too small, and its zero is the surface. Formulas: Inigo Quilez,
https://iquilezles.org/articles/distfunctions/. Points and directions are three numbers: small arrays are slow.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

BALL, BOX, CYLINDER, CAPSULE, TORUS, CONE, ROOM = range(7)
# Columns of a part's row.
(IS, CUT, A, B, C, EDGE, BLEND, BUMP, WAVES, X, Y, Z, BALL_RADIUS, TURNED, TURN) = range(15)
FAR = 1e9
HIT = 2e-4  # a ray that is closer than this has met the surface: a tenth of a pixel at the distance of a camera
PLAIN, MOTTLED, MOSAIC, CHECKS, STRIPES = range(5)
TILE = 8  # pixels; the rays of a tile start together, as far along as a cone round them meets nothing
SHADOW = 3.5  # length of the longest shadow
REACH = 40.0  # rays that meet nothing up to here see the backdrop


class Shapes(NamedTuple):
    """A scene as arrays. Few of them: each function of a ray takes both, and copies cost."""

    parts: np.ndarray  # (n, COLUMNS), see the column numbers above
    things: np.ndarray  # (m, 6): centre and radius of a ball round each thing, its first part, the one after its last
    all: np.ndarray  # (m,) numbers of all things


class Look(NamedTuple):
    """The materials of a scene's parts, a row each, and its light."""

    pattern: np.ndarray
    first: np.ndarray  # (n, 3)
    second: np.ndarray
    scale: np.ndarray
    gloss: np.ndarray
    light: np.ndarray  # (3,) towards the light
    ambient: float
    backdrop: int  # what is behind everything: PLAIN or MOSAIC


# --------------------------------------------------------------------------------------------------------- distances


@njit(fastmath=True, inline="always", cache=True)
def box_distance(x: float, y: float, z: float, a: float, b: float, c: float) -> float:
    qx, qy, qz = abs(x) - a, abs(y) - b, abs(z) - c
    outside = math.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2 + max(qz, 0.0) ** 2)
    return outside + min(max(qx, max(qy, qz)), 0.0)


@njit(fastmath=True, cache=True)
def part_distance(parts: np.ndarray, i: int, px: float, py: float, pz: float) -> float:
    """Signed distance of a point to part i, below 0 inside."""
    x, y, z = px - parts[i, X], py - parts[i, Y], pz - parts[i, Z]
    if parts[i, TURNED]:
        dx, dy, dz = x, y, z
        x = parts[i, TURN] * dx + parts[i, TURN + 1] * dy + parts[i, TURN + 2] * dz
        y = parts[i, TURN + 3] * dx + parts[i, TURN + 4] * dy + parts[i, TURN + 5] * dz
        z = parts[i, TURN + 6] * dx + parts[i, TURN + 7] * dy + parts[i, TURN + 8] * dz
    a, b, c, edge = parts[i, A], parts[i, B], parts[i, C], parts[i, EDGE]
    kind = parts[i, IS]
    if kind == BALL:
        if a == b and b == c:
            d = math.sqrt(x * x + y * y + z * z) - a
        else:
            k0 = math.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
            k1 = math.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2)
            d = k0 * (k0 - 1.0) / max(k1, 1e-9)
    elif kind == BOX:
        d = box_distance(x, y, z, a - edge, b - edge, c - edge) - edge
    elif kind == ROOM:
        d = -box_distance(x, y, z, a, b, c)
    elif kind == CYLINDER:
        q, h = math.sqrt(x * x + y * y) - a + edge, abs(z) - b + edge
        d = min(max(q, h), 0.0) + math.sqrt(max(q, 0.0) ** 2 + max(h, 0.0) ** 2) - edge
    elif kind == CAPSULE:
        h = z - min(max(z, -b), b)
        d = math.sqrt(x * x + y * y + h * h) - a
    elif kind == TORUS:
        q = math.sqrt(x * x + y * y) - a
        d = math.sqrt(q * q + z * z) - b
    else:  # CONE
        q = math.sqrt(x * x + y * y)
        cap_x = q - min(q, a if z < 0 else b)
        cap_y = abs(z) - c
        slope_x, slope_y = b - a, 2 * c
        along = ((b - q) * slope_x + (c - z) * slope_y) / (slope_x * slope_x + slope_y * slope_y)
        along = min(max(along, 0.0), 1.0)
        side_x, side_y = q - b + slope_x * along, z - c + slope_y * along
        sign = -1.0 if side_x < 0 and cap_y < 0 else 1.0
        d = sign * math.sqrt(min(cap_x * cap_x + cap_y * cap_y, side_x * side_x + side_y * side_y))
    height = parts[i, BUMP]
    if height > 0:
        if d > 0.3:
            return d - height  # never too large
        waves = parts[i, WAVES]
        d -= height * math.sin(waves * x) * math.sin(waves * y) * math.sin(waves * z)
        d /= 1 + height * waves  # their slope makes the value too large by this at most
    return d


@njit(fastmath=True, inline="always", cache=True)
def join(parts: np.ndarray, i: int, so_far: float, d: float) -> float:
    """The distance of a thing after part i, which is at distance d."""
    if parts[i, CUT]:
        return max(so_far, -d)
    k = parts[i, BLEND]
    if k > 0:  # the quadratic smooth minimum
        h = max(k - abs(so_far - d), 0.0) / k
        return min(so_far, d) - h * h * k * 0.25
    return min(so_far, d)


@njit(fastmath=True, inline="always", cache=True)
def is_beyond(things: np.ndarray, thing: int, x: float, y: float, z: float, limit: float) -> bool:
    """Whether a thing is certainly farther away than `limit`."""
    dx, dy, dz = x - things[thing, 0], y - things[thing, 1], z - things[thing, 2]
    reach = limit + things[thing, 3]
    return reach > 0 and dx * dx + dy * dy + dz * dz > reach * reach


@njit(fastmath=True, inline="always", cache=True)
def changes(parts: np.ndarray, i: int, x: float, y: float, z: float, so_far: float) -> bool:
    """Whether part i can change the distance of its thing, by a ball round it."""
    dx, dy, dz = x - parts[i, X], y - parts[i, Y], z - parts[i, Z]
    reach = parts[i, BALL_RADIUS] + (-so_far if parts[i, CUT] else so_far + parts[i, BLEND])
    return reach > 0 and dx * dx + dy * dy + dz * dz < reach * reach


@njit(fastmath=True, cache=True)
def distance(shapes: Shapes, chosen: np.ndarray, x: float, y: float, z: float) -> float:
    """Signed distance of a point to the chosen things."""
    parts, things = shapes.parts, shapes.things
    best = FAR
    for thing in chosen:
        if is_beyond(things, thing, x, y, z, best):
            continue
        d = FAR
        for i in range(int(things[thing, 4]), int(things[thing, 5])):
            if changes(parts, i, x, y, z, d):
                d = join(parts, i, d, part_distance(parts, i, x, y, z))
        best = min(best, d)
    return best


@njit(fastmath=True, cache=True)
def nearest_part(shapes: Shapes, chosen: np.ndarray, x: float, y: float, z: float) -> tuple[int, float]:
    """Row of the part on whose surface a point lies (in a cavity, of the part that was cut out), and its distance."""
    parts, things = shapes.parts, shapes.things
    best, found = FAR, 0
    for thing in chosen:
        if is_beyond(things, thing, x, y, z, best):
            continue
        d, closest, row = FAR, FAR, 0
        for i in range(int(things[thing, 4]), int(things[thing, 5])):
            e = part_distance(parts, i, x, y, z)
            d = join(parts, i, d, e)
            if not parts[i, CUT] and e < closest:
                closest, row = e, i
            elif parts[i, CUT] and -e > closest - 1e-3:
                row = i
        if d < best:
            best, found = d, row
    return found, best


@njit(fastmath=True, cache=True)
def normal(shapes: Shapes, chosen: np.ndarray, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Outward unit normal: differences at the corners of a tetrahedron."""
    h = 3e-4
    a = distance(shapes, chosen, x + h, y - h, z - h)
    b = distance(shapes, chosen, x - h, y - h, z + h)
    c = distance(shapes, chosen, x - h, y + h, z - h)
    d = distance(shapes, chosen, x + h, y + h, z + h)
    nx, ny, nz = a - b - c + d, -a - b + c + d, -a + b - c + d
    length = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    return nx / length, ny / length, nz / length


@njit(fastmath=True, cache=True)
def choose_along(
    shapes: Shapes,
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
    width: float,
    widening: float,
    chosen: np.ndarray,
) -> int:
    """Number of things that a cone may meet, written to `chosen`. The cone is `width` at o, and wider along d."""
    things, count = shapes.things, 0
    for thing in range(len(things)):
        x, y, z = things[thing, 0] - ox, things[thing, 1] - oy, things[thing, 2] - oz
        radius = things[thing, 3]
        along = x * dx + y * dy + z * dz
        across = x * x + y * y + z * z - along * along
        reach = radius + width + widening * max(along + radius, 0.0)
        if along > -radius - width and across < reach * reach:
            chosen[count] = thing
            count += 1
    return count


@njit(fastmath=True, cache=True)
def trace(
    shapes: Shapes,
    chosen: np.ndarray,
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
    start: float,
    end: float,
) -> tuple[float, float]:
    """Length along a ray from `start` to the first surface, FAR if there is none before `end`; and by how much it
    missed what it passed, as a share of the length."""
    t, last, gap = start, FAR, FAR
    for _ in range(256):
        d = distance(shapes, chosen, ox + t * dx, oy + t * dy, oz + t * dz)
        if d < HIT:
            return t, gap
        if d > last:
            gap = min(gap, last / t)
        last = d
        t += 0.95 * d  # an ellipsoid's distance may be a little too large
        if t > end:
            return FAR, gap
    return t, gap


# ---------------------------------------------------------------------------------------------------------- textures


@njit(inline="always", cache=True)
def scatter(x: int, y: int, z: int) -> float:
    """A number of 0 to 1 for each cell, which looks random (32-bit mixing after lowbias32, C. Wellons 2018)."""
    h = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791)
    h &= 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0


@njit(fastmath=True, cache=True)
def noise(x: float, y: float, z: float) -> float:
    """Smooth noise of 0 to 1 with one feature a unit."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    i, j, k = int(i), int(j), int(k)
    a = scatter(i, j, k) * (1 - u) + scatter(i + 1, j, k) * u
    b = scatter(i, j + 1, k) * (1 - u) + scatter(i + 1, j + 1, k) * u
    c = scatter(i, j, k + 1) * (1 - u) + scatter(i + 1, j, k + 1) * u
    d = scatter(i, j + 1, k + 1) * (1 - u) + scatter(i + 1, j + 1, k + 1) * u
    return (a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w


@njit(fastmath=True, cache=True)
def texture(look: Look, i: int, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Colour of part i at a point. Patterns never repeat, so that each place can be told from the others."""
    pattern = look.pattern[i]
    shade, share = 1.0, 0.0
    if pattern != PLAIN:
        s = look.scale[i]
        x, y, z = x * s + 17.3, y * s + 5.1, z * s + 9.7
        fine = noise(3.1 * x, 3.1 * y, 3.1 * z)
        if pattern == MOTTLED:
            coarse = 0.6 * noise(x, y, z) + 0.4 * fine
            share = min(max((coarse - 0.3) * 2.5, 0.0), 1.0)
            shade = 0.65 + 0.4 * noise(7.3 * x, 7.3 * y, 7.3 * z) + 0.3 * noise(17.1 * x, 17.1 * y, 17.1 * z)
        elif pattern == MOSAIC:  # patches with clear edges, of four shades
            bent = noise(x + 1.3 * fine, y + 1.3 * fine, z)
            share = math.floor(4 * noise(0.9 * x + 40, 0.9 * y, 0.9 * z + 1.5 * bent)) / 3
            shade = 0.62 + 0.38 * (bent > 0.5) + 0.3 * (fine - 0.5)
        elif pattern == CHECKS:
            cell_x, cell_y, cell_z = math.floor(x), math.floor(y), math.floor(z)
            share = float((cell_x + cell_y + cell_z) & 1)
            shade = 0.55 + 0.5 * scatter(cell_x, cell_y, cell_z) + 0.35 * (fine - 0.5)
        else:  # STRIPES: planks and grain along x
            plank = math.floor(y)
            grain = noise(0.6 * x + 7.0 * scatter(plank, 3, 1), 6 * y, 6 * z)
            grain = 0.5 * grain + 0.5 * noise(2.5 * x, 17 * y, 17 * z)
            share = min(max((grain - 0.3) * 2.5, 0.0), 1.0)
            shade = 0.7 + 0.45 * scatter(plank, 0, 0) + 0.25 * (fine - 0.5)
    return (
        shade * (look.first[i, 0] * (1 - share) + look.second[i, 0] * share),
        shade * (look.first[i, 1] * (1 - share) + look.second[i, 1] * share),
        shade * (look.first[i, 2] * (1 - share) + look.second[i, 2] * share),
    )


@njit(fastmath=True, cache=True)
def backdrop(kind: int, u: float, v: float) -> tuple[float, float, float]:
    """Colour behind everything, by the direction in the camera's own axes: it stands still with the camera."""
    if kind == PLAIN:
        value = 0.5 - 0.12 * v
        return value, value * 1.01, value * 1.03
    coarse = noise(5 * u + 30, 5 * v + 30, 0.5)
    fine = noise(31 * u + 90, 31 * v + 90, 0.5)
    value = 0.2 + 0.45 * (coarse > 0.5) + 0.4 * (fine - 0.5)
    return 0.9 * value, value, 0.8 * value + 0.1 * fine


# ------------------------------------------------------------------------------------------------------------- light


@njit(fastmath=True, cache=True)
def occlusion(shapes: Shapes, near: np.ndarray, x: float, y: float, z: float, nx: float, ny: float, nz: float) -> float:
    """Share of the sky that is open, 0 to 1, by three distances along the normal (Evans, SIGGRAPH 2006)."""
    hidden, weight, step = 0.0, 1.0, 0.02
    for _ in range(3):
        d = distance(shapes, near, x + step * nx, y + step * ny, z + step * nz)
        hidden += weight * max(step - d, 0.0) / step
        weight *= 0.75
        step *= 3
    return 1 - hidden / 2.31


@njit(fastmath=True, cache=True)
def sunlight(shapes: Shapes, near: np.ndarray, x: float, y: float, z: float, light: np.ndarray) -> float:
    """Share of the light that reaches a point: a soft shadow by the narrowest gap on the way."""
    open_share, t = 1.0, 0.02
    for _ in range(24):
        d = distance(shapes, near, x + t * light[0], y + t * light[1], z + t * light[2])
        open_share = min(open_share, 9 * d / t)
        if open_share < 0.01:
            return 0.0
        t += min(max(d, 0.02), 0.5)
        if t > SHADOW:
            break
    return open_share


@njit(fastmath=True, cache=True)
def lit(
    shapes: Shapes, x: float, y: float, z: float, nx: float, ny: float, nz: float, light: np.ndarray, near: np.ndarray
) -> tuple[float, float]:
    """Shares of the sky and of the light that reach a point. near: room for the numbers of things."""
    facing = nx * light[0] + ny * light[1] + nz * light[2]
    sun = 0.0
    if facing > 0:
        x1, y1, z1 = x + 3e-3 * nx, y + 3e-3 * ny, z + 3e-3 * nz
        found = choose_along(shapes, x1, y1, z1, light[0], light[1], light[2], 0.0, 1 / 9, near)
        count = 0
        for k in range(found):  # a room's own walls let the light in
            if shapes.things[near[k], 3] < FAR:
                near[count] = near[k]
                count += 1
        sun = sunlight(shapes, near[:count], x1, y1, z1, light)
    count = 0
    for thing in range(len(shapes.things)):
        if not is_beyond(shapes.things, thing, x, y, z, 0.4):
            near[count] = thing
            count += 1
    return occlusion(shapes, near[:count], x, y, z, nx, ny, nz), sun


@njit(fastmath=True, cache=True)
def mirrored(x: float, y: float, z: float) -> float:
    """Brightness of the surroundings that a gloss shows: windows to two sides and a ceiling."""
    window = (abs(x - 0.7) < 0.18 and abs(z - 0.55) < 0.25) or (abs(y + 0.75) < 0.12 and abs(z - 0.5) < 0.2)
    return 2.2 * window + 0.25 + 0.35 * max(z, 0.0)


# ----------------------------------------------------------------------------------------------------------- picture


@njit(fastmath=True, cache=True)
def cone_start(
    shapes: Shapes,
    chosen: np.ndarray,
    camera: np.ndarray,
    dx: float,
    dy: float,
    dz: float,
    width: float,
    widening: float,
) -> float:
    """How far a cone of rays stays clear of the chosen things."""
    t = 0.0
    for _ in range(64):
        d = distance(shapes, chosen, camera[0, 3] + t * dx, camera[1, 3] + t * dy, camera[2, 3] + t * dz)
        clear = d - width - widening * t
        if clear < 0.005 * t or t > REACH:
            break
        t += clear / (1 + widening)
    return max(t - width - widening * t, 0.0)


@njit(fastmath=True, inline="always", cache=True)
def ray(camera: np.ndarray, focal: float, u: float, v: float) -> tuple[float, float, float]:
    """Unit direction through (u, v) pixels right of and below the middle."""
    length = math.sqrt(u * u + v * v + focal * focal)
    u, v, w = u / length, -v / length, -focal / length
    return (
        camera[0, 0] * u + camera[0, 1] * v + camera[0, 2] * w,
        camera[1, 0] * u + camera[1, 1] * v + camera[1, 2] * w,
        camera[2, 0] * u + camera[2, 1] * v + camera[2, 2] * w,
    )


@njit(parallel=True, fastmath=True, cache=True)
def take_picture(
    shapes: Shapes, look: Look, cameras: np.ndarray, focal: float, width: int, height: int, margin: float
) -> np.ndarray:
    """(height, width, 3) linear light.

    cameras: (height, samples, 4, 4), the camera-to-world (OpenGL axes) of each sample of each row: what a rolling
    shutter and a moving camera make different. margin: how far those of one picture are apart.
    """
    samples = cameras.shape[1]
    picture = np.zeros((height, width, 3))
    for band in prange((height + TILE - 1) // TILE):
        top = band * TILE
        bottom = min(top + TILE, height)
        chosen, near = np.empty(len(shapes.all), np.int64), np.empty(len(shapes.all), np.int64)
        for left in range(0, width, TILE):
            u = left + TILE / 2 - width / 2
            v = top + TILE / 2 - height / 2
            camera = cameras[(top + bottom) // 2, samples // 2]
            dx, dy, dz = ray(camera, focal, u, v)
            width_here, widening = margin, 0.75 * TILE / focal + margin
            count = choose_along(
                shapes, camera[0, 3], camera[1, 3], camera[2, 3], dx, dy, dz, width_here, widening, chosen
            )
            start = cone_start(shapes, chosen[:count], camera, dx, dy, dz, width_here, widening)
            for row in range(top, bottom):
                for column in range(left, min(left + TILE, width)):
                    r, g, b = take_pixel(
                        shapes,
                        look,
                        cameras[row],
                        focal,
                        column - width / 2,
                        row - height / 2,
                        start,
                        chosen[:count],
                        near,
                    )
                    picture[row, column, 0], picture[row, column, 1], picture[row, column, 2] = r, g, b
    return picture


@njit(fastmath=True, cache=True)
def take_pixel(
    shapes: Shapes,
    look: Look,
    cameras: np.ndarray,
    focal: float,
    left: float,
    top: float,
    start: float,
    chosen: np.ndarray,
    near: np.ndarray,
) -> tuple[float, float, float]:
    """The mean over the samples of the pixel whose corner is (left, top) from the middle of the picture."""
    samples = len(cameras)
    red, green, blue = 0.0, 0.0, 0.0
    part, t, gap, diffuse, shine = -1, FAR, 0.0, 0.0, 0.0
    x, y, z, nx, ny, nz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for sample in range(samples):
        camera = cameras[sample]
        ox, oy, oz = camera[0, 3], camera[1, 3], camera[2, 3]
        # points of the R2 sequence (M. Roberts 2018), spread evenly over the pixel whatever their number
        u = left + (0.5 + sample * 0.7548776662) % 1.0
        v = top + (0.5 + sample * 0.5698402910) % 1.0
        dx, dy, dz = ray(camera, focal, u, v)
        near_by = False
        if part >= 0 and gap > 1.5 / focal:
            # No edge is near: the surface is where the tangent plane of the last sample is, and its light the same.
            across = nx * dx + ny * dy + nz * dz
            along = (nx * (x - ox) + ny * (y - oy) + nz * (z - oz)) / min(across, -1e-6)
            px, py, pz = ox + along * dx, oy + along * dy, oz + along * dz
            now, d = nearest_part(shapes, chosen, px, py, pz)
            if abs(d) < 0.3 * t / focal and abs(along - t) < 0.01 * t:
                near_by, part, x, y, z = True, now, px, py, pz
        if not near_by:
            t, gap = trace(shapes, chosen, ox, oy, oz, dx, dy, dz, start, REACH)
            if t == FAR:
                r, g, b = backdrop(look.backdrop, u / focal, v / focal)
                red, green, blue = red + r / samples, green + g / samples, blue + b / samples
                part = -1
                continue
            x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
            part, _ = nearest_part(shapes, chosen, x, y, z)
            nx, ny, nz = normal(shapes, chosen, x, y, z)
            diffuse, shine = reflected(shapes, look, part, x, y, z, dx, dy, dz, nx, ny, nz, near)
        r, g, b = texture(look, part, x, y, z)
        red += (r * diffuse + shine) / samples
        green += (g * diffuse + shine) / samples
        blue += (b * diffuse + shine) / samples
    return red, green, blue


@njit(fastmath=True, cache=True)
def reflected(
    shapes: Shapes,
    look: Look,
    part: int,
    x: float,
    y: float,
    z: float,
    dx: float,
    dy: float,
    dz: float,
    nx: float,
    ny: float,
    nz: float,
    near: np.ndarray,
) -> tuple[float, float]:
    """How much light a point sends back along the ray d: what its colour scales, and what it mirrors."""
    light = look.light
    sky, sun = lit(shapes, x, y, z, nx, ny, nz, light, near)
    facing = nx * light[0] + ny * light[1] + nz * light[2]
    diffuse = look.ambient * (0.75 + 0.25 * nz) * sky + 0.85 * max(facing, 0.0) * sun
    gloss = look.gloss[part]
    if gloss == 0:
        return diffuse, 0.0
    back = 2 * (nx * dx + ny * dy + nz * dz)
    mx, my, mz = dx - back * nx, dy - back * ny, dz - back * nz
    edge = 0.06 + 0.94 * (1 - min(abs(back) / 2, 1.0)) ** 5  # Schlick's Fresnel term
    toward = max(mx * light[0] + my * light[1] + mz * light[2], 0.0)
    return diffuse, gloss * (edge * mirrored(mx, my, mz) * sky + 1.5 * toward**60 * sun)


@njit(parallel=True, fastmath=True, cache=True)
def depth_map(shapes: Shapes, camera: np.ndarray, focal: float, width: int, height: int) -> np.ndarray:
    """(height, width) distance from the plane of the camera to the first surface at each pixel's centre, else FAR."""
    depth = np.full((height, width), FAR)
    for row in prange(height):
        for column in range(width):
            u, v = column + 0.5 - width / 2, row + 0.5 - height / 2
            dx, dy, dz = ray(camera, focal, u, v)
            t, _ = trace(shapes, shapes.all, camera[0, 3], camera[1, 3], camera[2, 3], dx, dy, dz, 0.0, REACH)
            if t < FAR:
                depth[row, column] = t * focal / math.sqrt(u * u + v * v + focal * focal)
    return depth


# ---------------------------------------------------------------------------------------------------- for the truth


@njit(parallel=True, cache=True)
def crossings(shapes: Shapes, origins: np.ndarray, directions: np.ndarray, length: float, most: int) -> np.ndarray:
    """(n, most) lengths at which each line enters or leaves the shapes, FAR where there are no more."""
    found = np.full((len(origins), most), FAR)
    for i in prange(len(origins)):
        ox, oy, oz = origins[i, 0], origins[i, 1], origins[i, 2]
        dx, dy, dz = directions[i, 0], directions[i, 1], directions[i, 2]
        t, count = 0.0, 0
        before = distance(shapes, shapes.all, ox, oy, oz)
        while t < length and count < most:
            step = max(0.9 * abs(before), 1e-3)
            after = distance(shapes, shapes.all, ox + (t + step) * dx, oy + (t + step) * dy, oz + (t + step) * dz)
            if (after < 0) != (before < 0):
                low, high = t, t + step
                for _ in range(40):
                    middle = (low + high) / 2
                    d = distance(shapes, shapes.all, ox + middle * dx, oy + middle * dy, oz + middle * dz)
                    if (d < 0) == (before < 0):
                        low = middle
                    else:
                        high = middle
                found[i, count] = (low + high) / 2
                count += 1
            t, before = t + step, after
    return found


@njit(parallel=True, cache=True)
def normals(shapes: Shapes, points: np.ndarray) -> np.ndarray:
    """(n, 3) outward normals."""
    found = np.empty_like(points)
    for i in prange(len(points)):
        x, y, z = normal(shapes, shapes.all, points[i, 0], points[i, 1], points[i, 2])
        found[i, 0], found[i, 1], found[i, 2] = x, y, z
    return found


@njit(parallel=True, cache=True)
def distances(shapes: Shapes, points: np.ndarray) -> np.ndarray:
    """(n,) signed distances."""
    found = np.empty(len(points))
    for i in prange(len(points)):
        found[i] = distance(shapes, shapes.all, points[i, 0], points[i, 1], points[i, 2])
    return found


@njit(parallel=True, cache=True)
def seen_from(
    shapes: Shapes,
    points: np.ndarray,
    facing: np.ndarray,
    camera: np.ndarray,
    focal: float,
    width: int,
    height: int,
    tolerance: float,
) -> np.ndarray:
    """(n,) whether a camera (4 x 4, OpenGL axes) sees each point, whose outward normal is `facing`."""
    seen = np.zeros(len(points), np.bool_)
    ox, oy, oz = camera[0, 3], camera[1, 3], camera[2, 3]
    for i in prange(len(points)):
        dx, dy, dz = points[i, 0] - ox, points[i, 1] - oy, points[i, 2] - oz
        if dx * facing[i, 0] + dy * facing[i, 1] + dz * facing[i, 2] >= 0:
            continue
        depth = -(camera[0, 2] * dx + camera[1, 2] * dy + camera[2, 2] * dz)
        if depth <= 0:
            continue
        u = focal * (camera[0, 0] * dx + camera[1, 0] * dy + camera[2, 0] * dz) / depth
        v = focal * (camera[0, 1] * dx + camera[1, 1] * dy + camera[2, 1] * dz) / depth
        if abs(u) >= width / 2 or abs(v) >= height / 2:
            continue
        away = math.sqrt(dx * dx + dy * dy + dz * dz)
        end = away - tolerance
        dx, dy, dz = dx / away, dy / away, dz / away
        chosen = np.empty(len(shapes.all), np.int64)
        count = choose_along(shapes, ox, oy, oz, dx, dy, dz, 0.0, 0.0, chosen)
        seen[i] = trace(shapes, chosen[:count], ox, oy, oz, dx, dy, dz, 0.0, end)[0] == FAR
    return seen
