"""Quotes: expected times, what ended jobs teach, sums, time limits, and what a dry run and a run say."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cli_helpers import Run
from heads import SNAKEFILE, Head, jobs_of, labels, strip_colours

from snakemake_executor_plugin_ovhai import dry_run
from snakemake_executor_plugin_ovhai.bill import Charge, load_charges, write_bill
from snakemake_executor_plugin_ovhai.client import Client
from snakemake_executor_plugin_ovhai.estimate import (
    DOUBT,
    OVERHEAD,
    SHORTEST_LIMIT,
    History,
    Span,
    estimate,
    get_time_limit,
    learn,
    load_speeds,
)
from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.job_spec import Resources
from snakemake_executor_plugin_ovhai.prices import Price, Prices
from snakemake_executor_plugin_ovhai.quote import Planner, add_up, choose_wildcard, describe, group, to_record

PRICES = Prices("EUR", {"ai1-1-gpu": Price(6.0, "2026", "test"), "h100-1-gpu": Price(60.0, "2026", "test")})


def make_charge(useful: int = 100, expected: int = 200, **changes: Any) -> Charge:
    charge = Charge(
        *("r", "job", "w", "train", "scene=a", "ai1-1-gpu"), 1, "1", "DONE", "", "", useful + 60, useful, expected, 6.0,
        1.0, "EUR",
    )  # fmt: skip
    return replace(charge, **changes)


def make_planner(history: History | None = None, factor: float = 4.0) -> Planner:
    return Planner(factor, PRICES, {}, history or History())


def test_without_jobs_the_time_is_what_is_expected_with_doubt() -> None:
    assert estimate(100, "train", "ai1-1-gpu", History()) == Span(100 / DOUBT, 100, 100 * DOUBT)
    assert estimate(100, "train", "unknown", History()).mid == 100
    assert estimate(100, "train", "h100-1-gpu", History()).mid == pytest.approx(100 / load_speeds()["h100-1-gpu"])


def test_ended_jobs_correct_it_and_those_of_the_same_flavor_first() -> None:
    history = learn([make_charge(), make_charge(useful=140), make_charge(useful=120)])
    span = estimate(1000, "train", "ai1-1-gpu", history)
    assert span.mid == 600 and 400 < span.low < 500 + 1e-9 and 700 - 1e-9 < span.high < 800
    other = estimate(1000, "train", "h100-1-gpu", history)
    assert (
        other.mid == pytest.approx(600 / load_speeds()["h100-1-gpu"]) and other.high / other.mid > span.high / span.mid
    )
    assert estimate(1000, "mesh", "ai1-1-gpu", history).mid == 1000  # of another rule nothing is known
    assert history.get_overhead("train") == Span(60, 60, 60) and history.get_overhead("mesh") == Span(*OVERHEAD)


@pytest.mark.parametrize(
    "charge",
    [
        make_charge(useful=0, state="FAILED"),
        make_charge(useful_seconds=None),
        make_charge(billed_seconds=None),
    ],
)
def test_jobs_that_failed_or_are_not_known_teach_nothing(charge: Charge) -> None:
    assert learn([charge]) == History()


def test_a_folder_without_a_bill_learns_from_what_the_platform_still_knows(tmp_path: Any) -> None:
    class Platform:
        def __init__(self) -> None:
            self.asked = 0

        def list_jobs(self) -> list[Job]:
            self.asked += 1
            begin = datetime(2026, 11, 27, tzinfo=UTC)
            times = [begin + timedelta(seconds=second) for second in (0, 60, 460, 470)]
            return [
                Job(f"job-{name}", "DONE", labels={f"snakemake-{key}": value for key, value in labels.items()},
                    flavor="ai1-1-gpu", units=1, pending_at=times[0], started_at=times[1], stopped_at=times[2],
                    finalized_at=times[3])
                for name, labels in (
                    ("ours", {"workflow": "w", "rule": "train", "expected": "200"}),
                    ("other", {"workflow": "v", "rule": "train", "expected": "1"}),
                )
            ]  # fmt: skip

    platform = Platform()
    known = load_charges(tmp_path / "bill.csv", "w", cast(Client, platform), PRICES, {})
    assert learn(known) == History({("train", "ai1-1-gpu"): [2.0]}, {"train": [70.0]})
    write_bill(tmp_path / "bill.csv", [make_charge()])
    assert load_charges(tmp_path / "bill.csv", "w", cast(Client, platform), PRICES, {}) == [make_charge()]
    assert platform.asked == 1


def test_a_job_without_an_expected_time_teaches_its_overhead() -> None:
    history = learn([make_charge(expected_seconds=None)])
    assert not history.ratios and history.get_overhead("train").mid == 60


def test_a_time_limit_comes_from_the_quote_unless_one_is_set() -> None:
    planner = make_planner()
    timed = Resources(1, 1, "ai1-1-gpu", 240, expected=6000)
    assert planner.settle(timed, "train", 2) is timed
    untimed = Resources(1, 1, "ai1-1-gpu", 0, expected=6000, untimed=6000)
    assert [planner.settle(untimed, "train", attempt).runtime for attempt in (1, 2)] == [400, 800]
    assert planner.settle(replace(untimed, expected=0.0), "train", 1).runtime == 400  # a group's other rule has none
    slow = make_planner(learn([make_charge(useful=400)]))
    assert slow.settle(untimed, "train", 1).runtime == 800
    mixed = Resources(1, 1, "ai1-1-gpu", 100, expected=9000, untimed=6000)
    assert planner.settle(mixed, "train", 1).runtime == 500
    assert planner.settle(replace(untimed, untimed=1e9), "train", 1).runtime == 10_080  # the platform takes no more
    assert get_time_limit(Span(1, 1, 1), 4, 1) == SHORTEST_LIMIT


def test_an_item_has_hours_cost_and_what_its_limit_would_cost() -> None:
    item = make_planner().get_item(Resources(2, 1, "ai1-1-gpu", 60, expected=600), "train", {"scene": "a"})
    assert item.seconds == Span(240, 600, 1500) and item.billed == Span(300, 780, 2100)
    assert item.cost == Span(1.0, 2.6, 7.0)  # 2 units of 6 an hour for 5, 13 and 35 minutes
    assert item.most == pytest.approx(2 * 0.1 * 70)
    long = make_planner().get_item(Resources(1, 1, "ai1-1-gpu", 5, expected=600), "train", {})
    assert long.seconds and long.seconds.high == 300  # its time limit ends it


def test_what_is_not_known_is_said_and_not_counted() -> None:
    planner = make_planner()
    items = [
        planner.get_item(Resources(1, 1, "ai1-1-gpu", 60, expected=600), "train", {"scene": "a"}),
        planner.get_item(Resources(1, 1, "ai1-1-gpu", 60), "odd", {"scene": "a"}),
        planner.get_item(Resources(1, 1, "secret-1-gpu", 60, expected=600), "train", {"scene": "b"}),
        planner.get_item(None, "late", {"scene": "b"}),
    ]
    total = add_up(items)
    assert (total.unexpected, total.unpriced) == (2, 2) and total.cost == items[0].cost
    text = describe(items, "EUR")
    assert "scene a: 0.22 (0.08 to 0.58) h of machines, at least 1.30" in text
    assert "scene b: 0.22 (0.08 to 0.58) h of machines, an unknown cost" in text
    assert "If the other jobs ran until their time limits" in text
    assert "Not in it: 2 jobs whose rules have no `expected_seconds` (late, odd)" in text
    assert "the cost of 2 jobs, since a price is not known (not known yet, secret-1-gpu)" in text


def test_sums_are_by_the_wildcard_that_all_jobs_share() -> None:
    needs = Resources(1, 1, "ai1-1-gpu", 60, expected=600)
    items = [
        make_planner().get_item(needs, "train", {"scene": scene, "iteration": str(iteration)})
        for scene in "ab" for iteration in (1, 2, 3)
    ]  # fmt: skip
    items.append(make_planner().get_item(needs, "poses", {"scene": "b"}))
    assert choose_wildcard(items) == "scene" and choose_wildcard([]) == ""
    assert {name: total.jobs for name, total in group(items, "scene").items()} == {"a": 3, "b": 4}
    lines = describe(items, "EUR").splitlines()
    assert lines[0].startswith("Quote: 7 jobs, 1.52 (0.58 to 4.08) h of machines, 9.10 (3.50 to 24.50) EUR")
    assert lines[1].startswith("  scene b: ") and lines[2].startswith("  scene a: ")  # the dearest first
    many = [make_planner().get_item(needs, "train", {"scene": f"s{number}"}) for number in range(1000)]
    assert len(describe(many, "EUR").splitlines()) < 30 and "and 980 more" in describe(many, "EUR")
    json.dumps(to_record(items, "EUR"))


def test_another_version_of_snakemake_gets_no_quote_and_a_word() -> None:
    class Other:
        def __init__(self, plan: object) -> None:
            pass

    assert "takes plan" in dry_run.attach_to(Other) and not hasattr(Other.__init__, "quotes")


# Runs ----------------------------------------------------------------------------------------------------------------

TIMED = SNAKEFILE.replace("        runtime=10,\n", "        expected_seconds=1200,\n", 1).replace(
    "        runtime=10,\n", "        runtime=7, expected_seconds=100,\n"
)


def test_a_dry_run_and_a_run_say_what_they_cost_and_limits_follow(head: Head, run: Run, monkeypatch: Any) -> None:
    head.write(snakefile=TIMED)
    config = ("--config", "scenes=a,b", "--ovhai-bill", "bill.csv")
    dry = head.run(*config, "-n")
    said = strip_colours(dry.stdout)
    assert dry.returncode == 0 and "Quote: 4 jobs" in said and "scene b:" in said, said
    assert "If all jobs ran until their time limits" in said and head.platform.jobs() == []

    monkeypatch.chdir(head.folder)
    code, out, err = run("quote", "--by", "scene", "--", *head.arguments(*config))
    assert code == 0, err
    assert [line.split()[:2] for line in out.splitlines()[:4]] == [
        ["SCENE", "JOBS"],
        ["a", "2"],
        ["b", "2"],
        ["all", "4"],
    ]

    real = head.run(*config)
    assert real.returncode == 0 and strip_colours(real.stdout).count("Quote: 4 jobs") == 1
    limits = {rule: {job["spec"]["timeout"] for job in jobs_of(head.platform, rule)} for rule in ("make", "add")}
    assert limits == {"make": {80 * 60}, "add": {7 * 60}}  # four times 20 minutes; `runtime` as it is set
    assert {labels(job, "expected") for job in jobs_of(head.platform, "make")} == {"1200"}

    again = strip_colours(head.run(*config, "-n", "--forceall").stdout)
    assert "Quote: 4 jobs, 0.0" in again  # jobs of a second have taught that 20 minutes were too much
    assert "nothing is to be done" in run("quote", "--", *head.arguments(*config))[2]
    code, _, err = run("quote", "--", *head.arguments(*config, "nowhere"))
    assert code == 1 and "snakemake cannot plan" in err and "nowhere" in err
