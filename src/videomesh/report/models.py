"""Meshes of the page: read from mesh.glb, and packed so that the page stays small."""

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from PIL import Image

from videomesh.meshing import gltf
from videomesh.meshing.raster import sample
from videomesh.meshing.web import mean_colours, simplify, to_linear, to_srgb, vertex_normals

QUALITY = 85  # of a picture that has to be smaller
LEVELS = 65535  # of a quantised coordinate: 0.05 mm on 3 m


class Texture(NamedTuple):
    """Colours as a picture."""

    picture: bytes  # a JPEG
    uv: np.ndarray  # (V, 2) in 0..1 from its upper left corner

    def read(self) -> np.ndarray:
        """(h, w, 3) float32 in 0..1."""
        return np.asarray(Image.open(BytesIO(self.picture)).convert("RGB"), np.float32) / 255

    def get_size(self) -> int:
        """Long side, px."""
        return max(Image.open(BytesIO(self.picture)).size)


class Model(NamedTuple):
    """A mesh in the world of transforms.json, where z is up."""

    vertices: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3) int64
    colours: np.ndarray  # (V, 3) sRGB in 0..1
    normals: np.ndarray  # (V, 3)
    texture: Texture | None = None
    frames: np.ndarray | None = None  # (V,) uint8: by how many frames each vertex is seen


def read_glb(path: Path) -> Model | None:
    """The mesh of a GLB file; None if it is not readable."""
    try:
        content = gltf.read(path.read_bytes())
        return read_with_trimesh(path) if content is None else read_content(content)
    except Exception:  # a broken file has no end of ways to fail, and the page does without it
        return None


def read_content(content: gltf.Content) -> Model:
    """What web_mesh writes."""
    attributes = content.attributes
    frames = attributes[gltf.FRAMES][:, 0] if gltf.FRAMES in attributes else None
    vertices, normals = attributes["POSITION"].astype(np.float64), attributes["NORMAL"].astype(np.float64)
    if content.picture is None:
        colours = to_srgb(attributes["COLOR_0"][:, :3] / np.iinfo(np.uint16).max)
        return Model(vertices, content.faces, colours, normals, frames=frames)
    texture = Texture(content.picture, attributes["TEXCOORD_0"])
    picture = texture.read()
    x, y = (texture.uv * [picture.shape[1], picture.shape[0]]).T
    return Model(vertices, content.faces, sample(picture, x, y), normals, texture, frames)


def read_with_trimesh(path: Path) -> Model:
    """A GLB of another program; a texture becomes colours at the vertices."""
    mesh: Any = trimesh.load_scene(path).to_geometry()
    visual = mesh.visual
    colours = np.asarray(visual.to_color().vertex_colors if visual.kind == "texture" else visual.vertex_colors)
    vertices = np.asarray(mesh.vertices) @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # glTF's y is up
    faces = np.asarray(mesh.faces, np.int64)
    return Model(vertices, faces, colours[:, :3] / 255, vertex_normals(vertices, faces))


def reduce(model: Model, count: int) -> Model:
    """The same mesh with at most so many faces, and colours at its vertices if it has fewer now."""
    if len(model.faces) <= count:
        return model
    welded, number = np.unique(model.vertices, axis=0, return_inverse=True)  # a textured mesh has cuts
    vertices, faces = simplify(welded, number.reshape(-1)[model.faces], count)
    colours, frames = mean_colours(model.vertices, model.colours, model.frames, vertices)
    return Model(vertices, faces, colours, vertex_normals(vertices, faces), frames=frames)


def halve_picture(model: Model) -> Model:
    """The same mesh with a picture of half the sides."""
    assert model.texture is not None
    picture, file = Image.open(BytesIO(model.texture.picture)), BytesIO()
    picture.reduce(2).save(file, "JPEG", quality=QUALITY)
    return model._replace(texture=model.texture._replace(picture=file.getvalue()))


def pack(model: Model) -> bytes:
    """A GLB with 16-bit coordinates and 8-bit normals (KHR_mesh_quantization): two thirds of the plain file's size.

    The node undoes the quantisation, and turns z to glTF's y.
    """
    low = model.vertices.min(0)
    size = max(float(np.ptp(model.vertices, axis=0).max()), 1e-12)
    attributes = {
        "POSITION": np.round((model.vertices - low) / size * LEVELS).astype("<u2"),
        "NORMAL": np.round(model.normals * 127).astype("<i1"),
    }
    picture = None
    if model.texture is not None:
        attributes["TEXCOORD_0"] = np.round(model.texture.uv.clip(0, 1) * LEVELS).astype("<u2")
        picture = model.texture.picture
    else:
        colour = np.full((len(model.vertices), 4), LEVELS, "<u2")
        colour[:, :3] = np.round(to_linear(model.colours) * LEVELS)
        attributes["COLOR_0"] = colour
    return gltf.write(attributes, model.faces, picture, {"translation": low.tolist(), "scale": [size] * 3})
