"""The limits of money: which jobs are submitted, wait or are refused."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from heads import SNAKEFILE, Head, jobs_of, strip_colours
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_ovhai.bill import add_up, read_bill
from snakemake_executor_plugin_ovhai.budget import FINALIZING, Budget, Limits, Load, check_limits, judge
from snakemake_executor_plugin_ovhai.flavors import Flavor
from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.job_spec import JobSpec, Resources
from snakemake_executor_plugin_ovhai.notices import Notices
from snakemake_executor_plugin_ovhai.prices import Price, Prices
from snakemake_executor_plugin_ovhai.task import Task

FLAVORS = {
    "one": Flavor("one", "gpu", 4, 13, None, default=True),
    "four": Flavor("four", "gpu", 1, 100, None, gpus=4),
    "secret": Flavor("secret", "gpu", 4, 13, None),
}
# One a minute for a unit, and four.
PRICES = Prices("EUR", {"one": Price(60.0, "2026", "test"), "four": Price(240.0, "2026", "test")})
PULL = 120.0  # seconds
EXTRA = (PULL + FINALIZING) / 60  # minutes beside the time limit


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, extra: Any = None) -> None:
        self.lines.append(message)

    warning = info


def make_budget(**limits: float) -> tuple[Budget, list[str]]:
    said = Said()
    return Budget(Limits(**limits), PRICES, FLAVORS, "run-1", PULL, Notices(said)), said.lines


def make_task(flavor: str = "one", units: int = 1, runtime: int = 10, **changes: Any) -> Task:
    resources = Resources(units, 1, flavor, runtime)
    empty: tuple[()] = ()
    spec = JobSpec("train", {"scene": "a"}, 1, "", "", [], resources, empty, empty, empty, empty, empty)
    return Task(spec, None, **changes)


def make_live_job(name: str, minutes: float = 0, state: str = "RUNNING", run: str = "run-1", **changes: Any) -> Job:
    """A job that has pulled its image for a minute, and has run for some minutes."""
    begin = datetime.now(UTC) - timedelta(minutes=minutes + 1, seconds=-5)
    times = {"pending_at": begin, "started_at": begin + timedelta(minutes=1)}
    labels = {"snakemake-run": run, "snakemake-submission": f"mark-{name}"}
    return Job(name, state, labels=labels, **{"flavor": "one", "units": 1, "timeout": 600, **times, **changes})


@pytest.mark.parametrize(
    ("new", "present", "limits", "action", "words"),
    [
        (Load(0, 9, 9), Load(9, 99, 99), Limits(), "submit", ""),
        (Load(0, 2, 1), Load(3, 8, 1), Limits(cost=10), "submit", ""),
        (Load(0, 2.1, 1), Load(3, 8, 1), Limits(cost=10), "wait", "may cost 5.00 EUR more"),
        (Load(0, 7.1, 1), Load(3, 3, 0), Limits(cost=10), "refuse", "may cost 7.10 EUR until its time limit"),
        (Load(0, 7.1, 1), Load(3, 8, 1), Limits(cost=10), "refuse", "this run has cost 3.00"),
        (Load(0, None, None), Load(), Limits(cost=10), "refuse", "price of its flavor is not known"),
        (Load(0, 1, 1), Load(None, None, 1), Limits(cost=10), "refuse", "the flavor of a job of this run"),
        (Load(0, 9, 2), Load(0, 0, 3), Limits(hour=5), "submit", ""),
        (Load(0, 9, 2), Load(0, 0, 4), Limits(hour=5), "wait", "cost 4.00 EUR an hour"),
        (
            Load(0, 9, 6),
            Load(0, 0, 0),
            Limits(hour=5),
            "refuse",
            "6.00 EUR an hour, but --ovhai-max-price-per-hour is 5",
        ),
        (Load(0, 9, None), Load(), Limits(hour=5), "refuse", "--ovhai-max-price-per-hour cannot be kept"),
        (Load(0, 1, 2), Load(0, 0, 4), Limits(cost=100, hour=5), "wait", "an hour"),
        (Load(0, 1, 2), Load(0, 0, 0), Limits(cost=0, hour=5), "refuse", "--ovhai-max-cost is 0"),
    ],
)
def test_judge(new: Load, present: Load, limits: Limits, action: str, words: str) -> None:
    verdict = judge(new, present, limits, "EUR")
    assert verdict.action == action and words in verdict.text


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_limit_is_an_amount(value: float) -> None:
    with pytest.raises(ValueError, match="--ovhai-max-cost is"):
        check_limits(Limits(cost=value))
    with pytest.raises(ValueError, match="--ovhai-max-price-per-hour is"):
        check_limits(Limits(hour=value))
    check_limits(Limits(0.0, 0.0))


def test_a_new_job_counts_until_its_limit_with_pull_and_end() -> None:
    budget, _ = make_budget(cost=1)
    assert budget.get_new_load(Resources(2, 1, "one", 10)) == Load(0.0, 2 * (10 + EXTRA), 120.0)
    assert budget.get_new_load(Resources(1, 1, "four", 10)) == Load(0.0, 4 * (10 + EXTRA), 240.0)
    assert budget.get_new_load(Resources(1, 1, "", 10)).hour == 60.0  # the platform's default flavor
    assert budget.get_new_load(Resources(1, 1, "secret", 10)).most is None


def test_a_live_job_counts_what_it_has_cost_and_until_its_limit() -> None:
    budget, _ = make_budget(cost=1)
    now = datetime.now(UTC)
    load = budget.get_load(make_live_job("x", minutes=3), now)
    assert load == Load(4.0, 1 + 10 + FINALIZING / 60, 60.0)
    load = budget.get_load(make_live_job("x", started_at=None, pending_at=None, state="QUEUED"), now)
    assert load == Load(0.0, 10 + EXTRA, 60.0)
    load = budget.get_load(make_live_job("x", minutes=3, state="DONE", finalized_at=now), now)
    assert load == Load(4.0, 4.0, 0.0)
    load = budget.get_load(make_live_job("x", minutes=99, state="INTERRUPTING"), now)
    assert load.spent == load.most == 100.0
    assert budget.get_load(replace(make_live_job("x"), flavor="secret"), now).most is None


def test_jobs_of_other_runs_count_only_if_this_run_watches_them() -> None:
    budget, _ = make_budget(cost=1)
    mine, other, taken = make_live_job("a"), make_live_job("b", run="run-2"), make_live_job("c", run="run-2")
    watching = make_task(job_id="c")
    assert budget.get_present_load([watching], [mine, other, taken]).hour == 120.0
    done = replace(taken, state="DONE", finalized_at=datetime.now(UTC))
    assert budget.get_present_load([], [mine, other, done]).hour == 60.0
    assert budget.get_present_load([], [mine, other, done]).spent == 1.0 + 1.0  # it stays this run's


def test_a_submission_that_no_list_shows_yet_counts() -> None:
    budget, _ = make_budget(cost=1)
    tasks = [make_task(job_id="new"), make_task(submission="mark-lost"), make_task(submission="mark-a"), make_task()]
    assert budget.get_present_load(tasks, [make_live_job("a")]).hour == 3 * 60.0


def test_a_job_whose_time_limit_the_platform_does_not_show_counts_with_the_one_that_was_asked_for() -> None:
    budget, _ = make_budget(cost=1)
    job = make_live_job("x", timeout=0)
    watching = make_task(job_id="x", runtime=20)
    assert budget.get_present_load([watching], [job]).most == 1 + 20 + FINALIZING / 60
    assert budget.get_load(job, datetime.now(UTC)).most == 1 + 10_080 + FINALIZING / 60  # the platform's longest run


def test_money_that_was_spent_does_not_vanish_with_a_record() -> None:
    budget, _ = make_budget(cost=1)
    done = make_live_job("a", minutes=3, state="DONE", finalized_at=datetime.now(UTC))
    live = make_live_job("b")
    budget.note([], [done, live])
    assert budget.get_present_load([], []).spent == 4.0 + (1 + 10 + FINALIZING / 60)
    watching = make_task(job_id="b")
    assert budget.get_present_load([watching], [done]).hour == 60.0  # a list that lacks it does not free the place


def test_jobs_that_are_ready_at_once_do_not_pass_the_limit_together() -> None:
    each = 10 + EXTRA
    budget, said = make_budget(cost=2.5 * each)
    ready = [make_task() for _ in range(4)]
    admitted, refused = budget.admit(ready, ready, [])
    assert admitted == ready[:2] and refused == []
    assert len(said) == 1 and "Jobs wait" in said[0] and "--ovhai-max-cost" in said[0]
    admitted, refused = budget.admit([make_task(runtime=60)] * 3, [], [])
    assert admitted == [] and len(refused) == 3 and all(result.failure for result in refused)
    assert [result.failure.retry for result in refused if result.failure] == ["no"] * 3
    assert len(said) == 2 and "Jobs that were submitted before go on" in said[1]  # once for all of them


def test_without_limits_nothing_is_looked_at() -> None:
    budget, _ = make_budget()
    ready = [make_task("secret")]
    assert budget.admit(ready, ready, []) == (ready, []) and budget.find_problems(Resources(1, 1, "secret", 9)) == []


@given(
    st.floats(0, 500),
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 4), st.floats(0, 1)), max_size=12),
)
def test_whatever_the_jobs_do_the_limit_holds(limit: float, plans: list[tuple[int, int, float]]) -> None:
    """plans: time limit in minutes, units, and the share of the limit that the job uses. Up to three live at a time."""
    budget, _ = make_budget(cost=limit)
    waiting = [(make_task(runtime=runtime, units=units), share) for runtime, units, share in plans]
    live: list[tuple[Load, float]] = []
    spent = 0.0
    for _ in itertools.count():
        present = sum((load for load, _ in live), Load(spent, spent, 0.0))
        for task, share in list(waiting):
            new = budget.get_new_load(task.spec.resources)
            verdict = judge(new, present, budget.limits, "EUR")
            if verdict.action == "submit" and len(live) < 3:
                live.append((new, share))
                present += new
            if verdict.action == "refuse" or (live and live[-1][0] is new):
                waiting.remove((task, share))
        if not live:
            break
        load, share = live.pop(0)
        assert load.most
        spent += load.most * share
    assert not waiting and spent <= limit + 1e-9


# Runs ----------------------------------------------------------------------------------------------------------------


# A workflow that reads the events in the log.
TELL = """
import logging

