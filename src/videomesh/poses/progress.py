"""What the step says while it works."""

import time
from contextlib import contextmanager
from typing import Iterator


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """One line on standard output: what is done, and at its end the seconds it took."""
    start = time.monotonic()
    print(what, end=" ... ", flush=True)
    try:
        yield
    except BaseException:
        say("")
        raise
    say(f"{time.monotonic() - start:.1f} s")
