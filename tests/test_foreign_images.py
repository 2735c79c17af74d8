"""Programs that run in images of others: Python 3.8, with the standard library, NumPy, Pillow and PyTorch."""

import ast
import tomllib
from pathlib import Path

import pytest

from checkout import ROOT
from videomesh.staleness import find_imported

# What the rules with a container call.
CALLED = [
    *(ROOT / "scripts" / f"{name}.py" for name in ("frames", "poses")),
    *(ROOT / "src" / engine / f"{name}.py" for engine in ("sdfgrid", "neuralangelo_engine") for name in
      ("__main__", "train", "extract")),
    *(ROOT / "src" / "neuralangelo_engine" / "standins").glob("*.py"),
]  # fmt: skip
PROGRAMS = sorted(find_imported(ROOT / "src", *CALLED))
NEWER = {"removeprefix", "removesuffix", "cache", "pairwise", "batched", "is_relative_to", "hardlink_to", "readlink"}


def test_the_linter_knows_them() -> None:
    """It finds more than the test below, but has to be told which files they are."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["per-file-target-version"]
    patterns = [
        pattern.replace(braces, choice)
        for pattern in settings
        for braces in [pattern[pattern.find("{") : pattern.find("}") + 1]]
        for choice in (braces.strip("{}").split(",") if braces else [""])
    ]
    listed = {path for pattern in patterns for path in ROOT.glob(pattern)}
    missing = [path for path in PROGRAMS if path not in listed and path.name != "__init__.py"]
    assert [str(path.relative_to(ROOT)) for path in missing] == []


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_runs_in_images_runs_on_python_3_8(path: Path) -> None:
    """Upstream's image has no newer one. Annotations do not count: `from __future__ import annotations` keeps them."""
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    annotations = {id(part) for node in ast.walk(tree) for note in get_annotations(node) for part in ast.walk(note)}
    for node in ast.walk(tree):
        place = f"{path.name}, line {getattr(node, 'lineno', 0)}"
        if future and id(node) in annotations:
            continue
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            assert node.value.id not in ("list", "dict", "tuple", "set", "type", "frozenset"), place
        if isinstance(node, ast.Attribute):
            assert node.attr not in NEWER, place
        if isinstance(node, ast.Call):
            assert "strict" not in [word.arg for word in node.keywords] or getattr(node.func, "id", "") != "zip", place


def get_annotations(node: ast.AST) -> list[ast.AST]:
    found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    return [note for note in found if note is not None]
