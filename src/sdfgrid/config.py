"""The config command: the engine's settings for a scene, in a file."""

import argparse
from pathlib import Path

from sdfgrid.settings import GPU_IMAGE_SIZE, IMAGE_SIZE, change_for_gpu, derive, to_json
from videomesh.files import outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--iterations", type=int, required=True, help="length of the whole schedule")
    parser.add_argument(
        "--image-size",
        type=int,
        help=f"long side of the training images, px (default: {IMAGE_SIZE}, on a GPU {GPU_IMAGE_SIZE})",
    )
    parser.add_argument("--seed", type=int, required=True, help="seed of every random choice")
    parser.add_argument("--output", type=Path, required=True, help="file to write (JSON, which is YAML too)")


def main(args: argparse.Namespace) -> None:
    settings = derive(args.iterations, args.image_size or IMAGE_SIZE, args.seed)
    on_gpu = change_for_gpu(args.iterations)
    if args.image_size is not None:
        del on_gpu["image_size"]
    with outputs(args.output) as (part,):
        part.write_text(to_json(settings, on_gpu))
