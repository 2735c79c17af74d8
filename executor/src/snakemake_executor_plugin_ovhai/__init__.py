"""Snakemake executor for OVHcloud AI Training. Shell rules run as jobs of the program `ovhai`, with all files in S3.

A map for newcomers, in the order in which data flows:

    settings.py         the options --ovhai-...
    snakemake_records.py   Snakemake reads its records from the bucket, and writes them there (provenance.py)
    inventory.py        Snakemake plans by one listing of the bucket
    scheduling.py       its scheduler does not ask the bucket for sizes
    environment.py      variables that tell a profile where bucket and data store are; credentials.py knows about keys
    first_words.py      what is wrong, before Snakemake plans: bucket (probe.py, place.py), platform (datastore.py)
    __init__.py         Executor: everything that Snakemake calls
    preflight.py        checks before the first submission, with leftovers.py (files of failed jobs)
    choice.py           which flavor is the cheapest that fits, for `flavor: auto`
    estimate.py         how long a job may take; quote.py says what a run will cost, dry_run.py for `snakemake -n` too
    sources.py          uploads the folders of programs that the commands call
    snakemake_jobs.py   a Snakemake job becomes a job spec: job_spec.py, volumes.py, flavors.py
    rule_script.py      the shell text of one rule: shadow folder, benchmark, touch()
    flags.py            flags and keywords that act where a job runs: done, or refused
    task.py             the state of one job spec on its way through the platform, and its result
    watcher.py          checks all jobs at intervals (polling.py) and moves each task one step forward:
      fingerprint.py      which work is it? identity.py tells it for each output file
      turns.py            the quota has room for some jobs only: who is next?
      decision.py         which of the platform's jobs does this work? (a pure function)
      submitter.py        nobody does it: submit a job; arguments.py writes the command line
      stopper.py          two do it: stop one
      logs.py             the job runs: its log goes into a file
      completion.py       the job has ended: verify its outputs, or explain why it failed (diagnosis.py, signatures.py)
      rescue.py           its files could not be copied to the bucket: have them copied again
    updates.py          what a failed job must not take with it
    notices.py          what the user is told meanwhile; errors.py is how the plugin ends a run
    prices.py           what flavors cost; bill.py says what each job has cost, budget.py what may still be submitted
    heartbeat.py        signs of life of this head in the bucket, for `snakemake-ovhai reap`
    leaving.py          signals: Ctrl-C stops the jobs, SIGTERM and SIGHUP leave them to the next run

These modules reach the outside:

    client.py           calls `ovhai`; job.py, labels.py and records.py read what it answers
    bucket.py           asks the bucket; patience.py lets Snakemake wait for it, and outage.py knows what an outage is

cli/ is the command snakemake-ovhai.
"""

import asyncio
import contextlib
import sys
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from . import heartbeat
from .bill import Bill, BillError, load_charges
from .bucket import Bucket, BucketError, get_access, make_client
from .budget import Budget, check_limits
from .budget import Limits as MoneyLimits
from .choice import AUTO
from .client import INSTALL, Client, OvhaiError
from .completion import Completion
from .credentials import SHORTEST, get_secrets
from .diagnosis import Failure
from .errors import WorkflowError
from .estimate import History, learn
from .first_words import FOUND
from .flavors import check_resources
from .identity import get_output_ids
from .job_spec import JobSpec, SubmissionError
from .labels import get_workflow_label, name_rules
from .leaving import Leaving, end_local_commands, take_over_sigterm
from .logs import LogFollower
from .notices import Notices
from .patience import make_patient
from .place import PlaceError, split_storage_prefix
from .polling import Limits
from .preflight import (
    check_earlier_jobs,
    get_needs,
    get_remote_outputs,
    list_items,
    load_flavors,
    load_quota,
    refuse_impossible_jobs,
    refuse_to_replace_protected,
)
from .prices import Prices, load_prices
from .provenance import Provenance
from .quote import Planner
from .quote import describe as describe_quote
from .rescue import Rescuer
from .settings import ExecutorSettings as ExecutorSettings  # Snakemake looks for this name here
from .signatures import OWN_FILE, Retry, Signature, load_signatures
from .snakemake_jobs import get_job_spec, get_members
from .snakemake_records import is_forced
from .sources import SourceError, find_file, find_folder, upload_folder
from .stopper import Stopper
from .submitter import Submitter
from .task import Result, Task, describe
from .updates import leave_out
from .volumes import Volume
from .watcher import Watcher

