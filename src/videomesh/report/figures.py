"""The tables of the page: names and values as people read them. Rows of which nothing is known are left out."""

import hashlib
import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from videomesh import checks, convergence
from videomesh.report import bill
from videomesh.report.bill import Charge
from videomesh.report.results import Results, find_seen_from
from videomesh.report.times import Duration

Rows = list[tuple[str, str]]
DISTRIBUTION = "videos-to-meshes"


def to_rows(values: Mapping[str, Any]) -> Rows:
    return [(name, text) for name, value in values.items() if (text := show(value))]


def show(value: Any) -> str:
    """A number with thousands, or a text; empty if there is nothing to show."""
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def show_value(entry: dict[str, Any], level: str = "value") -> str:
    """The value of a check, or one of its limits; empty if it is switched off."""
    value, unit = entry[level], entry["unit"]
    if value is None:
        return ""
    return checks.show(value, unit) if abs(value) < 1000 else f"{value:,.0f} {unit}"


def share(value: Any) -> str | None:
    return f"{100 * value:.3g} %" if isinstance(value, int | float) else None


def list_footage(results: Results) -> Rows:
    frames = results.read("frames/frames.json")
    duration = frames.get("duration")
    return to_rows(
        {
            "source": frames.get("source"),
            "size": f"{frames['width']} x {frames['height']} px" if "width" in frames and "height" in frames else None,
            "length": f"{duration:.1f} s" if isinstance(duration, int | float) else None,
            "frames in it": frames.get("source_frames"),
            "frames kept": len(frames["frames"]) if "frames" in frames else None,
            "cuts": len(frames.get("cuts") or []) or None,
            "stretches left out": len(frames.get("rejected") or []) or None,
        }
    )


def list_poses(results: Results) -> Rows:
    poses = results.read("poses/poses.json")
    tries = [entry.get("name") for entry in poses.get("attempts") or []]
    return to_rows(
        {
            "program": poses.get("backend"),
            "frames with a pose": f"{poses['registered']} of {poses['frames']}" if "registered" in poses else None,
            "reprojection error": f"{poses['reprojection_error']:.2f} px" if poses.get("reprojection_error") else None,
            "points": poses.get("points"),
            "points seen in a frame": poses.get("points_per_image"),
            "frames that see a point": poses.get("track_length"),
            "attempts": ", ".join(map(str, tries)) or None,
            "poses that came with the capture": None if poses.get("given") in (None, "none") else poses["given"],
        }
    )


def list_mesh(results: Results) -> Rows:
    done = results.list_done("mesh/{iteration}/mesh.json")
    mesh = results.read(f"mesh/{done[-1][0]}/mesh.json") if done else {}
    unit = " m" if mesh.get("units") == "m" else ""
    size = mesh.get("size")
    return to_rows(
        {
            "iterations": mesh.get("iteration"),
            "faces": mesh.get("faces"),
            "vertices": mesh.get("vertices"),
            "size": " x ".join(f"{length:.4g}" for length in size) + (unit or " (no known unit)") if size else None,
            "area": f"{mesh['area']:.4g}{unit and ' m²'}" if "area" in mesh else None,
            "voxel": f"{mesh['voxel']:.3g}{unit}" if "voxel" in mesh else None,
            "pieces": mesh.get("components"),
            "open edges": mesh.get("open_edges"),
            "Euler number": mesh.get("euler_number"),
            "cut off by the crop": share(mesh.get("cropped_share")),
            "outside by the masks": share(mesh.get("masked_share")),
            "extractor": mesh.get("extractor"),
        }
    )


