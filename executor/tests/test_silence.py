"""The bucket falls silent: nothing is paid twice, nothing good is stopped or removed, and the run goes on."""

import asyncio
import os
import random
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.exceptions
import pytest
import silence
import snakemake_storage_plugin_s3
import urllib3.exceptions
from botocore.config import Config
from heads import Head, finish, jobs_of, labels, strip_colours
from ovhai_standin.platform import Platform
from snakemake_interface_common.exceptions import WorkflowError
from submission import wait_until

import s3_server
from s3_proxy import Proxy
from snakemake_executor_plugin_ovhai import outage as outages
from snakemake_executor_plugin_ovhai import patience
from snakemake_executor_plugin_ovhai.bucket import Bucket, BucketError, SilenceError
from snakemake_executor_plugin_ovhai.outage import Outage, is_outage
from snakemake_executor_plugin_ovhai.volumes import StoredFile

# What is an outage? --------------------------------------------------------------------------------------------------


def answer(status: int, code: str = "") -> botocore.exceptions.ClientError:
    reply = {"Error": {"Code": code or str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(reply, "HeadObject")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        *(answer(status) for status in (408, 429, 500, 502, 503, 504, 507, 520)),
        *(answer(503, code) for code in ("SlowDown", "ServiceUnavailable")),
        *(answer(400, code) for code in ("RequestTimeout", "ThrottlingException")),
        botocore.exceptions.EndpointConnectionError(endpoint_url="u", error="refused, or no such name"),
        botocore.exceptions.ConnectTimeoutError(endpoint_url="u", error=""),
        botocore.exceptions.ReadTimeoutError(endpoint_url="u", error=""),
        botocore.exceptions.ConnectionClosedError(endpoint_url="u", error=""),
        botocore.exceptions.SSLError(endpoint_url="u", error=""),
        botocore.exceptions.ProxyConnectionError(proxy_url="u", error=""),
        botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        botocore.exceptions.HTTPClientError(error=urllib3.exceptions.DecodeError()),
        botocore.exceptions.HTTPClientError(error=ConnectionResetError()),
        urllib3.exceptions.ProtocolError(),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=repr,
)
def test_what_may_be_answered_later(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        *(answer(status) for status in (301, 400, 403, 404, 412, 416, 501)),
        *(answer(403, code) for code in ("RequestTimeTooSkewed", "SignatureDoesNotMatch", "AccessDenied")),
        answer(400, "ExpiredToken"),
        botocore.exceptions.NoCredentialsError(),
        botocore.exceptions.ParamValidationError(report=""),
        botocore.exceptions.HTTPClientError(error=ValueError("a header with a line break")),
        FileNotFoundError(),
        PermissionError(),
        KeyError(),
    ],
    ids=repr,
)
def test_what_is_an_answer(error: Exception) -> None:
    assert not is_outage(error)


# Requests that wait --------------------------------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is told. Pauses are as short as the tests need."""
    said: list[str] = []
    monkeypatch.setattr(outages, "tell", lambda level, message: said.append(message))
    monkeypatch.setattr(patience, "get_pause", lambda attempts: 0.05)
    return said


def make_client(proxy: Proxy, outage: Outage | None = None, answered: bool = True, timeout: float = 60) -> Any:
    client = boto3.client(
        "s3",
        endpoint_url=proxy.server.endpoint,
        region_name=s3_server.REGION,
        aws_access_key_id=s3_server.ACCESS_KEY,
        aws_secret_access_key=s3_server.SECRET_KEY,
        config=Config(read_timeout=timeout, retries={"max_attempts": 5, "mode": "standard"}),
    )
    outage = outage or Outage()
    outage.answered = answered
    patience.make_patient(client, outage)
    return client


