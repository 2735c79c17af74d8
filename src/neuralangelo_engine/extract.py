"""From a checkpoint of NVIDIA's Neuralangelo to a coloured mesh in world coordinates."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from neuralangelo_engine import dense, field
from neuralangelo_engine.rescue import holding
from neuralangelo_engine.scratch import get_environment, scratch_folder
from videomesh.devices import choose_device, set_threads
from videomesh.errors import UserError
from videomesh.files import check_writable
from videomesh.meshing import extract
from videomesh.meshing.extract import Bounds, Raw
from videomesh.scene import read_scene

BLOCK_RANGE = (16, 512)  # upstream evaluates that many points cubed at once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--source", type=Path, required=True, help=".tar.gz of upstream's source, as the source step packs it")
    add("--config", type=Path, required=True, help="YAML file that the training used")
    extract.add_arguments(parser)
    add("--extractor", choices=["sparse", "upstream"], required=True, help="sparse evaluates the model only near the "
        "surface; upstream is upstream's own program, for comparison")  # fmt: skip
    add("--block-res", type=int, default=128, help="lattice points across a block of upstream's extractor. More "
        "need more GPU memory (default: 128)")  # fmt: skip


def main(args: argparse.Namespace) -> None:
    started = time.perf_counter()
    # SIGTERM acts as Ctrl-C, so that the scratch folder and upstream's process end too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    check_arguments(args)
    device = choose_device(args.device)
    set_threads(args.threads)
    scene = read_scene(args.transforms)
    with holding(args.checkpoint), scratch_folder(args.source, args.transforms, args.images, args.config) as scratch:
        if not (scratch.programs / dense.SCRIPT).is_file():
            raise UserError(f"{args.source}: not Neuralangelo's source, since it lacks {dense.SCRIPT}; make it again")
        os.environ.update(get_environment(scratch))
        trained = field.load(scratch, args.config, args.checkpoint, scene)

        def extract_upstream(_: Any, bounds: Bounds, args: argparse.Namespace, device: torch.device) -> Raw:
            trained.release()
            return dense.extract(scratch, bounds, args, device)

        chosen = extract_upstream if args.extractor == "upstream" else extract.extract_sparse
        # Nobody measured what it does to Neuralangelo's surfaces: auto leaves them as they are.
        extract.make_mesh(trained, scene, args, device, started, chosen, refine=args.refine == "always")


def check_arguments(args: argparse.Namespace) -> None:
    low, high = BLOCK_RANGE
    if not low <= args.block_res <= high:
        raise UserError(f"--block-res {args.block_res}: it must be {low} to {high}")
    for path in (args.mesh, args.summary):
        check_writable(path)
