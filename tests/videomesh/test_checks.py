"""Limits, verdicts and their words."""

import numpy as np
import pytest

from videomesh.checks import (
    Entry,
    Finding,
    Limit,
    describe,
    get_exposure_range,
    get_verdict,
    judge,
    select,
    show,
    summarize,
)

SHARE = Limit("below", "share", "NA-07", "share of frames whose camera pose was found")
ERROR = Limit("above", "px", "NA-07", "mean reprojection error")


def make(verdict: str) -> Entry:
    value = {"pass": 1.0, "warn": 0.7, "fail": 0.4}[verdict]
    return judge("registered_share", SHARE, Finding(value, "Move slower."), 0.8, 0.5)


@pytest.mark.parametrize(
    ("limit", "value", "warn", "fail", "verdict"),
    [
        (SHARE, 0.8, 0.8, 0.5, "pass"),  # a value on the limit is good
        (SHARE, 0.79, 0.8, 0.5, "warn"),
        (SHARE, 0.5, 0.8, 0.5, "warn"),
        (SHARE, 0.49, 0.8, 0.5, "fail"),
        (SHARE, 0.49, 0.8, None, "warn"),
        (SHARE, 0.6, None, 0.5, "pass"),
        (SHARE, 0.0, None, None, "pass"),
        (ERROR, 1.5, 1.5, 2, "pass"),
        (ERROR, 1.6, 1.5, 2, "warn"),
        (ERROR, 2.1, 1.5, 2, "fail"),
        (ERROR, 0.1, 0, 0, "fail"),  # 0 is a limit as any other, not "none"
    ],
)
def test_a_value_beyond_a_limit_gives_its_verdict(
    limit: Limit, value: float, warn: float | None, fail: float | None, verdict: str
) -> None:
    assert judge("name", limit, Finding(value, ""), warn, fail)["verdict"] == verdict


def test_an_entry_has_all_that_a_report_says() -> None:
    entry = judge("reprojection_error", ERROR, Finding(np.float32(1.23456789), "Use one zoom."), 1.5, None)
    assert entry == {
        "name": "reprojection_error",
        "meaning": "mean reprojection error",
        "value": 1.2346,
        "unit": "px",
        "worse": "above",
        "warn": 1.5,
        "fail": None,
        "verdict": "pass",
        "advice": "Use one zoom.",
        "source": "NA-07",
    }


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ([], "pass"),
        (["pass", "pass"], "pass"),
        (["pass", "warn"], "warn"),
        (["warn", "fail", "pass"], "fail"),
    ],
)
def test_the_worst_verdict_counts(verdicts: list[str], worst: str) -> None:
    checks = [make(verdict) for verdict in verdicts]
    assert get_verdict(checks) == worst
    assert len(select(checks, "warn")) == verdicts.count("warn")


def test_the_summary_counts_the_verdicts() -> None:
    assert summarize([make("fail"), make("warn"), make("warn"), make("pass")]) == "4 checks, 1 failed, 2 with a warning"


def test_a_check_in_words_names_the_limit_that_it_missed() -> None:
    assert describe(make("warn")) == (
        "registered_share is 70 % and should be at least 80 % (share of frames whose camera pose was found). "
        "Move slower."
    )
    assert "is 40 % and should be at least 50 %" in describe(make("fail"))
    error = judge("reprojection_error", ERROR, Finding(2.5, ""), 1.5, 2)
    assert "is 2.5 px and should be at most 2 px (mean" in describe(error)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.12345, "share", "12.3 %"), (0.12345, "ratio", "0.1235"), (273.4, "degrees", "273.4 degrees")],
)
def test_values_are_shown_with_their_unit(value: float, unit: str, text: str) -> None:
    assert show(value, unit) == text


@pytest.mark.parametrize("count", [1, 2, 20, 37])
def test_the_exposure_range_is_numpys(count: int) -> None:
    luminance = np.random.default_rng(count).random(count)
    low, high = np.percentile(luminance, [5, 95])
    assert get_exposure_range(luminance.tolist()) == pytest.approx(high - low, abs=1e-12)
