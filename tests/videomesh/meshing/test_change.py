"""How far a surface moved and turned between two looks."""

import pytest
import torch
from torch import Tensor

from videomesh.meshing import change

CPU = torch.device("cpu")


class Shape:
    """A field of an engine: balls of a radius, one for each centre, and a ripple on them."""

    center, radius, iteration = torch.zeros(3, dtype=torch.float64), 1.0, 100

    def __init__(self, radius: float, *centres: tuple[float, float, float], ripple: float = 0.0) -> None:
        self.ball, self.centres, self.ripple = radius, centres or ((0.0, 0.0, 0.0),), ripple

    def signed_distance(self, points: Tensor) -> Tensor:
        apart = [(points - points.new_tensor(centre)).norm(dim=-1) for centre in self.centres]
        return torch.stack(apart).amin(0) - self.ball + self.ripple * torch.sin(60 * points[:, 0])

    def colour(self, points: Tensor, directions: Tensor) -> Tensor:
        return points


def compare(one: Shape, other: Shape) -> change.Change:
    return change.compare(change.take(one, CPU), change.take(other, CPU))


def test_the_same_surface_has_not_changed() -> None:
    moved, turned = compare(Shape(0.5), Shape(0.5))
    assert moved == pytest.approx(0, abs=1e-6) and turned == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("step", [0.0005, 0.002, 0.01])
def test_it_tells_far_less_than_a_voxel(step: float) -> None:
    """A voxel of a quick mesh is 0.016."""
    moved, turned = compare(Shape(0.5), Shape(0.5 + step))
    assert moved == pytest.approx(step, rel=0.1, abs=5e-5) and turned < 1


def test_a_ripple_turns_normals_more_than_it_moves() -> None:
    moved, turned = compare(Shape(0.5), Shape(0.5, ripple=0.002))
    assert moved < 0.002 and turned > 3


def test_what_appears_counts_as_what_disappears() -> None:
    one, both = Shape(0.3, (-0.5, 0, 0)), Shape(0.3, (-0.5, 0, 0), (0.5, 0, 0))
    appeared, disappeared = compare(one, both), compare(both, one)
    assert appeared.moved == pytest.approx(disappeared.moved) and appeared.moved > 0.01


def test_no_surface_at_all() -> None:
    assert compare(Shape(-1.0), Shape(-1.0)).moved == 0
    assert compare(Shape(-1.0), Shape(0.5)).moved == change.FAR
