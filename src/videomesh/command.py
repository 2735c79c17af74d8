"""The command line of an engine: python3 -m PACKAGE COMMAND."""

import argparse
import importlib
import os
import sys
from typing import Dict


def run_command(package: str, description: str, names: Dict[str, str]) -> None:
    """Each command is a module of the package with add_arguments(parser) and main(args). names: command -> summary.

    Only the module of the command is imported, since each needs other libraries: `config` has to work without PyTorch.
    """
    # Idle OpenMP threads spin by default. PyTorch and Numba bring an OpenMP each, so their idle threads would take the
    # cores from each other, and a run on a machine that does other work too would be ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    parser = argparse.ArgumentParser(prog=f"python3 -m {package}", description=description)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, summary in names.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            module = importlib.import_module(f"{package}.{name}")
            module.add_arguments(command)
            command.set_defaults(main=module.main)
    args = parser.parse_args()
    if args.command is None:
        parser.print_help()
        sys.exit(2)
    args.main(args)
