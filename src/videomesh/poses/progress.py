"""What the step prints while it works."""

import time
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def timed(what: str) -> Iterator[None]:
    """One line on standard output: what is done, and at its end the seconds it took."""
    start = time.monotonic()
    print(what, end=" ... ", flush=True)
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f"{time.monotonic() - start:.1f} s", flush=True)
