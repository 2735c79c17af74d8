"""Bring a scene's video, or its photos, into the workflow. The source is copied, never linked, and checked on arrival.

A source is a path on this machine, an address (https:// or http://) or gdrive://ID. If --output is called clips.tar,
the sources are videos of one scene, or folders of them. If it ends in .tar otherwise, the source holds photos: a
folder, a .zip or a .tar, with masks and poses if there are any. Anything else has to be a video.
"""

import argparse
from pathlib import Path

from videomesh.download import Progress
from videomesh.errors import run
from videomesh.files import outputs
from videomesh.frames.footage import CLIPS
from videomesh.ingest.clips import ingest_clips
from videomesh.ingest.photos import GIVEN_SETTINGS, PHOTOS_END, ingest_photos
from videomesh.ingest.sources import named_in_errors
from videomesh.ingest.video import ingest_video


def main() -> None:
    args = parse_arguments()
    progress = Progress(args.scene)
    with named_in_errors(args.scene, args.source), outputs(args.output) as (part,):
        if args.output.name == CLIPS:
            ingest_clips(args.source, part, progress)
        elif args.output.name.endswith(PHOTOS_END):
            ingest_photos(args.source[0], part, progress, args.masks, args.given)
        else:
            ingest_video(args.source[0], part, progress)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", required=True, help="the name of the scene, for messages")
    parser.add_argument(
        "--source", required=True, nargs="+", help="a path, https://..., http://... or gdrive://ID; several for clips"
    )
    parser.add_argument("--output", type=Path, required=True, help="the file to write; photos if it ends in .tar")
    parser.add_argument(
        "--masks",
        default="auto",
        help="of photos: auto takes masks that come with them, ignore takes none, else a folder or archive of masks",
    )
    parser.add_argument(
        "--given", choices=GIVEN_SETTINGS, default="read", help="of photos: whether to read poses that come with them"
    )
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
