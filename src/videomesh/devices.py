"""Where PyTorch computes: the device and the number of CPU threads."""

import os
from typing import Optional

import torch

from videomesh.errors import UserError


def choose_device(name: str) -> torch.device:
    """auto is a GPU if PyTorch sees one. Raises UserError for cuda without one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no CUDA device here; use --device cpu or a machine with a GPU")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(count: Optional[int]) -> int:
    """Use so many CPU threads (None: all that this process may use), and return how many. Call it before other work."""
    if count is not None and count < 1:
        raise UserError(f"--threads {count}: it must be 1 or more")
    # Light that fades to nothing makes numbers below 1e-38, with which a CPU is a hundred times slower than with 0.
    # Threads inherit the setting when they start.
    torch.set_flush_denormal(True)
    count = count or len(os.sched_getaffinity(0))
    torch.set_num_threads(count)
    return count
