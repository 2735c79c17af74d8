"""The command line: python3 -m neuralangelo train|extract."""

import argparse
import importlib
import sys

from sdfgrid.errors import run

COMMANDS = {
    "train": "Train a scene with NVIDIA's Neuralangelo, as far as one milestone.",
    "extract": "Turn a checkpoint of Neuralangelo into a coloured mesh.",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m neuralangelo", description="NVIDIA's Neuralangelo, run well.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            module = importlib.import_module(f"neuralangelo.{name}")
            module.add_arguments(command)
            command.set_defaults(main=module.main)
    args = parser.parse_args()
    if args.command is None:
        parser.print_help()
        sys.exit(2)
    args.main(args)


if __name__ == "__main__":
    run(main)
