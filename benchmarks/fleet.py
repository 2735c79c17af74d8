"""Hundreds of scenes by the platform's own clock: the executor's queue alone, in a minute. Prints a Markdown table.

The same scenes as in scale.py, but Snakemake, the platform and the bucket are models, and so is time. What is real
decides when a job is submitted: how often the platform is asked, how many jobs are submitted at a time, whose turn it
is, and what happens while the quota is full.
"""

import argparse
import contextlib
import heapq
import math
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("executor/tests", "tests/ovhai", "tests/helpers")]

import scale  # noqa: E402
from scale import INTERVALS, JOBS, STEPS, Span  # noqa: E402
from snakemake_executor_plugin_ovhai import submitter, task, watcher  # noqa: E402
from snakemake_executor_plugin_ovhai.client import QuotaError  # noqa: E402
from snakemake_executor_plugin_ovhai.completion import Completion  # noqa: E402
from snakemake_executor_plugin_ovhai.job import Job  # noqa: E402
from snakemake_executor_plugin_ovhai.job_spec import JobSpec, Resources  # noqa: E402
from snakemake_executor_plugin_ovhai.notices import Notices  # noqa: E402
from snakemake_executor_plugin_ovhai.polling import Limits  # noqa: E402
from snakemake_executor_plugin_ovhai.stopper import Stopper  # noqa: E402
from snakemake_executor_plugin_ovhai.submitter import CALLS, Submitter  # noqa: E402
from snakemake_executor_plugin_ovhai.task import Result, Task  # noqa: E402
from snakemake_executor_plugin_ovhai.volumes import StoredFile  # noqa: E402
from snakemake_executor_plugin_ovhai.watcher import Watcher  # noqa: E402

CALL = 2.0  # seconds that a call of `ovhai` takes
REPORT = 2.0  # seconds in which Snakemake looks after the end of a job, one job after the other
NAMES = list(STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=500, help="%(default)s")
    parser.add_argument("--gpus", type=int, default=16, help="the quota (%(default)s)")
    parser.add_argument("--jobs", type=int, default=JOBS, help="of Snakemake at a time (%(default)s)")
    arguments = parser.parse_args()
    fleet = run(arguments.scenes, arguments.gpus, arguments.jobs)
    print(scale.table(arguments.scenes, arguments.gpus, 1, None, fleet.read_spans(), fleet.lists))


@dataclass
class Place:
    """A job on the platform. Times are in seconds."""

    job: Job
    gpu: int
    scene: str
    step: str
    begin: float
    end: float
    outputs: tuple[StoredFile, ...]


