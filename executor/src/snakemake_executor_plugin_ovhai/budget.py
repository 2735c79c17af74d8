"""The limits --ovhai-max-cost and --ovhai-max-price-per-hour: which jobs may be submitted now, later, or not at all.

A live job counts with what it costs if it runs until its time limit. So the jobs that a run starts can never cost more
than the limit, whatever happens to the head afterwards. judge() is a pure function.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from .bill import count_billed_seconds
from .flavors import LONGEST_RUN, Flavor, count_units, get_flavor_name
from .job import Job
from .job_spec import Resources, SubmissionError
from .labels import get_label
from .notices import Notices
from .prices import Prices
from .task import Result, Task, refuse

# Seconds for the copy of the outputs, which is billed after the time limit. It has no limit on the platform.
FINALIZING = 300.0
REMEDY = "see `snakemake-ovhai prices`; refresh them, or name a file of your own with --ovhai-prices"


@dataclass(frozen=True)
class Limits:
    """cost: for all jobs of a run. hour: for all that live at a time. None: no limit. Both without VAT."""

    cost: float | None = None
    hour: float | None = None


def check_limits(limits: Limits) -> None:
    """ValueError if a limit is no amount."""
    for name, value in (("--ovhai-max-cost", limits.cost), ("--ovhai-max-price-per-hour", limits.hour)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; allowed is an amount of money from 0 on, without VAT")


@dataclass(frozen=True)
class Load:
    """What jobs cost: for certain so far, at most when they run until their limits, and an hour while they live.

    None: not known, because a flavor's price is not.
    """

    spent: float | None = 0.0
    most: float | None = 0.0
    hour: float | None = 0.0

    def __add__(self, other: "Load") -> "Load":
        return Load(add(self.spent, other.spent), add(self.most, other.most), add(self.hour, other.hour))


def add(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


@dataclass(frozen=True)
class Verdict:
    action: Literal["submit", "wait", "refuse"]
    text: str = ""


def judge(new: Load, present: Load, limits: Limits, currency: str) -> Verdict:
    """new: of a job that is to be submitted. present: of all other jobs of the run."""
    waits = ""
    if limits.cost is not None:
        if new.most is None or present.most is None or present.spent is None:
            whose = "its flavor" if new.most is None else "the flavor of a job of this run"
            return Verdict("refuse", f"the price of {whose} is not known, so --ovhai-max-cost cannot be kept; {REMEDY}")
        if new.most + present.spent > limits.cost:
            return Verdict(
                "refuse",
                f"it may cost {new.most:.2f} {currency} until its time limit, and this run has cost "
                f"{present.spent:.2f}, but --ovhai-max-cost is {limits.cost:g}; raise it, or shorten `runtime`",
            )
        if new.most + present.most > limits.cost:
            waits = f"the jobs that live may cost {present.most - present.spent:.2f} {currency} more (--ovhai-max-cost)"
    if limits.hour is not None:
        if new.hour is None or present.hour is None:
            whose = "its flavor" if new.hour is None else "the flavor of a job of this run"
            return Verdict(
                "refuse", f"the price of {whose} is not known, so --ovhai-max-price-per-hour cannot be kept; {REMEDY}"
            )
        if new.hour > limits.hour:
            return Verdict(
                "refuse",
                f"it costs {new.hour:.2f} {currency} an hour, but --ovhai-max-price-per-hour is {limits.hour:g}; raise "
                "it, or ask for a cheaper flavor or fewer units",
            )
        if new.hour + present.hour > limits.hour:
            waits = f"the jobs that live cost {present.hour:.2f} {currency} an hour (--ovhai-max-price-per-hour)"
    return Verdict("wait", waits) if waits else Verdict("submit")


class Budget:
    """The money of one run. pull: seconds that a job may be PENDING, which is paid and comes before its time limit."""

    def __init__(
        self, limits: Limits, prices: Prices, flavors: Mapping[str, Flavor], run: str, pull: float, notices: Notices
    ) -> None:
        self.limits, self.prices, self.flavors, self.run, self.pull = limits, prices, flavors, run, pull
        self.notices = notices
        self.adopted: set[str] = set()  # ids of live jobs that this run has taken over: it keeps them alive
        self.loads: dict[str, Load] = {}  # of this run's jobs, when a list last showed them

    @property
    def limited(self) -> bool:
        return self.limits != Limits()

    def find_problems(self, resources: Resources) -> list[str]:
        """Why a job could not be submitted even as the first one of a run."""
        verdict = judge(self.get_new_load(resources), Load(), self.limits, self.prices.currency)
        return [verdict.text] if verdict.action == "refuse" else []

    def admit(
        self, ready: Sequence[Task], tasks: Iterable[Task], jobs: Sequence[Job]
    ) -> tuple[list[Task], list[Result]]:
        """Those that may be submitted now, and the results of those that never can be. The others wait.

        tasks: all of this head. jobs: all that the platform knows.
        """
        if not self.limited:
            return list(ready), []
        present = self.get_present_load(tasks, jobs)
        admitted, refused = [], []
        for task in ready:
            new = self.get_new_load(task.spec.resources)
            verdict = judge(new, present, self.limits, self.prices.currency)
            if verdict.action == "submit":
                admitted.append(task)
                present += new
            elif verdict.action == "wait":
                self.notices.remind("budget", f"Jobs wait, since {verdict.text}. Other jobs have to end first.")
            else:
                refused.append(refuse(task, SubmissionError(verdict.text)))
        if refused:
            self.notices.alert(
                "cap_reached",
                f"{refused[0].message}. Jobs that were submitted before go on to their end. The run then ends with an "
                "error.",
            )
        return admitted, refused

    def get_new_load(self, resources: Resources) -> Load:
        """Of a job that has no cost yet."""
        flavor, units = get_flavor_name(resources, self.flavors), resources.gpu or resources.cpu
        seconds = self.pull + resources.runtime * 60 + FINALIZING
        return Load(0.0, self.prices.get_cost(flavor, units, seconds), self.prices.get_hour(flavor, units))

    def get_present_load(self, tasks: Iterable[Task], jobs: Sequence[Job]) -> Load:
        tasks = list(tasks)
        self.note(tasks, jobs)
        listed = {job.id for job in jobs}
        marks = {get_label(job, "submission").lower() for job in jobs}
        watched = {task.job_id for task in tasks if task.job_id}
        total = Load()
        for job_id, load in self.loads.items():
            if job_id in listed:
                total += load
            elif job_id not in watched:  # its record was deleted, or the list lacks it; it may have run to its limit
                total += Load(load.most, load.most, 0.0)
        for task in tasks:  # that are submitted, and that the list does not show
            if (task.job_id and task.job_id not in listed) or (task.submission and task.submission not in marks):
                total += self.get_new_load(task.spec.resources)
        return total

    def note(self, tasks: Iterable[Task], jobs: Collection[Job]) -> None:
        """Remember what the jobs of this run cost, and those that it keeps alive though another run submitted them."""
        limits = {task.job_id: task.spec.resources.runtime * 60 for task in tasks if task.job_id}
        self.adopted |= {job.id for job in jobs if job.id in limits and not job.ended}
        now = datetime.now(UTC)
        for job in jobs:
            if self.is_ours(job):
                self.loads[job.id] = self.get_load(job, now, limits.get(job.id, 0))

    def is_ours(self, job: Job) -> bool:
        return get_label(job, "run").lower() == self.run or job.id in self.adopted

    def get_load(self, job: Job, now: datetime, limit: float = 0) -> Load:
        """limit: seconds that the job may run, as far as this head knows. The platform may not show it."""
        units, seconds = count_units(job, self.flavors), count_billed_seconds(job, now)
        spent = None if seconds is None else self.get_cost(job, units, seconds)
        if job.ended:
            return Load(spent, spent, 0.0)
        most = self.get_cost(job, units, max(seconds or 0, self.get_most_seconds(job, limit)))
        return Load(spent, most, self.prices.get_hour(job.flavor, units))

    def get_cost(self, job: Job, units: int, seconds: float) -> float | None:
        return self.prices.get_cost(job.flavor, units, seconds) if seconds else 0.0

    def get_most_seconds(self, job: Job, limit: float) -> float:
        pull = self.pull
        if job.started_at and job.pending_at:
            pull = (job.started_at - job.pending_at).total_seconds()
        return pull + (max(job.timeout or 0, limit) or LONGEST_RUN) + FINALIZING
