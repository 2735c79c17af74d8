"""The engine's settings: what a run does from its first to its last iteration. Standard library only."""

import dataclasses
import difflib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

from videomesh.errors import UserError

MIN_ITERATIONS = 10
IMAGE_SIZE_RANGE = (32, 4096)  # px
MAY_BE_ZERO = ["seed", "outside_share", "eikonal_weight", "curvature_weight", "points_weight", "warmup_steps"]


@dataclass(frozen=True)
class Settings:
    """Every number that shapes a run. Lengths are in units of the region's radius, times are shares of `iterations`."""

    iterations: int  # of the whole schedule; a milestone may stop earlier
    image_size: int = 320  # px, long side of the images trained on; larger images are averaged down
    seed: int = 0

    levels: List[int] = dataclasses.field(default_factory=lambda: [24, 64, 160])  # cells per axis
    level_starts: List[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.2])
    dense_up_to: int = 64  # levels above this exist only near the surface
    background_levels: List[int] = dataclasses.field(default_factory=lambda: [16, 32, 64])
    geometry_width: int = 32  # hidden units
    colour_width: int = 64
    background_width: int = 32

    rays: int = 1024  # per iteration
    outside_share: float = 0.12  # of the rays that miss the region and teach only the background
    fine_samples: int = 16  # per ray, where the baked field expects the surface
    uniform_samples: int = 4
    march_steps: int = 48  # through the baked field
    bake_resolution: int = 96
    front_samples: int = 4  # of the background between the camera and the region
    behind_samples: int = 8  # of the background behind the region

    sharpness_start: float = 25.0  # the s of NeuS: 1 / s is the width of the surface as seen by the renderer
    sharpness_end: float = 800.0
    eikonal_points: int = 1024
    eikonal_weight: float = 0.1
    curvature_weight: float = 1e-4
    points_weight: float = 0.1  # of |distance| at the triangulated points, fading to 0
    warmup_steps: int = 200  # on the triangulated points alone, before the first iteration

    grid_learning_rate: float = 1e-2
    background_learning_rate: float = 2e-2
    network_learning_rate: float = 3e-3
    learning_rate_decay: float = 0.05  # the last iteration's share of the first's

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), field.type)
        _check(self.iterations >= MIN_ITERATIONS, "iterations", self.iterations, f"at least {MIN_ITERATIONS}")
        low, high = IMAGE_SIZE_RANGE
        _check(low <= self.image_size <= high, "image_size", self.image_size, f"{low} to {high} px")
        for name in ("levels", "background_levels"):
            values = getattr(self, name)
            good = len(values) >= 2 and values[0] >= 2 and sorted(set(values)) == list(values)
            _check(good, name, values, "at least two increasing numbers of cells")
        _check(
            self.levels[1] <= self.dense_up_to, "levels", self.levels, f"{self.dense_up_to} or less in the first two"
        )
        starts = self.level_starts
        good = len(starts) == len(self.levels) and sorted(starts) == list(starts) and starts[1] == 0.0
        _check(good, "level_starts", starts, "one share per level, increasing, the first two 0")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in MAY_BE_ZERO:
                _check(value >= 0, field.name, value, "0 or more")
            elif not isinstance(value, list):
                _check(value > 0, field.name, value, "more than 0")
        _check(self.outside_share < 1, "outside_share", self.outside_share, "less than 1")


def derive(iterations: int, image_size: int = 320, seed: int = 0) -> Settings:
    """Settings for a run of the given length. Raises UserError on values out of range.

    Measured on the demo: three levels that grow by 2.5 give F-score 0.864 after 1,500 iterations where four that double
    from 16 give 0.854; and 1500 instead of 800 as the last sharpness gives 0.878 instead of 0.873 after 3,000.
    """
    return Settings(iterations, image_size, seed, sharpness_end=800.0 if iterations <= 2000 else 1500.0)


def read(path: Path) -> Settings:
    """Settings from a JSON file (config.yaml is one). Raises UserError on anything else than Settings' keys."""
    try:
        values = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write one with `python3 -m sdfgrid config`")
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); write it with `python3 -m sdfgrid config`")
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds a {type(values).__name__}, not an object with the engine's settings")
    try:
        return from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}")


def from_dict(values: Dict[str, Any]) -> Settings:
    """Settings from plain values. Raises UserError on unknown keys (with the nearest name) and wrong values."""
    known = [field.name for field in dataclasses.fields(Settings)]
    problems = []
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            problems.append(f"unknown setting {key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if problems:
        raise UserError("; ".join(problems) + f"; known settings: {', '.join(known)}")
    if "iterations" not in values:
        raise UserError("the setting 'iterations' is missing: the length of the whole schedule")
    return Settings(**values)


def to_json(settings: Settings) -> str:
    return json.dumps(dataclasses.asdict(settings), indent=1) + "\n"


def _check(good: bool, name: str, value: object, allowed: str) -> None:
    if not good:
        raise UserError(f"setting {name}: {value} is not allowed; it must be {allowed}")


def _check_type(name: str, value: object, wanted: Any) -> None:
    item = {List[int]: int, List[float]: float}.get(wanted)
    if item is not None:
        good = isinstance(value, list) and all(_is_number(each, item) for each in value)
    else:
        good = _is_number(value, wanted)
    if not good:
        kind = {int: "a whole number", float: "a number"}[item or wanted]
        raise UserError(f"setting {name}: {value!r} is not {'a list, each ' if item else ''}{kind}")


def _is_number(value: object, wanted: type) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float) if wanted is float else int):
        return False
    return math.isfinite(value)
