"""What is made once for all workers of pytest."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def make_once(factory: pytest.TempPathFactory, worker_id: str, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker fills by `make`, while the others wait."""
    base = factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            made = factory.mktemp("made")
            make(made)
            made.rename(folder)
    return folder
