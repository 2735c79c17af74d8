"""What a run survives: calls of `ovhai` that fail or answer nonsense, and jobs shown differently from what is usual."""

import json
import re
import time
from typing import Any

import heads
import pytest
from heads import SNAKEFILE, Head, jobs_of, labels, run_side_by_side, start_and_kill, states
from submission import wait_until


def finish(head: Head, *arguments: str) -> str:
    """A whole run after which there was one job for each rule, and none failed."""
    said = heads.finish(head, *arguments)
    assert "Traceback" not in said, said
    assert states(head) == states(head, "add") == ["DONE"]
    return said


def finish_side_by_side(head: Head, faults: dict[str, list[dict[str, Any]]]) -> str:
    """A run of several scenes after which there was one job for each rule of each, and none failed."""
    run = run_side_by_side(head, faults)
    assert run.returncode == 0, run.stdout
    jobs = [
        (labels(job, "rule"), labels(job, "wildcard-scene"), job["status"]["state"]) for job in head.platform.jobs()
    ]
    assert sorted(jobs) == sorted((rule, scene, "DONE") for rule in ("make", "add") for scene in faults), run.stdout
    for scene in faults:
        assert (head.folder / "deliver" / f"{scene}.txt").read_text() == "6\n", run.stdout
    return run.stdout


def test_jobs_wait_for_the_quota(head: Head) -> None:
    head.platform.set(quota={"gpu": 1, "cpu": 4})
    run = head.write(make="sleep 0.5;", add="sleep 1;").run("--config", "scenes=a,b,c")
    assert run.returncode == 0, run.stdout
    assert states(head) == states(head, "add") == ["DONE"] * 3
    assert run.stdout.count("The quota is used up; jobs wait for a free place") == 1
    assert "Error in rule" not in run.stdout


def test_a_login_that_expires_while_jobs_run(head: Head) -> None:
    process = head.write(make="sleep 3;").start()
    wait_until(lambda: states(head) == ["RUNNING"])
    head.platform.set(logged_in=False)
    time.sleep(4)
    assert states(head) == ["DONE"]
    head.platform.set(logged_in=True)
    assert process.wait(60) == 0
    assert head.said().count("run `ovhai login` in another terminal") == 1
    assert head.said().count("The platform answers again") == 1
    assert states(head) == states(head, "add") == ["DONE"]


def test_a_login_that_has_expired_before_the_first_job(head: Head) -> None:
    # The first words ask for the account and the data stores. A run that nobody has logged in for ends there.
    head.platform.fault(when="*", action="not_authenticated", skip=2, count=4)
    said = finish(head)
    assert said.count("run `ovhai login` in another terminal") == 1


UNREADABLE: list[dict[str, Any]] = [
    {"action": "fail", "text": "503: service unavailable"},
    {"action": "fail", "text": "error: 429: too many requests"},
    {"action": "fail", "text": "error: dns error: no such host"},
    {"action": "garbage"},
    {"action": "truncate"},
    {"action": "empty"},
    {"action": "garbage", "text": '{"message": "try again"}\n'},
    {"action": "lose_reply", "kill": True},
]


def test_a_list_that_cannot_be_read_for_a_while(head: Head) -> None:
    """One outage after the other."""
    process = head.write(make="sleep 20;").start("--ovhai-max-interval", "0.5")
    wait_until(lambda: states(head) == ["RUNNING"])
    outages = 0

    def is_over() -> bool:
        return head.said().count("The platform answers again") == outages

    for fault in UNREADABLE:
        head.platform.fault(when="job list", count=2, **fault)
        outages += 1
        wait_until(is_over)
        assert head.said().count("The platform does not answer. Jobs keep running") == outages, fault
    assert process.wait(60) == 0
    assert states(head) == states(head, "add") == ["DONE"]
    assert (head.folder / "deliver" / "a.txt").read_text() == "6\n" and "Traceback" not in head.said()


@pytest.mark.parametrize("action", ["stderr", "stdout"])
def test_noise_beside_a_reply(head: Head, action: str) -> None:
    for when in ("job list", "job run"):
        head.platform.fault(when=when, action=action, text="[2026-11-01] A new version of ovhai is available")
    said = finish(head)
    assert "does not answer" not in said and "new version" not in said


SUBMISSIONS: dict[str, dict[str, Any]] = {
    "fails": {"action": "fail", "text": "500: internal server error"},
    "lost": {"action": "lose_reply"},
    "killed": {"action": "lose_reply", "kill": True},
    "garbage": {"action": "garbage"},
    "truncated": {"action": "truncate"},
    "short": {"action": "truncate", "characters": 3},
    "empty": {"action": "empty"},
}


def test_a_submission_whose_reply_says_nothing(head: Head) -> None:
    """The job may have been started or not. It is never started twice."""
    faults = {scene: [{"when": "job run", "count": 1, **fault}] for scene, fault in SUBMISSIONS.items()}
    said = finish_side_by_side(head, faults)
    for scene in SUBMISSIONS:
        assert re.search(rf"make-{scene}\b.*show whether the job was started", said), (scene, said)


def test_a_submission_that_is_refused_is_not_tried_again(head: Head) -> None:
    head.platform.fault(when="job run", action="fail", text="error: 400: invalid image name")
    run = head.run("--retries", "3")
    assert run.returncode == 1
    assert "make-a cannot be submitted" in run.stdout and "invalid image name" in run.stdout
    assert len(head.platform.calls("job", "run")) == 1 and head.platform.jobs() == []


def test_a_job_that_the_list_lacks_for_a_while_is_not_lost(head: Head) -> None:
    head.write(make="sleep 4;")
    hidden = head.platform.fault(when="job list", match="rule=make", action="hide", skip=1, count=4)
    finish(head)
    assert head.platform.fired(hidden) == 4


