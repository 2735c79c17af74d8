"""Write the textured mesh of mesh.glb as an OBJ file with its materials and its picture: all of them appear, or none.

y is up in it, as most programs expect of this format.
"""

import argparse
from pathlib import Path

from videomesh.errors import run
from videomesh.files import outputs
from videomesh.meshing import obj


def main() -> None:
    args = parse_arguments()
    content, jpeg = obj.read_textured(args.mesh)
    with outputs(args.output, args.materials, args.picture) as (mesh, materials, picture):
        obj.write(mesh, content, args.materials.name)
        materials.write_text(obj.MATERIALS.format(picture=args.picture.name))
        picture.write_bytes(jpeg)
    print(f"OBJ: {len(content.faces):,} faces")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, required=True, help="mesh.glb with a picture")
    parser.add_argument("--output", type=Path, required=True, help="mesh.obj to write")
    parser.add_argument("--materials", type=Path, required=True, help="mesh.mtl to write beside it")
    parser.add_argument("--picture", type=Path, required=True, help="mesh.jpg to write beside it")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
