"""Processes named in files, which may have ended since, and whose number may then belong to another process."""

import os
import signal
import time
from pathlib import Path
from typing import TypedDict


class Process(TypedDict):
    pid: int
    start: int  # clock ticks after the machine's start


def start_time(pid: int) -> int | None:
    """When a process started, None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def describe(pid: int) -> Process:
    return {"pid": pid, "start": start_time(pid) or 0}


def is_alive(process: Process | None) -> bool:
    return process is not None and start_time(process["pid"]) == process["start"]


def send(process: Process | None, number: signal.Signals) -> None:
    if process is not None and is_alive(process):
        os.kill(process["pid"], number)


def kill(process: Process | None) -> None:
    """Kill a process and wait until it is gone."""
    send(process, signal.SIGKILL)
    while is_alive(process):
        time.sleep(0.01)
