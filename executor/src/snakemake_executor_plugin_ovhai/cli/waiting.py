"""Waiting for the platform to confirm what it was asked to do."""

import argparse
import time

POLL = 2.0  # seconds between two requests


def add_wait_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", type=float, default=600, metavar="SECONDS", help="how long to wait (default: %(default)s)"
    )


class Deadline:
    """patience: seconds."""

    def __init__(self, patience: float) -> None:
        self.end = time.monotonic() + patience

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.end

    def sleep(self) -> None:
        """Until the next request is due, but not beyond the deadline."""
        time.sleep(max(0.0, min(POLL, self.end - time.monotonic())))
