"""Whether there are enough frames."""

import argparse
from typing import Any, Dict

from videomesh.errors import UserError

MIN_FRAMES = 20  # with fewer, neither the poses nor the surface can come out
MAX_TARGET = 2000  # training has stalled with 2,400 images; the search tree must fit into a command line


def check_count(args: argparse.Namespace, result: Dict[str, Any]) -> None:
    kept, total = len(result["frames"]), result["source_frames"]
    if kept >= MIN_FRAMES:
        return
    if result["source"] == "photos":
        remedy = "take more photos, each overlapping the one before by more than half"
    elif total < MIN_FRAMES:
        remedy = "film for longer"
    elif result["select"] == "every":
        remedy = f"set --downsample {total // MIN_FRAMES} or less"
    else:
        remedy = "film again, moving steadily round the scene"
    raise UserError(f"{args.source}: only {kept} of {total} frames to use, at least {MIN_FRAMES} are needed; {remedy}")
