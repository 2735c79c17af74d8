"""Marching cubes near the surface: the same surface as a dense evaluation, closed, welded, and nothing lost."""

from collections import Counter

import numpy as np
import pytest
from scipy.spatial import cKDTree

torch = pytest.importorskip("torch")

from videomesh.meshing import sparse_mesh, surface  # noqa: E402

CUBE = [(-1.0, 1.0)] * 3


def sphere(points, radius=0.5, center=(0.0, 0.0, 0.0)):
    return (points - torch.tensor(center)).norm(dim=-1) - radius


def scene(points):
    """A sphere, a box, a small far sphere and a plate of 1.3 voxels at resolution 96."""
    q = (points - torch.tensor([-0.2, -0.6, 0.1])).abs() - 0.25
    box = q.clamp(min=0).norm(dim=-1) + q.max(-1).values.clamp(max=0)
    plate = torch.maximum((points[:, 2] + 0.55).abs() - 0.0135, points.norm(dim=-1) - 0.9)
    parts = [sphere(points), sphere(points, 0.08, (0.7, 0.5, 0.3)), box, plate]
    return torch.stack(parts).min(0).values


def gyroid(points):
    """Not a distance at all, with a surface that winds through everything; closed by a ball."""
    x, y, z = (points * 7).unbind(-1)
    return torch.maximum((x.sin() * y.cos() + y.sin() * z.cos() + z.sin() * x.cos()) / 7, points.norm(dim=-1) - 0.8)


def dense_vertices(function, voxel, margin=sparse_mesh.MARGIN):
    """Where the function changes sign on the edges of the whole lattice, found without marching cubes."""
    steps = torch.arange(round(2 / voxel) + 1, dtype=torch.float64) * voxel - 1
    points = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1)
    values = function(points.float().reshape(-1, 3)).reshape(points.shape[:3]).double()
    found = []
    for axis in range(3):
        low, high = values.narrow(axis, 0, len(steps) - 1), values.narrow(axis, 1, len(steps) - 1)
        where = ((low < 0) != (high < 0)).nonzero()
        low, high = low[tuple(where.T)], high[tuple(where.T)]
        position = points[tuple(where.T)].clone()
        position[:, axis] += (low / (low - high)).clamp(margin, 1 - margin) * voxel
        found.append(position)
    return torch.cat(found)


def assert_same_points(one, other, tolerance=1e-5):
    """As many points, each with a partner nearer than the last digits of the function's float32 values allow."""
    assert len(one) == len(other)
    assert cKDTree(one.numpy()).query(other.numpy())[0].max() < tolerance
    assert cKDTree(other.numpy()).query(one.numpy())[0].max() < tolerance


def edge_uses(mesh):
    """How many faces use each directed edge."""
    faces = mesh.faces.numpy()
    return Counter(map(tuple, np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()))


def assert_closed(mesh):
    """Every directed edge once, and its reverse once: no hole, no double face, consistent winding, manifold edges."""
    uses = edge_uses(mesh)
    assert set(uses.values()) == {1}
    assert all((b, a) in uses for a, b in uses)


def volume(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float((a * torch.cross(b, c, dim=-1)).sum() / 6)


@pytest.mark.parametrize("function", [scene, gyroid])
@pytest.mark.parametrize("resolution", [64, 97])
def test_same_vertices_as_dense_evaluation(function, resolution):
    mesh, stats = sparse_mesh.extract(function, CUBE, 2 / resolution)
    assert_same_points(mesh.vertices, dense_vertices(function, 2 / resolution))
    assert stats.cells_live <= stats.cells_evaluated <= stats.cells
    assert_closed(mesh)


def test_few_points_are_evaluated():
    _, stats = sparse_mesh.extract(sphere, CUBE, 2 / 256)
    assert stats.evaluations < 0.12 * 257**3


def test_sphere_volume_area_and_orientation():
    mesh, _ = sparse_mesh.extract(sphere, CUBE, 2 / 64)
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.01)  # positive: faces look outwards
    assert float(surface.face_areas(mesh).sum()) == pytest.approx(np.pi, rel=0.01)
    outward = (surface.vertex_normals(mesh) * mesh.vertices / 0.5).sum(-1)
    assert float(outward.min()) > 0.95
    shape = surface.topology(mesh)
    assert (shape.components, shape.open_edges, shape.euler_number) == (1, 0, 2)


