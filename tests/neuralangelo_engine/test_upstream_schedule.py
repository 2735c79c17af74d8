"""When Neuralangelo does what, for every length of a run."""

import pytest

from neuralangelo_engine.schedule import LEVELS, get_settings, scale
from videomesh.configuration.schema import read_schema


@pytest.mark.parametrize("iterations", [10, 60, 100, 999, 1000, 2000, 2001, 5000, 20_000, 85_000, 200_000, 1_000_000])
def test_every_schedule_reaches_all_levels_and_both_drops_in_time(iterations: int) -> None:
    schedule = scale(iterations)
    assert schedule.warm_up_end + LEVELS * schedule.step <= max(0.6 * iterations, 26)
    assert schedule.warm_up_end < schedule.two_steps[0] < schedule.two_steps[1] < iterations
    settings = get_settings(iterations, "scaled")
    assert 1 <= settings["checkpoint.save_iter"] <= 2000
    names = read_schema("neuralangelo")["properties"]
    assert set(settings) <= set(names), "names of upstream's settings"


def test_the_measured_schedules() -> None:
    """As in docs/neuralangelo.md: warm-up, step, drops, rate and sharpness of the runs with the measured figures."""
    assert scale(1000) == (100, 18, (700, 900), 3e-3, 4.0)
    assert scale(5000) == (100, 181, (3000, 4000), 1e-3, 3.0)


def test_upstreams_schedule_is_left_alone() -> None:
    assert not [name for name in get_settings(1000, "upstream") if name.startswith(("optim", "model"))]
