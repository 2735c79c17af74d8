"""Nothing left running: signs of life of heads, and `snakemake-ovhai reap`."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cli_helpers import Run, Said, stuck
from heads import Head, finish, start_and_kill, states
from ovhai_standin.platform import Platform
from submission import submit, wait_until

import s3_server
from s3_proxy import Proxy
from snakemake_executor_plugin_ovhai import heartbeat
from snakemake_executor_plugin_ovhai.bucket import BucketError, ObjectInfo, SilenceError
from snakemake_executor_plugin_ovhai.cli import reap
from snakemake_executor_plugin_ovhai.heartbeat import GONE, Heartbeat, read_head, read_heads, sort_jobs
from snakemake_executor_plugin_ovhai.heartbeat import Head as KnownHead
from snakemake_executor_plugin_ovhai.identity import VARIABLE
from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.labels import find_prefix, get_workflow_label, may_be_in
from snakemake_executor_plugin_ovhai.notices import Notices

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def make_job(name: str, run: str = "old", state: str = "RUNNING", outputs: str = "", minute: int = 0) -> Job:
    labels = {"snakemake-workflow": "w", **({"snakemake-run": run} if run else {})}
    return Job(name, state, NOW + timedelta(minutes=minute), labels=labels, variables={VARIABLE: outputs})


def make_head(run: str, silent: float = 0, ended: bool = False, jobs: tuple[str, ...] | None = ()) -> KnownHead:
    return KnownHead(run, "laptop:/work", ended, None if jobs is None else frozenset(jobs), silent)


# Who watches a job? --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heads", "where"),
    [
        ([make_head("old", GONE + 1)], "left"),
        ([make_head("old", ended=True)], "left"),
        ([make_head("old", GONE - 1)], "kept"),  # a head that is alive elsewhere
        ([make_head("old", GONE + 1), make_head("new", jobs=("x",))], "kept"),  # a head that has taken it over
        ([make_head("old", GONE + 1), make_head("new", jobs=("y",))], "left"),
        ([make_head("old", GONE + 1), make_head("new", jobs=None)], "kept"),  # one that does not know yet what it needs
        ([make_head("old", GONE + 1), make_head("new", GONE + 1, jobs=("x",))], "left"),
        ([make_head("old", GONE + 1), make_head("new", GONE + 1, jobs=None)], "left"),
        ([make_head("old", ended=True), make_head("new", 3, True, jobs=("x",))], "left"),
        ([], "unknown"),  # an older version of the executor gives no signs
        ([make_head("other", GONE + 1)], "unknown"),
    ],
)
def test_a_job_is_left_only_if_its_head_is_surely_gone(heads: list[KnownHead], where: str) -> None:
    watch = sort_jobs([make_job("x")], heads)
    ids = {"left": [job.id for job, _ in watch.left], "unknown": watch.unknown, "kept": watch.kept}
    assert [name for name, found in ids.items() if found] == [where]


def test_jobs_that_have_ended_or_are_about_to_are_nobodys_care() -> None:
    jobs = [make_job(state, state=state) for state in ("DONE", "FAILED", "INTERRUPTING", "TIMEOUT", "INTERRUPTED")]
    assert sort_jobs(jobs, [make_head("old", ended=True)]) == heartbeat.Watch([], [], [])
    strange = [make_job("new state", state="THAWING"), make_job("none", state="")]
    assert len(sort_jobs(strange, [make_head("old", ended=True)]).left) == 2


def test_letters_of_a_label_may_change() -> None:
    assert sort_jobs([make_job("x", run="OLD")], [make_head("old")]).kept


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"place": 1, "jobs": 3, "ended": 0}', b"\xff", b'"x"'])
def test_a_sign_that_cannot_be_read_protects_all_jobs_until_it_is_old(content: bytes) -> None:
    assert read_head("new", content, 1).needs(make_job("x")) and not read_head("new", content, GONE + 1).needs(
        make_job("x")
    )


@pytest.mark.parametrize(("root", "sure"), [("meshes", True), ("", True), ("a/b", False), ("Meshes", False)])
def test_a_prefix_is_found_by_the_label_of_its_jobs(root: str, sure: bool) -> None:
    label = get_workflow_label("my-bucket", root)
    assert find_prefix("my-bucket", label) == (root if sure else None) and may_be_in("my-bucket", label)
    assert find_prefix("my", label) is None
    assert not may_be_in("other", label) and find_prefix("other", label) is None


# The head ------------------------------------------------------------------------------------------------------------


class Memory:
    """A bucket that may fail."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.now, self.error = NOW, None

    def put(self, bucket: str, key: str, content: bytes) -> None:
        if self.error:
            raise self.error
        self.objects[key] = content, self.now

    def get(self, bucket: str, key: str) -> bytes | None:
        return self.objects[key][0] if key in self.objects else None

    def list_objects(self, bucket: str, prefix: str) -> list[tuple[str, ObjectInfo]]:
        return [
            (key, ObjectInfo("e", time, len(content)))
            for key, (content, time) in self.objects.items()
            if key.startswith(prefix)
        ]

    def get_time(self, bucket: str) -> datetime:
        return self.now

    def remove_all(self, bucket: str, keys: list[str]) -> None:
        for key in keys:
            del self.objects[key]


