"""A small mesh for web pages: fewer faces, as binary glTF (GLB), with vertex colours and normals."""

import json
import struct
from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np
import trimesh
from scipy.spatial import cKDTree

from videomesh.errors import UserError

# The library's error thresholds are absolute, 1e-9 x (step + 3)^7. On a mesh of size 1 or less its first steps pass
# whatever they meet (50,000 faces of the demo: largest error 0.017, 0.013 at size 10); at 1000 it may stop early.
SIMPLIFIED_SIZE = 10.0
Y_UP = [-(0.5**0.5), 0.0, 0.0, 0.5**0.5]  # a quarter turn about x, as a quaternion (x, y, z, w): z becomes y
FLOAT, UINT16, UINT32 = 5126, 5123, 5125  # glTF component types
VERTICES, INDICES = 34962, 34963  # glTF buffer targets


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64, faces (F, 3) int64, colours (V, 3) in 0..1 of a PLY file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; the mesh step writes it")
    try:
        mesh = trimesh.load_mesh(path, file_type="ply", process=False)
        visual: Any = mesh.visual
        colours = np.asarray(visual.vertex_colors)[:, :3] / 255
        vertices, faces = np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64)
    except Exception as error:  # trimesh raises whatever its parts raise on a file that is no mesh
        raise UserError(f"{path}: not a readable PLY mesh ({type(error).__name__}: {error}); run the mesh step again")
    if not len(faces):
        raise UserError(f"{path}: the mesh has no faces; run the mesh step again")
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise UserError(f"{path}: vertices are not finite, or faces name vertices it lacks; run the mesh step again")
    return vertices, faces, colours


def simplify(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` faces: edges whose loss shows least are collapsed (quadric error, Garland & Heckbert 1997)."""
    if len(faces) <= count:
        return vertices, faces
    middle, unit = vertices.mean(0), np.ptp(vertices, axis=0).max() / SIMPLIFIED_SIZE
    points, triangles = fast_simplification.simplify((vertices - middle) / unit, faces, target_count=count)
    triangles = triangles[(triangles != np.roll(triangles, 1, axis=1)).all(1)]
    used, triangles = np.unique(triangles, return_inverse=True)
    return points[used] * unit + middle, triangles.reshape(-1, 3)


def mean_colours(vertices: np.ndarray, colours: np.ndarray, fewer: np.ndarray) -> np.ndarray:
    """(W, 3): for each of fewer vertices the mean colour of those it stands for, the ones it is nearest to."""
    nearest = cKDTree(fewer).query(vertices, workers=-1)[1]
    count = np.bincount(nearest, minlength=len(fewer))
    total = np.stack([np.bincount(nearest, colours[:, k], len(fewer)) for k in range(3)], 1)
    alone = count == 0
    total[alone] = colours[cKDTree(vertices).query(fewer[alone])[1]]
    return total / np.maximum(count, 1)[:, None]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit vectors: the mean of the faces' normals, weighted by area."""
    areas = trimesh.triangles.cross(vertices[faces])  # each twice as long as its face is large
    areas /= max(np.abs(areas).max(), np.finfo(float).tiny)  # what is shorter than 1e-12 counts as no direction
    normals = trimesh.geometry.mean_vertex_normals(len(vertices), faces, areas)
    normals[~normals.any(1)] = [0.0, 0.0, 1.0]  # glTF wants unit length always
    return np.asarray(normals)


def glb(vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, colours: np.ndarray) -> bytes:
    """A binary glTF 2.0 file.

    The world's axes stay in the file, where z is up, and a rotation of the node turns z to glTF's y. glTF's unit is the
    metre; where the world's unit has no known length, that is a metre by name alone.

    Colours are the photographs', with their light and shadow: an unlit material shows them as they are. glTF's vertex
    colours are linear, and 8 bits of those would show steps in the dark, so they get 16.
    """
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)  # sRGB, IEC 61966-2-1
    rgba = np.full((len(vertices), 4), 65535, "<u2")
    rgba[:, :3] = np.round(linear.clip(0, 1) * 65535)
    position = vertices.astype("<f4")
    arrays = [position, normals.astype("<f4"), rgba, faces.astype("<u4").ravel()]
    kinds = [(FLOAT, "VEC3"), (FLOAT, "VEC3"), (UINT16, "VEC4"), (UINT32, "SCALAR")]
    accessors: list[dict[str, Any]] = []
    views = []
    offset = 0
    for number, (array, (component, kind)) in enumerate(zip(arrays, kinds, strict=True)):
        accessors.append({"bufferView": number, "componentType": component, "type": kind, "count": len(array)})
        target = INDICES if kind == "SCALAR" else VERTICES
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes, "target": target})
        offset += array.nbytes
    accessors[0].update(min=position.min(0).tolist(), max=position.max(0).tolist())
    accessors[2]["normalized"] = True
    document = {
        "asset": {"version": "2.0", "generator": "videos-to-meshes"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": Y_UP}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}]}
        ],
        "materials": [
            {
                "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
                "doubleSided": True,
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data = b"".join(array.tobytes() for array in arrays)  # every array's size is a multiple of 4
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
