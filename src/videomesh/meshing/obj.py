"""Wavefront OBJ files of textured meshes: text that nearly all programs open."""

from pathlib import Path

import numpy as np

from videomesh.errors import UserError
from videomesh.meshing import gltf

# Colours are the photographs', with their light: illum 0 shows the picture as it is.
MATERIALS = """\
newmtl photographs
Ka 0 0 0
Kd 1 1 1
Ks 0 0 0
illum 0
map_Kd {picture}
"""


def read_textured(path: Path) -> tuple[gltf.Content, bytes]:
    """The content of a mesh.glb and its picture. Raises UserError if it has none."""
    try:
        content = gltf.read(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; the mesh step writes it")
    except Exception:  # a broken file has no end of ways to fail
        content = None
    if content is None or content.picture is None:
        raise UserError(
            f"{path}: not a mesh.glb with a picture; set mesh.texture_size above 0 and run the mesh step again"
        )
    return content, content.picture


def write(path: Path, content: gltf.Content, materials: str) -> None:
    """The mesh with y up. Places of which charts have several vertices get one, so that the surface hangs together.

    materials: name of the MTL file
    """
    x, y, z = content.attributes["POSITION"].T
    points, place = np.unique(np.stack([x, z, -y], 1), axis=0, return_inverse=True)
    uv = content.attributes["TEXCOORD_0"] * [1, -1] + [0, 1]  # OBJ's y points up
    corners = np.stack([place.reshape(-1)[content.faces], content.faces], -1).reshape(-1, 6) + 1
    with open(path, "w") as file:
        file.write(f"mtllib {materials}\nusemtl photographs\n")
        np.savetxt(file, points, "v %.7g %.7g %.7g")
        np.savetxt(file, uv, "vt %.6f %.6f")
        np.savetxt(file, corners, "f %d/%d %d/%d %d/%d")
