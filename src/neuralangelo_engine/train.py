"""The train command: upstream's program trains a scene up to one milestone.

Upstream runs unmodified in a scratch folder. It resumes from its last save if an earlier attempt was cut short, else
from the milestone before. It is watched, because a damaged image makes it hang for ever (NA-15).
"""

import argparse
import json
import re
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional

from neuralangelo_engine import masks
from neuralangelo_engine.look import Looker
from neuralangelo_engine.processes import GRACE, child_group, end_group
from neuralangelo_engine.rescue import FOLDER, METRICS, Rescue, Save, get_identity, link
from neuralangelo_engine.scratch import Scratch, get_environment, scratch_folder
from videomesh import convergence
from videomesh.convergence import Row, get_distance
from videomesh.errors import UserError
from videomesh.files import outputs
from videomesh.scene import read_scene

LOGDIR = "logs/scene"  # upstream needs two parts (NA-24)
POINTER = "latest_checkpoint.txt"  # written after the checkpoint that it names, so that one is whole (NA-22)
CHECKPOINT_NAME = re.compile(r"epoch_(\d+)_iteration_(\d+)_checkpoint\.pt")
RESUMED = re.compile(r"Done with loading the checkpoint \(epoch (\d+), iter (\d+)\)")
FROM_SCRATCH = "Training from scratch."
NOT_A_NUMBER = re.compile(r"Training loss has gone to (NaN|infinity)")
HOPELESS_BEFORE = 1000  # iterations; a loss that is NaN earlier comes from poses or region, not from bad luck (NA-23)
LINE_EVERY = 15.0  # seconds between lines on progress
CHECK_EVERY = 0.5  # seconds
# Upstream's names for what the built-in engine's metrics.jsonl has too.
NAMES = {
    "optim/lr": "learning_rate",
    "train/loss/total": "loss",
    "train/loss/render": "colour",
    "train/loss/eikonal": "eikonal",
    "train/loss/curvature": "curvature",
    "train/PSNR": "psnr",
    "train/s-var": "log_sharpness",
    "train/active_levels": "levels",
    "val/PSNR": "validation_psnr",
    **{name: name for name in ("surface_moved", "surface_turned", "psnr_gained", "still_at", "ends_at")},  # our own
}
UPSTREAM_LEVELS, UPSTREAM_TWO_STEPS = 16, [300_000, 400_000]  # base.yaml: of the hash grid, of the learning rate
OURS = ("surface_moved", "ends_at")  # a line with one of them is not upstream's


class Ending(NamedTuple):
    """How a run of upstream ended: problem is "" if well."""

    problem: str
    log: str  # its last lines
    still: bool  # it was ended because the surface stands still


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--source", type=Path, required=True, help="neuralangelo-94390b6.tar.gz")
    add("--config", type=Path, required=True, help="config.yaml, the settings of the whole schedule")
    add("--transforms", type=Path, required=True, help="transforms.json of the region stage")
    add("--images", type=Path, required=True, help="images.tar of the poses stage")
    add("--masks", type=Path, required=True, help="masks.tar of the poses stage: where the subject is")
    add("--iterations", type=int, required=True, help="iteration of the milestone, where the training stops")
    add("--resume", type=Path, help="checkpoint.pt of the milestone before")
    add("--metrics-before", type=Path, help="metrics.jsonl of the milestone before")
    add(
        "--stall-minutes",
        type=float,
        required=True,
        help="minutes without a sign of life after which the training is ended",
    )
    add("--seed", type=int, required=True, help="seed of every random choice")
    add("--gpus", type=int, required=True, help="GPUs to train on")
    add(
        "--stop",
        choices=convergence.STOPS,
        default="never",
        help="never trains to the end (default); converged makes the rest of the schedule in a short time once the "
        "surface stands still",
    )
    add("--checkpoint", type=Path, required=True, help="checkpoint.pt to write")
    add("--metrics", type=Path, required=True, help="metrics.jsonl to write")


