"""The files of a platform folder.

settings.json     the platform's settings
faults.json       rules of faults
fault_counts.json how often each rule was met and has fired
calls.jsonl       each call of the `ovhai` command, and which process made it
fired.jsonl       each time that a rule of faults has fired
lock              held (fcntl) while files are read and changed
live/ID           an empty file for each job that has not ended
jobs/ID.json      one record per job: {"job": what the platform shows, "private": what only the stand-in knows}
logs/ID.log       lines as `ovhai job logs` prints them
runners/ID.log    what went wrong in the stand-in itself
files/ID/         a job's volumes, /workspace and /tmp, until it has ended
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ovhai_standin import settings as platform_settings

VARIABLE = "OVHAI_STANDIN"


class PlatformFolder:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.jobs = self.path / "jobs"
        self.live = self.path / "live"
        self.logs = self.path / "logs"
        self.runners = self.path / "runners"
        self.files = self.path / "files"

    def create(self, **settings: Any) -> None:
        for folder in (self.jobs, self.live, self.logs, self.runners, self.files):
            folder.mkdir(parents=True, exist_ok=True)
        self.write("settings.json", platform_settings.merged(platform_settings.DEFAULTS, settings))
        self.write("faults.json", [])
        self.write("fault_counts.json", {})
        self.write("next_number.json", 0)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by one process at a time; not to be taken twice by one. A forked child does not inherit it."""
        with (self.path / "lock").open("w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield

    def read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text())

    def write(self, name: str, content: Any) -> None:
        """Readers without the lock see the old content or the new, never a part."""
        target = self.path / name
        part = target.with_name(f".{target.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
        part.write_text(json.dumps(content, indent=1))
        part.replace(target)

    def settings(self) -> dict[str, Any]:
        return {**platform_settings.DEFAULTS, **self.read("settings.json")}

    def change_settings(self, **changes: Any) -> None:
        with self.lock():
            self.write("settings.json", platform_settings.merged(self.settings(), changes))

    def add_call(self, argv: list[str], process: int, caller: int) -> None:
        self.add_line("calls.jsonl", {"time": time.time(), "argv": argv, "pid": process, "caller": caller})

    def calls(self) -> list[dict[str, Any]]:
        return self.lines("calls.jsonl")

    def add_line(self, name: str, content: dict[str, Any]) -> None:
        with (self.path / name).open("a") as file:
            file.write(json.dumps(content) + "\n")

    def lines(self, name: str) -> list[dict[str, Any]]:
        file = self.path / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def record(self, job_id: str) -> dict[str, Any] | None:
        try:
            record = dict(self.read(f"jobs/{job_id}.json"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if is_gone(record) else record

    def write_record(self, record: dict[str, Any]) -> None:
        job_id, ended = record["job"]["id"], record["job"]["status"]["finalizedAt"]
        self.write(f"jobs/{job_id}.json", record)
        if ended:
            (self.live / job_id).unlink(missing_ok=True)
        else:
            (self.live / job_id).touch()

    @contextlib.contextmanager
    def changing(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The record of a job under the lock, written at the end. Raises FileNotFoundError if the job was deleted."""
        with self.lock():
            record = dict(self.read(f"jobs/{job_id}.json"))
            yield record
            self.write_record(record)

    def records(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        found = [self.record(file.stem) for file in self.jobs.glob("[!.]*.json")]
        return sorted((record for record in found if record), key=lambda record: record["private"]["number"])

    def live_records(self) -> list[dict[str, Any]]:
        """Those of jobs that have not ended, in any order: with thousands of others, a call need not read them all."""
        return list(filter(None, map(self.record, [file.name for file in self.live.iterdir()])))

    def next_number(self) -> int:
        """0, 1, 2, ... Needs the lock."""
        number = int(self.read("next_number.json"))
        self.write("next_number.json", number + 1)
        return number

    def log(self, job_id: str) -> Path:
        return self.logs / f"{job_id}.log"

    def job_files(self, job_id: str) -> Path:
        return self.files / job_id


def is_gone(record: dict[str, Any]) -> bool:
    """Whether a job that was deleted has left the platform, which takes some time."""
    moment = record["private"]["gone_at"]
    return moment is not None and time.time() >= moment
