"""How jobs can end, or never begin: whole runs through `snakemake`, each with one thing going wrong on the platform."""

import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import impatient
import pytest
from heads import SNAKEFILE, Head, jobs_of, labels, run_side_by_side, states, strip_colours
from submission import wait_until

from snakemake_executor_plugin_ovhai.rescue import ATTEMPTS
from snakemake_process import run_snakemake

MADE = "1\n2\n3\n"
ERROR = {"when": "RUNNING", "action": "end", "state": "ERROR", "message": "node lost"}


def attempts(head: Head) -> list[str]:
    return [labels(job, "attempt") for job in jobs_of(head.platform, "make")]


def check_words(run: "subprocess.CompletedProcess[str]", *patterns: str) -> None:
    said = strip_colours(run.stdout)
    assert "Traceback" not in said, said
    for pattern in patterns:
        assert re.search(pattern, said, re.DOTALL), f"{pattern}\n{said}"


def check_failure(head: Head, run: "subprocess.CompletedProcess[str]", expected: list[str], *patterns: str) -> None:
    assert run.returncode == 1, run.stdout
    check_words(run, *patterns)
    assert states(head) == expected
    assert jobs_of(head.platform, "add") == []


def check_success(head: Head, run: "subprocess.CompletedProcess[str]", expected: list[str]) -> None:
    assert run.returncode == 0, run.stdout
    check_words(run)
    assert states(head) == expected
    assert (head.folder / "deliver" / "a.txt").read_text() == "6\n"


@pytest.mark.parametrize(
    "make, words",
    [
        ("echo reason of it; exit 3;", ["failed with exit code 3", "The end of its log", "reason of it"]),
        ("echo No space left on device; exit 1;", ["exit code 1", "Cause: The machine's disk is full"]),
        ("exit 137;", ["exit code 137", "Cause: The process was killed.*memory", "Choose a flavor with more memory"]),
        ("exit 0;", ["exit code 1", "Cause: .*without one of its outputs", "missing output: .*numbers.txt"]),
    ],
)
def test_a_command_that_fails(head: Head, make: str, words: list[str]) -> None:
    run = head.write(make=make).run()
    check_failure(head, run, ["FAILED"], *words)
    assert run.stdout.count("Cause:") == any(word.startswith("Cause") for word in words)
    assert head.stored("results/a/make/numbers.txt") is None


@pytest.mark.parametrize(
    "fault, state, words",
    [
        (ERROR, "ERROR", ["was lost to an error of the platform", "node lost"]),
        ({**ERROR, "when": "INITIALIZING"}, "ERROR", ["was lost to an error of the platform", "There is no log"]),
        ({"when": "pull", "action": "fail"}, "SYNC_FAILED", ["SYNC_FAILED", "snakemake-ovhai doctor"]),
        ({"when": "push", "action": "fail"}, "SYNC_FAILED", ["SYNC_FAILED", "Do not trust its results"]),
        ({"when": "push", "action": "fail", "keep_state": True}, "DONE", ["SYNC_FAILED", "Do not trust"]),
    ],
    ids=["ERROR", "ERROR before it runs", "pull", "push", "DONE with a failed push"],
)
def test_an_end_that_another_attempt_may_mend(head: Head, fault: dict[str, Any], state: str, words: list[str]) -> None:
    copies = 2 * (1 + ATTEMPTS) if state == "SYNC_FAILED" and fault["when"] == "push" else 2
    head.platform.fault(**fault, match="rule=make", count=copies)
    check_failure(head, head.run("--retries", "1"), [state] * 2, *words)
    assert attempts(head) == ["1", "2"]
    # The platform still has the files of a job that only could not copy them.
    check_success(head, head.run(), [state] * 2 if copies > 2 else [state, state, "DONE"])


def test_a_copy_that_failed_is_repeated_and_nothing_is_paid_again(head: Head) -> None:
    head.platform.fault(when="push", action="fail", match="rule=make", count=2)
    run = head.run("--retries", "0")
    check_success(head, run, ["SYNC_FAILED"])
    check_words(run, "did its work, but its files could not be copied to the bucket", "costs no new job")
    assert len(head.platform.calls("job", "push-data")) == 2
    # Nor does a head in a fresh folder take its outputs for those of a failed job.
    fresh = head.copy(head.folder.parent / "fresh")
    shutil.rmtree(fresh.folder / ".snakemake")
    (fresh.folder / "deliver" / "a.txt").unlink()
    check_success(fresh, fresh.run(), ["SYNC_FAILED"])


def test_a_job_larger_than_the_whole_quota_is_refused_beforehand(head: Head) -> None:
    head.platform.set(quota={"gpu": 1, "cpu": 20})
    run = head.write(snakefile=SNAKEFILE.replace("gpu=1", "gpu=2")).run()
    check_failure(head, run, [], "rule add: gpu is 2, but the project's whole quota is 1 GPUs")
    assert head.platform.jobs() == []


