"""Signs of life of heads, in the bucket: `snakemake-ovhai reap` finds by them the live jobs that nobody watches.

A head writes PREFIX/.ovhai/heads/RUN.json again and again, and a last time when it ends. RUN is the label of the jobs
that it submits. How old a sign is, the bucket's clock tells alone, so the clocks of laptops do not matter. A head never
ends because it cannot write: it counts as gone until it can again.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from .bucket import Bucket, BucketError
from .identity import read_outputs
from .job import Job
from .labels import get_label
from .notices import Notices

BEAT = 30.0  # seconds between two signs
# Seconds without a sign, after which a head counts as gone. A router restarts in less, and listings of S3 servers have
# caught up with what was written (provenance.RECENT).
GONE = 900.0
KEPT = timedelta(days=1)  # for how long a sign without live jobs stays
CONNECT, READ, ATTEMPTS = 5.0, 10.0, 1  # seconds and requests: the next sign comes soon, and the end of a run waits
LOST = (
    "The run goes on, but it cannot give a sign of life. "
    f"After {GONE / 60:.0f} minutes `snakemake-ovhai reap` takes it for gone."
)


@dataclass(frozen=True)
class Head:
    """What the bucket knows of a head.

    run      the label of its jobs
    place    HOST:FOLDER
    ended    whether it has said that it ends
    jobs     ids of live jobs that it watches or will take over; None: not known yet, so it may need any
    silent   seconds since its last sign
    """

    run: str
    place: str
    ended: bool
    jobs: frozenset[str] | None
    silent: float

    @property
    def gone(self) -> bool:
        return self.ended or self.silent > GONE

    def needs(self, job: Job) -> bool:
        return not self.gone and (self.jobs is None or job.id in self.jobs or get_run(job) == self.run)


def get_run(job: Job) -> str:
    return get_label(job, "run").lower()


def get_folder(root: str) -> str:
    return f"{root}/.ovhai/heads/".lstrip("/")


def read_run(folder: str, key: str) -> str:
    """Empty if the object is no sign, such as the mark of an empty folder that some programs make."""
    name = key.removeprefix(folder)
    return name.removesuffix(".json") if name.endswith(".json") else ""


class Heartbeat:
    """Of one head. No error leaves it."""

    def __init__(
        self, bucket: Bucket, name: str, root: str, run: str, outputs: Collection[str], notices: Notices
    ) -> None:
        """bucket: with a client that gives up soon. outputs: ids of what the run makes (identity.py)."""
        self.bucket, self.name, self.folder, self.run = bucket, name, get_folder(root), run
        self.outputs, self.notices = frozenset(outputs), notices
        self.jobs: list[str] | None = None
        self.ended = threading.Event()
        self.lock = threading.Lock()

    def begin(self, jobs: Sequence[Job] | None) -> None:
        """Before the first submission. jobs: all that the platform knows; None if it does not answer."""
        if jobs is not None:
            self.note(jobs, ())
        self.beat()
        if jobs is not None:
            self.guard(lambda: self.remove_old(jobs))
        threading.Thread(target=self.work, daemon=True).start()

    def note(self, jobs: Iterable[Job], watched: Collection[str]) -> None:
        """Which live jobs this head needs. watched: ids of those that it watches already."""
        self.jobs = [job.id for job in jobs if job.live and (job.id in watched or self.may_need(job))]

    def may_need(self, job: Job) -> bool:
        """A job that does not show what it writes may be one of them."""
        outputs = read_outputs(job)
        return not self.outputs.isdisjoint(outputs) if outputs else bool(get_label(job, "workflow"))

    def work(self) -> None:
        while not self.ended.wait(BEAT):
            self.beat()

    def beat(self) -> None:
        with self.lock:
            if not self.ended.is_set():
                self.guard(self.write)

    def end(self) -> None:
        """The sign stays, so that live jobs of this head are found. A later head removes it."""
        self.ended.set()
        if self.lock.acquire(timeout=READ):
            self.guard(self.write)
            self.lock.release()

    def write(self) -> None:
        record = {"place": f"{socket.gethostname()}:{os.getcwd()}", "ended": self.ended.is_set(), "jobs": self.jobs}
        self.bucket.put(self.name, f"{self.folder}{self.run}.json", json.dumps(record).encode())

    def remove_old(self, jobs: Iterable[Job]) -> None:
        """Signs of heads that have left no live jobs. jobs: all that the platform knows."""
        needed = {self.run, *(get_run(job) for job in jobs if not job.ended)}
        limit = self.bucket.get_time(self.name) - KEPT
        found = list(self.bucket.list_objects(self.name, self.folder))
        old = [key for key, info in found if info.modified < limit and read_run(self.folder, key) not in {"", *needed}]
        self.bucket.remove_all(self.name, old)

    def guard(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BucketError as error:
            self.notices.report_bucket_outage(error, LOST)
        except Exception as error:
            self.notices.remind("heartbeat", f"Unexpected {error!r}. {LOST}")


def read_heads(bucket: Bucket, name: str, root: str) -> list[Head]:
    """BucketError if they cannot be read."""
    now, folder = bucket.get_time(name), get_folder(root)
    heads = []
    for key, info in bucket.list_objects(name, folder):
        run = read_run(folder, key)
        content = bucket.get(name, key) if run else None
        if content is not None:  # else a head has removed it meanwhile
            heads.append(read_head(run, content, max(0.0, (now - info.modified).total_seconds())))
    return heads


def read_head(run: str, content: bytes, silent: float) -> Head:
    """What cannot be read is not known: such a head needs any job until it is silent."""
    try:
        record = json.loads(content)
        jobs = record["jobs"]
        known = None if jobs is None else frozenset(map(str, jobs))
        return Head(run, str(record["place"]), record["ended"] is True, known, silent)
    except (ValueError, KeyError, TypeError):
        return Head(run, "an unknown place", False, None, silent)


@dataclass(frozen=True)
class Watch:
    """Live jobs of a workflow. left: the head of each is gone. unknown: of a run without a sign. kept: all others."""

    left: list[tuple[Job, Head]]
    unknown: list[Job]
    kept: list[Job]


def sort_jobs(jobs: Iterable[Job], heads: Sequence[Head]) -> Watch:
    """jobs: of one workflow. List them before its heads, so that no new head is missed."""
    by_run = {head.run: head for head in heads}
    watch = Watch([], [], [])
    for job in sorted((job for job in jobs if job.live), key=lambda job: job.age_key):
        head = by_run.get(get_run(job))
        if any(other.needs(job) for other in heads):
            watch.kept.append(job)
        elif head is None:
            watch.unknown.append(job)
        else:
            watch.left.append((job, head))
    return watch
