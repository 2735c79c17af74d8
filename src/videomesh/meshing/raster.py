"""Triangles drawn into pixels with NumPy alone, without display or GPU: which one is in front, and where on it."""

from typing import NamedTuple

import numpy as np

SAMPLES = 2_000_000  # pixels of triangles' boxes that are tried at once; each needs about 100 bytes
NEAREST = 1e-3  # of the farthest depth; what is nearer is behind the camera or on it


class Pinhole(NamedTuple):
    """A camera with OpenCV's axes: x right, y down, z forward."""

    cam_from_world: np.ndarray  # (4, 4)
    focal: tuple[float, float]  # px
    principal: tuple[float, float]  # px, centre of the first pixel at 0.5
    size: tuple[int, int]  # width, height

    def scaled(self, size: tuple[int, int]) -> "Pinhole":
        """The same camera with a picture of another size."""
        across, down = size[0] / self.size[0], size[1] / self.size[1]
        focal, principal = self.focal, self.principal
        return Pinhole(
            self.cam_from_world,
            (focal[0] * across, focal[1] * down),
            (principal[0] * across, principal[1] * down),
            size,
        )


class Raster(NamedTuple):
    """What each pixel shows."""

    face: np.ndarray  # (height, width) int32: the triangle in front, -1 where there is none
    weights: np.ndarray  # (height, width, 3) float32: of its corners, on the triangle itself
    nearness: np.ndarray  # (height, width): 1 / depth, 0 where there is no triangle


def project(points: np.ndarray, camera: Pinhole) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel positions x and y (n,) of points (3, n), and 1 / depth (n,), which is 0 behind the camera."""
    pose = camera.cam_from_world.astype(points.dtype)
    x, y, depth = pose[:3, :3] @ points + pose[:3, 3:]
    front = depth > NEAREST * max(float(depth.max(initial=0.0)), 1e-12)
    nearness = front / np.where(front, depth, 1)
    across, down = camera.focal
    return x * nearness * across + camera.principal[0], y * nearness * down + camera.principal[1], nearness


def is_within(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray((x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1]))


def draw_mesh(vertices: np.ndarray, faces: np.ndarray, camera: Pinhole) -> Raster:
    """Triangles as a camera sees them. What reaches behind the camera is left out."""
    x, y, nearness = project(np.ascontiguousarray(vertices.T), camera)
    a, b, c = faces.T
    front = nearness > 0
    number = np.flatnonzero(front[a] & front[b] & front[c])
    corners = faces[number].T
    raster = draw(x[corners], y[corners], nearness[corners], camera.size)
    if len(number):
        raster.face[:] = np.where(raster.face >= 0, number[raster.face], -1)
    return raster


def draw(x: np.ndarray, y: np.ndarray, nearness: np.ndarray, size: tuple[int, int]) -> Raster:
    """Triangles in a picture of size (width, height): pixel positions and 1 / depth (3, F) of their corners."""
    width, height = size
    left, across = get_extent(x, width)
    top, down = get_extent(y, height)
    count = across * down
    shown = np.flatnonzero(count)
    slopes = get_slopes(x, y)
    buffer = np.zeros(height * width)
    front = np.full(height * width, -1, np.int32)
    found = np.zeros((height * width, 3), np.float32)
    for chunk in split(shown, count[shown]):
        # The numbers of faces and pixels (n,), one for each pixel of each face's box.
        face = np.repeat(chunk, count[chunk])
        place = np.arange(len(face)) - np.repeat(np.cumsum(count[chunk]) - count[chunk], count[chunk])
        column, row = left[face] + place % across[face], top[face] + place // across[face]
        face, pixel, near, weights = scan(face, column, row, slopes, nearness, width)
        np.maximum.at(buffer, pixel, near)
        won = near >= buffer[pixel]
        # Straight on the screen is not straight on a slanted triangle: a corner that is nearer takes less of it.
        on_face = weights[:, won] * nearness[:, face[won]] / near[won]
        front[pixel[won]], found[pixel[won]] = face[won], on_face.T
    return Raster(front.reshape(height, width), found.reshape(height, width, 3), buffer.reshape(height, width))


def split(rows: np.ndarray, count: np.ndarray) -> list[np.ndarray]:
    """Rows in groups whose counts add up to about SAMPLES; a larger one stands alone."""
    group = np.cumsum(count) // SAMPLES
    return np.split(rows, np.flatnonzero(np.diff(group)) + 1) if len(rows) else []


def get_extent(positions: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel and number of pixels along an axis whose centres, at 0.5, lie between the corners (3, F) of a face:
    none for most of those that are smaller than a pixel."""
    a, b, c = positions
    low = np.ceil(np.minimum(np.minimum(a, b), c) - 0.5).clip(0, length).astype(np.int64)
    high = np.floor(np.maximum(np.maximum(a, b), c) + 0.5).clip(0, length).astype(np.int64)
    return low, np.maximum(high - low, 0)


