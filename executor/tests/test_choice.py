"""`flavor: auto`: which machine is chosen, what is said, and a run that goes up after a failure."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import Run
from heads import SNAKEFILE, Head, jobs_of, strip_colours
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_ovhai.choice import choose
from snakemake_executor_plugin_ovhai.estimate import History
from snakemake_executor_plugin_ovhai.flavors import Flavor
from snakemake_executor_plugin_ovhai.job_spec import Resources, SubmissionError
from snakemake_executor_plugin_ovhai.prices import Price, Prices

GB = 10**9
FLAVORS = {
    "ai1-1-cpu": Flavor("ai1-1-cpu", "cpu", 12, 1, 4 * GB),
    "ai1-1-gpu": Flavor("ai1-1-gpu", "gpu", 4, 13, 40 * GB, gpu_memory=34 * GB),
    "l4-1-gpu": Flavor("l4-1-gpu", "gpu", 4, 20, 80 * GB, gpu_memory=24 * GB),
    "l40s-1-gpu": Flavor("l40s-1-gpu", "gpu", 4, 13, 80 * GB, gpu_memory=48 * GB),
    "a100-1-gpu": Flavor("a100-1-gpu", "gpu", 2, 13, 160 * GB, gpu_memory=80 * GB),
    "h100-1-gpu": Flavor("h100-1-gpu", "gpu", 4, 28, 350 * GB, gpu_memory=80 * GB),
    "h200-4-gpu": Flavor("h200-4-gpu", "gpu", 1, 120, 1400 * GB, gpus=4, gpu_memory=141 * GB),
}
HOURS = {
    "ai1-1-cpu": 0.03,
    "ai1-1-gpu": 1.93,
    "l4-1-gpu": 0.75,
    "l40s-1-gpu": 1.4,
    "h100-1-gpu": 3.1,
    "h200-4-gpu": 14.0,
}
PRICES = Prices("EUR", {name: Price(hour, "2026", "test") for name, hour in HOURS.items()})
NEEDS = Resources(1, 8, "auto", 0, expected=3600, untimed=3600, gpu_memory=6)


def pick(needs: Resources = NEEDS, attempt: int = 1, prices: Prices = PRICES, **changes: Any) -> tuple[str, str]:
    known = {"flavors": FLAVORS, "quota": {}, "history": History(), **changes}
    return choose(needs, "train", attempt, known["flavors"], known["quota"], prices, known["history"])


@pytest.mark.parametrize(
    ("changes", "attempt", "expected"),
    [
        ({}, 1, "l40s-1-gpu"),  # twice as fast as a V100S, for less
        ({"expected": 0.0, "untimed": 0.0}, 1, "l4-1-gpu"),  # the cheapest an hour
        ({"gpu_memory": 49}, 1, "h100-1-gpu"),
        ({"gpu_memory": 81}, 1, "h200-4-gpu"),
        ({}, 2, "h100-1-gpu"),
        ({}, 3, "h200-4-gpu"),
        ({}, 9, "h200-4-gpu"),  # there is no larger one
        ({"gpu": 2}, 1, "l40s-1-gpu"),
        ({"gpu": 4, "memory_mb": 400_000}, 1, "h100-1-gpu"),
        ({"memory_mb": 1_000_000}, 1, "h200-4-gpu"),
        ({"gpu": 0, "cpu": 12}, 1, "ai1-1-cpu"),
        ({"runtime": 27, "untimed": 0.0, "expected": 3600.0}, 1, "h100-1-gpu"),  # a slower one would not end in time
    ],
)
def test_the_cheapest_that_fits(changes: dict[str, Any], attempt: int, expected: str) -> None:
    flavor, why = pick(replace(NEEDS, **changes), attempt)
    assert flavor == expected and why.startswith(f"{flavor} for ") and "EUR" in why


def test_what_is_said_names_needs_cost_and_the_next_ones() -> None:
    _, why = pick(replace(NEEDS, gpu_memory=24))
    assert why.startswith("l40s-1-gpu for 24 GB of GPU memory, 1 units with GPUs: 0.75 EUR expected for the job; ")
    assert "l4-1-gpu 1.1" in why and "h100-1-gpu 1.5" in why
    assert why.endswith("not compared, since their price is unknown: a100-1-gpu")
    assert "more GPU memory as this is attempt 2" in pick(attempt=2)[1]


def test_what_jobs_took_counts_more_than_a_guess() -> None:
    history = History({("train", "l40s-1-gpu"): [9.0], ("train", "l4-1-gpu"): [0.5]})
    assert pick(history=history)[0] == "l4-1-gpu"


@pytest.mark.parametrize(
    ("changes", "known", "words"),
    [
        ({"gpu_memory": 200}, {}, "no flavor of this region fits 200 GB of GPU memory"),
        ({"gpu": 9}, {}, "no flavor of this region fits 6 GB of GPU memory, 9 units"),
        ({"cpu": 13, "gpu": 0}, {}, "no flavor of this region fits 13 CPUs"),
        ({}, {"quota": {"gpu": 0}}, "no flavor of this region fits"),
        ({}, {"flavors": {}}, "does not tell its flavors now"),
        ({}, {"prices": Prices("EUR", {})}, "no price is known of those that fit (a100-1-gpu, ai1-1-gpu"),
        ({"runtime": 1, "untimed": 0.0}, {}, "1 minutes"),
    ],
)
def test_why_none_can_be_chosen(changes: dict[str, Any], known: dict[str, Any], words: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        pick(replace(NEEDS, **changes), **known)
    assert words in str(caught.value)


def test_four_gpus_of_a_unit_count_against_the_quota() -> None:
    with pytest.raises(SubmissionError):
        pick(replace(NEEDS, gpu_memory=100), quota={"gpu": 3})
    assert pick(replace(NEEDS, gpu_memory=100), quota={"gpu": 4})[0] == "h200-4-gpu"


@given(st.floats(0, 150), st.integers(1, 4), st.integers(1, 4), st.floats(0, 1e5))
def test_what_is_chosen_fits_and_no_attempt_gets_less(memory: float, units: int, attempt: int, expected: float) -> None:
    needs = replace(NEEDS, gpu_memory=memory, gpu=units, expected=expected, untimed=expected)
    try:
        flavor, _ = pick(needs, attempt)
    except SubmissionError:
        return
    known = FLAVORS[flavor]
    assert known.gpu_memory and known.gpu_memory >= memory * GB and known.max and units <= known.max
    before = FLAVORS[pick(needs, attempt - 1)[0]] if attempt > 1 else known
    assert before.gpu_memory and known.gpu_memory >= before.gpu_memory


# Runs ----------------------------------------------------------------------------------------------------------------

AUTO = SNAKEFILE.replace('flavor="ai1-1-gpu",', 'flavor="auto", gpu_mem_gb=20,')
SIGNATURES = "- pattern: 'CUDA out of memory'\n  cause: no memory\n  remedy: more\n  retry: changed\n"


def test_a_run_chooses_says_why_and_goes_up_after_running_out_of_memory(head: Head) -> None:
    head.write(snakefile=AUTO, add="[ $SNAKEMAKE_ATTEMPT -gt 1 ] || {{ echo CUDA out of memory; exit 1; }};")
    Path(head.folder / "known.yaml").write_text(SIGNATURES)
    run = head.run("--retries", "2", "--ovhai-signatures", "known.yaml")
    said = strip_colours(run.stdout)
    assert run.returncode == 0, said
    flavors = [job["spec"]["resources"]["flavor"] for job in jobs_of(head.platform, "add")]
    assert flavors == ["l4-1-gpu", "l40s-1-gpu"]
    assert "flavor l4-1-gpu for 20 GB of GPU memory, 1 units with GPUs, 10 minutes: 0.75 EUR an hour" in said
    assert "with more GPU memory as this is attempt 2" in said


def test_what_no_machine_can_do_is_refused_before_the_first_submission(head: Head) -> None:
    head.write(snakefile=AUTO.replace("gpu_mem_gb=20", "gpu_mem_gb=999"))
    run = head.run()
    assert run.returncode != 0 and head.platform.jobs() == []
    assert "rule add: its flavor is auto, but no flavor of this region fits 999 GB" in strip_colours(run.stdout)


def test_the_doctor_shows_the_table(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    _, out, _ = run("doctor", "--flavor", "auto")
    l4 = "GPU with 26 GB, 20 CPUs and 86 GB a unit, up to 4 units; 0.75 EUR an hour, 0.7 times as fast as a V100S"
    assert f"ok    flavor l4-1-gpu: {l4}\n" in out
    assert "flavor h200-4-gpu: 4 GPUs with 151 GB each" in out and "price unknown" in out
    assert "flavor ai1-1-cpu: 1 CPUs and 4 GB a unit, up to 12 units; 0.03 EUR an hour" in out
    assert "'auto' is unknown" not in out
