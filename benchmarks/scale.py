"""Hundreds of scenes on the stand-in of the platform: does the head keep up? Prints a Markdown table.

Each scene has four jobs in a row, with simulated times: prepare (CPUs), train, mesh (a GPU each) and pack (CPUs). The
bound is what no schedule can beat: all GPUs busy from the first scene that is prepared to the last mesh, then its pack.

The platform's seconds are shorter than real ones. What the head needs for its work is not: at a speed of 120, a second
in which it is late counts as two minutes. So the ratio is higher than on the platform.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("executor/tests", "tests/ovhai", "tests/helpers")]

from heads import labels  # noqa: E402
from ovhai_standin.platform import Platform  # noqa: E402

import s3_server  # noqa: E402

BUCKET = "scale"
# Rule -> seconds of the platform that its job takes, and its GPUs.
STEPS = {"prepare": (600, 0), "train": (3000, 1), "mesh": (600, 1), "pack": (300, 0)}
RULE = """
rule {name}:
    input:
        {input}
    output:
        "results/{{scene}}/{name}/out.txt",
    container:
        "docker://example/tools:1"
    priority: {priority}
    resources:
        gpu={gpu},
        flavor="{flavor}",
        runtime=240,
    shell:
        "echo {name} > {{output:q}}"
"""
JOBS = 32  # of the platform at a time, as in profiles/ovhai
INTERVALS = (5.0, 60.0)  # the platform's seconds between two checks, at the least and at the most: the defaults
WINDOW = 60.0  # seconds in which lists are counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=500, help="%(default)s")
    parser.add_argument("--gpus", type=int, default=16, help="the quota (%(default)s)")
    parser.add_argument("--speed", type=float, default=120, help="seconds of the platform in one second (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "s3").mkdir()
        with s3_server.s3_server(folder / "s3") as s3:
            s3.client().create_bucket(Bucket=BUCKET)
            print(measure(folder, s3, arguments.scenes, arguments.gpus, arguments.speed))


@dataclass
class Span:
    """A job: seconds at which it was submitted, began to run and ended."""

    scene: str
    submitted: float
    begin: float
    end: float


@dataclass
class Usage:
    """Of the head. processor: seconds that it and its calls computed."""

    seconds: float
    processor: float
    memory: float  # MB, the peak


def measure(folder: Path, s3: s3_server.S3Server, scenes: int, gpus: int, speed: float) -> str:
    simulate = {rf"echo {name} ": seconds for name, (seconds, _) in STEPS.items()}
    quota = {"gpu": gpus, "cpu": 4 * gpus}
    platform = Platform.start(folder / "platform", s3, quota=quota, simulate=simulate, time_scale=speed)
    try:
        head = folder / "head"
        head.mkdir()
        (head / "Snakefile").write_text(make_snakefile(scenes))
        usage = run(head, platform, s3, speed)
        spans = read_spans(platform.jobs())
        lists = [call["time"] for call in platform.calls("job", "list")]
    finally:
        platform.stop_everything()
    if sum(map(len, spans.values())) != scenes * len(STEPS):
        sys.exit(f"there were {sum(map(len, spans.values()))} jobs, not {scenes * len(STEPS)}")
    return table(scenes, gpus, speed, usage, spans, lists)


def make_snakefile(scenes: int) -> str:
    names = list(STEPS)
    text = f'rule all:\n    input:\n        expand("results/{{n}}/{names[-1]}/out.txt", n=range({scenes})),\n'
    for place, (before, (name, (_, gpu))) in enumerate(zip(["", *names], STEPS.items(), strict=False)):
        source = f'"results/{{scene}}/{before}/out.txt",' if before else "[],"
        flavor = "ai1-1-gpu" if gpu else "ai1-1-cpu"
        text += RULE.format(name=name, input=source, gpu=gpu, flavor=flavor, priority=place)
    return text


def run(head: Path, platform: Platform, s3: s3_server.S3Server, speed: float) -> Usage:
    command = [str(Path(sys.executable).with_name("snakemake")), "--executor", "ovhai", "--ovhai-datastore", "S3GRA"]
    command += ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}/work"]
    command += ["--shared-fs-usage", "none", "--nolock", "--jobs", str(JOBS), "--latency-wait", "30"]
    command += ["--scheduler", "greedy", "--ovhai-bill", "bill.csv"]
    least, most = (max(0.5, seconds / speed) for seconds in INTERVALS)
    command += ["--ovhai-min-interval", str(least), "--ovhai-max-interval", str(most), "--ovhai-queued-limit", "100000"]
    environment = {**os.environ, **s3.environment, **platform.environment}
    with (head / "said").open("w") as output:
        begin = time.monotonic()
        process = subprocess.Popen(command, cwd=head, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit((head / "said").read_text()[-5000:])
    return Usage(time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def read_spans(jobs: list[dict[str, Any]]) -> dict[str, list[Span]]:
    """Rule -> its jobs."""
    spans = defaultdict(list)
    for job in jobs:
        status = job["status"]
        times = (read_time(text) for text in (job["createdAt"], status["startedAt"], status["finalizedAt"]))
        spans[labels(job, "rule")].append(Span(labels(job, "wildcard-scene"), *times))
    return dict(spans)


def read_time(text: str) -> float:
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text)).timestamp()


def get_bound(scenes: int, gpus: int, speed: float) -> float:
    """Seconds that no schedule can beat."""
    seconds = {name: length for name, (length, _) in STEPS.items()}
    on_gpus = sum(length for length, gpu in STEPS.values() if gpu)
    waves = max(1.0, scenes / gpus)
    return (seconds["prepare"] + waves * on_gpus + seconds["pack"]) / speed


def get_gaps(spans: dict[str, list[Span]]) -> list[float]:
    """Seconds between the end of a training and the beginning of the scene's mesh."""
    begins = {span.scene: span.begin for span in spans["mesh"]}
    return [begins[span.scene] - span.end for span in spans["train"]]


