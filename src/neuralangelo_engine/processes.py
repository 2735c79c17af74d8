"""Upstream's programs start processes that would outlive ours: they end together."""

import os
import signal
import subprocess
from contextlib import contextmanager
from typing import Any, Iterator, Sequence

from videomesh.children import child

GRACE = 20.0  # seconds that upstream gets to end by itself


@contextmanager
def child_group(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A process that ends with the block or with SIGTERM, and its children too, which would outlive torchrun."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with child(command, end_group, start_new_session=True, universal_newlines=True, **options) as process:
            yield process
    finally:
        signal.signal(signal.SIGTERM, before)


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
