"""The scheduler asks for no sizes of files in the bucket."""

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from snakemake_executor_plugin_ovhai import input_sizes
from snakemake_executor_plugin_ovhai.input_sizes import READS


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
    monkeypatch.setattr(JobScheduler, "update_input_sizes", inspect.unwrap(JobScheduler.update_input_sizes))
    monkeypatch.setattr(File, "asked", [])


def update(scheduler: Any, *files: File) -> None:
    asyncio.run(JobScheduler.update_input_sizes(scheduler, [SimpleNamespace(input=[file]) for file in files]))


@pytest.mark.usefixtures("untouched")
def test_only_local_and_temporary_files_are_asked_for_their_size() -> None:
    scheduler: Any = SimpleNamespace(_input_sizes={})
    stored = [File(f"s3://b/{number}") for number in range(20_000)]
    input_sizes.attach()
    input_sizes.attach()
    update(scheduler, *stored, Local("a.mp4"), Temporary("s3://b/t"))
    assert sorted(File.asked) == ["a.mp4", "s3://b/t"]
    others = {"a.mp4": 7, "s3://b/t": 7}
    assert scheduler._input_sizes == {**dict.fromkeys(map(str, stored), 0), **others}
    update(scheduler, stored[0])  # Snakemake forgets the others when there are many
    assert scheduler._input_sizes[stored[0]] == 0 and len(scheduler._input_sizes) < len(stored)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", READS)
def test_another_version_is_named_and_asks_as_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(input_sizes, "tell", lambda level, message: said.append(message))
    monkeypatch.setattr(input_sizes, "READS", READS | {name: ("a line that it has no more",)})
    input_sizes.attach()
    assert "the bucket is asked about the inputs" in said[0]
    update(SimpleNamespace(_input_sizes={}), File("s3://b/1"))
    assert File.asked == ["s3://b/1"]
