"""Checks before the first submission: jobs that can never run, files of failed jobs, and live jobs nobody needs.

"step" means one of Snakemake's jobs here, and "job" one of the platform's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from .bucket import Bucket, BucketError
from .budget import Budget
from .client import Client, OvhaiError
from .errors import WorkflowError
from .fingerprint import get_target
from .flags import find_protected, find_workflow_problems
from .flavors import Flavor, check_resources, read_flavors, read_quota
from .identity import JobIndex, get_output_id, get_output_ids, read_outputs
from .job import Job
from .job_spec import Resources, SubmissionError
from .labels import get_label, name_rules
from .leftovers import find_failed_writer
from .notices import Logger
from .quote import Item, Planner
from .settings import ExecutorSettings
from .snakemake_jobs import (
    find_flavor_problem,
    find_image_problem,
    find_problems,
    find_text_problems,
    get_image,
    get_members,
    get_protected,
    get_resources,
    get_stored,
)
from .volumes import StoredFile

ROUND = 100  # jobs; how many a list shows at most is not documented


def load_flavors(client: Client, logger: Logger) -> dict[str, Flavor]:
    """Empty if the platform does not answer. The executor then finds out when it submits."""
    try:
        return read_flavors(client.list_flavors())
    except OvhaiError as error:
        logger.warning(f"Flavors cannot be checked before jobs are submitted: {error}")
        return {}


def load_quota(client: Client, account: Mapping[str, Any] | None) -> dict[str, int]:
    """account: what `ovhai me` has said already. Empty if the platform does not answer; a job waits then."""
    try:
        return read_quota(account if account is not None else client.get_account())
    except OvhaiError:
        return {}


def refuse_impossible_jobs(
    steps: Iterable[JobExecutorInterface],
    settings: ExecutorSettings,
    flavors: Mapping[str, Flavor],
    quota: Mapping[str, int] | None = None,
    budget: Budget | None = None,
    planner: Planner | None = None,
) -> None:
    """WorkflowError lists all problems of all steps that are to run."""
    steps = list(steps)
    problems: dict[str, None] = {}  # ordered and without repetitions, since the steps of a rule share most problems
    groups: dict[int, JobExecutorInterface] = {}
    for workflow in {id(step.rule.workflow): step.rule.workflow for step in steps if not step.is_local}.values():
        problems |= dict.fromkeys(find_workflow_problems(workflow))
    for step in steps:
        if step.is_local:
            continue
        found = find_problems(step, settings.image)
        resources, memory, unfit = get_needs(step, settings, planner)
        found += unfit
        if resources:
            found += check_resources(resources, flavors, memory, quota)
            # A member of a group is paid with the group.
            found += budget.find_problems(resources) if budget and not step.dag.get_job_group(step) else []
        problems |= {f"rule {step.rule.name}: {problem}": None for problem in found}
        if group := step.dag.get_job_group(step):
            groups[id(group)] = group
    for group in groups.values():
        for problem in find_group_problems(group, settings, flavors, quota, budget, planner):
            problems[f"group {group.groupid}: {problem}"] = None
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise WorkflowError(f"Nothing was submitted, because some rules cannot run as jobs of OVHcloud:\n{lines}")


def get_needs(
    job: JobExecutorInterface, settings: ExecutorSettings, planner: Planner | None
) -> tuple[Resources | None, int | None, list[str]]:
    """Resources with a flavor and a time limit, mem_mb, and why no flavor can be chosen. job: a step or a group."""
    resources, memory = get_resources(job, settings.default_runtime)
    if resources is None or planner is None:
        return resources, memory, []
    try:
        return planner.settle(resources, get_rules(job), job.attempt), memory, []
    except SubmissionError as error:
        return None, memory, [str(error)]


def get_rules(job: JobExecutorInterface) -> str:
    """The rules of a step or a group, as in the bill."""
    return name_rules("-".join(dict.fromkeys(member.rule.name for member in get_members(job))))


def list_items(dag: Any, settings: ExecutorSettings, planner: Planner) -> list[Item]:
    """What the quote says of each job that the run will submit."""
    units: dict[int, JobExecutorInterface] = {}
    for step in dag.needrun_jobs():
        if not step.is_local:
            job = dag.get_job_group(step) or step
            units.setdefault(id(job), job)
    items = []
    for job in units.values():
        resources, _, _ = get_needs(job, settings, planner)
        wildcards = {name: str(value) for member in get_members(job) for name, value in member.wildcards.items()}
        items.append(planner.get_item(resources, get_rules(job), wildcards))
    return items


def find_group_problems(
    group: JobExecutorInterface,
    settings: ExecutorSettings,
    flavors: Mapping[str, Flavor],
    quota: Mapping[str, int] | None,
    budget: Budget | None = None,
    planner: Planner | None = None,
) -> list[str]:
    """What its rules, of which each is possible by itself, cannot do together."""
    members = [step for step in group.jobs if not step.is_local]
    problems = [find_image_problem(get_image(step, settings.image) for step in members), find_flavor_problem(members)]
    if not problems[-1]:
        problems += [text for level in group.dag.toposorted(group.jobs) for text in find_text_problems(level)]
    resources, memory, unfit = get_needs(group, settings, planner)
    problems += unfit
    if resources:
        problems += check_resources(resources, flavors, memory, quota)
        problems += budget.find_problems(resources) if budget else []
    return [problem for problem in problems if problem]


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


def check_earlier_jobs(client: Client, bucket: Bucket, dag: Any, workflow: str, logger: Logger) -> list[Job] | None:
    """Remove what failed jobs left behind, and name live jobs that this run does not need.

    workflow: the label of the workflow's jobs. Returns all that the platform knows; None if it does not answer.
    WorkflowError if something was removed: Snakemake has planned already, and only the next run makes it again.
    """
    jobs = None
    try:
        jobs = client.list_jobs()
        warn_of_cut_list(jobs, logger)
        removed = [f"  {file.uri}, of job {job.id} ({job.state})" for file, job in remove_leftovers(jobs, bucket, dag)]
    except (OvhaiError, BucketError) as error:
        logger.warning(f"The executor cannot check now whether failed jobs left outputs behind: {error}")
        return jobs
    if removed:
        raise WorkflowError(
            "These outputs look complete, but the jobs that wrote them failed while Snakemake was not running. "
            "They have been removed. Run the same command again to make them.\n" + "\n".join(removed)
        )
    ours = [job for job in jobs if get_label(job, "workflow").lower() == workflow]
    unneeded = find_unneeded_jobs(ours, dag.jobs)
    if unneeded:
        lines = "".join(f"\n  {job.name} ({job.id}, {job.state})" for job in unneeded)
        logger.warning(
            "These jobs are live and cost money, but no step of this run needs them. An earlier run or a run elsewhere "
            f"started them. `snakemake-ovhai stop ID` stops one, and `snakemake-ovhai reap` those that no run watches."
            f"{lines}"
        )
    return jobs


def warn_of_cut_list(jobs: Sequence[Job], logger: Logger) -> None:
    """A round number of jobs is a sign that the platform shows only the newest ones."""
    if len(jobs) >= ROUND and len(jobs) % ROUND == 0:
        logger.warning(
            f"`ovhai job list -a` shows {len(jobs):,} jobs. If the platform shows no more than that, the executor "
            "cannot see older jobs, and work that is done already may start again. Delete old jobs with "
            "`ovhai job delete ID`."
        )


def remove_leftovers(jobs: Sequence[Job], bucket: Bucket, dag: Any) -> Iterator[tuple[StoredFile, Job]]:
    """Each file and the failed job that wrote it, after the file is removed. Steps that run anyway are left out."""
    failed, index = JobIndex(job for job in jobs if job.ended and not job.succeeded), JobIndex(jobs)
    for step in dag.jobs if failed.by_id else []:
        files = get_remote_outputs(step)
        if dag.needrun(step) or not files:
            continue
        target = get_target(files)
        for file in files:
            if not failed.find([get_output_id(file)], target):
                continue
            info = bucket.get_info(file)
            writer = find_failed_writer(info.modified, index.find([get_output_id(file)], target)) if info else None
            if writer:
                bucket.remove(file)
                yield file, writer


def find_unneeded_jobs(jobs: Sequence[Job], steps: Iterable[JobExecutorInterface]) -> list[Job]:
    """Live jobs that write no output of any step. Those that do not show what they write are left out."""
    live = [job for job in jobs if job.live and read_outputs(job)]
    needed: set[str] = set()
    for step in steps if live else []:
        needed |= get_output_ids(get_remote_outputs(step))
    return [job for job in live if needed.isdisjoint(read_outputs(job))]


def get_remote_outputs(step: JobExecutorInterface) -> list[StoredFile]:
    """The outputs that a job of the platform may write. Empty for a step that runs on this machine."""
    if step.is_local:
        return []
    return [get_stored(file) for file in step.output if file.is_storage and hasattr(file.storage_object, "bucket")]
