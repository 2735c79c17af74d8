"""What of the billed time of a scene is useful, on the stand-in of the platform? Prints a Markdown table.

A job is billed from the start of the pull of its image. The workflow runs with profiles/ovhai for a capture of 300
frames at 1920 x 1080, with each engine, as the profile groups the steps and with a job for each step. Its programs are
replaced by one that writes empty files. How long each step takes comes from videomesh/expected.py.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("executor/tests", "tests/ovhai", "tests/helpers")]

from ovhai_standin.platform import Platform  # noqa: E402

import s3_server  # noqa: E402
from checkout import Checkout  # noqa: E402
from videomesh.expected import get_expected_seconds  # noqa: E402

BUCKET, SCENE = "billing", "table"
GOAL = 1.3
STUB = """\
import os, sys
for path in sys.argv[1:]:
    if any(f"{name}/" in path for name in ("resources", "results", "deliver")) and not os.path.exists(path):
        with open(path, "w") as file:
            file.write("{}")
"""
# Rule -> what its command, and no other, has.
COMMANDS = {
    "frames": r"scripts/frames\.py",
    "poses": r"scripts/poses\.py",
    "sdfgrid_train": r"-m sdfgrid train\b",
    "sdfgrid_mesh": "-m sdfgrid extract",
    "sdfgrid_train_and_mesh": "-m sdfgrid train_and_extract",
    "neuralangelo_train": "-m neuralangelo_engine train",
    "neuralangelo_mesh": "-m neuralangelo_engine extract",
}
CAPTURE: dict[str, Any] = {
    "frames": {"target": 300, "max_size": 1920},
    "poses": {"max_image_size": 1600},
}
# Neuralangelo's are those of OVHcloud's tutorial, the built-in engine's are its defaults.
ENGINES: dict[str, dict[str, Any]] = {
    "neuralangelo": {
        "train": {"iterations": 20_000, "milestones": []},
        "mesh": {"resolution": 2048},
        "neuralangelo": {"preset": "full"},
    },
    "sdfgrid": {"train": {"iterations": 3000, "milestones": []}, "mesh": {"resolution": 256}},
}


@dataclass
class Scene:
    """Of a scene that is done. seconds: of the platform, billed and useful, of each job."""

    name: str
    billed: list[float]
    useful: list[float]

    @property
    def billed_minutes(self) -> int:
        """Started minutes are paid."""
        return sum(math.ceil(seconds / 60) for seconds in self.billed)

    @property
    def ratio(self) -> float:
        return self.billed_minutes * 60 / sum(self.useful)

    def get_longest_pull(self, pull: float) -> float:
        """Seconds that each pull may take for the goal. pull: what each took. Negative if even none would do."""
        others = sum(self.billed) - pull * len(self.billed)
        return (GOAL * sum(self.useful) - others) / len(self.billed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pull", type=float, default=180, help="seconds of each pull (%(default)s)")
    parser.add_argument("--copies", type=float, default=20, help="seconds in which outputs are copied (%(default)s)")
    parser.add_argument("--speed", type=float, default=30, help="seconds of the platform in one second (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "s3").mkdir()
        with s3_server.s3_server(folder / "s3") as s3:
            s3.client().create_bucket(Bucket=BUCKET)
            cases = [(engine, grouped) for engine in ENGINES for grouped in (True, False)]
            with ThreadPoolExecutor(len(cases)) as pool:
                scenes = list(pool.map(lambda case: measure(folder, s3, *case, arguments), cases))
    print(table(scenes, arguments.pull))


def measure(folder: Path, s3: s3_server.S3Server, engine: str, grouped: bool, arguments: argparse.Namespace) -> Scene:
    name = f"{engine}, {'as in the profile' if grouped else 'a job for each step'}"
    place = f"{engine}-{'grouped' if grouped else 'single'}"
    checkout = make_checkout(folder / place, engine, grouped)
    platform = Platform.start(
        folder / f"platform-{place}",
        s3,
        time_scale=arguments.speed,
        delays={"PENDING": arguments.pull, "FINALIZING": arguments.copies},
        simulate=get_times(engine),
    )
    try:
        run(checkout, platform, {**s3.profile_environment(BUCKET), "OVHAI_PREFIX": place})
        jobs = platform.jobs()
        billed = [platform.billed(job["id"])["seconds"] for job in jobs]
    finally:
        platform.stop_everything()
    return Scene(name, billed, [job["status"]["duration"] for job in jobs])


def make_checkout(folder: Path, engine: str, grouped: bool) -> Checkout:
    checkout = Checkout.make(folder)
    programs = [*(folder / "scripts").glob("*.py"), *(folder / "src").glob("*/__main__.py")]
    for program in programs:
        program.write_text(STUB)
    profile = folder / "profiles/ovhai/config.yaml"
    before, _, after = profile.read_text().partition("\ngroups:\n")
    if not grouped:
        profile.write_text(f"{before}\n" + after.partition("\n\n")[2])
    (folder / "film.mp4").write_bytes(b"no video\n")
    source = folder / "neuralangelo.tar.gz"
    source.write_bytes(b"no programs\n")
    settings = {section: dict(values) for section, values in {**CAPTURE, **ENGINES[engine]}.items()}
    settings.setdefault("neuralangelo", {})["source"] = str(source)
    checkout.configure([{"scene": SCENE, "video": "film.mp4", "engine": engine}], **settings)
    return checkout


def get_times(engine: str) -> dict[str, int]:
    """What a command has -> seconds that it takes."""
    settings = {"engine": engine, **CAPTURE, **ENGINES[engine]}
    iterations = settings["train"]["iterations"]
    rules = ["frames", "poses", f"{engine}_train", f"{engine}_mesh"]
    return {COMMANDS[rule]: get_expected_seconds(rule, settings, iterations) for rule in rules}


def run(checkout: Checkout, platform: Platform, variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "snakemake", "--profile", "ovhai", "--configfile", "settings.yaml"]
    command += ["--ovhai-min-interval", "0.5", "--ovhai-max-interval", "2", "--ovhai-queued-limit", "100000"]
    said = checkout.folder / "said"
    with said.open("w") as output:
        environment = {**os.environ, **platform.environment, **variables}
        done = subprocess.run(command, cwd=checkout.folder, env=environment, stdout=output, stderr=output)
    if done.returncode:
        sys.exit(said.read_text()[-5000:])


def table(scenes: list[Scene], pull: float) -> str:
    lines = ["| engine, jobs | jobs | useful minutes | billed minutes | ratio | longest pull for 1.3, minutes |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for scene in scenes:
        longest = scene.get_longest_pull(pull) / 60
        lines.append(
            f"| {scene.name} | {len(scene.billed)} | {sum(scene.useful) / 60:.1f} | {scene.billed_minutes} "
            f"| {scene.ratio:.2f} | {f'{longest:.1f}' if longest > 0 else 'none'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