class Events(logging.Handler):
    def emit(self, record):
        if hasattr(record, "notification"):
            with open("events", "a") as file:
                file.write(f"{record.notification} {record.getMessage()}\\n")

onstart:
    logger.addHandler(Events())
"""


def write_prices(head: Head) -> str:
    """One an hour and CPU, so that a job of rule make with two of them costs 32 until its limit. GPUs cost little."""
    path = head.folder / "prices.yaml"
    path.write_text("currency: EUR\nflavors:\n  ai1-1-cpu: 60\n  ai1-1-gpu: 0.6\n")
    return path.name


def test_a_run_stops_at_its_limit_and_what_is_under_way_ends_well(head: Head) -> None:
    head.write(make="sleep 2;", snakefile=SNAKEFILE + TELL)
    limits = ("--ovhai-max-cost", "33", "--ovhai-pending-limit", "1", "--ovhai-prices", write_prices(head))
    run = head.run(*limits, "--ovhai-bill", "bill.csv", "--retries", "2", "--config", "scenes=a,b")
    said = strip_colours(run.stdout)
    assert run.returncode != 0 and "Traceback" not in said
    made = [path.name for path in (head.folder / "deliver").iterdir()]
    assert len(made) == 1 and len(jobs_of(head.platform, "make")) == 1  # the other scene's was never submitted
    assert [job["status"]["state"] for job in head.platform.jobs()] == ["DONE", "DONE"]
    assert said.count("cannot be submitted: it may cost 32.00 EUR until its time limit, and this run has cost 2.0") >= 1
    assert said.count("Jobs that were submitted before go on") == 1
    event, text = (head.folder / "events").read_text().splitlines()[0].split(" ", 1)
    assert event == "cap_reached" and "may cost 32.00 EUR" in text  # what a workflow can send on
    charges = read_bill(head.folder / "bill.csv")
    assert 0 < add_up(charges).cost < 33


def test_jobs_wait_for_their_turn_under_a_limit_an_hour(head: Head) -> None:
    head.write(make="sleep 1;")
    limits = ("--ovhai-max-price-per-hour", "125", "--ovhai-prices", write_prices(head))
    run = head.run(*limits, "--config", "scenes=a,b")
    said = strip_colours(run.stdout)
    assert run.returncode == 0, said
    assert said.count("Jobs wait, since the jobs that live cost 120.00 EUR an hour (--ovhai-max-price-per-hour)") == 1
    first, second = jobs_of(head.platform, "make")
    assert second["createdAt"] > first["status"]["finalizedAt"]


def test_what_can_never_be_paid_is_refused_before_anything_is_submitted(head: Head) -> None:
    run = head.run("--ovhai-max-cost", "31", "--ovhai-pending-limit", "1", "--ovhai-prices", write_prices(head))
    said = strip_colours(run.stdout)
    assert run.returncode != 0 and head.platform.jobs() == []
    assert "Nothing was submitted" in said and "rule make: it may cost 32.00 EUR until its time limit" in said


def test_an_unknown_price_ends_a_run_with_a_limit(head: Head) -> None:
    file: Path = head.folder / "prices.yaml"
    file.write_text("currency: USD\nflavors:\n  ai1-1-cpu: 1\n")
    run = head.run("--ovhai-max-price-per-hour", "100", "--ovhai-prices", file.name)
    said = strip_colours(run.stdout)
    assert run.returncode != 0 and head.platform.jobs() == []
    assert "rule add: the price of its flavor is not known" in said and "snakemake-ovhai prices" in said
    assert "rule make" not in said.partition("Nothing was submitted")[2]
