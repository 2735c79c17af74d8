"""How long the jobs of scenes took, from the records that Snakemake keeps in the working folder."""

import base64
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from videomesh.progress.steps import File, find_file

RECORDS = Path(".snakemake/metadata")


class Job(NamedTuple):
    """Times are in seconds since 1970."""

    scene: str
    rule: str
    began: float
    ended: float


class Duration(NamedTuple):
    rule: str
    milestone: str  # empty for a stage without one
    seconds: float
    ended: float  # seconds since 1970


def read_durations(root: Path, scene: str) -> list[Duration]:
    """The jobs of a scene that are on record, in the order of their end. Where the records are elsewhere: none."""
    durations = {}
    for file, job in read_jobs(root, {scene}).items():
        stage, *rest = file.name.split("/")
        if stage not in ("report", "deliver"):
            milestone = rest[0] if rest and rest[0].isdigit() else ""
            durations[job.rule, milestone] = Duration(job.rule, milestone, job.ended - job.began, job.ended)
    return sorted(durations.values(), key=lambda duration: duration.ended)


def read_jobs(root: Path, scenes: Collection[str]) -> dict[File, Job]:
    """The jobs that are on record, by each output."""
    jobs = {}
    for path, record_file in list_records(root / RECORDS):
        file = find_file(path, scenes)
        if file is None:
            continue
        try:
            record = json.loads(record_file.read_text())
            begin, end, logs = record.get("starttime"), record.get("endtime"), record.get("log") or []
        except (ValueError, OSError, AttributeError):  # another file, or it is just being written
            continue
        if not isinstance(begin, int | float) or not isinstance(end, int | float) or end <= begin:
            continue
        log = next((root / name for name in logs if (root / name).is_file()), None)
        if log and log.stat().st_mtime > begin:  # videomesh-accept gives outputs and records a new date, but no log
            end = min(end, log.stat().st_mtime)
        jobs[file] = Job(file.scene, str(record.get("rule")), begin, end)
    return jobs


def list_records(folder: Path) -> Iterable[tuple[str, Path]]:
    """Output files and their records, which are named by the file in base64, in parts if that is long."""
    for file in folder.rglob("*") if folder.is_dir() else []:
        name = "".join(part.lstrip("@") for part in file.relative_to(folder).parts)
        try:
            yield base64.urlsafe_b64decode(name).decode(), file
        except ValueError:  # another file, or a folder of a long name
            continue
