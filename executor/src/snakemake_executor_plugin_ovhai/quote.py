"""What a run will take and cost, before it starts: for each job, for each value of a wildcard, and in all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .choice import AUTO, choose
from .estimate import History, Span, estimate, get_time_limit
from .flavors import LONGEST_RUN, Flavor, get_flavor_name
from .job_spec import Resources
from .prices import Prices

MOST_LINES = 20  # of a summary; a table of more scenes is left to `snakemake-ovhai quote`


@dataclass(frozen=True)
class Item:
    """One job. Spans are None if the workflow expects nothing of its rules, and cost also if the price is not known."""

    rules: str  # as in the bill
    wildcards: Mapping[str, str]
    flavor: str
    units: int
    limit: int  # minutes that it may run
    seconds: Span | None  # of its command
    billed: Span | None  # seconds, with the image pull and the copy of the outputs
    cost: Span | None
    most: float | None  # what it costs if it runs until its time limit. None: the price is not known


@dataclass(frozen=True)
class Planner:
    """How long jobs may take. factor: time limit over expected time, for rules without `runtime`."""

    factor: float
    prices: Prices
    flavors: Mapping[str, Flavor]
    history: History
    quota: Mapping[str, int] = field(default_factory=dict)

    def settle(self, resources: Resources, rules: str, attempt: int) -> Resources:
        """The resources with a flavor and a time limit. rules: as in the bill.

        SubmissionError if the flavor is auto and none can be chosen.
        """
        if resources.flavor == AUTO:
            resources = replace(resources, flavor=self.choose(resources, rules, attempt)[0])
        if not resources.untimed:
            return resources
        seconds = self.estimate(replace(resources, expected=resources.untimed), rules)
        limit = resources.runtime + get_time_limit(seconds, self.factor, attempt)
        return replace(resources, runtime=min(limit, LONGEST_RUN // 60), untimed=0.0)

    def choose(self, resources: Resources, rules: str, attempt: int) -> tuple[str, str]:
        """For the flavor auto: the cheapest that fits, and why."""
        return choose(resources, rules, attempt, self.flavors, self.quota, self.prices, self.history)

    def estimate(self, resources: Resources, rules: str) -> Span:
        return estimate(resources.expected, rules, get_flavor_name(resources, self.flavors), self.history)

    def get_item(self, resources: Resources | None, rules: str, wildcards: Mapping[str, str]) -> Item:
        """resources: settled. None if they depend on files that do not exist yet."""
        if resources is None:
            return Item(rules, wildcards, "not known yet", 0, 0, None, None, None, None)
        flavor, units = get_flavor_name(resources, self.flavors), resources.gpu or resources.cpu
        overhead = self.history.get_overhead(rules)
        seconds = billed = cost = None
        if resources.expected:
            seconds = cap(self.estimate(resources, rules), resources.runtime * 60)
            billed = seconds + overhead
            costs = [self.prices.get_cost(flavor, units, part) for part in (billed.low, billed.mid, billed.high)]
            cost = Span(*costs) if None not in costs else None  # type: ignore[arg-type]
        most = self.prices.get_cost(flavor, units, resources.runtime * 60 + overhead.high)
        return Item(rules, wildcards, flavor, units, resources.runtime, seconds, billed, cost, most)


def cap(span: Span, most: float) -> Span:
    """A job that reaches its time limit is ended."""
    return Span(min(span.low, most), min(span.mid, most), min(span.high, most))


@dataclass(frozen=True)
class Sum:
    """Of jobs. hours and cost hold those whose time, or time and price, are known."""

    jobs: int
    hours: Span  # of machines, billed
    cost: Span
    unexpected: int  # jobs of which the workflow expects no time
    unpriced: int  # jobs whose price is not known
    most: float  # what all jobs with a known price cost until their time limits


def add_up(items: Iterable[Item]) -> Sum:
    items = list(items)
    return Sum(
        jobs=len(items),
        hours=sum((item.billed for item in items if item.billed), Span()) * (1 / 3600),
        cost=sum((item.cost for item in items if item.cost), Span()),
        unexpected=sum(item.seconds is None for item in items),
        unpriced=sum(item.most is None for item in items),
        most=sum(item.most or 0.0 for item in items),
    )


def choose_wildcard(items: Sequence[Item]) -> str:
    """The one by which sums say most: that all jobs have, with the fewest values. Empty if no two jobs share one."""
    names = set(items[0].wildcards).intersection(*(item.wildcards for item in items)) if items else set()
    values = {name: len({item.wildcards[name] for item in items}) for name in names}
    return min(sorted(values), key=lambda name: values[name], default="")


def group(items: Sequence[Item], name: str) -> dict[str, Sum]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.wildcards.get(name, ""), []).append(item)
    return {value: add_up(found) for value, found in sorted(groups.items())}


# Words ---------------------------------------------------------------------------------------------------------------


def describe(items: Sequence[Item], currency: str) -> str:
    """The summary before a run, in some lines."""
    total, name = add_up(items), choose_wildcard(items)
    jobs = f"{total.jobs} {'job' if total.jobs == 1 else 'jobs'}"
    lines = [f"Quote: {jobs}, {show_sum(total, currency)}."]
    groups = group(items, name) if name else {}
    if len(groups) > 1:
        shown = sorted(groups, key=lambda value: -groups[value].cost.mid)[:MOST_LINES]
        lines += [f"  {name} {value}: {show_sum(groups[value], currency)}" for value in shown]
        if len(groups) > len(shown):
            lines.append(f"  and {len(groups) - len(shown)} more; `snakemake-ovhai quote` shows all")
    lines += explain(items, total, currency)
    return "\n".join(lines)


def explain(items: Sequence[Item], total: Sum, currency: str) -> list[str]:
    """What the sums leave out."""
    lines = []
    if total.unexpected:
        rules = ", ".join(sorted({item.rules for item in items if item.seconds is None}))
        lines.append(f"  Not in it: {total.unexpected} jobs whose rules have no `expected_seconds` ({rules}).")
    if total.unpriced:
        flavors = ", ".join(sorted({item.flavor or "the default flavor" for item in items if item.most is None}))
        lines.append(f"  Not in it: the cost of {total.unpriced} jobs, since a price is not known ({flavors}).")
    if total.unpriced < total.jobs:
        which = "the other jobs" if total.unpriced else "all jobs"
        lines.append(f"  If {which} ran until their time limits, they would cost {total.most:,.2f} {currency}.")
    return lines


def show_sum(total: Sum, currency: str) -> str:
    cost = f"{show(total.cost)} {currency} without VAT"
    if total.unpriced or total.unexpected:
        cost = f"at least {cost}" if total.cost.mid else "an unknown cost"
    return f"{show(total.hours)} h of machines, {cost}"


def show(span: Span) -> str:
    return f"{span.mid:,.2f} ({span.low:,.2f} to {span.high:,.2f})"


def to_record(items: Sequence[Item], currency: str, by: str = "") -> dict[str, Any]:
    """For programs."""
    name = by or choose_wildcard(items)
    return {
        "currency": currency,
        "all": asdict(add_up(items)),
        "by": name,
        "groups": {value: asdict(total) for value, total in group(items, name).items()} if name else {},
        "jobs": [{**asdict(item), "wildcards": dict(item.wildcards)} for item in items],
    }


def group_record(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The same quote, with sums by another wildcard."""
    items = [
        Item(**{**job, **{key: job[key] and Span(**job[key]) for key in ("seconds", "billed", "cost")}})
        for job in record["jobs"]
    ]
    return to_record(items, record["currency"], name)


def get_rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of `snakemake-ovhai quote`, from a record."""

    def get_row(name: str, total: Mapping[str, Any]) -> tuple[str, ...]:
        hours, cost = Span(**total["hours"]), Span(**total["cost"])
        missing = max(total["unexpected"], total["unpriced"])
        return (name, str(total["jobs"]), show(hours), show(cost), f"{total['most']:,.2f}", str(missing or "-"))

    heads = ("JOBS", "HOURS", f"{record['currency']} WITHOUT VAT", "AT TIME LIMITS", "NOT COUNTED")
    rows: list[tuple[str, ...]] = [(record["by"].upper() or "-", *heads)]
    rows += [get_row(value or "-", total) for value, total in record["groups"].items()]
    return [*rows, get_row("all", record["all"])]
