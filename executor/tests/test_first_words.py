"""The first words of a run: what is wrong is said in one line each, before Snakemake plans, also for `-n`."""

import re
import subprocess
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cli_helpers import Run
from heads import Head, strip_colours
from odd_s3 import error, make_certificate, odd_s3

import s3_server
from snakemake_executor_plugin_ovhai import bucket as bucket_module
from snakemake_executor_plugin_ovhai import environment, first_words, place, probe
from snakemake_executor_plugin_ovhai.bucket import Access, get_access, make_client
from snakemake_executor_plugin_ovhai.client import Client
from snakemake_executor_plugin_ovhai.place import Problem

NAMES = probe.Names("THE_BUCKET", "THE_ENDPOINT", "THE_REGION")
ACCESS, SECRET = "SNAKEMAKE_STORAGE_S3_ACCESS_KEY", "SNAKEMAKE_STORAGE_S3_SECRET_KEY"
HOUR = timedelta(hours=1)


def ask(endpoint: str, region: str = "gra", bucket: str = "bucket", keys: tuple[str, str] = ("a", "b")) -> Problem:
    problem = probe.probe_bucket(Access(endpoint, region, *keys), bucket, "work", NAMES).problem
    assert problem
    assert problem.text and problem.remedy and "\n" not in problem.line
    return problem


# The bucket's answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "headers", "what", "words"),
    [
        (404, error("NoSuchBucket"), {}, "bucket", "does not exist -> correct THE_BUCKET"),
        (403, error("AccessDenied"), {}, "rights", "belongs to another project.*ObjectStore Operator.*THE_BUCKET"),
        (403, error("InvalidAccessKeyId"), {}, "key", "does not know the access key"),
        (403, error("SignatureDoesNotMatch"), {}, "key", "the secret key is not the one"),
        (400, error("InvalidToken"), {}, "key", "session token"),
        (403, error("RequestTimeTooSkewed"), {}, "clock", "timedatectl"),
        (301, error("PermanentRedirect"), {}, "region", "without saying where .301. -> correct THE_REGION and"),
        (301, "", {}, "region", "without saying where"),
        (307, "", {"Location": "https://elsewhere.example"}, "region", "at https://elsewhere.example"),
        (400, error("AuthorizationHeaderMalformed", "<Region>sbg</Region>"), {}, "region", "set THE_REGION to sbg"),
        (400, error("AuthorizationHeaderMalformed"), {}, "region", "not in region gra"),
        (404, "<html>no such page</html>", {}, "endpoint", "does not answer as an S3 server"),
        (200, "<html>welcome<br></html>", {}, "endpoint", "does not answer as an S3 server"),
        (200, "welcome", {}, "endpoint", "does not answer as an S3 server"),
        (200, "<R><Name>other</Name></R>", {}, "endpoint", "answers for the bucket other"),
        (503, error("SlowDown"), {}, "bucket", "try again later"),
        (500, error("InternalError"), {}, "bucket", "try again later"),
        (502, "<html>Bad Gateway</html>", {}, "bucket", "try again later"),
        (400, error("XYZ"), {}, "bucket", "the server says XYZ"),
    ],
)
def test_what_a_server_says(status: int, body: str, headers: Mapping[str, str], what: str, words: str) -> None:
    begin = time.monotonic()
    with odd_s3(status, body, headers=headers) as endpoint:
        problem = ask(endpoint)
    assert problem.what == what and re.search(words, problem.line), problem.line
    assert problem.passing == (status >= 500)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"])
@pytest.mark.parametrize("skew", [HOUR, -HOUR])
def test_a_wrong_clock_is_told_as_the_clock(code: str, skew: timedelta) -> None:
    with odd_s3(403, error(code), skew) as endpoint:
        problem = ask(endpoint)
    assert problem.what == "clock" and "60 minutes" in problem.text and "key" not in problem.line
    assert ("ahead of" if skew > timedelta(0) else "behind") in problem.text


