"""The command `ovhai`: arguments, output, exit codes (0; 1: the platform refuses; 2: bad usage)."""

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ovhai_standin import account, buckets, faults, jobs, records
from ovhai_standin.answers import Refusal
from ovhai_standin.arguments import Parser
from ovhai_standin.folder import VARIABLE, PlatformFolder

# Name -> what adds its arguments to a parser, what does it and answers the output.
Command = tuple[Callable[[Any], None], Callable[[PlatformFolder, argparse.Namespace], str]]
COMMANDS: dict[str, Command] = {**jobs.COMMANDS, **account.COMMANDS, **buckets.COMMANDS}
ALIASES = {"ls": "list", "log": "logs"}


def main(argv: list[str], process: int | None = None, caller: int | None = None) -> int:
    """process and caller: ids of the command's process and of its parent, if they are not those of this one."""
    folder = PlatformFolder(Path(os.environ.get(VARIABLE, "")))
    if VARIABLE not in os.environ or not folder.jobs.is_dir():
        sys.stderr.write(f"{VARIABLE} does not name a platform folder\n")
        return 1
    folder.add_call(argv, process or os.getpid(), caller or os.getppid())
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
    except Refusal as refusal:
        sys.stderr.write(f"{refusal}\n")
        return refusal.exit_code
    return 0


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


def occasion_text(folder: PlatformFolder, argv: list[str]) -> str:
    """What `match` of a fault is searched in: the arguments, and the jobs whose ids are among them."""
    known = [record for word in argv if is_job_id(word) and (record := folder.record(word))]
    return "\n".join([" ".join(argv), *(records.description(record["job"]) for record in known)])


def is_job_id(word: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", word) is not None


def before_call(rule: faults.Rule) -> bool:
    """Whether the call shall do nothing. Raises Refusal."""
    action = rule["action"]
    if action == "stderr":
        sys.stderr.write(f"{rule.get('text', 'warning: something is odd')}\n")
    elif action == "slow":
        time.sleep(rule["seconds"])
    elif action == "hang":
        time.sleep(rule.get("seconds", 3600))
        raise Refusal("error: operation timed out")
    elif action == "not_authenticated":
        raise Refusal("AI Training error: not authenticated")
    elif action == "fail":
        raise Refusal(rule.get("text", "500: internal server error"), rule.get("exit_code", 1))
    return action == "ignore"


def after_call(rules: list[faults.Rule], output: str) -> None:
    """Print the output as faults distort it."""
    for rule in rules:
        action = rule["action"]
        if action == "lose_reply":
            if rule.get("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            raise Refusal(rule.get("text", "error: error sending request: connection closed before message completed"))
        if action == "garbage":
            output = rule.get("text", "<html><body>502 Bad Gateway</body></html>\n")
        elif action == "truncate":
            output = output[: rule.get("characters", len(output) // 2)]
        elif action == "empty":
            output = ""
        elif action == "stdout":
            output = f"{rule.get('text', 'A new version of ovhai is available')}\n{output}"
    sys.stdout.write(output)
