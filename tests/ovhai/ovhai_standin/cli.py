"""The command `ovhai`: arguments, output, exit codes (0; 1: the platform refuses; 2: bad usage)."""

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ovhai_standin import buckets, faults, flavors, processes, records, runner, volumes
from ovhai_standin.folder import VARIABLE, PlatformFolder

LARGEST_TIMEOUT = 604800  # seconds
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
Handler = Callable[[PlatformFolder, argparse.Namespace], str]


class Refusal(Exception):
    """The platform answers with an error."""


class Parser(argparse.ArgumentParser):
    """Complains about bad usage in the words of clap, the argument parser of the real command."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        sys.stderr.write(f"error: {message}\n\nUsage: {usage}\n\nFor more information, try '--help'.\n")
        sys.exit(2)


def main(argv: list[str]) -> int:
    folder = PlatformFolder(Path(os.environ.get(VARIABLE, "")))
    if VARIABLE not in os.environ or not folder.jobs.is_dir():
        sys.stderr.write(f"{VARIABLE} does not name a platform folder\n")
        return 1
    folder.add_call(argv)
    if argv in (["--version"], ["-V"]):
        print(f"ovhai {folder.settings()['version']}")
        return 0
    command, arguments = parse(argv)
    occasion = occasion_text(folder, argv)
    try:
        for rule in faults.take(folder, command, occasion, faults.CALL_ACTIONS):
            if before_call(rule):
                return 0
        if command != "login" and not folder.settings()["logged_in"]:
            raise Refusal("AI Training error: not authenticated")
        output = COMMANDS[command][1](folder, arguments)
        after_call(faults.take(folder, command, occasion, faults.REPLY_ACTIONS), output)
    except (Refusal, buckets.Failure) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return refusal.exit_code if isinstance(refusal, FaultRefusal) else 1
    return 0


# Faults


class FaultRefusal(Refusal):
    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def occasion_text(folder: PlatformFolder, argv: list[str]) -> str:
    """What `match` of a fault is searched in: the arguments, and the jobs whose ids are among them."""
    known = [record for word in argv if is_job_id(word) and (record := folder.record(word))]
    return "\n".join([" ".join(argv), *(records.description(record["job"]) for record in known)])


def is_job_id(word: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", word) is not None


def before_call(rule: faults.Rule) -> bool:
    """Whether the call shall do nothing. Raises FaultRefusal."""
    action = rule["action"]
    if action == "stderr":
        sys.stderr.write(f"{rule.get('text', 'warning: something is odd')}\n")
    elif action == "slow":
        time.sleep(rule["seconds"])
    elif action == "hang":
        time.sleep(rule.get("seconds", 3600))
        raise FaultRefusal("error: operation timed out")
    elif action == "not_authenticated":
        raise FaultRefusal("AI Training error: not authenticated")
    elif action == "fail":
        raise FaultRefusal(rule.get("text", "500: internal server error"), rule.get("exit_code", 1))
    return action == "ignore"


def after_call(rules: list[faults.Rule], output: str) -> None:
    """Print the output as faults distort it."""
    for rule in rules:
        action = rule["action"]
        if action == "lose_reply":
            if rule.get("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            raise FaultRefusal(
                rule.get("text", "error: error sending request: connection closed before message completed")
            )
        if action == "garbage":
            output = rule.get("text", "<html><body>502 Bad Gateway</body></html>\n")
        elif action == "truncate":
            output = output[: rule.get("characters", len(output) // 2)]
        elif action == "empty":
            output = ""
        elif action == "stdout":
            output = f"{rule.get('text', 'A new version of ovhai is available')}\n{output}"
    sys.stdout.write(output)


def visible(folder: PlatformFolder, command: str, jobs: list[records.Job]) -> list[records.Job]:
    """Jobs as the platform's variant and faults show them."""
    settings = folder.settings()
    shown = []
    for job in jobs:
        rules = faults.take(folder, command, records.description(job), faults.VIEW_ACTIONS)
        if not any(rule["action"] == "hide" for rule in rules):
            shown.append(distorted(records.shown(job, settings), rules))
    return shown


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


# Jobs