def main(args: argparse.Namespace) -> None:
    config = read_config(args.config)
    check_arguments(args, config)
    before = args.metrics_before.read_text() if args.metrics_before else ""
    if is_finished(args, parse(before)) and args.resume:
        check_whole(Save(args.resume, 0))
        finish(args, config, Rescue(args.checkpoint.parent / FOLDER, get_identity(args)), args.resume, before)
        return
    with scratch_folder(args.source, args.transforms, args.images, args.config) as scratch:
        rescue = Rescue(args.checkpoint.parent / FOLDER, get_identity(args))
        found = rescue.find()
        if found and is_reached(args, rescue, found):
            print(
                "neuralangelo: an earlier attempt reached this milestone and failed after it; its checkpoint is taken"
            )
            finish(args, config, rescue, found.path, rescue.metrics.read_text())
            return
        logs = scratch.folder / LOGDIR
        start = prepare_start(args, rescue, logs)
        colour = masks.get_colour(config)
        if colour is not None:
            masks.paint(scratch.folder / "data" / "images", args.masks, read_scene(args.transforms), colour)
        training = Training(args, config, scratch, rescue)
        ending = training.run_to_the_end(start)
        if ending.problem:
            raise UserError(f"{ending.problem}{describe_rescue(rescue)}")
        save = find_save(logs)
        if save is None or save.iteration != training.stop:
            raise UserError(
                f"upstream ended without an error and without the checkpoint of iteration {training.stop}. Its last "
                f"checkpoint is {save.path.name if save else 'none'}. Run again, and read the log if it happens twice"
            )
        check_whole(save)
        if training.ending:
            training.note(save.iteration, {})  # the last iteration has a line, whatever upstream's distance of lines is
        finish(args, config, rescue, save.path, training.get_metrics())


def is_finished(args: argparse.Namespace, before: List[Row]) -> bool:
    """Whether the milestone before has ended its schedule early, so that this one holds the same."""
    ending = convergence.find_ending(before)
    if ending is not None and args.stop == "never":
        raise UserError(
            f"--metrics-before {args.metrics_before}: its schedule was shortened at iteration {ending.still_at}, where "
            "the surface stood still, and --stop is never. Use --stop converged, or train this scene from the start"
        )
    return convergence.is_finished(before)


def is_reached(args: argparse.Namespace, rescue: Rescue, found: Save) -> bool:
    """Whether a save is of the milestone itself, and not on the way to it."""
    ending = convergence.find_ending(list(read_rows(rescue.metrics)))
    return found.iteration == (min(args.iterations, ending.ends_at) if ending else args.iterations)


def finish(args: argparse.Namespace, config: Dict[str, Any], rescue: Rescue, path: Path, metrics: str) -> None:
    rows = parse(metrics)
    ending = convergence.find_ending(rows)
    ended = ending is not None and convergence.is_finished(rows)
    reached = ending.ends_at if ending is not None and ended else args.iterations
    with outputs(args.metrics, args.checkpoint) as (metrics_part, checkpoint_part):
        metrics_part.write_text(metrics)
        link(path, checkpoint_part)
    rescue.leave(Save(args.checkpoint, reached))
    if ending is not None and ended:
        print(f"neuralangelo: {convergence.describe_saving(ending, config['max_iter'])}")
    print(f"neuralangelo: milestone {args.iterations} is done; {args.checkpoint.stat().st_size / 1e6:.0f} MB")


def parse(metrics: str) -> List[Row]:
    return [json.loads(line) for line in metrics.splitlines()]


# Beginning -------------------------------------------------------------------------------------------------------


def read_config(path: Path) -> Dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage before again")
    except ValueError as error:
        raise UserError(f"{path}: not written by this workflow ({error}); remove it and run again")
    return dict(content)


