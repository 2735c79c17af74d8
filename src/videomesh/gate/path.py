"""How the camera went round the subject, or through the room; nothing of this can be asked of an outdoor scene."""

from typing import Any, NamedTuple

import numpy as np

from videomesh.checks import Finding
from videomesh.gate.capture import Capture
from videomesh.moments import describe_moments
from videomesh.region.views import looks_at


def camera_focus(capture: Capture) -> Finding | None:
    kind = capture.region["scene_type"]
    if capture.scene_type == "outdoor":
        return None
    if capture.scene_type == "object":
        ahead = "Keep the subject in the middle of the picture while you walk round it."
        return Finding(kind["looking_at_center"], ahead + suggest_scene_type(kind))
    # Looking across a room is right, as long as there is no thing in the middle that all look at (NA-12).
    wrong = kind["looking_at_center"] if kind["points_between"] >= 0.1 else 0.0
    advice = "The cameras look at a thing in the middle, as for an object; for a room stand inside and film the walls."
    return Finding(1 - wrong, advice + suggest_scene_type(kind))


def suggest_scene_type(kind: dict[str, Any]) -> str:
    if kind["guess"] == kind["used"]:
        return ""
    return f" Or the scene type is wrong: the poses look like scene_type: {kind['guess']}."


def azimuth_coverage(capture: Capture) -> Finding | None:
    if capture.scene_type != "object":
        return None
    rows = find_looking(capture)
    if not len(rows):
        return Finding(0.0, "No camera looks at the subject. Look at region.png: is the sphere round the subject?")
    azimuth, _ = get_directions(capture, rows)
    names = [capture.scene.names[i] for i in rows]
    coverage, gap = measure_coverage(azimuth)
    return Finding(
        coverage,
        describe_gap(gap, capture, names) if gap else "Walk all the way round the subject and end where you started.",
    )


def elevation_spread(capture: Capture) -> Finding | None:
    if capture.scene_type != "object":
        return None
    _, elevation = get_directions(capture, find_looking(capture))
    low, high = np.percentile(elevation, [5, 95]) if len(elevation) else (0.0, 0.0)
    return Finding(high - low, "Film a second round from higher up (and one from lower down), looking at the subject.")


def find_looking(capture: Capture) -> np.ndarray:
    """Numbers of the cameras that look at the region's centre."""
    reach = np.full(len(capture.views.center), np.inf)
    return np.flatnonzero(looks_at(capture.views, capture.scene.center, reach))


def get_directions(capture: Capture, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation of cameras as seen from the region's centre, degrees."""
    offset = capture.views.center[rows] - capture.scene.center
    return to_angles(offset, np.array(capture.region["up"], float))


def to_angles(offset: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth (0 to 360, counterclockwise from above, 0 the first row) and elevation of vectors (n, 3), degrees."""
    if len(offset) == 0:
        return np.zeros(0), np.zeros(0)
    up = up / np.linalg.norm(up)
    height = offset @ up
    level = offset - height[:, None] * up
    axis = level[0] if np.linalg.norm(level[0]) > 0 else np.cross(up, np.eye(3)[np.abs(up).argmin()])
    axis = axis / np.linalg.norm(axis)
    azimuth = np.degrees(np.arctan2(level @ np.cross(up, axis), level @ axis)) % 360
    return azimuth, np.degrees(np.arctan2(height, np.linalg.norm(level, axis=1)))


class Gap(NamedTuple):
    """The widest stretch of the way round that no camera stands on, counterclockwise from above."""

    before: int  # rows of the cameras at its ends
    after: int
    degrees: float
    middle: float  # degrees from the first camera


def measure_coverage(azimuth: np.ndarray) -> tuple[float, Gap | None]:
    """Share of 36 directions with a camera, and the widest gap (None if there is none worth naming).

    A direction counts if a camera stands within 5 degrees of it, or within the mean spacing of the cameras were they
    spread evenly, so that 24 photos all the way round count as a full circle.
    """
    bins = np.arange(5, 360, 10)
    distance = np.abs((bins[:, None] - azimuth + 180) % 360 - 180).min(1)
    covered = distance <= max(5.0, 360 / len(azimuth))
    if covered.all():
        return 1.0, None
    order = np.argsort(azimuth)
    widths = np.diff(azimuth[order], append=azimuth[order[0]] + 360)
    widest = int(widths.argmax())
    before, after = order[widest], order[(widest + 1) % len(order)]
    middle = (azimuth[before] + widths[widest] / 2) % 360
    return float(covered.mean()), Gap(int(before), int(after), float(widths[widest]), float(middle))


def describe_gap(gap: Gap, capture: Capture, names: list[str]) -> str:
    # The first camera is at azimuth 0; counterclockwise from above is to its right.
    side = ("near side", "right side", "far side", "left side")[int((gap.middle + 45) // 90) % 4]
    kind = "photo" if capture.footage["source"] == "photos" else "frame"
    first, before, after = (describe_moments(capture.footage, [names[row]]) for row in (0, gap.before, gap.after))
    return (
        f"Nothing shows about {gap.degrees:.0f} degrees on the {side} as seen from the {kind} {first}: there is a gap "
        f"between the {kind} {before} and the {kind} {after}. The mesh will be open or guessed there. Film that "
        "side too, unless it is out of reach, as the back of a relief or a facade is."
    )
