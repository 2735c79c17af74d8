"""Notifications: what is sent, and that no server ends, delays or betrays a run."""

import hashlib
import hmac
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from videomesh import notify
from videomesh.notify import CHATS, SECRET, SIGNATURE, URL, Notifier, open_notifier
from videomesh.progress.events import LONGEST, NAMED, Events, list_failed
from videomesh.progress.state import SceneState, Status
from videomesh.progress.steps import Step
from videomesh.progress.watch import Watch
from webhook import open_webhook

KEY = "a-secret-of-the-webhook"


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    logger = logging.getLogger("test of notifications")
    with caplog.at_level(logging.DEBUG):
        yield logger


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT", (0.3, 0.8))
    monkeypatch.setattr(notify, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(notify, "PATIENCE", 4.0)
    for name in (URL, SECRET, CHATS):
        monkeypatch.delenv(name, raising=False)


def open_for(monkeypatch: pytest.MonkeyPatch, logger: logging.Logger, **values: str) -> Notifier:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    notifier = open_notifier(logger)
    assert notifier and not {URL, SECRET, CHATS} & set(os.environ)  # no program of the run gets them
    return notifier


@pytest.mark.parametrize(
    ("kinds", "requests", "words"),
    [
        (["200"], 1, ""),
        (["204"], 1, ""),
        (["slow"], 1, ""),
        (["endless"], 1, ""),  # the body of an answer is not waited for
        (["500", "503", "200"], 3, ""),
        (["429", "200"], 2, ""),
        (["drop", "200"], 2, ""),
        (["500"], 3, "answers with status 500"),
        (["404"], 1, "answers with status 404"),  # another try would not help
        (["302"], 1, "answers with status 302"),  # a redirected POST becomes a GET
        (["hang"], 3, "does not answer"),
        (["drop"], 3, "cannot be reached"),
        (["garbage"], 3, "cannot be reached"),
    ],
)
def test_a_webhook_of_any_kind(
    kinds: list[str],
    requests: int,
    words: str,
    logger: logging.Logger,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_webhook(*kinds) as server:
        notifier = open_for(monkeypatch, logger, VIDEOMESH_WEBHOOK_URL=server.url, VIDEOMESH_WEBHOOK_SECRET=KEY)
        begin = time.monotonic()
        notifier.tell("run_end", "The run has ended.", success=True)
        assert time.monotonic() - begin < 0.2
        notifier.close()
        assert len(server.paths) == requests and len(set(server.bodies)) == 1
        message = server.messages[0]
        assert (message["event"], message["text"], message["success"]) == ("run_end", "The run has ended.", True)
        assert message["place"].endswith(str(Path.cwd())) and message["time"].endswith("+00:00")
        expected = hmac.new(KEY.encode(), server.bodies[0], hashlib.sha256).hexdigest()
        assert server.headers[0][SIGNATURE] == f"sha256={expected}"
    said = [record.getMessage() for record in caplog.records if record.name == logger.name]
    assert len(said) == bool(words) and all(words in line and URL in line for line in said)
    assert "TOKEN" not in caplog.text and KEY not in caplog.text  # nor in the lines of libraries


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/TOKEN", "http://TOKEN.invalid/x", "http://127.0.0.1:99999/TOKEN", "https://[TOKEN", "http://"],
)
def test_an_address_where_nobody_listens(
    url: str, logger: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = open_for(monkeypatch, logger, VIDEOMESH_WEBHOOK_URL=url)
    notifier.tell("run_end", "one")
    notifier.tell("run_end", "two")
    notifier.close()
    said = [record.getMessage() for record in caplog.records if record.name == logger.name]
    assert len(said) == 1 and "could not be sent" in said[0] and "TOKEN" not in said[0]  # once


def test_no_server_holds_up_the_end_of_a_run(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PATIENCE", 0.3)
    monkeypatch.setattr(notify, "TIMEOUT", (5.0, 10.0))
    with open_webhook("hang") as server:
        notifier = open_for(monkeypatch, logger, VIDEOMESH_WEBHOOK_URL=server.url)
        for number in range(1000):
            notifier.tell("scene_failed", str(number))
        begin = time.monotonic()
        notifier.close()
        assert time.monotonic() - begin < 1
    assert "does not wait longer" in caplog.text


@pytest.mark.parametrize("url", ["ftp://TOKEN", "hooks.example.org/TOKEN", "TOKEN"])
def test_what_is_no_address_is_told_without_it(
    url: str, logger: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, url)
    assert open_notifier(logger) is None
    assert "does not begin with http:// or https://" in caplog.text and "TOKEN" not in caplog.text


def test_nothing_is_asked_for(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    assert open_notifier(logger) is None and caplog.text == ""


def test_any_part_of_a_run_can_tell_an_event_by_its_log(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_webhook() as server:
        notifier = open_for(monkeypatch, logger, VIDEOMESH_WEBHOOK_URL=server.url)
        logger.warning("no more than 20 euros", extra={"notification": "cap_reached"})
        logger.warning("something else")
        notifier.close()
        logger.warning("after the run", extra={"notification": "cap_reached"})
        (message,) = server.messages
    assert (message["event"], message["text"]) == ("cap_reached", "no more than 20 euros")


# Mail and chat -------------------------------------------------------------------------------------------------------


def test_apprise_gets_the_same_and_names_no_address(
    logger: logging.Logger,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("apprise")
    with open_webhook() as server:
        address = server.url.replace("http://", "json://")
        chats = f"{address} nonsense://TOKEN/x mailto://TOKEN"
        notifier = open_for(monkeypatch, logger, VIDEOMESH_APPRISE_URLS=chats)
        notifier.tell("gate_failed", "The gate stopped lamp")
        notifier.close()
        (message,) = server.messages
    assert message["message"] == "The gate stopped lamp" and "gate failed" in message["title"]
    said = caplog.text + "".join(capfd.readouterr())
    assert "does not know every address" in said and "TOKEN" not in said


def test_without_apprise_the_run_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError\n")
    code = "import logging; from videomesh.notify import open_notifier; print(open_notifier(logging.getLogger()))"
    variables = {**os.environ, CHATS: "mailto://TOKEN", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    assert done.stdout == "None\n" and "extra `notify`" in done.stderr and "TOKEN" not in done.stderr


# What a run tells ----------------------------------------------------------------------------------------------------


class Told:
    """In place of a notifier."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.closed = False

    def tell(self, event: str, text: str, **details: Any) -> None:
        self.messages.append({"event": event, "text": text, **details})

    def close(self) -> None:
        self.closed = True


def make_status(**states: tuple[str, str]) -> Status:
    """Scene -> its state and the reason."""
    steps = {"stopped": Step("gate"), "failed": Step("train", 400)}
    scenes = [
        SceneState(name, state, {steps.get(state, Step("mesh", 400)): state}, reason)
        for name, (state, reason) in states.items()
    ]
    return Status(scenes, True, None)


def make_events() -> tuple[Events, Told]:
    told: Any = Told()
    return Events(told), told


def test_scenes_are_told_once_with_stage_and_reason() -> None:
    events, told = make_events()
    status = make_status(
        a=("stopped", "too few\nframes"), b=("failed", "x" * 999), c=("running", ""), d=("failed", "old")
    )
    failed = {"a": "gate_decision", "b": "sdfgrid_train", "c": "web_mesh"}  # d failed in an earlier run
    events.tell_scenes(status, failed)
    events.tell_scenes(status, failed)
    gate, scene = told.messages
    assert gate["event"] == "gate_failed" and scene["event"] == "scene_failed"
    assert gate["scenes"] == [{"scene": "a", "stage": "gate", "reason": "too few frames"}]
    assert gate["text"] == "The gate stopped a in gate: too few frames"
    assert scene["scenes"][0]["stage"] == "train 400" and len(scene["scenes"][0]["reason"]) == LONGEST
    events.end(make_status(a=("stopped", ""), c=("waiting", "")), failed, success=False)
    assert [entry["scene"] for entry in told.messages[2]["scenes"]] == ["c"] and "web_mesh" in told.messages[2]["text"]
    assert told.messages[3]["event"] == "run_end" and told.messages[3]["success"] is False and told.closed
    assert told.messages[3]["scene_counts"] == {"stopped": 1, "waiting": 1}


def test_a_thousand_failures_are_one_message() -> None:
    events, told = make_events()
    events.end(None, {f"scene-{number:04}": "frames" for number in range(1000)}, success=False)
    first, last = told.messages
    assert len(first["scenes"]) == 1000 and first["text"].endswith(f"and {1000 - NAMED} more")
    assert last["text"] == "The run has ended before everything was done."


def make_job(rule: str, **wildcards: str) -> Any:
    return SimpleNamespace(rule=SimpleNamespace(name=rule), wildcards=SimpleNamespace(**wildcards))


def test_failed_jobs_lead_to_scenes() -> None:
    group = SimpleNamespace(jobs=[make_job("frames", scene="b"), make_job("poses", scene="b")])
    failed = {make_job("web_mesh", scene="a", iteration="4").rule.name: make_job("web_mesh", scene="a"), "g": group}
    workflow = SimpleNamespace(scheduler=SimpleNamespace(failed=[*failed.values(), make_job("neuralangelo_source")]))
    assert list_failed(workflow) == {"a": "web_mesh", "b": "poses"}


def test_snakemake_says_which_jobs_failed(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The one thing of Snakemake's own classes that notifications stand on."""
    import inspect

    from snakemake.scheduling.job_scheduler import JobScheduler

    assert "self.failed.add(job)" in inspect.getsource(JobScheduler._handle_error)
    events, _ = make_events()
    workflow = SimpleNamespace(scheduler=SimpleNamespace(), dag=SimpleNamespace(needrun_jobs=list))
    watch = Watch(tmp_path, {}, workflow, logging.getLogger("snakemake of another version"), events)
    watch.start()
    watch.stop(True)
    assert "does not say which jobs failed" in caplog.text


ENDS = """
import logging, sys
from pathlib import Path
from types import SimpleNamespace
from videomesh.notify import open_notifier
from videomesh.progress.events import Events
from videomesh.progress.watch import Watch

logger = logging.getLogger()
workflow = SimpleNamespace(scheduler=SimpleNamespace(failed=set()), dag=SimpleNamespace(needrun_jobs=list))
watch = Watch(Path(), {}, workflow, logger, Events(open_notifier(logger)))
watch.start()
if sys.argv[1] == "stop":
    watch.stop(True)
raise SystemExit("an error of Snakemake's own")
"""


@pytest.mark.parametrize(("how", "success"), [("stop", True), ("error", False)])
def test_the_end_is_told_once_whatever_ends_the_run(how: str, success: bool, tmp_path: Path) -> None:
    with open_webhook() as server:
        variables = {**os.environ, URL: server.url, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", ENDS, how], cwd=tmp_path, env=variables, capture_output=True)
        (message,) = server.messages
    assert (message["event"], message["success"]) == ("run_end", success)
