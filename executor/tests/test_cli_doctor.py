"""`snakemake-ovhai doctor` against the stand-in platform."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import Run, Said, start, stuck
from ovhai_standin.platform import Platform
from submission import contents, submit

import s3_server
from snakemake_executor_plugin_ovhai import datastore
from snakemake_executor_plugin_ovhai.cli import doctor_bucket

SECRET = "SNAKEMAKE_STORAGE_S3_SECRET_KEY"


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


def test_doctor_with_a_server_that_may_have_two_names(examine: Run) -> None:
    code, out, _ = examine(
        "--endpoint", os.environ["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"].replace("127.0.0.1", "localhost")
    )
    assert code == 0 and "unless it is one server" in out, out


def test_two_addresses_of_the_same_buckets() -> None:
    assert datastore.get_host("https://s3.gra.io.cloud.ovh.net/") == datastore.get_host(
        "https://S3.gra.perf.cloud.ovh.net"
    )
    assert datastore.get_host("https://s3.gra.io.cloud.ovh.net/") != datastore.get_host(
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
    assert line.startswith("WRONG bucket:") and f"set {name} " in line
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
