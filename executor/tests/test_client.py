"""client.py with made programs in the place of `ovhai`."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_ovhai import client as module
from snakemake_executor_plugin_ovhai.client import (
    Client,
    NotAuthenticatedError,
    NotFoundError,
    OvhaiError,
    QuotaError,
    RefusedError,
    classify,
    read_json,
    read_records,
)

Make = Callable[[str], Client]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A client of a program that is this shell script."""

    def write(script: str) -> Client:
        program = tmp_path / "ovhai"
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
        return Client(str(program))

    return write


# Errors


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("AI Training error: not authenticated", 1, NotAuthenticatedError),
        ("401 Unauthorized", 1, NotAuthenticatedError),
        ("the token has expired", 1, NotAuthenticatedError),
        ("error: 402: quota exceeded", 1, QuotaError),
        ("Quota exceeded", 1, QuotaError),
        ("error: 404: job 0d916855 not found", 1, NotFoundError),
        ("flavor x does not exist", 1, NotFoundError),
        ("error: 400: an image is required", 1, RefusedError),
        ("error: 403: forbidden", 1, RefusedError),
        ("error: unexpected argument '--gpus' found", 2, RefusedError),
        ("something new", 2, RefusedError),
        ("500: internal server error", 1, OvhaiError),
        ("503: unavailable", 1, OvhaiError),
        ("502 Bad Gateway", 1, OvhaiError),
        ("error: operation timed out", 1, OvhaiError),
        ("error sending request: connection closed before message completed", 1, OvhaiError),
        ("", 1, OvhaiError),
        ("", -9, OvhaiError),
        ("thread 'main' panicked", 101, OvhaiError),
        # Words of a network that is down look like those of a refusal.
        ("dns error: no such host is known", 1, OvhaiError),
        ("dns error: host not found, failed to lookup address information", 1, OvhaiError),
        ("invalid peer certificate: Expired", 1, OvhaiError),
        ("504: upstream not found", 1, OvhaiError),
        ("connection refused (os error 111), service not found", 1, OvhaiError),
        # Numbers in ids are none.
        ("job 0d916855-0402-4044-8400-000000000401 is lost", 1, OvhaiError),
    ],
)
def test_classify(words: str, code: int, kind: type[OvhaiError]) -> None:
    assert classify(words, code) is kind


def test_a_failed_call_says_what_failed_and_why(make: Make) -> None:
    client = make("echo ignored; echo 'error: 402: quota exceeded' >&2; exit 1")
    with pytest.raises(QuotaError, match=r"job run` failed with exit code 1: error: 402: quota exceeded$"):
        client.submit(["--name", "x"])
    with pytest.raises(OvhaiError, match="exit code 3: on stdout"):
        make("echo on stdout; exit 3").call("me")
    with pytest.raises(OvhaiError, match="exit code 1: no message"):
        make("exit 1").call("me")


def test_what_was_passed_on_is_not_repeated(make: Make) -> None:
    arguments = ["--env", "KEY=secret-value", "image", "--", "bash", "-c", "echo secret-value"]
    for script in ("exit 1", "sleep 60", "echo no json", "echo '{}'"):
        client = make(script)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "TIMEOUT", 0.1)
            with pytest.raises(OvhaiError) as raised:
                client.submit(arguments)
        assert "secret" not in str(raised.value) and "job run" in str(raised.value)


