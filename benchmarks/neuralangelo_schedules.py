"""Neuralangelo with several settings on the demo, against the ground truth: a Markdown table.

Needs a GPU, upstream's packages, and the demo's files as far as the gate (results/tractor of `make demo`). A run is
written ITERATIONS:SCHEDULE:PRESET, with more of upstream's settings as name=value behind it, separated by colons:

    python benchmarks/neuralangelo_schedules.py --source neuralangelo-94390b6.tar.gz --capture results/tractor \\
        --runs 1000:upstream:full 1000:scaled:full 1000:scaled:fast:model.render.rand_rays=1024 --at-once 2
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ["-m", "neuralangelo_engine"]
ROWS = 5  # of the metrics at the end, whose mean is the PSNR: each is of a few rays only


def main() -> None:
    args = parse_arguments()
    with ThreadPoolExecutor(args.at_once) as pool:
        results = list(pool.map(lambda run: measure(args, run), args.runs))
    print("| run | training, s | it/s | PSNR | checkpoint, MB | mesh, s | vertices | chamfer | F-score at 1 % |")
    print("| --- |" + " ---: |" * 8)
    for run, result in zip(args.runs, results, strict=True):
        print(f"| {run} | {' | '.join(map(str, result))} |", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="neuralangelo-94390b6.tar.gz")
    parser.add_argument("--capture", type=Path, required=True, help="results/tractor, with frames/, poses/ and region/")
    parser.add_argument("--truth", type=Path, default=ROOT / "benchmarks" / "data" / "tractor_ground_truth.npz")
    parser.add_argument("--work", type=Path, default=Path("neuralangelo-runs"), help="folder for what is made")
    parser.add_argument("--runs", nargs="+", required=True, metavar="ITERATIONS:SCHEDULE:PRESET[:NAME=VALUE...]")
    parser.add_argument("--at-once", type=int, default=1, help="runs that share the GPU; 1 for times to be reported")
    parser.add_argument("--resolution", type=int, default=512, help="of the mesh (%(default)s)")
    return parser.parse_args()


def measure(args: argparse.Namespace, run: str) -> list[Any]:
    """Train, extract, compare: the numbers of the table's row."""
    iterations, schedule, preset, *changes = run.split(":")
    folder = args.work / run.replace(":", "-")
    folder.mkdir(parents=True, exist_ok=True)
    region = args.capture / "region"
    inputs = [f"--source={args.source}", f"--transforms={region / 'transforms.json'}"]
    inputs += [f"--masks={args.capture / 'poses' / 'masks.tar'}"]
    overrides = {name: json.loads(value) for name, value in (change.split("=") for change in changes)}
    frames = args.capture / "frames" / "frames.json"
    settings = [f"--region={region / 'region.json'}", f"--frames-json={frames}", f"--iterations={iterations}"]
    settings += [f"--schedule={schedule}", f"--preset={preset}", "--appearance=auto", "--gpu-memory=None"]
    settings += [f"--overrides={json.dumps(overrides)}", f"--output={folder / 'config.yaml'}"]
    call(folder, [*ENGINE, "config", *inputs, *settings])

    inputs += [f"--config={folder / 'config.yaml'}", f"--images={args.capture / 'poses' / 'images.tar'}"]
    checkpoint, metrics = folder / "checkpoint.pt", folder / "metrics.jsonl"
    started = time.monotonic()
    outputs = [f"--checkpoint={checkpoint}", f"--metrics={metrics}", "--seed=0", "--gpus=1", "--stall-minutes=30"]
    call(folder, [*ENGINE, "train", *inputs, f"--iterations={iterations}", *outputs])
    seconds = time.monotonic() - started
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows = [row for row in rows if row.get("psnr") is not None]
    rate = (rows[-1]["iteration"] - rows[0]["iteration"]) / (rows[-1]["seconds"] - rows[0]["seconds"])
    psnr = sum(row["psnr"] for row in rows[-ROWS:]) / len(rows[-ROWS:])

    mesh, summary = folder / "mesh.ply", folder / "mesh.json"
    started = time.monotonic()
    outputs = [f"--checkpoint={checkpoint}", f"--mesh={mesh}", f"--summary={summary}"]
    how = [
        f"--resolution={args.resolution}",
        "--extractor=sparse",
        "--crop=none",
        "--min-component=0.01",
        "--threads=8",
    ]
    call(folder, [*ENGINE, "extract", *inputs, *how, *outputs])
    mesh_seconds = time.monotonic() - started
    evaluate = [str(ROOT / "benchmarks" / "evaluate_mesh.py"), f"--mesh={mesh}", f"--truth={args.truth}", inputs[1]]
    found = json.loads(call(folder, evaluate).splitlines()[-1])
    size = checkpoint.stat().st_size / 1e6
    numbers = [f"{seconds:.0f}", f"{rate:.1f}", f"{psnr:.2f}", f"{size:.0f}", f"{mesh_seconds:.0f}"]
    return [*numbers, found["vertices"], f"{found['chamfer']:.4f}", f"{found['fscore_1pct']:.3f}"]


def call(folder: Path, arguments: list[str]) -> str:
    """What the program prints, which also goes to log.txt. It must succeed."""
    search = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with (folder / "log.txt").open("a") as log:
        log.write(done.stdout)
    if done.returncode:
        sys.exit(f"{' '.join(arguments[:3])} ended with exit code {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
