"""The extract command: from a checkpoint to a coloured mesh in world coordinates."""

import argparse
import time

from sdfgrid import checkpoint
from videomesh.devices import choose_device, set_threads
from videomesh.meshing import extract
from videomesh.scene import read_scene

add_arguments = extract.add_arguments


def main(args: argparse.Namespace) -> None:
    started = time.perf_counter()
    device = choose_device(args.device)
    set_threads(args.threads)
    field = checkpoint.load(args.checkpoint, device)
    scene = read_scene(args.transforms)
    extract.check_same_region(args, field, scene)
    # A GPU trains with so many rays that little is left to move, and plain surface gets worse (docs/benchmarks.md).
    refine = args.refine == "always" or (args.refine == "auto" and device.type == "cpu")
    extract.make_mesh(field, scene, args, device, started, extract.extract_sparse, refine)
