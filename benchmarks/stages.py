"""Seconds and peak memory of every stage of one run of the workflow, as a Markdown table on standard output.

The workflow runs as it always does, in a fresh copy of this checkout; the processes of each step are watched from
outside, ten times a second, so a step that takes less than that may read 0.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("sdfgrid", "neuralangelo_engine")
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from checkout import Checkout  # noqa: E402


@dataclass
class Step:
    started: float
    seconds: float = 0.0
    peak: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="run in this (new) folder and leave everything there")
    parser.add_argument("--configfile", default="config/demo/config.yaml", help="configuration to run (%(default)s)")
    parser.add_argument("--config", nargs="*", default=[], help="settings as for snakemake, such as train='{...}'")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch) / "checkout"
        command = [str(Path(sys.executable).with_name("snakemake")), "--profile", "profiles/local", "--jobs", "1"]
        command += ["--configfile", arguments.configfile]
        if arguments.config:
            command += ["--config", *arguments.config]
        steps, seconds = watch(command, Checkout.make(folder).folder)
    print(table(steps, seconds))


def watch(command: list[str], folder: Path) -> tuple[dict[str, Step], float]:
    """Run the workflow and sample its processes. Returns the steps by name, and the seconds of the whole."""
    steps: dict[str, Step] = {}
    started = time.monotonic()
    workflow = subprocess.Popen(command, cwd=folder, stdout=sys.stderr)
    while workflow.poll() is None:
        now = time.monotonic()
        for name, memory in sample(workflow.pid):
            step = steps.setdefault(name, Step(started=now))
            step.seconds = now - step.started
            step.peak = max(step.peak, memory)
        time.sleep(0.1)
    if workflow.returncode:
        sys.exit(f"the workflow failed with exit code {workflow.returncode}; its output is above")
    return steps, time.monotonic() - started


def sample(head: int) -> Iterator[tuple[str, int]]:
    """Name of each running step and the resident memory of its process and their children, in bytes."""
    for process in psutil.Process(head).children(recursive=True):
        try:
            words = process.cmdline()
            if name := step_name(words):
                family = [process, *process.children(recursive=True)]
                yield name, sum(member.memory_info().rss for member in family)
        except psutil.NoSuchProcess:
            continue


def step_name(words: list[str]) -> str | None:
    """`python3 .../scripts/frames.py ...` is frames, `python3 -m sdfgrid train ...` is train."""
    if len(words) > 3 and words[1] == "-m" and words[2] in ENGINES:
        return words[3]
    if len(words) > 1 and Path(words[1]).parent.name == "scripts":
        return " ".join([Path(words[1]).stem, *[word for word in words[2:3] if not word.startswith("-")]])
    return None


def table(steps: dict[str, Step], seconds: float) -> str:
    machine = (
        f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}"
    )
    lines = [f"Machine: {machine}", "", "| step | seconds | peak memory, MiB |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {step.seconds:.1f} | {step.peak / 2**20:.0f} |" for name, step in steps.items()]
    return "\n".join([*lines, f"| whole run, Snakemake included | {seconds:.1f} | |"])


if __name__ == "__main__":
    main()
