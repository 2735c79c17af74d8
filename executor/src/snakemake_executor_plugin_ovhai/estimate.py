"""How long a job may take: what the workflow expects of its rules, corrected by jobs that have ended.

A rule says with the resource `expected_seconds` how long its command takes on the reference machine: one V100S, or as
many CPUs as it asks for. The label of a job keeps what this came to on its own flavor, so the bill holds expected and
true times side by side. The project learns from it.
"""

import functools
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .bill import Charge

SPEEDS = Path(__file__).parent / "speeds.yaml"
# Before any job has ended, the truth is taken to lie within this factor, both ways. Nothing was measured on OVHcloud.
DOUBT = 2.5
KNOWN = 1.25  # the same once several jobs of a rule have ended, since videos differ
SEVERAL = 3
# Seconds that are billed beside the command: pulling an image of some GB, and copying outputs back. Guesses.
OVERHEAD = (60.0, 180.0, 600.0)
SHORTEST_LIMIT = 30  # minutes; a job whose disk or network is slow once should not die of it


@dataclass(frozen=True)
class Span:
    """An amount that is not known exactly, in any unit."""

    low: float = 0.0
    mid: float = 0.0
    high: float = 0.0

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def __mul__(self, factor: float) -> "Span":
        return Span(self.low * factor, self.mid * factor, self.high * factor)


@dataclass(frozen=True)
class History:
    """What ended jobs tell. rules: as in the bill, such as "frames poses"."""

    ratios: Mapping[tuple[str, str], list[float]] = field(default_factory=dict)  # rules, flavor -> true over expected
    overheads: Mapping[str, list[float]] = field(default_factory=dict)  # rules -> billed seconds beside the useful ones

    def get_ratio(self, rules: str, flavor: str) -> Span:
        """By which the expected time is to be multiplied. Jobs on the same flavor count first, then those on others."""
        same = self.ratios.get((rules, flavor), [])
        known = same or [ratio for (name, _), found in self.ratios.items() if name == rules for ratio in found]
        if not known:
            return Span(1 / DOUBT, 1.0, DOUBT)
        factor = KNOWN if len(same) >= SEVERAL else (KNOWN + DOUBT) / 2
        middle = statistics.median(known)
        return Span(min([*known, middle / factor]), middle, max([*known, middle * factor]))

    def get_overhead(self, rules: str) -> Span:
        known = self.overheads.get(rules, [])
        return Span(min(known), statistics.median(known), max(known)) if known else Span(*OVERHEAD)


def learn(charges: Iterable[Charge]) -> History:
    """From jobs that have succeeded."""
    ratios: dict[tuple[str, str], list[float]] = {}
    overheads: dict[str, list[float]] = {}
    for charge in charges:
        if not charge.useful_seconds or charge.billed_seconds is None:
            continue
        overheads.setdefault(charge.rules, []).append(max(0.0, charge.billed_seconds - charge.useful_seconds))
        if charge.expected_seconds:
            ratio = charge.useful_seconds / charge.expected_seconds
            ratios.setdefault((charge.rules, charge.flavor), []).append(ratio)
    return History(ratios, overheads)


@functools.cache
def load_speeds() -> Mapping[str, float]:
    return {str(name): float(speed) for name, speed in yaml.safe_load(SPEEDS.read_text(encoding="utf-8")).items()}


def get_expected(expected: float, flavor: str) -> float:
    """Seconds on a flavor. expected: on the reference machine. An unknown flavor counts as the reference machine."""
    return expected / load_speeds().get(flavor, 1.0)


def estimate(expected: float, rules: str, flavor: str, history: History) -> Span:
    """Seconds that the command of a job takes."""
    return history.get_ratio(rules, flavor) * get_expected(expected, flavor)


def get_time_limit(seconds: Span, factor: float, attempt: int) -> int:
    """Minutes, for a job whose rule sets no `runtime`. A second attempt gets twice as long."""
    return max(SHORTEST_LIMIT, math.ceil(seconds.mid * factor * attempt / 60))
