"""Make a small mesh for web pages: mesh.ply with fewer faces as binary glTF (GLB), vertex colours and normals included.

The vertices keep the axes and the unit of transforms.json's world, where z is up. In glTF y is, so that the file tells
viewers to turn the mesh by a rotation of its node.
"""

import argparse
from pathlib import Path

from videomesh.errors import run
from videomesh.files import outputs
from videomesh.meshing.web import glb, mean_colours, read_mesh, simplify, vertex_normals


def main() -> None:
    args = parse_arguments()
    vertices, faces, colours = read_mesh(args.mesh)
    fewer_vertices, fewer_faces = simplify(vertices, faces, args.faces)
    fewer_colours = mean_colours(vertices, colours, fewer_vertices)
    normals = vertex_normals(fewer_vertices, fewer_faces)
    with outputs(args.output) as (part,):
        part.write_bytes(glb(fewer_vertices, fewer_faces, normals, fewer_colours))
        size = part.stat().st_size
    print(f"web mesh: {len(fewer_faces):,} of {len(faces):,} faces, {size / 1e6:.1f} MB")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, required=True, help="mesh.ply of the mesh stage")
    parser.add_argument("--faces", type=int, required=True, help="faces at most")
    parser.add_argument("--output", type=Path, required=True, help="mesh.glb to write")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
