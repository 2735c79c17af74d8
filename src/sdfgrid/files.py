"""Outputs that appear complete or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List


@contextmanager
def outputs(*paths: Path) -> Iterator[List[Path]]:
    """Temporary names beside the given final paths; moved into place, in order, when the block ends without error.

    A killed process leaves only names starting with a dot and ending in ".part"; the next run removes those whose
    process is gone.
    """
    finals = [Path(path) for path in paths]
    temporary = [final.with_name(f".{final.name}.{os.getpid()}.part") for final in finals]
    for final in finals:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(final)
    try:
        yield temporary
        for part in temporary:
            with open(part, "rb") as file:
                os.fsync(file.fileno())  # a crash after the rename must not leave an empty file under the final name
        for part, final in zip(temporary, finals):
            os.replace(part, final)
    finally:
        for part in temporary:
            if part.exists():
                part.unlink()


def _remove_leftovers(final: Path) -> None:
    for part in final.parent.glob(f".{final.name}.*.part"):
        if not Path("/proc", part.name.split(".")[-2]).exists():
            part.unlink()
