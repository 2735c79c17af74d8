"""From work that Snakemake hands over to its end: submit, watch, verify. One look a time, whatever goes wrong.

A look costs one `ovhai job list` for all jobs. Nothing that fails in it is fatal: it is said once, and the next look
tries again.
"""

import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from .bucket import Bucket, BucketError
from .client import Client, NotAuthenticatedError, NotFoundError, OvhaiError, QuotaError, RefusedError
from .decision import Claim, Decision, decide, get_label
from .diagnosis import Failure, Signature, diagnose, get_message, is_success
from .fingerprint import get_fingerprint, get_target
from .logs import Followers, get_log_path
from .states import KNOWN, LONG_AGO, Job
from .submission import LABEL_PREFIX, Request, SubmissionError, check_secrets, get_arguments, get_labels

SUBMISSIONS = 4  # at a time; one takes a second or two
SUBMISSIONS_PER_LOOK = 8  # the list from which it follows that nobody does the work must not be old
LOOKS_BEFORE_MISSING = 3  # lists without a job before it is asked for by its id
LOOKS_FOR_OUTPUTS = 5  # a bucket may show a new object a little late
TIMEOUT_GRACE = 600.0  # seconds in which a job in state TIMEOUT has to show that its outputs are copied
RULE_LOG = 100  # lines of a rule's own log that are searched and kept
TEED = 3  # last lines of a rule's log that the job's log has too if the rule writes with `tee`
REMINDER = 900.0  # seconds until a lasting problem is mentioned again


class Logger(Protocol):
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...


@dataclass(frozen=True)
class Limits:
    """Seconds."""

    queued: float
    pending: float
    min_interval: float
    max_interval: float


@dataclass
class Work:
    """One job of Snakemake on its way through the platform. handle is whatever the caller wants back at the end."""

    request: Request
    handle: Any
    unfinished: list[str] = field(default_factory=list)
    orphaned: bool = False
    target: str = ""
    fingerprint: str = ""
    newest_input: datetime = LONG_AGO
    job_id: str | None = None
    submission: str | None = None
    not_before: float = 0.0
    waits_for_quota: bool = False
    state: str = ""
    since: float = 0.0  # when this head saw the state for the first time, on its own clock
    looks_missing: int = 0
    looks_for_outputs: int = 0
    given_up: Failure | None = None  # the failure to report once the job has stopped

    @property
    def claim(self) -> Claim:
        return Claim(self.target, self.fingerprint, self.job_id, self.submission, self.unfinished, self.orphaned)


@dataclass(frozen=True)
class Result:
    """failure is None if the work is done; message is for the user."""

    work: Work
    failure: Failure | None = None
    message: str = ""
    log: Path | None = None


