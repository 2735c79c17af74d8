"""This executor against the flow of OVHcloud's Neuralangelo tutorial, on a stand-in of the platform: a Markdown table.

Both run in one go against the same stand-in and the same real S3 server: bytes moved for a scene, seconds for 8 scenes
against the least that is possible, and what watching costs. Files are made up: random bytes of realistic relative
sizes, each SCALE times smaller. Times of jobs are simulated, SPEED times faster.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("executor/tests", "tests/ovhai", "tests/helpers")]

from heads import Head  # noqa: E402
from ovhai_standin.platform import Platform  # noqa: E402

import s3_server  # noqa: E402
from checkout import Checkout  # noqa: E402
from snakemake_process import SnakemakeProcess  # noqa: E402

BUCKET = "benchmark"
SCALE, SPEED = 4000, 8  # faster, and the steps on this machine, which take their real time, would count too much
SCENES = [f"scene{number}" for number in range(1, 9)]
QUOTA = {"gpu": 4, "cpu": 64}  # CPUs for the frames and poses of all scenes at once: the GPUs are what is scarce
# Megabytes, for 150 frames of a video in 1920 x 1080.
VIDEO, FRAMES, SPARSE = 100, 90, 25
CHECKPOINTS = {"neuralangelo": 4400, "sdfgrid": 85}  # of the engines at their defaults, as are the meshes
MESHES = {"neuralangelo": 200, "sdfgrid": 8}
JOBS = {"neuralangelo": 2, "sdfgrid": 3}  # for a scene, with the groups of profiles/ovhai
# Output name -> megabytes, in this workflow. What is not named here is small, but for checkpoint and mesh.
OUTPUTS: dict[str, float] = {
    "video.mp4": VIDEO,
    "frames.tar": FRAMES,
    "images.tar": FRAMES,
    "images.bin": SPARSE * 0.4,
    "points3D.bin": SPARSE * 0.6,
    "points.npz": 1,
    "mesh.glb": 6,
}
SMALL = ("cameras.bin", "frames.json", "poses.json", "transforms.json", "region.json", "region.png", "gate.json")
SMALL += ("gate.pass", "config.yaml", "metrics.jsonl", "mesh.json", "neuralangelo-94390b6.tar.gz")
# What the tutorial's jobs leave in the bucket beside the checkpoint. COLMAP's database holds all frames' features.
CHECKOUT_OF_NEURALANGELO = 50
TUTORIAL: dict[str, dict[str, float]] = {
    "prepare": {"images_raw.bin": FRAMES, "images.bin": FRAMES, "database.db": 180, "sparse.bin": SPARSE},
    "process": {},
    "extract": {},
}
REST = 240  # seconds after the last change until the intervals of watching have grown to their full 60
POSES, TRAIN, EXTRACT = r"scripts/poses\.py ", r"-m \w+ train ", r"-m \w+ extract "  # in the commands of jobs
SECONDS = {POSES: 600, TRAIN: 1800, EXTRACT: 300}  # that they take, simulated
# In place of every program of the workflow: writes those of its arguments that name an output.
PROGRAM = """\
import os, sys
SIZES = {sizes}
for path in sys.argv[1:]:
    if os.path.basename(path) in SIZES and not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.urandom(SIZES[os.path.basename(path)]))
"""
LIVE = """\
rule all:
    input:
        expand("results/{number}/out.txt", number=range(int(config["count"]))),

rule wait:
    output:
        "results/{number}/out.txt",
    container:
        "docker://example/tools:1"
    shell:
        "date > {output:q}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--window", type=float, default=300, help="seconds for which heads are watched (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "s3").mkdir()
        with s3_server.s3_server(folder / "s3") as s3:
            s3.client().create_bucket(Bucket=BUCKET)
            print(measure(folder, s3, arguments.window))


