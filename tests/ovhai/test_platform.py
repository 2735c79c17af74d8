"""The stand-in behaves as OVHcloud's documents and its users say that the platform does."""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import yaml
from ovhai.models.flavor import Flavor
from ovhai.models.job import Job
from ovhai.models.me import Me
from ovhai_standin import flavors, processes, server
from ovhai_standin.platform import Platform
from submission import contents, listed, put, run, states, submit, texts, wait_for_line, wait_until

import s3_server

LONG = 1000 + os.getpid()  # seconds that only a command of this test run sleeps
HAPPY = ["QUEUED", "INITIALIZING", "PENDING", "RUNNING", "FINALIZING", "DONE"]


# States


def test_a_job_goes_through_all_states_with_their_moments(platform: Platform, bucket: str) -> None:
    job = run(platform, "-v", f"{bucket}@S3GRA/out:/out:rw", command="echo text > /out/file")
    status = job["status"]
    assert states(job) == HAPPY
    assert (status["exitCode"], status["info"]["code"]) == (0, "JOB_DONE")
    moments = ["queuedAt", "initializingAt", "startedAt", "stoppedAt", "finalizedAt"]
    assert [status[moment] for moment in moments] == sorted(status[moment] for moment in moments)
    assert status["lastTransitionDate"] == status["finalizedAt"] == status["history"][-1]["date"]
    assert status["timeoutAt"] is None
    assert [entry["spec"]["direction"] for entry in status["dataSync"]] == ["pull", "push"]
    assert status["dataSync"][1]["status"]["progress"][0]["completed"] == 1


def test_a_failed_command_gives_its_exit_code_and_partial_outputs(
    platform: Platform, bucket: str, s3: s3_server.S3Server
) -> None:
    job = run(platform, "-v", f"{bucket}@S3GRA/out:/out:rw", command="echo partial > /out/file; exit 7")
    assert (states(job)[-1], job["status"]["exitCode"]) == ("FAILED", 7)
    assert job["status"]["info"] == {"code": "JOB_FAILED", "message": "Job failed with code 7"}
    assert contents(s3, bucket) == {"out/file": "partial\n"}


def test_job_run_returns_while_the_job_lives_on(platform: Platform) -> None:
    job_id = submit(platform, command="sleep 0.5; echo late")
    assert not platform.job(job_id)["status"]["finalizedAt"]
    assert texts(platform, platform.wait(job_id)) == ["late"]


def test_delays_come_from_the_settings_and_follow_the_time_scale(platform: Platform) -> None:
    platform.set(delays={"QUEUED": [30, 60], "PENDING": 30}, time_scale=100)
    start = time.monotonic()
    job = run(platform)
    assert 0.6 <= time.monotonic() - start < 30
    again = run(platform)

    def queued(job: dict) -> float:
        dates = [entry["date"] for entry in job["status"]["history"]]
        return float(dates[1][17:-1]) - float(dates[0][17:-1])

    assert abs(queued(job) - queued(again)) > 0.001  # drawn for each job


def test_simulated_seconds_precede_the_command(platform: Platform) -> None:
    platform.set(simulate={"train[.]py": 200}, time_scale=100)
    job = run(platform, command="echo train.py")
    assert job["status"]["duration"] >= 200
    assert texts(platform, job) == ["train.py"]
    assert run(platform)["status"]["duration"] < 200


@pytest.mark.parametrize("state", ["QUEUED", "INITIALIZING", "PENDING", "RUNNING"])
def test_a_job_is_stopped_in_any_state(platform: Platform, state: str) -> None:
    platform.set(delays={state: 100})
    job_id = submit(platform)
    platform.wait(job_id, state)
    assert platform.ovhai("job", "stop", job_id).returncode == 0
    job = platform.wait(job_id)
    assert states(job) == [*HAPPY[: HAPPY.index(state) + 1], "INTERRUPTING", "FINALIZING", "INTERRUPTED"]
    assert job["status"]["info"]["code"] == "JOB_INTERRUPTED"
    refused = platform.ovhai("job", "stop", job_id)
    assert (refused.returncode, "already ended" in refused.stderr) == (1, True)


