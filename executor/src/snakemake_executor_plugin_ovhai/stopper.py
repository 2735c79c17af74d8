"""Stop jobs. The platform may lose an order to stop, so it is repeated until the job has ended."""

import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

from .client import Client, OvhaiError
from .job import Job
from .labels import get_label
from .notices import Notices

CALLS = 4  # of the program at a time


class Stopper:
    def __init__(self, client: Client, notices: Notices, interval: float) -> None:
        """interval: seconds between two lists of jobs. An order is repeated after three of them."""
        self.client, self.notices, self.interval = client, notices, interval
        self.asked: dict[str, float] = {}  # job -> when it was last asked to stop

    def stop(self, job_id: str, reason: str) -> None:
        """Ask a job to stop, unless that has been done. repeat() asks again."""
        if job_id in self.asked:
            return
        self.notices.info(f"Stopping job {job_id}: {reason}.")
        self.asked[job_id] = time.monotonic()
        self.ask(job_id)

    def ask(self, job_id: str) -> None:
        try:
            self.client.stop(job_id)
        except OvhaiError as error:
            self.notices.remind(f"stop {job_id}", f"Job {job_id} could not be stopped yet: {error}")

    def repeat(self, jobs: Iterable[Job]) -> None:
        """jobs: all of the platform's. Ask those again that have not begun to stop."""
        unended = {job.id: job for job in jobs if not job.ended}
        for job_id, asked in list(self.asked.items()):
            job = unended.get(job_id)
            if job is None:
                del self.asked[job_id]
            elif job.live and time.monotonic() - asked > 3 * self.interval:
                self.asked[job_id] = time.monotonic()
                self.ask(job_id)

    def stop_all(self, job_ids: Collection[str], marks: Collection[str], patience: float) -> None:
        """Stop jobs and wait for the platform's confirmation. After `patience` seconds, tell which are left.

        marks: of submissions whose reply was lost. Their jobs are stopped as soon as a list shows them.
        """
        todo = {*job_ids, *self.asked}
        if not todo and not marks:
            return
        self.notices.info(f"Stopping {len(todo)} jobs of the platform. Each ends once its files are copied back.")
        with ThreadPoolExecutor(CALLS) as pool:
            list(pool.map(self.ask, todo))
        left = self.wait_for_end(todo, set(marks), patience)
        if left:
            states = ", ".join(f"{job_id} ({state})" for job_id, state in left.items())
            self.notices.warn(
                f"The platform has not confirmed that these jobs stopped, so they may still cost money: {states}. "
                f"Stop them with: snakemake-ovhai stop {' '.join(left)}"
            )
        elif todo:
            self.notices.info(f"All {len(todo)} jobs have stopped.")

    def wait_for_end(self, todo: set[str], marks: set[str], patience: float) -> dict[str, str]:
        """Returns the last known state of each job that has not ended. Jobs that marks lead to are added to todo."""
        deadline = time.monotonic() + patience
        asked = time.monotonic()
        left: dict[str, str] = dict.fromkeys(todo, "unknown")
        while time.monotonic() < deadline:
            try:
                jobs = self.client.list_jobs()
            except OvhaiError as error:
                self.notices.report_outage(error)
            else:
                found = {job.id for job in jobs if get_label(job, "submission") in marks and job.live} - todo
                todo |= found
                left = {job.id: job.state for job in jobs if job.id in todo and not job.ended}
                again = time.monotonic() - asked > 3 * self.interval
                for job in jobs:
                    if job.id in found or (again and job.id in todo and job.live):
                        self.ask(job.id)
                asked = time.monotonic() if again else asked
                if not left and not marks:
                    break
                if not left:
                    marks = set()  # one more list, in case a job whose reply was lost shows up late
            time.sleep(min(self.interval, max(0.0, deadline - time.monotonic())))
        return left
