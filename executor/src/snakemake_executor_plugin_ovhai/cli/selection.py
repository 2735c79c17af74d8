"""Which of the platform's jobs the user means."""

import argparse
from collections.abc import Iterable, Sequence

from ..client import Client
from ..job import Job
from ..labels import get_label, get_wildcards, sanitise

JOB_HELP = "a job's id, a unique beginning of it, or RULE or RULE/WILDCARD... if exactly one live job matches"


class CommandError(Exception):
    """The command cannot do what the user asks for. The text says what is possible, or what to do next."""


def add_workflow_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workflow", metavar="LABEL", help="only jobs with this label snakemake-workflow")


def list_workflow_jobs(client: Client, workflow: str | None = None) -> list[Job]:
    """The jobs that a workflow started: a certain one, or any. CommandError if there is no such workflow."""
    jobs = [job for job in client.list_jobs() if get_label(job, "workflow")]
    if workflow is None:
        return jobs
    known = sorted({get_label(job, "workflow") for job in jobs})
    if workflow not in known:
        raise CommandError(f"no job belongs to a workflow {workflow!r}; there are {', '.join(known) or 'no workflows'}")
    return [job for job in jobs if get_label(job, "workflow") == workflow]


def find_job(jobs: Sequence[Job], name: str) -> Job:
    """By id, by the beginning of an id, or by rule and wildcards. CommandError unless exactly one job matches."""
    if exact := [job for job in jobs if job.id == name]:
        return exact[0]
    by_rule = [job for job in jobs if matches(job, name)]
    found = {job.id: job for job in jobs if name and job.id.startswith(name)}
    found |= {job.id: job for job in by_rule if not job.ended}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise CommandError(f"{name!r} matches {len(found)} jobs: {describe(found.values())}; give more of the id")
    if by_rule:
        last = sorted(by_rule, key=lambda job: job.age_key)[-3:]
        raise CommandError(f"no live job matches {name!r}; use the id of one that has ended: {describe(last)}")
    raise CommandError(f"no job matches {name!r}; give {JOB_HELP}. See `snakemake-ovhai jobs --all`")


def matches(job: Job, name: str) -> bool:
    """Whether RULE/WILDCARD... names the job. The labels hold sanitised values, in no certain order."""
    rule, *values = (sanitise(part) for part in name.split("/"))
    left = list(get_wildcards(job).values())
    for value in values:
        if value not in left:
            return False
        left.remove(value)
    return get_label(job, "rule") == rule and bool(name)


def get_name(job: Job) -> str:
    """RULE/WILDCARD..."""
    return "/".join([get_label(job, "rule"), *get_wildcards(job).values()])


def describe(jobs: Iterable[Job]) -> str:
    return ", ".join(f"{job.id} ({get_name(job)}, {job.state})" for job in jobs)
