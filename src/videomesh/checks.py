"""Limits, verdicts and their words, for the gate, the mesh and the reports.

Python 3.8 and the standard library only: the mesh is checked inside foreign images.
"""

from __future__ import annotations

from statistics import median
from typing import Any, Dict, NamedTuple, Sequence

BLURRED = 0.4  # of the median sharpness

Entry = Dict[str, Any]  # one check as gate.json and mesh.json hold it


class Limit(NamedTuple):
    """Which side of its limits is bad for a value, and how a message names it."""

    worse: str  # "above" or "below": a value beyond a limit in this direction is bad
    unit: str  # share, px, degrees, ratio, or what is counted
    source: str  # the failure that it guards against, in docs/neuralangelo.md
    meaning: str  # what the value is, as the subject of a sentence


class Finding(NamedTuple):
    """What a check has measured."""

    value: float
    advice: str  # what to do, in full sentences


def judge(name: str, limit: Limit, finding: Finding, warn: float | None, fail: float | None) -> Entry:
    """The entry of a check. A value beyond warn or fail, if there is one, gives that verdict; None switches it off."""

    def beyond(bound: float | None) -> bool:
        return bound is not None and (finding.value > bound if limit.worse == "above" else finding.value < bound)

    return {
        "name": name,
        "meaning": limit.meaning,
        "value": round(float(finding.value), 4),
        "unit": limit.unit,
        "worse": limit.worse,
        "warn": warn,
        "fail": fail,
        "verdict": "fail" if beyond(fail) else "warn" if beyond(warn) else "pass",
        "advice": finding.advice,
        "source": limit.source,
    }


def get_verdict(checks: Sequence[Entry]) -> str:
    """The worst of the checks' verdicts: fail, warn or pass."""
    verdicts = {entry["verdict"] for entry in checks}
    return next((level for level in ("fail", "warn") if level in verdicts), "pass")


def select(checks: Sequence[Entry], verdict: str) -> list[Entry]:
    return [entry for entry in checks if entry["verdict"] == verdict]


def summarize(checks: Sequence[Entry]) -> str:
    return f"{len(checks)} checks, {len(select(checks, 'fail'))} failed, {len(select(checks, 'warn'))} with a warning"


def describe(entry: Entry) -> str:
    """A check that was not passed, in one line: what, value, limit, advice."""
    word = "at most" if entry["worse"] == "above" else "at least"
    value, limit = (show(entry[key], entry["unit"]) for key in ("value", entry["verdict"]))
    return f"{entry['name']} is {value} and should be {word} {limit} ({entry['meaning']}). {entry['advice']}"


def show(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.3g} %"
    return f"{value:.4g}" if unit == "ratio" else f"{value:.4g} {unit}"


def find_blurred(frames: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the frames of frames.json that are far less sharp than usual in this footage."""
    limit = BLURRED * median(frame["sharpness"] for frame in frames)
    return [frame["name"] for frame in frames if frame["sharpness"] < limit]


def get_exposure_range(luminance: Sequence[float]) -> float:
    """Range of the frames' mean brightness (0..1), from the 5th to the 95th percentile, by linear interpolation."""
    ordered = sorted(luminance)

    def percentile(share: float) -> float:
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    return percentile(0.95) - percentile(0.05)
