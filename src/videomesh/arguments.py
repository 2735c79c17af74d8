"""Types for the arguments of programs.

Ranges stand in the schema of the configuration, and only there. Here is refused what would make no sense at all.
"""

import argparse
from typing import Callable


def at_least(least: int) -> Callable[[str], int]:
    """A type for argparse: a whole number that is not below `least`."""

    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small; it must be {least} or more")
        return value

    return whole_number
