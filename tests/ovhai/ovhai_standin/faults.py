"""Rules that make the platform misbehave, kept in faults.json.

A rule is a map:

    when         the call (`job run`, `job list`, `me`, `bucket list`, ...; `*`: any call), the state that a job
                 enters (`QUEUED`, `INITIALIZING`, `PENDING`, `RUNNING`, `FINALIZING`, `INTERRUPTING`, `TIMEOUT`),
                 or a copy of its data (`pull`, `push`)
    match        regular expression, searched in the arguments of the call (one line) and in the job's name, image,
                 labels as NAME=VALUE and command (a line each); ^ and $ are those of a line (optional: always)
    skip         how many occasions pass before it fires (default 0)
    count        how often it fires at most (default: always)
    probability  that it fires on an occasion, drawn with `seed` (default 1)
    action       what happens, see below; further keys are its parameters

Actions of a call, before it does anything:
    fail         exit 1 with `text` on stderr (default `500: internal server error`), `exit_code`
    not_authenticated
    slow         wait `seconds`, then go on
    hang         wait `seconds` (default an hour), then fail
    stderr       write `text` to stderr, then go on
    ignore       do nothing, exit 0 (for `job stop`, `job delete`)
Actions of a call, after it was done:
    lose_reply   print nothing but `text` on stderr and exit 1; `kill: true`: the command dies by SIGKILL
    garbage      print `text` instead of the output
    truncate     print only the first `characters` (default: half) of the output
    empty        print nothing, exit 0
    stdout       print a line `text` before the output
Actions on each job that `job list` or `job get` shows:
    hide         the list lacks the job; `job get` says 404
    drop         `fields`: dotted names that are missing, such as `status.duration`
    change       `fields`: dotted names -> values, such as {"status.state": "HIBERNATING"}
Actions of a state:
    stuck        the job stays in the state for ever and needs no process; `code`, `message`: its info
    delay        `seconds` more in this state
    end          after `seconds` (default 0) the job ends in `state` (default ERROR) with info `code` (default
                 JOB_ and the state), `message`, `exit_code`; `push: true`: its data still goes back
Actions of `pull` and `push`:
    fail         the data sync is FAILED with `code` (default DATASYNC_FAILED) and the job ends SYNC_FAILED;
                 `keep_state: true`: the job goes on to the end that it would have had
    delay        `seconds` more
"""

import random
import re
import time
import uuid
from typing import Any

from ovhai_standin.folder import PlatformFolder

Rule = dict[str, Any]

CALL_ACTIONS = {"fail", "not_authenticated", "slow", "hang", "stderr", "ignore"}
REPLY_ACTIONS = {"lose_reply", "garbage", "truncate", "empty", "stdout"}
VIEW_ACTIONS = {"hide", "drop", "change"}
STATE_ACTIONS = {"stuck", "delay", "end"}
SYNC_ACTIONS = {"fail", "delay"}
STATES = ("QUEUED", "INITIALIZING", "PENDING", "RUNNING", "FINALIZING", "INTERRUPTING", "TIMEOUT")


def possible_actions(when: str) -> set[str]:
    from ovhai_standin.cli import COMMANDS  # which itself needs this module

    if when in STATES:
        return STATE_ACTIONS
    if when in ("pull", "push"):
        return SYNC_ACTIONS
    if when in ("job list", "job get"):
        return CALL_ACTIONS | REPLY_ACTIONS | VIEW_ACTIONS
    return CALL_ACTIONS | REPLY_ACTIONS if when == "*" or when in COMMANDS else set()


def add(folder: PlatformFolder, rule: Rule) -> str:
    possible = possible_actions(str(rule.get("when")))
    if rule.get("action") not in possible:
        raise ValueError(f"no such occasion, or no such action then (possible: {sorted(possible)}): {rule}")
    re.compile(rule.get("match", ""))
    rule = {"id": str(uuid.uuid4()), **rule}
    with folder.lock():
        folder.write("faults.json", [*folder.read("faults.json"), rule])
    return str(rule["id"])


def clear(folder: PlatformFolder) -> None:
    with folder.lock():
        folder.write("faults.json", [])


def fired(folder: PlatformFolder, rule_id: str) -> int:
    return int(folder.read("fault_counts.json").get(rule_id, {}).get("fired", 0))


def take(folder: PlatformFolder, when: str, text: str, actions: set[str]) -> list[Rule]:
    """Rules that fire on this occasion, which is counted. Takes the platform's lock."""
    if not folder.read("faults.json"):
        return []
    with folder.lock():
        rules = [rule for rule in folder.read("faults.json") if rule["action"] in actions and meets(rule, when, text)]
        if not rules:
            return []
        counts = folder.read("fault_counts.json")
        firing = [rule for rule in rules if fires(rule, counts.setdefault(rule_key(rule), {"met": 0, "fired": 0}))]
        folder.write("fault_counts.json", counts)
    for rule in firing:
        folder.add_line("fired.jsonl", {"time": time.time(), "when": when, "action": rule["action"]})
    return firing


def rule_key(rule: Rule) -> str:
    """Rules written by hand may lack an id."""
    return str(rule.get("id") or sorted(rule.items()))


def meets(rule: Rule, when: str, text: str) -> bool:
    any_call = rule["when"] == "*" and when.islower() and when not in ("pull", "push")
    return (rule["when"] == when or any_call) and re.search(rule.get("match", ""), text, re.MULTILINE) is not None


def fires(rule: Rule, count: dict[str, int]) -> bool:
    count["met"] += 1
    if count["met"] <= rule.get("skip", 0) or count["fired"] >= rule.get("count", float("inf")):
        return False
    draw = random.Random(f"{rule.get('seed', 0)}:{count['met']}").random()
    if draw >= rule.get("probability", 1):
        return False
    count["fired"] += 1
    return True