def test_a_job_whose_disk_was_full_is_not_tried_again_on_the_same_machine(head: Head) -> None:
    message = "Pod ephemeral local storage usage exceeds the total limit of containers 40Gi"
    head.platform.fault(when="RUNNING", action="end", state="FAILED", code="JOB_EVICTED", message=message)
    run = head.run("--retries", "3")
    check_failure(head, run, ["FAILED"], "disk is full: Pod ephemeral", "Choose a flavor with more disk")


@pytest.mark.parametrize("code", ["JOB_INTERRUPTED_BY_PLATFORM", "JOB_EVICTED"])
def test_a_job_taken_away_by_the_platform_does_not_cost_an_attempt(head: Head, code: str) -> None:
    state = "INTERRUPTED" if code == "JOB_INTERRUPTED_BY_PLATFORM" else "FAILED"
    head.platform.fault(when="RUNNING", match="rule=make", action="end", state=state, code=code, count=2)
    run = head.run("--retries", "0")
    check_success(head, run, [state, state, "DONE"])
    check_words(run, rf"taken away by the platform \({code}\)", "does not count as an attempt")
    assert attempts(head) == ["1", "1", "1"]


def test_a_job_that_is_always_taken_away_is_given_up(head: Head) -> None:
    head.platform.fault(when="RUNNING", match="rule=make", action="end", state="INTERRUPTED", code="JOB_EVICTED")
    check_failure(head, head.run(), ["INTERRUPTED"] * 6, "taken away by the platform")


def test_a_job_stopped_by_somebody_is_not_started_again(head: Head) -> None:
    head.write(make="sleep 60;")
    process = head.start("--retries", "3")
    wait_until(lambda: states(head) == ["RUNNING"])
    head.platform.ovhai("job", "stop", jobs_of(head.platform, "make")[0]["id"])
    assert process.wait(60) == 1
    assert states(head) == ["INTERRUPTED"]
    assert "stopped by somebody else" in head.said() and "Start the workflow again" in head.said()


def test_a_job_that_runs_out_of_time(head: Head) -> None:
    """The platform may give this end any of these names. A minute is a second here."""
    head.platform.set(time_scale=60)
    ends: dict[str, list[dict[str, Any]]] = {
        f"{state.lower()}{code}": [{"when": "TIMEOUT", "action": "end", "state": state, "exit_code": code}]
        for state in ("TIMEOUT", "INTERRUPTED", "FAILED")
        for code in (None, 143, 0)
    }
    head.write(make="sleep 60;", snakefile=SNAKEFILE.replace("runtime=10", "runtime=1"))
    run = run_side_by_side(head, ends)
    assert run.returncode == 1, run.stdout
    for words in ("reached its time limit of 1 minute", "Raise the rule's resource runtime"):
        assert run.stdout.count(words) == len(ends), run.stdout
    expected = sorted((scene, end["state"]) for scene, (end,) in ends.items())
    jobs = [(labels(job, "wildcard-scene"), job["status"]["state"]) for job in head.platform.jobs()]
    assert sorted(jobs) == expected, run.stdout
    assert [head.stored(f"results/{scene}/make/numbers.txt") for scene in ends] == [None] * len(ends)


def test_more_time_for_the_next_attempt(head: Head) -> None:
    head.platform.set(time_scale=60)
    snakefile = SNAKEFILE.replace("runtime=10", "runtime=lambda w, attempt: [1, 20][attempt - 1]")
    check_success(head, head.write(make="sleep 4;", snakefile=snakefile).run("--retries", "1"), ["TIMEOUT", "DONE"])
    assert [job["spec"]["timeout"] for job in jobs_of(head.platform, "make")] == [60, 1200]


def test_an_image_that_cannot_be_pulled(head: Head) -> None:
    head.platform.set(images={"tools": {"pull": "fail"}})
    words = [
        "could not use its container image",
        "Error image pull",
        "Check the name of the image",
        "is not tried again",
    ]
    check_failure(head, head.run("--retries", "3"), ["FAILED"], *words)


def test_a_registry_that_does_not_answer_may_do_so_later(head: Head) -> None:
    code = "JOB_REGISTRY_UNAVAILABLE"
    head.platform.fault(when="PENDING", match="rule=make", action="end", state="FAILED", code=code, count=1)
    environment = {**head.environment, "PYTHONPATH": str(Path(impatient.__file__).parent)}
    run = run_snakemake(head.arguments(), head.folder, environment, module="impatient")
    check_success(head, run, ["FAILED", "DONE"])
    failed, done = jobs_of(head.platform, "make")
    end, begin = (datetime.fromisoformat(text) for text in (failed["status"]["finalizedAt"], done["createdAt"]))
    assert (begin - end).total_seconds() >= impatient.PULL_WAIT


def test_an_image_that_is_pulled_for_ever(head: Head) -> None:
    head.platform.set(images={"tools": {"pull": "backoff"}})
    run = head.run("--ovhai-pending-limit", "0.03")
    words = ["was PENDING for more than 0.03 minutes", "Back-off pulling image example/tools:1", "Check the image"]
    check_failure(head, run, ["INTERRUPTED"], *words)


