"""The config command: the engine's settings for a scene, in a file."""

import argparse
from pathlib import Path

from sdfgrid.settings import IMAGE_SIZE, ON_GPU, derive, to_json
from videomesh.files import outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--iterations", type=int, required=True, help="length of the whole schedule")
    parser.add_argument(
        "--image-size",
        type=int,
        help=f"long side of the training images, px (default: {IMAGE_SIZE}, on a GPU {ON_GPU['image_size']})",
    )
    parser.add_argument("--seed", type=int, required=True, help="seed of every random choice")
    parser.add_argument("--output", type=Path, required=True, help="file to write (JSON, which is YAML too)")


def main(args: argparse.Namespace) -> None:
    settings = derive(args.iterations, args.image_size or IMAGE_SIZE, args.seed)
    on_gpu = {key: value for key, value in ON_GPU.items() if key != "image_size" or args.image_size is None}
    with outputs(args.output) as (part,):
        part.write_text(to_json(settings, on_gpu))
