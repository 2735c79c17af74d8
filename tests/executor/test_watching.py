"""watching.Watcher with a platform and a bucket that answer from memory."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake_executor_plugin_ovhai.states import Job
from snakemake_executor_plugin_ovhai.submission import Request, Resources
from snakemake_executor_plugin_ovhai.volumes import StoredFile
from snakemake_executor_plugin_ovhai.watching import Limits, Watcher, Work

OUTPUT = StoredFile("b", "work/a/out.txt", "a/out.txt")


def test_an_output_that_shows_late_is_waited_for_also_after_a_restart(tmp_path: Path, monkeypatch: Any) -> None:
    """The head looked for an earlier job's result, found none, and has started its own job since then."""
    monkeypatch.chdir(tmp_path)
    jobs: list[Job] = []

    def submit(arguments: list[str]) -> Job:
        labels = dict(word.split("=", 1) for word in arguments if word.startswith("snakemake-"))
        jobs.append(Job("new", "DONE", datetime.now(UTC), labels=labels))
        return jobs[-1]

    client: Any = SimpleNamespace(list_jobs=lambda: jobs, submit=submit, get_logs=lambda job_id: "")
    shown: dict[StoredFile, Any] = {}
    bucket: Any = SimpleNamespace(get_info=shown.get, remove=lambda file: None, get_time=lambda name: datetime.now(UTC))
    logger: Any = SimpleNamespace(info=print, warning=print)
    watcher = Watcher(client, bucket, logger, Limits(60, 60, 0, 0), "w", "S", [], [], on_start=lambda *_: None)
    resources = Resources(0, 1, "", 10)
    request = Request("r", {}, 1, "true", "image", [], resources, (), (OUTPUT,), (), (), ())
    assert watcher.look([Work(request, None, orphaned=True)]) == []
    assert watcher.look() == [] and len(jobs) == 1
    shown[OUTPUT] = SimpleNamespace(checksum="", modified=datetime.now(UTC))
    (result,) = watcher.look()
    assert result.failure is None and len(jobs) == 1
    watcher.close()
