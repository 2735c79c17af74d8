"""The engine's settings: what a run does from its first to its last iteration. Standard library only.

The numbers that shape a run are the fields of Settings. derive() gives long runs another sharpness_end and
learning_rate_flat, and very short ones a shorter warm-up. change_for_gpu() says what differs on a GPU. Elsewhere are:

* the layout of the feature grid and the weights of choose_depths, compiled into the kernels (grid.py, render.py,
  kernels.py)
* the inputs and the initial weights of the networks (model.py)
* the geometry of bricks and of the baked field (trainer.py, render.py)
* numbers that only keep a division or a logarithm finite
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

from videomesh.errors import UserError, suggest

ANY_SIGN = ["background_bias"]
MAY_BE_ZERO = [
    "seed",
    "held_out_first",
    "outside_share",
    "eikonal_anywhere",
    "eikonal_weight",
    "curvature_weight",
    "curvature_last",
    "points_weight",
    "empty_share",
    "empty_weight",
    "subject_weight",
    "warmup_steps",
    "warmup_free_weight",
    "warmup_solid_weight",
    "warmup_eikonal_weight",
    "warmup_curvature_weight",
    "tilt",
    "redraw_distance",
]
TILT = 41.0
HELD_OUT_UNTIL = 0.5
BELOW_ONE = ["outside_share", "empty_share", "front_begin", "learning_rate_flat", "adam_beta1", "adam_beta2"]


@dataclass(frozen=True)
class Settings:
    """The numbers that shape a run. Lengths are in units of the region's radius, times are shares of `iterations`.

    A number that was in the code before it came here has that value as its default: an older checkpoint was trained
    with it.
    """

    iterations: int  # of the whole schedule; a milestone may stop earlier
    image_size: int  # px, long side of the images trained on; larger images are averaged down
    seed: int

    # What teaches, and what measures.
    held_out_every: int = 8  # frames 4, 12, 20, ... teach nothing and measure the PSNR (mip-NeRF 360: every 8th)
    held_out_first: int = 4
    held_out_until: float = 1.0  # share of the schedule; from then on they teach too, and nothing is measured
    held_out_views: int = 6  # measured at most
    held_out_stride: int = 4  # every so many-th pixel along both axes is measured
    min_track: int = 3  # images that must see a triangulated point that teaches
    max_error: float = 1.5  # px, reprojection error that such a point may have
    nearest: float = 0.02  # where the rays of a camera inside the region begin

    # The model.
    tilt: float = 0.0  # degrees between the world's axes and the grid's, so that level plates do not lie in its layers
    levels: List[int] = dataclasses.field(default_factory=lambda: [24, 64, 160])  # cells per axis
    level_starts: List[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.2])
    dense_up_to: int = 64  # levels above this exist only near the surface
    level_reach: float = 2.5  # cells from the surface that a new level covers, since training still moves the surface
    level_margin: float = 4.0  # cells outside of the region that a new level covers
    background_levels: List[int] = dataclasses.field(default_factory=lambda: [16, 32, 64])
    initial_feature: float = 1e-4  # features begin at random within this (instant-ngp, Mueller et al. 2022)
    initial_radius: float = 0.5  # of the sphere that the field begins as (as in NeuS)
    feature_scale: float = 8.0  # grid features are small; networks learn faster from inputs near 1
    geometry_width: int = 32  # hidden units
    geometry_share: float = 0.1  # of the network's output in the distance; the rest comes straight from the grid
    softplus_beta: float = 10.0  # how sharply the geometry network bends
    colour_width: int = 64
    background_width: int = 32
    background_bias: float = -5.0  # it begins empty: fog would hide the region and learn each photograph by heart
    background_density: float = 4.0  # per radius, at a network output of about 1

    # Rays, and the samples along them.
    rays: int = 1024  # per iteration
    outside_share: float = 0.12  # of the rays that miss the region and teach only the background
    redraw_distance: float = 0.0  # rays that stay farther from the surface are drawn once more; 0: none are
    empty_share: float = 0.25  # of the rays that pass the subject, if masks say where it is
    fine_samples: int = 16  # per ray, where the baked field expects the surface
    uniform_samples: int = 4
    march_steps: int = 48  # through the baked field
    bake_resolution: int = 96
    early_iterations: int = 500  # in which the surface moves fast
    refresh_all_early: int = 200  # iterations between refreshes of the whole baked field
    refresh_all_later: int = 500
    refresh_near_early: int = 25  # and of its part near the surface
    refresh_near_later: int = 100
    refresh_distance: float = 0.08  # what counts as near the surface
    min_weight: float = 2e-3  # of a sample whose colour is worth computing
    min_transmittance: float = 0.01  # of a ray whose background is worth computing
    front_samples: int = 4  # of the background between the camera and the region
    front_begin: float = 0.35  # share of the way to the region where they begin
    front_gap: float = 0.5  # they end so far before the point nearest to the region's centre, on rays that miss it
    front_end: float = 0.1  # but no nearer to the camera than this
    behind_samples: int = 8  # of the background behind the region
    behind_gap: float = 0.3  # they begin so far behind the point nearest to the region's centre, on rays that miss it
    behind_end: float = 20.0  # the last one

    # The loss.
    sharpness_start: float = 25.0  # the s of NeuS: 1 / s is the width of the surface as seen by the renderer
    sharpness_end: float = 800.0
    sharpness_end_at: float = 0.9
    eikonal_points: int = 1024
    eikonal_anywhere: float = 0.125  # share of these that lie anywhere in the region, not near the surface
    eikonal_weight: float = 0.1  # as in NeuS (Wang et al. 2021); derive() asks for less
    curvature_weight: float = 1e-4
    curvature_last: float = 0.3  # share of this weight once the sharpness has reached its end
    point_targets: int = 256  # triangulated points per iteration
    points_weight: float = 0.1  # of |distance| at the triangulated points, fading to 0
    empty_weight: float = 0.1  # of the cross entropy of rays that pass the subject (NeuS, confs/wmask.conf)
    subject_weight: float = 0.1  # and of those that the masks call subject (the same)
    points_reach: float = 0.05  # |distance| from which on a point counts no more: it may be wrong

    # The warm-up, before the first iteration: the triangulated points alone.
    warmup_steps: int = 200
    warmup_points: int = 768  # per step
    warmup_ray: float = 1.2  # from a point towards a camera that sees it, all is empty on this length
    warmup_slope: float = 0.5  # the least distance there, as a share of the way to the point
    warmup_free: float = 0.1  # but no more than this is asked for
    warmup_behind: float = 0.05  # so far behind a point all is solid
    warmup_solid: float = 0.02  # the least depth inside there
    warmup_free_weight: float = 2.0  # of what should be empty; the points themselves weigh 1
    warmup_solid_weight: float = 0.5
    warmup_eikonal_weight: float = 0.1
    warmup_curvature_weight: float = 1e-4

    # The optimisers: Adam (Kingma & Ba 2015).
    grid_learning_rate: float = 1e-2
    background_learning_rate: float = 2e-2
    network_learning_rate: float = 3e-3
    learning_rate_rise: int = 50  # iterations over which the rates rise
    learning_rate_flat: float = 0.2  # when they begin to fall
    learning_rate_decay: float = 0.05  # the last iteration's share of the first's
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    adam_epsilon: float = 1e-12

    # Reports, in iterations between them.
    log_every: int = 50  # lines of metrics.jsonl
    evaluate_every: int = 400  # measurements on held-out frames
    check_every: int = 25  # looks whether the loss is a number

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), field.type)
        for name in ("levels", "background_levels"):
            values = getattr(self, name)
            good = len(values) >= 2 and values[0] >= 2 and sorted(set(values)) == list(values)
            _check(good, name, values, "at least two increasing numbers of cells")
        _check(
            self.levels[1] <= self.dense_up_to, "levels", self.levels, f"{self.dense_up_to} or less in the first two"
        )
        shares = [self.outside_share, self.empty_share]
        _check(sum(shares) < 1, "outside_share + empty_share", sum(shares), "less than 1")
        starts = self.level_starts
        good = len(starts) == len(self.levels) and sorted(starts) == list(starts) and starts[1] == 0.0
        _check(good, "level_starts", starts, "one share per level, increasing, the first two 0")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in MAY_BE_ZERO:
                _check(value >= 0, field.name, value, "0 or more")
            elif not isinstance(value, list) and field.name not in ANY_SIGN:
                _check(value > 0, field.name, value, "more than 0")
            if field.name in BELOW_ONE:
                _check(value < 1, field.name, value, "less than 1")


# The long side of the images, px: on a CPU and on a GPU.
IMAGE_SIZE, GPU_IMAGE_SIZE = 320, 640
SMOOTH, SMOOTH_ON_GPU = 0.03, 0.01  # eikonal_weight
SHORT = 3000  # iterations up to which a GPU has the curvature_weight of a CPU
MOST_PULL = 85.0  # curvature_weight * iterations / eikonal_weight on a GPU, or plain walls tear (docs/benchmarks.md)


def change_for_gpu(iterations: int) -> Dict[str, Any]:
    """What differs on a GPU: what it makes nearly free, and what that allows (docs/benchmarks.md).

    More rays make gradients less noisy, so the field needs less to keep it smooth, and the less the longer it learns.
    But the curvature term pulls on a plain wall as long as a training lasts, and what holds it is the eikonal term.
    """
    curvature_weight = Settings.curvature_weight * min(1.0, SHORT / iterations) ** 0.25
    return {
        "image_size": GPU_IMAGE_SIZE,
        "rays": 8192,
        "fine_samples": 32,
        "eikonal_weight": round(max(SMOOTH_ON_GPU, curvature_weight * iterations / MOST_PULL), 4),
        "curvature_weight": round(curvature_weight, 7),
    }


def derive(iterations: int, image_size: int, seed: int) -> Settings:
    """Settings for a run of the given length. Raises UserError on values out of range.

    Measured on the demo: three levels that grow by 2.5 give F-score 0.864 after 1,500 iterations where four that double
    from 16 give 0.854. In the upright world without a tilt it is 0.858 and 0.849, since half of the underside of a
    level roof is more than 1 % off; with it, 0.867. The weight of the eikonal term, the last sharpness and where the
    learning rates begin to fall were chosen on six captures (docs/benchmarks.md).
    """
    short = iterations <= 2000
    return Settings(
        iterations,
        image_size,
        seed,
        held_out_until=HELD_OUT_UNTIL,
        tilt=TILT,
        sharpness_end=800.0 if short else 2000.0,
        redraw_distance=0.03,
        warmup_steps=min(200, iterations),
        eikonal_weight=SMOOTH,
        learning_rate_flat=0.2 if short else 0.4,
    )


def read(path: Path, on_gpu: bool = False) -> Settings:
    """Settings from a JSON file (config.yaml is one), with what its key on_gpu says of runs on a GPU.

    Raises UserError on anything else than Settings' keys.
    """
    try:
        values = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write one with `python3 -m sdfgrid config`")
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); write it with `python3 -m sdfgrid config`")
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds a {type(values).__name__}, not an object with the engine's settings")
    changes = values.pop("on_gpu", {})
    if not isinstance(changes, dict):
        raise UserError(f"{path}: on_gpu holds a {type(changes).__name__}, not an object with settings")
    try:
        return from_dict({**values, **(changes if on_gpu else {})})
    except UserError as error:
        raise UserError(f"{path}: {error}")


def from_dict(values: Dict[str, Any]) -> Settings:
    """Settings from plain values. Raises UserError on unknown keys (with the nearest name) and wrong values."""
    fields = dataclasses.fields(Settings)
    known = [field.name for field in fields]
    unknown = [f"unknown setting {key!r}.{suggest(key, known)}" for key in values if key not in known]
    if unknown:
        raise UserError(f"{' '.join(unknown)} Known settings: {', '.join(known)}")
    needed = [field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise UserError(f"settings are missing: {', '.join(missing)}; write them with `python3 -m sdfgrid config`")
    return Settings(**values)


def to_json(settings: Settings, on_gpu: Dict[str, Any]) -> str:
    """on_gpu: settings that have another value on a GPU."""
    return json.dumps({**dataclasses.asdict(settings), "on_gpu": on_gpu}, indent=1) + "\n"


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
