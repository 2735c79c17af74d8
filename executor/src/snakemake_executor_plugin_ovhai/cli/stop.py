"""`snakemake-ovhai stop`: stop jobs and wait until the platform confirms it."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..client import Client, NotAuthenticatedError, NotFoundError, OvhaiError, RefusedError
from ..job import Job
from ..labels import get_label
from .selection import JOB_HELP, CommandError, add_workflow_argument, find_job, get_name, list_workflow_jobs
from .waiting import Deadline, add_wait_argument

HELP = "stop jobs, and wait until the platform confirms that they ended and their outputs are copied back"
ASK_AGAIN = 15.0  # seconds after which a job that has not begun to stop is asked again
CALLS = 4  # of the program at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="*", help=JOB_HELP)
    parser.add_argument("--all", action="store_true", help="all live jobs of the workflow")
    add_wait_argument(parser)
    add_workflow_argument(parser)


def run(arguments: argparse.Namespace, client: Client) -> int:
    if bool(arguments.ids) == arguments.all:
        raise CommandError("give the jobs to stop, or --all; `snakemake-ovhai jobs` lists them")
    jobs = list_workflow_jobs(client, arguments.workflow)
    jobs = select_live_jobs(jobs) if arguments.all else select_jobs(jobs, arguments.ids)
    return stop_and_tell(client, jobs, arguments.wait, arguments.json)


def stop_and_tell(client: Client, jobs: Sequence[Job], patience: float, as_json: bool) -> int:
    """CommandError if jobs may be live when the wait ends. patience: seconds."""
    if any(not job.ended for job in jobs):
        print("Stopping. Each job ends once its files are copied back.", file=sys.stderr)
    states, problem = stop_all(client, jobs, patience)
    if as_json:
        records = [{"id": job.id, "name": get_name(job), "state": states.get(job.id)} for job in jobs]
        print(json.dumps(records, indent=2))
    else:
        for job in jobs:
            print(f"{job.id}  {get_name(job)}  {states.get(job.id) or 'not confirmed'}")
    left = [job.id for job in jobs if job.id not in states]
    if left:
        raise CommandError(
            f"the platform has not confirmed that these jobs stopped, so they may still cost money: {', '.join(left)}. "
            + (f"{problem}. " if problem else "")
            + "See `snakemake-ovhai jobs`, and try again"
        )
    return 0


def select_live_jobs(jobs: Sequence[Job]) -> list[Job]:
    live = [job for job in jobs if not job.ended]
    workflows = sorted({get_label(job, "workflow") for job in live})
    if len(workflows) > 1:
        raise CommandError(f"live jobs belong to {' and '.join(workflows)}; choose one with --workflow")
    return live


def select_jobs(jobs: Sequence[Job], names: Sequence[str]) -> list[Job]:
    """Each job once, in the order of the names."""
    return list({job.id: job for job in (find_job(jobs, name) for name in names)}.values())


def stop_all(client: Client, jobs: Sequence[Job], patience: float) -> tuple[dict[str, str], str]:
    """Returns the last state of each job that has ended, and why the others could not be stopped.

    patience: seconds to wait. Outages are waited for, but NotAuthenticatedError ends the wait.
    """
    states = {job.id: job.state for job in jobs if job.ended}
    left = {job.id: job for job in jobs if not job.ended}
    deadline, ask_at, problem = Deadline(patience), 0.0, ""
    while left:
        refused: dict[str, str] = {}
        try:
            if time.monotonic() >= ask_at:
                ask_at = time.monotonic() + ASK_AGAIN
                refused = ask_to_stop(client, [job_id for job_id, job in left.items() if job.live])
            listed = {job.id: job for job in client.list_jobs()}
            for job_id in list(left):
                left[job_id] = listed.get(job_id) or client.get_job(job_id)
                if left[job_id].ended:
                    states[job_id] = left.pop(job_id).state
        except NotAuthenticatedError:
            raise
        except NotFoundError:  # from get_job: neither the list nor the platform knows it
            states[job_id] = "unknown to the platform"
            del left[job_id]
        except OvhaiError as error:
            problem = str(error)
        for job_id, message in refused.items():
            if job_id in left and left[job_id].live:  # it has not ended meanwhile, so waiting would not help
                problem = message
                del left[job_id]
        if not left or deadline.passed:
            break
        deadline.sleep()
    return states, problem


def ask_to_stop(client: Client, job_ids: Sequence[str]) -> dict[str, str]:
    """Returns the messages for those jobs that the platform refuses to stop."""

    def ask(job_id: str) -> tuple[str, str]:
        try:
            client.stop(job_id)
        except RefusedError as error:
            return job_id, str(error)
        return job_id, ""

    with ThreadPoolExecutor(CALLS) as pool:
        return {job_id: message for job_id, message in pool.map(ask, job_ids) if message}