def job_run(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    settings = folder.settings()
    spec = job_spec(folder, arguments, settings)
    with folder.lock():
        jobs = [record["job"] for record in folder.records()]
        if records.exceeds_quota(spec["resources"], jobs, settings["quota"]):
            raise Refusal("error: 402: quota exceeded")
        record = records.new(folder, spec, settings)
        folder.write_record(record)
    job_id = record["job"]["id"]
    if not stuck_in_queue(folder, record["job"]):
        with folder.lock():
            record["private"]["runner"] = runner.start(folder, job_id, "run")
            folder.write_record(record)
    return formatted(records.shown(record["job"], settings), arguments.output)


def stuck_in_queue(folder: PlatformFolder, job: records.Job) -> bool:
    """Such a job needs no runner."""
    rules = faults.take(folder, "QUEUED", records.description(job), {"stuck"})
    for rule in rules:
        with folder.changing(job["id"]) as record:
            runner.tell(record["job"], rule)
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
    jobs = visible(folder, "job list", jobs)
    if arguments.state:
        jobs = [job for job in jobs if job["status"].get("state") == arguments.state.upper()]
    if arguments.output:
        return formatted(jobs, arguments.output)
    rows = [[job["id"], job["spec"]["name"], job["status"].get("state", "")] for job in jobs]
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
    """All lines that the last N are followed by, until the job has ended."""
    yield from (lines := log_lines(folder, arguments))
    arguments.tail = None
    printed = len(log_lines(folder, arguments)) if lines else 0
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
    for job_id in arguments.ids:
        if records.has_ended(job_record(folder, job_id)["job"]):
            raise Refusal(f"error: 400: job {job_id} has already ended")
        with folder.changing(job_id) as record:
            record["private"]["stop"] = True
            wake(folder, record, signal.SIGTERM, "stop")
    return ""


def wake(folder: PlatformFolder, record: records.Record, number: signal.Signals, task: str) -> None:
    """Signal a job's runner; a job without one (stuck, or killed) gets one for the task."""
    if processes.is_alive(record["private"]["runner"]):
        processes.send(record["private"]["runner"], number)
    else:
        record["private"]["runner"] = runner.start(folder, record["job"]["id"], task)


def job_delete(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    for job_id in arguments.ids:
        if not records.has_ended(job_record(folder, job_id)["job"]):
            raise Refusal(f"error: 400: job {job_id} has not ended")
        with folder.changing(job_id) as record:
            record["job"]["spec"]["deletionRequested"] = True
            record["private"]["gone_at"] = time.time() + folder.settings()["delete_seconds"]
    return ""


def copy_data(direction: str) -> Handler:
    def handler(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
        state = job_record(folder, arguments.id)["job"]["status"]["state"]
        again = direction == "push" and state == "SYNC_FAILED"
        if state != "RUNNING" and not again:
            raise Refusal(f"error: 400: job {arguments.id} is {state}")
        with folder.changing(arguments.id) as record:
            record["private"]["syncs"].append(direction)
            wake(folder, record, signal.SIGUSR1, "push")
        return ""

    return handler


def job_record(folder: PlatformFolder, job_id: str) -> records.Record:
    record = folder.record(job_id)
    if record is None:
        raise Refusal(not_found(job_id))
    return record


def not_found(job_id: str) -> str:
    return f"error: 404: job {job_id} not found"


# Account


def me(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    settings = folder.settings()
    quota = {kind.upper(): number for kind, number in settings["quota"].items()}
    account = {
        "name": settings["user"],
        "tenant": "0" * 32,
        "role": "ai_training_operator",
        "tokenKind": "oauth",
        "trustId": "0" * 32,
        "quotas": {"resources": quota, "storage": 10**12},
    }
    return formatted(account, arguments.output)


def login(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    if arguments.password_from_env and not os.environ.get(arguments.password_from_env):
        raise Refusal(f"error: environment variable {arguments.password_from_env} is not set")
    folder.change_settings(logged_in=True)
    return "Logged in\n"


def capabilities_flavor_list(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    known = list(flavors.FLAVORS.values())
    if arguments.output:
        return formatted(known, arguments.output)
    titles = ["ID", "TYPE", "DESCRIPTION", "CPU-PER-UNIT", "MEMORY-PER-UNIT", "GPU_INFORMATION.INFO", "DEFAULT", "MAX"]
    return table(titles, [flavor_row(entry) for entry in known])


def flavor_row(entry: dict[str, Any]) -> list[str]:
    unit = entry["resourcesPerUnit"]
    gpu = entry.get("gpuInformation", {}).get("gpuModel", "~")
    memory = f"{unit['memory'] / 2**30:.1f} GiB"
    return [
        entry["id"],
        entry["type"],
        entry["description"],
        str(unit["cpu"]),
        memory,
        gpu,
        str(entry["default"]).lower(),
        str(entry["max"]),
    ]


# Output


def formatted(content: Any, output: str | None) -> str:
    if output == "json":
        return json.dumps(content, indent=2) + "\n"
    if output == "yaml":
        import yaml

        return str(yaml.safe_dump(content, sort_keys=False))
    return "".join(human_lines(content, ""))


def human_lines(content: dict[str, Any], indent: str) -> Iterator[str]:
    """A listing for people, as older versions of the real command print it."""
    for name, value in content.items():
        title = name[0].upper() + name[1:]
        if isinstance(value, dict) and value:
            yield f"{indent}{title}:\n"
            yield from human_lines(value, indent + "  ")
        else:
            yield f"{indent}{title}: {'~' if value in (None, [], {}) else value}\n"


table = buckets.table

# Arguments


def environment_entry(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def seconds(text: str) -> int:
    """30s, 5m, 1h, 7d, 1h30m."""
    if not re.fullmatch(r"(\d+[smhdw])+", text):
        raise argparse.ArgumentTypeError(f"'{text}': time unit needed, for example 30s, 5m or 1h")
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", text))


def volume(text: str) -> str:
    """Checked here, so that mistakes are bad usage; parsed later, because the platform's variant has a say in it."""
    try:
        volumes.parse(text, lose_prefix_with_trailing_slash=False)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}")
    return text


def job_run_parser(parser: Parser) -> None:
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


def job_list_parser(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true")
    parser.add_argument("-s", "--state")
    output_option(parser)


def job_get_parser(parser: Parser) -> None:
    parser.add_argument("id")
    output_option(parser)


def job_logs_parser(parser: Parser) -> None:
    parser.add_argument("id")
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("--tail", type=int)
    parser.add_argument("--from", dest="source")


def ids_parser(parser: Parser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID")


def id_parser(parser: Parser) -> None:
    parser.add_argument("id")


def login_parser(parser: Parser) -> None:
    parser.add_argument("-u", "--username")
    parser.add_argument("--password-from-env")


def output_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=["json", "yaml"])


COMMANDS: dict[str, tuple[Callable[[Any], None], Handler]] = {
    "job run": (job_run_parser, job_run),
    "job list": (job_list_parser, job_list),
    "job get": (job_get_parser, job_get),
    "job logs": (job_logs_parser, job_logs),
    "job stop": (ids_parser, job_stop),
    "job delete": (ids_parser, job_delete),
    "job push-data": (id_parser, copy_data("push")),
    "job pull-data": (id_parser, copy_data("pull")),
    "me": (output_option, me),
    "login": (login_parser, login),
    "capabilities flavor list": (output_option, capabilities_flavor_list),
    **buckets.COMMANDS,
}
ALIASES = {"ls": "list", "log": "logs"}


def parse(argv: list[str]) -> tuple[str, argparse.Namespace]:
    """The command's name and its arguments. Exits with 2 on bad usage."""
    command = command_name(argv)
    given, after = split_at_dashes(argv[len(command.split()) :])
    parser = Parser(prog=f"ovhai {command}", allow_abbrev=False)
    COMMANDS[command][0](parser)
    parser.add_argument("--token")
    parser.add_argument("--no-color", action="store_true")
    if command != "job run":
        return command, parser.parse_intermixed_args([*given, *(["--", *after] if after else [])])
    arguments = parser.parse_intermixed_args(given)
    arguments.command = after
    return command, arguments


def command_name(argv: list[str]) -> str:
    words = [ALIASES.get(word, word) for word in argv[:3]]
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in COMMANDS:
            return name
    parser = Parser(prog="ovhai", usage="ovhai <COMMAND>")
    return parser.error(f"unrecognized subcommand '{' '.join(argv[:3])}'")


def split_at_dashes(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]
