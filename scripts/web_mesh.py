"""Make a small mesh for web pages: mesh.ply with fewer faces as binary glTF (GLB), with normals. Its colours are at its
vertices, or in a picture that is made from the photographs.

The vertices keep the axes and the unit of transforms.json's world, where z is up. In glTF y is, so that the file tells
viewers to turn the mesh by a rotation of its node.
"""

import argparse
from pathlib import Path

from videomesh.errors import run
from videomesh.files import outputs
from videomesh.meshing import texture, web
from videomesh.scene import read_scene


def main() -> None:
    args = parse_arguments()
    vertices, faces, colours, frames = web.read_mesh(args.mesh)
    count = len(faces)
    fewer_vertices, faces = web.simplify(vertices, faces, args.faces)
    colours, frames = web.mean_colours(vertices, colours, frames, fewer_vertices)
    normals = web.vertex_normals(fewer_vertices, faces)
    words = "colours at its vertices"
    if args.texture_size:
        photographs = texture.Photographs(read_scene(args.transforms), args.images, args.masks)
        atlas, picture = texture.make(fewer_vertices, faces, normals, colours, photographs, args.texture_size)
        content = texture.glb(fewer_vertices, normals, atlas, picture, frames)
        words = f"a picture of {atlas.size[0]} x {atlas.size[1]} px"
    else:
        content = web.glb(fewer_vertices, faces, normals, colours, frames)
    with outputs(args.output) as (part,):
        part.write_bytes(content)
    print(f"web mesh: {len(faces):,} of {count:,} faces, {words}, {len(content) / 1e6:.1f} MB")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, required=True, help="mesh.ply of the mesh stage")
    parser.add_argument("--faces", type=int, required=True, help="faces at most")
    parser.add_argument("--output", type=Path, required=True, help="mesh.glb to write")
    add = parser.add_argument_group("the picture").add_argument
    add("--texture-size", type=int, default=0, help="longest side in px at most; 0 keeps colours at vertices (default)")
    add("--transforms", type=Path, help="transforms.json of the region stage")
    add("--images", type=Path, help="images.tar of the poses stage: the undistorted frames")
    add("--masks", type=Path, help="masks.tar of the poses stage: where the subject is")
    args = parser.parse_args()
    if args.texture_size and not (args.transforms and args.images and args.masks):
        parser.error("--texture-size needs --transforms, --images and --masks")
    return args


if __name__ == "__main__":
    run(main)
