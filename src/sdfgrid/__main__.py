"""The command line: python3 -m sdfgrid config|train|extract|train_and_extract."""

from videomesh.command import run_command
from videomesh.errors import run

COMMANDS = {
    "config": "Write the engine's full settings, derived from a few numbers.",
    "train": "Learn a scene's surface from its posed images.",
    "extract": "Turn a checkpoint into a coloured mesh.",
    "train_and_extract": "Do both in one process.",
}


def main() -> None:
    run_command("sdfgrid", "Surfaces from posed images.", COMMANDS)


if __name__ == "__main__":
    run(main)
