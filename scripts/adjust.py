"""Open a page in the browser on which the region and the crop of a scene are set.

The page shows points, cameras and the mesh, if there is one. It is served to this machine alone. What you save goes to
config/regions/SCENE.json, and the next run of the workflow takes it from there. Everything else that is given, such as
--profile or --configfile, is for Snakemake and the same as in your runs: it says where the results are.
"""

import argparse
import functools
import shlex
import webbrowser
from pathlib import Path

from videomesh.adjust import blender
from videomesh.adjust.page import Page
from videomesh.adjust.server import Server
from videomesh.adjust.workflow import Project, open_project
from videomesh.errors import run
from videomesh.region.by_hand import get_path

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"


def main() -> None:
    args, for_snakemake = parse_arguments()
    if not {"-s", "--snakefile"} & {argument.partition("=")[0] for argument in for_snakemake}:
        for_snakemake = ["--snakefile", str(SNAKEFILE), *for_snakemake]
    if args.export_blender:
        use = functools.partial(export, scene=args.scene, folder=args.export_blender.absolute())
    else:
        use = functools.partial(serve, scene=args.scene, browser=not args.no_browser)
    open_project(for_snakemake, use)


def serve(project: Project, scene: str, browser: bool) -> None:
    page = Page(project, scene)
    with Server(page.show, page.ask, page.save) as server:
        print(f"Open {server.url}\nCtrl-C ends this.", flush=True)
        if browser:
            webbrowser.open(server.url)
        server.serve_forever()


def export(project: Project, scene: str, folder: Path) -> None:
    count = blender.export(project.find_results(scene, blender.NEEDED), folder)
    saved = shlex.quote(str(folder / "transforms.json"))
    print(
        f"{folder}: {count} images, COLMAP's model and the region of {scene}. Choose this folder in the panel of "
        f"BlenderNeuralangelo. After Export Scene Parameters:\ncp {saved} {get_path(scene)}"
    )


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--scene", required=True, help="name of the scene")
    parser.add_argument("--no-browser", action="store_true", help="only print the address of the page")
    parser.add_argument(
        "--export-blender",
        type=Path,
        metavar="FOLDER",
        help="write a new folder for Blender's add-on BlenderNeuralangelo instead, with all images",
    )
    return parser.parse_known_args()


if __name__ == "__main__":
    run(main)
