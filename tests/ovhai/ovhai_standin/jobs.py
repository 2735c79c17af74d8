"""`ovhai job`: submission, queries, orders."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ovhai_standin import faults, flavors, processes, records, volumes
from ovhai_standin.answers import Refusal, formatted, table
from ovhai_standin.arguments import environment_entry, output_option, positive, seconds, volume
from ovhai_standin.folder import PlatformFolder

LARGEST_TIMEOUT = 604800  # seconds


def job_run(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    settings = folder.settings()
    spec = job_spec(folder, arguments, settings)
    with folder.lock():
        jobs = [record["job"] for record in folder.live_records()]
        if records.exceeds_quota(spec["resources"], jobs, settings["quota"]):
            raise Refusal("error: 402: quota exceeded")
        record = records.new(folder, spec, settings)
        folder.write_record(record)
    job_id = record["job"]["id"]
    if not stuck_in_queue(folder, record["job"]):
        with folder.changing(job_id) as record:
            record["private"]["runner"] = start_runner(folder, job_id, "run")
    return formatted(records.shown(record["job"], settings), arguments.output)


def stuck_in_queue(folder: PlatformFolder, job: records.Job) -> bool:
    """Such a job needs no runner."""
    rules = faults.take(folder, "QUEUED", records.description(job), {"stuck"})
    for rule in rules:
        with folder.changing(job["id"]) as record:
            records.tell(record["job"], rule)
    return bool(rules)


def job_spec(folder: PlatformFolder, arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    old = job_record(folder, arguments.from_job)["job"]["spec"] if arguments.from_job else {}
    image, *command = arguments.words or [None]
    image = arguments.image or image or old.get("image")
    if not image:
        raise Refusal("error: 400: an image is required")
    lose_prefix = settings["lose_prefix_with_trailing_slash"]
    spec_volumes = [volumes.parse(text, lose_prefix) for text in arguments.volume] or old.get("volumes", [])
    paths = [volume["mountPath"] for volume in spec_volumes]
    if len(set(paths)) < len(paths):
        raise Refusal("error: 400: two volumes have the same mount path")
    if (arguments.timeout or 0) > LARGEST_TIMEOUT:
        raise Refusal(f"error: 400: timeout may be at most {LARGEST_TIMEOUT} s")
    asked = arguments.flavor or arguments.gpu or arguments.cpu
    try:
        resources = old.get("resources") if old and not asked else None
        resources = resources or flavors.resources(arguments.flavor, arguments.gpu, arguments.cpu)
    except ValueError as error:
        raise Refusal(f"error: 400: {error}")
    own_labels = {name: value for name, value in old.get("labels", {}).items() if not name.startswith("ovh/")}
    return {
        "image": image,
        "command": [*command, *arguments.command] or old.get("command"),
        "name": arguments.name,
        "envVars": [{"name": name, "value": value} for name, value in arguments.env] or old.get("envVars"),
        "labels": dict(arguments.label) or own_labels,
        "resources": resources,
        "volumes": spec_volumes,
        "timeout": arguments.timeout or old.get("timeout", LARGEST_TIMEOUT),
        "timeoutAutoRestart": False,
        "defaultHttpPort": arguments.default_http_port,
        "grpcPort": arguments.grpc_port,
        "sshPublicKeys": arguments.ssh_public_keys or None,
        "unsecureHttp": arguments.unsecure_http,
        "deletionRequested": False,
    }


def job_list(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    jobs = [record["job"] for record in folder.records()]
    if not (arguments.all or arguments.state):
        jobs = [job for job in jobs if not records.has_ended(job)]
    newest = folder.settings()["list_newest"]
    if newest is not None:
        jobs = sorted(jobs, key=lambda job: str(job["createdAt"]))[len(jobs) - min(newest, len(jobs)) :]
    jobs = visible(folder, "job list", jobs)
    if arguments.state:
        jobs = [job for job in jobs if job["status"].get("state") == arguments.state.upper()]
    if arguments.output:
        return formatted(jobs, arguments.output)
    rows = [[job["id"], job["spec"].get("name", ""), job["status"].get("state", "")] for job in jobs]
    return table(["ID", "NAME", "STATE"], rows)


def job_get(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    shown = visible(folder, "job get", [job_record(folder, arguments.id)["job"]])
    if not shown:
        raise Refusal(not_found(arguments.id))
    return formatted(shown[0], arguments.output)


def job_logs(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    job_record(folder, arguments.id)
    if not arguments.follow:
        return "".join(log_lines(folder, arguments))
    for line in followed_lines(folder, arguments):
        sys.stdout.write(line)
        sys.stdout.flush()
    return ""


def log_lines(folder: PlatformFolder, arguments: argparse.Namespace) -> list[str]:
    file = folder.log(arguments.id)
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    lines = [
        line for line in lines if line.endswith("\n") and (not arguments.source or f"[{arguments.source}]" in line[:40])
    ]
    return lines if arguments.tail is None else lines[max(0, len(lines) - arguments.tail) :]


def followed_lines(folder: PlatformFolder, arguments: argparse.Namespace) -> Iterator[str]:
    """The last N lines, or all, and those that come until the job has ended."""
    tail, arguments.tail = arguments.tail, None
    printed = 0 if tail is None else max(0, len(log_lines(folder, arguments)) - tail)
    while True:
        record = folder.record(arguments.id)
        ended = record is None or records.has_ended(record["job"])  # looked at before the log, which is then complete
        lines = log_lines(folder, arguments)
        yield from lines[printed:]
        printed = len(lines)
        if ended:
            return
        time.sleep(0.2)


def job_stop(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    if records.has_ended(job_record(folder, arguments.id)["job"]):
        raise Refusal(f"error: 400: job {arguments.id} has already ended")
    with folder.changing(arguments.id) as record:
        record["private"]["stop"] = True
        wake(folder, record, signal.SIGTERM, "stop")
    return ""


def wake(folder: PlatformFolder, record: records.Record, number: signal.Signals, task: str) -> None:
    """Signal a job's runner; a job without one (stuck, or killed) gets one for the task."""
    if processes.is_alive(record["private"]["runner"]):
        processes.send(record["private"]["runner"], number)
    else:
        record["private"]["runner"] = start_runner(folder, record["job"]["id"], task)


