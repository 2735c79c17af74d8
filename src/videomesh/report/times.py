"""How long each stage took, from the records that Snakemake keeps beside the results on this machine."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

RECORDS = Path(".snakemake/metadata")


class Duration(NamedTuple):
    rule: str
    milestone: str  # empty for a stage without one
    seconds: float
    ended: float  # seconds since 1970


def read_durations(root: Path, scene: str) -> list[Duration]:
    """The jobs of a scene that are on record, in the order of their end. Where the records are elsewhere: none."""
    durations = {}
    for name, record in list_records(root / RECORDS):
        parts = name.split("/")
        begin, end = record.get("starttime"), record.get("endtime")
        if not isinstance(begin, int | float) or not isinstance(end, int | float) or end <= begin:
            continue
        if parts[0] not in ("results", "resources") or scene not in parts[1:3] or "report" in parts:
            continue
        log = next((root / path for path in record.get("log") or [] if (root / path).is_file()), None)
        if log and log.stat().st_mtime > begin:  # videomesh-accept gives outputs and records a new date, but no log
            end = min(end, log.stat().st_mtime)
        milestone = parts[3] if len(parts) == 5 and parts[3].isdigit() else ""
        rule = str(record.get("rule"))
        durations[rule, milestone] = Duration(rule, milestone, end - begin, end)
    return sorted(durations.values(), key=lambda duration: duration.ended)


def list_records(folder: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """Output files and their records, which are named by the file in base64, in parts if that is long."""
    for file in folder.rglob("*") if folder.is_dir() else []:
        if not file.is_file():
            continue
        name = "".join(part.lstrip("@") for part in file.relative_to(folder).parts)
        try:
            yield base64.urlsafe_b64decode(name).decode(), json.loads(file.read_text())
        except (ValueError, OSError):
            continue
