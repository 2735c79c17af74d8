"""A job that did its work but could not copy it to the bucket: the platform keeps its files and can copy them again.

Such a job is SYNC_FAILED, with exit code 0. Hours of a GPU may be in its files, so `ovhai job push-data` is tried
before the work is paid for again.
"""

import time

from .client import Client, RefusedError
from .job import Job
from .notices import Notices
from .task import Task

ATTEMPTS = 3  # copies
LONGEST_COPY = 1800.0  # seconds until a copy that was asked for has to have ended


class Rescuer:
    def __init__(self, client: Client, notices: Notices) -> None:
        self.client, self.notices = client, notices
        self.given_up: set[str] = (
            set()
        )  # jobs; a later run, before which somebody may have mended the cause, tries again

    def rescue(self, task: Task, job: Job) -> bool:
        """As try_to_rescue, but a job that was given up is not tried again: the next attempt may meet it once more."""
        if job.id in self.given_up or not self.try_to_rescue(task, job):
            self.given_up.add(job.id)
            return False
        return True

    def try_to_rescue(self, task: Task, job: Job) -> bool:
        """Bring the copy one step forward. False if there is no hope left.

        job: rescuable. It becomes a job that succeeded once a copy has ended well. OvhaiError if the platform does not
        answer: the next check tries again.
        """
        if task.rescue_job != job.id:
            # Copies that another head has asked for do not count: one of them may have ended well before long.
            task.rescue_job, task.rescues, task.rescue_seen, task.rescue_since = job.id, 0, job.copies_failed, 0.0
        if task.rescues:
            failed = job.copies_failed > task.rescue_seen
            if not failed and time.monotonic() - task.rescue_since < LONGEST_COPY:
                return True
            if not failed or task.rescues >= ATTEMPTS:
                return False
        try:
            self.client.push(job.id)
        except RefusedError as error:
            self.notices.warn(f"{task.name}: the platform does not copy the files of job {job.id} again: {error}")
            return False
        if not task.rescues:
            self.notices.info(
                f"{task.name}: job {job.id} did its work, but its files could not be copied to the bucket "
                f"({job.info or job.state}). They are copied again, which costs no new job."
            )
        task.rescues, task.rescue_seen, task.rescue_since = task.rescues + 1, job.copies_failed, time.monotonic()
        return True
