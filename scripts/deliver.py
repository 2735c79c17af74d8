"""Copy results to the folder where people look for them; all of them appear, or none."""

import argparse
import shutil
from pathlib import Path

from videomesh.errors import UserError, run
from videomesh.files import outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--copy", nargs=2, type=Path, action="append", required=True, metavar=("FROM", "TO"), help="a file and its copy"
    )
    copy_all(parser.parse_args().copy)


def copy_all(pairs: list[list[Path]]) -> None:
    """Copy each pair's first file to its second. Raises UserError if a file is missing or the disk is full."""
    with outputs(*[target for _, target in pairs]) as temporary:
        for (source, target), part in zip(pairs, temporary, strict=True):
            try:
                shutil.copyfile(source, part)
            except OSError as error:
                raise UserError(f"cannot copy {source} to {target}: {error.strerror}; free space or mend it, run again")


if __name__ == "__main__":
    run(main)
