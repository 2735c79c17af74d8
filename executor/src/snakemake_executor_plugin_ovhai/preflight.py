"""Checks before the first submission: jobs that can never run, files of failed jobs, and live jobs nobody needs.

"step" means one of Snakemake's jobs here, and "job" one of the platform's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from .bucket import Bucket, BucketError
from .client import Client, OvhaiError
from .flags import find_protected, find_workflow_problems
from .flavors import Flavor, check_resources, read_flavors
from .job import Job
from .labels import get_label
from .leftovers import find_failed_writer, find_jobs
from .notices import Logger
from .settings import ExecutorSettings
from .snakemake_jobs import find_image_problem, find_problems, get_image, get_protected, get_resources, get_stored
from .volumes import StoredFile


def load_flavors(client: Client, logger: Logger) -> dict[str, Flavor]:
    """Empty if the platform does not answer. The executor then finds out when it submits."""
    try:
        return read_flavors(client.list_flavors())
    except OvhaiError as error:
        logger.warning(f"Flavors cannot be checked before jobs are submitted: {error}")
        return {}


def refuse_impossible_jobs(
    steps: Iterable[JobExecutorInterface], settings: ExecutorSettings, flavors: Mapping[str, Flavor]
) -> None:
    """WorkflowError lists all problems of all steps that are to run."""
    steps = list(steps)
    problems: dict[str, None] = {}  # ordered and without repetitions, since the steps of a rule share most problems
    images: dict[str, list[str]] = {}  # by group
    for workflow in {id(step.rule.workflow): step.rule.workflow for step in steps if not step.is_local}.values():
        problems |= dict.fromkeys(find_workflow_problems(workflow))
    for step in steps:
        if step.is_local:
            continue
        found = find_problems(step, settings.image)
        resources, memory = get_resources(step, settings.default_runtime)
        if resources:
            found += check_resources(resources, flavors, memory)
        problems |= {f"rule {step.rule.name}: {problem}": None for problem in found}
        if step.group:
            images.setdefault(str(step.group), []).append(get_image(step, settings.image))
    for group, names in images.items():
        if problem := find_image_problem(names):
            problems[f"group {group}: {problem}"] = None
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise WorkflowError(f"Nothing was submitted, because some rules cannot run as jobs of OVHcloud:\n{lines}")


def refuse_to_replace_protected(
    bucket: Bucket, dag: Any, is_unfinished: Callable[[JobExecutorInterface], bool]
) -> None:
    """WorkflowError names all protected() files that the run would replace.

    is_unfinished: whether an earlier run has begun a step and not finished it, so that nothing is protected yet.
    """
    lines = []
    for step in dag.needrun_jobs():
        if step.is_local or is_unfinished(step):
            continue
        # What is made meanwhile by another head is no reason to refuse. The run takes it.
        seen = [file for file in get_protected(step) if file not in dag.reason(step).missing_output]
        try:
            problem = find_protected(bucket, map(get_stored, seen))
        except BucketError as error:
            raise WorkflowError(f"{error}\nCheck everything with `snakemake-ovhai doctor`.") from None
        if problem:
            lines.append(f"  rule {step.rule.name}: {problem}\n")
    if lines:
        raise WorkflowError(f"Nothing was submitted, because the run would replace protected files:\n{''.join(lines)}")


def check_earlier_jobs(client: Client, bucket: Bucket, dag: Any, workflow: str, logger: Logger) -> None:
    """Remove what failed jobs left behind, and name live jobs that this run does not need.

    workflow: the label of the workflow's jobs. WorkflowError if something was removed: Snakemake has planned already,
    and only the next run makes it again.
    """
    try:
        jobs = [job for job in client.list_jobs() if get_label(job, "workflow") == workflow]
        removed = [
            f"  {file.uri}, of job {job.id} ({job.state})"
            for file, job in remove_leftovers(jobs, bucket, dag, workflow)
        ]
    except (OvhaiError, BucketError) as error:
        logger.warning(f"The executor cannot check now whether failed jobs left outputs behind: {error}")
        return
    if removed:
        raise WorkflowError(
            "These outputs look complete, but the jobs that wrote them failed while Snakemake was not running. "
            "They have been removed. Run the same command again to make them.\n" + "\n".join(removed)
        )
    unneeded = find_unneeded_jobs(jobs, dag.jobs, workflow)
    if unneeded:
        lines = "".join(f"\n  {job.name} ({job.id}, {job.state})" for job in unneeded)
        logger.warning(
            "These jobs are live and cost money, but no step of this run needs them. An earlier run or a run elsewhere "
            f"started them. `snakemake-ovhai stop ID` stops one.{lines}"
        )


def remove_leftovers(jobs: Sequence[Job], bucket: Bucket, dag: Any, workflow: str) -> Iterator[tuple[StoredFile, Job]]:
    """Each file and the failed job that wrote it, after the file is removed. Steps that run anyway are left out."""
    failed = [job for job in jobs if job.ended and not job.succeeded]
    for step in dag.jobs if failed else []:
        if step.is_local or dag.needrun(step) or not all(file.is_storage for file in step.output):
            continue
        if not find_jobs_of(step, failed, workflow):
            continue
        for file in map(get_stored, step.output):
            info = bucket.get_info(file)
            writer = find_failed_writer(info.modified, find_jobs_of(step, jobs, workflow)) if info else None
            if writer:
                bucket.remove(file)
                yield file, writer


def find_unneeded_jobs(jobs: Sequence[Job], steps: Iterable[JobExecutorInterface], workflow: str) -> list[Job]:
    """Live jobs that belong to no step."""
    live = [job for job in jobs if job.live]
    needed: set[str] = set()
    for step in steps if live else []:
        needed |= {job.id for job in find_jobs_of(step, live, workflow)}
    return [job for job in live if job.id not in needed]


def find_jobs_of(step: JobExecutorInterface, jobs: Sequence[Job], workflow: str) -> list[Job]:
    wildcards = {name: str(value) for name, value in step.wildcards.items()}
    return find_jobs(jobs, workflow, step.rule.name, wildcards)
