"""The command line: python3 -m neuralangelo_engine train|extract."""

from sdfgrid.__main__ import run_command
from videomesh.errors import run

COMMANDS = {
    "train": "Train a scene with NVIDIA's Neuralangelo, as far as one milestone.",
    "extract": "Turn a checkpoint of Neuralangelo into a coloured mesh.",
}


def main() -> None:
    run_command("neuralangelo_engine", "NVIDIA's Neuralangelo, run well.", COMMANDS)


if __name__ == "__main__":
    run(main)