def measure(folder: Path, s3: s3_server.S3Server, window: float) -> str:
    bytes_moved = {}
    for engine in CHECKPOINTS:
        log(f"checkpoints of {engine}")
        place = folder / engine
        apart = measure_tutorial(place / "apart", s3, SCENES[:1], engine)
        together = measure_tutorial(place / "together", s3, SCENES, engine)
        moved, _ = measure_workflow(place / "workflow", s3, SCENES[:1], engine, speed=1000)
        bytes_moved[engine] = (apart, together, moved)
    _, seconds = measure_workflow(folder / "all", s3, SCENES, "neuralangelo", SPEED)
    return (
        f"{table_of_bytes(bytes_moved)}\n\n{table_of_times(seconds, measure_watching(folder / 'watching', s3, window))}"
    )


def table_of_bytes(moved: dict[str, tuple[float, float, float]]) -> str:
    heads = "".join(f" {engine}, {CHECKPOINTS[engine]} MB checkpoint |" for engine in moved)
    lines = [f"| GB moved for a scene |{heads}"]
    lines.append("| --- |" + " ---: |" * len(moved))
    apart, together, ours = zip(*moved.values(), strict=True)
    rows: dict[str, Iterable[str]] = {
        "tutorial, a bucket for each scene": (f"{value / 1e9:.1f}" for value in apart),
        "tutorial, one bucket for 8 scenes": (f"{value / 1e9:.1f}" for value in together),
        "this executor": (f"{value / 1e9:.1f}" for value in ours),
        "ratio, a bucket for each scene": (f"{a / b:.2f}" for a, b in zip(ours, apart, strict=True)),
        "ratio, one bucket for 8 scenes": (f"{a / b:.2f}" for a, b in zip(ours, together, strict=True)),
    }
    return "\n".join([*lines, *(f"| {name} | {' | '.join(values)} |" for name, values in rows.items())])


def table_of_times(seconds: float, watching: dict[int, tuple[float, float]]) -> str:
    bound = get_bound()
    rows = [
        ("seconds for 8 scenes with 4 GPUs", f"{seconds:.0f}"),
        ("the least possible", f"{bound:.0f}"),
        ("ratio", f"{seconds / bound:.2f}"),
    ]
    for count, (calls, share) in watching.items():
        live = f"{count} live job{'s' * (count > 1)}"
        rows.append((f"`ovhai job list` a minute, {live}", f"{calls:.1f}"))
        rows.append((f"CPU of the head, {live}, share of one core", f"{share:.1%}"))
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)])


# Bytes of the tutorial -----------------------------------------------------------------------------------------------


def measure_tutorial(folder: Path, s3: s3_server.S3Server, scenes: list[str], engine: str) -> float:
    """Bytes moved for a scene, on average. Each step: the folder goes up, a job with all of it, everything comes down.

    The scenes share one bucket (here: a prefix). The tutorial proposes one for each scene: all of them move the same.
    """
    platform = Platform.start(folder / "platform", s3, home="/tmp")
    prefix = f"tutorial-{engine}-{len(scenes)}"
    checkout = folder / "checkout"
    write_file(checkout / "neuralangelo.bin", CHECKOUT_OF_NEURALANGELO)
    moved = 0
    for scene in scenes:
        write_file(checkout / scene / "video.mp4", VIDEO)
        for step, outputs in TUTORIAL.items():
            log(f"tutorial: {scene} {step}")
            ovhai(platform, checkout, "bucket", "object", "upload", f"{BUCKET}@S3GRA", ".", "-a", f"{prefix}/")
            moved += get_size(checkout)
            made = (
                outputs
                | {
                    "prepare": {},
                    "process": {"checkpoint.pt": CHECKPOINTS[engine]},
                    "extract": {"mesh.ply": MESHES[engine]},
                }[step]
            )
            moved += run_tutorial_job(platform, checkout, prefix, scene, made)
            place = ("bucket", "object", "download", f"{BUCKET}@S3GRA", "-p", f"{prefix}/", "-r", f"{prefix}/")
            ovhai(platform, checkout, *place, "-o", "./")
            moved += get_size(checkout)
    platform.stop_everything()
    return moved * SCALE / len(scenes)


