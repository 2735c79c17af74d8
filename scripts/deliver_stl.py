"""Write the whole mesh as a binary STL file, which programs for 3D printers open.

STL has no unit, and these programs read millimetres: a mesh whose size is known is written in them. z stays up.
"""

import argparse
from pathlib import Path

from videomesh.errors import run
from videomesh.files import outputs, read_json
from videomesh.meshing import ply, stl


def main() -> None:
    args = parse_arguments()
    vertices, faces, *_ = ply.read(args.mesh)
    summary = read_json(args.summary)
    known = summary["units"] == "m"
    with outputs(args.output) as (part,):
        stl.write(part, vertices * (1000 if known else 1), faces)
    size = "in millimetres" if known else "of unknown size; scale.distance gives it one"
    print(f"STL: {len(faces):,} faces {size}; {summary['open_edges'] or 'no'} open edges")
    if summary["open_edges"]:
        print("warning: the mesh has holes. To print it, set mesh.unseen to close")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, required=True, help="mesh.ply of the mesh stage")
    parser.add_argument("--summary", type=Path, required=True, help="mesh.json of the mesh stage")
    parser.add_argument("--output", type=Path, required=True, help="mesh.stl to write")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
