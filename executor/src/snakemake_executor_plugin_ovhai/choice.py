"""`flavor: auto`: the cheapest machine that fits a job, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .estimate import History, estimate
from .flavors import Flavor, check_resources
from .job_spec import Resources, SubmissionError
from .prices import Prices

AUTO = "auto"


@dataclass(frozen=True)
class Candidate:
    """A flavor that could do the job. cost: of the job if its time is expected, else of an hour. None: not known."""

    flavor: Flavor
    cost: float | None


def choose(
    resources: Resources,
    rules: str,
    attempt: int,
    flavors: Mapping[str, Flavor],
    quota: Mapping[str, int],
    prices: Prices,
    history: History,
) -> tuple[str, str]:
    """The flavor, and why, in words. Each further attempt gets more GPU memory than the one before, if there is more.

    SubmissionError if none fits, or if no price is known of those that do.
    """
    if not flavors:
        raise SubmissionError("its flavor is auto, but the platform does not tell its flavors now; try again later")
    candidates = find_fitting(resources, rules, flavors, quota, prices, history)
    fitting = [candidate.flavor for candidate in candidates]
    known = [candidate for candidate in candidates if candidate.cost is not None]
    if not known:
        raise SubmissionError(describe_none(resources, fitting))
    best = min(known, key=rank)
    for _ in range(attempt - 1):
        larger = [other for other in known if (other.flavor.gpu_memory or 0) > (best.flavor.gpu_memory or 0)]
        best = min(larger, key=rank, default=best)
    return best.flavor.id, describe(best, known, fitting, resources, attempt, prices)


def rank(candidate: Candidate) -> tuple[float, str]:
    assert candidate.cost is not None
    return candidate.cost, candidate.flavor.id


def find_fitting(
    resources: Resources,
    rules: str,
    flavors: Mapping[str, Flavor],
    quota: Mapping[str, int],
    prices: Prices,
    history: History,
) -> list[Candidate]:
    kind = "gpu" if resources.gpu else "cpu"
    units = resources.gpu or resources.cpu
    candidates = []
    for flavor in flavors.values():
        needs = replace(resources, flavor=flavor.id, runtime=max(1, resources.runtime))
        if flavor.kind != kind or check_resources(needs, flavors, resources.memory_mb or None, quota):
            continue
        if resources.gpu and resources.gpu_memory > (flavor.gpu_memory or 0) / 1e9:
            continue
        seconds = estimate(resources.expected, rules, flavor.id, history)
        if resources.runtime and seconds.mid > resources.runtime * 60:
            continue  # it would not end in time
        paid = (seconds + history.get_overhead(rules)).mid if resources.expected else 3600.0
        candidates.append(Candidate(flavor, prices.get_cost(flavor.id, units, paid)))
    return candidates


def describe_needs(resources: Resources) -> str:
    needs = []
    if resources.gpu and resources.gpu_memory:
        needs.append(f"{resources.gpu_memory:g} GB of GPU memory")
    if resources.memory_mb:
        needs.append(f"{resources.memory_mb:,} MB of memory")
    needs.append(f"{resources.gpu} units with GPUs" if resources.gpu else f"{resources.cpu} CPUs")
    if resources.runtime:
        needs.append(f"{resources.runtime} minutes")
    return ", ".join(needs)


def describe_none(resources: Resources, fitting: Sequence[Flavor]) -> str:
    if not fitting:
        return (
            f"its flavor is auto, but no flavor of this region fits {describe_needs(resources)}; "
            "`snakemake-ovhai doctor` shows them"
        )
    names = ", ".join(sorted(flavor.id for flavor in fitting))
    return (
        f"its flavor is auto, but no price is known of those that fit ({names}); see `snakemake-ovhai prices`, or name "
        "one of them as its flavor"
    )


def describe(
    best: Candidate,
    known: Sequence[Candidate],
    fitting: Sequence[Flavor],
    resources: Resources,
    attempt: int,
    prices: Prices,
) -> str:
    what = "expected for the job" if resources.expected else "an hour"
    others = sorted((other for other in known if other != best), key=rank)
    text = f"{best.flavor.id} for {describe_needs(resources)}: {prices.show(best.cost)} {what}"
    if attempt > 1:
        text += f", with more GPU memory as this is attempt {attempt}"
    if others:
        text += "; " + ", ".join(f"{other.flavor.id} {other.cost:,.2f}" for other in others[:3])
    if unpriced := sorted({flavor.id for flavor in fitting} - {candidate.flavor.id for candidate in known}):
        text += f"; not compared, since their price is unknown: {', '.join(unpriced)}"
    return text
