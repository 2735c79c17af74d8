"""The platform's flavors (kinds of machines), and whether a job's resources fit them."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .job import Job
from .job_spec import Resources
from .records import get_map, get_text, read_int

LONGEST_RUN = 604_800  # seconds; the platform accepts no longer time limit


@dataclass(frozen=True)
class Flavor:
    """max counts units per job. cpu, memory (bytes) and gpus are per unit. None: the platform does not say.

    A unit may be a whole machine with several GPUs, such as four H200.
    """

    id: str
    kind: str
    max: int | None
    cpu: int | None
    memory: int | None
    gpus: int = 1
    default: bool = False  # of the platform, for its kind
    gpu_memory: int | None = None  # bytes of one GPU


def read_flavors(records: Iterable[Mapping[str, Any]]) -> dict[str, Flavor]:
    flavors = {}
    for record in records:
        unit = get_map(record, "resourcesPerUnit")
        if name := get_text(record, "id"):
            flavors[name] = Flavor(
                name,
                get_text(record, "type").lower(),
                read_int(record.get("max")),
                read_int(unit.get("cpu")),
                read_int(unit.get("memory")),
                read_int(unit.get("gpu")) or 1,
                record.get("default") is True,
                read_int(get_map(record, "gpuInformation").get("gpuMemory")),
            )
    return flavors


def get_flavor_name(resources: Resources, flavors: Mapping[str, Flavor]) -> str:
    """The flavor that a job gets: its own or the platform's default. Empty if that is not known."""
    kind = "gpu" if resources.gpu else "cpu"
    defaults = (flavor.id for flavor in flavors.values() if flavor.default and flavor.kind == kind)
    return resources.flavor or next(defaults, "")


def count_units(job: Job, flavors: Mapping[str, Flavor]) -> int:
    """Units that a job has. The platform shows its GPUs or CPUs, of which a unit may have several."""
    flavor = flavors.get(job.flavor)
    return max(1, job.units // flavor.gpus) if flavor and flavor.kind == "gpu" else job.units


def read_quota(account: Mapping[str, Any]) -> dict[str, int]:
    """How many GPUs ("gpu") and CPUs ("cpu") the project may use at once, as far as `ovhai me` tells."""
    limits = {name.lower(): read_int(value) for name, value in get_map(get_map(account, "quotas"), "resources").items()}
    return {kind: limit for kind in ("gpu", "cpu") if (limit := limits.get(kind)) is not None}


def check_resources(
    resources: Resources,
    flavors: Mapping[str, Flavor],
    memory_mb: int | None = None,
    quota: Mapping[str, int] | None = None,
) -> list[str]:
    """What is wrong with a job's resources. What is not known of flavors and quota is not checked."""
    problems = []
    if not 0 < resources.runtime * 60 <= LONGEST_RUN:
        problems.append(f"runtime is {resources.runtime} minutes; allowed are 1 to {LONGEST_RUN // 60:,}")
    if resources.gpu < 0 or resources.cpu < 1:
        problems.append(f"gpu is {resources.gpu} and threads are {resources.cpu}; neither can be negative")
    problems += check_quota(resources, flavors.get(resources.flavor), quota or {})
    if not flavors or not resources.flavor:
        return problems
    flavor = flavors.get(resources.flavor)
    if flavor is None:
        near = difflib.get_close_matches(resources.flavor, flavors, 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return [*problems, f"flavor {resources.flavor!r} is unknown; there are {', '.join(sorted(flavors))}{hint}"]
    units, unit = (resources.gpu, "gpu") if resources.gpu else (resources.cpu, "cpu")
    if flavor.kind in ("cpu", "gpu") and flavor.kind != unit:
        advice = "set gpu to 1 or more" if flavor.kind == "gpu" else "set gpu to 0 or choose a GPU flavor"
        problems.append(f"flavor {flavor.id} is a {flavor.kind.upper()} flavor, but gpu is {resources.gpu}; {advice}")
    elif flavor.max is not None and units > flavor.max:
        setting = "gpu" if unit == "gpu" else "threads"
        problems.append(f"{setting} is {units}, but a job gets at most {flavor.max} units of flavor {flavor.id}")
    elif memory_mb and flavor.memory and memory_mb * 1_000_000 > flavor.memory * units:
        has = flavor.memory * units / 1e9
        problems.append(f"mem_mb is {memory_mb}, but {units} x {flavor.id} has {has:.0f} GB")
    return problems


def check_quota(resources: Resources, flavor: Flavor | None, quota: Mapping[str, int]) -> list[str]:
    """A job that alone needs more than the whole quota would wait for ever. CPUs that come with GPUs do not count."""
    kind, setting = ("gpu", "gpu") if resources.gpu > 0 else ("cpu", "threads")
    units = resources.gpu if resources.gpu > 0 else resources.cpu
    per_unit = 1 if flavor is None else flavor.gpus if kind == "gpu" else flavor.cpu or 1
    limit = quota.get(kind)
    if limit is None or units * per_unit <= limit:
        return []
    amount = f"{units} units of {flavor.id} with {per_unit} each" if flavor and per_unit > 1 else str(units)
    return [
        f"{setting} is {amount}, but the project's whole quota is {limit} {kind.upper()}s; "
        "ask for less, or ask OVHcloud's support for a larger quota"
    ]
