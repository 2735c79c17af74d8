"""Is anything lost when platform and bucket have random faults, and heads are ended at random times?

    python executor/tests/chaos.py --seeds 0-299 --jobs 6

Each seed is one run of a small workflow. Its plan is drawn from the seed: faults of the platform, outages of the
bucket, and several rounds of heads. A head ends by itself or by a signal. The next one may have other groups, a fresh
folder, or an input that has changed. At the end comes a last head that nothing disturbs. These violations make the
exit code 1:

* Two live jobs write the same files. Either one head submitted both, or one of two heads listed the platform's jobs
  twice without stopping the later job.
* The last head fails or hangs, or a head goes on after SIGTERM or SIGHUP.
* A file is missing, or it differs from what an undisturbed run makes of the inputs as they are at the end.
* Work succeeded twice although there was never more than one head at a time. With two heads this is only counted. They
  may start at the same time, and a head that comes back does not know what the other one has done since.
"""

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("executor/tests", "tests/ovhai", "tests/helpers")]

from heads import Head, get_written_files, kill, labels  # noqa: E402
from ovhai_standin.platform import Platform  # noqa: E402

import s3_server  # noqa: E402
from s3_proxy import Proxy, s3_proxy  # noqa: E402
from snakemake_executor_plugin_ovhai.identity import read_outputs  # noqa: E402
from snakemake_executor_plugin_ovhai.job import Job  # noqa: E402
from snakemake_process import SnakemakeProcess  # noqa: E402

BUCKET = "chaos"
SCENES = ("a", "b", "c")
LAST_HEAD = 150  # seconds; undisturbed it needs about ten
LEAVING = 40  # seconds after a signal
ENDS_OF_LIFE = {"INTERRUPTING", "TIMEOUT", "DONE", "FAILED", "ERROR", "INTERRUPTED", "SYNC_FAILED"}
ARGUMENTS = (
    *("--ovhai-min-interval", "0.3", "--ovhai-max-interval", "1", "--retries", "3"),
    *("--ovhai-queued-limit", "0.1", "--ovhai-pending-limit", "0.1"),  # 6 s
    *("--quiet", "rules"),
)
# How rules are put into one job, from run to run.
GROUPINGS = (
    (),
    ("--groups", "two=pair", "three=pair"),
    ("--groups", "one=all", "two=all", "three=all"),
    ("--groups", "one=scenes", "--group-components", "scenes=2"),
    ("--groups", "two=pair", "three=pair", "--group-components", "pair=3"),
)
# Each output begins as something that must never be taken for a result.
SNAKEFILE = """\
SECONDS = {seconds}

rule all:
    input:
        local(expand("deliver/{{scene}}.txt", scene=["a", "b", "c"])),

rule one:
    input:
        "inputs/{{scene}}/input.txt",
    output:
        "results/{{scene}}/one/out.txt",
    log:
        "results/{{scene}}/one/log.txt",
    container:
        "docker://example/tools:1"
    params:
        seconds=lambda wildcards: SECONDS[f"{{wildcards.scene}}1"],
    shell:
        "date > {{log}}; echo part > {{output}}; sleep {{params.seconds}}; sha256sum < {{input}} > {{output}}"

rule two:
    input:
        "results/{{scene}}/one/out.txt",
    output:
        "results/{{scene}}/two/out.txt",
    container:
        "docker://example/tools:1"
    params:
        seconds=lambda wildcards: SECONDS[f"{{wildcards.scene}}2"],
    resources:
        gpu=1,
    shell:
        "echo part > {{output}}; sleep {{params.seconds}}; sha256sum < {{input}} > {{output}}"

rule three:
    input:
        one="results/{{scene}}/one/out.txt",
        two="results/{{scene}}/two/out.txt",
    output:
        "results/{{scene}}/three/out.txt",
    container:
        "docker://example/tools:1"
    params:
        seconds=lambda wildcards: SECONDS[f"{{wildcards.scene}}3"],
    resources:
        gpu=1,
    shell:
        "echo part > {{output}}; sleep {{params.seconds}}; cat {{input.one}} {{input.two}} | sha256sum > {{output}}"

rule deliver:
    localrule: True
    input:
        "results/{{scene}}/three/out.txt",
    output:
        local("deliver/{{scene}}.txt"),
    shell:
        "cp {{input}} {{output}}"
"""
# Faults of calls that leave open whether there is a new job, with their probabilities.
SUBMISSION_FAULTS: list[dict[str, Any]] = [
    {"when": "job run", "action": "fail", "probability": 0.2},
    {"when": "job run", "action": "fail", "text": "error: 402: quota exceeded", "probability": 0.2},
    {"when": "job run", "action": "lose_reply", "probability": 0.2},
    {"when": "job run", "action": "lose_reply", "kill": True, "probability": 0.2},
    {"when": "job run", "action": "garbage", "probability": 0.2},
    {"when": "job run", "action": "slow", "seconds": 1.5, "probability": 0.2},
    {"when": "job run", "action": "not_authenticated", "probability": 0.2},
]
FAULTS: list[dict[str, Any]] = [
    {"when": "job list", "action": "fail", "text": "503: service unavailable", "probability": 0.2},
    {"when": "job list", "action": "not_authenticated", "probability": 0.1},
    {"when": "job list", "action": "garbage", "probability": 0.2},
    {"when": "job list", "action": "truncate", "probability": 0.2},
    {"when": "job list", "action": "empty", "probability": 0.1},
    {"when": "job list", "action": "slow", "seconds": 1, "probability": 0.2},
    {"when": "job list", "action": "drop", "fields": ["status.history", "status.info"], "probability": 0.2},
    {"when": "job get", "action": "fail", "probability": 0.5},
    {"when": "job logs", "action": "fail", "probability": 0.3},
    {"when": "job stop", "action": "fail", "probability": 0.4},
    {"when": "job stop", "action": "ignore", "probability": 0.3},
    {"when": "job stop", "action": "lose_reply", "probability": 0.3},
    {"when": "QUEUED", "action": "stuck", "probability": 0.1},
    {"when": "PENDING", "action": "stuck", "code": "JOB_IMAGE_PULL_BACKOFF", "probability": 0.1},
    {"when": "INITIALIZING", "action": "delay", "seconds": 1.5, "probability": 0.3},
    {"when": "FINALIZING", "action": "delay", "seconds": 1.5, "probability": 0.3},
    {"when": "RUNNING", "action": "end", "state": "ERROR", "seconds": 0.5, "probability": 0.15},
    {"when": "RUNNING", "action": "end", "state": "INTERRUPTED", "code": "JOB_EVICTED", "probability": 0.2},
    {"when": "RUNNING", "action": "end", "state": "ERROR", "seconds": 0.5, "push": True, "probability": 0.15},
    {"when": "pull", "action": "fail", "probability": 0.1},
    {"when": "push", "action": "fail", "probability": 0.15},
    {"when": "push", "action": "fail", "keep_state": True, "probability": 0.15},
]
# A list that lacks a job: one that no other record names is then started again by any executor, so not with kills.
LIE = {"when": "job list", "action": "hide", "probability": 0.2}


