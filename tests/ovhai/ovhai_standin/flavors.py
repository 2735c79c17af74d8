"""Kinds of machines, in units of which jobs ask for resources."""

from typing import Any

GIB = 2**30
MBPS = 10**6

# id, GPU brand, model, its memory (GiB), CPUs, memory (GiB), ephemeral storage (GiB), public network (Mbps), default,
# units per job. The ephemeral storage of GPU flavors other than H100 is not published: 500 is a guess.
Row = tuple[str, str | None, str | None, int, int, int, int, int, bool, int]
TABLE: list[Row] = [
    ("ai1-1-cpu", None, None, 0, 1, 4, 40, 500, True, 12),
    ("ai1-1-gpu", "NVIDIA", "Tesla V100S", 32, 13, 40, 500, 1500, True, 4),
    ("ai1-le-1-gpu", "NVIDIA", "Tesla V100S", 32, 13, 40, 500, 1500, False, 4),
    ("a100-1-gpu", "NVIDIA", "A100", 80, 13, 160, 500, 1500, False, 2),
    ("l4-1-gpu", "NVIDIA", "L4", 24, 20, 80, 500, 5000, False, 4),
    ("l40s-1-gpu", "NVIDIA", "L40S", 48, 13, 80, 500, 5000, False, 4),
    ("h100-1-gpu", "NVIDIA", "H100", 80, 28, 350, 3072, 5000, False, 4),
    # One unit is a machine with four GPUs. Its id and its other numbers are not published: guesses.
    ("h200-4-gpu", "NVIDIA", "H200", 141, 120, 1400, 3072, 5000, False, 1),
]
GPUS_PER_UNIT = {"h200-4-gpu": 4}  # 1 for others


def flavor(row: Row) -> dict[str, Any]:
    """resourcesPerUnit tells GPUs only if there are several, because the documented fields have none."""
    name, brand, model, gpu_memory, cpu, memory, storage, network, default, largest = row
    gpus = GPUS_PER_UNIT.get(name, 1)
    gpu = {"gpuBrand": brand, "gpuModel": model, "gpuMemory": gpu_memory * GIB}
    return {
        "id": name,
        "type": "gpu" if brand else "cpu",
        "description": f"{cpu} vCPU, {memory} GiB" + (f", {gpus} {model}" if brand else ""),
        "default": default,
        "max": largest,
        **({"gpuInformation": gpu} if brand else {}),
        "resourcesPerUnit": {
            "cpu": cpu,
            "memory": memory * GIB,
            "ephemeralStorage": storage * GIB,
            "publicNetwork": network * MBPS,
            "privateNetwork": 0,
            **({"gpu": gpus} if gpus > 1 else {}),
        },
    }


FLAVORS = {row[0]: flavor(row) for row in TABLE}


def resources(name: str | None, gpu: int | None, cpu: int | None) -> dict[str, Any]:
    """The total of a job that asks for units of a flavor, or of the default one. Raises ValueError."""
    kind = FLAVORS.get(name) if name else default_flavor("cpu" if cpu and not gpu else "gpu")
    if kind is None:
        raise ValueError(f"flavor {name} not found")
    units = (gpu if kind["type"] == "gpu" else cpu) or (None if gpu or cpu else 1)
    if units is None:
        raise ValueError(f"flavor {kind['id']} has no {'GPU' if gpu else 'CPU'} units")
    if units > kind["max"]:
        raise ValueError(f"flavor {kind['id']} allows at most {kind['max']} units per job, not {units}")
    per_unit = kind["resourcesPerUnit"]
    information = kind.get("gpuInformation", {"gpuBrand": None, "gpuModel": None, "gpuMemory": None})
    return {
        "cpu": units * per_unit["cpu"],
        "gpu": units * GPUS_PER_UNIT.get(kind["id"], 1) if kind["type"] == "gpu" else 0,
        "flavor": kind["id"],
        "memory": units * per_unit["memory"],
        "ephemeralStorage": units * per_unit["ephemeralStorage"],
        "publicNetwork": units * per_unit["publicNetwork"],
        "privateNetwork": 0,
        **information,
    }


def default_flavor(kind: str) -> dict[str, Any]:
    return next(entry for entry in FLAVORS.values() if entry["type"] == kind and entry["default"])