def test_a_clock_that_is_a_little_off_does_not_hide_a_wrong_key() -> None:
    with odd_s3(403, error("InvalidAccessKeyId"), timedelta(minutes=5)) as endpoint:
        assert ask(endpoint).what == "key"


def test_doctor_tells_a_wrong_clock_once_and_nothing_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_s3(403, error("SignatureDoesNotMatch"), HOUR) as endpoint:
        code, out, _ = run("doctor", "--bucket", "bucket", "--endpoint", endpoint, "--datastore", "GRA")
    wrong = [line for line in out.splitlines() if line.startswith("WRONG") and "data store" not in line]
    assert code == 1 and len(wrong) == 1 and wrong[0].startswith("WRONG clock: the bucket is 3"), out
    assert "ok    clock" not in out


def test_an_untrusted_certificate(tmp_path: Path) -> None:
    with odd_s3(certificate=make_certificate(tmp_path)) as endpoint:
        problem = ask(endpoint)
        plain = ask(endpoint.replace("https", "http"))
    assert problem.what == "TLS" and "self-signed certificate" in problem.text and "AWS_CA_BUNDLE" in problem.remedy
    assert plain.what in ("network", "endpoint")
    with odd_s3() as endpoint:
        assert "does not speak TLS" in ask(endpoint.replace("http", "https")).text


@pytest.mark.parametrize(
    ("endpoint", "what", "words"),
    [
        ("http://127.0.0.1:9", "network", r"cannot be reached \(Connection refused\)"),
        ("https://s3.nowhere.invalid", "network", "s3.nowhere.invalid is not known"),
        ("https://bucket.s3.gra.io.cloud.ovh.net", "endpoint", "write https://s3.gra.io.cloud.ovh.net ->"),
        ("https://s3.gra.io.cloud.ovh.net/bucket/", "endpoint", "write https://s3.gra.io.cloud.ovh.net ->"),
        ("s3.gra.io.cloud.ovh.net", "endpoint", "write https://s3.gra.io.cloud.ovh.net ->"),
        (" http://127.0.0.1:9", "endpoint", "blanks"),
        ("http://", "endpoint", "a host"),
        ("http://host:port", "endpoint", "is no address"),
        ("ftp://host", "endpoint", "write https://host"),
        ("http://[::1", "endpoint", "is no address"),
    ],
)
def test_addresses_that_lead_nowhere(endpoint: str, what: str, words: str) -> None:
    problem = ask(endpoint)
    assert problem.what == what and re.search(words, problem.line) and "THE_ENDPOINT" in problem.line, problem.line


def test_a_host_that_happens_to_begin_with_the_buckets_name_is_fine() -> None:
    assert place.find_endpoint_problem("https://minio.example.org", "minio") == ""


