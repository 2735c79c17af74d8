"""What follows the end of a job: its outputs are verified, or its failure is diagnosed and its outputs are removed."""

from collections.abc import Sequence

from .bucket import Bucket, BucketError, ObjectInfo, SilenceError
from .diagnosis import RETRIED, Failure, diagnose, format_failure
from .flags import Verifier
from .identity import get_output_id, read_outputs
from .job import LONG_AGO, Job
from .labels import get_submission_time
from .leftovers import find_failed_writer, may_have_written
from .logs import LogFollower
from .notices import Notices
from .provenance import Provenance
from .rescue import Rescuer
from .signatures import Signature
from .task import Result, Task, get_works
from .volumes import StoredFile

CHECKS_FOR_OUTPUTS = 5  # a bucket may show a new object a little late
RULE_LOG = 100  # lines of a rule's own log that are searched and kept
TEED = 3  # last lines of a rule's log that are also in the job's log if the rule writes with `tee`


class Completion:
    def __init__(
        self,
        bucket: Bucket,
        notices: Notices,
        followers: LogFollower,
        signatures: Sequence[Signature],
        rescuer: Rescuer | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        self.rescuer = rescuer
        self.bucket, self.notices, self.followers, self.signatures = bucket, notices, followers, signatures
        self.verifier = Verifier(bucket)
        self.provenance = provenance

    def complete(self, task: Task, job: Job, rivals: Sequence[Job] = ()) -> Result | None:
        """The result of a task whose job has ended. None if its outputs may still appear, or if it starts over.

        rivals: jobs that write some of the same files, among them this one.
        OvhaiError if the platform has to copy the outputs again and does not answer. SilenceError if the bucket does
        not answer. Then nothing is decided: the log of a rule may hold the cause, and outputs of a failed job must not
        stay.
        """
        if job.succeeded:
            return self.verify(task, job, rivals)
        if job.rescuable and self.rescuer:
            if self.rescuer.rescue(task, job):
                return None
            if task.unfinished or task.orphaned:
                task.forget_earlier_jobs()  # of a run that has ended; this run needs a new job
                return None
        if task.given_up:
            return self.fail(task, task.given_up)
        path = task.log_path
        log = self.followers.finish(job.id, path)
        more = self.read_rule_logs(task, job, log)
        if more:
            log += more
            path.write_text(log)
        return self.fail(task, diagnose(job, log, self.signatures, task.spec.resources.runtime), log)

    def find_result(self, task: Task) -> Result | None:
        """The records may show that the outputs are there, made by this very work. Then no job is needed."""
        if (
            self.provenance is None
            or task.forced
            or not self.provenance.knows(task.fingerprint, *task.outputs.values())
        ):
            return None
        made = {}
        for file in task.spec.outputs:
            info = self.bucket.get_info(file)
            if info is None or not self.provenance.is_made_by(file.uri, info.version, *get_works(task, file)):
                return None
            made[file] = info
        if any(self.bucket.get_info(file) is None for file in task.spec.benchmarks):
            return None
        task.made = made
        self.notices.info(f"{task.name}: its outputs are in the bucket, made by the same work. No job is needed.")
        return Result(task)

    def verify(self, task: Task, job: Job, rivals: Sequence[Job]) -> Result | None:
        """The platform's DONE is not enough. Each output must be in the bucket, written since the submission.

        And it must be as ensure() asks.
        """
        missing = self.find_problem(task, job, rivals)
        problem = missing or self.verifier.find_problem(job.id, task.spec.ensured)
        if problem is None:
            return None
        if problem:
            task.checks_without_outputs += 1
            if missing and task.checks_without_outputs < CHECKS_FOR_OUTPUTS and not task.orphaned:
                return None
            task.checks_without_outputs = 0
            if task.unfinished or task.orphaned:
                task.forget_earlier_jobs()  # the earlier job's result is gone, so a new job is needed
                return None
            return self.fail(task, Failure(f"is DONE, but {problem}", remedy=RETRIED))
        self.followers.finish(job.id, task.log_path)
        return Result(task)

    def find_problem(self, task: Task, job: Job, rivals: Sequence[Job]) -> str:
        since = get_submission_time(job) or LONG_AGO
        if task.orphaned and self.provenance is None:  # without its records, Snakemake takes a newer input's date
            own = read_outputs(job)  # of which some may be inputs of the task, if the job runs a group
            inputs = [info.modified for file, info in task.inputs.items() if get_output_id(file) not in own]
            since = max([since, *inputs])
        for file in (*task.spec.outputs, *task.spec.benchmarks):
            info = self.bucket.get_info(file)
            if info is None:
                return f"its output {file.uri} is not in the bucket"
            if info.modified < since:
                return f"its output {file.uri} is older than the job"
            if file in task.spec.benchmarks:
                continue
            if task.orphaned and not self.is_result(task, job, rivals, file, info):
                return f"its output {file.uri} may have been replaced"
            task.made[file] = info
        return ""

    def is_result(self, task: Task, job: Job, rivals: Sequence[Job], file: StoredFile, info: ObjectInfo) -> bool:
        """Whether an output is what an earlier job made, although its head may not have seen the end of it."""
        recorded = self.is_recorded(job, file, info, *get_works(task, file))
        if recorded is not None:
            return recorded
        # Jobs that share other files only, such as a group with other members, have not written this one.
        writers = [
            rival for rival in rivals if get_output_id(file) in (read_outputs(rival) or {get_output_id(file): ""})
        ]
        return find_failed_writer(info.modified, writers) is None

    def is_recorded(self, job: Job, file: StoredFile, info: ObjectInfo, *works: str) -> bool | None:
        """Whether the records say that this job, or a job of these works, made an object. None if they do not tell."""
        if self.provenance is None:
            return None
        made = self.provenance.is_made_by(file.uri, info.version, job.id, *works)
        if made is None and self.provenance.has_other_version(file.uri, info.version, job.id):
            return False
        return made

    def has_written(self, job: Job, file: StoredFile, info: ObjectInfo, writers: Sequence[Job]) -> bool:
        """Whether an object is the one that a successful job wrote. writers: all jobs that write this file."""
        recorded = self.is_recorded(job, file, info)
        if recorded is not None:
            return recorded
        others = [other for other in writers if other.id != job.id]
        if not all(other.ended for other in others) or any(may_have_written(info.modified, other) for other in others):
            return False
        return may_have_written(info.modified, job)

    def fail(self, task: Task, failure: Failure, log: str | None = None) -> Result:
        """log: the job's log, which is fetched if it is None."""
        path = task.log_path
        if log is None:
            log = self.followers.finish(task.job_id, path) if task.job_id else ""
        # Snakemake also removes the outputs, but before that it forgets that they are incomplete. If a head were killed
        # in between, the next one would take half a file for a result.
        try:
            for file in () if task.spec.keep_incomplete else task.spec.replaced_outputs:
                self.bucket.remove(file)
        except SilenceError:
            raise
        except BucketError as error:
            self.notices.report_bucket_outage(error, "Outputs of a failed job may be left there.")
        message = format_failure(task.name, task.job_id or "not submitted", failure, log, path)
        return Result(task, failure, message, path)

    def read_rule_logs(self, task: Task, job: Job, log: str) -> str:
        """What the rules wrote into their own `log:` files, which are only in the bucket.

        A file is left out if the rule wrote it with `tee`, because its end is in the job's log too.
        """
        found = ""
        for file in task.spec.logs:
            try:
                end = self.bucket.get_end(file, get_submission_time(job) or LONG_AGO)
            except SilenceError:
                raise
            except BucketError as error:
                self.notices.report_bucket_outage(error, "The log of a rule is not shown.")
                continue
            lines = end.strip().splitlines()[-RULE_LOG:]
            if not all(line in log for line in lines[-TEED:]):
                found += "\n".join([f"{file.uri}:", *lines]) + "\n"
        return found
