"""Submit jobs to the platform, several at a time."""

import math
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from .arguments import check_secrets, get_arguments, get_labels
from .bucket import Bucket, BucketError
from .client import Client, NotAuthenticatedError, OvhaiError, QuotaError, RefusedError
from .estimate import get_expected
from .flags import check_protected
from .job_spec import SubmissionError
from .labels import make_labels
from .notices import Notices
from .polling import Limits
from .task import Result, Task, refuse
from .turns import get_need, split_by_priority

CALLS = 4  # at a time; one takes a second or two
Full = dict[bool, int]  # quota of GPUs (True) or CPUs (False) -> units for which it had no room
MOST_PER_CHECK = 8  # a list of jobs gets old, and an old list does not show that nobody does the work


class Submitter:
    def __init__(
        self,
        client: Client,
        bucket: Bucket,
        notices: Notices,
        limits: Limits,
        workflow: str,
        datastore: str,
        secrets: list[str],
        record_job: Callable[[Task, str | None], None],
        run: str = "",
    ) -> None:
        """workflow: the label of all jobs. secrets: what no argument may hold. run: a label too, of this head.

        record_job writes into Snakemake's records. It is called before a submission with None, and with the job's id as
        soon as that is known.
        """
        self.client, self.bucket, self.notices, self.limits = client, bucket, notices, limits
        self.workflow, self.datastore, self.secrets, self.record_job = workflow, datastore, secrets, record_job
        self.run = run
        self.pool = ThreadPoolExecutor(CALLS)
        self.closed = False

    def submit_all(self, tasks: Sequence[Task]) -> list[Result]:
        """Submit some of the tasks, in the order of their priorities. Returns the results of those that are refused."""
        full: Full = {}
        results: list[Result | None] = []
        for equals in split_by_priority(tasks):
            results += self.pool.map(lambda task: self.try_to_submit(task, full), equals)
        return [result for result in results if result]

    def try_to_submit(self, task: Task, full: Full) -> Result | None:
        """No exception leaves this method: one job's defect must not end the others."""
        kind, units = get_need(task)
        if self.closed:
            return None
        if units >= full.get(kind, math.inf):
            self.let_wait(task)
            return None
        task.waits_for_quota = False
        try:
            self.submit(task)
        except QuotaError as error:
            full[kind] = min(units, full.get(kind, units))
            self.notices.remind("quota", f"The quota is used up; jobs wait for a free place. {error}")
            task.submission = None
            self.let_wait(task)
        except NotAuthenticatedError as error:
            task.submission = None
            self.notices.report_outage(error)
        except (RefusedError, SubmissionError) as error:
            return refuse(task, error)
        except BucketError as error:
            self.notices.report_bucket_outage(error)
        except OvhaiError as error:
            # There may be a job now. The next lists tell, and only then is the task submitted again.
            task.not_before = time.monotonic() + 2 * self.limits.min_interval
            self.notices.remind(
                f"submit {task.name}", f"{task.name}: {error}. The next checks show whether the job was started."
            )
        except Exception as error:
            task.not_before = time.monotonic() + self.limits.max_interval
            self.notices.remind(
                f"submit {task.name}", f"{task.name}: unexpected {error!r}. The executor tries again later."
            )
        return None

    def let_wait(self, task: Task) -> None:
        task.waits_for_quota = True
        task.not_before = time.monotonic() + self.limits.max_interval

    def submit(self, task: Task) -> None:
        """Old outputs go first, as when Snakemake runs a job itself. What is in the bucket afterwards is new."""
        spec = task.spec
        check_protected(self.bucket, spec.protected)
        for file in spec.replaced_outputs:
            self.bucket.remove(file)
        now = self.bucket.get_time(spec.outputs[0].bucket)
        mark = uuid.uuid4().hex
        labels = get_labels(spec, self.workflow, task.target, task.fingerprint)
        if seconds := round(get_expected(spec.resources.expected, spec.resources.flavor)):
            labels |= make_labels({"expected": str(seconds)})
        labels |= make_labels({"submission": mark, "submitted": str(int(now.timestamp())), "run": self.run or "none"})
        arguments = get_arguments(spec, labels, self.datastore, task.outputs)
        check_secrets(arguments, self.secrets)
        self.record_job(task, None)
        task.begin_submission(mark)
        job = self.client.submit(arguments)
        task.set_submitted(job)
        self.record_job(task, job.id)
        self.notices.info(f"{task.name}: job {job.id} was submitted. Log: {task.log_path}")

    def close(self, wait: bool) -> None:
        """Submit nothing more. wait: until the submissions under way have ended, so that their jobs are known."""
        self.closed = True
        self.pool.shutdown(wait=wait)
