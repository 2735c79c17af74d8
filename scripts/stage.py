"""What every step's program shares: clear errors, and outputs that appear complete or not at all.

Python 3.8 and the standard library only: some steps run inside foreign images.
"""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, List


class StageError(Exception):
    """A problem the user can act on. The text names the place, the value, what is allowed and the next step."""


def run(main: Callable[[], None]) -> None:
    """Run a step's main(): errors that the user can mend become one message on stderr and exit code 1, Ctrl-C 130."""
    try:
        main()
    except StageError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {place}{error.strerror or error}; check permissions and free disk space, then run again")
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        sys.exit(130)


@contextmanager
def outputs(*paths: Path) -> Iterator[List[Path]]:
    """Temporary names beside the given final paths; moved into place together when the block ends without error.

    A killed process leaves only names starting with a dot and ending in ".part"; the next run removes those whose
    process is gone. The process id is part of the name because a step may outlive a killed workflow and must not
    write into the file of its successor.
    """
    finals = [Path(path) for path in paths]
    temporary = [final.with_name(f".{final.name}.{os.getpid()}.part") for final in finals]
    for final in finals:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(final)
    try:
        yield temporary
        for part, final in zip(temporary, finals):
            os.replace(part, final)
    finally:
        for part in temporary:
            if part.exists():
                part.unlink()


def _remove_leftovers(final: Path) -> None:
    for part in final.parent.glob(f".{final.name}.*.part"):
        if not Path("/proc", part.name.split(".")[-2]).exists():
            part.unlink()


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises StageError if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise StageError(f"{path}: no such file")
    except ValueError as error:
        raise StageError(f"{path}: not valid JSON ({error})")


def write_json(path: Path, value: Any) -> None:
    """Write value as indented JSON. Raises ValueError on NaN or infinity, which JSON does not have."""
    Path(path).write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
