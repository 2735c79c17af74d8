"""Whether there are frames at all. Whether they are enough, the gate decides."""

from pathlib import Path
from typing import Any, Dict

from videomesh.errors import UserError

MIN_FRAMES = 3  # with fewer, COLMAP finds no poses


def check_count(footage: Path, summary: Dict[str, Any]) -> None:
    """UserError with the remedy if a frames.json has fewer frames than MIN_FRAMES."""
    kept, total = len(summary["frames"]), summary["source_frames"]
    if kept >= MIN_FRAMES:
        return
    if summary["source"] == "photos":
        remedy = "take more photos, each overlapping the one before by more than half"
    elif total < MIN_FRAMES:
        remedy = "film for longer"
    elif summary["select"] == "every":
        remedy = f"set frames.downsample to {max(1, total // MIN_FRAMES)} or less"
    else:
        remedy = "film again, moving steadily round the scene"
    raise UserError(f"{footage}: only {kept} of {total} frames can be used, but {MIN_FRAMES} are needed; {remedy}")