def test_a_stopped_command_gets_sigterm_and_its_outputs_are_kept(
    platform: Platform, bucket: str, s3: s3_server.S3Server
) -> None:
    script = "trap 'echo saved > /out/checkpoint; exit 0' TERM; echo ready; while true; do sleep 0.05; done"
    job_id = submit(platform, "-v", f"{bucket}@S3GRA:/out:rw", command=script)
    wait_for_line(platform, job_id, "ready")
    platform.ovhai("job", "stop", job_id)
    assert platform.wait(job_id)["status"]["state"] == "INTERRUPTED"
    assert contents(s3, bucket) == {"checkpoint": "saved\n"}


def test_a_command_that_ignores_sigterm_is_killed_with_its_children(platform: Platform) -> None:
    platform.set(stop_grace=0.3)
    script = f"trap '' TERM; setsid sleep {LONG}.1 & sleep {LONG}.1; sleep {LONG}.1"
    job_id = submit(platform, command=script)
    wait_until(lambda: count_processes(f"{LONG}.1") >= 2)
    platform.ovhai("job", "stop", job_id)
    assert platform.wait(job_id)["status"]["exitCode"] == 137
    assert count_processes(f"{LONG}.1") == 0


def test_no_process_outlives_the_command(platform: Platform) -> None:
    run(platform, command=f"setsid sleep {LONG}.2 & sleep 0.1")
    assert count_processes(f"{LONG}.2") == 0


@pytest.mark.parametrize(
    ("settings", "state", "exit_code"),
    [
        ({}, "TIMEOUT", None),
        ({"timeout_state": "INTERRUPTED", "timeout_exit_code": "real"}, "INTERRUPTED", 143),
        ({"timeout_state": "FAILED", "timeout_exit_code": 1}, "FAILED", 1),
    ],
)
def test_a_job_out_of_time_ends_as_the_variant_says(
    platform: Platform, bucket: str, s3: s3_server.S3Server, settings: dict, state: str, exit_code: int | None
) -> None:
    platform.set(time_scale=100, stop_grace=500, **settings)  # on a busy machine, a process takes a while to end
    command = "echo partial > /out/file; exec sleep 100"
    job = run(platform, "-t", "2m", "-v", f"{bucket}@S3GRA:/out:rw", command=command)
    assert states(job)[-4:] == ["RUNNING", "TIMEOUT", "FINALIZING", state]
    assert (job["status"]["exitCode"], job["status"]["info"]["code"]) == (exit_code, "JOB_TIMEOUT")
    assert job["status"]["timeoutAt"]
    assert contents(s3, bucket) == {"file": "partial\n"}


def test_a_killed_runner_leaves_a_job_that_can_only_be_stopped(platform: Platform) -> None:
    job_id = submit(platform, command=f"sleep {LONG}.3")
    wait_until(lambda: count_processes(f"{LONG}.3") == 1)
    platform.kill_runner(job_id)
    wait_until(lambda: count_processes(f"{LONG}.3") == 0)
    assert platform.job(job_id)["status"]["state"] == "RUNNING"
    assert platform.ovhai("job", "stop", job_id).returncode == 0
    assert platform.wait(job_id)["status"]["state"] == "INTERRUPTED"


def test_stop_everything_ends_runners_and_commands(platform: Platform) -> None:
    job_id = submit(platform, command=f"sleep {LONG}.4")
    wait_until(lambda: count_processes(f"{LONG}.4") == 1)
    record = platform.folder.record(job_id)
    platform.stop_everything()
    assert record and not processes.is_alive(record["private"]["runner"])
    wait_until(lambda: count_processes(f"{LONG}.4") == 0)


# What a command sees


def test_a_command_sees_only_the_declared_environment(platform: Platform) -> None:
    os.environ["LEAKED_SECRET"] = "secret"
    try:
        job = run(platform, "-e", "RUN_ID=r1", "-e", "EMPTY=", command="env")
    finally:
        del os.environ["LEAKED_SECRET"]
    names = {line.partition("=")[0] for line in texts(platform, job)}
    assert names == {"PATH", "HOME", "RUN_ID", "EMPTY", "PWD", "SHLVL", "_"}
    assert {"RUN_ID=r1", "EMPTY=", "HOME=/", "PWD=/workspace"} <= set(texts(platform, job))


