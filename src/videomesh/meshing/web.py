"""A small mesh for web pages: fewer faces, as binary glTF (GLB), with vertex colours and normals."""

from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np
import trimesh
from scipy.spatial import cKDTree

from videomesh.errors import UserError
from videomesh.meshing import gltf

# The library's error thresholds are absolute, 1e-9 x (step + 3)^7. On a mesh of size 1 or less its first steps pass
# whatever they meet (50,000 faces of the demo: largest error 0.017, 0.013 at size 10); at 1000 it may stop early.
SIMPLIFIED_SIZE = 10.0


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Vertices (V, 3) float64, faces (F, 3) int64, colours (V, 3) in 0..1 of a PLY file, and by how many frames each
    vertex is seen (V,) uint8, None if the file does not say so."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; the mesh step writes it")
    try:
        mesh = trimesh.load_mesh(path, file_type="ply", process=False)
        visual: Any = mesh.visual
        colours = np.asarray(visual.vertex_colors)[:, :3] / 255
        vertices, faces = np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64)
        frames = read_frames(mesh)
    except Exception as error:  # trimesh raises whatever its parts raise on a file that is no mesh
        raise UserError(f"{path}: not a readable PLY mesh ({type(error).__name__}: {error}); run the mesh step again")
    if not len(faces):
        raise UserError(f"{path}: the mesh has no faces; run the mesh step again")
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise UserError(f"{path}: vertices are not finite, or faces name vertices it lacks; run the mesh step again")
    return vertices, faces, colours, frames


def read_frames(mesh: Any) -> np.ndarray | None:
    """(V,) uint8: the property `frames`, which trimesh keeps with the rest of what it read."""
    try:
        frames = np.asarray(mesh.metadata["_ply_raw"]["vertex"]["data"]["frames"])
    except (KeyError, ValueError):  # a structured array without a field raises the latter
        return None
    return frames.clip(0, 255).astype(np.uint8) if frames.shape == (len(mesh.vertices),) else None


def simplify(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` faces: edges whose loss shows least are collapsed (quadric error, Garland & Heckbert 1997)."""
    if len(faces) <= count:
        return vertices, faces
    middle, unit = vertices.mean(0), np.ptp(vertices, axis=0).max() / SIMPLIFIED_SIZE
    points, triangles = fast_simplification.simplify((vertices - middle) / unit, faces, target_count=count)
    triangles = triangles[(triangles != np.roll(triangles, 1, axis=1)).all(1)]
    used, triangles = np.unique(triangles, return_inverse=True)
    return points[used] * unit + middle, triangles.reshape(-1, 3)


def mean_colours(
    vertices: np.ndarray, colours: np.ndarray, frames: np.ndarray | None, fewer: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours (W, 3) and numbers of frames (W,): for each of fewer vertices the mean of those it stands for."""
    if frames is None:
        return mean_values(vertices, colours, fewer), None
    values = mean_values(vertices, np.column_stack([colours, frames]), fewer)
    return values[:, :-1], np.round(values[:, -1]).astype(np.uint8)


def mean_values(vertices: np.ndarray, values: np.ndarray, fewer: np.ndarray) -> np.ndarray:
    """(W, k): for each of fewer vertices the mean of the values (V, k) of those it is nearest to."""
    nearest = cKDTree(fewer).query(vertices, workers=-1)[1]
    count = np.bincount(nearest, minlength=len(fewer))
    total = np.stack([np.bincount(nearest, column, len(fewer)) for column in values.T], 1)
    alone = count == 0
    total[alone] = values[cKDTree(vertices).query(fewer[alone])[1]]
    return total / np.maximum(count, 1)[:, None]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit vectors: the mean of the faces' normals, weighted by area."""
    areas = trimesh.triangles.cross(vertices[faces])  # each twice as long as its face is large
    areas /= max(np.abs(areas).max(), np.finfo(float).tiny)  # what is shorter than 1e-12 counts as no direction
    normals = trimesh.geometry.mean_vertex_normals(len(vertices), faces, areas)
    normals[~normals.any(1)] = [0.0, 0.0, 1.0]  # glTF wants unit length always
    return np.asarray(normals)


def glb(
    vertices: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    colours: np.ndarray,
    frames: np.ndarray | None = None,
) -> bytes:
    """A binary glTF file with colours (V, 3) in 0..1 and numbers of frames (V,) at its vertices.

    glTF's vertex colours are linear, and 8 bits of those would show steps in the dark, so they get 16.
    """
    rgba = np.full((len(vertices), 4), 65535, "<u2")
    rgba[:, :3] = np.round(to_linear(colours) * 65535)
    attributes = {"POSITION": vertices.astype("<f4"), "NORMAL": normals.astype("<f4"), "COLOR_0": rgba}
    if frames is not None:
        attributes[gltf.FRAMES] = frames[:, None]
    return gltf.write(attributes, faces)


# The transfer function of sRGB, IEC 61966-2-1.
def to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def to_linear(colours: np.ndarray) -> np.ndarray:
    colours = colours.clip(0, 1)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