def count_overtakers(spans: dict[str, list[Span]]) -> int:
    """The most scenes that began after another one and were done before it."""
    begins = {span.scene: span.begin for span in spans["prepare"]}
    ends = {span.scene: span.end for span in spans["pack"]}
    return max(sum(begins[b] > begins[a] and ends[b] < ends[a] for b in ends) for a in ends)


def get_longest_scene(spans: dict[str, list[Span]]) -> float:
    """Seconds from the begin of a scene's first job to the end of its last."""
    begins = {span.scene: span.begin for span in spans["prepare"]}
    return max(span.end - begins[span.scene] for span in spans["pack"])


def count_lists(times: list[float], spans: dict[str, list[Span]]) -> list[int]:
    """Lists in each whole window between the first job and the last."""
    begin = min(span.submitted for jobs in spans.values() for span in jobs)
    end = max(span.end for jobs in spans.values() for span in jobs)
    windows = int((end - begin) // WINDOW)
    return [sum(begin + n * WINDOW <= one < begin + (n + 1) * WINDOW for one in times) for n in range(windows)]


def table(
    scenes: int,
    gpus: int,
    speed: float,
    usage: Usage | None,
    spans: dict[str, list[Span]],
    lists: list[float],
) -> str:
    everything = [span for jobs in spans.values() for span in jobs]
    makespan = max(span.end for span in everything) - min(span.submitted for span in everything)
    bound = get_bound(scenes, gpus, speed)
    counts, gaps = count_lists(lists, spans), get_gaps(spans)
    alone = sum(length for length, _ in STEPS.values()) / speed
    rows = {
        "scenes, jobs, GPUs": f"{scenes}, {len(everything)}, {gpus}",
        "times as fast as on the platform": f"{speed:g}",
        "seconds from the first job to the last": f"{makespan:.0f}",
        "the least possible": f"{bound:.0f}",
        "ratio": f"{makespan / bound:.2f}",
        f"`ovhai job list` in {WINDOW:.0f} s, least and most": f"{min(counts, default=0)}, {max(counts, default=0)}",
        "longest wait of a scene between train and mesh, in trainings": f"{max(gaps) * speed / STEPS['train'][0]:.2f}",
        "longest time of a scene, over the least": f"{get_longest_scene(spans) / alone:.2f}",
        "most scenes that began later than another and ended earlier": str(count_overtakers(spans)),
    }
    if usage:
        rows |= {
            "seconds of the whole run": f"{usage.seconds:.0f}",
            "seconds that the head computes": f"{usage.processor:.0f}",
            "peak memory of the head, MB": f"{usage.memory:.0f}",
        }
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows.items())])


if __name__ == "__main__":
    main()
