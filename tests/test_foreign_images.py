"""What runs inside other people's images: they have Python 3.8 and few libraries, and nothing is installed in them."""

import ast
import fnmatch
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import ENGINES, ROOT
from videomesh.staleness import find_imported

COLMAP = {"numpy", "PIL"}
PYTORCH = COLMAP | {"torch"}
PROGRAMS = {
    "scripts/frames.py": COLMAP,
    "scripts/poses.py": COLMAP,
    **{f"src/{engine}/{command}.py": PYTORCH for engine in ENGINES for command in ("train", "extract")},
}
# Imported only where they are installed: pycolmap in place of COLMAP's program, numba and triton in place of plain
# PyTorch.
OPTIONAL = {
    "src/videomesh/poses/colmap_package.py": {"pycolmap"},
    "src/videomesh/poses/parts.py": {"pycolmap"},
    "src/sdfgrid/numba_kernels.py": {"numba"},
    "src/sdfgrid/triton_kernels.py": {"triton"},
}
OURS = {"videomesh", *ENGINES}
BUILTINS = {"dict", "frozenset", "list", "set", "tuple", "type"}


def find_files(program: str) -> list[Path]:
    return sorted(find_imported(ROOT / "src", ROOT / program))


def list_top_imports(tree: ast.Module) -> Iterator[str]:
    """Packages that are imported whenever the file is; inside functions a program may do without what is missing."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def list_annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Those that Python evaluates: none after `from __future__ import annotations`."""
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            others = [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
            yield from (found for argument in [*arguments, *others] if (found := argument.annotation))
            if node.returns:
                yield node.returns
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation


def is_newer(annotation: ast.expr) -> bool:
    """Whether Python 3.8 would fail on it: list[int] and int | None came later."""
    return any(
        (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in BUILTINS)
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr))
        for node in ast.walk(annotation)
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_python_3_8(program: str) -> None:
    for file in find_files(program):
        tree = ast.parse(file.read_text(), str(file), feature_version=(3, 8))
        newer = [ast.unparse(annotation) for annotation in list_annotations(tree) if is_newer(annotation)]
        assert newer == [], file


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_needs_only_what_the_image_has(program: str) -> None:
    for file in find_files(program):
        allowed = OURS | PROGRAMS[program] | OPTIONAL.get(file.relative_to(ROOT).as_posix(), set())
        assert set(list_top_imports(ast.parse(file.read_text()))) - allowed <= sys.stdlib_module_names, file


@pytest.mark.parametrize("program", PROGRAMS)
def test_ruff_knows_that_it_is_python_3_8(program: str) -> None:
    versions = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["per-file-target-version"]
    patterns = [alternative for pattern in versions for alternative in expand(pattern)]
    for file in find_files(program):
        path = file.relative_to(ROOT).as_posix()
        assert any(fnmatch.fnmatch(path, pattern) for pattern in patterns), f"pyproject.toml lacks {path}"


def expand(pattern: str) -> list[str]:
    """a/{b,c}.py -> a/b.py, a/c.py; ** is any number of folders, none too."""
    if "{" in pattern:
        begin, _, rest = pattern.partition("{")
        middle, _, end = rest.partition("}")
        return [path for word in middle.split(",") for path in expand(f"{begin}{word}{end}")]
    return [pattern, pattern.replace("**/", "")]