class Slopes(NamedTuple):
    """Of triangles on the screen, each (F,): from their first corner on, how the weights of the others grow along x and
    y. No numbers for a triangle without an area."""

    x: np.ndarray  # of the first corner
    y: np.ndarray
    second_x: np.ndarray
    second_y: np.ndarray
    third_x: np.ndarray
    third_y: np.ndarray


def get_slopes(x: np.ndarray, y: np.ndarray) -> Slopes:
    """Of corners (3, F). Once for each triangle and not for each pixel: that is most of what drawing costs."""
    (ax, bx, cx), (ay, by, cy) = x, y
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        return Slopes(ax, ay, (cy - ay) / area, (ax - cx) / area, (ay - by) / area, (bx - ax) / area)


def scan(
    face: np.ndarray, column: np.ndarray, row: np.ndarray, slopes: Slopes, nearness: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Those pixels that lie inside of their faces: face, number, 1 / depth, weights (3, n) of the corners on the
    screen."""
    x, y = column + 0.5 - slopes.x[face], row + 0.5 - slopes.y[face]
    with np.errstate(invalid="ignore"):
        b = slopes.second_x[face] * x + slopes.second_y[face] * y
        c = slopes.third_x[face] * x + slopes.third_y[face] * y
        a = 1 - b - c
        inside = (a >= -1e-9) & (b >= -1e-9) & (c >= -1e-9)  # false for what is no number
    face, weights = face[inside], np.stack([a[inside], b[inside], c[inside]])
    near = (weights * nearness[:, face]).sum(0)  # 1 / depth is linear on the screen
    return face, row[inside] * width + column[inside], near, weights


def interpolate(raster: Raster, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(n, k): values (V, k) of vertices at those pixels that show a triangle."""
    shown = raster.face >= 0
    a, b, c = raster.weights[shown].T
    i, j, k = (np.ascontiguousarray(corner) for corner in faces[raster.face[shown]].T)
    found = np.empty((len(a), values.shape[1]), np.result_type(a, values))
    for channel, column in enumerate(np.ascontiguousarray(values.T)):  # NumPy is slow with short rows
        found[:, channel] = a * column[i] + b * column[j] + c * column[k]
    return found


def sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, k) float32: values of a picture (h, w, k) at pixel positions, whose centres lie at .5. The edge goes on
    outside."""
    height, width, channels = picture.shape
    x, y = np.clip(x - 0.5, 0, width - 1), np.clip(y - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(np.int64), max(width - 2, 0)), np.minimum(y.astype(np.int64), max(height - 2, 0))
    across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
    corner = top * width + left
    right, below = int(width > 1), width * int(height > 1)
    places = [corner, corner + right, corner + below, corner + below + right]
    found = np.empty((len(x), channels), np.float32)
    for channel in range(channels):  # NumPy is slow with short rows
        flat = picture[:, :, channel].astype(np.float32, copy=False).ravel()
        a, b, c, d = (flat.take(place, mode="clip") for place in places)  # all are within; "raise" would copy
        upper, lower = a + (b - a) * across, c + (d - c) * across
        found[:, channel] = upper + (lower - upper) * down
    return found