def test_every_case_of_the_table_is_closed():
    """Random signs on a lattice meet all 256 cases and all ambiguous faces."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(18, 18, 18, generator=generator) - 0.5
    values[[0, -1]] = values[:, [0, -1]] = values[:, :, [0, -1]] = 1.0  # outside all round, so the surface closes

    def function(points):
        i, j, k = ((points + 1) * 8.5).round().long().clamp(0, 17).unbind(-1)
        return values[i, j, k]

    mesh, _ = sparse_mesh.extract(lambda p: function(p) * 1e-3, CUBE, 2 / 17, cell=1)
    signs = (values < 0).int()
    cases = sum(
        signs[x : x + 17, y : y + 17, z : z + 17] << (x + 2 * y + 4 * z) for x in (0, 1) for y in (0, 1) for z in (0, 1)
    )
    assert len(cases.unique()) == 256
    assert_closed(mesh)


def test_growing_finds_what_the_first_look_misses():
    """A field ten times as steep as a distance: most of its cells seem far away at their centre."""

    def steep(points):
        return sphere(points, 0.6) * 10

    mesh, stats = sparse_mesh.extract(steep, CUBE, 2 / 96)
    assert stats.cells_grown > 0.5 * stats.cells_live
    assert_same_points(mesh.vertices, dense_vertices(steep, 2 / 96))


def test_surface_through_lattice_points_has_no_flat_faces():
    def box(points):
        return (points.abs() - 0.5).max(-1).values  # faces, edges and corners exactly on the lattice

    mesh, _ = sparse_mesh.extract(box, CUBE, 2 / 32)
    assert_closed(mesh)
    assert float(surface.face_areas(mesh).min()) > 0
    assert len(torch.unique(mesh.vertices, dim=0)) == len(mesh.vertices)
    assert volume(mesh) == pytest.approx(1, rel=0.03)  # edges are cut by up to a voxel


def test_values_that_change_from_call_to_call_leave_no_crack():
    """The last digits of a learnt function depend on the batch. Here they are huge, so that many signs differ."""
    generator = torch.Generator().manual_seed(0)

    def noisy(points):
        return sphere(points) + 1e-4 * torch.randn(len(points), generator=generator)

    mesh, _ = sparse_mesh.extract(noisy, CUBE, 2 / 128)
    assert surface.topology(mesh).open_edges == 0


def test_uneven_bounds():
    bounds = [(-0.61, 0.33), (-0.7, 0.7), (-0.2, 0.55)]
    mesh, _ = sparse_mesh.extract(sphere, bounds, 0.05)
    low, high = mesh.vertices.min(0).values, mesh.vertices.max(0).values
    for axis, (start, stop) in enumerate(bounds):
        assert max(start, -0.5) - 0.01 <= low[axis] <= max(start, -0.5) + 0.05
        assert min(stop, 0.5) - 0.01 <= high[axis] < min(stop, 0.5) + 0.05  # less than one voxel beyond the bounds


def test_radius_leaves_out_what_is_beyond():
    calls = []

    def plane(points):
        calls.append(points)
        return points[:, 2]

    mesh, _ = sparse_mesh.extract(plane, CUBE, 2 / 64, radius=0.5)
    diagonal = 3**0.5 * sparse_mesh.CELL * 2 / 64
    assert float(torch.cat(calls).norm(dim=-1).max()) <= 0.5 + diagonal
    within = dense_vertices(lambda p: p[:, 2], 2 / 64)
    assert int((mesh.vertices.norm(dim=-1) < 0.5).sum()) == int((within.norm(dim=-1) < 0.5).sum())


def test_nothing_to_find():
    mesh, stats = sparse_mesh.extract(lambda p: torch.ones(len(p)), CUBE, 2 / 64)
    assert mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3)
    assert stats.cells_live == 0


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"not finite, first at \["):
        sparse_mesh.extract(lambda p: torch.where(p[:, 0] > 0, p[:, 0] / 0, p[:, 0]) * 0, CUBE, 2 / 32)
