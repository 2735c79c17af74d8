"""A picture of a mesh without display or GPU."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from videomesh.meshing.raster import Pinhole, draw_mesh, interpolate, sample
from videomesh.report.models import Model

OVERSAMPLING = 2  # pixels along both axes for one of the still, against ragged edges
ELEVATION = 25.0  # degrees, if no camera says from where the subject is looked at
TURN = 35.0  # degrees from where the first frame was taken: two sides show more than one
FIELD = 35.0  # degrees
AMBIENT = 0.65  # of the colour; the rest depends on how a face is turned


class Drawing(NamedTuple):
    colours: np.ndarray  # (height, width, 3) in 0..1, black where there is no mesh
    covered: np.ndarray  # (height, width) bool


def draw(model: Model, camera: Pinhole, light: np.ndarray | None = None) -> Drawing:
    """The mesh in its colours as they are, or times the light (V,) at its vertices."""
    raster = draw_mesh(model.vertices, model.faces, camera)
    covered = raster.face >= 0
    if model.texture is None:
        found = interpolate(raster, model.colours, model.faces)
    else:
        picture = model.texture.read()
        found = sample(picture, *(interpolate(raster, model.texture.uv, model.faces) * picture.shape[1::-1]).T)
    if light is not None:
        found = found * interpolate(raster, light[:, None], model.faces)
    colours = np.zeros((*covered.shape, 3), np.float32)
    colours[covered] = found
    return Drawing(colours, covered)


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
    """(V,): some light from the camera, so that the shape shows on a subject of one colour."""
    normals = model.normals @ camera.cam_from_world[:3, :3].T
    light = np.abs(normals @ [-0.3, -0.45, -0.84])
    return np.asarray((AMBIENT + (1 - AMBIENT) * light) * 1.08)
