"""The bill: what is counted of a job, the file, its sums, and a run that writes it."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import Run
from heads import Head, strip_colours

from snakemake_executor_plugin_ovhai.bill import (
    Bill,
    BillError,
    add_up,
    count_billed_seconds,
    make_charge,
    merge,
    read_bill,
    write_bill,
)
from snakemake_executor_plugin_ovhai.flavors import Flavor
from snakemake_executor_plugin_ovhai.job import Job, read_job
from snakemake_executor_plugin_ovhai.notices import Notices
from snakemake_executor_plugin_ovhai.prices import Price, Prices

START = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
NOW = START + timedelta(minutes=10)
PRICES = Prices("EUR", {"one": Price(6.0, "2026", "test"), "four": Price(24.0, "2026", "test")})
FLAVORS = {"one": Flavor("one", "gpu", 4, 13, None), "four": Flavor("four", "gpu", 1, 100, None, gpus=4)}


def make_job(*states: tuple[str, float], gpu: int = 1, flavor: str = "one", **changes: Any) -> Job:
    """states: name and second at which the job came into it."""
    history = [{"state": state, "date": show(second)} for state, second in states]
    times = dict(states)
    last, end = states[-1]
    status = {
        "state": last,
        "history": history,
        "lastTransitionDate": show(end),
        "startedAt": show(times["RUNNING"]) if "RUNNING" in times else None,
        "stoppedAt": show(times["FINALIZING"]) if "FINALIZING" in times and "RUNNING" in times else None,
        "finalizedAt": show(end) if last in ("DONE", "FAILED", "INTERRUPTED") else None,
        "exitCode": {"DONE": 0, "FAILED": 1}.get(last),
        **changes,
    }
    labels = {
        "snakemake-workflow": "w",
        "snakemake-rule": "frames-poses",
        "snakemake-wildcard-scene": "a",
        "snakemake-wildcard-iteration": "500",
        "snakemake-attempt": "2",
        "snakemake-run": "r1",
    }
    spec = {"labels": labels, "resources": {"gpu": gpu, "cpu": 13, "flavor": flavor}, "timeout": 600}
    job = read_job({"id": f"job-{last}-{flavor}", "createdAt": show(0), "spec": spec, "status": status})
    assert job
    return job


def show(second: float) -> str:
    return (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


WAYS = [("QUEUED", 0), ("INITIALIZING", 10), ("PENDING", 100), ("RUNNING", 160), ("FINALIZING", 220)]


@pytest.mark.parametrize(
    ("states", "billed", "useful"),
    [
        ([*WAYS, ("DONE", 231)], 131, 60),
        ([*WAYS, ("FAILED", 231)], 131, 0),  # money without use
        (WAYS, 500, None),  # it lives: up to now
        (WAYS[:4], 500, None),
        (WAYS[:2], 0, None),  # the image is not being pulled yet
        ([*WAYS[:2], ("INTERRUPTED", 50)], 0, 0),
        ([*WAYS[:3], ("INTERRUPTING", 130), ("FINALIZING", 135), ("INTERRUPTED", 150)], 50, 0),
        ([*WAYS[:4], ("TIMEOUT", 760), ("FINALIZING", 770), ("FAILED", 780)], 680, 0),
    ],
)
def test_what_is_billed_begins_with_pending_and_ends_with_finalizing(
    states: list[tuple[str, float]], billed: int, useful: int | None
) -> None:
    charge = make_charge(make_job(*states), PRICES, FLAVORS, NOW)
    assert (charge.billed_seconds, charge.useful_seconds) == (billed, useful)
    assert charge.cost == round(math.ceil(billed / 60) * 0.1, 4)
    assert bool(charge.ended) == (states[-1][0] in ("DONE", "FAILED", "INTERRUPTED"))


def test_a_row_says_what_the_job_was() -> None:
    charge = make_charge(make_job(*WAYS, ("DONE", 231)), PRICES, FLAVORS, NOW)
    assert (charge.run, charge.rules, charge.wildcards) == ("r1", "frames poses", "iteration=500 scene=a")
    assert (charge.attempt, charge.state, charge.flavor, charge.units) == ("2", "DONE", "one", 1)
    assert (charge.started, charge.ended) == ("2026-11-27T12:01:40Z", "2026-11-27T12:03:51Z")
    assert (charge.price_per_hour, charge.cost, charge.currency) == (6.0, 0.3, "EUR")


def test_a_unit_of_four_gpus_is_paid_once() -> None:
    charge = make_charge(make_job(*WAYS, ("DONE", 231), gpu=4, flavor="four"), PRICES, FLAVORS, NOW)
    assert (charge.units, charge.price_per_hour) == (1, 24.0)


@pytest.mark.parametrize(
    ("state", "code", "message", "lost"),
    [
        ("ERROR", "", "node lost", 1),
        ("INTERRUPTED", "JOB_EVICTED", "", 1),
        ("FAILED", "JOB_EVICTED", "ephemeral storage exceeds the limit", None),  # the job's own fault
        ("INTERRUPTED", "JOB_INTERRUPTED_BY_PLATFORM", "maintenance", 1),
        ("INTERRUPTED", "", "", None),
        ("FAILED", "", "", None),
        ("DONE", "", "", None),
    ],
)
def test_lost_machines_and_restarts_are_counted(state: str, code: str, message: str, lost: int | None) -> None:
    job = make_job(*WAYS, (state, 231), info={"code": code, "message": message})
    charge = make_charge(job, PRICES, FLAVORS, NOW)
    assert charge.lost == lost
    again = replace(charge, job="again", lost=None)
    elsewhere = [replace(again, job="b", wildcards="scene=b"), replace(again, job="c", run="later")]
    total = add_up([charge, again, *elsewhere])
    assert (total.restarts, total.lost) == (1, lost or 0)
    assert total.text.endswith(f", 1 restarts, {lost or 0} lost machines") and "restarts" not in add_up([again]).text


def test_a_job_that_the_platform_forgets_is_a_lost_machine(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    bill = Bill(path, "w", PRICES, FLAVORS, Notices(Said()))
    job = make_job(*WAYS[:4])
    bill.update([job])
    bill.update([])
    bill.note_loss(job.id)
    bill.note_loss("never seen")
    assert [charge.lost for charge in read_bill(path)] == [1]
    path.write_text(path.read_text().replace(",lost\n", "\n").replace(",1\n", "\n"))
    assert [charge.lost for charge in read_bill(path)] == [None]  # a bill of an earlier version


def test_an_unknown_price_is_not_0() -> None:
    job = make_job(*WAYS, ("DONE", 231), flavor="other")
    charge = make_charge(job, PRICES, FLAVORS, NOW)
    assert charge.cost is charge.price_per_hour is None and not charge.currency and not charge.final
    known = make_charge(make_job(*WAYS, ("DONE", 231)), PRICES, FLAVORS, NOW)
    assert add_up([charge]).text.endswith("an unknown cost")
    assert "at least 0.30 EUR without VAT (the cost of 1 is unknown)" in add_up([charge, known]).text


def test_two_currencies_are_never_added() -> None:
    euros = make_charge(make_job(*WAYS, ("DONE", 231)), PRICES, FLAVORS, NOW)
    dollars = replace(euros, job="later", currency="USD", cost=5.0)
    total = add_up([euros, dollars])
    assert (total.cost, total.currency, total.unknown) == (5.0, "USD", 1)


def test_times_that_the_platform_does_not_tell_are_not_known() -> None:
    job = make_job(*WAYS, ("DONE", 231), history=None, finalizedAt=None, lastTransitionDate=None, stoppedAt=None)
    assert count_billed_seconds(job, NOW) is None and make_charge(job, PRICES, FLAVORS, NOW).cost is None
    job = make_job(*WAYS, ("DONE", 231), history=None)
    assert count_billed_seconds(job, NOW) == 71  # from startedAt


def test_a_bill_is_read_back_and_what_is_paid_stays_paid(tmp_path: Path) -> None:
    old = make_charge(make_job(*WAYS, ("DONE", 231)), PRICES, FLAVORS, NOW)
    live = make_charge(make_job(*WAYS, flavor="four"), PRICES, FLAVORS, NOW)
    write_bill(tmp_path / "deliver" / "bill.csv", [live, old])
    known = read_bill(tmp_path / "deliver" / "bill.csv")
    assert known == [live, old] or known == [old, live]
    dearer = Prices("EUR", {name: Price(price.hour * 9, "2027", "") for name, price in PRICES.flavors.items()})
    new = [make_charge(make_job(*WAYS, ("DONE", 231), flavor=name), dearer, FLAVORS, NOW) for name in ("one", "other")]
    charges = merge(known, new)
    assert charges[old.job] == known[known.index(old)]  # at the price of its day
    assert set(charges) == {old.job, live.job, "job-DONE-other"}  # a job that the platform has forgotten stays


@pytest.mark.parametrize("text", ["scene,video\na,b\n", "job\n1\n", "\x00", "just text"])
def test_no_other_file_is_replaced_by_a_bill(tmp_path: Path, text: str) -> None:
    (tmp_path / "scenes.tsv").write_text(text)
    with pytest.raises(BillError, match="no bill"):
        Bill(tmp_path / "scenes.tsv", "w", PRICES, FLAVORS, Notices(Said()))
    assert (tmp_path / "scenes.tsv").read_text() == text


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, extra: Any = None) -> None:
        self.lines.append(message)

    warning = info


def test_a_bill_follows_its_jobs_and_never_ends_a_run(tmp_path: Path) -> None:
    said = Said()
    path = tmp_path / "bill.csv"
    bill = Bill(path, "w", PRICES, FLAVORS, Notices(said))
    bill.update([make_job(*WAYS[:4])])
    assert [charge.state for charge in read_bill(path)] == ["RUNNING"] and bill.live
    path.unlink()
    bill.update([make_job(*WAYS[:4])])
    assert not path.exists()  # nothing has changed
    path.mkdir()
    bill.update([make_job(*WAYS)])
    assert "cannot be written now" in said.lines[0]
    path.rmdir()
    bill.update([make_job(*WAYS)])
    assert {charge.state for charge in read_bill(path)} == {"RUNNING", "FINALIZING"}
    assert "2 jobs" in bill.describe_run("r1") and bill.describe_run("r2") == ""


def test_two_workflows_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    mine, other = (Bill(path, name, PRICES, FLAVORS, Notices(Said())) for name in ("w", "v"))
    job = make_job(*WAYS, ("DONE", 231))
    theirs = Job("other", "DONE", labels={"snakemake-workflow": "v"})
    for bill in (mine, other):
        bill.update([job, theirs])
    assert {charge.job for charge in read_bill(path)} == {job.id, "other"}


def test_the_command_adds_up(run: Run, tmp_path: Path) -> None:
    charges = [make_charge(make_job(*WAYS, ("DONE", 231), flavor=name), PRICES, FLAVORS, NOW) for name in ("one", "x")]
    path = tmp_path / "bill.csv"
    write_bill(path, charges)
    code, out, _ = run("bill", str(path), "--by", "scene")
    assert (
        code == 0
        and out.splitlines()[1].split()[:4] == ["a", "2", "4.4", "min"]
        and "2.0 min  1         0     at least 0.30 EUR" in out
    )
    assert json.loads(run("bill", str(path), "--json")[1])["r1"]["unknown"] == 1
    assert "no job has a wildcard 'nothing'" in run("bill", str(path), "--by", "nothing")[2]
    assert run("bill", str(tmp_path / "none.csv"))[0] == 1


# A run ---------------------------------------------------------------------------------------------------------------


def test_a_run_writes_what_the_platform_would_bill(head: Head) -> None:
    """One job fails once, its machine is lost once, and it is tried again; each attempt is paid."""
    head.platform.set(delays={"PENDING": 0.3, "FINALIZING": 0.2})
    head.platform.fault(when="RUNNING", action="end", state="ERROR", match="attempt=1")
    head.write(make="[ $SNAKEMAKE_ATTEMPT -gt 2 ] || exit 3;")
    run = head.run("--retries", "2", "--ovhai-bill", "deliver/bill.csv")
    said = strip_colours(run.stdout)
    assert run.returncode == 0, said
    charges = {charge.job: charge for charge in read_bill(head.folder / "deliver" / "bill.csv")}
    # Two attempts may be sent within one second, so their order in the bill is open.
    assert sorted(charge.state for charge in charges.values()) == ["DONE", "DONE", "ERROR", "ERROR", "FAILED"]
    assert "Jobs that were started again: 3. Machines that were lost: 2." in said
    for job in head.platform.jobs():
        charge, invoice = charges[job["id"]], head.platform.billed(job["id"])
        assert (charge.flavor, charge.units) == (invoice["flavor"], invoice["units"])
        assert charge.billed_seconds == math.ceil(invoice["seconds"]) > 0
        assert charge.cost and charge.ended and charge.wildcards == "scene=a"
    total = add_up(charges.values())
    assert f"This run so far: {total.text}. Bill: deliver/bill.csv" in said
    assert len({charge.run for charge in charges.values()}) == 1