def run_tutorial_job(platform: Platform, folder: Path, prefix: str, scene: str, outputs: dict[str, float]) -> int:
    """Bytes that the platform copied to the job and back."""
    sizes = {f"{scene}/{name}": get_bytes(megabytes) for name, megabytes in outputs.items()}
    command = "cd /neuralangelo && " + " && ".join(f"head -c {size} /dev/urandom > {n}" for n, size in sizes.items())
    volume = f"{BUCKET}@S3GRA/{prefix}:/neuralangelo:rw:cache"
    reply = ovhai(
        platform, folder, "job", "run", "-o", "json", "-g", "1", "-v", volume, "image:1", "--", "bash", "-c", command
    )
    job = platform.wait(json.loads(reply)["id"], seconds=120)
    if job["status"]["state"] != "DONE":
        sys.exit(f"a job of the tutorial ended {job['status']}: {platform.log(job['id'])}")
    return sum(get_transfers([job]).values())


# This executor -------------------------------------------------------------------------------------------------------


def measure_workflow(
    folder: Path, s3: s3_server.S3Server, scenes: list[str], engine: str, speed: float
) -> tuple[float, float]:
    """Bytes moved for a scene, and seconds for all of them."""
    platform = Platform.start(folder / "platform", s3, quota=QUOTA, simulate=SECONDS, time_scale=speed)
    checkout = make_checkout(folder / "checkout", scenes, engine)
    environment = {**os.environ, **platform.environment, **s3.profile_environment(BUCKET)}
    environment["OVHAI_PREFIX"] = f"workflow-{engine}-{len(scenes)}"
    command = [str(Path(sys.executable).with_name("snakemake")), "--profile", "ovhai", "--configfile", "settings.yaml"]
    # As much faster as the jobs are, or nearly.
    command += ["--ovhai-min-interval", "0.3", "--ovhai-max-interval", "3", "--jobs", "64"]
    log(f"workflow: {len(scenes)} scenes")
    started = time.monotonic()
    run = subprocess.run(
        command,
        cwd=checkout.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
    )
    seconds = time.monotonic() - started
    jobs = platform.jobs()
    platform.stop_everything()
    if run.returncode or len(jobs) != JOBS[engine] * len(scenes):
        sys.exit(f"the workflow ended with exit code {run.returncode} after {len(jobs)} jobs:\n{run.stdout}")
    transfers = get_transfers(jobs)
    # The programs are the only files that have their real sizes.
    programs = sum(size for prefix, size in transfers.items() if "/.ovhai/" in prefix)
    others = sum(transfers.values()) - programs
    moved = (others + get_head_transfers(run.stdout, s3)) * SCALE + programs
    return moved / len(scenes), seconds


def make_checkout(folder: Path, scenes: list[str], engine: str) -> Checkout:
    """The workflow as it is, with made-up videos and programs."""
    checkout = Checkout.make(folder)
    outputs = OUTPUTS | {"checkpoint.pt": CHECKPOINTS[engine], "mesh.ply": MESHES[engine]}
    sizes = {name: get_bytes(megabytes) for name, megabytes in outputs.items()} | dict.fromkeys(SMALL, 1)
    for name in ("ingest", "frames", "poses", "region", "gate", "deliver", "web_mesh"):
        (folder / "scripts" / f"{name}.py").write_text(PROGRAM.format(sizes=sizes))
    for package in ("sdfgrid", "neuralangelo_engine"):
        (folder / "src" / package / "__main__.py").write_text(PROGRAM.format(sizes=sizes))
        (folder / "src" / package / "__init__.py").write_text("")
    for scene in scenes:
        write_file(folder / "footage" / f"{scene}.mp4", VIDEO)
    checkout.configure([{"scene": scene, "video": f"footage/{scene}.mp4"} for scene in scenes], engine=engine)
    return checkout


