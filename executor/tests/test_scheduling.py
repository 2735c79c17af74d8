"""What Snakemake's scheduler leaves out: questions to the bucket, and looks at jobs that nothing has kept back."""

import asyncio
import inspect
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from snakemake_executor_plugin_ovhai import scheduling
from snakemake_executor_plugin_ovhai.scheduling import READS


class File(str):
    """As Snakemake's own. asked: of all files, those whose sizes were asked for."""

    is_storage = True
    temporary = False
    asked: list[str] = []

    def is_flagged(self, flag: str) -> bool:
        return flag == "temp" and self.temporary

    async def exists(self) -> bool:
        self.asked.append(str(self))
        return True

    async def size(self) -> int:
        return 7


class Local(File):
    is_storage = False


class Temporary(File):
    temporary = True


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("update_input_sizes", "_schedule_reevalutation"):
        monkeypatch.setattr(JobScheduler, name, inspect.unwrap(getattr(JobScheduler, name)))
    monkeypatch.setattr(File, "asked", [])


def update(scheduler: Any, *files: File) -> None:
    asyncio.run(JobScheduler.update_input_sizes(scheduler, [SimpleNamespace(input=[file]) for file in files]))


@pytest.mark.usefixtures("untouched")
def test_only_local_and_temporary_files_are_asked_for_their_size() -> None:
    scheduler: Any = SimpleNamespace(_input_sizes={})
    stored = [File(f"s3://b/{number}") for number in range(20_000)]
    scheduling.attach()
    scheduling.attach()
    update(scheduler, *stored, Local("a.mp4"), Temporary("s3://b/t"))
    assert sorted(File.asked) == ["a.mp4", "s3://b/t"]
    others = {"a.mp4": 7, "s3://b/t": 7}
    assert scheduler._input_sizes == {**dict.fromkeys(map(str, stored), 0), **others}
    update(scheduler, stored[0])  # Snakemake forgets the others when there are many
    assert scheduler._input_sizes[stored[0]] == 0 and len(scheduler._input_sizes) < len(stored)


@pytest.mark.usefixtures("untouched")
def test_jobs_are_looked_at_again_once_and_only_if_the_limit_keeps_some_back() -> None:
    scheduling.attach()
    free = 3
    limiter = SimpleNamespace(timespan=0.05, get_free_jobs=lambda: free)
    scheduler: Any = SimpleNamespace(job_rate_limiter=limiter, _open_jobs=threading.Semaphore(0))

    def count_looks(times: int, delay: float) -> int:
        for _ in range(times):
            JobScheduler._schedule_reevalutation(scheduler, delay)
        time.sleep(0.3)
        looks = 0
        while scheduler._open_jobs.acquire(blocking=False):
            looks += 1
        return looks

    assert count_looks(5, 0.05) == 0
    free = 0
    assert count_looks(5, 0.05) == 1 and count_looks(1, 0.05) == 1
    free = 3
    assert count_looks(5, 0.1) == 1, "this is the wait for inputs of a queue"
    scheduler.job_rate_limiter = None
    assert count_looks(5, 0.05) == 1


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", READS)
def test_another_version_is_named_and_asks_as_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(scheduling, "tell", lambda level, message: said.append(message))
    monkeypatch.setattr(scheduling, "READS", READS | {name: ("a line that it has no more",)})
    scheduling.attach()
    assert "the bucket is asked about the inputs" in said[0]
    update(SimpleNamespace(_input_sizes={}), File("s3://b/1"))
    assert File.asked == ["s3://b/1"]
