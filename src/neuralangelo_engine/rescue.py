"""Upstream's last save, beside a milestone's checkpoint, where it outlives a job that fails or is cut short."""

import argparse
import hashlib
import json
import os
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional

FOLDER = "resume"
METRICS = "metrics.jsonl"
NAMES = ("checkpoint.pt", METRICS, "state.json")


class Save(NamedTuple):
    """A checkpoint of upstream's, and the iteration that it holds."""

    path: Path
    iteration: int


def get_identity(args: argparse.Namespace) -> str:
    """A checksum of the work (settings, programs, poses, images, masks, seed), so no save of other work is taken."""
    content = hashlib.sha256(str(args.seed).encode())
    content.update(args.stop.encode() if args.stop != "never" else b"")  # a shortened schedule is other work
    for path in (args.config, args.source, args.transforms, args.images, args.masks):
        content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()


class Rescue:
    """A save: a checkpoint, its metrics, and state.json with the iteration and the work that they are of.

    state.json is written last. While the training runs, a save is of an iteration before the milestone. `holding` makes
    a save of the milestone.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.identity = identity
        self.checkpoint, self.metrics, self.state = (folder / name for name in NAMES)

    def find(self) -> Optional[Save]:
        state = read_state(self.state)
        if state.get("work") != self.identity or not is_whole(self.checkpoint, state):
            return None
        return Save(self.checkpoint, state["iteration"])

    def keep(self, save: Save, metrics: str) -> None:
        self.state.parent.mkdir(parents=True, exist_ok=True)
        link(save.path, self.checkpoint)
        self.metrics.write_text(metrics)
        self.write_state(save)

    def leave(self, milestone: Save) -> None:
        """No save is needed any more. state.json stays, and says what the milestone's checkpoint holds."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        empty(self.checkpoint, self.metrics)
        self.write_state(milestone)

    def write_state(self, save: Save) -> None:
        part = self.state.with_name(".state.json.part")
        state = {"iteration": save.iteration, "bytes": save.path.stat().st_size, "work": self.identity}
        part.write_text(json.dumps(state) + "\n")
        os.replace(str(part), str(self.state))


@contextmanager
def holding(milestone: Path) -> Iterator[None]:
    """While the block runs, and after it if it fails, a milestone's checkpoint is a save too.

    No output of a failed job counts. Where one job trains and then extracts, a failed extraction would cost the
    training. A job that only extracts cannot write there, and this does nothing.
    """
    checkpoint, metrics, state = (milestone.parent / FOLDER / name for name in NAMES)
    if not os.access(str(state.parent), os.W_OK) or not is_whole(milestone, read_state(state)):
        yield
        return
    link(milestone, checkpoint)
    link(milestone.with_name(METRICS), metrics)
    yield
    empty(checkpoint, metrics)


def read_state(path: Path) -> Dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_whole(checkpoint: Path, state: Dict[str, Any]) -> bool:
    """A checkpoint is a zip: its directory comes last, so that a file cut short has none."""
    return checkpoint.exists() and checkpoint.stat().st_size == state.get("bytes") and zipfile.is_zipfile(checkpoint)


def link(path: Path, target: Path) -> None:
    """Give a file a second name, which may be taken already. On another disk it becomes a copy."""
    part = target.with_name(f".{target.name}.part")
    part.unlink() if part.exists() else None
    try:
        os.link(str(path.resolve()), str(part))
    except OSError:  # on another disk
        shutil.copyfile(str(path), str(part))
    os.replace(str(part), str(target))
    if part.exists():  # both were names of one file, for which a rename does nothing
        part.unlink()


def empty(*paths: Path) -> None:
    """A job cannot remove a file from its bucket, where gigabytes cost money. An empty file costs nothing."""
    for path in paths:
        if path.exists():
            path.unlink()  # its content may have another name too
            path.write_bytes(b"")
