"""The platform's flavors (kinds of machines), and whether a job's resources fit them."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .job_spec import Resources
from .records import get_map, get_text, read_int

LONGEST_RUN = 604_800  # seconds; the platform accepts no longer time limit


@dataclass(frozen=True)
class Flavor:
    """max counts units per job. cpu and memory (bytes) are per unit. None means that the platform does not say."""

    id: str
    kind: str
    max: int | None
    cpu: int | None
    memory: int | None


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
            )
    return flavors


def check_resources(resources: Resources, flavors: Mapping[str, Flavor], memory_mb: int | None = None) -> list[str]:
    """What is wrong with a job's resources. Without flavors, only what needs none is checked."""
    problems = []
    if not 0 < resources.runtime * 60 <= LONGEST_RUN:
        problems.append(f"runtime is {resources.runtime} minutes; allowed are 1 to {LONGEST_RUN // 60:,}")
    if resources.gpu < 0 or resources.cpu < 1:
        problems.append(f"gpu is {resources.gpu} and threads are {resources.cpu}; neither can be negative")
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