FAULTS: dict[str, dict[str, Any]] = {
    "503": {"count": 9},
    "429": {"count": 9},
    "reset": {"count": 9},
    "hang": {"count": 7, "hold": 0.5},
    "refuse": {"seconds": 1.5},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_request_waits_for_its_answer(proxy: Proxy, bucket: str, kind: str, said: list[str]) -> None:
    client = make_client(proxy, timeout=0.4 if kind == "hang" else 60)
    proxy.inject_now(kind, **FAULTS[kind])
    client.put_object(Bucket=bucket, Key="k", Body=b"content")
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"content"
    assert re.match("The bucket has not answered. The run waits for it. Jobs keep running", said[0])
    assert said[1:] == ["The bucket answers again."]


def test_a_name_that_is_not_found_for_a_while(
    proxy: Proxy, bucket: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    look_up = socket.getaddrinfo

    def fail(*arguments: Any, **keywords: Any) -> Any:
        asked.append(arguments)
        if len(asked) < 9:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return look_up(*arguments, **keywords)

    client = make_client(proxy)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    client.head_bucket(Bucket=bucket)
    assert len(asked) >= 9 and len(said) == 2


@pytest.mark.parametrize("kind", ["truncate", "empty"])
def test_a_list_that_is_cut_off_is_asked_for_again(proxy: Proxy, bucket: str, said: list[str], kind: str) -> None:
    """botocore would take one without content for that of an empty bucket."""
    client = make_client(proxy)
    client.put_object(Bucket=bucket, Key="k", Body=b"content")
    proxy.inject_now(kind, count=7)
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


def test_a_body_that_is_cut_off_is_read_again(proxy: Proxy, bucket: str, said: list[str]) -> None:
    client, outage = make_client(proxy), Outage()
    client.put_object(Bucket=bucket, Key="k", Body=b"content")
    proxy.inject_now("truncate", count=7)
    outage.answered = True
    content = patience.wait_for(lambda: client.get_object(Bucket=bucket, Key="k")["Body"].read(), outage)
    assert content == b"content" and len(proxy.requests) == 9


@pytest.mark.parametrize("kind", ["truncate", "reset", "503"])
@pytest.mark.parametrize("size", [100_000, 20_000_000])
def test_files_arrive_whole(proxy: Proxy, bucket: str, tmp_path: Path, said: list[str], kind: str, size: int) -> None:
    """The larger file travels in parts."""
    client, content = make_client(proxy), random.Random(1).randbytes(size)
    (tmp_path / "up").write_bytes(content)
    if kind != "truncate":
        proxy.inject_now(kind, match="PUT", skip=size > 9e6, count=7)
    client.upload_file(str(tmp_path / "up"), bucket, "k")
    proxy.inject_now(kind, match="GET", skip=size > 9e6, count=7)
    client.download_file(bucket, "k", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["up", "down"]


def test_an_upload_in_parts_whose_last_answer_is_lost(
    proxy: Proxy, bucket: str, tmp_path: Path, said: list[str]
) -> None:
    """The server has put the parts together, and does not know the upload when it is asked again."""
    client = make_client(proxy)
    (tmp_path / "up").write_bytes(b"x" * 9_000_000)
    proxy.inject_now("404", match="POST .*uploadId=", count=1, code="NoSuchUpload")
    client.upload_file(str(tmp_path / "up"), bucket, "k")
    assert client.head_object(Bucket=bucket, Key="k")["ContentLength"] == 9_000_000


@pytest.mark.parametrize("status, code", [("403", "RequestTimeTooSkewed"), ("403", "AccessDenied"), ("404", "404")])
def test_an_answer_is_not_waited_for(proxy: Proxy, bucket: str, said: list[str], status: str, code: str) -> None:
    client = make_client(proxy)
    proxy.inject_now(status, code=code, count=9)
    with pytest.raises(botocore.exceptions.ClientError):
        client.get_object(Bucket=bucket, Key="k")
    assert len(proxy.requests) == 1 and said == []


def test_a_server_that_never_answered_is_not_waited_for(proxy: Proxy, bucket: str, said: list[str]) -> None:
    """The address may be wrong."""
    outage = Outage()
    client = make_client(proxy, outage, answered=False)
    proxy.inject_now("503", count=6)
    with pytest.raises(botocore.exceptions.ClientError):
        client.head_bucket(Bucket=bucket)
    assert len(proxy.requests) == 6 and said == []
    client.head_bucket(Bucket=bucket)
    assert outage.answered


@pytest.mark.parametrize("status", ["403", "404"])
def test_an_answer_of_any_web_server_proves_nothing(proxy: Proxy, bucket: str, said: list[str], status: str) -> None:
    outage = Outage()
    client = make_client(proxy, outage, answered=False)
    proxy.inject_now(status, count=1)
    for answered in (False, True):
        with pytest.raises(botocore.exceptions.ClientError):
            client.head_object(Bucket=bucket, Key="k")
        assert outage.answered is answered  # the server itself says that there is no such object


def test_a_moment_of_trouble_is_not_worth_a_line(proxy: Proxy, bucket: str, said: list[str]) -> None:
    proxy.inject_now("503", count=2)
    make_client(proxy).head_bucket(Bucket=bucket)
    assert said == []


def test_the_watcher_gets_an_error_and_asks_again_later(proxy: Proxy, bucket: str, said: list[str]) -> None:
    outage = Outage()
    client = make_client(proxy, outage)
    file = StoredFile(bucket, "k", "k")
    proxy.inject_now("503", count=4)
    with ThreadPoolExecutor(1) as pool:
        for tries in (3, 4):  # one is enough as soon as it is known that the bucket is silent
            with pytest.raises(SilenceError):
                pool.submit(Bucket(client).get_info, file).result()
            assert len(proxy.requests) == tries and outage.silent
        assert pool.submit(Bucket(client).get_info, file).result() is None
        assert not outage.silent
        proxy.inject_now("403", count=1)
        with pytest.raises(BucketError) as refused:
            pool.submit(Bucket(client).get_info, file).result()
    assert not isinstance(refused.value, SilenceError)


def test_one_object_that_is_never_answered_does_not_fill_the_screen(said: list[str]) -> None:
    outage = Outage()
    for _ in range(20):
        outage.report_failure("503")
        outage.report_answer()
    assert len(said) == 2


def test_a_long_outage_is_mentioned_again(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(outages, "time", SimpleNamespace(monotonic=lambda: now[0]))
    outage = Outage()
    for minute in range(32):
        now[0] = 60.0 * minute + 1
        outage.report_failure("503")
    assert len(said) == 3 and "for 30 minutes" in said[-1]


@pytest.mark.parametrize("kind", ["503", "hang", "refuse"])
def test_ctrl_c_ends_a_request_that_waits(proxy: Proxy, bucket: str, kind: str) -> None:
    """asyncio notes the first Ctrl-C only, and so does Snakemake."""
    client = make_client(proxy)
    proxy.inject_now(kind, seconds=20, hold=20)

    async def ask() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(wait())

    async def wait() -> None:
        client.head_bucket(Bucket=bucket)

    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    with asyncio.Runner() as runner, pytest.raises(KeyboardInterrupt):
        runner.run(ask())
    assert time.monotonic() - begin < 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ends_a_copy_that_waits(proxy: Proxy, bucket: str, tmp_path: Path) -> None:
    client = make_client(proxy)
    (tmp_path / "up").write_bytes(b"x")
    proxy.inject_now("503", seconds=20)
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.upload_file(str(tmp_path / "up"), bucket, "k")
    assert time.monotonic() - begin < 5


# The S3 storage plugin -----------------------------------------------------------------------------------------------


def test_it_fits_the_installed_storage_plugin() -> None:
    patience.attach()
    prepared = snakemake_storage_plugin_s3.StorageProvider.__post_init__
    patience.attach()
    assert snakemake_storage_plugin_s3.StorageProvider.__post_init__ is prepared
    assert prepared.makes_patient


def test_it_says_what_is_lost_if_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class StorageProvider:
        def __post_init__(self) -> None:
            pass

    monkeypatch.setattr(patience, "tell", lambda level, message: said.append(message))
    monkeypatch.setattr(snakemake_storage_plugin_s3, "StorageProvider", StorageProvider)
    before = StorageProvider.__post_init__
    patience.attach()
    assert StorageProvider.__post_init__ is before
    assert "An outage may end the run" in said[0]


@pytest.mark.parametrize(
    "kind, verdict", [("503", "max retries"), ("403", "Forbidden"), ("404", False), ("", True)], ids=str
)
def test_a_bucket_is_missing_only_if_the_server_says_so(
    proxy: Proxy, bucket: str, kind: str, verdict: bool | str
) -> None:
    if kind:
        proxy.inject_now(kind, count=6)
    provider = SimpleNamespace(s3c=SimpleNamespace(meta=SimpleNamespace(client=make_client(proxy, answered=False))))
    storage_object = SimpleNamespace(provider=provider, bucket=bucket)
    if isinstance(verdict, bool):
        assert patience.bucket_exists(storage_object) is verdict
    else:
        with pytest.raises(WorkflowError, match=f"s3://{bucket} .*{verdict}"):
            patience.bucket_exists(storage_object)


# Whole runs ----------------------------------------------------------------------------------------------------------

AFTER_SUCCESS = {"match": r"HEAD .*/a/make/out.txt", "skip": 2}  # one of the plan, and the watcher's own
LOCAL_RULE_STARTS = {"match": r"GET .*/add/out.txt$"}
PLANNED = 20  # requests before the first that a run can lose anything by
LAST = 105
DRAW = random.Random(11)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "six 503s after a success": ("503", AFTER_SUCCESS | {"count": 6}),
    "503 for 12 s after a success": ("503", AFTER_SUCCESS | {"seconds": 12}),
    "nobody listens for 15 s when a local rule starts": ("refuse", LOCAL_RULE_STARTS | {"seconds": 15}),
    "503 for 15 s when a local rule starts": ("503", LOCAL_RULE_STARTS | {"seconds": 15}),
    **{
        f"{kind} at {number}": (kind, {"first": number, **silence.KINDS[kind]})
        for kind, number in zip(("503", "reset", "hang", "refuse"), DRAW.sample(range(PLANNED, LAST), 4), strict=True)
    },
}


def test_a_run_waits_for_the_bucket(tmp_path: Path, s3: s3_server.S3Server, bucket: str) -> None:
    """Side by side, since each run mostly waits."""

    def run(name: str) -> silence.Outcome:
        kind, how = CASES[name]
        return silence.try_silence(tmp_path / name.replace(" ", "-"), s3, bucket, kind, **how)

    with ThreadPoolExecutor(len(CASES)) as pool:
        outcomes = dict(zip(CASES, pool.map(run, CASES), strict=True))
    for name, outcome in outcomes.items():
        assert outcome.problems == [], (name, outcome.said)
        assert outcome.runs == 1, (name, outcome.said)
        assert outcome.request, (name, outcome.said)
        assert "Removing output files" not in outcome.said, name


@pytest.fixture
def silent_head(tmp_path: Path, platform: Platform, proxy: Proxy, bucket: str) -> Head:
    """A head that reaches the bucket through the proxy."""
    return Head(tmp_path / "head", platform, proxy.server, bucket).write()


SCENES = ("--config", "scenes=a,b,c")


def states_of(head: Head, rule: str = "make") -> dict[str, str]:
    return {labels(job, "wildcard-scene"): job["status"]["state"] for job in jobs_of(head.platform, rule)}


def test_a_plan_waits_for_records(silent_head: Head, proxy: Proxy, tmp_path: Path) -> None:
    """They are read side by side, in threads that have no patience of their own."""
    finish(silent_head)
    fresh = Head(tmp_path / "fresh", silent_head.platform, proxy.server, silent_head.bucket).write()
    fault = proxy.inject_now("503", match="GET .*/records/.+gz", seconds=10)
    run = fresh.run("-n")
    assert run.returncode == 0, run.stdout
    assert fault.acted
    assert set(re.findall(r"^(make|add|deliver) +\d+$", run.stdout, re.MULTILINE)) == {"deliver"}, run.stdout


def test_a_job_fails_while_the_bucket_is_silent(silent_head: Head, proxy: Proxy) -> None:
    """The cause is in the rule's own log, which is in the bucket."""
    head = silent_head
    head.write(
        make="if [ {wildcards.scene} = b ]; then sleep 3; echo part > {output:q}; "
        "echo CUDA out of memory > {log:q}; exit 1; fi; sleep 8;"
    )
    process = head.start(*SCENES)
    wait_until(lambda: states_of(head).get("b") == "RUNNING")
    proxy.inject_now("503", seconds=18)
    assert process.wait(120) == 1
    assert states_of(head) == {"a": "DONE", "b": "FAILED", "c": "DONE"}, head.said()
    assert states_of(head, "add") == {"a": "DONE", "c": "DONE"}
    said = strip_colours(head.said())
    assert "too little memory" in said and "Traceback" not in said
    assert said.count("The bucket has not answered") == said.count("The bucket answers again") == 1
    assert head.stored("results/b/make/numbers.txt") is None
    assert (head.folder / "deliver" / "a.txt").read_text() == (head.folder / "deliver" / "c.txt").read_text() == "6\n"


def test_an_error_of_snakemake_stops_no_job(silent_head: Head, proxy: Proxy) -> None:
    """The bucket refuses a file that a local rule needs, and two other jobs run."""
    head = silent_head.write(make="[ {wildcards.scene} = a ] || sleep 12;")
    proxy.inject("403", match="GET .*/a/add/sum.txt$", count=1)
    run = head.run(*SCENES)
    assert run.returncode == 1
    assert "2 jobs keep running, and the next run finds them" in run.stdout, run.stdout
    assert "Snakemake ends because of an error" in run.stdout
    assert states_of(head) == {"a": "DONE", "b": "RUNNING", "c": "RUNNING"}
    finish(head, *SCENES)
    assert states_of(head) == states_of(head, "add") == dict.fromkeys("abc", "DONE")
    assert len(head.platform.jobs()) == 6


def test_jobs_are_watched_while_snakemake_waits_and_ctrl_c_ends_that(silent_head: Head, proxy: Proxy) -> None:
    head = silent_head.write(make="case {wildcards.scene} in a) sleep 1;; b) sleep 3;; c) sleep 90;; esac;")
    proxy.inject("503", match="HEAD .*/a/make/numbers.txt", skip=2, seconds=90)
    process = head.start(*SCENES)
    wait_until(lambda: "The bucket has not answered" in head.said() and states_of(head).get("b") == "DONE")
    before = count_lists(head)
    wait_until(lambda: count_lists(head) >= before + 4)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1
    assert time.monotonic() - begin < 15
    assert states_of(head) == {"a": "DONE", "b": "DONE", "c": "INTERRUPTED"}, head.said()
    assert "Traceback" not in head.said(), head.said()
    assert head.stored("results/a/make/numbers.txt") == "1\n2\n3\n"


def count_lists(head: Head) -> int:
    return len(head.platform.calls("job", "list"))
