"""The train command: from posed images to a checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from sdfgrid import checkpoint, kernels
from sdfgrid.dataset import load
from sdfgrid.settings import Settings, from_dict, read
from sdfgrid.trainer import Trainer
from videomesh import convergence
from videomesh.devices import choose_device, describe, set_threads
from videomesh.errors import UserError
from videomesh.files import check_writable, outputs

LINE_EVERY, REDRAW_EVERY = 5.0, 0.2  # seconds between reports in a log, on a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--transforms", type=Path, required=True, help="transforms.json of the region stage")
    add("--images", type=Path, required=True, help="images.tar of the poses stage: the undistorted frames")
    add("--points", type=Path, required=True, help="points.npz of the region stage: triangulated points")
    add("--masks", type=Path, required=True, help="masks.tar of the poses stage: where the subject is")
    add("--config", type=Path, required=True, help="the engine's settings (see `sdfgrid config`)")
    add("--iterations", type=int, required=True, help="iteration of the milestone, where the training stops")
    add("--resume", type=Path, help="checkpoint.pt of the milestone before")
    add("--checkpoint", type=Path, required=True, help="checkpoint.pt to write")
    add("--metrics", type=Path, required=True, help="metrics.jsonl to write, from iteration 1 on")
    add(
        "--stop",
        choices=convergence.STOPS,
        default="never",
        help="never trains to the end (default); converged makes the rest of the schedule in a short time once the "
        "surface stands still",
    )
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto takes a GPU if there is one (default)")
    add("--threads", type=int, required=True, help="CPU threads")
    add(
        "--kernels",
        choices=["auto", "torch"],
        default="auto",
        help="auto takes the fastest that are installed, Triton's on a GPU and Numba's on a CPU (default); torch is "
        "plain PyTorch, which is slower",
    )


def main(args: argparse.Namespace) -> None:
    device = choose_device(args.device)
    set_threads(args.threads)
    previous = checkpoint.read(args.resume, device) if args.resume else None
    chosen = kernels.choose(device, args.kernels, args.threads)
    settings = choose_settings(args, device.type != "cpu" and chosen is not None, previous)
    check_schedule(args, settings, previous)
    for path in (args.checkpoint, args.metrics):
        check_writable(path)
    say(
        f"on {describe(device)} with {kernels.get_name(chosen)}: images of {settings.image_size} px, {settings.rays} "
        f"rays an iteration, {settings.fine_samples} samples where a ray may meet the surface"
    )
    dataset = load(args.transforms, args.images, args.points, args.masks, settings, device)
    trainer = Trainer(settings, dataset, device, chosen, stop_early=args.stop == "converged")
    made_on = {"device": describe(device), "kernels": kernels.get_name(chosen)}
    if previous is not None:
        check_same_scene(args, previous, dataset.fingerprint)
        trainer.resume(previous)
        if trainer.iteration == trainer.end:  # the milestone before ended the schedule
            made_on = previous.get("made_on", made_on)
        del previous
    progress = Progress(trainer.iteration, args.iterations)
    try:
        trainer.train(args.iterations, progress)
    finally:
        progress.close()
    if trainer.ending is not None and trainer.iteration == trainer.end:
        say(convergence.describe_saving(trainer.ending, settings.iterations))
    with outputs(args.metrics, args.checkpoint) as (metrics_part, checkpoint_part):
        metrics_part.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in trainer.metrics))
        checkpoint.save(checkpoint_part, {**trainer.content(), "made_on": made_on})


def choose_settings(args: argparse.Namespace, fast: bool, previous: dict[str, Any] | None) -> Settings:
    """The settings for a GPU, if its kernels make them fast, or for a CPU. A training keeps those it began with."""
    settings, others = read(args.config, fast), read(args.config, not fast)
    if previous is not None and settings != others == from_dict(previous["settings"]):
        say(f"goes on with the settings for a {'CPU' if fast else 'GPU'}, with which {args.resume} was made")
        return others
    return settings


def say(words: str) -> None:
    print(f"train: {words}", file=sys.stderr, flush=True)


def check_schedule(args: argparse.Namespace, settings: Settings, previous: dict[str, Any] | None) -> None:
    """Refuse a stop that is not ahead, or a checkpoint of another schedule."""
    if not 0 < args.iterations <= settings.iterations:
        raise UserError(
            f"--iterations {args.iterations}: the schedule of {args.config} has {settings.iterations} iterations; "
            "stop at one of them, or lengthen the schedule (train.iterations)"
        )
    if previous is None:
        return
    if previous["iteration"] >= args.iterations:
        raise UserError(
            f"--resume {args.resume}: holds iteration {previous['iteration']} already, not before "
            f"--iterations {args.iterations}; resume from an earlier milestone or stop later"
        )
    ending = convergence.find_ending(previous["metrics"])
    if ending is not None and args.stop == "never":
        raise UserError(
            f"--resume {args.resume}: its schedule was shortened at iteration {ending.still_at}, where the surface "
            "stood still, and --stop is never. Use --stop converged, or train this scene from the start"
        )
    now, then = dataclasses.asdict(settings), dataclasses.asdict(from_dict(previous["settings"]))
    changed = [f"{key} {then[key]} -> {value}" for key, value in now.items() if then[key] != value]
    if changed:
        raise UserError(
            f"--resume {args.resume}: trained with other settings than {args.config} ({'; '.join(changed)}); "
            "use the settings it began with, or train this scene from the start"
        )


def check_same_scene(args: argparse.Namespace, previous: dict[str, Any], fingerprint: str) -> None:
    if previous["fingerprint"] != fingerprint:
        raise UserError(
            f"--resume {args.resume}: trained on other frames, poses, masks or another region than {args.transforms}; "
            "train this scene from the start"
        )


class Progress:
    """Reports on stderr: on a terminal one line that is redrawn, in a log a line every few seconds."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.began = self.last = time.perf_counter()
        self.terminal = sys.stderr.isatty()
        self.open_line = False

    def __call__(self, iteration: int, stop: int, metrics: dict[str, Any]) -> None:
        """stop: where the training ends by now, which may be earlier than it was."""
        now = time.perf_counter()
        if "ends_at" in metrics and metrics["still_at"] == iteration:
            self.close()
            say(f"the surface stands still; the rest of the schedule is made until iteration {metrics['ends_at']}")
        self.stop = stop
        if iteration < self.stop and now - self.last < (REDRAW_EVERY if self.terminal else LINE_EVERY):
            return
        self.last = now
        rate = (iteration - self.start) / (now - self.began)
        left = (self.stop - iteration) / rate
        line = (
            f"train: iteration {iteration} of {self.stop} ({100 * iteration // self.stop} %), {rate:.1f} it/s, "
            f"{int(left) // 60}:{int(left) % 60:02d} left, PSNR {metrics['psnr']:.1f} dB"
        )
        if self.terminal:
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
            self.open_line = True
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line, so that what follows begins a new one."""
        if self.open_line:
            print(file=sys.stderr)
            self.open_line = False
