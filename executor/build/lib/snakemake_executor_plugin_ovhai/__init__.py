"""Snakemake executor for OVHcloud AI Training: shell rules as jobs of the program `ovhai`, files in S3."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from .bucket import Bucket, BucketError
from .client import Client, OvhaiError
from .decision import get_label
from .diagnosis import Retry, is_success, load_signatures
from .leftovers import find_jobs, find_writer
from .requests import get_request, get_resources, get_stored, list_problems
from .settings import ExecutorSettings as ExecutorSettings  # found here by name
from .states import Job
from .submission import SubmissionError, sanitise
from .validation import Flavor, check_resources, read_flavors
from .volumes import StoredFile, Volume
from .watching import Limits, Result, Watcher, Work

FREE_RETRIES = 5  # that many times a job may be taken away without this being counted as an attempt
# Snakemake's words where it runs a job only because it runs one before it, or because outputs are not there (yet).
ONLY_TO_HAVE_OUTPUTS = {"input files updated by another job", "output files have to be generated"}
SIGNATURES = Path(__file__).with_name("signatures.yaml")

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    # No Snakemake runs in a job, so there is nothing to bring along for one.
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
    pass_envvar_declarations_to_cmd=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):
    def __init__(self, workflow: WorkflowExecutorInterface, logger: LoggerExecutorInterface) -> None:
        # The watching thread starts in super().__init__(), before __post_init__: an attribute that it misses would end
        # it, and Snakemake would wait for ever.
        self.watcher: Watcher | None = None
        self.look_lock = threading.Lock()
        self.fresh = threading.Event()
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        settings = self.workflow.executor_settings
        self.settings: ExecutorSettings = settings
        self.retries: dict[JobExecutorInterface, Retry] = {}
        self.free_retries: dict[JobExecutorInterface, int] = {}

        client = Client()
        if not client.is_installed():
            raise WorkflowError(
                "The program `ovhai` is not on PATH. Install it from https://cli.gra.ai.cloud.ovh.net, run "
                "`ovhai login`, then check everything with `snakemake-ovhai doctor`."
            )
        provider = self.workflow.storage_registry.default_storage_provider
        prefix = self.workflow.storage_settings.default_storage_prefix or ""
        if provider is None or not hasattr(provider, "s3c") or not prefix.startswith("s3://"):
            raise WorkflowError(
                "The executor ovhai needs S3 as default storage: --default-storage-provider s3 "
                "--default-storage-prefix s3://BUCKET/PREFIX"
            )
        self.bucket_name: str
        self.root: str
        self.bucket_name, _, self.root = prefix.removeprefix("s3://").strip("/").partition("/")
        self.bucket = Bucket(provider.s3c.meta.client)
        try:
            signatures = load_signatures(settings.signatures) if settings.signatures else []
            signatures += load_signatures(SIGNATURES)
        except ValueError as error:
            raise WorkflowError(str(error)) from None
        self.flavors = self.load_flavors(client)
        self.refuse_impossible_jobs()
        self.workflow_label = sanitise(f"{self.bucket_name}-{self.root}")
        self.look_at_earlier_jobs(client)
        self.source_volumes = self.upload_sources()
        self.watcher = Watcher(
            client,
            self.bucket,
            self.logger,
            Limits(
                settings.queued_limit * 60, settings.pending_limit * 60, settings.min_interval, settings.max_interval
            ),
            self.workflow_label,
            settings.datastore,
            signatures,
            get_secrets(provider.settings),
            on_start=lambda work, job_id: work.handle.register(external_jobid=job_id),
        )

    def load_flavors(self, client: Client) -> dict[str, Flavor]:
        try:
            return read_flavors(client.list_flavors())
        except OvhaiError as error:
            self.logger.warning(f"Flavors cannot be checked before jobs are submitted: {error}")
            return {}

    def refuse_impossible_jobs(self) -> None:
        """Before anything is started or uploaded, all problems in one message."""
        problems: dict[str, None] = {}  # in order, each once: the jobs of a rule mostly share theirs
        images: dict[str, set[str]] = {}
        for job in self.dag.needrun_jobs():
            if job.is_local:
                continue
            found = list_problems(job, self.settings.image)
            resources, memory = get_resources(job, self.settings.default_runtime)
            if resources:
                found += check_resources(resources, self.flavors, memory)
            problems |= {f"rule {job.rule.name}: {problem}": None for problem in found}
            if job.group:
                images.setdefault(str(job.group), set()).add(str(job.container_img_url or self.settings.image))
        for group, names in images.items():
            if len(names) > 1:
                problems[f"group {group}: its rules have different images, {' and '.join(sorted(names))}"] = None
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise WorkflowError(f"Nothing was submitted, since some rules cannot run as jobs of OVHcloud:\n{lines}")

    def look_at_earlier_jobs(self, client: Client) -> None:
        try:
            jobs = client.list_jobs()
            self.remove_leftovers(jobs)
        except (OvhaiError, BucketError) as error:
            self.logger.warning(f"Whether failed jobs have left outputs behind cannot be checked now: {error}")
            return
        strangers = "".join(f"\n  {job.name} ({job.id}, {job.state})" for job in self.find_strangers(jobs))
        if strangers:
            self.logger.warning(
                "Jobs that no step of this run needs are live and cost money, from an earlier run or one elsewhere; "
                f"`snakemake-ovhai stop ID` ends one:{strangers}"
            )

    def find_strangers(self, jobs: list[Job]) -> list[Job]:
        live = [job for job in jobs if job.live and get_label(job, "workflow") == self.workflow_label]
        known: set[str] = set()
        for step in self.dag.jobs if live else []:
            known |= {job.id for job in self.find_jobs_of(step, live)}
        return [job for job in live if job.id not in known]

    def find_jobs_of(self, step: JobExecutorInterface, jobs: list[Job]) -> list[Job]:
        wildcards = {name: str(value) for name, value in step.wildcards.items()}
        return find_jobs(jobs, self.workflow_label, step.rule.name, wildcards)

    def remove_leftovers(self, jobs: list[Job]) -> None:
        """Snakemake has planned already, so what is found missing now ends this run: the next one makes it again."""
        removed = [f"  {file.uri}, of job {job.id} ({job.state})" for file, job in self.find_leftovers(jobs)]
        if removed:
            raise WorkflowError(
                "These outputs looked complete, but the jobs that wrote them have failed while no run of Snakemake was "
                "there to see it. They were removed; run the same command again.\n" + "\n".join(removed)
            )

    def find_leftovers(self, jobs: list[Job]) -> Iterable[tuple[StoredFile, Job]]:
        """Each is removed as it is found."""
        failed = [job for job in jobs if job.ended and not is_success(job)]
        for job in self.dag.jobs if failed else []:
            if job.is_local or self.dag.needrun(job) or not all(file.is_storage for file in job.output):
                continue
            if not self.find_jobs_of(job, failed):
                continue
            for file in map(get_stored, job.output):
                info = self.bucket.get_info(file)
                writer = find_writer(info.modified, self.find_jobs_of(job, jobs)) if info else None
                if writer:
                    self.bucket.remove(file)
                    yield file, writer

    def upload_sources(self) -> list[Volume]:
        volumes = []
        try:
            self.bucket.keep_alive(self.bucket_name, f"{self.root}/.ovhai")
        except BucketError as error:
            raise WorkflowError(f"{error}\nCheck everything with `snakemake-ovhai doctor`.") from None
        for name in filter(None, (self.settings.sources or "").split(",")):
            folder = Path(name)
            if folder.is_absolute() or ".." in folder.parts or not folder.is_dir():
                raise WorkflowError(f"sources: {name!r} is not a folder below the working folder")
            try:
                volumes.append(
                    self.bucket.upload_sources(folder, name.strip("/"), self.bucket_name, f"{self.root}/.ovhai")
                )
            except BucketError as error:
                raise WorkflowError(f"sources: {error}") from None
        return volumes

    # Called by the scheduler, in its thread -------------------------------------------------------------------------

    def run_job(self, job: JobExecutorInterface) -> None:
        """Hand over to the watching thread: neither the quota nor an outage may hold up the scheduler."""
        info = SubmittedJobInfo(job)
        try:
            request = get_request(
                job, self.settings.image, self.settings.default_runtime, self.source_volumes, self.root
            )
            problems = check_resources(request.resources, self.flavors)
            if problems:
                raise SubmissionError("; ".join(problems))
        except SubmissionError as error:
            self.retries[job] = "no"
            self.report_job_error(info, msg=f"{job.name} cannot be submitted: {error}\n")
            return
        records = list(self.workflow.persistence.external_jobids(job)) if not job.is_group() else []
        work = Work(request, job, unfinished=records)
        if is_marked_incomplete(self.workflow.persistence, job):
            # Its head may have died while a submission was on its way.
            work.orphaned = not records
            work.not_before = time.monotonic() + 2 * self.settings.min_interval
        elif get_reasons(self.dag, job) <= ONLY_TO_HAVE_OUTPUTS:
            # A head elsewhere may have gone on where this one died, or its job has ended since this one looked for the
            # outputs: an earlier result for the same inputs is as good.
            work.orphaned = True
        info.aux = {"work": work}
        self.report_job_submission(info, register_job=False)
        self.fresh.set()

    def handle_job_error(self, job: JobExecutorInterface) -> None:
        """Snakemake decides by the attempt whether to try again: this is the moment to have a say in it."""
        retry = self.retries.pop(job, "yes")
        if retry == "no" or (retry == "changed" and not self.asks_for_another_machine(job)):
            job.attempt = job.restart_times + 1
        elif retry == "free" and self.free_retries.get(job, 0) < FREE_RETRIES:
            self.free_retries[job] = self.free_retries.get(job, 0) + 1
            job.attempt -= 1

    def asks_for_another_machine(self, job: JobExecutorInterface) -> bool:
        """Whether the next attempt would: one on the same machine would end for the same lack of memory."""
        now, _ = get_resources(job, self.settings.default_runtime)
        job.attempt += 1
        then, _ = get_resources(job, self.settings.default_runtime)
        job.attempt -= 1
        return now is None or then is None or replace(now, runtime=0) != replace(then, runtime=0)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Snakemake's list may be empty while a look is under way; the watcher knows all jobs."""
        if self.watcher is None:
            return
        self.watcher.cancelled = True
        with self.look_lock:
            if self.settings.detach:
                self.watcher.leave()
            else:
                self.watcher.cancel(self.settings.stop_limit * 60)

    def shutdown(self) -> None:
        super().shutdown()
        if self.watcher:
            self.watcher.close()

    # The watching thread --------------------------------------------------------------------------------------------

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        for info, result in self.look(active_jobs):
            if result is None:
                yield info
            elif result.failure is None:
                self.report_job_success(info)
            else:
                self.retries[info.job] = result.failure.retry
                aux_logs = [str(result.log)] if result.log and result.log.exists() else []
                if info.job.is_group():  # of which Snakemake shows no message
                    self.logger.error(result.message)
                self.report_job_error(info, msg=result.message + "\n", aux_logs=aux_logs)

    def look(self, active_jobs: list[SubmittedJobInfo]) -> Iterable[tuple[SubmittedJobInfo, Result | None]]:
        """No exception may leave here: Snakemake would end, and leave every job running."""
        results: dict[int, Result] = {}
        with self.look_lock:
            watcher = self.watcher
            if watcher and not watcher.cancelled:
                known = set(map(id, watcher.works))
                works = [info.aux["work"] for info in active_jobs if info.aux]
                try:
                    found = watcher.look([work for work in works if id(work) not in known])
                    results = {id(result.work): result for result in found}
                except Exception as error:
                    watcher.say("defect", f"Unexpected {error!r} while watching jobs; they go on, looking again later.")
        return [(info, results.get(id(info.aux["work"])) if info.aux else None) for info in active_jobs]

    async def sleep(self) -> None:
        """Until the next look is due; new jobs do not wait for it longer than the shortest interval."""
        pause = self.watcher.get_pause() if self.watcher else 0.5
        shortest = min(self.settings.min_interval, pause) if self.watcher and self.watcher.works else 0.0
        begin = time.monotonic()
        while self.wait and time.monotonic() - begin < pause:
            if self.fresh.is_set() and time.monotonic() - begin >= shortest:
                break
            await asyncio.sleep(0.1)
        self.fresh.clear()


def is_marked_incomplete(persistence: Any, job: JobExecutorInterface) -> bool:
    """Whether Snakemake's records say that an earlier run has started this job and never finished it."""
    jobs = list(job.jobs) if job.is_group() else [job]
    return any(asyncio.run(persistence.incomplete(member)) for member in jobs)


def get_reasons(dag: Any, job: JobExecutorInterface) -> set[str]:
    """Why Snakemake runs the job, in its own words."""
    jobs = list(job.jobs) if job.is_group() else [job]
    return {name for member in jobs for name in dag.reason(member).get_names()}


def get_secrets(settings: Any) -> list[str]:
    """Keys of the bucket, wherever they come from: none may appear in a job."""
    values = chain(
        (getattr(settings, name, None) for name in ("access_key", "secret_key", "token")),
        (os.getenv(name) for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OVH_AI_TOKEN")),
    )
    return [value for value in values if value and len(value) >= 8]
