"""The subcommands of snakemake-ovhai that deal with jobs, against the stand-in platform."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import Run, start, stuck
from ovhai_standin.platform import Platform
from submission import contents, submit

import s3_server
from snakemake_executor_plugin_ovhai.cli import jobs, selection
from snakemake_executor_plugin_ovhai.client import Client

# jobs


def test_jobs_lists_live_jobs_of_workflows(run: Run, platform: Platform) -> None:
    done = start(platform, "make", "tea", script="true")
    platform.wait(done)
    stuck(platform)
    live = start(platform, "add", "tea", "two")
    foreign = submit(platform)
    code, out, _ = run("jobs")
    assert code == 0
    title, *rows = out.splitlines()
    assert title.split() == ["ID", "RULE", "WILDCARDS", "ATTEMPT", "STATE", "TIME", "FLAVOR", "COST"]
    assert len(rows) == 1
    assert re.fullmatch(rf"{live}  add   tea/two    1        QUEUED  0m0\ds  ai1-1-cpu x 1  0\.00 EUR", rows[0])
    _, out, _ = run("jobs", "--all")
    assert [row.split()[0] for row in out.splitlines()[1:]] == [done, live]
    assert foreign not in out


def test_jobs_as_json(run: Run, platform: Platform) -> None:
    job = start(platform, "make", "tea", script="sleep 1")
    platform.wait(job)
    _, out, _ = run("jobs", "--all", "--json")
    (record,) = json.loads(out)
    assert record.pop("duration") in (1, 2)
    assert record == {
        "id": job,
        "workflow": "w",
        "rule": "make",
        "wildcards": {"a": "tea"},
        "attempt": "1",
        "state": "DONE",
        "age": None,
        "flavor": "ai1-1-cpu",
        "units": 1,
        "price_per_hour": 0.03,
        "cost": 0.0005,
        "currency": "EUR",
    }


def test_no_job_is_younger_than_now(run: Run, platform: Platform) -> None:
    platform.set(clock_skew=300)
    stuck(platform)
    start(platform, "add")
    (record,) = json.loads(run("jobs", "--json")[1])
    assert (record["age"], record["duration"]) == (0, None)


def test_jobs_of_one_workflow(run: Run, platform: Platform) -> None:
    stuck(platform)
    start(platform, "add", workflow="first")
    second = start(platform, "add", workflow="second")
    _, out, _ = run("jobs", "--workflow", "second", "--json")
    assert [record["id"] for record in json.loads(out)] == [second]
    code, out, err = run("jobs", "--workflow", "third")
    assert (code, out) == (1, "")
    assert err == "snakemake-ovhai: no job belongs to a workflow 'third'; there are first, second\n"


def test_jobs_without_any(run: Run) -> None:
    assert run("jobs") == (0, "", "no live jobs; --all also lists ended ones\n")
    assert run("jobs", "--json") == (0, "[]\n", "")


def test_jobs_of_a_platform_that_leaves_out_everything(run: Run, platform: Platform) -> None:
    stuck(platform)
    job = start(platform, "add", "x")
    platform.fault(when="job list", action="drop", fields=["status", "createdAt", "spec.resources", "spec.name"])
    code, out, _ = run("jobs")
    assert code == 0
    assert out.splitlines()[1].split() == [job, "add", "x", "1", "-", "-", "-", "x", "0", "unknown"]


# Names of jobs


def test_a_job_is_found_by_id_beginning_rule_and_wildcards(run: Run, platform: Platform) -> None:
    stuck(platform)
    first, second = start(platform, "add", "tea", "a/b"), start(platform, "add", "cup", "two")
    listed = selection.list_workflow_jobs(Client())
    length = next(number for number in range(1, 37) if first[:number] != second[:number])
    for name in (second, second[:length], "add/cup", "add/two", "add/cup/two", "add/two/cup"):
        assert selection.find_job(listed, name).id == second
    code, _, err = run("logs", "add")
    assert code == 1
    assert err.startswith("snakemake-ovhai: 'add' matches 2 jobs: ") and first in err and second in err
    for name in ("add/saucer", "add/cup/cup", "ad", "tea", "", "/", "zz"):
        code, _, err = run("logs", name)
        assert code == 1
        assert f"no job matches {name!r}" in err and "RULE/WILDCARD" in err


def test_a_rule_that_looks_like_an_id_is_not_mistaken_for_one(platform: Platform, run: Run) -> None:
    stuck(platform)
    other = start(platform, "cup")
    start(platform, other[:3])
    code, _, err = run("stop", other[:3])
    assert code == 1
    assert "matches 2 jobs" in err
    assert platform.calls("job", "stop") == []


def test_ended_jobs_are_named_by_their_ids(run: Run, platform: Platform) -> None:
    job = start(platform, "add", "tea", script="echo over")
    platform.wait(job)
    code, _, err = run("logs", "add/tea")
    assert code == 1
    assert f"no live job matches 'add/tea'; use the id of one that has ended: {job} (add/tea, DONE)" in err
    assert run("logs", job[:8])[0] == 0


def test_jobs_that_no_workflow_has_started_are_left_alone(run: Run, platform: Platform) -> None:
    stuck(platform)
    foreign = submit(platform)
    code, _, err = run("stop", foreign)
    assert code == 1 and "no job matches" in err
    assert platform.calls("job", "stop") == []


# logs


def test_logs_of_an_ended_job(run: Run, platform: Platform) -> None:
    job = start(platform, "add", script="echo one; echo 'two  2'")
    platform.wait(job)
    code, out, _ = run("logs", job)
    assert code == 0
    assert [line.partition("[job] ")[2] for line in out.splitlines()] == ["one", "two  2"]
    _, out, _ = run("logs", job, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["id"], line["line"].partition("[job] ")[2]) for line in lines] == [(job, "one"), (job, "two  2")]


@pytest.mark.parametrize("option", ["-f", "--follow"])
def test_logs_are_followed_until_the_job_ends(run: Run, platform: Platform, option: str) -> None:
    job = start(platform, "add", script="echo one; sleep 1; echo two")
    platform.wait(job, "RUNNING")
    code, out, _ = run("logs", "add", option)
    assert code == 0
    assert [line.partition("[job] ")[2] for line in out.splitlines()] == ["one", "two"]


def test_logs_that_break_off_are_an_error(run: Run, platform: Platform) -> None:
    job = start(platform, "add", script="true")
    platform.fault(when="job logs", action="fail", text="502 Bad Gateway")
    for arguments in ([job], [job, "-f"]):
        code, _, err = run("logs", *arguments)
        assert code == 1
        assert err.count("\n") == 1 and "502 Bad Gateway" in err and "Try again later" in err


# stop


def test_stop_waits_until_the_platform_confirms(
    run: Run, platform: Platform, bucket: str, s3: s3_server.S3Server
) -> None:
    platform.set(delays={"FINALIZING": 1})
    job = start(platform, "add", "tea", script="sleep 60")
    platform.wait(job, "RUNNING")
    code, out, err = run("stop", "add/tea")
    assert (code, out) == (0, f"{job}  add/tea  INTERRUPTED\n")
    assert "Stopping" in err
    assert platform.job(job)["status"]["finalizedAt"]


def test_stop_several_and_all(run: Run, platform: Platform) -> None:
    stuck(platform)
    first, second, third = start(platform, "add", "x"), start(platform, "add", "y"), start(platform, "cup")
    foreign = submit(platform)
    code, out, _ = run("stop", first, "cup", first, "--json")
    assert code == 0
    assert json.loads(out) == [
        {"id": first, "name": "add/x", "state": "INTERRUPTED"},
        {"id": third, "name": "cup", "state": "INTERRUPTED"},
    ]
    code, out, _ = run("stop", "--all")
    assert (code, out.split()[0]) == (0, second)
    assert platform.job(foreign)["status"]["state"] == "QUEUED"
    assert run("stop", "--all", "--json") == (0, "[]\n", "")


def test_stop_all_asks_which_workflow(run: Run, platform: Platform) -> None:
    stuck(platform)
    mine, yours = start(platform, "add", workflow="mine"), start(platform, "add", workflow="yours")
    code, _, err = run("stop", "--all")
    assert code == 1
    assert "mine and yours" in err and "--workflow" in err
    code, out, _ = run("stop", "--all", "--workflow", "mine")
    assert code == 0 and mine in out
    assert platform.job(yours)["status"]["state"] == "QUEUED"
    assert run("stop", "--all", "--workflow", "mime")[0] == 1


def test_stop_of_an_ended_job_is_no_error(run: Run, platform: Platform) -> None:
    job = start(platform, "add", script="true")
    platform.wait(job)
    assert run("stop", job) == (0, f"{job}  add  DONE\n", "")
    assert platform.calls("job", "stop") == []


def test_stop_asks_again_and_bears_outages(run: Run, platform: Platform) -> None:
    stuck(platform)
    job = start(platform, "add")
    ignored = platform.fault(when="job stop", action="ignore", count=1)
    outage = platform.fault(when="job list", action="fail", text="503: unavailable", skip=1, count=2)
    code, out, _ = run("stop", job, "--wait", "20")
    assert (code, out) == (0, f"{job}  add  INTERRUPTED\n")
    assert (platform.fired(ignored), platform.fired(outage)) == (1, 2)


def test_stop_says_what_is_not_confirmed(run: Run, platform: Platform) -> None:
    stuck(platform)
    job = start(platform, "add")
    platform.fault(when="job stop", action="ignore")
    begin = time.monotonic()
    code, out, err = run("stop", job, "--wait", "0.5")
    assert time.monotonic() - begin < 10
    assert (code, out) == (1, f"{job}  add  not confirmed\n")
    assert f"may still cost money: {job}" in err


def test_stop_does_not_wait_where_the_platform_refuses(run: Run, platform: Platform) -> None:
    stuck(platform)
    job = start(platform, "add")
    platform.fault(when="job stop", action="fail", text="403: forbidden")
    begin = time.monotonic()
    code, _, err = run("stop", job, "--wait", "20")
    assert code == 1 and "403: forbidden" in err and job in err
    assert time.monotonic() - begin < 15


def test_stop_of_a_job_that_vanishes(run: Run, platform: Platform) -> None:
    stuck(platform)
    job = start(platform, "add")
    platform.fault(when="job list", action="hide", skip=1)
    platform.fault(when="job get", action="hide")
    assert run("stop", job)[:2] == (0, f"{job}  add  unknown to the platform\n")


@pytest.mark.parametrize("arguments", [[], ["some", "--all"]])
def test_stop_needs_ids_or_all(run: Run, platform: Platform, arguments: list[str]) -> None:
    code, _, err = run("stop", *arguments)
    assert code == 1 and "--all" in err
    assert platform.calls() == []


# push


@pytest.fixture
def running(platform: Platform, bucket: str) -> str:
    labels = ["--label", "snakemake-workflow=w", "--label", "snakemake-rule=add"]
    volume = ["--volume", f"{bucket}@S3GRA/out:/workspace/out:rw"]
    job = submit(platform, *labels, *volume, command="echo partial > /workspace/out/file; echo ready; sleep 60")
    platform.wait(job, "RUNNING")
    while not platform.log(job):
        time.sleep(0.05)
    return job


def test_push_copies_outputs_of_a_running_job(
    run: Run, platform: Platform, running: str, bucket: str, s3: s3_server.S3Server
) -> None:
    assert contents(s3, bucket) == {}
    assert run("push", "add") == (0, f"{running}  DONE\n", "")
    assert contents(s3, bucket) == {"out/file": "partial\n"}
    code, out, _ = run("push", running, "--json")
    assert (code, json.loads(out)) == (0, {"id": running, "name": "add", "state": "DONE"})
    assert platform.job(running)["status"]["state"] == "RUNNING"


def test_push_that_fails_says_so(run: Run, platform: Platform, running: str) -> None:
    platform.fault(when="push", action="fail", keep_state=True)
    code, out, err = run("push", running)
    assert (code, out) == (1, "")
    assert "could not be copied" in err and running in err


def test_a_push_before_does_not_count(run: Run, platform: Platform, running: str) -> None:
    assert run("push", running)[0] == 0
    platform.fault(when="push", action="delay", seconds=30)
    assert run("push", running, "--wait", "0.3")[0] == 1


def test_push_that_is_not_confirmed(run: Run, platform: Platform, running: str) -> None:
    platform.fault(when="push", action="delay", seconds=30)
    code, _, err = run("push", running, "--wait", "0.3")
    assert code == 1 and "has not confirmed within 0.3 s" in err


def test_push_of_a_job_that_does_not_run(run: Run, platform: Platform) -> None:
    stuck(platform)
    job = start(platform, "add")
    code, _, err = run("push", job)
    assert code == 1 and "is QUEUED, but only RUNNING jobs" in err
    assert platform.calls("job", "push-data") == []


# Errors


@pytest.mark.parametrize("arguments", [["jobs"], ["logs", "x"], ["stop", "x"], ["stop", "--all"], ["push", "x"]])
def test_errors_are_one_line_with_a_next_step(
    run: Run, platform: Platform, arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    platform.fault(when="*", action="fail", text="503: unavailable\nsecond line", count=1)
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "503: unavailable second line" in err and "Try again later" in err
    platform.set(logged_in=False)
    assert "Run `ovhai login`" in run(*arguments)[2]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install it from https://" in run(*arguments)[2]


def test_secrets_in_messages_of_the_platform_are_hidden(run: Run, platform: Platform) -> None:
    platform.fault(when="job list", action="fail", text=f"500: no access with {s3_server.SECRET_KEY}")
    code, _, err = run("jobs")
    assert code == 1 and "no access with ***" in err


def test_defects_are_no_tracebacks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(client: Client, workflow: str | None) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(jobs, "list_workflow_jobs", fail)
    code, _, err = run("jobs")
    assert code == 1 and "ZeroDivisionError" in err and "report" in err


@pytest.mark.parametrize("arguments", [[], ["job"], ["logs"], ["stop", "--wait", "long", "x"], ["jobs", "--colour"]])
def test_bad_usage_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and "usage: snakemake-ovhai" in err


@pytest.mark.parametrize("name", ["doctor", "jobs", "logs", "stop", "push"])
def test_each_command_has_help(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0 and "--json" in out
    assert name in run("--help")[1]


def test_the_installed_command_survives_a_closed_pipe(run: Run, platform: Platform) -> None:
    stuck(platform)
    start(platform, "add", "tea")
    program = Path(sys.executable).with_name("snakemake-ovhai")
    done = subprocess.run(
        f"{program} jobs --json | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="bash",
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    done = subprocess.run([program, "jobs", "--json"], capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)[0]["rule"]) == (0, "add")
