"""Meshes of the page: read from mesh.glb, and packed so that the page stays small."""

import json
import struct
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh

from videomesh.meshing.web import Y_UP, mean_colours, simplify, vertex_normals

TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}  # glTF component types
BYTE, UINT16, UINT32 = 5120, 5123, 5125
VERTICES, INDICES = 34962, 34963  # glTF buffer targets
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
LEVELS = 65535  # of a quantised coordinate: 0.05 mm on 3 m


class Model(NamedTuple):
    """A mesh in the world of transforms.json, where z is up."""

    vertices: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3) int64
    colours: np.ndarray  # (V, 3) sRGB in 0..1
    normals: np.ndarray  # (V, 3)


def read_glb(path: Path) -> Model | None:
    """The mesh of a GLB file; None if it is not readable."""
    try:
        return read_plain(path.read_bytes()) or read_with_trimesh(path)
    except Exception:  # a broken file has no end of ways to fail, and the page does without it
        return None


def read_plain(data: bytes) -> Model | None:
    """What web_mesh writes: one mesh with colours at its vertices. None for others, such as textured ones."""
    length = struct.unpack_from("<I", data, 12)[0]
    document, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    primitive = document["meshes"][0]["primitives"][0]
    attributes = primitive["attributes"]
    if "COLOR_0" not in attributes or "extensionsRequired" in document or len(document["meshes"]) > 1:
        return None

    def read(number: int) -> np.ndarray:
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        width = WIDTH[accessor["type"]]
        offset = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        return np.frombuffer(binary, TYPES[accessor["componentType"]], accessor["count"] * width, offset).reshape(
            -1, width
        )

    vertices = read(attributes["POSITION"]).astype(np.float64)
    faces = read(primitive["indices"]).reshape(-1, 3).astype(np.int64)
    colours = read(attributes["COLOR_0"])[:, :3]
    linear = colours / np.iinfo(colours.dtype).max if colours.dtype.kind == "u" else colours
    return Model(vertices, faces, to_srgb(linear), vertex_normals(vertices, faces))


def read_with_trimesh(path: Path) -> Model:
    """Any other GLB; a texture becomes colours at the vertices."""
    mesh: Any = trimesh.load_scene(path).to_geometry()
    visual = mesh.visual
    colours = np.asarray(visual.to_color().vertex_colors if visual.kind == "texture" else visual.vertex_colors)
    vertices = np.asarray(mesh.vertices) @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # glTF's y is up
    faces = np.asarray(mesh.faces, np.int64)
    return Model(vertices, faces, colours[:, :3] / 255, vertex_normals(vertices, faces))


def reduce(model: Model, count: int) -> Model:
    """The same mesh with at most so many faces."""
    if len(model.faces) <= count:
        return model
    vertices, faces = simplify(model.vertices, model.faces, count)
    colours = mean_colours(model.vertices, model.colours, vertices)
    return Model(vertices, faces, colours, vertex_normals(vertices, faces))


def pack(model: Model) -> bytes:
    """A GLB with 16-bit coordinates and 8-bit normals (KHR_mesh_quantization): two thirds of the plain file's size.

    The node undoes the quantisation, and turns z to glTF's y.
    """
    low = model.vertices.min(0)
    size = max(float(np.ptp(model.vertices, axis=0).max()), 1e-12)
    position = np.zeros((len(model.vertices), 4), "<u2")  # glTF wants each vertex at a multiple of 4 bytes
    position[:, :3] = np.round((model.vertices - low) / size * LEVELS)
    normal = np.zeros((len(model.vertices), 4), "<i1")
    normal[:, :3] = np.round(model.normals * 127)
    colour = np.full((len(model.vertices), 4), LEVELS, "<u2")
    colour[:, :3] = np.round(to_linear(model.colours) * LEVELS)
    arrays = [position, normal, colour, model.faces.astype("<u4").ravel()]
    accessors: list[dict[str, Any]] = [
        {"componentType": UINT16, "type": "VEC3", "count": len(position), "normalized": True},
        {"componentType": BYTE, "type": "VEC3", "count": len(normal), "normalized": True},
        {"componentType": UINT16, "type": "VEC4", "count": len(colour), "normalized": True},
        {"componentType": UINT32, "type": "SCALAR", "count": model.faces.size},
    ]
    accessors[0].update(min=position[:, :3].min(0).tolist(), max=position[:, :3].max(0).tolist())
    views: list[dict[str, int]] = []
    offset = 0
    for number, array in enumerate(arrays):
        accessors[number]["bufferView"] = number
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes})
        views[-1].update({"target": INDICES} if array.ndim == 1 else {"target": VERTICES})
        views[-1].update({} if array.ndim == 1 else {"byteStride": array.nbytes // len(array)})
        offset += array.nbytes
    document = {
        "asset": {"version": "2.0", "generator": "videos-to-meshes"},
        "extensionsUsed": ["KHR_mesh_quantization", "KHR_materials_unlit"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"rotation": Y_UP, "children": [1]},
                  {"mesh": 0, "translation": low.tolist(), "scale": [size] * 3}],
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
    }  # fmt: skip
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    out = BytesIO()
    out.write(struct.pack("<4sII", b"glTF", 2, 28 + len(text) + offset))
    out.write(struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", offset, b"BIN\0"))
    for array in arrays:
        out.write(array.tobytes())
    return out.getvalue()


# The transfer function of sRGB, IEC 61966-2-1.
def to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def to_linear(colours: np.ndarray) -> np.ndarray:
    colours = colours.clip(0, 1)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
