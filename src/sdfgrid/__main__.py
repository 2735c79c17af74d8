"""The command line: python3 -m sdfgrid settings|train|extract."""

import argparse
import importlib
import os
import sys
from typing import Dict

from videomesh.errors import run

COMMANDS = {
    "settings": "Write the engine's full settings, derived from a few numbers.",
    "train": "Learn a scene's surface from its posed images.",
    "extract": "Turn a checkpoint into a coloured mesh.",
}


# Idle OpenMP threads spin by default. PyTorch and Numba bring an OpenMP each, so their idle threads would take the
# cores from each other, and a run on a machine that does other work too would be ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main() -> None:
    run_command("sdfgrid", "Surfaces from posed images.", COMMANDS)


def run_command(package: str, description: str, names: Dict[str, str]) -> None:
    """Each command is a module of the package, with add_arguments(parser) and main(args)."""
    parser = argparse.ArgumentParser(prog=f"python3 -m {package}", description=description)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, summary in names.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:  # the others are not imported: `settings` must work without PyTorch
            module = importlib.import_module(f"{package}.{name}")
            module.add_arguments(command)
            command.set_defaults(main=module.main)
    args = parser.parse_args()
    if args.command is None:
        parser.print_help()
        sys.exit(2)
    args.main(args)


if __name__ == "__main__":
    run(main)
