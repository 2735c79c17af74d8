"""The command snakemake-ovhai against the stand-in platform."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ovhai_standin.platform import Platform
from submission import contents, submit

import s3_server
from snakemake_executor_plugin_ovhai.cli import doctor_bucket, doctor_platform, jobs, main, selection, stop, waiting
from snakemake_executor_plugin_ovhai.client import Client

Said = tuple[int, str, str]
Run = Callable[..., Said]
SECRET = "SNAKEMAKE_STORAGE_S3_SECRET_KEY"


@pytest.fixture
def run(
    platform: Platform, s3: s3_server.S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Call the command; answers exit code, standard output, standard error. None of the latter may be a traceback."""
    for name in [name for name in os.environ if name.startswith(("OVHAI_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in {**s3.environment, **platform.environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(waiting, "POLL", 0.1)
    monkeypatch.setattr(stop, "ASK_AGAIN", 0.5)

    def call(*arguments: str) -> Said:
        try:
            code = main.main(arguments)
        except SystemExit as end:  # argparse
            code = int(str(end.code))
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert s3_server.SECRET_KEY not in said.out + said.err
        return code, said.out, said.err

    return call


def start(platform: Platform, rule: str, *wildcards: str, workflow: str = "w", script: str = "sleep 60") -> str:
    """A job as the executor labels it; answers its id."""
    labels = {"workflow": workflow, "rule": rule, "attempt": "1"}
    labels |= {f"wildcard-{name}": value for name, value in zip("abc", wildcards, strict=False)}
    options = [word for name, value in labels.items() for word in ("--label", f"snakemake-{name}={value}")]
    return submit(platform, *options, command=script)


def stuck(platform: Platform, state: str = "QUEUED") -> None:
    """Jobs stay where they are and need no process."""
    platform.fault(when=state, action="stuck")


# doctor


@pytest.fixture
def examine(run: Run, bucket: str) -> Run:
    def call(*arguments: str) -> Said:
        return run("doctor", "--datastore", "S3GRA", "--bucket", bucket, "--prefix", "work", *arguments)

    return call


def get_wrong(out: str) -> list[str]:
    lines = out.splitlines()
    assert all(re.fullmatch(r"ok    .*|WRONG .* -> .+", line) for line in lines), out
    return [line for line in lines if line.startswith("WRONG")]


def test_doctor_finds_nothing_wrong_and_leaves_nothing_behind(
    examine: Run, bucket: str, s3: s3_server.S3Server
) -> None:
    code, out, err = examine("--flavor", "ai1-1-gpu", "ai1-1-cpu")
    assert (code, get_wrong(out), err) == (0, [], "")
    for words in ("ovhai 3.37.0", "user-standin is logged in", "S3GRA is there", "readable and writable", "agree"):
        assert words in out
    assert "20 of 20 CPUs left, 4 of 4 GPUs left" in out or "4 of 4 GPUs left, 20 of 20 CPUs left" in out
    assert "ai1-1-gpu is known" in out and "ai1-1-cpu is known" in out
    assert contents(s3, bucket) == {}


def test_doctor_takes_places_from_the_environment(run: Run, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVHAI_DATASTORE", "S3GRA")
    monkeypatch.setenv("OVHAI_BUCKET", bucket)
    monkeypatch.setenv("OVHAI_PREFIX", "work")
    code, out, _ = run("doctor", "--json")
    assert code == 0
    findings = {finding["check"]: finding for finding in json.loads(out)}
    assert findings["bucket"]["text"] == f"s3://{bucket} is readable and writable"
    assert all(finding["ok"] and not finding["remedy"] for finding in findings.values())


def test_doctor_takes_the_server_from_the_variables_of_the_profile(
    run: Run, bucket: str, s3: s3_server.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ("doctor", "--datastore", "S3GRA", "--bucket", bucket)
    # Snakemake prefers the plugin's own variable to what the profile says.
    monkeypatch.setenv("OVHAI_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("OVHAI_FLAVOR", "ai1-1-gpu")
    code, out, _ = run(*places)
    assert (code, get_wrong(out)) == (0, [])
    assert "ai1-1-gpu is known" in out
    monkeypatch.delenv("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL")
    monkeypatch.setenv("OVHAI_ENDPOINT", s3.endpoint)
    assert run(*places)[0] == 0
    monkeypatch.delenv("OVHAI_ENDPOINT")
    monkeypatch.setenv("OVHAI_REGION", "gra")
    code, out, _ = run(*places[:3])  # without a bucket: OVHcloud itself is not asked
    assert code == 1
    assert "Snakemake's storage is at https://s3.gra.io.cloud.ovh.net" in get_wrong(out)[0]


def test_doctor_without_the_program_still_checks_the_bucket(
    examine: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, _ = examine()
    assert code == 1
    assert get_wrong(out) == [
        "WRONG program: `ovhai` is not on PATH -> install it from https://cli.gra.ai.cloud.ovh.net"
    ]
    assert "readable and writable" in out


def test_doctor_without_login(examine: Run, platform: Platform) -> None:
    platform.set(logged_in=False)
    code, out, _ = examine()
    assert code == 1
    assert get_wrong(out) == ["WRONG login: nobody is logged in, or the login has expired -> run `ovhai login`"]


def test_doctor_during_an_outage(examine: Run, platform: Platform) -> None:
    platform.fault(when="*", action="fail", text="503: unavailable")
    code, out, _ = examine()
    assert code == 1
    (line,) = get_wrong(out)
    assert "503: unavailable" in line


@pytest.mark.parametrize(
    ("call", "words"),
    [("datastore list", "data store"), ("job list", "jobs"), ("capabilities flavor list", "flavors"), ("me", "login")],
)
def test_doctor_when_one_call_fails(examine: Run, platform: Platform, call: str, words: str) -> None:
    platform.fault(when=call, action="fail", text="503: unavailable")
    code, out, _ = examine()
    assert code == 1
    (line,) = get_wrong(out)
    assert line.startswith(f"WRONG {words}: ") and "503" in line


@pytest.mark.parametrize("action", ["garbage", "truncate", "empty"])
def test_doctor_when_replies_are_unreadable(examine: Run, platform: Platform, action: str) -> None:
    platform.fault(when="me", action=action)
    code, out, _ = examine()
    assert code == 1
    assert get_wrong(out)[0].startswith("WRONG login: the reply to `ovhai me")


def test_doctor_without_places(run: Run) -> None:
    code, out, _ = run("doctor")
    assert code == 1
    assert [line.partition(" -> ")[2] for line in get_wrong(out)] == [
        "set it with --datastore or OVHAI_DATASTORE",
        "set it with --bucket or OVHAI_BUCKET",
    ]


def test_doctor_with_an_unknown_data_store_names_those_there_are(examine: Run) -> None:
    code, out, _ = examine("--datastore", "S3BHS")
    assert code == 1
    (line,) = get_wrong(out)
    assert "'S3BHS' is unknown; S3 data stores are S3GRA" in line and "ovhai datastore add" in line


def test_doctor_with_a_swift_data_store(examine: Run) -> None:
    _, out, _ = examine("--datastore", "GRA")
    (line,) = get_wrong(out)
    assert "GRA is of type swift" in line


def test_doctor_with_a_data_store_elsewhere(examine: Run, platform: Platform) -> None:
    store = {"endpoint": "https://s3.bhs.io.cloud.ovh.net/", "region": "bhs", "access_key": "a", "secret_key": "b"}
    platform.set(data_stores={"OTHER": store})
    code, out, _ = examine("--datastore", "OTHER", "--endpoint", os.environ["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"])
    assert code == 1
    (line,) = get_wrong(out)
    assert "https://s3.bhs.io.cloud.ovh.net/" in line and "jobs would read another bucket" in line


def test_two_addresses_of_the_same_buckets() -> None:
    assert doctor_platform.get_host("https://s3.gra.io.cloud.ovh.net/") == doctor_platform.get_host(
        "https://S3.gra.perf.cloud.ovh.net"
    )
    assert doctor_platform.get_host("https://s3.gra.io.cloud.ovh.net/") != doctor_platform.get_host(
        "https://s3.bhs.io.cloud.ovh.net/"
    )


def test_doctor_without_the_bucket(examine: Run) -> None:
    code, out, _ = examine("--bucket", "there-is-none")
    assert code == 1
    (line,) = get_wrong(out)
    assert "s3://there-is-none" in line and "create it" in line


@pytest.mark.parametrize("name", ["SNAKEMAKE_STORAGE_S3_ACCESS_KEY", SECRET])
def test_doctor_with_wrong_keys_does_not_tell_them(examine: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "entirely-wrong-key")
    code, out, err = examine()
    assert code == 1
    (line,) = get_wrong(out)
    assert line.startswith("WRONG bucket:") and "SNAKEMAKE_STORAGE_S3_SECRET_KEY" in line
    assert "entirely-wrong-key" not in out + err


def test_doctor_without_keys(examine: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SNAKEMAKE_STORAGE_S3_ACCESS_KEY")
    monkeypatch.delenv(SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    _, out, _ = examine()
    (line,) = get_wrong(out)
    assert line.endswith("-> set SNAKEMAKE_STORAGE_S3_ACCESS_KEY and SNAKEMAKE_STORAGE_S3_SECRET_KEY")


@pytest.mark.parametrize("endpoint", ["no address", "http://127.0.0.1:9"])
def test_doctor_with_a_wrong_endpoint(examine: Run, endpoint: str) -> None:
    code, out, _ = examine("--endpoint", endpoint)
    assert code == 1
    line = get_wrong(out)[-1]
    assert line.startswith("WRONG bucket:") and endpoint in line and "--endpoint" in line


def test_doctor_with_a_bucket_that_cannot_be_written() -> None:
    class ReadOnly:
        def put_object(self, **_: Any) -> None:
            reply = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}
            raise doctor_bucket.botocore.exceptions.ClientError(reply, "PutObject")

    finding = doctor_bucket.try_bucket(ReadOnly(), "b", "work/.ovhai/x")
    assert finding and not finding.ok
    assert "s3://b/work/.ovhai/x could not be written" in finding.line and "ObjectStore Operator" in finding.line


def test_doctor_deletes_its_object_when_it_cannot_read_it() -> None:
    deleted = []

    class WriteOnly:
        def put_object(self, **_: Any) -> None: ...

        def list_objects_v2(self, **_: Any) -> None:
            raise doctor_bucket.botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectsV2")

        def delete_object(self, **arguments: Any) -> None:
            deleted.append(arguments["Key"])

    finding = doctor_bucket.try_bucket(WriteOnly(), "b", "work/.ovhai/x")
    assert finding and "could not be listed" in finding.text
    assert deleted == ["work/.ovhai/x"]


@pytest.mark.parametrize(("skew", "words"), [(300, "ahead of"), (-300, "behind")])
def test_doctor_compares_clocks(examine: Run, platform: Platform, skew: int, words: str) -> None:
    platform.set(clock_skew=skew)
    job = start(platform, "add", "x")
    platform.wait(job, "RUNNING")
    # Its duration tells the platform's time of now only if it is counted on.
    platform.fault(when="job list", action="change", fields={"status.duration": 10})
    code, out, _ = examine()
    assert code == 1
    (line,) = get_wrong(out)
    assert re.search(rf"clock: the platform is (2[89]|30|31)\d s {words} this machine -> set", line)


def test_doctor_does_not_take_an_old_job_for_a_slow_clock(examine: Run, platform: Platform) -> None:
    platform.set(clock_skew=-300)
    platform.wait(start(platform, "add", script="true"))
    code, out, _ = examine()
    assert (code, get_wrong(out)) == (0, [])
    # Nor a duration that was counted when the job began to run.
    platform.wait(start(platform, "add"), "RUNNING")
    platform.fault(when="job list", action="change", fields={"status.duration": 1})
    assert get_wrong(examine()[1]) == []


def test_doctor_refuses_unknown_flavors(examine: Run) -> None:
    code, out, _ = examine("--flavor", "l40-1-gpu", "ai1-1-gpu")
    assert code == 1
    (line,) = get_wrong(out)
    assert "'l40-1-gpu' is unknown" in line and "did you mean 'l40s-1-gpu'" in line


def test_doctor_counts_what_is_left_of_the_quota(examine: Run, platform: Platform) -> None:
    platform.set(quota={"gpu": 2, "cpu": 3})
    platform.wait(submit(platform))
    stuck(platform)
    submit(platform, units=("--cpu", "2"))
    submit(platform, units=("--gpu", "1"))
    code, out, _ = examine()
    assert code == 0
    assert "1 of 2 GPUs left" in out and "1 of 3 CPUs left" in out
    submit(platform, units=("--gpu", "1"))
    code, out, _ = examine()
    assert code == 1
    (line,) = get_wrong(out)
    assert "0 of 2 GPUs left" in line and "snakemake-ovhai stop" in line


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
    assert title.split() == ["ID", "RULE", "WILDCARDS", "ATTEMPT", "STATE", "TIME", "FLAVOR"]
    assert len(rows) == 1
    assert re.fullmatch(rf"{live}  add   tea/two    1        QUEUED  0m0\ds  ai1-1-cpu x 1", rows[0])
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
    assert out.splitlines()[1].split() == [job, "add", "x", "1", "-", "-", "-", "x", "0"]


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