# Of the bucket, as the heads see it. The platform's own copies go on.
OUTAGES: list[dict[str, Any]] = [
    {"kind": "503", "seconds": 4.0},
    {"kind": "500", "count": 6},
    {"kind": "refuse", "seconds": 4.0},
    {"kind": "reset", "count": 6},
    {"kind": "hang", "seconds": 4.0},
    {"kind": "truncate", "count": 4},
]


@dataclass(frozen=True)
class Start:
    """One start of a head. seconds: from its first list to its end by the signal; None: it is left alone."""

    seconds: float | None
    signal: signal.Signals
    grouping: tuple[str, ...]
    fresh: bool  # in a folder of its own, with nothing but the workflow


@dataclass
class Plan:
    """What happens in a seed."""

    faults: list[dict[str, Any]]
    outages: list[dict[str, Any]]
    settings: dict[str, Any]
    rounds: list[list[Start]]  # heads that start together
    changes: list[str]  # the scene whose input is replaced after each round; empty: none
    last: Start
    seconds: dict[str, float]
    inputs: dict[str, bytes]


@dataclass
class Outcome:
    seed: int
    seconds: float
    heads: int
    jobs: int
    fired: int
    outages: int
    repeated: int
    left: int
    longest: float
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = "; ".join(self.violations) or "ok"
        return (
            f"seed {self.seed}: {what} ({self.seconds:.0f} s, {self.heads} heads, {self.jobs} jobs, "
            f"{self.fired} faults, {self.outages} outages, {self.repeated} done again, {self.left} left, "
            f"overlap {self.longest:.1f} s)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="0-299", help="first and last one (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time (%(default)s)")
    parser.add_argument("--keep", type=Path, help="leave the files of each seed in this folder")
    arguments = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a head under nohup would ignore it
    first, _, last = arguments.seeds.partition("-")
    with tempfile.TemporaryDirectory() as scratch:
        outcomes = list(
            run_seeds(range(int(first), int(last or first) + 1), arguments.jobs, Path(scratch), arguments.keep)
        )
    broken = [outcome for outcome in outcomes if outcome.violations]
    print(
        f"{len(outcomes)} seeds, {sum(outcome.heads for outcome in outcomes)} heads, "
        f"{sum(outcome.jobs for outcome in outcomes)} jobs, {sum(outcome.fired for outcome in outcomes)} faults, "
        f"{sum(outcome.outages for outcome in outcomes)} outages: "
        f"{len(broken)} with violations; work done again: {sum(outcome.repeated for outcome in outcomes)}, "
        f"jobs left: {sum(outcome.left for outcome in outcomes)}, "
        f"longest undisturbed overlap of two heads' jobs: {max(outcome.longest for outcome in outcomes):.1f} s"
    )
    for outcome in broken:
        print(f"again: python executor/tests/chaos.py --seeds {outcome.seed}-{outcome.seed} --keep /tmp/chaos")
    sys.exit(bool(broken))


def run_seeds(seeds: range, jobs: int, folder: Path, keep: Path | None) -> Iterator[Outcome]:
    with s3_server.s3_server(make_folder(folder / "s3")) as s3, ThreadPoolExecutor(jobs) as pool:
        s3.client().create_bucket(Bucket=BUCKET)
        try:
            for outcome in pool.map(lambda seed: run_seed(seed, folder, s3, keep), seeds):
                print(outcome, flush=True)
                yield outcome
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C only the seeds that have begun


def make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def run_seed(seed: int, folder: Path, s3: s3_server.S3Server, keep: Path | None = None) -> Outcome:
    """folder: for what the seed writes while it runs."""
    with s3_proxy(s3) as proxy:
        chaos = Chaos(seed, make_folder(folder / f"seed-{seed}"), s3, proxy)
        try:
            outcome = chaos.run()
        finally:
            chaos.clean_up()
    if keep:
        shutil.copytree(chaos.folder, keep / f"seed-{seed}", symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(chaos.folder, ignore_errors=True)
    return outcome


def make_plan(seed: int) -> Plan:
    draw = random.Random(seed)
    lies = draw.random() < 0.15
    pool = [*FAULTS, LIE] if lies else [*FAULTS, *SUBMISSION_FAULTS]
    faults = [{**fault, "seed": draw.random()} for fault in pool if draw.random() < 0.3]
    settings = {
        "delays": {state: [0, draw.choice([0, 0.3, 1])] for state in ("QUEUED", "PENDING", "FINALIZING")},
        "quota": {"gpu": draw.choice([1, 2, 4]), "cpu": 20},
        "stop_grace": 3,
        "seed": seed,
    }
    rounds = [
        [draw_start(draw, left_alone=lies) for _ in range(2 if draw.random() < 0.35 else 1)]
        for _ in range(1 if lies else draw.randint(1, 4))
    ]
    return Plan(
        faults,
        [{**outage, "first": draw.randint(1, 200)} for outage in OUTAGES if draw.random() < 0.2],
        settings,
        rounds,
        [draw.choice(SCENES) if draw.random() < 0.2 else "" for _ in rounds],
        draw_start(draw, left_alone=True),
        {f"{scene}{rule}": round(draw.uniform(0, 2), 2) for scene in SCENES for rule in (1, 2, 3)},
        {scene: draw.randbytes(100) for scene in SCENES},
    )


def draw_start(draw: random.Random, left_alone: bool) -> Start:
    return Start(
        None if left_alone or draw.random() < 0.2 else draw.uniform(0, 6),
        draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]),
        draw.choice(GROUPINGS) if draw.random() < 0.6 else (),
        draw.random() < 0.3,
    )


def get_expected(plan: Plan) -> dict[str, str]:
    """What an undisturbed run makes of the inputs as they are, by its name in the bucket."""
    expected: dict[str, str] = {}
    for scene, content in plan.inputs.items():
        one = hash_as_sha256sum(content)
        two = hash_as_sha256sum(one.encode())
        outputs = {"one": one, "two": two, "three": hash_as_sha256sum((one + two).encode())}
        expected |= {f"results/{scene}/{rule}/out.txt": text for rule, text in outputs.items()}
    return expected


def hash_as_sha256sum(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}  -\n"


class Chaos:
    """One seed."""

    def __init__(self, seed: int, folder: Path, s3: s3_server.S3Server, proxy: Proxy) -> None:
        """proxy: before the bucket, for the heads."""
        self.seed, self.folder, self.s3, self.proxy = seed, folder, s3, proxy
        self.plan = make_plan(seed)
        self.platform = Platform.start(folder / "platform", s3, **self.plan.settings)
        self.prefix = f"seed-{seed}"
        self.heads = [self.make_head(), self.make_head()]
        self.processes: list[SnakemakeProcess] = []
        self.problems: list[str] = []

    def make_head(self) -> Head:
        head = Head(
            make_folder(self.folder / f"head-{uuid.uuid4()}"), self.platform, self.proxy.server, BUCKET, self.prefix
        )
        return head.write(snakefile=SNAKEFILE.format(seconds=self.plan.seconds))

    def run(self) -> Outcome:
        started = time.monotonic()
        for scene in SCENES:
            self.store_input(scene)
        for fault in self.plan.faults:
            self.platform.fault(**fault)
        for outage in self.plan.outages:
            self.proxy.inject(**outage)
        for starts, change in zip(self.plan.rounds, self.plan.changes, strict=True):
            self.run_round(starts)
            if change:
                self.plan.inputs[change] += b"changed"
                self.store_input(change)
        self.platform.clear_faults()
        outages = sum(fault.acted > 0 for fault in self.proxy.clear())
        problem = self.run_last_head()
        violations = self.problems + ([problem] if problem else self.find_wrong_files())
        duplicates, longest = find_duplicates(self.platform)
        repeated = count_repeated(self.platform.jobs())
        if repeated and all(len(starts) == 1 for starts in self.plan.rounds):
            violations.append(f"{repeated} files were made again by the same work")
        return Outcome(
            self.seed,
            time.monotonic() - started,
            len(self.processes),
            len(self.platform.jobs()),
            len(self.platform.firings()),
            outages,
            repeated,
            len(self.get_left()),
            longest,
            violations + duplicates,
        )

    def store_input(self, scene: str) -> None:
        key = f"{self.prefix}/inputs/{scene}/input.txt"
        self.s3.client().put_object(Bucket=BUCKET, Key=key, Body=self.plan.inputs[scene])

    def run_round(self, starts: list[Start]) -> None:
        """Heads that are left alone go on for 20 s, in which most of them end."""
        running = [(self.start(number, start), start) for number, start in enumerate(starts)]
        self.wait_for_lists([process for process, _ in running])
        begin = time.monotonic()
        for process, start in sorted(running, key=lambda entry: entry[1].seconds or 20):
            wait(process, begin + (start.seconds or 20) - time.monotonic())
            if start.seconds is not None and start.signal != signal.SIGKILL and process.poll() is None:
                process.send_signal(start.signal)
                wait(process, LEAVING)
                if process.poll() is None:
                    self.problems.append(f"a head goes on for {LEAVING} s after {start.signal.name}")
            kill(process)

    def wait_for_lists(self, processes: list[SnakemakeProcess]) -> None:
        """A kill before a head has done anything would test nothing, however slow the machine is."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            callers = {call["caller"] for call in self.platform.calls("job", "list")}
            if all(process.poll() is not None or process.pid in callers for process in processes):
                return
            time.sleep(0.2)

    def start(self, number: int, start: Start) -> SnakemakeProcess:
        if start.fresh:
            self.heads[number] = self.make_head()
        process = self.heads[number].start(*ARGUMENTS, *start.grouping)
        self.processes.append(process)
        return process

    def run_last_head(self) -> str:
        """What is wrong with it, if anything is."""
        process = self.start(0, self.plan.last)
        wait(process, LAST_HEAD)
        if process.poll() is None:
            return f"the last head hangs for {LAST_HEAD} s"
        return f"the last head ends with exit code {process.poll()}" if process.poll() else ""

    def find_wrong_files(self) -> list[str]:
        expected = get_expected(self.plan)
        found = {name: self.heads[0].stored(name) for name in expected}
        for scene in SCENES:
            expected[f"deliver/{scene}.txt"] = expected[f"results/{scene}/three/out.txt"]
            delivered = self.heads[0].folder / "deliver" / f"{scene}.txt"
            found[f"deliver/{scene}.txt"] = delivered.read_text() if delivered.exists() else None
        wrong = [name for name in expected if found[name] != expected[name]]
        # The job of a head that was killed may still be on its way to a file that nobody needs any more.
        coming = {file for job in self.get_left() for file in get_written_files(job)}
        return [f"{name} is {found[name]!r}" for name in wrong if found[name] is not None or name not in coming]

    def get_left(self) -> list[dict[str, Any]]:
        return [job for job in self.platform.jobs() if not job["status"]["finalizedAt"]]

    def clean_up(self) -> None:
        for process in self.processes:
            kill(process)
        self.platform.stop_everything()
        client = self.s3.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/"):
            for entry in page.get("Contents", []):
                client.delete_object(Bucket=BUCKET, Key=entry["Key"])


def wait(process: SnakemakeProcess, seconds: float) -> None:
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return


# What the platform's records say -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """When a job could write a file, and which process submitted it (1: that process has died meanwhile)."""

    job: str
    file: str
    begin: float
    end: float
    head: int


def find_duplicates(platform: Platform) -> tuple[list[str], float]:
    """Violations, and the longest time in seconds for which two heads had live jobs for the same files.

    The time counts only if no list and no order to stop failed meanwhile, since a head then needs one more list.
    """
    by_file: dict[str, list[Life]] = defaultdict(list)
    for life in get_lives(platform):
        by_file[life.file].append(life)
    lists = drop_first([(call["time"], call["caller"]) for call in platform.calls("job", "list")])
    orders = [(call["time"], call["argv"]) for call in platform.calls("job", "stop")]
    disturbed = [firing["time"] for firing in platform.firings() if firing["when"] in ("job list", "job stop")]
    violations, longest = [], 0.0
    for lives in by_file.values():
        for one, other in combinations(lives, 2):
            begin, end = max(one.begin, other.begin), min(one.end, other.end)
            if begin >= end:
                continue
            faults = sum(begin < moment < end for moment in disturbed)
            longest = max(longest, 0.0 if faults else end - begin)
            what = f"duplicate: {one.job} and {other.job} for {end - begin:.1f} s"
            if one.head == other.head != 1:
                violations.append(f"{what}, both from one head")
            elif most_lists(lists, begin, get_first_order(orders, (one.job, other.job), begin, end)) > 1 + faults:
                violations.append(f"{what}, though a head listed the jobs twice")
    return violations, longest


def drop_first(lists: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Without the first list of each head, from which it learns before its run what failed jobs have left behind."""
    first = {head: moment for moment, head in sorted(lists, reverse=True)}
    return [(moment, head) for moment, head in lists if moment > first[head]]


def get_first_order(orders: list[tuple[float, list[str]]], jobs: tuple[str, str], begin: float, end: float) -> float:
    """When one of the jobs was told to stop; how long the platform then takes is its own matter."""
    moments = [moment for moment, words in orders if begin < moment < end and set(jobs) & set(words)]
    return min(moments, default=end)


def most_lists(lists: list[tuple[float, int]], begin: float, end: float) -> int:
    """Of any one head in that time: the first shows it both jobs, and before the second it has stopped one."""
    counts: dict[int, int] = defaultdict(int)
    for moment, caller in lists:
        counts[caller] += caller != 1 and begin < moment < end
    return max(counts.values(), default=0)


def get_lives(platform: Platform) -> Iterator[Life]:
    callers = {get_submission(call["argv"]): call["caller"] for call in platform.calls("job", "run")}
    for job in platform.jobs():
        moments = [entry["date"] for entry in job["status"]["history"] if entry["state"] in ENDS_OF_LIFE]
        end = get_seconds(moments[0]) if moments else time.time()
        head = callers[labels(job, "submission")]
        for file in get_written_files(job):
            yield Life(job["id"], file, get_seconds(job["createdAt"]), end, head)


def get_submission(argv: list[str]) -> str:
    mark = "snakemake-submission="
    return next(word.removeprefix(mark) for word in argv if word.startswith(mark))


def get_seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def count_repeated(jobs: list[dict[str, Any]]) -> int:
    """Files that were made well, beyond the first time by the same work, alone or in a group."""
    made: Counter[tuple[str, str]] = Counter()
    for job in filter(is_done, jobs):
        variables = {entry["name"]: entry["value"] for entry in job["spec"]["envVars"]}
        made.update(read_outputs(Job(job["id"], "DONE", variables=variables)).items())
    return sum(count - 1 for count in made.values())


def is_done(job: dict[str, Any]) -> bool:
    pushes = [sync["status"]["state"] for sync in job["status"]["dataSync"] if sync["spec"]["direction"] == "push"]
    return bool(job["status"]["state"] == "DONE" and pushes and pushes[-1] == "DONE")


if __name__ == "__main__":
    main()
