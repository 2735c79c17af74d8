"""The workflow's programs, called in this process: a new Python with its libraries costs a second for each case."""

import contextlib
import functools
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

from checkout import ROOT
from videomesh import errors


@functools.cache
def load(program: str) -> ModuleType:
    """A program of scripts/, by its name."""
    path = ROOT / "scripts" / f"{program}.py"
    spec = importlib.util.spec_from_file_location(f"program_{program}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What `python3 scripts/PROGRAM.py ARGUMENTS` would give."""
    return call_main(load(program), [f"{program}.py", *map(str, arguments)])


def call_main(module: ModuleType, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a module's main() as a program: exit code, standard output and standard error."""
    code: int | str | None = 0
    output, messages = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", arguments),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(messages),
    ):
        try:
            errors.run(module.main)
        except SystemExit as error:
            code = error.code
    said = messages.getvalue()
    if isinstance(code, str):
        code, said = 1, f"{said}{code}\n"
    return subprocess.CompletedProcess(arguments, code or 0, output.getvalue(), said)


def run_process(program: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program as the rules do, in a process of its own."""
    command = get_command(program, *arguments)
    return subprocess.run(command, capture_output=True, text=True, env=get_environment(**environment))


def get_command(program: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / f"{program}.py"), *map(str, arguments)]


def get_environment(**changes: str) -> dict[str, str]:
    """That of this process, with what the rules add to it, and with changes."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), **changes}
