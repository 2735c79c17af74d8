"""How long what is still to be done will take: from what a training says of itself, and from jobs that have ended.

Where nothing is known, no number is given.
"""

import re
import statistics
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from videomesh.progress.steps import File
from videomesh.report.results import read_end
from videomesh.report.times import Job, read_jobs

# What both engines write into their logs: iteration 1200 of 20000 (6 %), 55.3 it/s
PROGRESS = re.compile(r"iteration (\d+) of (\d+)\b.*?\b([\d.]+) it/s")
SILENT = 180.0  # seconds without a line in the log of a training, which writes one every 5 to 60


class Left(NamedTuple):
    seconds: float
    whole: bool  # False: something more is to be done, of which nothing is known


def add(times: Iterable[float | None]) -> Left | None:
    """None if nothing is known."""
    everything = list(times)
    known = [seconds for seconds in everything if seconds is not None]
    return Left(sum(known), len(known) == len(everything)) if known else None


class Position(NamedTuple):
    iteration: int
    stop: int
    rate: float  # iterations per second
    age: float  # seconds since the training said so

    @property
    def silent(self) -> bool:
        return self.age > SILENT

    @property
    def left(self) -> float | None:
        """Seconds; None if the training has been silent, or too slow to tell."""
        if self.rate <= 0 or self.silent:
            return None
        return max(0.0, (self.stop - self.iteration) / self.rate - self.age)


def find_position(root: Path, scene: str, milestone: int, since: float) -> Position | None:
    """How far a training is that began at `since`, by the last line of its log that tells."""
    logs = [root / f"results/{scene}/train/{milestone}/train.log", *find_remote_logs(root, scene, milestone)]
    dated = [(log.stat().st_mtime, log) for log in logs if log.exists()]
    date, log = max(dated, default=(0.0, None))
    found = PROGRESS.findall(read_end(log)) if date >= since - 1 else []
    if not found:
        return None
    iteration, stop, rate = found[-1]
    return Position(int(iteration), int(stop), float(rate), max(0.0, time.time() - date))


def find_remote_logs(root: Path, scene: str, milestone: int) -> list[Path]:
    """What executors keep of jobs elsewhere: .snakemake/NAME_logs/RULE/SCENE-MILESTONE/JOB.log"""
    folders = (root / ".snakemake").glob(f"*_logs/*train*/{scene}[-_]{milestone}")
    return [path for folder in folders for path in folder.glob("*.log")]


@dataclass
class Times:
    """How long the jobs took that are on record."""

    made: dict[File, Job] = field(default_factory=dict)  # each output -> the job that made it

    @cached_property
    def kinds(self) -> dict[str, list[Job]]:
        kinds: dict[str, list[Job]] = {}
        for file, job in self.made.items():
            kinds.setdefault(get_kind(file.name), []).append(job)
        return kinds

    def estimate(self, name: str, alike: Callable[[str], bool]) -> float | None:
        """Seconds for a job by one of its outputs: the median of scenes that are alike; None if there is none."""
        known = [job.ended - job.began for job in self.kinds.get(get_kind(name), []) if alike(job.scene)]
        return statistics.median(known) if known else None

    def count_since(self, began: float) -> float:
        """Seconds that the jobs took together which began since then."""
        return sum(job.ended - job.began for job in set(self.made.values()) if job.began >= began)


def get_kind(name: str) -> str:
    """The same for files that take the same time to make: a mesh takes as long at each milestone."""
    return re.sub(r"^(mesh|deliver/previews)/\d+", r"\1/*", name)


def read_times(root: Path, scenes: Collection[str]) -> Times:
    return Times(read_jobs(root, scenes))
