"""The errors that a user can mend, and how a program tells them.

    UserError                   one problem: the place, the value, what is allowed, the next step
    └── ConfigurationError      everything that is wrong with the configuration, one line a problem

Python 3.8 and the standard library only: some steps run inside foreign images.
"""

import difflib
import os
import sys
from typing import Callable, Iterable, Optional

LIBRARIES = {"torch": "PyTorch", "numpy": "NumPy", "PIL": "Pillow"}  # what an image of the steps must have
# The words with which PyTorch says that memory ran out: on a GPU, on a CPU.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


class UserError(Exception):
    """A problem the user can act on. The text names the place, the value, what is allowed and the next step."""


class ConfigurationError(UserError):
    """Everything that is wrong with the configuration: a header, then one line a problem."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = list(dict.fromkeys(errors))
        header = f"configuration: {len(self.errors)} {'error' if len(self.errors) == 1 else 'errors'}"
        super().__init__("\n  ".join([header, *self.errors]))


def run(main: Callable[[], None]) -> None:
    """Run a program's main(): a problem that the user can mend becomes one message and exit code 1, Ctrl-C 130."""
    try:
        main()
    except ConfigurationError as error:
        sys.exit(str(error))
    except UserError as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        sys.exit(
            f"error: this Python ({sys.executable}) has no {LIBRARIES[error.name]}; install the extra `local` of this "
            "project, or name a container image that has PyTorch, NumPy and Pillow"
        )
    except MemoryError:
        _exit_out_of_memory()
    except RuntimeError as error:
        if not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        _exit_out_of_memory()
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (`| head`) went away; nobody is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {place}{error.strerror or error}; check permissions and free disk space, then run again")


def _exit_out_of_memory() -> None:
    sys.exit("error: out of memory; lower sdfgrid.image_size or mesh.resolution, or use a machine with more memory")


def nearest(word: str, words: Iterable[str]) -> Optional[str]:
    """The most similar of the words, whatever their case; None if none is similar.

    A dotted name also counts by its last part: iterations is near train.iterations.
    """
    whole = {candidate.lower(): candidate for candidate in words}
    last = {name.split(".")[-1]: candidate for name, candidate in whole.items()}
    wanted = word.lower().strip("'")
    for name, names in ((wanted, whole), (wanted.split(".")[-1], last)):
        match = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
        if match:
            return names[match[0]]
    return None


def suggest(word: str, words: Iterable[str]) -> str:
    """A question to append to a message, with a space before it; empty if no word is similar."""
    near = nearest(word, words)
    return f" Did you mean {near}?" if near else ""