@dataclass
class Fleet:
    """The platform with its bucket."""

    gpus: int
    now: float = 0.0
    places: list[Place] = field(default_factory=list)  # of jobs that have not ended
    ended: list[Place] = field(default_factory=list)
    lists: list[float] = field(default_factory=list)  # when it was asked for a list
    tries: int = 0  # submissions since the last list
    waiting: dict[str, Task] = field(default_factory=dict)  # name -> what is to be submitted under it

    def monotonic(self) -> float:
        return self.now

    def get_date(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def submit(self, words: list[str]) -> Job:
        self.tries += 1
        spec = self.waiting[words[words.index("--name") + 1]].spec
        gpu, step = spec.resources.gpu, spec.rule
        if sum(place.gpu for place in self.places) + gpu > self.gpus:
            raise QuotaError("402")
        labels = dict(word.split("=", 1) for word in words if word.startswith("snakemake-"))
        job = Job(f"{step}-{spec.wildcards['scene']}", "RUNNING", self.get_date(), labels=labels)
        end = self.now + STEPS[step][0]
        self.places.append(Place(job, gpu, spec.wildcards["scene"], step, self.now, end, spec.outputs))
        return job

    def list_jobs(self) -> list[Job]:
        self.lists.append(self.now)
        for place in [place for place in self.places if place.end <= self.now]:
            self.places.remove(place)
            place.job = replace(place.job, state="DONE", finalized=True)
            self.ended.append(place)
        return [place.job for place in (*self.ended, *self.places)]

    def get_info(self, file: StoredFile) -> Any:
        end = next((place.end for place in reversed(self.ended) if file in place.outputs), 0)
        return SimpleNamespace(checksum="", modified=datetime.fromtimestamp(end, UTC))

    def read_spans(self) -> dict[str, list[Span]]:
        spans: dict[str, list[Span]] = {name: [] for name in NAMES}
        for place in self.ended:
            spans[place.step].append(Span(place.scene, place.begin, place.begin, place.end))
        return spans


def run(scenes: int, gpus: int, jobs: int = JOBS) -> Fleet:
    random.seed(0)
    fleet = Fleet(gpus)
    ready = [(0, random.random(), scene, 0) for scene in range(scenes)]  # priority, chance, scene, step
    heapq.heapify(ready)
    later: list[tuple[float, int, int]] = []  # when Snakemake will have seen the end of a job: scene, and its next step
    slots, free, left = jobs, 0.0, scenes * len(STEPS)
    with quiet(), watched_by(fleet) as head:
        while left:
            while later and later[0][0] <= fleet.now:
                _, scene, step = heapq.heappop(later)
                slots, left = slots + 1, left - 1
                if step < len(STEPS):
                    heapq.heappush(ready, (-step, random.random(), scene, step))
            new = []
            while ready and slots:
                _, _, scene, step = heapq.heappop(ready)
                new.append(make_task(fleet, scene, NAMES[step], step))
                slots -= 1
            results = head.check(new)
            fleet.now += CALL * (1 + math.ceil(fleet.tries / CALLS))
            fleet.tries = 0
            for result in results:
                scene, step = read_result(result)
                free = max(free, fleet.now) + REPORT
                heapq.heappush(later, (free, scene, step + 1))
            fleet.now += get_pause(head, fleet.now, later, bool(ready and slots))
    return fleet


def get_pause(head: Watcher, now: float, later: list[tuple[float, int, int]], at_once: bool) -> float:
    """As the executor waits: until the next check is due, or until there are new jobs, but not less than the least."""
    pause = head.interval.get_pause()
    if at_once:
        pause = INTERVALS[0]
    elif later:
        pause = min(pause, max(INTERVALS[0], later[0][0] - now))
    return pause


def make_task(fleet: Fleet, scene: int, rule: str, priority: int) -> Task:
    output = StoredFile("b", f"{scene}/{rule}", f"{scene}/{rule}")
    resources = Resources(STEPS[rule][1], 1, "", 240)
    spec = JobSpec(rule, {"scene": str(scene)}, 1, rule, "image", [], resources, (), (output,), (), (), ())
    made = Task(spec, None, priority=priority)
    fleet.waiting[spec.name] = made
    return made


def read_result(result: Result) -> tuple[int, int]:
    """Scene and step."""
    assert result.failure is None, result.message
    return int(result.task.spec.wildcards["scene"]), NAMES.index(result.task.spec.rule)


@contextlib.contextmanager
def watched_by(fleet: Fleet) -> Iterator[Watcher]:
    """The executor's watcher, by the clock of the fleet."""
    modules = (watcher, submitter, task)
    before = [module.time for module in modules]
    for module in modules:
        module.time = fleet  # type: ignore[assignment]
    nothing: Any = lambda *_: None  # noqa: E731
    client: Any = SimpleNamespace(
        list_jobs=fleet.list_jobs, submit=fleet.submit, get_logs=lambda _: "", follow_logs=nothing, stop=nothing
    )
    bucket: Any = SimpleNamespace(get_info=fleet.get_info, remove=nothing, get_time=lambda _: fleet.get_date())
    limits = Limits(1e9, 1e9, *INTERVALS)
    logger: Any = SimpleNamespace(info=nothing, warning=nothing)
    notices = Notices(logger)
    followers: Any = SimpleNamespace(follow=nothing, finish=lambda *_: "", stop_all=nothing)
    head = Watcher(
        client,
        bucket,
        notices,
        limits,
        followers,
        Submitter(client, bucket, notices, limits, "w", "S", [], nothing),
        Stopper(client, notices, 0),
        Completion(bucket, notices, followers, []),
        nothing,
    )
    head.submitter.pool = ThreadPoolExecutor(1)  # so that two runs are the same; the clock counts CALLS at a time
    try:
        yield head
    finally:
        head.close()
        for module, clock in zip(modules, before, strict=True):
            module.time = clock


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The executor writes logs into the working folder."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


if __name__ == "__main__":
    main()
