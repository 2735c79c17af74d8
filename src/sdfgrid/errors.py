"""The engine's own clear-message error and the frame around every command."""

import os
import sys
from typing import Callable


class EngineError(Exception):
    """A problem the user can act on. The text names the place, the value, what is allowed and the next step."""


def run(main: Callable[[], None]) -> None:
    """Run a command: an EngineError becomes one message on stderr and exit code 1, Ctrl-C exit code 130."""
    try:
        main()
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "numpy", "PIL"):
            raise
        print(
            f"error: this Python ({sys.executable}) has no {error.name}: install the extra `local` of this project, "
            "or name a container image that has PyTorch, NumPy and Pillow",
            file=sys.stderr,
        )
        sys.exit(1)
    except MemoryError:
        _exit_out_of_memory()
    except RuntimeError as error:
        if not any(words in str(error) for words in ("out of memory", "can't allocate memory")):  # PyTorch's two ways
            raise
        _exit_out_of_memory()
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (`| head`) went away; nobody is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def _exit_out_of_memory() -> None:
    print(
        "error: out of memory; lower train.image_size or mesh.resolution, or use a machine with more memory",
        file=sys.stderr,
    )
    sys.exit(1)