LONGEST_CHECK = 5.0  # seconds; Ctrl-C waits no longer for a check, which may wait for the bucket
LAST_LIST = 10.0  # seconds; the end of a run waits no longer for the last list of jobs
FREE_RETRIES = 5  # a job may be taken away so many times without this being counted as an attempt

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    # No Snakemake runs in a job, so it needs neither its sources nor its storage plugin.
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
    pass_envvar_declarations_to_cmd=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):
    def __init__(self, workflow: WorkflowExecutorInterface, logger: LoggerExecutorInterface) -> None:
        # super().__init__() starts the watching thread before it calls __post_init__(). If that thread missed one of
        # these attributes it would end, and Snakemake would wait for ever.
        self.watcher: Watcher | None = None
        self.check_lock = threading.Lock()
        self.new_jobs = threading.Event()
        # Snakemake keeps a lock while it asks the bucket. A report waits for that lock, but no check may.
        self.reporter = ThreadPoolExecutor(1, "ovhai-report")
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        self.settings: ExecutorSettings = self.workflow.executor_settings
        self.notices = Notices(self.logger)
        self.choices: set[str] = set()  # why which flavor was chosen, as far as the user knows
        # A label, of which the platform may show small letters only.
        self.run = f"{datetime.now(UTC):%Y%m%dt%H%M%Sz}-{uuid.uuid4().hex[:4]}"
        self.retries: dict[JobExecutorInterface, Retry] = {}  # failed job -> whether another attempt may help
        self.free_retries: dict[JobExecutorInterface, int] = {}
        self.restarts = self.lost = 0  # jobs that are started again, and machines that the platform has lost
        self.waits: dict[JobExecutorInterface, float] = {}  # failed job -> seconds until its next attempt may begin

        client = Client()
        if not client.is_installed():
            raise WorkflowError(
                f"The program `ovhai` is not on PATH; {INSTALL}. Then run `ovhai login`, and check everything with "
                "`snakemake-ovhai doctor`."
            )
        provider = self.workflow.storage_registry.default_storage_provider
        prefix = self.workflow.storage_settings.default_storage_prefix or ""
        if provider is None or not hasattr(provider, "s3c") or not prefix.startswith("s3://"):
            raise WorkflowError(
                "The executor ovhai needs S3 as default storage: --default-storage-provider s3 "
                "--default-storage-prefix s3://BUCKET/PREFIX"
            )
        try:
            self.bucket_name, self.root = split_storage_prefix(prefix)
        except PlaceError as error:
            raise WorkflowError(f"--default-storage-prefix: {error}") from None
        s3_client = make_client(get_access(provider.settings))
        make_patient(s3_client)
        bucket = Bucket(s3_client)
        signatures = self.load_signatures()
        self.provenance: Provenance | None = getattr(self.workflow.persistence, "provenance", None)
        self.prices = self.load_prices()
        self.flavors = load_flavors(client, self.logger)
        self.quota = load_quota(client, FOUND.account)
        self.budget = self.open_budget()
        workflow = get_workflow_label(self.bucket_name, self.root)
        self.bill = self.open_bill(workflow)
        self.planner = self.make_planner(client, workflow)
        refuse_impossible_jobs(
            self.dag.needrun_jobs(), self.settings, self.flavors, self.quota, self.budget, self.planner
        )
        refuse_to_replace_protected(bucket, self.dag, partial(is_marked_incomplete, self.workflow.persistence))
        earlier = check_earlier_jobs(client, bucket, self.dag, workflow, self.logger)
        self.source_volumes = self.upload_sources(bucket)
        needed = get_output_ids(file for step in self.dag.needrun_jobs() for file in get_remote_outputs(step))
        hurried = Bucket(
            make_client(get_access(provider.settings), heartbeat.CONNECT, heartbeat.READ, heartbeat.ATTEMPTS)
        )
        self.heartbeat = heartbeat.Heartbeat(hurried, self.bucket_name, self.root, self.run, needed, self.notices)
        secrets = get_storage_secrets(provider.settings)
        self.watcher = self.make_watcher(client, bucket, workflow, signatures, secrets, needed)
        self.leaving = Leaving(
            self.say_goodbye, self.workflow.persistence.unlock, self.watcher.get_job_ids, self.logger
        )
        self.leaving.install()
        take_over_sigterm(self.leaving, self.logger)
        self.heartbeat.begin(earlier)
        if items := list_items(self.dag, self.settings, self.planner):
            self.logger.info(describe_quote(items, self.prices.currency))

    def load_signatures(self) -> list[Signature]:
        """The user's own come first, since the first one that matches counts."""
        path = self.settings.signatures
        try:
            own = load_signatures(find_file(path, self.workflow.main_snakefile)) if path else []
            return own + load_signatures(OWN_FILE)
        except ValueError as error:
            raise WorkflowError(str(error)) from None

    def load_prices(self) -> Prices:
        path = self.settings.prices
        try:
            return load_prices(find_file(path, self.workflow.main_snakefile) if path else None)
        except ValueError as error:
            raise WorkflowError(str(error)) from None

    def open_bill(self, workflow: str) -> Bill | None:
        if self.settings.bill is None:
            return None
        try:
            return Bill(self.settings.bill, workflow, self.prices, self.flavors, self.notices)
        except BillError as error:
            raise WorkflowError(f"--ovhai-bill: {error}") from None

    def make_planner(self, client: Client, workflow: str) -> Planner:
        factor = self.settings.timeout_factor
        if not 1 <= factor < 1000:
            raise WorkflowError(f"--ovhai-timeout-factor is {factor}; allowed is a number from 1 on")
        history = History()
        if self.settings.bill:
            history = learn(load_charges(self.settings.bill, workflow, client, self.prices, self.flavors))
        return Planner(factor, self.prices, self.flavors, history, self.quota)

    def open_budget(self) -> Budget:
        settings = self.settings
        limits = MoneyLimits(settings.max_cost, settings.max_price_per_hour)
        try:
            check_limits(limits)
        except ValueError as error:
            raise WorkflowError(str(error)) from None
        return Budget(limits, self.prices, self.flavors, self.run, settings.pending_limit * 60, self.notices)

    def upload_sources(self, bucket: Bucket) -> list[Volume]:
        folder = f"{self.root}/.ovhai".lstrip("/")
        try:
            # The storage plugin deletes a bucket together with its last object. This object keeps it.
            bucket.put(self.bucket_name, f"{folder}/keep", b"Snakemake executor ovhai\n")
        except BucketError as error:
            raise WorkflowError(f"{error}\nCheck everything with `snakemake-ovhai doctor`.") from None
        names = [name.rstrip("/") for name in (self.settings.sources or "").split(",") if name]
        try:
            found = {name: find_folder(name, self.workflow.main_snakefile) for name in names}
            return [upload_folder(bucket, path, name, self.bucket_name, folder) for name, path in found.items()]
        except (SourceError, BucketError) as error:
            raise WorkflowError(f"sources: {error}") from None

    def make_watcher(
        self,
        client: Client,
        bucket: Bucket,
        workflow: str,
        signatures: list[Signature],
        secrets: list[str],
        needed: Collection[str],
    ) -> Watcher:
        """needed: ids of what all steps of the run make."""
        settings = self.settings
        limits = Limits(
            settings.queued_limit * 60,
            settings.pending_limit * 60,
            settings.min_interval,
            settings.max_interval,
            settings.initializing_limit * 60,
        )
        notices, followers = self.notices, LogFollower(client)
        datastore = settings.datastore or ""  # Snakemake has made sure that there is one
        return Watcher(
            client,
            bucket,
            notices,
            limits,
            followers,
            Submitter(client, bucket, notices, limits, workflow, datastore, secrets, record_job, self.run),
            Stopper(client, notices, limits.min_interval),
            Completion(bucket, notices, followers, signatures, Rescuer(client, notices), self.provenance),
            record_job,
            needed,
            self.bill,
            self.budget,
            self.heartbeat,
        )

    # The scheduler's thread calls these -----------------------------------------------------------------------------

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        self.leaving.install()  # in case another part of Snakemake has set its own handlers
        super().run_jobs(jobs)

    def run_job(self, job: JobExecutorInterface) -> None:
        """Hand the job over to the watching thread. Neither the quota nor an outage may hold up the scheduler."""
        info = SubmittedJobInfo(job)
        settings = self.settings
        try:
            spec = self.get_spec(job, get_members(job))
            problems = check_resources(spec.resources, self.flavors, quota=self.quota)
            if problems:
                raise SubmissionError("; ".join(problems))
        except SubmissionError as error:
            self.retries[job] = "no"
            self.report_job_error(info, msg=f"{job.name} cannot be submitted: {error}\n")
            return
        if job.attempt > 1 or job in self.free_retries or is_marked_incomplete(self.workflow.persistence, job):
            spec = replace(spec, protected=())  # what this work has left behind is not finished
        records = get_recorded_jobs(self.workflow.persistence, job)
        forced = is_forced(self.dag, get_members(job))
        task = Task(spec, job, unfinished=records, forced=forced, priority=job.priority)
        if job.is_group():
            task.narrow = partial(self.get_spec_of_some, job)
        if is_marked_incomplete(self.workflow.persistence, job):
            # The head may have died while a submission was under way.
            task.orphaned = not records
            task.not_before = time.monotonic() + 2 * settings.min_interval
        elif not task.forced:
            # Whatever made Snakemake plan the job: a result of the same work for the same inputs is as good as a new
            # one. Another head may have made it, or an input has a newer date and the same content.
            task.orphaned = True
        task.not_before = max(task.not_before, time.monotonic() + self.waits.pop(job, 0.0))
        info.aux = {"task": task}
        self.report_job_submission(info, register_job=False)
        self.new_jobs.set()

    def get_spec(self, job: JobExecutorInterface, members: list[JobExecutorInterface]) -> JobSpec:
        settings = self.settings
        spec = get_job_spec(
            members, job.attempt, settings.image, settings.default_runtime, self.source_volumes, self.root
        )
        rules = name_rules(spec.rule)
        if spec.resources.flavor == AUTO:
            _, why = self.planner.choose(spec.resources, rules, job.attempt)
            if why not in self.choices:
                self.logger.info(f"{spec.name}: flavor {why}")
            self.choices.add(why)
        return replace(spec, resources=self.planner.settle(spec.resources, rules, job.attempt))

    def get_spec_of_some(self, group: JobExecutorInterface, numbers: Collection[int]) -> JobSpec:
        """numbers: which members of the group, in the order of its spec."""
        return self.get_spec(group, [member for number, member in enumerate(get_members(group)) if number in numbers])

    def handle_job_error(self, job: JobExecutorInterface) -> None:
        """Snakemake compares the attempt with `retries` right after this call, so the attempt is set here."""
        retry = self.retries.pop(job, "yes")
        if retry == "no" or (retry == "changed" and not self.asks_for_another_machine(job)):
            job.attempt = job.restart_times + 1
        elif retry == "free" and self.free_retries.get(job, 0) < FREE_RETRIES:
            self.free_retries[job] = self.free_retries.get(job, 0) + 1
            job.attempt -= 1
        self.restarts += job.restart_times > job.attempt - 1

    def asks_for_another_machine(self, job: JobExecutorInterface) -> bool:
        """Whether the next attempt does. On the same machine, the same job would run out of memory again."""
        now, _, _ = get_needs(job, self.settings, self.planner)
        job.attempt += 1
        then, _, _ = get_needs(job, self.settings, self.planner)
        job.attempt -= 1
        return now is None or then is None or replace(now, runtime=0) != replace(then, runtime=0)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """active_jobs may be empty while a check is under way, but the watcher knows all jobs."""
        if self.watcher is None:
            return
        self.watcher.stop_submitting()
        checked = self.check_lock.acquire(timeout=LONGEST_CHECK)
        try:
            if is_failing():
                self.logger.error("Snakemake ends because of an error. It is no reason to stop jobs that are good.")
                self.watcher.detach()
            elif self.settings.detach:
                self.watcher.detach()
            else:
                self.watcher.cancel(self.settings.stop_limit * 60)
        finally:
            if checked:
                self.check_lock.release()

    def shutdown(self) -> None:
        with self.lock:
            self.wait = False
        self.wait_thread.join(LONGEST_CHECK)
        if not self.wait_thread.is_alive():
            super().shutdown()
        self.reporter.shutdown(wait=not self.wait_thread.is_alive())
        if self.watcher:
            self.watcher.close()
            self.heartbeat.end()
            if self.restarts or self.lost:
                self.logger.info(
                    f"Jobs that were started again: {self.restarts}. Machines that were lost: {self.lost}."
                )
            if self.bill:
                self.close_bill(self.bill)
            if self.provenance:
                self.workflow.persistence.save()

    def close_bill(self, bill: Bill) -> None:
        """Jobs that were stopped at the end have ended since the last check."""
        if bill.live:
            with contextlib.suppress(OvhaiError):
                bill.update(Client(timeout=LAST_LIST).list_jobs())
        if said := bill.describe_run(self.run):
            self.logger.info(said)

    # The thread of leaving.py calls this ----------------------------------------------------------------------------

    def say_goodbye(self, reason: str) -> None:
        """Leave the jobs to the next run, and end this one as Snakemake ends when its executor cannot go on."""
        assert self.watcher
        self.watcher.stop_submitting()
        self.logger.info(f"{reason}. Jobs that run cost money. They keep running.")
        with self.check_lock:
            self.watcher.detach()
        self.workflow.scheduler.executor_error_callback(WorkflowError(reason))
        end_local_commands()

    # The watching thread calls these --------------------------------------------------------------------------------

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        results = self.check([info.aux["task"] for info in active_jobs if info.aux])
        for info in active_jobs:
            result = results.get(id(info.aux["task"])) if info.aux else None
            if result is None:
                yield info
            elif result.failure is None:
                if self.provenance:
                    self.provenance.note(describe(result.task))
                self.report(self.report_job_success, info)
            else:
                self.retries[info.job] = result.failure.retry
                self.note_loss(result)
                mark_left_out(result.task)
                self.note_wait(info.job, result.failure)
                aux_logs = [str(result.log)] if result.log and result.log.exists() else []
                if info.job.is_group():  # Snakemake shows no message of a group
                    self.logger.error(result.message)
                self.report(self.report_job_error, info, msg=result.message + "\n", aux_logs=aux_logs)

    def report(self, report: Callable[..., None], *arguments: Any, **keywords: Any) -> None:
        """Tell Snakemake about a job, in a thread of its own."""

        def run() -> None:
            try:
                report(*arguments, **keywords)
            except Exception as error:  # Snakemake would wait for this job for ever
                self.workflow.scheduler.executor_error_callback(error)

        with contextlib.suppress(RuntimeError):  # the run has ended, and this check took too long for it
            self.reporter.submit(run)

    def note_loss(self, result: Result) -> None:
        if result.failure and result.failure.lost:
            self.lost += 1
            if self.bill and result.task.job_id:
                self.bill.note_loss(result.task.job_id)

    def note_wait(self, job: JobExecutorInterface, failure: Failure) -> None:
        """How long the next attempt has to wait: each time twice as long."""
        self.waits[job] = failure.wait * 2 ** self.free_retries.get(job, 0)

    def check(self, tasks: list[Task]) -> dict[int, Result]:
        """Results by the id() of their tasks. An exception would end Snakemake and leave all jobs running."""
        with self.check_lock:
            if self.watcher is None or self.watcher.closed:
                return {}
            known = set(map(id, self.watcher.tasks))
            try:
                results = self.watcher.check([task for task in tasks if id(task) not in known])
            except Exception as error:
                self.watcher.notices.remind(
                    "defect", f"Unexpected {error!r} while jobs were checked. They keep running and are checked later."
                )
                return {}
        return {id(result.task): result for result in results}

    async def sleep(self) -> None:
        """Wait until the next check is due. New jobs shorten the wait to the shortest interval."""
        pause = self.watcher.interval.get_pause() if self.watcher else 0.5
        shortest = min(self.settings.min_interval, pause) if self.watcher and self.watcher.tasks else 0.0
        begin = time.monotonic()
        while self.wait and time.monotonic() - begin < pause:
            if self.new_jobs.is_set() and time.monotonic() - begin >= shortest:
                break
            await asyncio.sleep(0.1)
        self.new_jobs.clear()


