"""When a training may end early, by what its looks at the surface found."""

from typing import Any

import pytest

from videomesh import convergence
from videomesh.convergence import GAINED, LOOKS, MOVED, TAIL, TURNED, Ending

STILL = {"surface_moved": 0.5 * MOVED, "surface_turned": 0.5 * TURNED, "psnr_gained": 0.5 * GAINED}


def make_rows(*looks: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Lines 50 iterations apart; a look, if there is one, was at the line's iteration."""
    return [{"iteration": 50 * (number + 1), "psnr": 20.0, **(look or {})} for number, look in enumerate(looks)]


def test_two_looks_in_a_row_must_find_it_still() -> None:
    moves = {**STILL, "surface_moved": 2 * MOVED}
    assert convergence.is_still(make_rows(moves, None, STILL, None, STILL, None))
    assert not convergence.is_still(make_rows(STILL))
    assert not convergence.is_still(make_rows(STILL, moves, STILL))
    assert not convergence.is_still(make_rows(None, None))


@pytest.mark.parametrize("change", [{"surface_moved": MOVED}, {"surface_turned": TURNED}, {"psnr_gained": GAINED}])
def test_distance_normals_and_colours_must_all_stand_still(change: dict[str, Any]) -> None:
    assert not convergence.is_still(make_rows(STILL, {**STILL, **change}))


def test_colours_of_which_nothing_is_known_do_not_end_a_training() -> None:
    look = convergence.describe_look(MOVED / 2, TURNED / 2, None)
    assert not convergence.is_still(make_rows(STILL, look))


def test_colours_that_get_worse_do_not_keep_a_training_up() -> None:
    assert convergence.is_still(make_rows(STILL, {**STILL, "psnr_gained": -1.0}))


def test_the_gain_is_that_of_the_means_between_looks() -> None:
    rows = [{"iteration": number, "psnr": 20.0 + number / 10} for number in range(10, 50, 10)] + [{"iteration": 45}]
    assert convergence.find_gain(rows, 20, 40, 20) == pytest.approx(2.0)
    assert convergence.find_gain(rows, 0, 20, 20) is None


def test_looks_are_a_share_of_the_schedule() -> None:
    assert convergence.get_distance(3000) * LOOKS == 3000
    assert convergence.get_distance(10) == 1


def test_a_schedule_whose_rest_is_short_is_not_shortened() -> None:
    assert convergence.plan_ending(1000, 10_000) == Ending(1000, 1000 + int(1000 * TAIL))
    assert convergence.plan_ending(9000, 10_000) is None
    assert convergence.plan_ending(8000, 8000 + int(8000 * TAIL)) is None


def test_what_was_decided_stands_in_the_metrics() -> None:
    rows = make_rows(STILL, STILL)
    assert convergence.find_ending(rows) is None and not convergence.is_finished(rows)
    ending = Ending(100, 125)
    rows[-1].update(ending._asdict())
    assert convergence.find_ending(rows) == ending and not convergence.is_finished(rows)
    rows.append({"iteration": 125})
    assert convergence.find_ending(rows) == ending and convergence.is_finished(rows)
    said = convergence.describe_saving(ending, 1000)
    assert "stood still at iteration 100" in said and "125 of 1000; 875 iterations (87 %)" in said
