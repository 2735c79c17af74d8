"""What the runs that are under way in a folder have to do. A run writes it down; a second terminal reads it.

Locks are no sign of a run: with results in a bucket there are none, and a killed run leaves its own.
"""

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from videomesh.files import outputs
from videomesh.progress.steps import File, find_file

RUNS = Path(".snakemake/runs")  # a file for each run: HOST-PID.json
STARTED = Path(".snakemake/incomplete")  # Snakemake's: a file for each output of a job that has begun
BEAT = 5.0  # seconds between two signs of life of a run
SILENT = 60.0  # seconds without one, after which a run of another machine counts as gone


@dataclass(frozen=True)
class Runs:
    began: float | None = None  # when the oldest began, in seconds since 1970; None: none is under way
    planned: frozenset[File] = frozenset()  # outputs that are still to be made
    started: dict[File, float] = field(default_factory=dict)  # outputs of jobs that have begun -> when

    def list_planned(self, scene: str) -> list[File]:
        return self.by_scene[0].get(scene, [])

    def list_started(self, scene: str) -> list[File]:
        return self.by_scene[1].get(scene, [])

    @cached_property
    def by_scene(self) -> tuple[dict[str, list[File]], dict[str, list[File]]]:
        planned: dict[str, list[File]] = {}
        started: dict[str, list[File]] = {}
        for files, lists in ((self.planned, planned), (self.started, started)):
            for file in files:
                lists.setdefault(file.scene, []).append(file)
        return planned, started


def name_run() -> str:
    return f"{socket.gethostname()}-{os.getpid()}.json"


def write_run(root: Path, began: float, planned: Iterable[str]) -> None:
    """The plan of this process: paths of the outputs that are still to be made."""
    with outputs(root / RUNS / name_run()) as (part,):
        part.write_text(json.dumps({"began": began, "planned": sorted(planned)}))


def remove_run(root: Path) -> None:
    (root / RUNS / name_run()).unlink(missing_ok=True)


def read_runs(root: Path, scenes: Collection[str]) -> Runs:
    """All runs under way in the folder together."""
    begins, planned = [], set()
    for path in (root / RUNS).glob("*.json"):
        try:
            content = json.loads(path.read_text()) if is_alive(path) else None
        except (OSError, ValueError):  # it has just ended
            continue
        if content:
            begins.append(float(content["began"]))
            planned |= {find_file(file, scenes) for file in content["planned"]}
    started = read_started(root / STARTED, scenes)
    return Runs(min(begins, default=None), frozenset(planned - {None}), started)  # type: ignore[arg-type]


def is_alive(run: Path) -> bool:
    """Raises ValueError for a file of another name, OSError if the file is gone."""
    host, _, process = run.stem.rpartition("-")
    if host == socket.gethostname() and not exists(int(process)):
        return False
    return time.time() - run.stat().st_mtime < SILENT


def exists(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def remove_killed(root: Path) -> None:
    """What killed runs have left of themselves."""
    for path in (root / RUNS).glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            if not is_alive(path):
                path.unlink()


def read_started(folder: Path, scenes: Collection[str]) -> dict[File, float]:
    """Snakemake names each mark by the output in base64, in parts if that is long."""
    started = {}
    for mark in folder.rglob("*") if folder.is_dir() else []:
        name = "".join(part.lstrip("@") for part in mark.relative_to(folder).parts)
        try:
            file = find_file(base64.urlsafe_b64decode(name).decode(), scenes)
            if file and mark.is_file():
                started[file] = mark.stat().st_mtime
        except (ValueError, OSError):  # another file, or the job has just ended
            continue
    return started