def test_a_program_that_hangs_is_ended(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    begin = time.monotonic()
    with pytest.raises(OvhaiError, match=r"job list` did not answer within 0\.3 s") as raised:
        make(f"echo $$ > {tmp_path}/pid; exec sleep 60").list_jobs()
    assert time.monotonic() - begin < 5
    assert not isinstance(raised.value, RefusedError)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_program_that_is_missing_or_no_program(tmp_path: Path) -> None:
    client = Client(str(tmp_path / "none"))
    assert not client.is_installed()
    with pytest.raises(RefusedError, match="not on PATH; install it"):
        client.get_version()
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(OvhaiError, match="could not be started"):
        Client(str(tmp_path / "text")).get_version()


def test_binary_output_is_no_error_by_itself(make: Make) -> None:
    assert "\ufffd" in make(r"printf 'a\xff\xfe\n'").get_logs("x")
    with pytest.raises(OvhaiError, match="not JSON"):
        make(r"printf '\xff\xfe\x00'").list_jobs()
    with pytest.raises(OvhaiError, match="\ufffd"):
        make(r"printf '\xff' >&2; exit 1").call("me")


def test_no_question_waits_for_an_answer(make: Make) -> None:
    """The program does not take what is meant for somebody else either."""
    reading, writing = os.pipe()
    os.write(writing, b"typed\n")
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert make('read -r answer; echo "${answer:-none}"').call("me") == "none\n"
    finally:
        os.dup2(before, 0)
        for descriptor in (reading, writing, before):
            os.close(descriptor)


# Replies


def test_jobs_and_nonsense_in_a_list(make: Make) -> None:
    client = make("""echo '[{"id": "a"}, 7, {"id": null}, {"id": "b"}]'""")
    assert [job.id for job in client.list_jobs()] == ["a", "b"]
    assert make("echo '[]'").list_jobs() == []
    with pytest.raises(OvhaiError, match="not a list"):
        make("""echo '{"id": "a"}'""").list_jobs()


def test_calls_that_the_platform_documents(make: Make, tmp_path: Path) -> None:
    client = make(f"""echo "$*" >> {tmp_path}/calls; echo '{{"id": "x"}}'""")
    client.submit(["--cpu", "1"])
    client.get_job("x")
    client.get_record("x")
    client.stop("x")
    client.push("x")
    client.get_logs("x")
    client.get_account()
    client.list_datastores()
    client.get_version()
    assert (tmp_path / "calls").read_text().splitlines() == [
        "job run --cpu 1",
        "job get x -o json",
        "job get x -o json",
        "job stop x",
        "job push-data x",
        "job logs x",
        "me -o json",
        "datastore list",
        "--version",
    ]


@pytest.mark.parametrize("reply", ["[]", "{}", '{"id": "other"}', '{"id": 7}'])
def test_a_reply_that_is_not_about_the_job_is_an_error(make: Make, reply: str) -> None:
    client = make(f"echo '{reply}'")
    with pytest.raises(OvhaiError, match="does not show this job"):
        client.get_job("x")


@pytest.mark.parametrize("reply", ["[]", "{}", '{"state": "QUEUED"}'])
def test_a_submission_without_id_leaves_it_open(make: Make, reply: str) -> None:
    with pytest.raises(OvhaiError, match="names no job") as raised:
        make(f"echo '{reply}'").submit([])
    assert not isinstance(raised.value, RefusedError)


@pytest.mark.parametrize("reply", ["[]", "7"])
def test_an_account_is_a_map(make: Make, reply: str) -> None:
    with pytest.raises(OvhaiError):
        make(f"echo '{reply}'").get_account()


VALUES = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3) | st.lists(st.integers(), max_size=3)
NOISE = st.sampled_from(
    [
        "",
        "A new version of ovhai is available\n",
        "[WARN] slow network\n",
        "[2026] an update is there\n",
        "{braces} in a message\n",
        "[1/2] waiting\n[2/2] done\n",
        "warning: {}\n",
        "\n\n",
    ]
)


@given(NOISE, VALUES, st.sampled_from([None, 2]), st.sampled_from(["", "\n", "\nbye\n"]))
def test_json_after_other_lines(noise: str, value: object, indent: int | None, end: str) -> None:
    assert read_json(noise + json.dumps(value, indent=indent) + end) == value


@given(
    st.lists(st.fixed_dictionaries({"id": st.text(max_size=3), "labels": st.lists(st.integers())}), min_size=1),
    st.data(),
)
def test_a_truncated_reply_is_never_taken_for_a_shorter_list(value: list[object], data: st.DataObject) -> None:
    text = json.dumps(value, indent=2)
    with pytest.raises(OvhaiError, match="not JSON"):
        read_json(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize("text", ["", "\n", "<html><body>502 Bad Gateway</body></html>\n", "null", "12", "Id: x"])
def test_other_text_is_an_error_that_shows_its_begin(text: str) -> None:
    with pytest.raises(OvhaiError) as raised:
        read_json(text, ["job", "list", "-a"])
    assert "`ovhai job list` is not JSON" in str(raised.value)
    assert text.strip()[:20] in str(raised.value)


def test_long_replies_are_not_repeated_in_errors() -> None:
    with pytest.raises(OvhaiError) as raised:
        read_json("x" * 10_000)
    assert len(str(raised.value)) < 200


def test_records_of_lists_and_wrapped_lists() -> None:
    assert read_records([{"a": 1}, None, 7]) == [{"a": 1}]
    assert read_records({"items": [{"a": 1}]}) == [{"a": 1}]
    for reply in ({}, {"items": 1}, 7, None):
        with pytest.raises(OvhaiError):
            read_records(reply)


# Logs


def test_logs_are_followed_into_a_file(make: Make, tmp_path: Path) -> None:
    process = make("echo one; echo two; echo noise >&2").follow_logs("x", tmp_path / "log")
    assert process.wait(5) == 0
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_stream_of_logs_comes_line_by_line_and_ends_with_its_error(make: Make) -> None:
    lines = make("echo one; sleep 0.1; printf 'two\\n'; echo '404: job not found' >&2; exit 1").stream_logs("x")
    assert [next(lines), next(lines)] == ["one", "two"]
    with pytest.raises(NotFoundError, match="404: job not found"):
        next(lines)


def test_a_stream_that_is_left_ends_its_program(make: Make, tmp_path: Path) -> None:
    lines = make(f"echo $$ > {tmp_path}/pid; echo one; exec sleep 60").stream_logs("x")
    assert next(lines) == "one"
    lines.close()  # type: ignore[attr-defined]
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_stream_of_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(OvhaiError, match="could not be started"):
        list(Client(str(tmp_path / "none")).stream_logs("x"))


def test_ctrl_c_is_for_the_head_alone(make: Make, tmp_path: Path) -> None:
    client = make("cut -d' ' -f6 /proc/$$/stat; exit 0")  # the session
    client.follow_logs("x", tmp_path / "log").wait(5)
    for session in (client.call("me"), (tmp_path / "log").read_text()):
        assert int(session) != os.getsid(0)