def make_heartbeat(memory: Any, run: str = "new", said: list[str] | None = None) -> Heartbeat:
    def tell(message: str) -> None:
        if said is not None:
            said.append(message)

    logger: Any = SimpleNamespace(info=tell, warning=tell)
    return Heartbeat(memory, "b", "work", run, {"aa", "bb"}, Notices(logger))


def test_a_head_says_which_jobs_of_earlier_heads_it_will_take_over() -> None:
    memory: Any = Memory()
    beat = make_heartbeat(memory)
    jobs = [make_job("needed", outputs="f.aa"), make_job("other", outputs="f.cc"), make_job("watched", outputs="f.dd")]
    jobs += [make_job("hidden"), make_job("done", outputs="f.bb", state="DONE")]
    beat.note(jobs, {"watched"})
    beat.beat()
    (head,) = read_heads(memory, "b", "work")
    assert head.jobs == {"needed", "watched", "hidden"} and (head.run, head.ended, head.gone) == ("new", False, False)
    memory.now += timedelta(seconds=GONE + 1)
    assert read_heads(memory, "b", "work")[0].gone
    beat.end()
    beat.beat()  # the thread may be in the middle of one
    assert read_heads(memory, "b", "work")[0].ended


def test_a_head_that_does_not_know_the_jobs_says_so() -> None:
    memory: Any = Memory()
    beat = make_heartbeat(memory)
    beat.begin(None)
    assert read_heads(memory, "b", "work")[0].jobs is None
    beat.end()


def test_signs_of_old_runs_go_unless_their_jobs_live() -> None:
    memory: Any = Memory()
    for run in ("gone", "lives"):
        make_heartbeat(memory, run).end()
    memory.now += timedelta(hours=25)
    make_heartbeat(memory, "yesterday").end()
    beat = make_heartbeat(memory)
    beat.begin([make_job("x", run="lives"), make_job("y", run="gone", state="DONE")])
    beat.end()
    assert sorted(head.run for head in read_heads(memory, "b", "work")) == ["lives", "new", "yesterday"]


def test_what_is_no_sign_tells_nothing() -> None:
    """A mark of a folder, and a job without the label of a run."""
    memory: Any = Memory()
    memory.objects = {f"work/.ovhai/heads/{name}": (b"", NOW) for name in ("", "notes.txt", ".json")}
    memory.now += timedelta(days=2)
    assert read_heads(memory, "b", "work") == []
    beat = make_heartbeat(memory)
    beat.begin([])
    beat.end()
    assert len(memory.objects) == 4
    assert sort_jobs([make_job("x", run="")], read_heads(memory, "b", "work")).unknown


