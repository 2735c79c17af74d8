"""Binary PLY files of coloured triangle meshes (Turk 1994): NumPy only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from videomesh.errors import UserError

VERTEX = np.dtype([("position", "<f4", 3), ("colour", "u1", 3), ("frames", "u1")])
FACE = np.dtype([("corners", "u1"), ("vertices", "<i4", 3)])
HEADER = """ply
format binary_little_endian 1.0
comment written by videomesh
element vertex {vertices}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
property uchar frames
element face {faces}
property list uchar int vertex_indices
end_header
"""


def write(path: Path, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, frames: np.ndarray) -> None:
    """vertices (V, 3), faces (F, 3) of vertex numbers, colours (V, 3) and numbers of frames (V,) 0..255."""
    vertex = np.empty(len(vertices), VERTEX)
    vertex["position"], vertex["colour"], vertex["frames"] = vertices, colours, frames
    face = np.empty(len(faces), FACE)
    face["corners"], face["vertices"] = 3, faces
    with open(path, "wb") as file:
        file.write(HEADER.format(vertices=len(vertices), faces=len(faces)).encode())
        file.write(vertex.data)
        file.write(face.data)


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3) float32, faces (F, 3) int32, colours (V, 3) uint8 and numbers of frames (V,) uint8 of a file that
    `write` made.

    Raises UserError on any other file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}")
    mark = b"end_header\n"
    start = data.find(mark) + len(mark)
    header = data[:start].decode("ascii", "replace").split()
    counts = [int(header[i + 2]) for i, word in enumerate(header) if word == "element" and header[i + 2].isdigit()]
    if len(counts) != 2 or data[:start] != HEADER.format(vertices=counts[0], faces=counts[1]).encode():
        raise UserError(f"{path}: not a mesh written by videomesh")
    if len(data) != start + counts[0] * VERTEX.itemsize + counts[1] * FACE.itemsize:
        raise UserError(f"{path}: cut short: {len(data)} bytes for {counts[0]} vertices and {counts[1]} faces")
    vertex = np.frombuffer(data, VERTEX, counts[0], start)
    face = np.frombuffer(data, FACE, counts[1], start + vertex.nbytes)
    return vertex["position"], face["vertices"], vertex["colour"], vertex["frames"]
