"""Check all jobs again and again, decide what each task needs next, and pass that on.

One check costs one `ovhai job list`, however many jobs there are. No error in a check is fatal. The user is told once,
and the next check tries again.
"""

import time
from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import replace

from .bill import Bill
from .bucket import Bucket, BucketError, ObjectInfo, SilenceError
from .budget import Budget
from .client import Client, NotFoundError, OvhaiError
from .completion import Completion
from .decision import Claim, Decision, decide, is_contested
from .diagnosis import RETRIED, Failure, diagnose_image
from .fingerprint import get_fingerprint, get_target
from .heartbeat import Heartbeat
from .identity import JobIndex, find_equal_jobs, get_output_fingerprints, get_output_id, read_outputs
from .job import IMAGE_PROBLEMS, KNOWN, Job
from .job_spec import JobSpec, SubmissionError
from .labels import get_checksum_label
from .logs import LogFollower
from .notices import Notices
from .polling import Limits, PollInterval
from .stopper import Stopper
from .submitter import MOST_PER_CHECK, Submitter
from .task import Result, Task, refuse
from .turns import sort_by_priority, wake
from .volumes import StoredFile

LISTS_WITHOUT_JOB = 3  # before the platform is asked for the job by its id
TIMEOUT_GRACE = 600.0  # seconds in which a job in state TIMEOUT has to show that its outputs are copied


