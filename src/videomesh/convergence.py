"""When a training may end early: its surface stands still, and the rest of its schedule is made in a short time.

Both engines look at their surface a few times a schedule: a quick mesh against the one before. What a look finds
becomes a line of metrics.jsonl, and what ends a training stands there too. So all that must survive an interruption
is in the metrics. Standard library only.

A schedule anneals: rates fall, the surface sharpens. So a surface that stands still is not yet as good as one whose
schedule has ended. The rest of the schedule is therefore not left out but made quickly.
"""

from __future__ import annotations

import math
from typing import Any, Dict, NamedTuple, Sequence

STOPS = ("never", "converged")
LOOKS = 20  # a schedule, so that "still" means the same in a short and in a long one
IN_A_ROW = 2  # looks that must find the surface standing still: one may do so by chance
# What a look may find of a surface that stands still. Steps of the optimiser keep any surface trembling: on the
# rendered capture `toy` it moved by 0.0043 and turned by 9.1 degrees from one look to the next after a third of 6,000
# iterations, and by 0.0028 and 6.5 degrees after half of them (docs/benchmarks.md).
MOVED = 0.003  # of the region's radius: mean distance between the quick meshes of two looks
TURNED = 8.0  # degrees: mean angle between their normals
GAINED = 0.5  # dB of PSNR; the few rays of a look's lines make this unsure by some tenths
TAIL = 0.25  # of the iterations until then: the time in which the rest of the schedule is made

Row = Dict[str, Any]  # a line of metrics.jsonl


class Ending(NamedTuple):
    """Of a schedule that is shortened, in iterations."""

    still_at: int  # where the surface stood still
    ends_at: int  # where the last iteration of the schedule is now


def get_distance(whole: int) -> int:
    """Iterations from one look to the next in a schedule of so many."""
    return max(1, math.ceil(whole / LOOKS))


def describe_look(moved: float, turned: float, gained: float | None) -> Row:
    """What a look adds to the line of its iteration. gained: None at the first look that has nothing to compare."""
    row = {"surface_moved": round(moved, 6), "surface_turned": round(turned, 3)}
    return row if gained is None else {**row, "psnr_gained": round(gained, 3)}


def find_gain(rows: Sequence[Row], before: int, now: int, distance: int) -> float | None:
    """dB between the mean PSNR of the lines up to the look `before` and that of those up to the look `now`.

    Each line's PSNR is that of few rays, so it alone tells little. None if there are no lines to compare.
    """
    means = []
    for end in (before, now):
        values = [
            row["psnr"] for row in rows if end - distance < row["iteration"] <= end and row.get("psnr") is not None
        ]
        if not values:
            return None
        means.append(sum(values) / len(values))
    return means[1] - means[0]


def is_still(rows: Sequence[Row]) -> bool:
    """Whether the last looks found that neither the surface nor the colours change."""
    looks = [row for row in rows if "surface_moved" in row][-IN_A_ROW:]
    return len(looks) == IN_A_ROW and all(map(_found_still, looks))


def _found_still(look: Row) -> bool:
    if "psnr_gained" not in look:  # there was nothing to compare
        return False
    return bool(look["surface_moved"] < MOVED and look["surface_turned"] < TURNED and look["psnr_gained"] < GAINED)


def plan_ending(iteration: int, whole: int) -> Ending | None:
    """How to end a schedule whose surface stands still; None if its own rest is as short."""
    end = iteration + math.ceil(TAIL * iteration)
    return Ending(iteration, end) if end < whole else None


def find_ending(rows: Sequence[Row]) -> Ending | None:
    """What an earlier part of a training has decided."""
    for row in reversed(rows):
        if "ends_at" in row:
            return Ending(row["still_at"], row["ends_at"])
    return None


def is_finished(rows: Sequence[Row]) -> bool:
    """Whether a training has come to the end of its shortened schedule."""
    ending = find_ending(rows)
    return ending is not None and rows[-1]["iteration"] >= ending.ends_at


def describe_saving(ending: Ending, whole: int) -> str:
    saved = whole - ending.ends_at
    return (
        f"converged: the surface stood still at iteration {ending.still_at}, and the training ended at "
        f"{ending.ends_at} of {whole}; {saved} iterations ({100 * saved // whole} %) were saved"
    )