class Watcher:
    """All state of the head. look() and cancel() may be called from different threads, not at the same time."""

    def __init__(
        self,
        client: Client,
        bucket: Bucket,
        logger: Logger,
        limits: Limits,
        workflow: str,
        datastore: str,
        signatures: list[Signature],
        secrets: list[str],
        on_start: Callable[[Work, str | None], None],
    ) -> None:
        """on_start is told before a submission (None) and when the id of the job is known: for the records."""
        self.client, self.bucket, self.logger, self.limits = client, bucket, logger, limits
        self.workflow, self.datastore, self.signatures, self.secrets = workflow, datastore, signatures, secrets
        self.on_start = on_start
        self.followers = Followers(client)
        self.works: list[Work] = []
        self.stopping: dict[str, float] = {}  # job -> when it was last asked to stop
        self.said: dict[str, float] = {}  # kind of problem -> when it was last mentioned
        self.interval = limits.min_interval
        self.pool = ThreadPoolExecutor(SUBMISSIONS)
        self.cancelled = False

    # One look -------------------------------------------------------------------------------------------------------

    def look(self, new: Iterable[Work] = ()) -> list[Result]:
        """Bring everything one step forward; returns what has ended."""
        self.works += new
        if not self.works and not self.stopping:
            return []
        before = [(work.job_id, work.state) for work in self.works]
        results = self.prepare()
        try:
            jobs: list[Job] | None = self.client.list_jobs()
        except OvhaiError as error:
            self.report_outage(error)
            jobs = None
        if jobs is not None:
            self.report_recovery()
            results += self.advance_all(jobs, {id(result.work) for result in results})
            self.stop_again(jobs)
        for result in results:
            self.works.remove(result.work)
        after = [(work.job_id, work.state) for work in self.works]
        self.set_interval(changed=before != after)
        return results

    def prepare(self) -> list[Result]:
        """Fingerprints of new work, which need the checksums of its inputs."""
        results = []
        for work in [work for work in self.works if not work.fingerprint]:
            try:
                checksums = {}
                for file in work.request.outer_inputs:
                    info = self.bucket.get_info(file)
                    if info is None:
                        raise SubmissionError(f"its input {file.uri} is not in the bucket")
                    checksums[file] = info.checksum
                    work.newest_input = max(work.newest_input, info.modified)
            except BucketError as error:
                self.say("bucket", f"The bucket does not answer; waiting. {error}")
                continue
            except SubmissionError as error:
                results.append(self.refuse(work, error))
                continue
            request = work.request
            work.target = get_target(request.outputs)
            work.fingerprint = get_fingerprint(
                request.command, request.image, request.params, request.outputs, checksums
            )
        return results

    def advance_all(self, jobs: list[Job], refused: set[int]) -> list[Result]:
        results: list[Result] = []
        submissions: list[Work] = []
        by_target: dict[str, list[Job]] = defaultdict(list)
        by_id = {job.id: job for job in jobs}
        for job in jobs:
            by_target[get_label(job, "target")].append(job)
        for work in [work for work in self.works if work.fingerprint and id(work) not in refused]:
            candidates = by_target[work.target]
            if work.job_id in by_id and by_id[work.job_id] not in candidates:
                candidates = [*candidates, by_id[work.job_id]]  # its labels have been lost
            try:
                decision = decide(work.claim, candidates)
                if decision.action == "submit" and (unlisted := self.find_unlisted(work, by_id)):
                    decision = decide(work.claim, [*candidates, *unlisted])
                result = self.advance(work, decision, submissions)
            except (OvhaiError, BucketError) as error:
                self.say(f"look {work.request.name}", f"{work.request.name}: {error}; looking again later.")
                continue
            except Exception as error:  # a defect here must not leave every job without its watcher
                self.say(
                    f"defect {work.request.name}", f"{work.request.name}: unexpected {error!r}; looking again later."
                )
                continue
            if result:
                results.append(result)
        if results:  # there is room again
            for work in self.works:
                work.not_before = 0.0 if work.waits_for_quota else work.not_before
        return results + self.submit_all(submissions[:SUBMISSIONS_PER_LOOK])

    def advance(self, work: Work, decision: Decision, submissions: list[Work]) -> Result | None:
        if decision.action != "ended":
            self.stop_others(work, decision)
        if decision.action == "missing":
            return self.find_missing(work)
        work.looks_missing = 0
        if decision.action == "submit":
            if time.monotonic() >= work.not_before and not self.cancelled:
                submissions.append(work)
            return None
        assert decision.job
        if decision.action == "wait":
            self.say(f"wait {work.target}", f"{work.request.name} waits until {decision.job.id} has ended.")
            return None
        self.adopt(work, decision.job)
        if decision.action == "watch":
            return self.watch(work, decision.job)
        result = self.end(work, decision.job)
        if result and not result.failure:
            self.stop_others(work, decision)
        elif decision.stop:
            # Another head has removed the outputs before it started its own job: that one makes them again.
            work.job_id = decision.stop[0].id
            return None
        return result

    def stop_others(self, work: Work, decision: Decision) -> None:
        for job in decision.stop:
            self.stop(job.id, f"another job does the work of {work.request.name}, and both would write the same files")

    def adopt(self, work: Work, job: Job) -> None:
        if work.job_id == job.id:
            return
        lost_reply = get_label(job, "submission") == work.submission
        work.job_id, work.submission, work.given_up, work.state = job.id, None, None, ""
        how = "was started after all" if lost_reply else "is already there"
        self.logger.info(
            f"{work.request.name}: job {job.id} {how} ({job.state}); going on with it. {self.say_log(work)}"
        )
        self.on_start(work, job.id)

    def watch(self, work: Work, job: Job) -> Result | None:
        now = time.monotonic()
        if job.state != work.state:
            if job.state and job.state not in KNOWN:
                self.logger.warning(f"{work.request.name}: unknown state {job.state!r} of job {job.id}; watching on.")
            work.state, work.since = job.state, now
        if job.state == "RUNNING":
            self.followers.follow(job.id, self.get_log(work))
        limit = {"QUEUED": self.limits.queued, "PENDING": self.limits.pending}.get(job.state)
        if limit is not None and now - work.since > limit:
            self.give_up(work, job, limit)
        if work.given_up:
            self.stop(job.id, "it does not start")
        if job.state == "TIMEOUT" and now - work.since > TIMEOUT_GRACE:
            return self.end(work, replace(job, finalized=True))
        return None

    def give_up(self, work: Work, job: Job, limit: float) -> None:
        """Reported once the job has ended: an order to stop may be lost, and the next attempt must not find it live."""
        if job.state == "QUEUED":
            cause, remedy = (
                "no machine of its flavor is free",
                "Choose another flavor (it may depend on attempt) or wait.",
            )
        else:
            cause, remedy = job.info or "its image is being loaded", "Check the image's name, size and registry."
        work.given_up = Failure(f"was {job.state} for more than {limit / 60:g} minutes", cause, remedy)

    def find_missing(self, work: Work) -> Result | None:
        """A list may lack a job for a while: only the platform's word on this very job says that it is lost."""
        assert work.job_id
        work.looks_missing += 1
        if work.looks_missing < LOOKS_BEFORE_MISSING:
            return None
        try:
            job = self.client.get_job(work.job_id)
        except NotFoundError:
            failure = Failure("is not known to the platform any more", remedy="Nothing to do; it is tried again.")
            return self.fail(work, failure)
        return self.end(work, job) if job.ended else self.watch(work, job)

    def find_unlisted(self, work: Work, listed: Container[str]) -> list[Job]:
        """Jobs that Snakemake's records name and the list lacks: each is asked for before work is paid for again."""
        found = []
        for job_id in [job_id for job_id in work.unfinished if job_id not in listed]:
            try:
                found.append(self.client.get_job(job_id))
            except NotFoundError:
                work.unfinished.remove(job_id)
        return found

    # Start ----------------------------------------------------------------------------------------------------------

    def submit_all(self, submissions: list[Work]) -> list[Result]:
        """Several at a time. Once the quota is used up the rest of its kind waits too, without asking."""
        full: set[bool] = set()

        def try_to_submit(work: Work) -> Result | None:
            kind = work.request.resources.gpu > 0
            if kind in full or self.cancelled:
                return None
            work.waits_for_quota = False
            try:
                self.submit(work)
            except QuotaError as error:
                full.add(kind)
                self.say("quota", f"The quota is used up; jobs wait for a free place. {error}")
                work.submission, work.waits_for_quota = None, True
                work.not_before = time.monotonic() + self.limits.max_interval
            except NotAuthenticatedError as error:
                work.submission = None
                self.report_outage(error)
            except (RefusedError, SubmissionError) as error:
                return self.refuse(work, error)
            except BucketError as error:
                self.say("bucket", f"The bucket does not answer; waiting. {error}")
            except OvhaiError as error:
                # There may be a job now: the next lists tell, and only then is it tried again.
                work.not_before = time.monotonic() + 2 * self.limits.min_interval
                self.say(
                    f"submit {work.request.name}", f"{work.request.name}: {error}; looking whether it was started."
                )
            except Exception as error:
                work.not_before = time.monotonic() + self.limits.max_interval
                self.say(
                    f"submit {work.request.name}", f"{work.request.name}: unexpected {error!r}; tried again later."
                )
            return None

        return [result for result in self.pool.map(try_to_submit, submissions) if result]

    def submit(self, work: Work) -> None:
        """Old outputs go first, as where Snakemake runs a job itself: what is in the bucket afterwards is new."""
        request = work.request
        self.remove_outputs(request)
        submitted = self.bucket.get_time(request.outputs[0].bucket)
        submission = uuid.uuid4().hex
        labels = get_labels(request, self.workflow, work.target, work.fingerprint)
        labels |= {
            LABEL_PREFIX + "submission": submission,
            LABEL_PREFIX + "submitted": str(int(submitted.timestamp())),
        }
        arguments = get_arguments(request, labels, self.datastore)
        check_secrets(arguments, self.secrets)
        self.on_start(work, None)
        work.unfinished, work.orphaned = [], False  # from here on only the new job's result counts
        work.submission = submission
        job = self.client.submit(arguments)
        work.job_id, work.submission = job.id, None
        work.state, work.since = job.state, time.monotonic()
        self.on_start(work, job.id)
        self.logger.info(f"{request.name}: job {job.id} submitted. {self.say_log(work)}")

    # End ------------------------------------------------------------------------------------------------------------

    def end(self, work: Work, job: Job) -> Result | None:
        if is_success(job):
            return self.verify(work, job)
        if work.given_up:
            return self.fail(work, work.given_up)
        path = self.get_log(work)
        log = self.followers.finish(job.id, path)
        more = self.read_rule_logs(work, job, log)
        if more:
            log += more
            path.write_text(log)
        return self.fail(work, diagnose(job, log, self.signatures, work.request.resources.runtime), log)

    def read_rule_logs(self, work: Work, job: Job, log: str) -> str:
        """What the rules wrote into their own `log:` files, which are in the bucket only; but not what `tee` wrote."""
        found = ""
        for file in work.request.logs:
            try:
                lines = self.bucket.get_end(file, get_submitted(job)).strip().splitlines()[-RULE_LOG:]
            except BucketError as error:
                self.say("bucket", f"The bucket does not answer; a rule's log is not shown. {error}")
                continue
            if not all(line in log for line in lines[-TEED:]):
                found += "\n".join([f"{file.uri}:", *lines]) + "\n"
        return found

    def verify(self, work: Work, job: Job) -> Result | None:
        """The platform's DONE is not enough: each output has to be in the bucket, written since the submission."""
        problem = self.find_problem(work, job)
        if problem:
            work.looks_for_outputs += 1
            if work.looks_for_outputs < LOOKS_FOR_OUTPUTS and not work.orphaned:
                return None
            work.looks_for_outputs = 0
            if work.unfinished or work.orphaned:
                work.job_id, work.unfinished, work.orphaned = None, [], False  # its result has gone: start again
                return None
            failure = Failure(f"is DONE, but {problem}", remedy="Nothing to do; it is tried again.")
            return self.fail(work, failure, self.followers.finish(job.id, self.get_log(work)))
        self.followers.finish(job.id, self.get_log(work))
        return Result(work)

    def find_problem(self, work: Work, job: Job) -> str:
        since = get_submitted(job)
        if work.orphaned:  # an earlier job's result, which Snakemake would find stale if an input were newer
            since = max(since, work.newest_input)
        for file in work.request.outputs:
            info = self.bucket.get_info(file)
            if info is None:
                return f"its output {file.uri} is not in the bucket"
            if info.modified < since:
                return f"its output {file.uri} is older than the job"
        return ""

    def fail(self, work: Work, failure: Failure, log: str | None = None) -> Result:
        job_id = work.job_id or "not submitted"
        path = self.get_log(work)
        if log is None:
            log = self.followers.finish(work.job_id, path) if work.job_id else ""
        # Snakemake removes them too, but first it forgets that they are incomplete: a head that is killed in between
        # would leave half a file that the next one takes for a result.
        try:
            self.remove_outputs(work.request)
        except BucketError as error:
            self.say("bucket", f"The bucket does not answer; outputs of a failed job may be left there. {error}")
        return Result(work, failure, get_message(work.request.name, job_id, failure, log, path), path)

    def remove_outputs(self, request: Request) -> None:
        for file in request.outputs:
            if file not in request.kept:
                self.bucket.remove(file)

    def refuse(self, work: Work, error: Exception) -> Result:
        """Nothing was started, and asking again would not help."""
        failure = Failure("cannot be submitted", str(error), retry="no")
        return Result(work, failure, f"{work.request.name} cannot be submitted: {error}")

    # Stop -----------------------------------------------------------------------------------------------------------

    def stop(self, job_id: str, why: str) -> None:
        """Ask once, and again at later looks until the job has ended."""
        if job_id in self.stopping:
            return
        self.logger.info(f"Stopping job {job_id}: {why}.")
        self.stopping[job_id] = time.monotonic()
        self.ask_to_stop(job_id)

    def ask_to_stop(self, job_id: str) -> None:
        try:
            self.client.stop(job_id)
        except OvhaiError as error:
            self.say(f"stop {job_id}", f"Job {job_id} could not be stopped yet: {error}")

    def stop_again(self, jobs: Iterable[Job]) -> None:
        unended = {job.id: job for job in jobs if not job.ended}
        for job_id, asked in list(self.stopping.items()):
            job = unended.get(job_id)
            if job is None:
                del self.stopping[job_id]
            elif job.live and time.monotonic() - asked > 3 * self.limits.min_interval:
                self.stopping[job_id] = time.monotonic()
                self.ask_to_stop(job_id)

    def cancel(self, patience: float) -> None:
        """Stop everything and wait for the platform's word; say what is still running after `patience` seconds."""
        self.cancelled = True
        self.pool.shutdown(wait=True)  # a submission that is on its way has to be known, to be stopped
        self.followers.end_all()
        marks = {work.submission for work in self.works if work.submission}
        todo = {work.job_id for work in self.works if work.job_id} | set(self.stopping)
        if not todo and not marks:
            return
        self.logger.info(f"Stopping {len(todo)} jobs of the platform; this takes until their files are copied back.")
        list(ThreadPoolExecutor(SUBMISSIONS).map(self.ask_to_stop, todo))
        deadline = time.monotonic() + patience
        asked = time.monotonic()
        left: dict[str, str] = dict.fromkeys(todo, "unknown")
        while time.monotonic() < deadline:
            try:
                jobs = self.client.list_jobs()
            except OvhaiError as error:
                self.report_outage(error)
            else:
                found = {job.id for job in jobs if get_label(job, "submission") in marks and job.live} - todo
                todo |= found
                left = {job.id: job.state for job in jobs if job.id in todo and not job.ended}
                again = time.monotonic() - asked > 3 * self.limits.min_interval
                for job in jobs:
                    if job.id in found or (again and job.id in todo and job.live):
                        self.ask_to_stop(job.id)
                asked = time.monotonic() if again else asked
                if not left and not marks:
                    break
                if not left:
                    marks = set()  # one more list, in case that a lost submission shows late
            time.sleep(min(self.limits.min_interval, max(0.0, deadline - time.monotonic())))
        if left:
            self.logger.warning(
                "Not confirmed to have stopped, and perhaps still paid for: "
                + ", ".join(f"{job} ({state})" for job, state in left.items())
                + ". Stop them with: snakemake-ovhai stop "
                + " ".join(left)
            )
        elif todo:
            self.logger.info(f"All {len(todo)} jobs have stopped.")

    def leave(self) -> None:
        """Stop watching, not the jobs."""
        self.cancelled = True
        self.pool.shutdown(wait=True)
        self.followers.end_all()
        ids = [work.job_id for work in self.works if work.job_id]
        if ids:
            self.logger.info(f"{len(ids)} jobs go on without this head; the next run finds them: {', '.join(ids)}")

    def close(self) -> None:
        self.cancelled = True
        self.pool.shutdown(wait=False)
        self.followers.end_all()

    # Words ----------------------------------------------------------------------------------------------------------

    def get_log(self, work: Work) -> Path:
        return get_log_path(work.request.rule, work.request.wildcards, work.job_id or "none")

    def say_log(self, work: Work) -> str:
        return f"Log: {self.get_log(work)}"

    def say(self, kind: str, message: str) -> None:
        """A problem that lasts is mentioned once, and again from time to time."""
        now = time.monotonic()
        if now - self.said.get(kind, -REMINDER) >= REMINDER:
            self.said[kind] = now
            self.logger.warning(message)

    def report_outage(self, error: OvhaiError) -> None:
        if isinstance(error, NotAuthenticatedError):
            self.say(
                "outage login",
                f"The login has expired: run `ovhai login` in another terminal. Jobs go on, none is lost. ({error})",
            )
        else:
            self.say("outage", f"The platform does not answer; jobs go on meanwhile, watching again later. {error}")

    def report_recovery(self) -> None:
        if [self.said.pop(kind) for kind in list(self.said) if kind.startswith("outage")]:
            self.logger.info("The platform answers again.")

    def set_interval(self, changed: bool) -> None:
        """Quick while something changes; at rest half as often again each time."""
        grown = self.limits.min_interval if changed else min(self.interval * 1.5, self.limits.max_interval)
        self.interval = grown

    def get_pause(self) -> float:
        """Seconds until the next look, a little different each time, so that many heads do not knock together."""
        return self.interval * random.uniform(0.9, 1.1)


def get_submitted(job: Job) -> datetime:
    """When it was submitted, on the bucket's clock."""
    label = get_label(job, "submitted")
    return datetime.fromtimestamp(int(label) if label.isdigit() else 0, UTC)
