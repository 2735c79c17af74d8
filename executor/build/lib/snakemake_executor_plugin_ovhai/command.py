"""The command snakemake-ovhai: what one needs beside a running workflow, without knowing the platform's job ids.

Results go to standard output, as text or with --json as JSON; everything else goes to standard error.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from .client import Client, NotAuthenticatedError, NotFoundError, OvhaiError, RefusedError
from .decision import get_label
from .doctor import check_all, hide_secrets
from .states import Job, get_list, get_map, get_text, is_push
from .submission import LABEL_PREFIX, sanitise

POLL = 2.0  # seconds between two looks while waiting for the platform
ASK_AGAIN = 15.0  # seconds after which a job that has not begun to stop is asked again
CALLS = 4  # of the program at a time


class CommandError(Exception):
    """What the user has asked for is not possible; the text says what is, and what to do next."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: done, 1: something is wrong, 2: bad usage. Errors are one line, never a traceback."""
    arguments = get_parser().parse_args(argv)
    try:
        code = arguments.run(arguments, Client())
        sys.stdout.flush()
        return int(code or 0)
    except CommandError as error:
        return complain(str(error))
    except NotAuthenticatedError as error:
        return complain(f"{error}. Run `ovhai login`.")
    except RefusedError as error:
        return complain(f"{error}. `snakemake-ovhai doctor` checks the whole setup.")
    except OvhaiError as error:
        return complain(f"{error}. Try again later; `snakemake-ovhai doctor` checks the whole setup.")
    except KeyboardInterrupt:
        return complain("interrupted", code=130)
    except BrokenPipeError:  # `| head`: what is left to print must not raise it again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return complain(f"unexpected {error!r}; this is a defect of snakemake-ovhai, please report it")


