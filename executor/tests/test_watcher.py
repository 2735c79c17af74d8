"""watcher.Watcher with a platform and a bucket that answer from memory."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake_executor_plugin_ovhai.completion import Completion
from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.job_spec import JobSpec, Resources
from snakemake_executor_plugin_ovhai.logs import LogFollower
from snakemake_executor_plugin_ovhai.notices import Notices
from snakemake_executor_plugin_ovhai.polling import Limits
from snakemake_executor_plugin_ovhai.stopper import Stopper
from snakemake_executor_plugin_ovhai.submitter import Submitter
from snakemake_executor_plugin_ovhai.task import Task
from snakemake_executor_plugin_ovhai.volumes import StoredFile
from snakemake_executor_plugin_ovhai.watcher import Watcher

OUTPUT = StoredFile("b", "work/a/out.txt", "a/out.txt")


RESOURCES = Resources(0, 1, "", 10)
SPEC = JobSpec("r", {}, 1, "true", "image", [], RESOURCES, (), (OUTPUT,), (), (), ())


class Memory:
    """A platform and a bucket. Each submitted job ends at once, in the given state."""

    def __init__(self, state: str = "DONE") -> None:
        self.state = state
        self.jobs: list[Job] = []
        self.shown: dict[StoredFile, Any] = {}
        client: Any = SimpleNamespace(list_jobs=lambda: self.jobs, submit=self.submit, get_logs=lambda job_id: "")
        bucket: Any = SimpleNamespace(
            get_info=self.shown.get,
            remove=lambda file: self.shown.pop(file, None),
            get_time=lambda name: datetime.now(UTC),
        )
        logger: Any = SimpleNamespace(info=print, warning=print)
        limits, notices, followers = Limits(60, 60, 0, 0), Notices(logger), LogFollower(client)
        self.watcher = Watcher(
            client,
            bucket,
            notices,
            limits,
            followers,
            Submitter(client, bucket, notices, limits, "w", "S", [], lambda *_: None),
            Stopper(client, notices, 0),
            Completion(bucket, notices, followers, []),
            lambda *_: None,
        )

    def submit(self, arguments: list[str]) -> Job:
        labels = dict(word.split("=", 1) for word in arguments if word.startswith("snakemake-"))
        self.jobs.append(Job("new", self.state, datetime.now(UTC), labels=labels))
        return self.jobs[-1]

    def show(self) -> None:
        self.shown[OUTPUT] = SimpleNamespace(checksum="", modified=datetime.now(UTC))


def test_an_output_that_shows_late_is_waited_for_also_after_a_restart(tmp_path: Path, monkeypatch: Any) -> None:
    """The head looked for an earlier job's result and found none. Since then it has started its own job."""
    monkeypatch.chdir(tmp_path)
    memory = Memory()
    assert memory.watcher.check([Task(SPEC, None, orphaned=True)]) == []
    assert memory.watcher.check() == [] and len(memory.jobs) == 1
    memory.show()
    (result,) = memory.watcher.check()
    assert result.failure is None and len(memory.jobs) == 1
    memory.watcher.close()


def test_a_failed_jobs_outputs_are_gone_before_snakemake_hears_of_it(tmp_path: Path, monkeypatch: Any) -> None:
    """A platform may copy half a file of a job that it lost. Seeds 27 and 29 of `make chaos` took it for a result."""
    monkeypatch.chdir(tmp_path)
    memory = Memory("ERROR")
    assert memory.watcher.check([Task(SPEC, None)]) == []
    memory.show()
    (result,) = memory.watcher.check()
    assert result.failure is not None and memory.shown == {}
    memory.watcher.close()
