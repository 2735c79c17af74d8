"""What `make lint` checks. Here its commands run beside the other tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT

TARGET = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
COMMANDS = (
    [line.strip().replace("$(BIN)", str(Path(sys.executable).parent)) for line in TARGET[1].splitlines()]
    if TARGET
    else []
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: Path(command).name)
def test_lint(command: str) -> None:
    run = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) >= 5
