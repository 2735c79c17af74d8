"""A mesh with holes becomes a solid that can be printed."""

import json
from pathlib import Path

import manifold3d
import numpy as np
import pytest
import trimesh

torch = pytest.importorskip("torch")

from programs import call  # noqa: E402
from videomesh.meshing import closing, ply, surface  # noqa: E402
from videomesh.meshing.sparse_mesh import Mesh  # noqa: E402


def to_mesh(mesh: trimesh.Trimesh, keep: np.ndarray) -> Mesh:
    kept = Mesh(torch.tensor(np.array(mesh.vertices)), torch.tensor(np.array(mesh.faces)))
    return surface.keep_faces(kept, torch.tensor(keep))[0]


def close(mesh: Mesh) -> Mesh:
    return surface.keep_faces(closing.close(mesh)[0], slice(None))[0]


def to_solid(mesh: Mesh) -> manifold3d.Manifold:
    return manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices[:, :3].numpy(), mesh.faces.numpy().astype(np.uint64)))


def assert_solid(mesh: Mesh) -> manifold3d.Manifold:
    solid = to_solid(mesh)
    assert solid.status() == manifold3d.Error.NoError and not solid.is_empty()
    assert surface.topology(mesh).open_edges == 0
    return solid


BALL = trimesh.creation.icosphere(subdivisions=4)
MIDDLES = BALL.triangles_center


@pytest.mark.parametrize("height", [0.95, 0.6, 0.0, -0.5])
def test_a_hole_is_spanned_by_a_film(height: float) -> None:
    """What is left of a unit ball under a plane, closed: as large as the part of the ball, but for the film's move."""
    part = to_mesh(BALL, MIDDLES[:, 2] < height)
    assert to_solid(part).status() != manifold3d.Error.NoError
    solid = assert_solid(close(part))
    moved = abs(height) * closing.THICKNESS * 0.08 * np.pi * (1 - height**2)  # edges are up to 0.08 long
    assert solid.volume() == pytest.approx(np.pi * (2 + 3 * height - height**3) / 3, rel=0.03, abs=1.2 * moved)


def test_holes_of_any_size_and_number() -> None:
    random = np.random.default_rng(0)
    for share in (0.9, 0.6, 0.3):
        assert_solid(close(to_mesh(BALL, random.random(len(BALL.faces)) < share)))
    for faces in ([0], [0, 1], range(7), range(0, 5120, 2)):
        keep = np.ones(len(BALL.faces), bool)
        keep[list(faces)] = False
        assert_solid(close(to_mesh(BALL, keep)))


def test_parts_that_touch_are_parted() -> None:
    """Two boxes share an edge, two others a corner, and a sheet of two triangles has two sides of its own."""
    first, second = trimesh.creation.box(), trimesh.creation.box()
    for offset in ([1, 1, 0], [1, 1, 1]):
        both = trimesh.util.concatenate([first, second.copy().apply_translation(offset)])
        both.merge_vertices()
        closed = close(to_mesh(both, np.ones(24, bool)))
        assert assert_solid(closed).volume() == pytest.approx(2)


def test_a_sheet_becomes_a_plate() -> None:
    """A bumpy disc, seen from above only: its film is below it, and so does not cut through it."""
    disc = trimesh.creation.annulus(0.02, 1, 0.1, sections=128)
    top = disc.triangles_center[:, 2] > 0.049
    sheet = to_mesh(disc.subdivide_loop(0), top)
    bumpy = Mesh(sheet.vertices + torch.randn(sheet.vertices.shape).double() * 0.001, sheet.faces)
    solid = assert_solid(close(bumpy))
    edge = 2 * np.pi / 128
    assert 0.5 * closing.THICKNESS * edge < solid.volume() / np.pi < 1.1 * closing.THICKNESS * edge


def test_a_closed_mesh_stays_as_it_is() -> None:
    whole = to_mesh(BALL, np.ones(len(BALL.faces), bool))
    closed, new = closing.close(whole)
    assert not new.any()
    assert torch.equal(closed.vertices[closed.faces], whole.vertices[whole.faces])


def test_what_vertices_hold_beyond_their_place_goes_on_across_the_hole() -> None:
    part = to_mesh(BALL, MIDDLES[:, 2] < 0.5)
    painted = Mesh(torch.cat([part.vertices, part.vertices[:, :1] * 0 + 0.25], 1), part.faces)
    closed, new = closing.close(painted)
    assert new.any() and torch.allclose(closed.vertices[new, 3], torch.tensor(0.25, dtype=torch.float64))
    assert closed.vertices[new, 2].min() > 0.3, "flat across the rim, which lies at 0.5, and a little below"


@pytest.mark.parametrize("units, factor", [("m", 1000), ("arbitrary", 1)])
def test_stl(tmp_path: Path, units: str, factor: float) -> None:
    ply.write(tmp_path / "mesh.ply", BALL.vertices, BALL.faces, BALL.vertices * 0, 3)
    summary = {"units": units, "open_edges": 4 if units == "m" else 0}
    (tmp_path / "mesh.json").write_text(json.dumps(summary))
    files = {"mesh": "mesh.ply", "summary": "mesh.json", "output": "mesh.stl"}
    done = call("deliver_stl", *(word for name, file in files.items() for word in (f"--{name}", tmp_path / file)))
    assert done.returncode == 0, done.stderr
    assert ("mesh.unseen to close" in done.stdout) == (units == "m")
    mesh = trimesh.load(tmp_path / "mesh.stl")
    assert mesh.is_watertight and mesh.volume == pytest.approx(BALL.volume * factor**3, rel=1e-5)
    assert np.allclose(np.linalg.norm(mesh.face_normals, axis=1), 1)
