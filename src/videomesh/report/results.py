"""The files that a scene has so far, and how far it came. Any of them may be missing or broken."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from videomesh.checks import describe, select
from videomesh.errors import UserError
from videomesh.files import read_json

# Stage -> the file that it ends with, and its log. {iteration} is the milestone.
STAGES = {
    "ingest": ("source", "ingest/ingest.log"),
    "frames": ("frames/frames.json", "frames/frames.log"),
    "poses": ("poses/poses.json", "poses/poses.log"),
    "region": ("region/transforms.json", "region/region.log"),
    "gate": ("gate/gate.json", "gate/gate.log"),
    "train": ("train/{iteration}/metrics.jsonl", "train/{iteration}/train.log"),
    "mesh": ("mesh/{iteration}/mesh.json", "mesh/{iteration}/mesh.log"),
    "web_mesh": ("mesh/{iteration}/mesh.glb", "mesh/{iteration}/web_mesh.log"),
}
LOG_LINES = 25  # of a failed stage that the page shows
LOG_BYTES = 20_000  # of the end of a log that are read


@dataclass(frozen=True)
class Results:
    """A scene's settings and its files by name, such as frames/frames.json; `source` is what ingest made."""

    scene: str
    settings: dict[str, Any]  # of the scene, as the configuration has them
    files: dict[str, Path]

    def read(self, name: str) -> dict[str, Any]:
        """The content of a JSON file; {} if it is missing, broken or no object."""
        try:
            content = read_json(self.files[name])
        except (KeyError, OSError, UserError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def milestones(self) -> list[int]:
        """All iterations at which there is to be a mesh, ascending."""
        train = self.settings.get("train") or {}
        return [*(train.get("milestones") or []), *filter(None, [train.get("iterations")])]

    def list_done(self, name: str) -> list[tuple[int, Path]]:
        """Milestones that have this file, ascending: mesh/{iteration}/mesh.glb."""
        places = [(iteration, name.format(iteration=iteration)) for iteration in self.milestones]
        return [(iteration, self.files[place]) for iteration, place in places if place in self.files]

    def without_outdated(self) -> "Results":
        """Without training and mesh of an earlier region, whose world may be another one."""
        region = self.files.get("region/transforms.json")
        kept = {
            name: path
            for name, path in self.files.items()
            if not name.startswith(("train/", "mesh/"))
            or (region is not None and path.stat().st_mtime >= region.stat().st_mtime)
            or name == "train/config/config.yaml"
        }
        return replace(self, files=kept)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of the last milestone's metrics, which have those of the milestones before too."""
        done = self.list_done("train/{iteration}/metrics.jsonl")
        return [row for row in read_lines(done[-1][1]) if isinstance(row.get("iteration"), int)] if done else []

    @property
    def iteration(self) -> int | None:
        """The last milestone that has a mesh for the web."""
        return next((iteration for iteration, _ in reversed(self.list_done("mesh/{iteration}/mesh.glb"))), None)


def name_files(scene: str, paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their names in a scene's folder. The paths may lead through a copy of a bucket."""
    files = {}
    for path in paths:
        parts = path.as_posix().split("/")
        if parts[-3:-1] == ["videos", scene]:
            files["source"] = path
        else:
            start = next((i for i in range(len(parts) - 2) if parts[i : i + 2] == ["results", scene]), None)
            files.update({} if start is None else {"/".join(parts[start + 2 :]): path})
    return files


def find_files(root: Path, scene: str) -> dict[str, Path]:
    """The files that the scene has below a working folder."""
    folders = (root / "results" / scene, root / "resources" / "videos" / scene)
    return name_files(scene, [path for folder in folders for path in sorted(folder.rglob("[!.]*")) if path.is_file()])


# --- how far it came --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    name: str  # done, stopped (by the gate), failed, running or waiting
    stage: str = ""  # the first stage that is not done
    reasons: tuple[str, ...] = ()  # in full sentences
    log: str = ""  # the last lines of what the failed stage said


def find_state(results: Results, running: bool = False) -> State:
    """running: whether a run is under way now, so that a stage with a log and without a result may still work."""
    gate = results.read("gate/gate.json")
    mode = (results.settings.get("gate") or {}).get("mode", "fail")
    if gate.get("verdict") == "fail" and mode == "fail":
        failures = tuple(describe(entry) for entry in select(gate.get("checks", []), "fail"))
        return State("stopped", "gate", failures)
    for stage, iteration in list_steps(results):
        output, log = (name.format(iteration=iteration) for name in STAGES[stage])
        if output in results.files:
            continue
        text = read_end(results.files.get(log))
        if running or not text:
            return State("running" if text else "waiting", stage)
        return State("failed", stage, (f"The stage {stage} ended without a result.",), text)
    return State("done")


def list_steps(results: Results) -> list[tuple[str, int]]:
    """The stages in their order; training and mesh of each milestone."""
    steps = [(stage, 0) for stage, (output, _) in STAGES.items() if "{" not in output]
    if "source" not in results.files and "frames/frames.json" in results.files:
        steps = steps[1:]  # the source may have been cleared away, or is on another machine
    later = [stage for stage, (output, _) in STAGES.items() if "{" in output]
    return steps + [(stage, iteration) for iteration in results.milestones for stage in later]


def read_end(log: Path | None) -> str:
    """The last lines of a log; empty if there is none."""
    if log is None:
        return ""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:]).strip()


def read_lines(path: Path | None) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; a line that was cut off is left out."""
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows += [row] if isinstance(row, dict) else []
    return rows


def find_seen_from(rows: list[dict[str, Any]]) -> int | None:
    """The iteration from which on training saw the frames too that it had not seen until then; None: it never did.

    rows: of metrics.jsonl
    """
    told = [row["iteration"] for row in rows if row.get("held_out_psnr") is not None]
    counts = [row["training_frames"] for row in rows if "training_frames" in row]
    return told[-1] if told and counts and counts[-1] > counts[0] else None
