"""Print every setting of every scene and where it was set, or everything that is wrong with the configuration.

Paths begin at the working folder, as they do for snakemake.
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # people call this program, without PYTHONPATH

from videomesh.configuration.files import CONFIG, read_config
from videomesh.configuration.load import describe, find_unused_regions, resolve
from videomesh.errors import run


def main() -> None:
    files = parse_arguments().config
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    scenes = resolve(read_config(files), files)
    print("\n\n".join(describe(name, settings) for name, settings in scenes.items()))
    for warning in find_unused_regions(scenes):
        print(f"warning: {warning}", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[CONFIG],
        metavar="FILE",
        help=f"configuration files, each over those before it (default: {CONFIG})",
    )
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
