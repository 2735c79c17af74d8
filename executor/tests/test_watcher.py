"""watcher.Watcher with a platform and a bucket that answer from memory."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_plugin_ovhai import Executor, watcher
from snakemake_executor_plugin_ovhai.client import OvhaiError, QuotaError, RefusedError
from snakemake_executor_plugin_ovhai.completion import Completion
from snakemake_executor_plugin_ovhai.diagnosis import Failure
from snakemake_executor_plugin_ovhai.identity import VARIABLE, get_output_id, write_outputs
from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.job_spec import JobSpec, Member, Resources, SubmissionError
from snakemake_executor_plugin_ovhai.logs import LogFollower
from snakemake_executor_plugin_ovhai.notices import Notices
from snakemake_executor_plugin_ovhai.polling import Limits
from snakemake_executor_plugin_ovhai.rescue import ATTEMPTS, LONGEST_COPY, Rescuer
from snakemake_executor_plugin_ovhai.stopper import Stopper
from snakemake_executor_plugin_ovhai.submitter import Submitter
from snakemake_executor_plugin_ovhai.task import Task
from snakemake_executor_plugin_ovhai.volumes import StoredFile
from snakemake_executor_plugin_ovhai.watcher import Watcher

OUTPUT = StoredFile("b", "work/a/out.txt", "a/out.txt")
LATER = StoredFile("b", "work/a/later.txt", "a/later.txt")  # of a step of the run whose turn has not come


RESOURCES = Resources(0, 1, "", 10)
SPEC = JobSpec("r", {}, 1, "true", "image", [], RESOURCES, (), (OUTPUT,), (), (), ())


class Memory:
    """A platform and a bucket. Each submitted job ends at once, in the given state."""

    def __init__(self, state: str = "DONE") -> None:
        self.state = state
        self.push_error: Exception | None = None
        self.jobs: list[Job] = []
        self.shown: dict[StoredFile, Any] = {}
        self.asked: list[str] = []  # calls of push-data and stop
        client: Any = SimpleNamespace(
            list_jobs=lambda: self.jobs,
            submit=self.submit,
            get_logs=lambda job_id: "",
            push=self.push,
            stop=lambda job_id: self.asked.append(f"stop {job_id}"),
            follow_logs=lambda *_: None,
        )
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
            Completion(bucket, notices, followers, [], Rescuer(client, notices)),
            lambda *_: None,
            [get_output_id(LATER)],
        )

    def push(self, job_id: str) -> None:
        self.asked.append(f"push {job_id}")
        if self.push_error:
            raise self.push_error

    def change(self, **changes: Any) -> None:
        self.jobs[-1] = replace(self.jobs[-1], **changes)

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


def test_a_group_whose_rules_cannot_run_alone_runs_as_a_whole(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    memory = Memory("RUNNING")
    group = replace(SPEC, members=(Member("true", [], (), (OUTPUT,)), Member("true", [], (OUTPUT,), (LATER,))))
    task = Task(group, None, narrow=lambda numbers: raise_error(SubmissionError("alone it has no image")))
    assert memory.watcher.check([task]) == []
    assert [job.id for job in memory.jobs] == ["new"]
    memory.watcher.close()


# Copies that failed ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lost_copy(tmp_path: Path, monkeypatch: Any) -> Iterator[Memory]:
    """The command succeeded, and its outputs could not be copied to the bucket."""
    monkeypatch.chdir(tmp_path)
    memory = Memory("SYNC_FAILED")
    assert memory.watcher.check([Task(SPEC, None)]) == []
    memory.change(exit_code=0, push_failed=True)
    yield memory
    memory.watcher.close()


def test_a_failed_copy_is_repeated_before_the_work(lost_copy: Memory) -> None:
    assert lost_copy.watcher.check() == lost_copy.watcher.check() == []
    assert lost_copy.asked == ["push new"]  # once, while it is under way
    lost_copy.change(saved=True)
    lost_copy.show()
    (result,) = lost_copy.watcher.check()
    assert result.failure is None and len(lost_copy.jobs) == 1


def test_a_copy_that_fails_again_and_again_is_given_up(lost_copy: Memory) -> None:
    for failed in range(ATTEMPTS):
        assert lost_copy.watcher.check() == []
        lost_copy.change(copies_failed=failed + 1)
    (result,) = lost_copy.watcher.check()
    assert lost_copy.asked == ["push new"] * ATTEMPTS
    # The next attempt of the same run meets this job again, and does not ask once more.
    assert lost_copy.watcher.check([Task(SPEC, None, unfinished=["new"])]) == []
    assert lost_copy.asked == ["push new"] * ATTEMPTS
    assert result.failure and "SYNC_FAILED" in result.failure.what and result.failure.retry == "yes"


def test_a_copy_that_never_ends_is_given_up(lost_copy: Memory) -> None:
    assert lost_copy.watcher.check() == []
    lost_copy.watcher.tasks[0].rescue_since -= LONGEST_COPY + 1
    (result,) = lost_copy.watcher.check()
    assert result.failure and lost_copy.asked == ["push new"]


def test_an_outage_does_not_give_up_a_copy_but_a_refusal_does(lost_copy: Memory) -> None:
    lost_copy.push_error = OvhaiError("503")
    for _ in range(ATTEMPTS + 2):
        assert lost_copy.watcher.check() == []
    lost_copy.push_error = RefusedError("409")
    (result,) = lost_copy.watcher.check()
    assert result.failure and "SYNC_FAILED" in result.failure.what


@pytest.mark.parametrize(
    "changes",
    [
        {"exit_code": 1},
        {"timed_out": True},
        {"stop_requested": True},
        {"exit_code": None, "push_failed": False},
        {"state": "ERROR"},
    ],
)
def test_what_did_not_do_its_work_is_not_copied(lost_copy: Memory, changes: dict[str, Any]) -> None:
    lost_copy.change(**changes)
    (result,) = lost_copy.watcher.check()
    assert result.failure and lost_copy.asked == []


def test_a_head_that_comes_later_repeats_the_copy_too(lost_copy: Memory) -> None:
    lost_copy.watcher.tasks.clear()
    lost_copy.watcher.check([Task(SPEC, None, unfinished=["new"])])
    lost_copy.watcher.check()
    assert lost_copy.asked == ["push new"] and len(lost_copy.jobs) == 1
    # If there is nothing to be had from the earlier job, its work is done anew.
    lost_copy.push_error = RefusedError("404")
    lost_copy.change(copies_failed=1)
    assert lost_copy.watcher.check() == []
    assert lost_copy.watcher.check() == [] and len(lost_copy.jobs) == 2


# Limits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "limit"),
    [
        ("QUEUED", 60),
        ("PENDING", 60),
        ("INITIALIZING", 7200),
        ("RESTARTING", 4200),
        ("SOMETHING_NEW", 4200),
        ("", 4200),
        ("RUNNING", None),
    ],
)
def test_each_state_has_its_limit(tmp_path: Path, monkeypatch: Any, state: str, limit: float | None) -> None:
    """The rule has ten minutes. A state that nobody knows may be one in which the job computes."""
    monkeypatch.chdir(tmp_path)
    memory = Memory(state)
    memory.watcher.followers.follow = lambda *_: None  # type: ignore[method-assign]
    memory.watcher.check([Task(SPEC, None)])
    memory.watcher.check()
    (task,) = memory.watcher.tasks
    task.since -= (limit or 10**6) - 30
    memory.watcher.check()
    assert memory.asked == []
    task.since -= 60
    memory.watcher.check()
    assert set(memory.asked) == (set() if limit is None else {"stop new"})
    if limit:
        memory.change(state="INTERRUPTED")
        (result,) = memory.watcher.check()
        assert result.failure and f"for more than {limit / 60:g} minutes" in result.failure.what
        assert result.failure.remedy and result.failure.retry == "yes"
    memory.watcher.close()


def test_an_image_that_does_not_exist_is_no_matter_of_time(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    memory = Memory("PENDING")
    memory.watcher.check([Task(SPEC, None)])
    memory.change(info_code="JOB_IMAGE_PULL_BACKOFF", info="manifest unknown")
    memory.watcher.check()
    memory.watcher.tasks[0].since -= 100
    memory.watcher.check()
    memory.change(state="INTERRUPTED")
    (result,) = memory.watcher.check()
    assert result.failure and result.failure.retry == "no" and "manifest unknown" in result.failure.cause
    memory.watcher.close()


def test_an_image_is_pulled_again_after_a_while() -> None:
    """Each time the wait is twice as long: Docker Hub counts the requests of hours."""
    job: Any = object()
    executor: Any = SimpleNamespace(free_retries={}, waits={})
    waits = []
    for tries in range(3):
        executor.free_retries[job] = tries
        Executor.note_wait(executor, job, Failure("x", retry="free", wait=120))
        waits.append(executor.waits[job])
    assert waits == [120, 240, 480]


@pytest.mark.parametrize(
    ("state", "file", "full", "stopped"),
    [
        ("QUEUED", LATER, True, True),
        ("PENDING", LATER, True, True),
        ("QUEUED", LATER, False, False),
        ("RUNNING", LATER, True, False),
        ("QUEUED", StoredFile("b", "elsewhere/out.txt", "out.txt"), True, False),
    ],
)
def test_a_job_of_a_later_step_that_never_begins_does_not_hold_the_quota_for_ever(
    tmp_path: Path, monkeypatch: Any, state: str, file: StoredFile, full: bool, stopped: bool
) -> None:
    """Seed 240 of `make chaos`: an earlier head had started it, and no task watched it."""
    monkeypatch.chdir(tmp_path)
    memory = Memory("RUNNING")
    old = Job("old", state, datetime.now(UTC), variables={VARIABLE: write_outputs({get_output_id(file): "f" * 40})})
    memory.jobs.append(old)
    if full:
        monkeypatch.setattr(memory.watcher.client, "submit", lambda arguments: raise_error(QuotaError("402")))
    memory.watcher.check([Task(SPEC, None)])
    assert memory.asked == []
    moment = time.monotonic() + 61
    monkeypatch.setattr(watcher.time, "monotonic", lambda: moment)
    memory.watcher.check()
    assert memory.asked == (["stop old"] if stopped else [])
    memory.watcher.close()


class OneGpu(Memory):
    """A platform with room for one job with a GPU, and one with CPUs. started: names of jobs. tries: submissions."""

    def __init__(self) -> None:
        super().__init__("RUNNING")
        self.started: list[str] = []
        self.tries = 0
        limits = replace(self.watcher.limits, max_interval=3600)
        self.watcher.limits = self.watcher.submitter.limits = limits
        self.watcher.submitter.pool = ThreadPoolExecutor(1)  # which of several calls comes first is chance otherwise

    def submit(self, arguments: list[str]) -> Job:
        self.tries += 1
        kind = next(word for word in ("--gpu", "--cpu") if word in arguments)
        if any(job.state == "RUNNING" and job.name == kind for job in self.jobs):
            raise QuotaError("402")
        super().submit(arguments)
        self.change(id=f"job {len(self.jobs)}", name=kind)
        self.started.append(arguments[arguments.index("--name") + 1])
        return self.jobs[-1]

    def end(self, task: Task) -> None:
        number = next(number for number, job in enumerate(self.jobs) if job.id == task.job_id)
        self.jobs[number] = replace(self.jobs[number], state="DONE")
        for file in task.spec.outputs:
            self.shown[file] = SimpleNamespace(checksum="", modified=datetime.now(UTC))


def make_step(rule: str, scene: str, gpu: int = 1, priority: float = 0) -> Task:
    output = StoredFile("b", f"work/{scene}/{rule}.txt", f"{scene}/{rule}.txt")
    resources = replace(RESOURCES, gpu=gpu)
    return Task(
        replace(SPEC, rule=rule, wildcards={"scene": scene}, outputs=(output,), resources=resources),
        None,
        priority=priority,
    )


def test_a_place_in_the_quota_goes_to_the_highest_priority_and_then_to_the_oldest(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    memory = OneGpu()
    trains = [make_step("train", scene) for scene in "abc"]
    memory.watcher.check(trains)
    assert memory.started == ["train-a"]
    memory.end(trains[0])
    memory.watcher.check()
    mesh = make_step("mesh", "a", priority=1)  # ready because its training has ended
    memory.watcher.check([mesh])
    assert memory.started == ["train-a", "mesh-a"]
    memory.end(mesh)
    for _ in range(2):
        memory.watcher.check()
    assert memory.started == ["train-a", "mesh-a", "train-b"]
    memory.watcher.close()


def test_the_end_of_one_job_lets_one_job_try_again(tmp_path: Path, monkeypatch: Any) -> None:
    """Each try removes old outputs first, and takes seconds."""
    monkeypatch.chdir(tmp_path)
    memory = OneGpu()
    trains = [make_step("train", str(number)) for number in range(30)]
    packs = [make_step("pack", scene, gpu=0) for scene in "ab"]
    for new in ([*trains, *packs], [], []):
        memory.watcher.check(new)
    while not any(pack.job_id for pack in packs):
        memory.watcher.check()
    before = memory.tries
    memory.end(packs[0])
    for _ in range(3):
        memory.watcher.check()
    assert memory.started == ["train-0", "pack-a", "pack-b"] and memory.tries == before + 1
    memory.end(trains[0])
    for _ in range(3):
        memory.watcher.check()
    assert memory.started[3:] == ["train-1"] and memory.tries == before + 2
    memory.watcher.close()


def raise_error(error: Exception) -> Any:
    raise error
