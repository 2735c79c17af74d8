"""Upstream's programs start processes that would outlive ours: they end together."""

import os
import signal
import subprocess
from typing import Any

GRACE = 20.0  # seconds that upstream gets to end by itself


class stopping_with_us:
    """While the block runs, SIGTERM ends the process and its children, which would outlive torchrun."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGTERM, self.stop)

    def stop(self, number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    def __exit__(self, *_: Any) -> None:
        signal.signal(signal.SIGTERM, self.before)
        end_group(self.process)


def end_group(process: "subprocess.Popen[str]") -> None:
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