def check_arguments(args: argparse.Namespace, config: Dict[str, Any]) -> None:
    whole = config["max_iter"]
    if not 0 < args.iterations <= whole:
        raise UserError(
            f"--iterations {args.iterations}: the schedule of {args.config} has {whole} iterations; stop at one of them"
        )
    data = config["data"]
    batch, images = data["train"]["batch_size"] * args.gpus, data["num_images"]
    if images < batch:  # NA-14
        raise UserError(
            f"{args.transforms}: {images} images are fewer than a batch of {batch} on {args.gpus} "
            f"GPU{'s' if args.gpus > 1 else ''}, so the training would do nothing. Lower data.train.batch_size in "
            "neuralangelo.overrides, or use fewer GPUs"
        )
    if args.gpus > 1:  # NA-34
        print(
            f"warning: {args.gpus} GPUs train one scene. An iteration sees more rays and takes no less time, as they "
            "synchronise the whole hash table; without NVLink four were measured to be slower than one. To be done "
            "sooner, train scenes side by side",
            flush=True,
        )


def prepare_start(args: argparse.Namespace, rescue: Rescue, logs: Path) -> Optional[Save]:
    """Put the checkpoint to resume from where upstream looks for it. None if the training begins."""
    logs.mkdir(parents=True)
    found = rescue.find()
    if found and found.iteration <= args.iterations:
        print(f"neuralangelo: an earlier attempt saved iteration {found.iteration}; going on from there")
        (logs / METRICS).write_text(rescue.metrics.read_text() if rescue.metrics.exists() else "")
        return link_checkpoint(found, logs)
    if args.resume is None:
        return None
    check_whole(Save(args.resume, 0))
    from neuralangelo_engine.field import read_checkpoint  # needs torch, slow, and a training that begins does not

    iteration = int(read_checkpoint(args.resume)["iteration"])
    if iteration >= args.iterations:
        raise UserError(
            f"--resume {args.resume}: holds iteration {iteration} already, not before --iterations {args.iterations}; "
            "resume from an earlier milestone or stop later"
        )
    return link_checkpoint(Save(args.resume, iteration), logs)


def link_checkpoint(save: Save, logs: Path) -> Save:
    placed = logs / f"epoch_00000_iteration_{save.iteration:09}_checkpoint.pt"  # upstream reads both from its content
    placed.symlink_to(save.path.resolve())
    (logs / POINTER).write_text(f"{placed.name}\n")
    return Save(placed, save.iteration)


def check_whole(save: Save) -> None:
    """A checkpoint is a zip: its directory comes last, so that a file cut short has none."""
    if not save.path.exists():
        raise UserError(f"{save.path}: no such file; train the milestone before again")
    if not zipfile.is_zipfile(save.path):
        raise UserError(f"{save.path}: cut short or no checkpoint; train this milestone again")


# Training --------------------------------------------------------------------------------------------------------