def is_failing() -> bool:
    """Whether Snakemake handles an error. It then ends a run as after Ctrl-C, which is no Exception."""
    return isinstance(sys.exc_info()[1], Exception)


def record_job(task: Task, job_id: str | None) -> None:
    """Write the platform's job into Snakemake's records of the Snakemake job."""
    task.handle.register(external_jobid=job_id)


def mark_left_out(task: Task) -> None:
    done = {file.path for member in task.done for file in member.spec.outputs}
    for member in get_members(task.handle):
        if done.issuperset(map(str, member.output)):
            leave_out(member)


def is_marked_incomplete(persistence: Any, job: JobExecutorInterface) -> bool:
    """Whether Snakemake's records say that an earlier run started this job and never finished it."""
    return any(asyncio.run(persistence.incomplete(member)) for member in get_members(job))


def get_recorded_jobs(persistence: Any, job: JobExecutorInterface) -> list[str]:
    """Ids of the platform's jobs that Snakemake's records name, also those of a group's members that ran alone."""
    return list(dict.fromkeys(job_id for member in get_members(job) for job_id in persistence.external_jobids(member)))


def get_storage_secrets(settings: Any) -> list[str]:
    """Keys of the bucket, wherever they come from. None may appear in a job."""
    values = [getattr(settings, name, None) for name in ("access_key", "secret_key", "token")]
    return [value for value in values if value and len(value) >= SHORTEST] + get_secrets()
