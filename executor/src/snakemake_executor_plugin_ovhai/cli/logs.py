"""`snakemake-ovhai logs`: the log of one job."""

import argparse
import json

from ..client import Client
from .selection import JOB_HELP, find_job, list_workflow_jobs

HELP = "print the log of a job (with --json one object for each line)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help=JOB_HELP)
    parser.add_argument("-f", "--follow", action="store_true", help="continue until the job has ended")


def run(arguments: argparse.Namespace, client: Client) -> int:
    job = find_job(list_workflow_jobs(client), arguments.id)
    lines = client.stream_logs(job.id) if arguments.follow else client.get_logs(job.id).splitlines()
    for line in lines:
        print(json.dumps({"id": job.id, "line": line}) if arguments.json else line, flush=arguments.follow)
    return 0
