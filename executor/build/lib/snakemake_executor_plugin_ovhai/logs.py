"""Logs of jobs, on this machine while they run: .snakemake/ovhai_logs/RULE/WILDCARDS/JOB.log"""

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .client import Client, OvhaiError
from .submission import sanitise

FOLDER = Path(".snakemake/ovhai_logs")
MOST_FOLLOWED = 20  # each is a process; the log of a job beyond that comes when it ends


def get_log_path(rule: str, wildcards: Mapping[str, str], job_id: str) -> Path:
    folder = "-".join(map(sanitise, wildcards.values())) or "all"
    return FOLDER / sanitise(rule) / folder / f"{sanitise(job_id)}.log"


class Followers:
    """The processes that write logs."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def follow(self, job_id: str, path: Path) -> None:
        process = self.processes.get(job_id)
        if (process and process.poll() is None) or (not process and len(self.processes) >= MOST_FOLLOWED):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # tried again at the next look
            self.processes[job_id] = self.client.follow_logs(job_id, path)

    def finish(self, job_id: str, path: Path) -> str:
        """End following; returns the whole log, which is then in the file too."""
        self.end(job_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            log = self.client.get_logs(job_id)
        except OvhaiError:
            return path.read_text(errors="replace") if path.exists() else ""  # as far as it was followed
        path.write_text(log)
        return log

    def end(self, job_id: str) -> None:
        process = self.processes.pop(job_id, None)
        if process:
            process.terminate()
            process.wait()

    def end_all(self) -> None:
        for job_id in list(self.processes):
            self.end(job_id)
