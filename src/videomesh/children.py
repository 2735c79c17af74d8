"""Programs that we start and that must not outlive us.

Python 3.8 and the standard library only: some steps run inside foreign images.
"""

import signal
import subprocess
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Sequence


def kill(process: "subprocess.Popen[Any]") -> None:
    process.kill()
    process.wait()


@contextmanager
def child(
    command: Sequence[str], end: Callable[["subprocess.Popen[Any]"], None] = kill, **options: Any
) -> Iterator["subprocess.Popen[Any]"]:
    """A process that `end` ends at the end of the block. options: those of Popen.

    A signal that comes while the process is being started would leave it behind, since nobody knows it yet. So our
    handlers of Ctrl-C and SIGTERM wait until it is known.
    """
    process = None
    waiting: List[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        try:
            for number in ours:
                signal.signal(number, lambda number, frame: waiting.append(number))
            process = subprocess.Popen(command, **options)
        finally:
            for number, handler in ours.items():
                signal.signal(number, handler)
        for came in waiting:
            signal.raise_signal(came)
        yield process
    finally:
        if process:
            end(process)