def test_a_server_of_ovhclouds_in_another_region() -> None:
    refusal = {"Error": {"Code": "SignatureDoesNotMatch"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    access = Access("https://s3.sbg.perf.cloud.ovh.net", "gra")
    failure = probe.botocore.exceptions.ClientError(refusal, "ListObjectsV2")
    problem = probe.explain_refusal(failure, access, "b", NAMES, None)
    assert problem.what == "region" and problem.remedy == "set THE_REGION to sbg"


@pytest.mark.parametrize(
    ("keys", "words"), [(("a", ""), "only one of the two keys"), (("", ""), "there are no keys of the bucket")]
)
def test_missing_keys(keys: tuple[str, str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    problem = ask("http://127.0.0.1:9", keys=keys)
    assert words in problem.text and ACCESS in problem.remedy and SECRET in problem.remedy


# One way to make a client ---------------------------------------------------------------------------------------------


def test_clients_ask_as_the_storage_plugin_does(tmp_path: Path) -> None:
    import snakemake_storage_plugin_s3 as plugin

    address = "https://s3.example.org"
    settings = plugin.StorageProviderSettings(endpoint_url=address, region="gra", access_key="key", secret_key="secret")
    theirs = plugin.StorageProvider(tmp_path, None, settings=settings).s3c.meta.client
    ours = make_client(get_access(settings))
    for name in ("signature_version", "s3", "region_name", "connect_timeout", "read_timeout", "retries"):
        assert getattr(ours.meta.config, name) == getattr(theirs.meta.config, name), name
    assert ours.meta.endpoint_url == theirs.meta.endpoint_url == address
    assert ours._request_signer._credentials.secret_key == "secret"
    assert "secret" not in repr(get_access(settings))


def test_nobody_sends_a_checksum_that_s3_does_not_need(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION", raising=False)
    seen: list[tuple[str, Mapping[str, str]]] = []
    with odd_s3(seen=seen) as endpoint:
        run("doctor", "--bucket", "bucket", "--endpoint", endpoint, "--datastore", "GRA")
    assert {"GET", "PUT"} <= {method for method, _ in seen}
    assert [name for _, headers in seen for name in headers if "checksum" in name.lower()] == []


def test_no_other_module_makes_a_client() -> None:
    folder = Path(bucket_module.__file__).parent
    assert [file.name for file in folder.rglob("*.py") if re.search(r"boto3\.(client|Session)", file.read_text())] == [
        "bucket.py"
    ]


# Places and variables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["a/b", "a//b", "a/b/", "/a/b", "a//b//"])
def test_programs_and_data_are_below_the_same_prefix(prefix: str, tmp_path: Path) -> None:
    import snakemake_storage_plugin_s3 as plugin

    provider = plugin.StorageProvider(tmp_path, None, settings=plugin.StorageProviderSettings())
    data = plugin.StorageObject(f"s3://bucket/{prefix}/x.txt", "", True, provider)
    bucket, root = place.split_storage_prefix(f"s3://bucket/{prefix}")
    assert (bucket, f"{root}/x.txt") == (data.bucket, data.key)


@pytest.mark.parametrize(
    "prefix",
    [
        "bucket/a",
        "s3:/bucket",
        "s3://",
        "s3://B/a",
        "s3://bu_cket",
        "s3://bucket/../a",
        "s3://bucket/a?b",
        "s3://bucket/a#b",
        "s3://bucket/a@b",
        "s3://bucket/./a",
        "https://host/bucket",
    ],
)
def test_places_that_would_be_read_in_two_ways_are_refused(prefix: str) -> None:
    with pytest.raises(place.PlaceError, match=r"write|no prefix may have"):
        place.split_storage_prefix(prefix)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OVHAI_REGION", "GRA", "write gra"),
        ("OVHAI_REGION", " gra ", "write gra"),
        ("OVHAI_PREFIX", "a//b", "write a/b"),
        ("OVHAI_PREFIX", "/a/", "write a"),
        ("OVHAI_PREFIX", "a/../b", "as a part"),
        ("OVHAI_BUCKET", "s3://mine/x", "write mine"),
        ("OVHAI_BUCKET", "Mine", "small letters"),
        ("OVHAI_BUCKET", "", "is not set"),
        ("OVHAI_BUCKET", "  ", "is not set"),
        ("OVHAI_DATASTORE", "'MESHES'", "write MESHES"),
        ("OVHAI_ENDPOINT", "https://bucket.s3.gra.io.cloud.ovh.net", "write https://s3.gra.io.cloud.ovh.net"),
        ("OVHAI_ENDPOINT", "https://host/path", "without a path"),
        ("OVHAI_FLAVOR", "H100-1-GPU", "write h100-1-gpu"),
        ("OVHAI_GPU", "0", "from 1 to 9"),
    ],
)
def test_variables_are_corrected_in_words(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, s3: s3_server.S3Server
) -> None:
    for variable, good in s3.profile_environment("bucket").items():
        monkeypatch.setenv(variable, good)
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        environment.read_environment("meshes", help_page="docs/ovhcloud.md")
    lines = str(end.value).splitlines()
    assert len(lines) == 3 and name in lines[1] and words in lines[1] and "[" not in lines[1], lines
    assert lines[2] == "See docs/ovhcloud.md."


# The front door -------------------------------------------------------------------------------------------------------


def check_words(run: "subprocess.CompletedProcess[str]", *lines: str) -> None:
    """The run ended before it planned, with exactly these lines of problems."""
    said = strip_colours(run.stdout)
    assert run.returncode == 1, said
    assert "Traceback" not in said and 'File "' not in said and "Job stats" not in said, said
    assert len(said.splitlines()) < 30, said
    found = re.findall(r"^  (.* -> .*)$", said, re.MULTILINE)
    assert len(found) == len(lines), said
    for line, words in zip(found, lines, strict=True):
        assert re.search(words, line), said


@pytest.mark.parametrize("arguments", [["-n"], [], ["--summary"]])
def test_a_wrong_key(head: Head, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(s3_server, "SECRET_KEY", "wrong-secret-key")
    begin = time.monotonic()
    run = head.run(*arguments)
    assert time.monotonic() - begin < 30
    check_words(run, "^key: .*knows the access key, but the secret key.*SNAKEMAKE_STORAGE_S3_SECRET_KEY")
    assert "wrong-secret-key" not in run.stdout


def test_a_bucket_that_does_not_exist_and_no_login_are_told_together(head: Head) -> None:
    head.platform.set(logged_in=False)
    head.bucket = "there-is-none"
    check_words(head.run("-n"), "^bucket: .*does not exist.*--default-storage-prefix", "^login: nobody is logged in")


def test_a_plan_needs_no_login_but_a_run_does(head: Head) -> None:
    head.platform.set(logged_in=False)
    plan = head.run("-n")
    assert plan.returncode == 0 and "Job stats" in plan.stdout
    assert "A run would end here. login: nobody is logged in" in plan.stdout
    run = head.run()
    check_words(run, "^login: nobody is logged in, or the login has expired -> run `ovhai login`")
    assert "The login has expired" not in run.stdout


def test_an_unknown_data_store_is_told_before_a_job_pays_for_it(head: Head) -> None:
    run = head.run("--ovhai-datastore", "S3GRB")
    check_words(run, "^data store: 'S3GRB' is unknown; S3 data stores are S3GRA -> .*ovhai config list")
    assert head.platform.jobs() == []


def test_nothing_is_asked_twice(head: Head) -> None:
    assert head.run("-n").returncode == 0
    assert len(head.platform.calls("me")) == len(head.platform.calls("datastore", "list")) == 1


def test_an_outage_of_the_platform_ends_neither_plan_nor_run(head: Head) -> None:
    head.platform.fault(when="me", action="fail", text="503: unavailable")
    run = head.run()
    assert run.returncode == 0, run.stdout
    assert "platform: it does not answer now" in run.stdout


def test_other_commands_of_snakemake_ask_nobody(head: Head) -> None:
    head.platform.set(logged_in=False)
    head.bucket = "there-is-none"
    assert head.run("--list-rules").returncode == 0
    assert head.platform.calls("me") == []


def test_snakemakes_methods_fit() -> None:
    from snakemake.api import DAGApi, WorkflowApi

    assert first_words.fit(WorkflowApi, DAGApi)
    assert not first_words.fit(WorkflowApi, object) and not first_words.fit(object, DAGApi)


def test_the_plugins_errors_show_no_lines_of_its_files(head: Head) -> None:
    run = head.run("--ovhai-sources", "nowhere")
    said = strip_colours(run.stdout)
    assert run.returncode == 1 and "'nowhere' is not a folder" in said
    assert "File " not in said and "Traceback" not in said, said


def test_a_platform_that_hangs_does_not_hold_up_the_first_words(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in head.environment.items():
        monkeypatch.setenv(name, value)
    head.platform.fault(when="me", action="hang", seconds=5)
    problems = first_words.check_platform(Client(timeout=0.5), "S3GRA", head.s3.endpoint, NAMES)
    assert [problem.passing for problem in problems] == [True]


def test_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = first_words.check_platform(Client(), "S3GRA", "", NAMES)
    assert "`ovhai` is not on PATH" in problem.text and not problem.passing
