"""The train_and_extract command: train, then extract, in one process, which starts PyTorch and CUDA once."""

import argparse
import gc

import torch

from sdfgrid import extract, train
from videomesh.meshing.extract import add_mesh_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train.add_arguments(parser)
    add_mesh_arguments(parser)


def main(args: argparse.Namespace) -> None:
    train.main(args)
    gc.collect()
    torch.cuda.empty_cache()  # the extraction goes by the memory of the GPU that is free
    extract.main(args)