def get_bound() -> float:
    """No schedule is faster: training cannot begin before poses are there, and then all GPUs are busy to the end."""
    waves = len(SCENES) / QUOTA["gpu"]
    return (SECONDS[POSES] + waves * (SECONDS[TRAIN] + SECONDS[EXTRACT])) / SPEED


def get_head_transfers(said: str, s3: s3_server.S3Server) -> int:
    """Bytes that Snakemake itself has copied, from what it said."""
    client = s3.client()
    total = 0
    for key in re.findall(rf"(?:Retrieving from|Storing in) storage: s3://{BUCKET}/(\S+)", said):
        total += client.head_object(Bucket=BUCKET, Key=key)["ContentLength"]
    if not total:
        sys.exit(f"Snakemake does not say what it copies:\n{said}")
    return total


# Watching ------------------------------------------------------------------------------------------------------------


def measure_watching(folder: Path, s3: s3_server.S3Server, window: float) -> dict[int, tuple[float, float]]:
    """List calls a minute and share of a core, of two heads at the same time, at the executor's own intervals."""
    heads = {count: start_watching(folder / str(count), s3, count) for count in (1, 100)}
    try:
        for count, (platform, _) in heads.items():
            wait_for_live(platform, count)
        log(f"resting for {REST:.0f} s, then watching for {window:.0f} s")
        time.sleep(REST)
        before = {count: get_costs(platform, process) for count, (platform, process) in heads.items()}
        time.sleep(window)
        after = {count: get_costs(platform, process) for count, (platform, process) in heads.items()}
    finally:
        for platform, process in heads.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            platform.stop_everything()
    costs: dict[int, tuple[float, float]] = {}
    for count in heads:
        calls, seconds = (later - earlier for later, earlier in zip(after[count], before[count], strict=True))
        costs[count] = (calls * 60 / window, seconds / window)
    return costs


def start_watching(folder: Path, s3: s3_server.S3Server, count: int) -> tuple[Platform, SnakemakeProcess]:
    platform = Platform.start(folder / "platform", s3, quota={"gpu": 0, "cpu": 1000})
    platform.fault(when="RUNNING", action="stuck")  # running for ever, without a process
    head = Head(folder / "head", platform, s3, BUCKET, f"watching-{count}").write(snakefile=LIVE)
    intervals = ("--ovhai-min-interval", "5", "--ovhai-max-interval", "60")
    return platform, head.start(*intervals, "--jobs", "200", "--config", f"count={count}")


def wait_for_live(platform: Platform, count: int) -> None:
    deadline = time.monotonic() + 600
    while [job["status"]["state"] for job in platform.jobs()] != ["RUNNING"] * count:
        if time.monotonic() > deadline:
            sys.exit(f"{count} jobs did not get RUNNING in time")
        time.sleep(1)


def get_costs(platform: Platform, process: SnakemakeProcess) -> tuple[float, float]:
    """List calls and CPU seconds of the head so far; not those of the `ovhai` calls, which are the stand-in's own."""
    times = psutil.Process(process.pid).cpu_times()
    return len(platform.calls("job", "list")), times.user + times.system


# Small things --------------------------------------------------------------------------------------------------------


def ovhai(platform: Platform, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["ovhai", *arguments],
        cwd=folder,
        env={**os.environ, **platform.environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        sys.exit(f"ovhai {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def get_transfers(jobs: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Bytes that the platform has copied, by the prefix in the bucket."""
    transfers: dict[str, int] = {}
    for job in jobs:
        for sync in job["status"]["dataSync"]:
            for progress in sync["status"]["progress"]:
                prefix = progress["jobVolume"]["dataStore"]["prefix"]
                transfers[prefix] = transfers.get(prefix, 0) + progress["transferredBytes"]
    return transfers


def get_bytes(megabytes: float) -> int:
    return round(megabytes * 1e6 / SCALE)


def write_file(path: Path, megabytes: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(get_bytes(megabytes)))


def get_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
