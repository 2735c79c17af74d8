"""Binary STL files (3D Systems 1989): triangles without colours, for 3D printers."""

from pathlib import Path

import numpy as np

FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def write(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """vertices (V, 3), faces (F, 3) of vertex numbers."""
    face = np.zeros(len(faces), FACE)
    face["corners"] = vertices[faces]
    a, b, c = face["corners"].transpose(1, 0, 2).astype(np.float64)
    normal = np.cross(b - a, c - a)
    face["normal"] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny)
    with open(path, "wb") as file:
        file.write(b"videos-to-meshes".ljust(80) + np.uint32(len(faces)).tobytes())
        file.write(face.tobytes())
