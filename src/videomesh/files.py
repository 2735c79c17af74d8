"""Outputs that appear complete or not at all, JSON, and members of tars.

Python 3.8 and the standard library only: some steps run inside foreign images.
"""

import io
import json
import os
import tarfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List

from videomesh.errors import UserError


@contextmanager
def outputs(*paths: Path) -> Iterator[List[Path]]:
    """Temporary names beside the given final paths; moved into place, in order, when the block ends without error.

    A killed process leaves only names starting with a dot and ending in ".part"; the next run removes those whose
    process is gone. The process id is part of the name because a step may outlive a killed workflow and must not
    write into the file of its successor.
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


def check_writable(path: Path) -> None:
    """Refuse now what would fail after all the work is done. Raises UserError."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK) or path.is_dir():
        raise UserError(f"{path}: cannot be written ({folder} is not a folder that this user may write to)")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file")
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})")


def write_json(path: Path, value: Any) -> None:
    """Write value as indented JSON. Raises ValueError on NaN or infinity, which JSON does not have."""
    Path(path).write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def add_to_tar(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file without time and owner: the same files give the same tar."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
