"""A working folder with a configuration and a table of scenes that are right; a test changes what it is about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from videomesh.configuration.files import read_config
from videomesh.configuration.load import load_scenes
from videomesh.errors import ConfigurationError

CONFIG, TABLE = "config/config.yaml", "config/scenes.tsv"
HEADER = "scene\tvideo"
ROW = "lamp\tvideos/lamp.mp4"


def make_folder(folder: Path) -> None:
    for name in ("videos/lamp.mp4", "videos/chair.mov", "photos/IMG_1.JPG", "notes/todo.txt"):
        write(folder / name, "content")
    write(folder / "videos/empty.mp4", "")
    write(folder / "resources/videos/lamp.mp4", "content")
    write(folder / CONFIG, "scenes: config/scenes.tsv\n")
    write(folder / TABLE, f"{HEADER}\n{ROW}\n")


def write(file: Path | str, content: str | bytes) -> None:
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_cell(column: str, text: str) -> None:
    """A table with one row and one column more."""
    write(TABLE, f"{HEADER}\t{column}\n{ROW}\t{text}\n")


def load(*files: str) -> dict[str, Any]:
    """The scenes as the rules get them, from config/config.yaml or the given files."""
    paths = [Path(file) for file in files or (CONFIG,)]
    return load_scenes(read_config(paths), paths)


def load_errors(*files: str) -> Sequence[str]:
    """All that is said about the configuration, without the header."""
    with pytest.raises(ConfigurationError) as caught:
        load(*files)
    header, *lines = str(caught.value).split("\n")
    assert header == f"configuration: {len(lines)} error{'s' if len(lines) > 1 else ''}"
    assert all(line.startswith("  ") and line.endswith((".", "?")) for line in lines)
    return [line.strip() for line in lines]