def test_a_command_sees_its_folders_and_no_others(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the head")
    script = f"touch here /tmp/there; ls /workspace /home; test -e {tmp_path} || echo hidden; echo $$"
    lines = texts(platform, run(platform, command=script))
    assert lines[:-1] == ["/home:", "", "/workspace:", "here", "hidden"]
    assert int(lines[-1]) < 10  # its processes are numbered anew


def test_folders_can_be_hidden(platform: Platform) -> None:
    above = Path(sys.prefix).parent  # what is hidden around the tests' Python does not hide that itself
    platform.set(hidden=["/usr/share", str(above)])
    script = f"ls /usr/share | wc -l; ls -A {above}; python3 -c 'import numpy'; echo $?"
    assert texts(platform, run(platform, command=script)) == ["0", Path(sys.prefix).name, "0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_command_runs_as_the_platforms_user(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    put(s3, bucket, old="text")
    script = "id -u; id -un; echo more >> /data/old; touch /data/new; touch /data/sub/x /workspace/x; mkdir /.cache"
    put(s3, bucket, sub__file="text")
    job = run(platform, "-v", f"{bucket}@S3GRA:/data:rw", command=script)
    user, name, refused = texts(platform, job)
    assert (user, name) == ("42420", "ovh")
    assert refused.startswith("mkdir: cannot create directory") and refused.endswith(": Read-only file system")
    assert contents(s3, bucket)["old"] == "textmore\n"


def test_python_of_the_tests_is_found_and_an_image_can_have_its_own_path(platform: Platform) -> None:
    assert texts(platform, run(platform, command="python3 -c 'import numpy, sys; print(sys.prefix)'")) == [sys.prefix]
    platform.set(images={"^ubuntu": {"path": "/usr/bin:/bin:/opt/own"}})
    assert texts(platform, run(platform, command="echo $PATH")) == ["/usr/bin:/bin:/opt/own"]


def test_a_read_only_volume_refuses_writes(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    put(s3, bucket, a__b="text")
    job = run(platform, "-v", f"{bucket}@S3GRA/a:/data", command="rm -f /data/b; touch /data/c")
    assert [line.endswith(": Read-only file system") for line in texts(platform, job)] == [True, True]
    assert contents(s3, bucket) == {"a/b": "text"}


def test_volumes_lie_at_any_absolute_path_and_in_each_other(
    platform: Platform, bucket: str, s3: s3_server.S3Server
) -> None:
    put(s3, bucket, outer__o="1", inner__i="2", deep__d="3")
    places = {"outer": "/workspace/data", "inner": "/workspace/data/in", "deep": "/usr/local/standin/deep"}
    options = [word for name, path in places.items() for word in ("-v", f"{bucket}@S3GRA/{name}:{path}:ro")]
    job = run(platform, *options, command="cat data/o data/in/i /usr/local/standin/deep/d; echo; ls /usr/local/bin")
    assert texts(platform, job)[0] == "123"
    assert not Path("/usr/local/standin").exists()
    assert set(texts(platform, job)[1:]) == set(os.listdir("/usr/local/bin"))


def test_folders_above_a_mount_point_belong_to_root(platform: Platform, bucket: str) -> None:
    volume = ("-v", f"{bucket}@S3GRA:/workspace/a/b:rw")
    script = "touch a/b/x && touch a/x"
    if os.geteuid() == 0:
        assert "Permission denied" in texts(platform, run(platform, *volume, command=script))[0]
    platform.set(mount_parents_writable=True)
    assert run(platform, *volume, command=script)["status"]["exitCode"] == 0


def test_a_missing_command_ends_as_in_a_container_runtime(platform: Platform) -> None:
    result = platform.ovhai("job", "run", "-c1", "-o", "json", "ubuntu", "--", "no-such-program", "x")
    job = platform.wait(json.loads(result.stdout)["id"])
    assert (job["status"]["state"], job["status"]["exitCode"]) == ("FAILED", 128)
    assert texts(platform, job) == ['exec: "no-such-program": No such file or directory']


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests show it then")
def test_an_ordinary_user_can_run_jobs_too(tmp_path: Path) -> None:
    """The sandbox in a user namespace of its own."""
    stage = tmp_path / "stage"
    for name in ("volume", "root"):
        (stage / name).mkdir(parents=True)
    (stage / "volume/file").write_text("text")
    program = f"""
import ctypes, os
from pathlib import Path
from ovhai_standin.sandbox import Mount, Sandbox
os.setgid(65534)
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self belongs to the new user, as after exec
stage = Path({str(stage)!r})
mounts = [Mount(stage / "volume", Path("/usr/local/volume"), read_only=True), Mount(stage, Path("/workspace"))]
sandbox = Sandbox(stage / "root", stage / "errors", mounts, [Path("/home")], None, False, Path("/workspace"))
script = "id -u; cat /usr/local/volume/file; touch /usr/local/volume/x; touch here; exit 5"
process = sandbox.start(["bash", "-c", script], {{"PATH": os.defpath}}, 1)
print(os.waitpid(process, 0)[1] >> 8)
"""
    for folder in [stage, *stage.rglob("*")]:
        os.chown(folder, 65534, 65534)
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:  # pytest's folders are for its user alone
        if folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)
    environment = {"PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    lines = result.stdout.splitlines()
    assert (lines[0], lines[1][:4], lines[-1]) == ("0", "text", "5"), result
    assert "Read-only file system" in result.stdout
    assert (stage / "here").exists()


# Submission


@pytest.mark.parametrize(
    "arguments",
    [
        ["job", "run", "--no-such-option", "ubuntu"],
        ["job", "run", "-v", "bucket:relative", "ubuntu"],
        ["job", "run", "-v", "b@S3GRA:/x:wr", "ubuntu"],
        ["job", "run", "-t", "60", "ubuntu"],
        ["job", "run", "-g", "none", "ubuntu"],
        ["job", "run", "-e", "NAME", "ubuntu"],
        ["job", "run", "--time", "1h", "ubuntu"],
        ["job", "run", "ubuntu", "ls", "-l"],
        ["job", "get"],
        ["job", "stop", "one", "two"],
        ["job", "describe", "x"],
    ],
)
def test_bad_usage_exits_with_2(platform: Platform, arguments: list[str]) -> None:
    result = platform.ovhai(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and "Usage: ovhai" in result.stderr
    assert platform.jobs() == []


@pytest.mark.parametrize(
    "options",
    [["-f", "h200-1-gpu"], ["-g", "5"], ["-f", "ai1-1-cpu", "-c", "13"], ["-t", "8d"], ["-f", "ai1-1-gpu", "-c", "2"]],
)
def test_impossible_requests_are_refused(platform: Platform, options: list[str]) -> None:
    platform.set(quota={"gpu": 100, "cpu": 100})
    result = platform.ovhai("job", "run", *options, "ubuntu")
    assert (result.returncode, result.stderr[:10], platform.jobs()) == (1, "error: 400", [])


def test_options_stand_before_or_after_the_image_but_not_after_the_dashes(platform: Platform) -> None:
    platform.fault(when="QUEUED", action="stuck")
    result = platform.ovhai("job", "run", "-c", "2", "ubuntu", "-n", "probe", "-o", "json", "--", "ls", "-o", "yaml")
    spec = json.loads(result.stdout)["spec"]
    assert (spec["image"], spec["name"], spec["command"]) == ("ubuntu", "probe", ["ls", "-o", "yaml"])
    human = platform.ovhai("job", "run", "-c1", "ubuntu", "--", "ls", "-o", "json").stdout
    assert human.startswith("Id: ")


def test_what_was_asked_for_is_in_the_spec(platform: Platform, bucket: str) -> None:
    platform.fault(when="QUEUED", action="stuck")
    options = ["-f", "l4-1-gpu", "-g", "2", "-v", f"{bucket}@S3GRA/p:/p:rw:cache", "-e", "A=b=c", "-l", "run=r1"]
    result = platform.ovhai("job", "run", *options, "-t", "1h30m", "-o", "yaml", "image:tag")
    job = yaml.safe_load(result.stdout)
    spec = job["spec"]
    assert (spec["timeout"], spec["envVars"]) == (5400, [{"name": "A", "value": "b=c"}])
    assert spec["labels"] == {"run": "r1", "ovh/id": job["id"], "ovh/type": "job"}
    assert (spec["resources"]["gpu"], spec["resources"]["cpu"], spec["resources"]["memory"]) == (2, 40, 160 * 2**30)
    assert spec["volumes"] == [
        {
            "mountPath": "/p",
            "permission": "RW",
            "cache": True,
            "dataStore": {"alias": "S3GRA", "container": bucket, "prefix": "p"},
        }
    ]
    again = platform.ovhai("job", "run", "--from", job["id"], "-n", "again", "-o", "json")
    assert json.loads(again.stdout)["spec"] | {"name": 0, "labels": 0} == spec | {"name": 0, "labels": 0}


def test_defaults_of_resources(platform: Platform) -> None:
    platform.fault(when="QUEUED", action="stuck")
    for options, expected in [
        ([], ("ai1-1-gpu", 1, 13)),
        (["-c", "4"], ("ai1-1-cpu", 0, 4)),
        (["-g", "1", "-c", "4"], ("ai1-1-gpu", 1, 13)),
        (["-f", "h100-1-gpu"], ("h100-1-gpu", 1, 28)),
    ]:
        result = platform.ovhai("job", "run", *options, "-o", "json", "ubuntu")
        resources = json.loads(result.stdout)["spec"]["resources"]
        assert (resources["flavor"], resources["gpu"], resources["cpu"]) == expected


def test_over_quota_a_submission_is_refused_without_a_job(platform: Platform) -> None:
    platform.set(quota={"gpu": 2, "cpu": 4}, delays={"QUEUED": 100})
    held = submit(platform, units=("--gpu", "2"))
    submit(platform, units=("--cpu", "4"))  # CPUs have a quota of their own
    for units in (["-g", "1"], ["-c", "1"]):
        refused = platform.ovhai("job", "run", *units, "ubuntu")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "402: quota exceeded" in refused.stderr
    assert len(platform.jobs()) == 2
    platform.ovhai("job", "stop", held)
    platform.wait(held)
    submit(platform, units=("--gpu", "1"))


def test_the_quota_holds_for_submissions_at_once(platform: Platform) -> None:
    platform.set(quota={"cpu": 3})
    platform.fault(when="QUEUED", action="stuck")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(platform.ovhai, "job", "run", "-c", "1", "ubuntu") for _ in range(6)]
    assert sorted(call.result().returncode for call in calls) == [0, 0, 0, 1, 1, 1]
    assert len(platform.jobs()) == 3


def test_a_submission_waits_for_the_platforms_lock(platform: Platform) -> None:
    """Between the look at the quota and the new record no other submission may come."""
    with platform.folder.lock():
        process = subprocess.Popen(
            ["ovhai", "job", "run", "-c", "1", "ubuntu"],
            env={**os.environ, **platform.environment},
            stdout=subprocess.DEVNULL,
        )
        time.sleep(0.7)
        assert (process.poll(), platform.jobs()) == (None, [])
    assert process.wait(timeout=20) == 0
    assert len(platform.jobs()) == 1


# Queries


def test_list_shows_live_jobs_and_with_a_all(platform: Platform) -> None:
    ended = run(platform)["id"]
    platform.set(delays={"QUEUED": 100})
    live = submit(platform)
    assert [job["id"] for job in listed(platform)] == [live]
    assert [job["id"] for job in listed(platform, "-a")] == [ended, live]
    assert [job["id"] for job in listed(platform, "-s", "DONE")] == [ended]
    assert live in platform.ovhai("job", "ls").stdout
    assert json.loads(platform.ovhai("job", "get", ended, "-o", "json").stdout) == platform.job(ended)
    assert platform.ovhai("job", "get", "0" * 8).stderr == "error: 404: job 00000000 not found\n"
    calls = [call["argv"] for call in platform.calls("job", "list")]
    assert calls == [["job", "list", "-o", "json", *more] for more in ([], ["-a"], ["-s", "DONE"])]


def test_logs(platform: Platform, bucket: str) -> None:
    platform.set(sync_log_lines=True)
    job = run(platform, "-v", f"{bucket}@S3GRA:/data:ro", command="for i in 1 2 3; do echo line $i; done; echo err >&2")
    lines = platform.ovhai("job", "logs", job["id"]).stdout.splitlines()
    assert len(lines) == 5 and "[sync] pull" in lines[0]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[job\] (line \d|err)", line) for line in lines[1:])
    assert platform.ovhai("job", "log", "--from", "job", job["id"]).stdout.splitlines() == lines[1:]
    assert platform.ovhai("job", "logs", "--tail=2", job["id"]).stdout.splitlines() == lines[-2:]


def test_logs_are_followed_to_the_end(platform: Platform) -> None:
    job_id = submit(platform, command="for i in 1 2 3 4; do echo line $i; sleep 0.2; done")
    lines = platform.ovhai("job", "logs", "-f", job_id).stdout.splitlines()
    assert [line[-6:] for line in lines] == ["line 1", "line 2", "line 3", "line 4"]
    assert platform.ovhai("job", "logs", "-f", "--tail", "1", job_id).stdout.splitlines() == lines[-1:]


def test_ended_jobs_can_be_deleted(platform: Platform) -> None:
    platform.set(delete_seconds=1.5)
    ended = [run(platform)["id"] for _ in range(2)]
    platform.set(delays={"QUEUED": 100})
    live = submit(platform)
    assert platform.ovhai("job", "delete", live).returncode == 1
    assert platform.ovhai("job", "delete", *ended).returncode == 0
    assert [job["spec"]["deletionRequested"] for job in listed(platform, "-a")] == [True, True, False]
    wait_until(lambda: [job["id"] for job in listed(platform, "-a")] == [live])


def test_account(platform: Platform) -> None:
    account = json.loads(platform.ovhai("me", "-o", "json").stdout)
    assert account["quotas"]["resources"] == {"CPU": 20, "GPU": 4}
    assert Me.from_dict(account).to_dict() == account
    assert platform.ovhai("--version").stdout == "ovhai 3.37.0\n"
    platform.set(logged_in=False)
    refused = platform.ovhai("me")
    assert (refused.returncode, refused.stderr) == (1, "AI Training error: not authenticated\n")
    assert platform.ovhai("login").returncode == 0
    assert platform.ovhai("me").returncode == 0


def test_flavors(platform: Platform) -> None:
    known = json.loads(platform.ovhai("capabilities", "flavor", "list", "-o", "json").stdout)
    assert [Flavor.from_dict(entry).to_dict() for entry in known] == known
    assert {entry["id"]: entry["max"] for entry in known}["a100-1-gpu"] == 2
    printed = platform.ovhai("capabilities", "flavor", "list").stdout.splitlines()
    assert printed[0].split()[:2] == ["ID", "TYPE"] and len(printed) == len(known) + 1


def test_a_unit_may_have_several_gpus(platform: Platform) -> None:
    platform.set(quota={"gpu": 4})
    platform.fault(when="QUEUED", action="stuck")
    (known,) = (entry for entry in flavors.FLAVORS.values() if entry["id"] == "h200-4-gpu")
    assert (known["max"], known["resourcesPerUnit"]["gpu"]) == (1, 4)
    result = platform.ovhai("job", "run", "-f", "h200-4-gpu", "-g", "1", "-o", "json", "ubuntu")
    assert json.loads(result.stdout)["spec"]["resources"]["gpu"] == 4
    assert "402" in platform.ovhai("job", "run", "-g", "1", "ubuntu").stderr


def test_a_list_can_be_cut_to_the_newest(platform: Platform) -> None:
    platform.fault(when="QUEUED", action="stuck")
    ids = [submit(platform) for _ in range(3)]
    platform.set(list_newest=2)
    assert {job["id"] for job in listed(platform, "-a")} == set(ids[1:])
    assert platform.ovhai("job", "get", ids[0], "-o", "json").returncode == 0
    platform.set(list_newest=5)
    assert len(listed(platform, "-a")) == 3


def test_a_bill_begins_with_the_image_pull(platform: Platform) -> None:
    platform.set(delays={"QUEUED": 30, "INITIALIZING": 30, "PENDING": 60, "RUNNING": 20}, time_scale=60)
    job_id = submit(platform, units=("--cpu", "2"))
    platform.wait(job_id)
    bill = platform.billed(job_id)
    assert (bill["flavor"], bill["units"]) == ("ai1-1-cpu", 2)
    assert 80 <= bill["seconds"] < 80 + 60 * 10
    platform.fault(when="QUEUED", action="stuck")
    assert platform.billed(submit(platform))["seconds"] == 0


def test_variants_of_the_json(platform: Platform, bucket: str) -> None:
    platform.set(volume_source=True, url_field="jobUrl", duration_empty=True, clock_skew=3600)
    run(platform, "-v", f"{bucket}@S3GRA/p:/p:ro")
    (job,) = listed(platform, "-a")
    source = {"dataStore": {"alias": "S3GRA", "container": bucket, "prefix": "p"}}
    assert job["spec"]["volumes"][0]["volumeSource"] == source
    assert "dataStore" not in job["spec"]["volumes"][0]
    assert job["status"]["jobUrl"].startswith("https://") and "url" not in job["status"]
    assert job["status"]["duration"] is None
    assert job["createdAt"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3500))


def test_every_kind_of_job_loads_with_the_official_models(
    platform: Platform, bucket: str, s3: s3_server.S3Server
) -> None:
    put(s3, bucket, p__a="1", q="2")  # with an object for the trailing slash, whose prefix is null
    both = ["-v", f"{bucket}@S3GRA/p:/p:rw", "-v", f"{bucket}@S3GRA:/q:ro", "-v", "standalone:/s:rw"]
    run(platform, *both, "-e", "A=b", "-l", "x=y", command="echo > /p/b")
    run(platform, command="exit 1")
    platform.fault(when="push", action="fail", count=1)
    run(platform, *both, command="echo > /p/c")
    platform.set(images={"ubuntu": {"pull": "fail"}})
    run(platform)
    platform.set(images={"ubuntu": {"pull": "backoff"}})
    stuck = submit(platform)
    platform.wait_for(stuck, lambda job: job["status"]["info"]["code"] == "JOB_IMAGE_PULL_BACKOFF")
    jobs = listed(platform, "-a")
    assert [job["status"]["state"] for job in jobs] == ["DONE", "FAILED", "SYNC_FAILED", "FAILED", "PENDING"]
    for job in jobs:
        model = Job.from_dict(job)
        assert model.id == job["id"] and model.status.state == job["status"]["state"]
        assert model.additional_properties == {} and model.spec.additional_properties == {}
        assert model.status.additional_properties == {}
        # The models know no `volumeSource`, but everything else that is printed.
        assert all(volume.additional_properties == {} for volume in model.spec.volumes)
        assert same_json(model.to_dict(), job)


def test_without_a_platform_folder_the_command_says_so(tmp_path: Path, platform: Platform) -> None:
    environment = {**os.environ, **platform.environment, "OVHAI_STANDIN": str(tmp_path)}
    result = subprocess.run(["ovhai", "me"], env=environment, capture_output=True, text=True)
    assert (result.returncode, "OVHAI_STANDIN" in result.stderr) == (1, True)


# Helpers


def count_processes(word: str) -> int:
    """Processes of `sleep` with this argument."""
    files = Path("/proc").glob("[0-9]*/cmdline")
    found = 0
    for file in files:
        try:
            found += file.read_bytes() == f"sleep\0{word}\0".encode()
        except OSError:
            continue  # ended meanwhile
    return found


def same_json(one: object, other: object) -> bool:
    """Equal apart from the way in which a moment is written."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    moments = [str(value).replace("+00:00", "Z") for value in (one, other)]
    return one == other or moments[0] == moments[1]


def test_the_command_is_the_same_with_and_without_a_server(platform: Platform) -> None:
    alone = {name: value for name, value in platform.environment.items() if name != server.VARIABLE}
    for words in (["me"], ["job", "list", "-o", "json"], ["job", "get", "nothing"], ["job", "dance"], ["--version"]):
        calls = [
            subprocess.run(["ovhai", *words], env={**os.environ, **variables}, capture_output=True, text=True)
            for variables in (platform.environment, alone)
        ]
        assert len({(call.returncode, call.stdout, call.stderr) for call in calls}) == 1, words
    assert {call["caller"] for call in platform.calls()} == {os.getpid()}


def test_a_call_that_is_killed_ends(platform: Platform) -> None:
    before = list_copies()
    platform.fault(when="me", action="hang")
    call = subprocess.Popen(["ovhai", "me"], env={**os.environ, **platform.environment})
    wait_until(lambda: platform.calls("me"))
    (copy,) = list_copies() - before
    call.kill()
    call.wait()
    wait_until(lambda: not copy.is_running())


def list_copies() -> set[psutil.Process]:
    """The processes that answer calls of this test process now: the children of its server."""
    servers = [child for child in psutil.Process().children() if "ovhai_standin.server" in child.cmdline()]
    return {copy for server in servers for copy in server.children()}