def complain(text: str, code: int = 1) -> int:
    print("snakemake-ovhai: " + " ".join(hide_secrets(text).split()), file=sys.stderr)
    return code


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="snakemake-ovhai",
        description="Check, list, follow and stop the jobs of workflows that Snakemake's executor ovhai runs on "
        "OVHcloud AI Training.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    what = "id of a job, a unique beginning of it, or RULE or RULE/WILDCARD... that fits exactly one live job"

    def add(name: str, run: Callable[[argparse.Namespace, Client], int | None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("--json", action="store_true", help="print JSON on standard output")
        command.set_defaults(run=run)
        return command

    doctor = add("doctor", run_doctor, "check that jobs can run: program, login, data store, bucket, clock, quota")
    defaults = (
        ("datastore", "ALIAS", "alias of the S3 data store, see `ovhai datastore list`", "OVHAI_DATASTORE"),
        ("bucket", "NAME", "bucket of the workflow", "OVHAI_BUCKET"),
        ("prefix", "P", "prefix of the workflow in the bucket", "OVHAI_PREFIX"),
        ("endpoint", "URL", "address of the S3 server", "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL or OVHAI_ENDPOINT"),
        ("region", "R", "region of the S3 server", "SNAKEMAKE_STORAGE_S3_REGION or OVHAI_REGION"),
    )
    for name, value, text, variables in defaults:
        names = variables.split(" or ")
        default = next((os.environ[variable] for variable in names if os.environ.get(variable)), None)
        doctor.add_argument(f"--{name}", metavar=value, default=default, help=f"{text} (default: {variables})")
    doctor.add_argument("--flavor", metavar="ID", nargs="+", help="flavors to be used (default: OVHAI_FLAVOR)")

    jobs = add("jobs", run_jobs, "list the jobs of workflows, live ones only; times are since the start of the job")
    jobs.add_argument("--all", action="store_true", help="ended jobs too; their times are how long they ran")
    logs = add("logs", run_logs, "print the log of a job; with --json an object for each line")
    logs.add_argument("id", metavar="ID", help=what)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    stop = add("stop", run_stop, "stop jobs and wait until the platform confirms it, their outputs copied back")
    stop.add_argument("ids", metavar="ID", nargs="*", help=what)
    stop.add_argument("--all", action="store_true", help="all live jobs of the workflow")
    stop.add_argument(
        "--wait", type=float, default=600, metavar="SECONDS", help="how long to wait (default: %(default)s)"
    )
    push = add("push", run_push, "copy the outputs of a running job to the bucket now, as far as they are")
    push.add_argument("id", metavar="ID", help=what)
    push.add_argument(
        "--wait", type=float, default=600, metavar="SECONDS", help="how long to wait (default: %(default)s)"
    )
    for command in (jobs, stop):
        command.add_argument("--workflow", metavar="LABEL", help="only jobs with this label snakemake-workflow")
    return parser


# Commands ---------------------------------------------------------------------------------------------------------


def run_doctor(arguments: argparse.Namespace, client: Client) -> int:
    findings = []
    for finding in check_all(
        client,
        arguments.datastore,
        arguments.bucket,
        arguments.prefix,
        arguments.endpoint,
        arguments.region,
        arguments.flavor or [*filter(None, [os.environ.get("OVHAI_FLAVOR")])],
    ):
        findings.append(finding)
        if not arguments.json:
            print(hide_secrets(finding.line), flush=True)
    if arguments.json:
        print(hide_secrets(json.dumps([finding.record for finding in findings], indent=2)))
    return 0 if all(finding.ok for finding in findings) else 1


def run_jobs(arguments: argparse.Namespace, client: Client) -> None:
    jobs = select_workflow(list_ours(client), arguments.workflow)
    if not arguments.all:
        jobs = [job for job in jobs if not job.ended]
    now = datetime.now(UTC)
    records = [describe(job, now) for job in sorted(jobs, key=lambda job: job.age_key)]
    if arguments.json:
        print(json.dumps(records, indent=2))
    elif records:
        print_table(records)
    else:
        print("no jobs" if arguments.all else "no live jobs; --all shows ended ones", file=sys.stderr)


def run_logs(arguments: argparse.Namespace, client: Client) -> None:
    job = find_job(list_ours(client), arguments.id)
    lines = client.stream_logs(job.id) if arguments.follow else client.get_logs(job.id).splitlines()
    for line in lines:
        print(json.dumps({"id": job.id, "line": line}) if arguments.json else line, flush=arguments.follow)


def run_stop(arguments: argparse.Namespace, client: Client) -> int:
    if bool(arguments.ids) == arguments.all:
        raise CommandError("name the jobs to stop, or all with --all; `snakemake-ovhai jobs` lists them")
    jobs = select_workflow(list_ours(client), arguments.workflow)
    if arguments.all:
        jobs = [job for job in jobs if not job.ended]
        workflows = sorted({get_label(job, "workflow") for job in jobs})
        if len(workflows) > 1:
            raise CommandError(f"live jobs belong to {' and '.join(workflows)}; choose one with --workflow")
    else:
        jobs = list({job.id: job for job in (find_job(jobs, name) for name in arguments.ids)}.values())
    if any(not job.ended for job in jobs):
        print("Stopping; this takes until their files are copied back.", file=sys.stderr)
    states, problem = stop_all(client, jobs, arguments.wait)
    if arguments.json:
        records = [{"id": job.id, "name": name_job(job), "state": states.get(job.id)} for job in jobs]
        print(json.dumps(records, indent=2))
    else:
        for job in jobs:
            print(f"{job.id}  {name_job(job)}  {states.get(job.id) or 'not confirmed'}")
    left = [job.id for job in jobs if job.id not in states]
    if left:
        raise CommandError(
            f"not confirmed to have stopped, and perhaps still paid for: {', '.join(left)}. "
            + (f"{problem}. " if problem else "")
            + "See `snakemake-ovhai jobs`, and try again"
        )
    return 0


def run_push(arguments: argparse.Namespace, client: Client) -> None:
    job = find_job(list_ours(client), arguments.id)
    if job.state not in ("RUNNING", "SYNC_FAILED"):
        raise CommandError(
            f"{name_job(job)} ({job.id}) is {job.state}, but only RUNNING jobs have outputs to copy; "
            + ("they have been copied at its end" if job.ended else "try again once it runs")
        )
    before = set(get_pushes(client.get_record(job.id)))
    client.push(job.id)
    state = wait_for_push(client, job, before, arguments.wait)
    print(json.dumps({"id": job.id, "name": name_job(job), "state": state}) if arguments.json else f"{job.id}  {state}")


# Which jobs -------------------------------------------------------------------------------------------------------


def list_ours(client: Client) -> list[Job]:
    """Jobs that some workflow has started."""
    return [job for job in client.list_jobs() if get_label(job, "workflow")]


def select_workflow(jobs: list[Job], workflow: str | None) -> list[Job]:
    if workflow is None:
        return jobs
    known = sorted({get_label(job, "workflow") for job in jobs})
    if workflow not in known:
        raise CommandError(f"no jobs of a workflow {workflow!r}; there are {', '.join(known) or 'no workflows'}")
    return [job for job in jobs if get_label(job, "workflow") == workflow]


def find_job(jobs: Sequence[Job], name: str) -> Job:
    """By id, a beginning of an id, or rule and wildcards. A name that can be read in both ways has to fit one job."""
    if exact := [job for job in jobs if job.id == name]:
        return exact[0]
    by_rule = [job for job in jobs if fits(job, name)]
    found = {job.id: job for job in jobs if name and job.id.startswith(name)}
    found |= {job.id: job for job in by_rule if not job.ended}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise CommandError(f"{name!r} fits {len(found)} jobs: {list_names(found.values())}; give more of the id")
    if by_rule:
        last = sorted(by_rule, key=lambda job: job.age_key)[-3:]
        raise CommandError(f"no live job fits {name!r}; ended ones are {list_names(last)}, which their ids name")
    raise CommandError(
        f"no job fits {name!r}; allowed are an id, a unique beginning of one, or RULE or RULE/WILDCARD... of a live "
        "job. See `snakemake-ovhai jobs --all`"
    )


def fits(job: Job, name: str) -> bool:
    """Labels hold rule and wildcards in the platform's letters, and in no certain order."""
    rule, *values = (sanitise(part) for part in name.split("/"))
    left = list(get_wildcards(job).values())
    for value in values:
        if value not in left:
            return False
        left.remove(value)
    return get_label(job, "rule") == rule and bool(name)


def get_wildcards(job: Job) -> dict[str, str]:
    begin = LABEL_PREFIX + "wildcard-"
    return {name.removeprefix(begin): value for name, value in sorted(job.labels.items()) if name.startswith(begin)}


def name_job(job: Job) -> str:
    return "/".join([get_label(job, "rule"), *get_wildcards(job).values()])


def list_names(jobs: Any) -> str:
    return ", ".join(f"{job.id} ({name_job(job)}, {job.state})" for job in jobs)


# Waiting ----------------------------------------------------------------------------------------------------------


def stop_all(client: Client, jobs: Sequence[Job], patience: float) -> tuple[dict[str, str], str]:
    """Returns the last state of those that have ended, and what the platform has said against stopping the others."""
    states = {job.id: job.state for job in jobs if job.ended}
    left = {job.id: job for job in jobs if not job.ended}
    deadline, ask_at, problem = time.monotonic() + patience, 0.0, ""
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
        for job_id, words in refused.items():
            if job_id in left and left[job_id].live:  # it has not ended meanwhile: waiting would not help
                problem = words
                del left[job_id]
        if not left or time.monotonic() >= deadline:
            break
        time.sleep(max(0.0, min(POLL, deadline - time.monotonic())))
    return states, problem


def ask_to_stop(client: Client, job_ids: Sequence[str]) -> dict[str, str]:
    """Returns what the platform has refused."""

    def ask(job_id: str) -> tuple[str, str]:
        try:
            client.stop(job_id)
        except RefusedError as error:
            return job_id, str(error)
        return job_id, ""

    with ThreadPoolExecutor(CALLS) as pool:
        return {job_id: words for job_id, words in pool.map(ask, job_ids) if words}


def wait_for_push(client: Client, job: Job, before: set[str], patience: float) -> str:
    """Until a copy that was not there before has ended."""
    deadline = time.monotonic() + patience
    while True:
        problem = ""
        try:
            pushes = get_pushes(client.get_record(job.id))
        except (NotAuthenticatedError, RefusedError):
            raise
        except OvhaiError as error:
            pushes, problem = {}, f" ({error})"
        for push_id, (state, words) in pushes.items():
            if push_id not in before and state == "DONE":
                return state
            if push_id not in before and state in ("FAILED", "ERROR", "INTERRUPTED"):
                raise CommandError(
                    f"the outputs of {name_job(job)} ({job.id}) could not be copied: {words or state}; "
                    "check the bucket with `snakemake-ovhai doctor`"
                )
        if time.monotonic() >= deadline:
            raise CommandError(
                f"the platform has not confirmed within {patience:g} s that the outputs of {name_job(job)} ({job.id}) "
                f"are copied{problem}; look into the bucket, and try again"
            )
        time.sleep(max(0.0, min(POLL, deadline - time.monotonic())))


def get_pushes(record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """State and message of each copy from a job to the bucket."""
    pushes = {}
    for sync in get_list(get_map(record, "status"), "dataSync"):
        if is_push(sync):
            status = get_map(sync, "status")
            pushes[get_text(sync, "id")] = (get_text(status, "state"), get_text(get_map(status, "info"), "message"))
    return pushes


# Words ------------------------------------------------------------------------------------------------------------


def describe(job: Job, now: datetime) -> dict[str, Any]:
    """For people and programs. Times in seconds: age since the start of a live job, duration of an ended one's run."""
    age = duration = None
    if job.ended:
        duration = count_seconds(job.started, job.stopped)
    else:
        age = count_seconds(job.created, now)
    return {
        "id": job.id,
        "workflow": get_label(job, "workflow"),
        "rule": get_label(job, "rule"),
        "wildcards": get_wildcards(job),
        "attempt": get_label(job, "attempt"),
        "state": job.state,
        "age": age,
        "duration": duration,
        "flavor": job.flavor,
        "units": job.units,
    }


def count_seconds(begin: datetime | None, end: datetime | None) -> int | None:
    """Never negative: the platform's clock may be ahead."""
    return max(0, round((end - begin).total_seconds())) if begin and end else None


def print_table(records: Sequence[Mapping[str, Any]]) -> None:
    rows = [("ID", "RULE", "WILDCARDS", "ATTEMPT", "STATE", "TIME", "FLAVOR")]
    for record in records:
        seconds = record["age"] if record["duration"] is None else record["duration"]
        rows.append(
            (
                record["id"],
                record["rule"],
                "/".join(record["wildcards"].values()) or "-",
                record["attempt"] or "-",
                record["state"] or "-",
                "-" if seconds is None else say_time(seconds),
                f"{record['flavor'] or '-'} x {record['units']}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def say_time(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


if __name__ == "__main__":
    sys.exit(main())