def test_a_job_that_cannot_be_asked_for_either_is_not_lost(head: Head) -> None:
    head.write(make="sleep 2;")
    head.platform.fault(when="job list", match="rule=make", action="hide", count=6)
    failing = head.platform.fault(when="job get", action="fail", count=2)
    finish(head)
    assert head.platform.fired(failing) == 2


def test_a_job_that_the_platform_does_not_know_any_more_is_started_again(head: Head) -> None:
    for when in ("job list", "job get"):
        head.platform.fault(when=when, match="attempt=1", action="hide")
    run = head.run("--retries", "1", "--until", "make")
    assert run.returncode == 0, run.stdout
    assert "is not known to the platform any more" in run.stdout
    assert [labels(job, "attempt") for job in jobs_of(head.platform, "make")] == ["1", "2"]
    assert head.stored("results/a/make/numbers.txt") == "1\n2\n3\n"


FIELDS = [
    ["status.duration", "status.exitCode"],
    ["status.startedAt", "status.queuedAt", "status.finalizedAt", "status.stoppedAt"],
    ["status.history", "status.info"],
    ["status.dataSync", "spec.volumes", "spec.resources"],
    ["spec.labels", "spec.name"],
    ["createdAt", "updatedAt"],
    ["spec"],
]


def test_fields_that_are_missing_or_null(head: Head) -> None:
    views = ("job list", "job get")
    changes: list[dict[str, Any]] = [{"action": "drop", "fields": fields} for fields in FIELDS]
    changes += [{"action": "change", "fields": dict.fromkeys(fields)} for fields in FIELDS]
    cases = {f"case{n}": [{"when": when, **change} for when in views] for n, change in enumerate(changes)}
    finish_side_by_side(head.write(make="sleep 1;"), cases)


def test_a_failure_is_seen_without_its_exit_code(head: Head) -> None:
    head.platform.fault(when="job list", action="drop", fields=["status.exitCode", "status.info", "status.history"])
    run = head.write(make="echo the reason; exit 3;").run()
    assert run.returncode == 1 and states(head) == ["FAILED"]
    assert re.search(r"make-a \(\S+\) failed\.", run.stdout) and "the reason" in run.stdout


def test_a_state_that_nobody_knows(head: Head) -> None:
    cases: dict[str, list[dict[str, Any]]] = {
        f"case{number}": [{"when": "job list", "action": "change", "fields": {"status.state": state}, "count": 3}]
        for number, state in enumerate(["HIBERNATING", "", None, 7])
    }
    said = finish_side_by_side(head.write(make="sleep 1;"), cases)
    assert said.count("unknown state 'HIBERNATING'") == 1


@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_a_platform_with_another_clock(head: Head, seconds: int) -> None:
    head.platform.set(clock_skew=seconds)
    finish(head)
    assert head.run("--forcerun", "make").returncode == 0
    assert states(head) == ["DONE", "DONE"]


def test_slow_replies(head: Head) -> None:
    for when, delay in (("job list", 1), ("job run", 3), ("job logs", 1)):
        head.platform.fault(when=when, action="slow", seconds=delay)
    finish(head)


def test_logs_that_cannot_be_read(head: Head) -> None:
    """A success needs no log. A failure says that there is none."""
    head.platform.fault(when="job logs", action="fail")
    finish(head.write(make="sleep 1;"))
    run = head.write(add="exit 3;").run("--forcerun", "add")
    assert run.returncode == 1
    assert "failed with exit code 3" in run.stdout and "There is no log" in run.stdout
    run = head.write(make="exit 3;").run("--forcerun", "make")
    assert "working on a" in run.stdout, "the rule's own log is in the bucket"


def test_a_job_that_stops_late_is_told_again(head: Head) -> None:
    """The rule has changed, and the order to stop the old job is lost twice."""
    head.write(make="sleep 60;")
    start_and_kill(head)
    head.platform.fault(when="job stop", action="fail", count=1)
    head.platform.fault(when="job stop", action="ignore", count=1)
    run = head.write(make="sleep 0.1;").run()
    assert run.returncode == 0, run.stdout
    assert states(head) == ["INTERRUPTED", "DONE"]
    old, new = jobs_of(head.platform, "make")
    assert old["status"]["finalizedAt"] <= new["createdAt"]
    assert "could not be stopped yet" in run.stdout


def test_variants_of_the_platform(head: Head) -> None:
    head.platform.set(volume_source=True, url_field="jobUrl", duration_empty=True, push_unchanged=True)
    finish(head)
    assert "Nothing to be done" in head.run().stdout


def test_files_pushed_again_unchanged_do_not_make_others_stale(head: Head) -> None:
    """Each rule has its own folder, and the second job pulls and pushes only that."""
    head.platform.set(push_unchanged=True)
    finish(head)
    assert head.run("--forcerun", "add").returncode == 0
    again = head.run()
    assert "Nothing to be done" in again.stdout, again.stdout
    assert states(head) == ["DONE"] and states(head, "add") == ["DONE", "DONE"]


def test_flavors_that_cannot_be_listed(head: Head) -> None:
    head.platform.fault(when="capabilities flavor list", action="garbage", text=json.dumps({"items": None}))
    said = finish(head)
    assert "Flavors cannot be checked before jobs are submitted" in said


def test_a_flavor_that_the_platform_refuses_after_all(head: Head) -> None:
    head.platform.fault(when="capabilities flavor list", action="fail")
    run = head.write(snakefile=SNAKEFILE.replace("ai1-1-gpu", "ai1-1-gqu")).run("--retries", "2")
    assert run.returncode == 1
    assert "add-a cannot be submitted" in run.stdout and "ai1-1-gqu" in run.stdout
    assert states(head) == ["DONE"] and states(head, "add") == []
