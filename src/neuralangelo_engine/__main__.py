"""The command line: python3 -m neuralangelo_engine source|config|train|extract."""

from videomesh.command import run_command
from videomesh.errors import run

COMMANDS = {
    "source": "Put Neuralangelo's programs into one file: the pinned commit, unmodified.",
    "config": "Write the settings that Neuralangelo trains and extracts a scene with.",
    "train": "Train a scene with NVIDIA's Neuralangelo, as far as one milestone.",
    "extract": "Turn a checkpoint of Neuralangelo into a coloured mesh.",
}


def main() -> None:
    run_command("neuralangelo_engine", "Train and extract scenes with NVIDIA's Neuralangelo.", COMMANDS)


if __name__ == "__main__":
    run(main)
