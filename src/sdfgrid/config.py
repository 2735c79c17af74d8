"""The config command: the engine's settings for a scene, in a file."""

import argparse
from pathlib import Path

from sdfgrid.settings import derive, to_json
from videomesh.files import outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--iterations", type=int, required=True, help="length of the whole schedule")
    parser.add_argument("--image-size", type=int, required=True, help="long side of the training images, px")
    parser.add_argument("--seed", type=int, required=True, help="seed of every random choice")
    parser.add_argument("--output", type=Path, required=True, help="file to write (JSON, which is YAML too)")


def main(args: argparse.Namespace) -> None:
    settings = derive(args.iterations, args.image_size, args.seed)
    with outputs(args.output) as (part,):
        part.write_text(to_json(settings))