def list_training(results: Results) -> Rows:
    """The last value of what tells how good the training is."""
    rows = results.read_metrics()
    seen_from = find_seen_from(rows)
    last = {name: value for row in rows for name, value in row.items() if value is not None}

    def decibels(name: str) -> str | None:
        return f"{last[name]:.2f} dB" if isinstance(last.get(name), int | float) else None

    return to_rows(
        {
            "engine": results.settings.get("engine"),
            "iterations": last.get("iteration"),
            "ended early": show_ending(rows, results.milestones),
            "time": show_seconds(last["seconds"]) if isinstance(last.get("seconds"), int | float) else None,
            "PSNR of the last frames": decibels("psnr"),
            "PSNR of some whole frames": decibels("validation_psnr"),  # Neuralangelo trains on them too
            "PSNR of frames it did not see": decibels("held_out_psnr"),
            "the same, in the region": decibels("held_out_psnr_region"),
            "measured at iteration": f"{seen_from:,}; from then on it saw all frames" if seen_from else None,
        }
    )


def show_ending(rows: Sequence[dict[str, Any]], milestones: Sequence[int]) -> str | None:
    """What a training did not do, since its surface stood still."""
    ending = convergence.find_ending(rows)
    if ending is None or not milestones or not convergence.is_finished(rows):
        return None
    saved = milestones[-1] - ending.ends_at
    return f"the surface stood still at iteration {ending.still_at:,}; {saved:,} of {milestones[-1]:,} were saved"


class Step(NamedTuple):
    """A line of the table of steps, as people read it. ended: seconds since 1970."""

    name: str
    time: str
    machine: str
    attempts: str
    cost: str
    ended: float = math.inf


def list_steps(durations: list[Duration], charges: Sequence[Charge]) -> list[Step]:
    """Time, machine, attempts and cost of each step, in the order of their end, and a line for all of them.

    charges: of jobs on rented machines. What they did is not shown a second time as work of this machine.
    """
    rented = {(rule, charge.milestone) for charge in charges for rule in charge.rules}
    steps = [list_rented(jobs) for jobs in bill.group(charges)]
    steps += [
        Step(name_step([entry.rule], entry.milestone), show_seconds(entry.seconds), "this machine", "", "", entry.ended)
        for entry in durations
        if (entry.rule, entry.milestone) not in rented
    ]
    steps.sort(key=lambda step: step.ended)
    if not charges:
        return steps
    return [*steps, Step("all rented machines", "", "", count_attempts(charges), bill.show_cost(bill.add_up(charges)))]


def list_rented(jobs: Sequence[Charge]) -> Step:
    """jobs: all that did the same step. Its time is that of the last one that succeeded."""
    times = [job.useful for job in jobs if job.useful]
    last = jobs[-1]
    return Step(
        name_step(last.rules, last.milestone),
        show_seconds(times[-1]) if times else "",
        last.machine,
        count_attempts(jobs),
        bill.show_cost(bill.add_up(jobs)),
        max(job.ended for job in jobs) or math.inf,
    )


def count_attempts(jobs: Sequence[Charge]) -> str:
    lost = sum(job.lost for job in jobs)
    return f"{len(jobs)} ({lost} on a machine that was lost)" if lost else str(len(jobs))


def name_step(rules: Sequence[str], milestone: str) -> str:
    return " + ".join(rules) + (f" {milestone}" if milestone else "")


def show_seconds(seconds: float) -> str:
    """4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def list_provenance(results: Results, code: str, elsewhere: bool) -> Rows:
    """code: checksum of the programs. elsewhere: whether jobs ran in containers on rented machines."""
    images = results.settings.get("containers") or {}
    return to_rows(
        {
            "source": str(results.settings.get("video") or ""),
            "source, SHA-256": hash_file(results.files.get("source")),
            "settings, SHA-256": hash_settings(results.settings),
            "transforms.json, SHA-256": hash_file(results.files.get("region/transforms.json")),
            "programs": code,
            "workflow": get_version(DISTRIBUTION),
            "Snakemake": get_version("snakemake"),
            "Python": platform.python_version(),
            "poses by": results.read("poses/poses.json").get("backend"),
            "container images": ", ".join(map(str, images.values())) if elsewhere else None,
        }
    )


def get_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def hash_file(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def hash_settings(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