class Training:
    """Upstream's runs for one milestone. There may be a second one, from the last save of the first."""

    def __init__(self, args: argparse.Namespace, config: Dict[str, Any], scratch: Scratch, rescue: Rescue) -> None:
        self.args, self.config, self.scratch, self.rescue = args, config, scratch, rescue
        self.logs = scratch.folder / LOGDIR
        self.before = args.metrics_before.read_text() if args.metrics_before else ""
        self.ending = convergence.find_ending(self.get_rows())

    @property
    def stop(self) -> int:
        """The iteration where upstream stops: the milestone, or the end of a schedule that was shortened."""
        return min(self.args.iterations, self.ending.ends_at if self.ending else self.args.iterations)

    def get_command(self) -> List[str]:
        args = self.args
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={args.gpus}"]
        command += ["train.py", f"--config={self.scratch.config}", f"--logdir={self.logs}", "--resume"]
        command += [
            f"--seed={args.seed}",
            f"--max_iter={self.stop}",
            f"--model.object.s_var.anneal_end={self.get_anneal_end()}",
        ]
        if self.ending:
            command += [f"--optim.sched.two_steps={json.dumps(self.get_two_steps(self.ending), separators=(',', ':'))}"]
        return command

    def get_two_steps(self, ending: convergence.Ending) -> List[int]:
        """Where the learning rate falls to a tenth and a hundredth: not later than at the beginning of what is left,
        and in its middle."""
        whole = self.config.get("optim", {}).get("sched", {}).get("two_steps", UPSTREAM_TWO_STEPS)
        return [min(whole[0], ending.still_at), min(whole[1], (ending.still_at + ending.ends_at) // 2)]

    def get_anneal_end(self) -> float:
        """As a share of max_iter, which is the milestone's here: the same iteration as for the whole schedule."""
        whole = self.config.get("model", {}).get("object", {}).get("s_var", {}).get("anneal_end", 0.1)  # upstream's
        return float(whole) * float(self.config["max_iter"]) / float(self.stop)

    def run_to_the_end(self, start: Optional[Save]) -> Ending:
        """Run upstream until the milestone; again after a loss that became NaN, and with a shortened schedule."""
        again: Optional[Save] = None
        while True:
            ending = self.run(start)
            if ending.still:
                start = self.shorten()
                if start and start.iteration >= self.stop:  # the milestone came first; the next one goes on
                    return ending
                continue
            again = find_second_chance(ending, self.rescue, self.logs) if again is None else None
            if again is None:
                return ending
            print(f"neuralangelo: {ending.problem}; going on from iteration {again.iteration} with half the rate")
            start = again

    def run(self, start: Optional[Save]) -> Ending:
        options = {
            "cwd": str(self.scratch.programs),
            "env": get_environment(self.scratch),
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "errors": "replace",
        }
        looker = Looker(self.scratch, self.args.transforms) if self.args.stop == "converged" else None
        still = False
        with child_group(self.get_command(), **options) as process:
            watch = Watch(process, start)
            reader = threading.Thread(target=watch.read_lines, daemon=True)
            reader.start()
            try:
                while process.poll() is None and not watch.problem and not still:
                    time.sleep(CHECK_EVERY)
                    self.check(watch)
                    still = looker is not None and self.look(looker)
            finally:
                if looker:
                    looker.end()
            if watch.problem or still:
                watch.ended_well = still  # its launcher calls that an error, at length
                end_group(process)
            process.wait()
            reader.join(GRACE)
            self.check(watch)
        if not watch.problem and not still and process.returncode:
            watch.problem = f"upstream's training ended with exit code {process.returncode}: {watch.get_reason()}"
        return Ending(watch.problem, "\n".join(watch.lines), still and not watch.problem)

    def look(self, looker: Looker) -> bool:
        """Look at the surface of a new save if it is time. Returns whether it stands still and should be ended."""
        found = looker.poll()
        if found and found.change:
            distance = found.iteration - found.before
            gained = convergence.find_gain(self.get_rows(), found.before, found.iteration, distance)
            moved, turned = found.change["moved"], found.change["turned"]
            self.note(found.iteration, convergence.describe_look(moved, turned, gained))
            save = find_save(self.logs)
            if save and convergence.is_still(self.get_rows()) and self.plan(save):
                return True
        save = find_save(self.logs)
        if save and self.is_look_due(looker, save):
            looker.begin(save)
        return False

    def is_look_due(self, looker: Looker, save: Save) -> bool:
        """A surface that has yet to get finer is not looked at: it may stand still for lack of detail."""
        if self.ending or looker.process or save.iteration <= looker.iteration or save.iteration >= self.stop:
            return False
        if looker.last and save.iteration - looker.last < get_distance(self.config["max_iter"]):
            return False
        encoding = self.config.get("model", {}).get("object", {}).get("sdf", {}).get("encoding", {})
        if not encoding.get("coarse2fine", {}).get("enabled", True):
            return True
        levels = [row["levels"] for row in self.get_rows() if "levels" in row and row["iteration"] <= save.iteration]
        return bool(levels) and levels[-1] >= encoding.get("levels", UPSTREAM_LEVELS)

    def plan(self, save: Save) -> Optional[convergence.Ending]:
        return convergence.plan_ending(save.iteration, int(self.config["max_iter"]))

    def shorten(self) -> Optional[Save]:
        """Shorten the schedule from the last save on, and tell. Returns that save."""
        save = find_save(self.logs)
        self.ending = self.plan(save) if save else None
        if save and self.ending:
            print(
                f"neuralangelo: the surface stands still at iteration {save.iteration}; the rest of the schedule is "
                f"made until iteration {self.ending.ends_at}",
                flush=True,
            )
            self.note(save.iteration, self.ending._asdict())
            self.rescue.keep(save, (self.logs / METRICS).read_text())
        return save

    def note(self, iteration: int, values: Dict[str, Any]) -> None:
        """Add a line of ours to upstream's metrics, so that it goes where they go."""
        attempts = [row.get("attempt") for row in read_rows(self.logs / METRICS)]
        line = {"step": iteration, "time": time.time(), "attempt": attempts[-1] if attempts else None, **values}
        with open(str(self.logs / METRICS), "a") as file:
            file.write(json.dumps(line) + "\n")

    def check(self, watch: "Watch") -> None:
        """Report progress, keep the newest save, and end what hangs."""
        rows = [row for row in read_rows(self.logs / METRICS) if not any(name in row for name in OURS)]
        save = find_save(self.logs)
        watch.note_progress(rows[-1].get("step") if rows else None, save.iteration if save else None)
        if save and save.iteration != watch.saved and save.iteration < self.stop:
            if not save.path.is_symlink():
                self.rescue.keep(save, (self.logs / METRICS).read_text())
                remove_older_saves(self.logs, save)
            watch.saved = save.iteration
        watch.report(rows, self.stop)
        idle = time.monotonic() - watch.alive
        if idle > self.args.stall_minutes * 60:
            watch.problem = (
                f"upstream's training shows no sign of life for {self.args.stall_minutes:g} minutes and was ended "
                "(neuralangelo.stall_minutes). If it hangs again, check the images for damage"
            )

    def get_metrics(self) -> str:
        return combine_metrics(self.before, read_rows(self.logs / METRICS))

    def get_rows(self) -> List[Row]:
        return parse(self.get_metrics())


def combine_metrics(before: str, raws: Iterable[Dict[str, Any]]) -> str:
    """Lines of metrics.jsonl, those of the milestones before included: each iteration once, ascending.

    seconds: of training. The time between two attempts, and until an attempt's first report, does not count.
    """
    rows = {row["iteration"]: row for row in map(json.loads, before.splitlines())}
    seconds = max((row["seconds"] for row in rows.values()), default=0.0)
    last: Dict[str, Any] = {}
    for raw in raws:
        if last and raw.get("attempt") == last.get("attempt"):
            seconds += raw["time"] - last["time"]
        last = raw
        row = rows.setdefault(raw.get("step") or 0, {"iteration": raw.get("step") or 0, "seconds": round(seconds, 3)})
        row.update({NAMES[name]: value for name, value in raw.items() if name in NAMES})
    return "".join(json.dumps(rows[iteration]) + "\n" for iteration in sorted(rows))


class Watch:
    """What can be seen of a run of upstream."""

    def __init__(self, process: "subprocess.Popen[str]", start: Optional[Save]) -> None:
        self.process, self.start = process, start
        self.lines: List[str] = []
        self.problem = ""
        self.ended_well = False  # by us: what it says after that is not passed on
        self.alive = time.monotonic()
        self.step: Optional[int] = None
        self.saved: Optional[int] = None
        self.began = self.reported = time.monotonic()
        self.first: Optional[int] = None

    def read_lines(self) -> None:
        """Pass on what upstream prints, and find what tells that it goes wrong. Runs in a thread."""
        assert self.process.stdout
        for line in self.process.stdout:
            if not self.ended_well:
                print(line, end="", flush=True)
            self.alive = time.monotonic()
            self.lines = [*self.lines[-199:], line.rstrip()]
            resumed = RESUMED.search(line)
            if self.start and (FROM_SCRATCH in line or (resumed and int(resumed[2]) < self.start.iteration)):
                self.problem = (
                    f"upstream did not resume from iteration {self.start.iteration} and was ended. Remove the "
                    "folder resume beside the checkpoint, or the milestone before, and run again"
                )

    def note_progress(self, step: Optional[int], saved: Optional[int]) -> None:
        if step != self.step or (saved is not None and saved != self.saved):
            self.step, self.alive = step, time.monotonic()

    def report(self, rows: List[Dict[str, Any]], stop: int) -> None:
        now = time.monotonic()
        if self.step is None or now - self.reported < LINE_EVERY:
            return
        if self.first is None:
            self.first, self.began = self.step, now
        self.reported = now
        rate = (self.step - self.first) / (now - self.began) if now > self.began else 0.0
        left = f", {(stop - self.step) / rate / 60:.0f} min left" if rate else ""
        psnr = next((row["train/PSNR"] for row in reversed(rows) if row.get("train/PSNR") is not None), None)
        quality = f", PSNR {psnr:.1f} dB" if psnr is not None else ""
        print(f"neuralangelo: iteration {self.step} of {stop}, {rate:.1f} it/s{quality}{left}", flush=True)

    def get_reason(self) -> str:
        """The line that tells most: upstream's error, not the launcher's summary of it."""
        errors = [line for line in self.lines if re.match(r"(\w+\.)*\w*(Error|Exception|Interrupt)\b", line)]
        own = [line for line in errors if "ChildFailedError" not in line]
        return (own or errors or self.lines or ["it printed nothing"])[-1].strip()


def read_rows(path: Path) -> Iterator[Dict[str, Any]]:
    """What the stand-in for wandb has written so far; the last line may not be whole yet."""
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except ValueError:
            return


def find_save(logs: Path) -> Optional[Save]:
    """The newest checkpoint that is whole: the pointer names it."""
    pointer = logs / POINTER
    name = pointer.read_text().strip() if pointer.exists() else ""
    match = CHECKPOINT_NAME.fullmatch(name)
    return Save(logs / name, int(match[2])) if match and (logs / name).exists() else None


def remove_older_saves(logs: Path, save: Save) -> None:
    """Upstream keeps all, at 4.4 GB each (NA-22)."""
    for path in logs.glob("epoch_*_checkpoint.pt"):
        match = CHECKPOINT_NAME.fullmatch(path.name)
        if match and int(match[2]) < save.iteration:
            path.unlink()


def find_second_chance(ending: Ending, rescue: Rescue, logs: Path) -> Optional[Save]:
    """Where to go on after a loss that became NaN: once, from the last save, with half the learning rate (NA-23)."""
    save = rescue.find()
    if not ending.problem or not NOT_A_NUMBER.search(ending.log) or save is None or save.iteration < HOPELESS_BEFORE:
        return None
    import torch

    content = torch.load(str(save.path), map_location="cpu")
    for group in content["optim"]["param_groups"]:
        for name in ("lr", "initial_lr"):
            group[name] = group.get(name, 0.0) / 2
    content["sched"]["base_lrs"] = [rate / 2 for rate in content["sched"]["base_lrs"]]
    for path in logs.glob("epoch_*_checkpoint.pt"):
        path.unlink()
    halved = logs / f"epoch_{content['epoch']:05}_iteration_{save.iteration:09}_checkpoint.pt"
    torch.save(content, str(halved))
    (logs / POINTER).write_text(f"{halved.name}\n")
    return Save(halved, save.iteration)


def describe_rescue(rescue: Rescue) -> str:
    save = rescue.find()
    return f". The next attempt goes on from iteration {save.iteration}" if save else ""
