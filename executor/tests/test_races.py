"""Heads die, are restarted elsewhere, or run at the same time. There are never two jobs for the same work."""

import signal
from pathlib import Path

import pytest
from heads import Head, finish, jobs_of, kill, labels, start_and_kill, states
from submission import wait_until


def test_a_restarted_head_goes_on_with_the_running_job(head: Head) -> None:
    head.write(make="sleep 6;")
    start_and_kill(head)
    assert "is already there" in finish(head)
    assert states(head) == ["DONE"]


def test_a_job_that_ended_while_no_head_was_there_is_not_paid_for_again(head: Head) -> None:
    head.write(make="sleep 2;")
    start_and_kill(head)
    wait_until(lambda: states(head) == ["DONE"])
    finish(head)
    assert states(head) == ["DONE"]


def test_another_machine_goes_on_with_the_job(head: Head, tmp_path: Path) -> None:
    """The other machine has a copy of the working folder, or a fresh one."""
    head.write(make="sleep 8;")
    start_and_kill(head)
    copied = head.copy(tmp_path / "copied").start()
    wait_until(lambda: "is already there" in Head(tmp_path / "copied", head.platform, head.s3, head.bucket).said())
    kill(copied)
    fresh = Head(tmp_path / "fresh", head.platform, head.s3, head.bucket).write(make="sleep 8;")
    finish(fresh)
    assert states(head) == ["DONE"] and states(head, "add") == ["DONE"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_lost_reply_does_not_start_a_second_job(head: Head, killed: bool) -> None:
    """killed: the head dies in the middle of the submission and comes back."""
    head.write(make="sleep 3;")
    head.platform.fault(when="job run", match="rule=make", action="lose_reply", text="connection reset", count=1)
    if killed:
        first = head.start()
        wait_until(lambda: head.platform.jobs())
        kill(first)
    said = finish(head)
    assert killed or "was started after all" in said
    assert states(head) == ["DONE"]


def test_the_reply_to_a_short_job_is_lost(head: Head) -> None:
    """The job has ended before the first list."""
    head.platform.fault(when="job run", action="lose_reply", text="connection reset", count=2)
    finish(head)
    assert states(head) == ["DONE"] and states(head, "add") == ["DONE"]


def test_two_heads_converge_on_one_job(head: Head, tmp_path: Path) -> None:
    """The job created first continues, whoever started it."""
    head.write(make="sleep 6;")
    other = Head(tmp_path / "other", head.platform, head.s3, head.bucket).write(make="sleep 6;")
    # Both lists are old when the jobs are submitted.
    head.platform.fault(when="job run", match="rule=make", action="slow", seconds=2, count=2)
    heads = [head.start(), other.start()]
    assert [process.wait(90) for process in heads] == [0, 0], head.said() + other.said()
    assert sorted(states(head)) == ["DONE", "INTERRUPTED"]
    first = min(jobs_of(head.platform, "make"), key=lambda job: job["createdAt"])
    assert first["status"]["state"] == "DONE"
    for folder in (head.folder, other.folder):
        assert (folder / "deliver" / "a.txt").read_text() == "6\n"


def test_work_that_has_changed_replaces_the_running_job(head: Head) -> None:
    head.write(make="sleep 60;")
    start_and_kill(head)
    head.write(make="sleep 1;")
    said = finish(head)
    assert states(head) == ["INTERRUPTED", "DONE"]
    assert "Stopping job" in said


def test_a_forced_rule_runs_again_though_its_last_job_is_done(head: Head) -> None:
    finish(head)
    finish(head, "--forcerun", "make")
    assert states(head) == ["DONE", "DONE"]


def test_a_result_that_has_gone_is_made_again(head: Head) -> None:
    """The platform still shows the old job as DONE."""
    head.write(make="sleep 2;")
    start_and_kill(head)
    wait_until(lambda: states(head) == ["DONE"])
    head.s3.client().delete_object(Bucket=head.bucket, Key="work/results/a/make/numbers.txt")
    finish(head)
    assert states(head) == ["DONE", "DONE"]


def test_ctrl_c_stops_the_jobs_and_waits_for_it(head: Head) -> None:
    head.platform.set(delays={"INTERRUPTING": 1})
    head.write(make="sleep 60;")
    process = head.start("--config", "scenes=a,b")
    wait_until(lambda: states(head) == ["RUNNING"] * 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    assert states(head) == ["INTERRUPTED"] * 2
    assert "All 2 jobs have stopped" in head.said()


def test_ctrl_c_says_what_did_not_stop(head: Head) -> None:
    head.platform.fault(when="job stop", action="ignore")
    head.write(make="sleep 60;")
    process = head.start("--ovhai-stop-limit", "0.05")
    wait_until(lambda: states(head) == ["RUNNING"])
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    (job,) = jobs_of(head.platform, "make")
    assert (
        "has not confirmed that these jobs stopped" in head.said()
        and f"snakemake-ovhai stop {job['id']}" in head.said()
    )


def test_ctrl_c_finds_a_job_whose_reply_was_lost(head: Head) -> None:
    head.platform.fault(when="job run", action="lose_reply", text="connection reset", count=1)
    head.platform.fault(when="job list", action="fail", skip=1, count=3)
    head.write(make="sleep 60;")
    process = head.start()
    wait_until(lambda: states(head) == ["RUNNING"])
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    assert states(head) == ["INTERRUPTED"], head.said()


def test_detach_leaves_the_jobs_to_the_next_run(head: Head) -> None:
    head.write(make="sleep 8;")
    process = head.start("--ovhai-detach")
    wait_until(lambda: states(head) == ["RUNNING"])
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    assert states(head) == ["RUNNING"] and "the next run finds them" in head.said()
    finish(head)
    assert states(head) == ["DONE"]


def test_attempts_carry_no_weight_in_identity(head: Head) -> None:
    """A restarted head counts attempts from one again, and it still recognises the job of the second attempt."""
    head.write(make="[ -e /tmp/never ] || sleep 6;")
    head.platform.fault(when="RUNNING", match="attempt=1", action="end", state="ERROR", count=1)
    first = head.start("--retries", "2")
    wait_until(lambda: states(head) == ["ERROR", "RUNNING"])
    kill(first)
    finish(head)
    assert states(head) == ["ERROR", "DONE"]
    assert [labels(job, "attempt") for job in jobs_of(head.platform, "make")] == ["1", "2"]


def test_what_another_machine_did_meanwhile_is_not_done_again(head: Head, tmp_path: Path) -> None:
    """The head that died comes back. By its old records everything has to be made again."""
    head.write(make="sleep 8;")
    start_and_kill(head)
    finish(Head(tmp_path / "fresh", head.platform, head.s3, head.bucket).write(make="sleep 8;"))
    finish(head)
    assert (states(head), states(head, "add")) == (["DONE"], ["DONE"])


def test_a_job_that_ends_while_a_fresh_folder_plans_is_not_paid_for_again(head: Head, tmp_path: Path) -> None:
    """Snakemake looks for outputs before the executor sees its first list of jobs."""
    head.write(make="sleep 10;")
    start_and_kill(head)
    head.platform.fault(when="job list", action="slow", seconds=14, count=1)
    finish(Head(tmp_path / "fresh", head.platform, head.s3, head.bucket).write(make="sleep 10;"))
    assert states(head) == ["DONE"]


def test_what_another_head_in_the_same_folder_completes_is_not_done_again(head: Head) -> None:
    """Snakemake plans when its records call the outputs incomplete, and says "Forced execution". Then another head
    completes them, and the records name no job any more."""
    head.write(make="sleep 2;")
    start_and_kill(head)
    wait_until(lambda: states(head) == ["DONE"])
    slow = head.platform.fault(when="capabilities flavor list", action="slow", seconds=15, count=1)
    late = head.start()
    wait_until(lambda: head.platform.fired(slow))
    finish(head)
    assert late.wait(90) == 0, head.said()
    assert (states(head), states(head, "add")) == (["DONE"], ["DONE"]), head.said()


def test_jobs_that_nobody_needs_any_more_are_named(head: Head) -> None:
    """A scene is removed from the table while its job waits for a machine."""
    head.platform.fault(when="QUEUED", match="scene=old", action="stuck")
    first = head.start("--config", "scenes=a,old")
    wait_until(lambda: states(head) == ["DONE", "QUEUED"] or states(head) == ["QUEUED", "DONE"])
    kill(first)
    (waiting,) = [job for job in jobs_of(head.platform, "make") if labels(job, "wildcard-scene") == "old"]
    said = finish(head)
    assert "no step of this run needs them" in said
    assert f"make-old ({waiting['id']}, QUEUED)" in said
    again = head.start("--config", "scenes=a,old")
    wait_until(lambda: "is already there" in head.said())
    kill(again)
    assert "no step of this run needs" not in head.said()


def test_what_a_failed_job_left_while_no_head_was_there_is_no_result(head: Head, tmp_path: Path) -> None:
    """The platform loses the machine and still copies half a file. A head in a fresh folder finds it.

    No record describes the file, so it is made again. A user may tell Snakemake to look at dates only.
    """
    head.platform.fault(when="RUNNING", match="rule=make", action="end", state="ERROR", seconds=2, push=True, count=1)
    head.write(make="echo part > {output:q}; sleep 6;")
    start_and_kill(head)
    wait_until(lambda: states(head) == ["ERROR"])
    assert head.stored("results/a/make/numbers.txt") == "part\n"
    fresh = Head(tmp_path / "fresh", head.platform, head.s3, head.bucket).write()
    assert "rule make" in fresh.run("--dry-run").stdout
    run = fresh.run("--rerun-triggers", "mtime")
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert "look complete" in run.stdout and "make/numbers.txt, of job" in run.stdout
    assert head.stored("results/a/make/numbers.txt") is None
    finish(fresh)
    assert states(head) == ["ERROR", "DONE"]
