"""What if the bucket falls silent at any one request of a run?

    python executor/tests/silence.py --kinds 503,refuse,hang,truncate --jobs 4

A run of a small workflow makes some 150 requests. It is repeated for each of them and each kind of outage, which
begins at that request. A run is good if all of this is true:

* It ends with exit code 0. Or it ends with 1, and a second run ends with 0.
* Each piece of work has had one job, and all jobs are DONE.
* All files are there and right, and there is no traceback.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("executor/tests", "tests/ovhai", "tests/helpers")]

from heads import Head, labels, strip_colours  # noqa: E402
from ovhai_standin.platform import Platform  # noqa: E402

import s3_server  # noqa: E402
from s3_proxy import Request, s3_proxy  # noqa: E402

BUCKET = "silence"
SCENES = ("a", "b")
MOST = 160  # requests; a run makes fewer
# Without patience, boto3 makes a request six times, and the watcher takes part of the faults.
KINDS: dict[str, dict[str, Any]] = {
    "503": {"count": 7},
    "500": {"count": 7},
    "reset": {"count": 7},
    "refuse": {"seconds": 12},
    "hang": {"count": 7, "hold": 1.5},
    "truncate": {"count": 7},
}
# Remote rules, local rules whose outputs go to the bucket, and one whose outputs stay here.
SNAKEFILE = """\
rule all:
    input:
        local(expand("deliver/{scene}.txt", scene=["a", "b"])),

rule prepare:
    localrule: True
    output:
        "results/{scene}/prepare/numbers.txt",
    log:
        "results/{scene}/prepare/log.txt",
    shell:
        "echo prepared > {log}; seq 3 > {output}"

rule make:
    input:
        "results/{scene}/prepare/numbers.txt",
    output:
        "results/{scene}/make/out.txt",
    log:
        "results/{scene}/make/log.txt",
    container:
        "docker://example/tools:1"
    shell:
        "echo made > {log}; cat {input} {input} > {output}"

rule add:
    input:
        "results/{scene}/make/out.txt",
    output:
        "results/{scene}/add/out.txt",
    container:
        "docker://example/tools:1"
    resources:
        gpu=1,
    shell:
        "paste -sd+ {input} | bash -c 'echo $(( $(cat) ))' > {output}"

rule report:
    localrule: True
    input:
        "results/{scene}/add/out.txt",
    output:
        "results/{scene}/report/out.txt",
    shell:
        "sed 's/^/sum: /' {input} > {output}"

rule deliver:
    localrule: True
    input:
        "results/{scene}/report/out.txt",
    output:
        local("deliver/{scene}.txt"),
    shell:
        "cp {input} {output}"
"""
WORK = {(scene, rule): 1 for scene in SCENES for rule in ("make", "add")}


@dataclass
class Outcome:
    kind: str
    request: Request | None  # the first that was not answered; None if the run never made it
    runs: int  # one if the first ended with exit code 0
    seconds: float
    problems: list[str]
    said: str

    def __str__(self) -> str:
        verdict = "; ".join(self.problems) or ("good" if self.runs == 1 else "good after a second run")
        at = self.request and f"{self.request.number:3}  {self.request.method} {self.request.path}"
        return f"{self.kind:>8} at {at}: {verdict}, {self.seconds:.0f} s"


def try_silence(folder: Path, s3: s3_server.S3Server, bucket: str, kind: str, **how: Any) -> Outcome:
    """One run with an outage. how: the fields of the fault."""
    begin = time.monotonic()
    folder.mkdir(parents=True)
    platform = Platform.start(folder / "platform", s3)
    try:
        with s3_proxy(s3) as proxy:
            fault = proxy.inject(kind, **how)
            head = Head(folder / "head", platform, proxy.server, bucket, f"work-{uuid.uuid4().hex[:8]}")
            head.write(snakefile=SNAKEFILE)
            said, runs = run_until_good(head)
        head.s3 = s3
        problems = [f"{runs} runs and none good"] if runs > 2 else []
        problems += find_problems(head, said)
    finally:
        platform.stop_everything()
    return Outcome(kind, fault.request, runs, time.monotonic() - begin, problems, said)


def run_until_good(head: Head) -> tuple[str, int]:
    """At most two runs. Returns what they said, and how many runs it took: 3 if both were in vain."""
    said = ""
    for runs in (1, 2):
        run = head.run("--latency-wait", "2", timeout=200)
        said += strip_colours(run.stdout)
        if run.returncode == 0:
            return said, runs
    return said, 3


def find_problems(head: Head, said: str) -> list[str]:
    problems = []
    jobs = Counter((labels(job, "wildcard-scene"), labels(job, "rule")) for job in head.platform.jobs())
    if jobs != WORK:
        problems.append(f"jobs: {dict(jobs)}")
    states = {job["status"]["state"] for job in head.platform.jobs()}
    if states != {"DONE"}:
        problems.append(f"states: {sorted(states)}")
    for scene in SCENES:
        delivered = head.folder / "deliver" / f"{scene}.txt"
        if not delivered.exists() or delivered.read_text() != "sum: 12\n":
            problems.append(f"{scene} is not delivered")
        if head.stored(f"results/{scene}/make/out.txt") != "1\n2\n3\n1\n2\n3\n":
            problems.append(f"results of {scene} are wrong")
    if "Traceback" in said:
        problems.append("traceback")
    if said.count("The bucket has not answered") > said.count("The bucket answers again") + 1:
        problems.append("says too much")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"separated by commas (default: {','.join(KINDS)})")
    parser.add_argument("--first", type=int, default=1, help="the first request to be tried")
    parser.add_argument("--last", type=int, default=MOST)
    parser.add_argument("--step", type=int, default=1, help="try each request of so many, and mix the kinds")
    parser.add_argument("--jobs", type=int, default=4, help="runs at a time")
    options = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as s3, ThreadPoolExecutor(options.jobs) as pool:
        cases = [
            (kind, number)
            for index, kind in enumerate(options.kinds.split(","))
            for number in range(options.first + index, options.last + 1, options.step)
        ]
        for outcome in pool.map(lambda case: try_case(Path(folder), s3, *case), cases):
            if not outcome.request:
                continue
            print(outcome, flush=True)
            if outcome.problems:
                print(outcome.said, flush=True)
            outcomes.append(outcome)
    good = [outcome for outcome in outcomes if not outcome.problems]
    at_once = sum(outcome.runs == 1 for outcome in good)
    print(f"{len(outcomes)} outages tried, {len(good)} runs good, {at_once} of them with exit code 0 at once")
    sys.exit(len(good) < len(outcomes))


def try_case(folder: Path, s3: s3_server.S3Server, kind: str, number: int) -> Outcome:
    place = folder / f"{kind}-{number}"
    outcome = try_silence(place, s3, BUCKET, kind, first=number, **KINDS[kind])
    shutil.rmtree(place, ignore_errors=True)
    return outcome


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[s3_server.S3Server]:
    (folder / "s3").mkdir()
    with s3_server.s3_server(folder / "s3") as s3:
        s3.client().create_bucket(Bucket=BUCKET)
        yield s3


if __name__ == "__main__":
    main()