def start_runner(folder: PlatformFolder, job_id: str, task: str) -> processes.Process:
    # Imported late: most calls need none, and it takes as long as everything else that they do.
    from ovhai_standin import runner

    return runner.start(folder, job_id, task)


def job_delete(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    for job_id in arguments.ids:
        if not records.has_ended(job_record(folder, job_id)["job"]):
            raise Refusal(f"error: 400: job {job_id} has not ended")
        with folder.changing(job_id) as record:
            record["job"]["spec"]["deletionRequested"] = True
            record["private"]["gone_at"] = time.time() + folder.settings()["delete_seconds"]
    return ""


def copy_data(direction: str) -> Callable[[PlatformFolder, argparse.Namespace], str]:
    def handler(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
        state = job_record(folder, arguments.id)["job"]["status"]["state"]
        again = direction == "push" and state == "SYNC_FAILED"
        if state != "RUNNING" and not again:
            raise Refusal(f"error: 400: job {arguments.id} is {state}")
        with folder.changing(arguments.id) as record:
            record["private"]["syncs"].append(direction)
            wake(folder, record, signal.SIGUSR1, "copy")
        return ""

    return handler


def job_record(folder: PlatformFolder, job_id: str) -> records.Record:
    record = folder.record(job_id)
    if record is None:
        raise Refusal(not_found(job_id))
    return record


def not_found(job_id: str) -> str:
    return f"error: 404: job {job_id} not found"


def visible(folder: PlatformFolder, command: str, jobs: list[records.Job]) -> list[records.Job]:
    """Jobs as the platform's variant and faults show them."""
    settings = folder.settings()
    shown = []
    for job in jobs:
        rules = faults.take(folder, command, records.description(job), faults.VIEW_ACTIONS)
        if not any(rule["action"] == "hide" for rule in rules):
            shown.append(distorted(with_labels_as_set(records.shown(job, settings), settings), rules))
    return shown


def with_labels_as_set(job: records.Job, settings: dict[str, Any]) -> records.Job:
    if settings["alter_labels"]:
        labels = job["spec"]["labels"]
        job["spec"]["labels"] = {name.lower(): str(value).lower()[:63] for name, value in labels.items()}
    return job


def distorted(job: records.Job, rules: list[faults.Rule]) -> records.Job:
    for rule in rules:
        for field in rule["fields"]:
            *parents, name = field.split(".")
            owner = job
            for parent in parents:
                owner = owner.get(parent, {})
            if rule["action"] == "drop":
                owner.pop(name, None)
            else:
                owner[name] = rule["fields"][field]
    return job


# Arguments


def job_run_parser(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-g", "--gpu", type=positive)
    add("-c", "--cpu", type=positive)
    add("-f", "--flavor")
    add("-v", "--volume", action="append", type=volume, default=[])
    add("-e", "--env", action="append", type=environment_entry, default=[])
    add("-l", "--label", action="append", type=environment_entry, default=[])
    add("-n", "--name")
    output_option(parser)
    add("-t", "--timeout", type=seconds)
    add("-p", "--default-http-port", type=positive, default=8080)
    add("--unsecure-http", action="store_true")
    add("--grpc-port", type=positive, default=0)
    add("-s", "--ssh-public-keys", action="append", default=[])
    add("--from", dest="from_job")
    add("-i", "--image")
    add("-r", "--read-user")
    add("words", nargs="*", metavar="IMAGE COMMAND")


def job_list_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true")
    parser.add_argument("-s", "--state")
    output_option(parser)


def job_get_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    output_option(parser)


def job_logs_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("--tail", type=int)
    parser.add_argument("--from", dest="source")


def ids_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID")


def id_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")


COMMANDS = {
    "job run": (job_run_parser, job_run),
    "job list": (job_list_parser, job_list),
    "job get": (job_get_parser, job_get),
    "job logs": (job_logs_parser, job_logs),
    "job stop": (id_parser, job_stop),
    "job delete": (ids_parser, job_delete),
    "job push-data": (id_parser, copy_data("push")),
    "job pull-data": (id_parser, copy_data("pull")),
}
