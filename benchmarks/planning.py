"""How long `snakemake -n` takes when everything is up to date: files on this machine, and objects in S3.

Prints a Markdown table. Each row has the medians of several plans, which take turns. All rows come from one run on one
machine, so compare the rows, not their seconds with those of another machine. The scenes and their files are made up:
each file holds a few bytes. A real S3 server on this machine answers at once, or through a proxy that holds each
request for a while.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("executor/tests", "tests/ovhai", "tests/helpers")]

from ovhai_standin.platform import Platform  # noqa: E402

import s3_server  # noqa: E402
from checkout import Checkout  # noqa: E402
from s3_proxy import s3_proxy  # noqa: E402

BUCKET = "planning"
PLANNER = str(Path(__file__).with_name("planner.py"))
LOCAL, REMOTE = "profiles/local", "ovhai"


@dataclass
class Plan:
    seconds: float
    processor: float  # seconds that it and its children computed, which other programs of the machine change least
    memory: float  # MB, the peak
    requests: int | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=1000, help="%(default)s")
    parser.add_argument("--slow-scenes", type=int, default=50, help="those that are asked for in turn (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each plan (%(default)s)")
    parser.add_argument("--delay", type=float, default=30, help="milliseconds of each request (%(default)s)")
    parser.add_argument("--profile", action="store_true", help="say instead where the time of one plan in S3 goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "s3").mkdir()
        with s3_server.s3_server(folder / "s3") as s3:
            s3.client().create_bucket(Bucket=BUCKET)
            bench = Bench(folder, s3)
            try:
                if arguments.profile:
                    bench.profile(arguments.scenes)
                else:
                    delay = arguments.delay / 1000
                    print(bench.measure(arguments.scenes, arguments.slow_scenes, delay, arguments.repeats))
            finally:
                bench.platform.stop_everything()


class Bench:
    def __init__(self, folder: Path, s3: s3_server.S3Server) -> None:
        self.folder, self.s3 = folder, s3
        self.platform = Platform.start(folder / "platform", s3)

    def measure(self, scenes: int, slow_scenes: int, delay: float, repeats: int) -> str:
        rows = []
        for count, hows in ((scenes, ["as-is"]), (slow_scenes, ["as-is", "one-by-one"])):
            local, remote = self.make(count)
            plans: dict[str, list[Plan]] = defaultdict(list)
            for _ in range(repeats):  # in turns, so that a busy minute is in all rows
                plans["files"].append(self.run(local, LOCAL, "as-is"))
                for how in hows:
                    name = "S3" if how == "as-is" else "S3, one object at a time"
                    plans[name].append(self.run(remote, REMOTE, how))
                    plans[f"{name}, {delay * 1000:.0f} ms"].append(self.run_through_proxy(remote, how, delay))
            files = take_median(plans["files"])
            rows += [(name, count, take_median(several), files) for name, several in plans.items()]
        return table(rows)

    def profile(self, scenes: int) -> None:
        for checkout, profile in zip(self.make(scenes), (LOCAL, REMOTE), strict=True):
            print(profile, self.run(checkout, profile, "as-is"))
            self.run(checkout, profile, "profile")
            for order in ("cumulative", "tottime"):
                command = f"import pstats; pstats.Stats('profile').sort_stats('{order}').print_stats(45)"
                subprocess.run([sys.executable, "-c", command], cwd=checkout.folder, check=True)

    def make(self, scenes: int) -> list[Checkout]:
        """Two checkouts with everything made: as files, and in the bucket."""
        checkouts = []
        for profile in (LOCAL, REMOTE):
            checkout = Checkout.make(self.folder / f"{Path(profile).name}-{scenes}")
            (checkout.folder / "footage").mkdir()
            names = [f"scene-{number:05}" for number in range(scenes)]
            for name in names:
                (checkout.folder / "footage" / f"{name}.mp4").write_bytes(b"no video\n")
            checkout.configure([{"scene": name, "video": f"footage/{name}.mp4"} for name in names])
            self.run(checkout, profile, "make")
            checkouts.append(checkout)
        return checkouts

    def run_through_proxy(self, checkout: Checkout, how: str, delay: float) -> Plan:
        with s3_proxy(self.s3) as proxy:
            proxy.delay = delay
            plan = self.run(checkout, REMOTE, how, proxy.server)
            plan.requests = len(proxy.requests)
        return plan

    def run(self, checkout: Checkout, profile: str, how: str, s3: s3_server.S3Server | None = None) -> Plan:
        place = {**(s3 or self.s3).profile_environment(BUCKET), "OVHAI_PREFIX": checkout.folder.name}
        environment = {**os.environ, **self.platform.environment, **place}
        command = [sys.executable, PLANNER, how, "--profile", profile, "--configfile", "settings.yaml", "-n"]
        log(f"{checkout.folder.name}, {profile}, {how}")
        said = checkout.folder / "said"
        with said.open("w") as output:
            begin = time.monotonic()
            process = subprocess.Popen(command, cwd=checkout.folder, env=environment, stdout=output, stderr=output)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or (how != "make" and "Nothing to be done" not in said.read_text()):
            sys.exit(f"exit code {process.returncode} of {' '.join(command)}:\n{said.read_text()[-5000:]}")
        log(f"{seconds:.1f} s")
        return Plan(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def take_median(plans: list[Plan]) -> Plan:
    """Of each figure."""
    figures = ([getattr(plan, name) for plan in plans] for name in ("seconds", "processor", "memory"))
    return Plan(*map(median, figures), requests=plans[-1].requests)


def table(rows: list[tuple[str, int, Plan, Plan]]) -> str:
    titles = "where | scenes | seconds | times the files | computing | times the files | peak memory, MB | requests"
    lines = [f"| {titles} |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, scenes, plan, files in rows:
        ratio, requests = plan.seconds / files.seconds, "" if plan.requests is None else f"{plan.requests:,}"
        times = f"{plan.seconds:.1f} | {ratio:.2f} | {plan.processor:.1f} | {plan.processor / files.processor:.2f}"
        lines.append(f"| {name} | {scenes} | {times} | {plan.memory:.0f} | {requests} |")
    return "\n".join(lines)


def log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
