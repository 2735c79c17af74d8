"""The logs of jobs in files on this machine: .snakemake/ovhai_logs/RULE/WILDCARDS/JOB.log"""

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .client import Client, OvhaiError
from .labels import sanitise

FOLDER = Path(".snakemake/ovhai_logs")
MOST_FOLLOWED = 20  # jobs at a time, since each takes a process; the log of any other job comes when the job ends


def get_log_path(rule: str, wildcards: Mapping[str, str], job_id: str) -> Path:
    folder = "-".join(map(sanitise, wildcards.values())) or "all"
    return FOLDER / sanitise(rule) / folder / f"{sanitise(job_id)}.log"


class LogFollower:
    """Processes that write the logs of running jobs into files."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def follow(self, job_id: str, path: Path) -> None:
        """Start to follow a job, unless it is followed already."""
        process = self.processes.get(job_id)
        if (process and process.poll() is None) or (not process and len(self.processes) >= MOST_FOLLOWED):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # the next check tries again
            self.processes[job_id] = self.client.follow_logs(job_id, path)

    def finish(self, job_id: str, path: Path) -> str:
        """Stop following, write the whole log to the file and return it."""
        self.stop(job_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            log = self.client.get_logs(job_id)
        except OvhaiError:
            return path.read_text(errors="replace") if path.exists() else ""  # what was followed so far
        path.write_text(log)
        return log

    def stop(self, job_id: str) -> None:
        process = self.processes.pop(job_id, None)
        if process:
            process.terminate()
            process.wait()

    def stop_all(self) -> None:
        for job_id in list(self.processes):
            self.stop(job_id)