@pytest.mark.parametrize("error", [SilenceError("no answer"), BucketError("403"), RuntimeError("a defect")])
def test_a_head_whose_signs_are_lost_says_so_once_and_goes_on(error: Exception) -> None:
    memory: Any = Memory()
    said: list[str] = []
    beat = make_heartbeat(memory, said=said)
    memory.error = error
    beat.begin([])
    beat.beat()
    assert len(said) == 1 and "The run goes on" in said[0]
    memory.error = None
    beat.beat()
    assert read_heads(memory, "b", "work")[0].silent == 0
    beat.end()


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def reap_it(run: Run, platform: Platform, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The jobs of the workflow "work" in the bucket."""
    monkeypatch.setattr(reap, "AGAIN", 0.0)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    platform.set(quota={"gpu": 100, "cpu": 100})

    def call(*arguments: str) -> Said:
        return run("reap", "--bucket", bucket, *arguments)

    return call


@pytest.fixture
def sign(bucket: str, s3: s3_server.S3Server) -> Callable[..., None]:
    def write(run: str, ended: bool = True, jobs: Any = ()) -> None:
        record = {"place": "laptop:/work", "ended": ended, "jobs": jobs}
        s3.client().put_object(Bucket=bucket, Key=f"work/.ovhai/heads/{run}.json", Body=json.dumps(record).encode())

    return write


def start(platform: Platform, workflow: str, run: str, rule: str = "train") -> str:
    submitted = str(int(time.time()) - 3700)
    labels = {"workflow": workflow, "rule": rule, "wildcard-scene": "tea", "run": run, "submitted": submitted}
    options = [word for name, value in labels.items() for word in ("--label", f"snakemake-{name}={value}")]
    return submit(platform, *options, "--flavor", "ai1-1-gpu", units=("--gpu", "2"))


def get_states(platform: Platform) -> dict[str, str]:
    return {job["id"]: job["status"]["state"] for job in platform.jobs()}


def test_reap_lists_and_stops_only_jobs_of_this_workflow_whose_run_is_gone(
    reap_it: Run, platform: Platform, bucket: str, sign: Callable[..., None]
) -> None:
    stuck(platform)
    work = get_workflow_label(bucket, "work")
    left = start(platform, work, "gone")
    others = [start(platform, work, "alive"), start(platform, work, "unknown")]
    others += [start(platform, get_workflow_label(bucket, "another"), "gone"), submit(platform)]
    sign("gone")
    sign("alive", ended=False)
    code, out, err = reap_it("--prefix", "work")
    title, row, total = out.splitlines()
    assert title.split() == [
        "ID",
        "RULE",
        "WILDCARDS",
        "STATE",
        "AGE",
        "FLAVOR",
        "AN",
        "HOUR",
        "SO",
        "FAR",
        "ITS",
        "RUN",
    ]
    assert row.split()[:9] == [left, "train", "tea", "QUEUED", "1h01m", "ai1-1-gpu", "x", "2", "3.86"]
    assert row.endswith("ended, laptop:/work") and total == "1 job: 3.86 EUR an hour, without VAT"
    assert code == 1 and "there is no terminal to ask on; add --yes to stop 1 job" in err
    assert f"they stay: {others[1]}." in err and platform.calls("job", "stop") == []
    code, out, err = reap_it("--prefix", "work", "--json")
    (record,) = json.loads(out)
    assert (record["id"], record["price_per_hour"], record["head_ended"]) == (left, 3.86, True) and code == 1
    code, out, _ = reap_it("--prefix", "work", "--yes")
    assert code == 0 and out.splitlines()[-1] == f"{left}  train/tea  INTERRUPTED"
    assert {job: state for job, state in get_states(platform).items() if job in others} == dict.fromkeys(
        others, "QUEUED"
    )
    code, out, err = reap_it("--prefix", "work")
    assert (code, out) == (0, "") and "No live job is left without a run" in err
    assert reap_it("--prefix", "work", "--yes", "--json")[:2] == (0, "[]\n")


def test_a_run_that_was_silent_for_a_while_keeps_its_jobs(
    reap_it: Run,
    platform: Platform,
    bucket: str,
    sign: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an outage of the bucket the run gives its next sign between the list and the order to stop."""
    stuck(platform)
    job = start(platform, get_workflow_label(bucket, "work"), "silent")
    sign("silent", ended=False)
    monkeypatch.setattr(heartbeat, "GONE", -1.0)

    def wake_up(seconds: float) -> None:
        monkeypatch.setattr(heartbeat, "GONE", GONE)

    monkeypatch.setattr(reap, "time", SimpleNamespace(sleep=wake_up))
    code, out, err = reap_it("--prefix", "work", "--yes")
    assert "silent for 0m0" in out and f"{job} stays" in err and code == 0
    assert get_states(platform) == {job: "QUEUED"}


def test_a_bucket_that_cannot_be_read_reaps_nothing(
    run: Run, platform: Platform, bucket: str, sign: Callable[..., None], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck(platform)
    start(platform, get_workflow_label(bucket, "work"), "gone")
    sign("gone")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", proxy.server.endpoint)
    arguments = ("reap", "--yes", "--bucket", bucket, "--prefix", "work")
    for kind, match in (("503", ""), ("403", "heads"), ("503", "heads/gone"), ("refuse", "")):
        proxy.inject(kind, match=match, count=20)
        code, out, err = run(*arguments)
        assert (code, out) == (1, "") and "nothing was stopped, since it cannot be told which runs are alive" in err
        proxy.clear()
    assert platform.calls("job", "stop") == []
    code, _, err = run("reap", "--yes", "--bucket", "no-such-bucket")
    assert code == 1 and "no-such-bucket" in err
    assert "no bucket is set" in run("reap")[2]
    assert "'..' as a part" in run("reap", "--bucket", bucket, "--prefix", "../x")[2]
    assert run("reap", "--bucket", bucket, "work")[0] == 2


def test_without_a_prefix_the_only_workflow_of_the_bucket_is_meant(
    reap_it: Run, platform: Platform, bucket: str, sign: Callable[..., None]
) -> None:
    assert reap_it() == (0, "", f"s3://{bucket}: 0 jobs that a run watches.\nNo live job is left without a run.\n")
    stuck(platform)
    start(platform, get_workflow_label("elsewhere", "x"), "gone")
    job = start(platform, get_workflow_label(bucket, "work"), "gone")
    sign("gone")
    assert job in reap_it()[1]
    start(platform, get_workflow_label(bucket, "deep/er"), "gone")
    code, _, err = reap_it("--yes")
    assert code == 1 and "--prefix or OVHAI_PREFIX" in err and "work (" in err
    assert platform.calls("job", "stop") == []


@pytest.mark.parametrize(("answer", "state"), [("y\n", "INTERRUPTED"), ("n\n", "QUEUED"), ("\n", "QUEUED")])
def test_reap_asks_on_a_terminal(
    platform: Platform, bucket: str, s3: s3_server.S3Server, sign: Callable[..., None], answer: str, state: str
) -> None:
    stuck(platform)
    job = start(platform, get_workflow_label(bucket, "work"), "gone")
    sign("gone")
    terminal, inside = pty.openpty()
    os.write(terminal, answer.encode())
    done = subprocess.run(
        [sys.executable, "-m", "snakemake_executor_plugin_ovhai.cli.main", "reap", "--bucket", bucket],
        stdin=inside,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **s3.environment, **platform.environment},
    )
    os.close(terminal)
    os.close(inside)
    assert "Stop 1 job? [y/N]" in done.stderr and done.returncode == 0, done.stderr
    assert get_states(platform) == {job: state}


def test_the_doctor_points_at_jobs_that_are_left(
    run: Run, platform: Platform, bucket: str, sign: Callable[..., None]
) -> None:
    def examine() -> tuple[int, str]:
        code, out, _ = run("doctor", "--datastore", "S3GRA", "--bucket", bucket)
        return code, next(line for line in out.splitlines() if "left jobs" in line)

    assert examine() == (0, "ok    left jobs: there are none")
    stuck(platform)
    job = start(platform, get_workflow_label(bucket, "work"), "gone")
    assert examine() == (0, "ok    left jobs: it is not known whether a run watches 1 job")
    sign("gone")
    code, line = examine()
    assert code == 1 and "1 job live and cost money" in line and "snakemake-ovhai reap" in line
    sign("new", ended=False, jobs=[job])
    assert examine() == (0, "ok    left jobs: there are none")
    start(platform, get_workflow_label(bucket, "deep/er"), "gone")
    assert "it is not known whether there are any: name the prefix" in examine()[1]


# A run ---------------------------------------------------------------------------------------------------------------


def test_jobs_of_a_killed_head_are_found_until_the_next_head_takes_them_over(
    head: Head, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reap, "AGAIN", 0.0)
    arguments = ("reap", "--bucket", head.bucket, "--prefix", "work", "--yes")
    start_and_kill(head.write(make="sleep 60;"))
    assert "1 job that a run watches" in run(*arguments)[2]  # its last sign is fresh
    monkeypatch.setattr(heartbeat, "GONE", -1.0)
    code, out, _ = run("reap", "--bucket", head.bucket, "--prefix", "work", "--json")
    (record,) = json.loads(out)
    assert record["rule"] == "make" and record["head"].endswith(f":{head.folder}") and not record["head_ended"]
    monkeypatch.setattr(heartbeat, "GONE", GONE)
    (old,) = get_signs(head)
    set_silent(head, old)
    process = head.start()  # takes the job over
    wait_until(lambda: "is already there" in head.said())
    assert "1 job that a run watches" in run(*arguments)[2] and states(head) == ["RUNNING"]
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    code, out, _ = run(*arguments)
    assert code == 0 and re.search(r"ended, \S+\n1 job: 0.06 EUR an hour", out)
    assert states(head) == ["INTERRUPTED"]


def test_a_run_whose_signs_are_refused_goes_on(head: Head, proxy: Proxy) -> None:
    proxy.inject("403", match="ovhai/heads/")
    through = Head(head.folder, head.platform, proxy.server, head.bucket).write()
    said = finish(through)
    assert said.count("cannot give a sign of life") == 1 and get_signs(head) == []


def get_signs(head: Head) -> list[str]:
    entries = head.s3.client().list_objects_v2(Bucket=head.bucket, Prefix="work/.ovhai/heads/").get("Contents", [])
    return [entry["Key"] for entry in entries]


def set_silent(head: Head, key: str) -> None:
    """As it is long after the head was killed."""
    client = head.s3.client()
    record = json.loads(client.get_object(Bucket=head.bucket, Key=key)["Body"].read())
    client.put_object(Bucket=head.bucket, Key=key, Body=json.dumps({**record, "ended": True}).encode())
