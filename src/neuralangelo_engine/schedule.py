"""When Neuralangelo does what, for a given number of iterations.

Upstream's numbers are made for 500,000 iterations and do not shrink with fewer: a run of up to 5,000 is warm-up from
its first to its last iteration, and no run under 85,000 uses all levels of detail (NA-17). Measured on the demo, 1,000
iterations: chamfer distance 0.0411 with upstream's numbers, 0.0165 with these (docs/neuralangelo.md).
"""

import math
from typing import Any, NamedTuple

LEVELS = 16  # of the hash grid
SHORT = 2000  # iterations up to which a run gets the numbers for short runs
UPSTREAM_WARM_UP = UPSTREAM_STEP = 5000  # base.yaml
SAVES_EVERY = 2000  # iterations that a crash may cost: some minutes on any GPU that Neuralangelo fits on
VALIDATIONS = 5  # a run


class Schedule(NamedTuple):
    """In iterations, but for the last two."""

    warm_up_end: int
    step: int  # from one level of detail to the next
    two_steps: tuple[int, int]  # where the learning rate drops to a tenth
    lr: float
    s_var: float  # where the logarithm of the surface's sharpness begins


def scale(iterations: int, levels: int = LEVELS) -> Schedule:
    """The schedule for a run of this length, as measured at 1,000 and 5,000 iterations on one scene.

    Sharpness moves by about the learning rate an iteration, so a short run starts sharper and learns faster. From about
    130,000 iterations on the levels open as late as upstream's do.
    """
    short = iterations <= SHORT
    warm_up_end = min(UPSTREAM_WARM_UP, max(100, round(0.01 * iterations)))
    warm_up_end = min(warm_up_end, max(1, iterations // 4))  # a run of some hundred is more than warm-up
    share = 0.4 if short else 0.6
    step = max(1, math.floor((share * iterations - warm_up_end) / levels))
    drops = (0.7, 0.9) if short else (0.6, 0.8)
    return Schedule(
        warm_up_end,
        min(step, UPSTREAM_STEP),
        (max(1, round(drops[0] * iterations)), max(2, round(drops[1] * iterations))),
        lr=3e-3 if short else 1e-3,
        s_var=4.0 if short else 3.0,
    )


def get_settings(iterations: int, kind: str) -> dict[str, Any]:
    """Upstream's settings, by their dotted names, that depend on the length of the run; kind: scaled or upstream."""
    settings: dict[str, Any] = {
        "max_iter": iterations,
        "checkpoint.save_iter": min(SAVES_EVERY, iterations),
        "validation_iter": max(1, iterations // VALIDATIONS),
        "wandb_image_iter": max(1, iterations // VALIDATIONS),
        "wandb_scalar_iter": max(1, min(100, iterations // 20)),
    }
    if kind == "upstream":
        return settings
    schedule = scale(iterations)
    return settings | {
        "optim.sched.warm_up_end": schedule.warm_up_end,
        "optim.sched.two_steps": list(schedule.two_steps),
        "optim.params.lr": schedule.lr,
        "model.object.sdf.encoding.coarse2fine.step": schedule.step,
        "model.object.s_var.init_val": schedule.s_var,
    }
