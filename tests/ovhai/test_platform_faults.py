"""Each fault does what ovhai_standin/faults.py says."""

import json
import subprocess
import time

import pytest
from ovhai_standin import processes
from ovhai_standin.platform import Platform
from submission import contents, listed, put, run, states, submit, wait_until

import s3_server

LIST = ("job", "list", "-a", "-o", "json")


@pytest.fixture
def queued(platform: Platform) -> str:
    """A job that needs no process."""
    rule = platform.fault(when="QUEUED", action="stuck", count=1)
    job_id = submit(platform, "-n", "held", "-l", "run=r1")
    assert platform.fired(rule) == 1
    return job_id


# Which occasions a rule fires on


def test_a_rule_skips_counts_and_ends(platform: Platform) -> None:
    rule = platform.fault(when="me", action="fail", skip=1, count=2)
    assert [platform.ovhai("me").returncode for _ in range(4)] == [0, 1, 1, 0]
    assert platform.fired(rule) == 2
    platform.fault(when="*", action="fail", text="down")
    assert platform.ovhai("login").stderr == "down\n"
    platform.clear_faults()
    assert platform.ovhai("me").returncode == 0


def test_a_probability_is_drawn_from_the_seed(platform: Platform) -> None:
    def outcomes() -> list[int]:
        platform.clear_faults()
        platform.fault(when="me", action="fail", probability=0.5, seed=1)
        return [platform.ovhai("me").returncode for _ in range(8)]

    first = outcomes()
    assert set(first) == {0, 1}
    assert outcomes() == first


def test_a_rule_matches_names_labels_and_commands(platform: Platform, queued: str) -> None:
    platform.fault(when="job get", action="fail", match="^run=r$|train")
    assert platform.ovhai("job", "get", queued).returncode == 0
    for match in ("^run=r1$", "^held$", "^ubuntu:", "^job get"):
        platform.fault(when="job get", action="fail", match=match, count=1)
        assert platform.ovhai("job", "get", queued).returncode == 1
    platform.fault(when="QUEUED", action="stuck", match="train")
    assert run(platform, command="echo other")["status"]["state"] == "DONE"
    assert run_stuck(platform, command="echo train") == ["QUEUED"]


def run_stuck(platform: Platform, **options: str) -> list[str]:
    """States of a job that never ends."""
    job_id = submit(platform, **options)
    time.sleep(0.3)
    return states(platform.job(job_id))


@pytest.mark.parametrize(
    "rule", [{"when": "job list", "action": "explode"}, {"action": "fail"}, {"when": "QUEUED", "action": "hide"}]
)
def test_a_wrong_rule_is_refused(platform: Platform, rule: dict) -> None:
    with pytest.raises(ValueError, match="no such"):
        platform.fault(**rule)


# Calls


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"action": "fail"}, (1, "500: internal server error")),
        ({"action": "fail", "text": "402: quota exceeded", "exit_code": 3}, (3, "402: quota exceeded")),
        ({"action": "not_authenticated"}, (1, "AI Training error: not authenticated")),
        ({"action": "hang", "seconds": 0.1}, (1, "error: operation timed out")),
    ],
)
def test_a_refused_submission_makes_no_job(platform: Platform, rule: dict, expected: tuple[int, str]) -> None:
    platform.fault(when="job run", **rule)
    result = platform.ovhai("job", "run", "ubuntu")
    assert (result.returncode, result.stderr.strip(), result.stdout) == (*expected, "")
    assert platform.jobs() == []


@pytest.mark.parametrize(("kill", "code"), [(False, 1), (True, -9)])
def test_a_lost_reply_leaves_a_job(platform: Platform, kill: bool, code: int) -> None:
    platform.fault(when="job run", action="lose_reply", kill=kill)
    result = platform.ovhai("job", "run", "-c", "1", "-n", "mine", "ubuntu", "--", "true")
    assert (result.returncode, result.stdout) == (code, "")
    (job,) = platform.jobs()
    assert job["spec"]["name"] == "mine"
    assert platform.wait(job["id"])["status"]["state"] == "DONE"


