"""A picture of a mesh without display or GPU: each triangle is drawn into a depth buffer, with NumPy alone."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from videomesh.report.models import Model

SAMPLES = 2_000_000  # pixels of triangles' boxes that are tried at once; each needs about 100 bytes
NEAREST = 1e-3  # of the farthest depth; what is nearer is behind the camera or on it
OVERSAMPLING = 2  # pixels along both axes for one of the still, against ragged edges
ELEVATION = 25.0  # degrees, if no camera says from where the subject is looked at
TURN = 35.0  # degrees from where the first frame was taken: two sides show more than one
FIELD = 35.0  # degrees
AMBIENT = 0.65  # of the colour; the rest depends on how a face is turned


class Pinhole(NamedTuple):
    """A camera with OpenCV's axes: x right, y down, z forward."""

    cam_from_world: np.ndarray  # (4, 4)
    focal: tuple[float, float]  # px
    principal: tuple[float, float]  # px, centre of the first pixel at 0.5
    size: tuple[int, int]  # width, height


class Drawing(NamedTuple):
    colours: np.ndarray  # (height, width, 3) in 0..1, black where there is no mesh
    covered: np.ndarray  # (height, width) bool


def draw(model: Model, camera: Pinhole, colours: np.ndarray | None = None) -> Drawing:
    """The mesh in its colours (V, 3) as they are, without light. What reaches behind the camera is left out."""
    width, height = camera.size
    points = model.vertices @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    depth = points[:, 2]
    front = depth > NEAREST * max(float(depth.max(initial=0.0)), 1e-12)
    scale = np.where(front, 1 / np.where(front, depth, 1), 0)
    screen = points[:, :2] * scale[:, None] * camera.focal + camera.principal
    faces = model.faces[front[model.faces].all(1)]
    corners = screen[faces]  # (f, 3, 2)
    # Pixels whose centres, at 0.5, lie in the box round a face: none for most of those that are smaller than a pixel.
    low = np.clip(np.ceil(corners.min(1) - 0.5), 0, [width, height]).astype(np.int64)
    high = np.clip(np.floor(corners.max(1) - 0.5) + 1, 0, [width, height]).astype(np.int64)
    extent = np.maximum(high - low, 0)
    count = extent.prod(1)
    shown = np.flatnonzero(count)
    buffer = np.zeros(height * width)  # 1 / depth
    found = np.zeros((height * width, 3), np.float32)
    values = model.colours if colours is None else colours
    for chunk in split(shown, count[shown]):
        pixel, nearness, face, weights = scan(chunk, corners, scale[faces], low, extent, count, width)
        np.maximum.at(buffer, pixel, nearness)
        won = nearness >= buffer[pixel]
        found[pixel[won]] = (weights[won][:, :, None] * values[faces[face[won]]]).sum(1)
    return Drawing(found.reshape(height, width, 3), (buffer > 0).reshape(height, width))


def split(rows: np.ndarray, count: np.ndarray) -> list[np.ndarray]:
    """Rows in groups whose counts add up to about SAMPLES; a larger one stands alone."""
    group = np.cumsum(count) // SAMPLES
    return np.split(rows, np.flatnonzero(np.diff(group)) + 1) if len(rows) else []


def scan(
    chunk: np.ndarray, corners: np.ndarray, scale: np.ndarray, low: np.ndarray, extent: np.ndarray, count: np.ndarray,
    width: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Pixels inside of the faces of a chunk: number, 1 / depth, face, weights (n, 3) of its corners."""
    face = np.repeat(chunk, count[chunk])
    begin = np.repeat(np.cumsum(count[chunk]) - count[chunk], count[chunk])
    place = np.arange(len(face)) - begin
    x = low[face, 0] + place % extent[face, 0]
    y = low[face, 1] + place // extent[face, 0]
    a, b, c = corners[face].transpose(1, 0, 2)
    area = cross(b - a, c - a)
    point = np.stack([x + 0.5, y + 0.5], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.stack([cross(b - point, c - point), cross(c - point, a - point)], 1) / area[:, None]
    weights = np.column_stack([weights, 1 - weights.sum(1)])
    inside = (weights >= -1e-9).all(1)  # false for a face without an area, whose weights are no numbers
    weights, face = weights[inside], face[inside]
    nearness = (weights * scale[face]).sum(1)  # 1 / depth is linear on the screen
    return y[inside] * width + x[inside], nearness, face, weights


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


# --- the still --------------------------------------------------------------------------------------------------------


def make_still(model: Model, cameras: np.ndarray | None, size: tuple[int, int]) -> Image.Image:
    """The whole mesh with transparent surroundings. cameras: (n, 3) positions in the mesh's world, where z is up."""
    camera = choose_view(model, cameras, (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING))
    drawing = draw(model, camera, shade(model, camera))
    rgba = np.dstack([drawing.colours, drawing.covered])
    picture = Image.fromarray(np.round(rgba.clip(0, 1) * 255).astype(np.uint8), "RGBA")
    return picture.resize(size, Image.Resampling.BOX)


def choose_view(model: Model, cameras: np.ndarray | None, size: tuple[int, int]) -> Pinhole:
    """Beside where the first frame was taken, at the cameras' usual height, far enough to see all."""
    low, high = model.vertices.min(0), model.vertices.max(0)
    middle = (low + high) / 2
    azimuth, elevation = np.radians(-60.0), np.radians(ELEVATION)
    if cameras is not None and len(cameras):
        offset = cameras - middle
        azimuth = np.arctan2(offset[0, 1], offset[0, 0]) + np.radians(TURN)
        heights = np.arctan2(offset[:, 2], np.linalg.norm(offset[:, :2], axis=1))
        elevation = np.clip(np.median(heights), np.radians(-10.0), np.radians(60.0))
    back = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    rotation = np.stack([right, np.cross(-back, right), -back])
    focal = min(size) / 2 / np.tan(np.radians(FIELD) / 2)
    points = (model.vertices - middle) @ rotation.T
    # As far away as the vertex that needs most, with 4 % of room.
    need = np.abs(points[:, :2]) * 1.04 * focal / (np.array(size) / 2) - points[:, 2:]
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ middle + [0, 0, float(need.max())]
    return Pinhole(pose, (focal, focal), (size[0] / 2, size[1] / 2), size)


def shade(model: Model, camera: Pinhole) -> np.ndarray:
    """(V, 3): the colours with some light from the camera, so that the shape shows on a subject of one colour."""
    normals = model.normals @ camera.cam_from_world[:3, :3].T
    light = np.abs(normals @ [-0.3, -0.45, -0.84])
    return np.asarray(model.colours * (AMBIENT + (1 - AMBIENT) * light[:, None]) * 1.08)
