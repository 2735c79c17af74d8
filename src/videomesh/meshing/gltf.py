"""Binary glTF 2.0 files (GLB) of one mesh: written, and read back.

The vertices keep the axes and the unit of transforms.json's world, where z is up. In glTF y is, so that the file tells
viewers to turn the mesh by a rotation of its node. glTF's unit is the metre; where the world's unit has no known
length, that is a metre by name alone.

Colours are the photographs', with their light and shadow: an unlit material shows them as they are.
"""

import json
import struct
from typing import Any, NamedTuple

import numpy as np

Y_UP = [-(0.5**0.5), 0.0, 0.0, 0.5**0.5]  # a quarter turn about x, as a quaternion (x, y, z, w): z becomes y
TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}  # glTF component types
COMPONENTS = {np.dtype(name): number for number, name in TYPES.items()}
FRAMES = "_FRAMES"  # name of an attribute of our own: by how many frames a vertex is seen
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
KINDS = {width: name for name, width in WIDTH.items()}
VERTICES, INDICES = 34962, 34963  # glTF buffer targets
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP = 9729, 9987, 33071  # glTF sampler: filters, and no repetition


class Content(NamedTuple):
    """What a file holds, as it is stored: nothing is turned, and no quantisation undone."""

    attributes: dict[str, np.ndarray]  # glTF's name -> (V, k)
    faces: np.ndarray  # (F, 3) int64
    picture: bytes | None  # the JPEG or PNG of the colours


def write(
    attributes: dict[str, np.ndarray],
    faces: np.ndarray,
    picture: bytes | None = None,
    node: dict[str, Any] | None = None,
) -> bytes:
    """A file with the attributes (V, k) of vertices, of which integers stand for 0..1 or -1..1, and faces (F, 3).

    Names that begin with _ are no names of glTF's; their integers stand for themselves.
    picture: a JPEG that TEXCOORD_0 leads into, whose y points down, as in a picture
    node: undoes a quantisation of POSITION
    """
    binary = bytearray()
    views: list[dict[str, int]] = []
    accessors: list[dict[str, Any]] = []

    def add(array: np.ndarray, target: int, normalized: bool = False) -> None:
        rows, width = array.shape
        stride = -(-array.itemsize * width // 4) * 4  # glTF wants each vertex at a multiple of 4 bytes
        padded = np.zeros((rows, stride), np.uint8)
        padded[:, : array.itemsize * width] = np.ascontiguousarray(array).view(np.uint8).reshape(rows, -1)
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": padded.nbytes, "target": target})
        if target == VERTICES:
            views[-1]["byteStride"] = stride
        accessor = {"bufferView": len(views) - 1, "componentType": COMPONENTS[array.dtype], "type": KINDS[width]}
        accessors.append({**accessor, "count": rows})
        if normalized:
            accessors[-1]["normalized"] = True
        binary.extend(padded.tobytes())

    for name, array in attributes.items():
        add(array, VERTICES, normalized=array.dtype.kind in "iu" and not name.startswith("_"))
    add(faces.astype("<u4").reshape(-1, 1), INDICES)
    position = list(attributes).index("POSITION")
    accessors[position].update(min=attributes["POSITION"].min(0).tolist(), max=attributes["POSITION"].max(0).tolist())

    material: dict[str, Any] = {
        "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
        "doubleSided": True,
        "extensions": {"KHR_materials_unlit": {}},
    }
    used = ["KHR_materials_unlit"]
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "videos-to-meshes"}}
    if node is not None:
        used.insert(0, "KHR_mesh_quantization")
        document["extensionsRequired"] = ["KHR_mesh_quantization"]
    if picture is not None:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(picture)})
        binary.extend(picture + bytes(-len(picture) % 4))
        clamp = {"wrapS": CLAMP, "wrapT": CLAMP}
        document |= {
            "images": [{"bufferView": len(views) - 1, "mimeType": "image/jpeg"}],
            "samplers": [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, **clamp}],
            "textures": [{"source": 0, "sampler": 0}],
        }
    numbers = {name: number for number, name in enumerate(attributes)}
    primitive = {"attributes": numbers, "indices": len(attributes), "material": 0}
    outer = {"rotation": Y_UP, **({"mesh": 0} if node is None else {"children": [1]})}
    document |= {
        "extensionsUsed": used,
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [outer] if node is None else [outer, {"mesh": 0, **node}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [material],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + bytes(binary)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def read(data: bytes) -> Content | None:
    """What `write` makes without a quantisation. None for files of other programs, if they hold more than that.

    A file that is broken raises whatever its first broken part does.
    """
    length = struct.unpack_from("<I", data, 12)[0]
    document, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    primitives = [primitive for mesh in document["meshes"] for primitive in mesh["primitives"]]
    if document["asset"].get("generator") != "videos-to-meshes" or "extensionsRequired" in document:
        return None

    def read_rows(number: int) -> np.ndarray:
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        dtype, width = np.dtype(TYPES[accessor["componentType"]]), WIDTH[accessor["type"]]
        stride = view.get("byteStride", dtype.itemsize * width)
        rows = np.frombuffer(binary, np.uint8, accessor["count"] * stride, view["byteOffset"]).reshape(-1, stride)
        return np.ascontiguousarray(rows[:, : dtype.itemsize * width]).view(dtype)

    attributes = {name: read_rows(number) for name, number in primitives[0]["attributes"].items()}
    picture = None
    for image in document.get("images", []):
        view = document["bufferViews"][image["bufferView"]]
        picture = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return Content(attributes, read_rows(primitives[0]["indices"]).reshape(-1, 3).astype(np.int64), picture)
