"""Where PyTorch computes: the device and the number of CPU threads."""

import os

import torch

from videomesh.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device that cpu, cuda or auto stands for: auto is a GPU if PyTorch sees one.

    Raises UserError for cuda without a GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no CUDA device here; use --device cpu or a machine with a GPU")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(count: int) -> None:
    """Use so many CPU threads, or one for each core. Call it before other work. Raises UserError below 1."""
    if count < 1:
        raise UserError(f"--threads {count}: it must be 1 or more")
    # Light that fades to nothing makes numbers below 1e-38, with which a CPU is a hundred times slower than with 0.
    # Threads inherit the setting when they start.
    torch.set_flush_denormal(True)
    # Threads that wait for a core burn the time of those that have one.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(min(count, cores or 1))


def describe(device: torch.device) -> str:
    """A device in words, for logs: the name of a GPU."""
    return "the CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