def test_a_call_can_hang(platform: Platform) -> None:
    platform.fault(when="job list", action="hang")
    with pytest.raises(subprocess.TimeoutExpired):
        platform.ovhai("job", "list", timeout=0.5)


def test_slow_and_noisy_calls_still_work(platform: Platform, queued: str) -> None:
    platform.fault(when="job list", action="slow", seconds=0.5)
    platform.fault(when="job list", action="stderr", text="warning: noise")
    platform.fault(when="job list", action="stdout", text="Update available")
    start = time.monotonic()
    result = platform.ovhai(*LIST)
    assert time.monotonic() - start >= 0.5
    assert (result.returncode, result.stderr) == (0, "warning: noise\n")
    noise, _, rest = result.stdout.partition("\n")
    assert noise == "Update available" and [job["id"] for job in json.loads(rest)] == [queued]


def test_spoilt_output(platform: Platform, queued: str) -> None:
    whole = platform.ovhai(*LIST).stdout
    for rule, expected in [
        ({"action": "garbage", "text": "<html>"}, "<html>"),
        ({"action": "truncate", "characters": 30}, whole[:30]),
        ({"action": "truncate"}, whole[: len(whole) // 2]),
        ({"action": "empty"}, ""),
    ]:
        platform.fault(when="job list", count=1, **rule)
        result = platform.ovhai(*LIST)
        assert (result.returncode, result.stdout) == (0, expected)
    assert platform.ovhai(*LIST).stdout == whole


def test_a_stop_can_be_ignored_once(platform: Platform, queued: str) -> None:
    platform.fault(when="job stop", action="ignore", count=1, match="held")
    assert platform.ovhai("job", "stop", queued).returncode == 0
    time.sleep(0.3)
    assert platform.job(queued)["status"]["state"] == "QUEUED"
    platform.ovhai("job", "stop", queued)
    assert platform.wait(queued)["status"]["state"] == "INTERRUPTED"


# What is shown


def test_a_job_can_be_missing(platform: Platform, queued: str) -> None:
    other = run(platform)["id"]
    platform.fault(when="job list", action="hide", match="^held$", count=2)
    assert [[job["id"] for job in listed(platform, "-a")] for _ in range(3)] == [[other], [other], [queued, other]]
    platform.fault(when="job get", action="hide", count=1)
    gone = platform.ovhai("job", "get", queued)
    assert (gone.returncode, "404" in gone.stderr) == (1, True)
    assert platform.ovhai("job", "get", queued).returncode == 0


def test_fields_can_be_missing_or_strange(platform: Platform, queued: str) -> None:
    platform.fault(when="job list", action="drop", fields=["status.duration", "status.exitCode", "spec.name"])
    platform.fault(when="job list", action="change", fields={"status.state": "HIBERNATING", "status.extra": {"a": 1}})
    (job,) = listed(platform, "-a")
    assert not {"duration", "exitCode"} & set(job["status"]) and "name" not in job["spec"]
    assert (job["status"]["state"], job["status"]["extra"]) == ("HIBERNATING", {"a": 1})
    assert platform.job(queued)["status"]["state"] == "QUEUED"


# States


@pytest.mark.parametrize("state", ["QUEUED", "INITIALIZING", "PENDING", "RUNNING"])
def test_a_stuck_job_needs_no_process_and_can_be_stopped(platform: Platform, state: str) -> None:
    platform.fault(when=state, action="stuck", code="JOB_IMAGE_PULL_BACKOFF", message="Back-off")
    job_id = submit(platform)
    job = platform.wait_for(job_id, lambda job: job["status"]["info"]["code"] == "JOB_IMAGE_PULL_BACKOFF")
    wait_until(lambda: not has_runner(platform, job_id))
    assert states(job)[-1] == state
    platform.clear_faults()
    assert platform.ovhai("job", "stop", job_id).returncode == 0
    assert states(platform.wait(job_id))[-3:] == ["INTERRUPTING", "FINALIZING", "INTERRUPTED"]


def test_many_stuck_jobs_need_no_processes(platform: Platform) -> None:
    platform.set(quota={"cpu": 1000})
    platform.fault(when="QUEUED", action="stuck")
    for _ in range(10):
        submit(platform)
    assert len(listed(platform)) == 10
    assert not any(has_runner(platform, job["id"]) for job in platform.jobs())


def has_runner(platform: Platform, job_id: str) -> bool:
    record = platform.folder.record(job_id)
    assert record
    return processes.is_alive(record["private"]["runner"])


@pytest.mark.parametrize(
    ("pull", "state", "code"),
    [("fail", "FAILED", "JOB_IMAGE_PULL"), ("backoff", "PENDING", "JOB_IMAGE_PULL_BACKOFF")],
)
def test_an_image_that_cannot_be_pulled(platform: Platform, pull: str, state: str, code: str) -> None:
    platform.set(images={"^ubuntu": {"pull": pull}})
    job_id = submit(platform)
    job = platform.wait_for(job_id, lambda job: job["status"]["info"]["code"] == code)
    assert (states(job)[:3], job["status"]["state"]) == (["QUEUED", "INITIALIZING", "PENDING"], state)
    assert job["status"]["exitCode"] is None and job["status"]["startedAt"] is None


@pytest.mark.parametrize(
    ("rule", "state", "code"),
    [
        ({}, "ERROR", "JOB_ERROR"),
        ({"state": "FAILED", "code": "JOB_EVICTED"}, "FAILED", "JOB_EVICTED"),
        ({"state": "INTERRUPTED", "code": "JOB_INTERRUPTED_BY_PLATFORM"}, "INTERRUPTED", "JOB_INTERRUPTED_BY_PLATFORM"),
    ],
)
def test_the_platform_ends_a_running_job(platform: Platform, rule: dict, state: str, code: str) -> None:
    platform.fault(when="RUNNING", action="end", seconds=0.3, **rule)
    job = run(platform, command="sleep 30")
    assert (states(job)[-2:], job["status"]["info"]["code"]) == (["RUNNING", state], code)
    assert job["status"]["exitCode"] is None and job["status"]["stoppedAt"]


def test_data_of_an_ended_job_may_go_back(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    command = "echo 1 > /data/file; sleep 30"
    platform.fault(when="RUNNING", action="end", seconds=1.5, push=True, exit_code=137, match="pushed")
    platform.fault(when="RUNNING", action="end", seconds=1.5, match="lost")
    run(platform, "-v", f"{bucket}@S3GRA/lost:/data:rw", "-n", "lost", command=command)
    assert contents(s3, bucket) == {}
    job = run(platform, "-v", f"{bucket}@S3GRA/pushed:/data:rw", "-n", "pushed", command=command)
    assert contents(s3, bucket) == {"pushed/file": "1\n"}
    assert (states(job)[-2:], job["status"]["exitCode"]) == (["FINALIZING", "ERROR"], 137)


def test_an_error_before_the_command(platform: Platform) -> None:
    platform.fault(when="PENDING", action="end", state="ERROR")
    assert states(run(platform)) == ["QUEUED", "INITIALIZING", "PENDING", "ERROR"]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "FINALIZING"])
def test_a_state_can_take_longer(platform: Platform, state: str) -> None:
    platform.set(time_scale=10)
    platform.fault(when=state, action="delay", seconds=5)
    start = time.monotonic()
    assert run(platform)["status"]["state"] == "DONE"
    assert time.monotonic() - start >= 0.5


def test_a_stop_can_be_slow(platform: Platform) -> None:
    platform.fault(when="INTERRUPTING", action="delay", seconds=2)
    job_id = submit(platform, command="sleep 30")
    platform.wait(job_id, "RUNNING")
    platform.ovhai("job", "stop", job_id)
    platform.wait(job_id, "INTERRUPTING")
    time.sleep(0.5)
    assert platform.job(job_id)["status"]["state"] == "INTERRUPTING"
    assert platform.wait(job_id)["status"]["state"] == "INTERRUPTED"


def test_a_stop_can_get_stuck(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    platform.fault(when="INTERRUPTING", action="stuck", count=1)
    job_id = submit(platform, "-v", f"{bucket}@S3GRA:/data:rw", command="echo 1 > /data/file; echo ready; sleep 30")
    wait_until(lambda: platform.log(job_id) != [])
    platform.ovhai("job", "stop", job_id)
    platform.wait(job_id, "INTERRUPTING")
    wait_until(lambda: not has_runner(platform, job_id))
    platform.ovhai("job", "stop", job_id)
    assert platform.wait(job_id)["status"]["state"] == "INTERRUPTED"
    assert contents(s3, bucket) == {"file": "1\n"}


# Data


def test_a_failed_pull(platform: Platform, bucket: str) -> None:
    platform.fault(when="pull", action="fail", code="DATASYNC_ERROR", message="disk full")
    job = run(platform, "-v", f"{bucket}@S3GRA:/data:ro")
    assert states(job) == ["QUEUED", "INITIALIZING", "SYNC_FAILED"]
    (sync,) = job["status"]["dataSync"]
    assert (sync["status"]["state"], sync["status"]["info"]) == (
        "FAILED",
        {"code": "DATASYNC_ERROR", "message": "disk full"},
    )
    assert sync["status"]["progress"][0]["state"] == "FAILED"


def test_a_failed_push_can_be_repeated(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    platform.fault(when="push", action="fail", count=1)
    job = run(platform, "-v", f"{bucket}@S3GRA:/data:rw", command="echo 1 > /data/file")
    assert states(job)[-2:] == ["FINALIZING", "SYNC_FAILED"]
    assert job["status"]["dataSync"][-1]["status"]["state"] == "FAILED"
    assert contents(s3, bucket) == {}
    assert platform.ovhai("job", "push-data", job["id"]).returncode == 0
    pushed = platform.wait_for(job["id"], lambda job: job["status"]["dataSync"][-1]["status"]["state"] == "DONE")
    assert pushed["status"]["dataSync"][-1]["spec"]["manual"]
    assert contents(s3, bucket) == {"file": "1\n"}


def test_data_of_a_stuck_job_can_be_copied(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    platform.fault(when="RUNNING", action="stuck")
    job_id = submit(platform, "-v", f"{bucket}@S3GRA:/data:rw")
    platform.wait(job_id, "RUNNING")
    wait_until(lambda: not has_runner(platform, job_id))
    put(s3, bucket, late="1")
    assert platform.ovhai("job", "pull-data", job_id).returncode == 0
    job = platform.wait_for(job_id, lambda job: len(job["status"]["dataSync"]) == 2)
    assert job["status"]["dataSync"][1]["spec"] | {"jobId": ""} == {
        "direction": "pull",
        "manual": True,
        "jobId": "",
        "volume": None,
    }
    wait_until(lambda: platform.job(job_id)["status"]["dataSync"][1]["status"]["state"] == "DONE")


def test_a_job_can_be_done_although_its_push_failed(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    put(s3, bucket, old="1")
    platform.fault(when="push", action="fail", keep_state=True)
    job = run(platform, "-v", f"{bucket}@S3GRA:/data:rw", command="echo 1 > /data/file")
    assert (job["status"]["state"], job["status"]["exitCode"]) == ("DONE", 0)
    assert job["status"]["dataSync"][-1]["status"]["state"] == "FAILED"
    assert contents(s3, bucket) == {"old": "1"}


def test_a_copy_can_be_slow(platform: Platform, bucket: str) -> None:
    platform.fault(when="pull", action="delay", seconds=0.5)
    start = time.monotonic()
    run(platform, "-v", f"{bucket}@S3GRA:/data:ro")
    assert time.monotonic() - start >= 0.5
