"""Write the page of a scene that is done: one HTML file with its mesh, frames, cameras, checks and figures.

It opens from disk and needs no network. The summary is for the page over all scenes.
"""

import argparse
import json
from pathlib import Path

from videomesh.errors import run
from videomesh.files import outputs, write_json
from videomesh.report.page import make_page
from videomesh.report.results import Results, find_files, find_state, name_files


def main() -> None:
    args = parse_arguments()
    source = {name: path for name, path in find_files(Path(), args.scene).items() if name == "source"}
    results = Results(args.scene, args.settings, {**source, **name_files(args.scene, args.files)})
    html, summary = make_page(results, find_state(results), Path(), args.programs)
    with outputs(args.page, args.summary) as (page, summary_part):
        page.write_text(html, encoding="utf-8")
        write_json(summary_part, summary)
    print(f"page: {args.scene}, {summary['state']}, {len(html) / 1e6:.1f} MB")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", required=True, help="name of the scene")
    parser.add_argument("--settings", type=json.loads, required=True, help="all settings of the scene, as JSON")
    parser.add_argument("--programs", default="", help="checksum of the workflow's programs, to be shown")
    parser.add_argument(
        "--files",
        type=Path,
        nargs="+",
        required=True,
        help="the scene's results, with results/SCENE in the path",
    )
    parser.add_argument("--page", type=Path, required=True, help="scene.html to write")
    parser.add_argument("--summary", type=Path, required=True, help="scene.json to write")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