def test_a_job_for_which_no_machine_is_free(head: Head) -> None:
    """The job is stopped, and the next attempt does not take it over while it stops."""
    head.platform.set(delays={"FINALIZING": 1, "INTERRUPTING": 1})
    head.platform.fault(when="QUEUED", match="rule=make", action="stuck", count=1)
    run = head.run("--ovhai-queued-limit", "0.03", "--retries", "1")
    check_success(head, run, ["INTERRUPTED", "DONE"])
    check_words(run, r"was QUEUED for more than 0\.03 minutes", "Choose another flavor")
    assert attempts(head) == ["1", "2"]


def test_a_job_that_was_given_up_stops_though_the_first_order_is_lost(head: Head) -> None:
    """This is the last job of the run, so nothing else keeps the head running."""
    head.platform.fault(when="QUEUED", match="rule=make", action="stuck")
    head.platform.fault(when="job stop", action="fail", count=2)
    run = head.run("--ovhai-queued-limit", "0.03")
    check_failure(head, run, ["INTERRUPTED"], "was QUEUED for more than", "could not be stopped yet")


def test_a_result_that_did_not_reach_the_bucket(head: Head) -> None:
    """The platform says DONE, and it does not tell that the copy failed."""
    head.platform.fault(when="push", match="rule=make", action="fail", keep_state=True, count=1)
    for when in ("job list", "job get"):
        head.platform.fault(when=when, action="drop", fields=["status.dataSync"])
    run = head.run("--retries", "1")
    check_success(head, run, ["DONE", "DONE"])
    check_words(run, "is DONE, but its output s3://.*numbers.txt is not in the bucket")


@pytest.mark.parametrize("arguments", [[], ["--groups", "make=g", "add=g"]], ids=["alone", "in a group"])
def test_what_a_rule_wrote_into_its_own_log_tells_the_cause(head: Head, arguments: list[str]) -> None:
    """This log is only in the bucket. Neither the platform nor Snakemake shows it."""
    head.write(make="echo CUDA out of memory, sadly > {log:q}; echo >> {log:q}; exit 1;")
    run = head.run(*arguments)
    assert run.returncode == 1
    check_words(run, "Cause: The GPU has too little memory", r"The end of its log.*s3://\S+make.log:.*memory, sadly")
    (job,) = head.platform.jobs()
    (log,) = (head.folder / ".snakemake" / "ovhai_logs").rglob("*.log")
    assert log.stem == job["id"] and "CUDA out of memory, sadly" in log.read_text()


def test_a_rules_log_of_an_earlier_attempt_tells_nothing(head: Head) -> None:
    head.write(make="[ $SNAKEMAKE_ATTEMPT = 2 ] || {{ echo old words > {log:q}; exit 1; }}; exit 3;")
    snakefile = head.folder / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("echo working on {wildcards.scene:q} | tee {log:q};", ""))
    run = head.run("--retries", "1", "--ovhai-min-interval", "2")  # the bucket's dates are whole seconds
    check_failure(head, run, ["FAILED", "FAILED"], "old words")
    logs = head.folder / ".snakemake" / "ovhai_logs" / "make" / "a"
    first, second = ((logs / f"{job['id']}.log").read_text() for job in jobs_of(head.platform, "make"))
    assert "old words" in first and "old words" not in second


SIGNATURE = "- {pattern: 'reason of \\w+', cause: A known cause., remedy: Do this., retry: no}\n"


def test_a_users_own_signatures_come_first(head: Head) -> None:
    (head.folder / "mine.yaml").write_text(SIGNATURE)
    head.write(make="echo reason of it; echo CUDA out of memory; exit 1;")
    run = head.run("--ovhai-signatures", "mine.yaml", "--retries", "3")
    check_failure(head, run, ["FAILED"], "Cause: A known cause.", "Remedy: Do this.", "is not tried again")


@pytest.mark.parametrize(
    "text, words",
    [
        (SIGNATURE + "- {pattern: '(', cause: c, remedy: r, retry: no}\n", r"mine.yaml, entry 2: pattern '\('"),
        (
            SIGNATURE.replace("no}", "often}"),
            "mine.yaml, entry 1: retry is 'often'; allowed are yes, no, free, changed",
        ),
        ("pattern: x\n", "mine.yaml: a list of entries is expected"),
        ("- [\n", "signatures mine.yaml: .*line 2"),
        (None, "mine.yaml.*No such file"),
    ],
)
def test_broken_signatures_are_said_before_anything_starts(head: Head, text: str | None, words: str) -> None:
    if text is not None:
        Path(head.folder / "mine.yaml").write_text(text)
    check_failure(head, head.run("--ovhai-signatures", "mine.yaml"), [], words)


def test_the_watching_thread_waits_for_the_rest_of_the_executor(head: Head) -> None:
    """The thread starts before the executor has its settings, and a slow platform keeps it waiting for seconds."""
    head.platform.fault(when="capabilities flavor list", action="slow", seconds=2)
    check_success(head, head.run(), ["DONE"])