class Watcher:
    """The tasks of one head. Two threads may call it, but not at the same time."""

    def __init__(
        self,
        client: Client,
        bucket: Bucket,
        notices: Notices,
        limits: Limits,
        followers: LogFollower,
        submitter: Submitter,
        stopper: Stopper,
        completion: Completion,
        record_job: Callable[[Task, str | None], None],
        outputs_of_run: Collection[str] = (),
        bill: Bill | None = None,
        budget: Budget | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """record_job is told the id of a job that is taken over, for Snakemake's records.

        outputs_of_run: ids of what all steps of the run make, also of those that come later.
        """
        self.bill, self.budget, self.heartbeat = bill, budget, heartbeat
        self.client, self.bucket, self.notices, self.limits = client, bucket, notices, limits
        self.followers, self.submitter, self.stopper, self.completion = followers, submitter, stopper, completion
        self.record_job = record_job
        self.outputs_of_run = frozenset(outputs_of_run)
        self.idle: dict[str, tuple[str, float]] = {}  # job without a task -> its state, and since when, by monotonic()
        self.interval = PollInterval(limits)
        self.tasks: list[Task] = []

    def check(self, new: Iterable[Task] = ()) -> list[Result]:
        """Bring every task one step forward. Returns the results of those that have ended."""
        self.tasks += new
        if not self.tasks and not self.stopper.asked:
            return []
        before = [(task.job_id, task.state) for task in self.tasks]
        results = self.identify_new_tasks()
        refused = {id(result.task) for result in results}
        try:
            jobs = self.client.list_jobs()
        except OvhaiError as error:
            self.notices.report_outage(error)
        else:
            self.notices.report_recovery()
            if self.bill:
                self.bill.update(jobs)
            if self.budget:
                self.budget.note(self.tasks, jobs)
            if self.heartbeat:
                self.heartbeat.note(jobs, self.get_job_ids())
            results += self.advance_all(
                [task for task in self.tasks if task.fingerprint and id(task) not in refused], jobs
            )
            self.free_quota(jobs)
            self.stopper.repeat(jobs)
        for result in results:
            self.tasks.remove(result.task)
        self.interval.adapt(changed=before != [(task.job_id, task.state) for task in self.tasks])
        return results

    def identify_new_tasks(self) -> list[Result]:
        """Compute fingerprints, which need the inputs' checksums. Returns the tasks that cannot be done."""
        results = []
        for task in [task for task in self.tasks if not task.fingerprint]:
            try:
                self.identify(task)
            except BucketError as error:
                self.notices.report_bucket_outage(error)
            except SubmissionError as error:
                results.append(refuse(task, error))
        return results

    def identify(self, task: Task) -> None:
        spec, inputs = task.spec, {}
        for file in spec.outer_inputs:
            info = self.bucket.get_info(file)
            if info is None:
                raise SubmissionError(f"its input {file.uri} is not in the bucket")
            inputs[file] = info
        task.inputs = inputs
        checksums = {file: info.checksum for file, info in inputs.items()}
        task.target = get_target(spec.outputs)
        task.outputs = get_output_fingerprints(spec, checksums)
        task.fingerprint = get_fingerprint(spec.command, spec.image, spec.params, spec.outputs, checksums)

    def free_quota(self, jobs: Iterable[Job]) -> None:
        """Stop jobs that do not begin to run while tasks wait for the quota that they hold.

        An earlier head started them, for steps of this run whose turn has not come. No task watches them yet, so no
        limit of a task ends them. The run would wait for ever.
        """
        if not any(task.waits_for_quota for task in self.tasks):
            return
        now, watched = time.monotonic(), {task.job_id for task in self.tasks}
        for job in jobs:
            if not job.live or job.id in watched or self.outputs_of_run.isdisjoint(read_outputs(job)):
                continue
            state, since = self.idle.get(job.id, ("", now))
            self.idle[job.id] = (job.state, since if state == job.state else now)
            limit = self.limits.get(job.state, 0.0)
            if limit is not None and now - self.idle[job.id][1] > limit:
                what = get_reason_to_give_up(job, limit).what
                self.stopper.stop(job.id, f"it {what}, and other jobs wait for its place in the quota")

    # One step for each task ------------------------------------------------------------------------------------------

    def advance_all(self, tasks: list[Task], jobs: list[Job]) -> list[Result]:
        """jobs: all of the platform's."""
        results: list[Result] = []
        ready: list[Task] = []
        index = JobIndex(jobs)
        for task in tasks:
            try:
                decision = self.decide(task, index)
                result = self.advance(task, decision, index)
                if (
                    decision.action == "submit"
                    and task.fingerprint
                    and not result
                    and time.monotonic() >= task.not_before
                ):
                    ready.append(task)
            except SilenceError as error:
                self.notices.report_bucket_outage(error)
                continue
            except (OvhaiError, BucketError) as error:
                self.notices.remind(f"check {task.name}", f"{task.name}: {error}. The executor checks again later.")
                continue
            except Exception as error:  # a defect here must not leave all jobs without a watcher
                self.notices.remind(
                    f"defect {task.name}", f"{task.name}: unexpected {error!r}. The executor checks again later."
                )
                continue
            if result:
                results.append(result)
        wake([task for task in self.tasks if task.waits_for_quota], [result.task for result in results])
        ready = sort_by_priority(ready)
        if self.budget:
            ready, refused = self.budget.admit(ready, self.tasks, jobs)
            results += refused
        return results + self.submitter.submit_all(ready[:MOST_PER_CHECK])

    def decide(self, task: Task, index: JobIndex) -> Decision:
        candidates = index.find(task.outputs, task.target)
        if task.job_id in index.by_id and index.by_id[task.job_id] not in candidates:
            candidates.append(index.by_id[task.job_id])  # the platform does not show its labels
        decision = decide(self.get_claim(task, candidates, index), candidates)
        if decision.action == "submit" and (unlisted := self.find_unlisted(task, index.by_id)):
            candidates += unlisted
            decision = decide(self.get_claim(task, candidates, index), candidates)
        return decision

    def get_claim(self, task: Task, candidates: list[Job], index: JobIndex) -> Claim:
        def has_written(job: Job, file: StoredFile, info: ObjectInfo) -> bool:
            return self.completion.has_written(job, file, info, index.find([get_output_id(file)], ""))

        return replace(task.claim, equal=find_equal_jobs(task.spec, task.outputs, task.inputs, candidates, has_written))

    def find_unlisted(self, task: Task, listed: Container[str]) -> list[Job]:
        """Jobs that Snakemake's records name and the list lacks. Each is asked for before work is paid for again."""
        found = []
        for job_id in [job_id for job_id in task.unfinished if job_id not in listed]:
            try:
                found.append(self.client.get_job(job_id))
                self.notices.remind("list", describe_cut_list(job_id))
            except NotFoundError:
                task.unfinished.remove(job_id)
        return found

    def advance(self, task: Task, decision: Decision, index: JobIndex) -> Result | None:
        rivals = index.find(task.outputs, task.target)
        if decision.action != "ended":
            self.stop_others(task, decision)
        if decision.action == "missing":
            return self.find_missing(task)
        task.lists_without_job = 0
        if decision.action == "submit":
            return self.completion.find_result(task) or self.leave_out_done_members(task, index)
        assert decision.job
        if decision.action == "wait":
            if task.job_id in [job.id for job in decision.stop]:
                task.start_over()  # its job gives way
            self.notices.remind(f"wait {task.target}", f"{task.name} waits for job {decision.job.id} to end.")
            return None
        self.take_over(task, decision.job)
        if decision.action == "watch":
            return self.watch(task, decision.job)
        result = self.completion.complete(task, decision.job, rivals)
        if result and not result.failure:
            self.stop_others(task, decision)
            task.contested = is_contested(task.claim, decision.job, rivals)
        elif result and read_outputs(decision.job).keys() > task.outputs.keys():
            # The job does other work too, which may be what failed.
            self.notices.warn(
                f"{task.name}: job {decision.job.id}, which does this work and more, has not succeeded "
                f"({decision.job.state}). The work gets a job of its own."
            )
            task.start_over()
            return None
        elif decision.stop:
            # Another head removed the outputs before it started its own job. That job makes them again.
            task.job_id = decision.stop[0].id
            return None
        return result

    def leave_out_done_members(self, task: Task, index: JobIndex) -> Result | None:
        """Of a group that needs a job, leave out the members that have been done alone. A result if all have been."""
        if task.narrow is None or task.forced:
            return None
        name = task.name
        try:
            done, needed = self.sort_members(task.narrow, task, index)
            if done:
                task.leave_out(done, needed)
        except SubmissionError:  # what a job can do as a whole, it may be unable to do in parts
            done, needed = [], [0]
        task.narrow = None  # one look is enough
        if done:
            names = ", ".join(member.name for member in done)
            self.notices.info(
                f"{name}: {names} done already. {'A job does the rest.' if needed else 'No job is needed.'}"
            )
        return None if needed else Result(task)

    def sort_members(
        self, narrow: Callable[[Collection[int]], JobSpec], task: Task, index: JobIndex
    ) -> tuple[list[Task], list[int]]:
        """The members of a group that have been done, and the numbers of the others."""
        done: list[Task] = []
        needed: list[int] = []
        remade: set[StoredFile] = set()
        for number in range(len(task.spec.get_members())):
            member = Task(narrow([number]), task.handle, unfinished=list(task.unfinished), orphaned=True)
            if remade.isdisjoint(member.spec.inputs) and self.is_done(member, index):
                done.append(member)
            else:
                needed.append(number)
                remade |= set(member.spec.outputs)
        return done, needed

    def is_done(self, task: Task, index: JobIndex) -> bool:
        """Whether the result of a task is there: an earlier job's, or one that the records know."""
        try:
            self.identify(task)
        except SubmissionError:
            return False
        candidates = index.find(task.outputs, task.target)
        decision = decide(self.get_claim(task, candidates, index), candidates)
        if decision.action == "submit":
            return self.completion.find_result(task) is not None
        if decision.action != "ended" or not decision.job or not decision.job.succeeded:
            return False
        task.take_over(decision.job)
        result = self.completion.complete(task, decision.job, candidates)
        return result is not None and result.failure is None

    def stop_others(self, task: Task, decision: Decision) -> None:
        for job in decision.stop:
            self.stopper.stop(job.id, f"another job does the work of {task.name}, and both would write the same files")

    def take_over(self, task: Task, job: Job) -> None:
        if task.job_id == job.id:
            return
        how = "is already there"
        if task.submission and get_checksum_label(job, "submission") == task.submission:
            how = "was started after all"
        task.take_over(job)
        self.notices.info(f"{task.name}: job {job.id} {how} ({job.state}). The run uses it. Log: {task.log_path}")
        self.record_job(task, job.id)

    # A job that has not ended ----------------------------------------------------------------------------------------

    def watch(self, task: Task, job: Job) -> Result | None:
        now = time.monotonic()
        if job.state != task.state:
            if job.state and job.state not in KNOWN:
                self.notices.warn(
                    f"{task.name}: job {job.id} is in the unknown state {job.state!r}. The executor keeps watching it."
                )
            task.state, task.since = job.state, now
        if job.state == "RUNNING":
            self.followers.follow(job.id, task.log_path)
        limit = self.limits.get(job.state, task.spec.resources.runtime * 60)
        if limit is not None and job.live and now - task.since > limit:
            # Not reported before the job has ended: an order to stop may be lost, and the next attempt must not find
            # this job live.
            task.given_up = get_reason_to_give_up(job, limit)
        if task.given_up:
            self.stopper.stop(job.id, f"it {task.given_up.what}")
        if job.state == "TIMEOUT" and now - task.since > TIMEOUT_GRACE:
            return self.completion.complete(task, replace(job, finalized=True))
        return None

    def find_missing(self, task: Task) -> Result | None:
        """A list may lack a job for a while. The job is lost only if the platform does not know its id either."""
        assert task.job_id
        task.lists_without_job += 1
        if task.lists_without_job < LISTS_WITHOUT_JOB:
            return None
        try:
            job = self.client.get_job(task.job_id)
        except NotFoundError:
            return self.completion.fail(
                task, Failure("is not known to the platform any more", remedy=RETRIED, lost=True)
            )
        self.notices.remind("list", describe_cut_list(job.id))
        return self.completion.complete(task, job) if job.ended else self.watch(task, job)

    # The end of the run ----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self.submitter.closed

    def stop_submitting(self) -> None:
        """May be called during a check."""
        self.submitter.closed = True

    def cancel(self, patience: float) -> None:
        """Stop all jobs, and wait for the platform's confirmation for at most `patience` seconds."""
        self.submitter.close(wait=True)
        self.followers.stop_all()
        job_ids = {task.job_id for task in self.tasks if task.job_id}
        self.stopper.stop_all(job_ids, {task.submission for task in self.tasks if task.submission}, patience)

    def detach(self) -> None:
        """Stop watching, and leave the jobs to the next run."""
        self.submitter.close(wait=True)
        self.followers.stop_all()
        job_ids = self.get_job_ids()
        if job_ids:
            self.notices.info(f"{len(job_ids)} jobs keep running, and the next run finds them: {', '.join(job_ids)}")

    def get_job_ids(self) -> list[str]:
        """May be called during a check."""
        return list(dict.fromkeys(task.job_id for task in list(self.tasks) if task.job_id))

    def close(self) -> None:
        self.submitter.close(wait=False)
        self.followers.stop_all()


def describe_cut_list(job_id: str) -> str:
    return (
        f"`ovhai job list -a` lacks job {job_id}, although the platform knows it. If it shows only the newest jobs, "
        "delete old ones (`ovhai job delete ID`): a run in another folder would start work again that is done already."
    )


def get_reason_to_give_up(job: Job, limit: float) -> Failure:
    """limit: seconds."""
    what = f"was {job.state or 'in no state'} for more than {limit / 60:g} minutes"
    if job.info_code in IMAGE_PROBLEMS and diagnose_image(job).retry == "no":
        return replace(diagnose_image(job), what=what)
    if job.state == "QUEUED":
        cause, remedy = "no machine of its flavor is free", "Choose another flavor (it may depend on attempt) or wait."
    elif job.state == "PENDING":
        cause, remedy = job.info or "its container image is being loaded", "Check the image's name, size and registry."
    elif job.state == "INITIALIZING":
        cause = job.info or "its inputs are being copied from the bucket"
        remedy = "Raise --ovhai-initializing-limit if they are that large; else run `snakemake-ovhai doctor`."
    else:
        cause, remedy = job.info, "Ask OVHcloud's support about the job if this happens again."
    return Failure(what, cause, remedy)
