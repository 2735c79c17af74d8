"""`snakemake-ovhai push`: copy the outputs of a running job to the bucket."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from ..client import Client, NotAuthenticatedError, OvhaiError, RefusedError
from ..job import Job, is_push
from ..records import get_list, get_map, get_text
from .selection import JOB_HELP, CommandError, find_job, get_name, list_workflow_jobs
from .waiting import Deadline, add_wait_argument

HELP = "copy the outputs of a running job to the bucket now, as far as they exist"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help=JOB_HELP)
    add_wait_argument(parser)


def run(arguments: argparse.Namespace, client: Client) -> int:
    job = find_job(list_workflow_jobs(client), arguments.id)
    if job.state not in ("RUNNING", "SYNC_FAILED"):
        raise CommandError(
            f"{get_name(job)} ({job.id}) is {job.state}, but only RUNNING jobs have outputs to copy; "
            + ("its outputs were copied when it ended" if job.ended else "try again once it runs")
        )
    before = set(get_pushes(client.get_record(job.id)))
    client.push(job.id)
    state = wait_for_push(client, job, before, arguments.wait)
    record = {"id": job.id, "name": get_name(job), "state": state}
    print(json.dumps(record) if arguments.json else f"{job.id}  {state}")
    return 0


def wait_for_push(client: Client, job: Job, before: set[str], patience: float) -> str:
    """Wait until a push has ended that is not one of those before. Returns its state.

    patience: seconds. CommandError if the push fails or does not end in time.
    """
    deadline = Deadline(patience)
    while True:
        problem = ""
        try:
            pushes = get_pushes(client.get_record(job.id))
        except (NotAuthenticatedError, RefusedError):
            raise
        except OvhaiError as error:
            pushes, problem = {}, f" ({error})"
        for push_id, (state, message) in pushes.items():
            if push_id not in before and state == "DONE":
                return state
            if push_id not in before and state in ("FAILED", "ERROR", "INTERRUPTED"):
                raise CommandError(
                    f"the outputs of {get_name(job)} ({job.id}) could not be copied: {message or state}; "
                    "check the bucket with `snakemake-ovhai doctor`"
                )
        if deadline.passed:
            raise CommandError(
                f"the platform has not confirmed within {patience:g} s that the outputs of {get_name(job)} ({job.id}) "
                f"are copied{problem}; look into the bucket, and try again"
            )
        deadline.sleep()


def get_pushes(record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """State and message of each push: a copy from a job to the bucket."""
    pushes = {}
    for sync in get_list(get_map(record, "status"), "dataSync"):
        if is_push(sync):
            status = get_map(sync, "status")
            pushes[get_text(sync, "id")] = (get_text(status, "state"), get_text(get_map(status, "info"), "message"))
    return pushes
