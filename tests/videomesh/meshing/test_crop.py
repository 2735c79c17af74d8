"""What the mesh keeps: by default what stands on the ground, with a base; never a cut through it."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import trimesh  # noqa: E402

from videomesh.errors import UserError  # noqa: E402
from videomesh.meshing import crop, surface  # noqa: E402
from videomesh.meshing.sparse_mesh import Mesh  # noqa: E402
from videomesh.scene import Scene  # noqa: E402

VOXEL = 1 / 64
CENTER, RADIUS = np.array([3.0, -2.0, 5.0]), 4.0  # of the region, in the world
SCENE = Scene(
    Path("transforms.json"), [], 8, 6, (7.0, 7.0), (4.0, 3.0), [], np.zeros((0, 4, 4)), CENTER, RADIUS, box=None
)
UP = np.array([0.0, 0.0, 1.0])


def ground(size: float = 1.0, height: float = 0.0) -> trimesh.Trimesh:
    """A square, both sides seen as one surface, of triangles as fine as those of a mesh."""
    steps = np.arange(-size, size + VOXEL / 2, 2 * VOXEL)
    x, y = np.meshgrid(steps, steps, indexing="ij")
    n = len(steps)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + n, corner + n + 1], 1), np.stack([corner, corner + n + 1, corner + 1], 1)]
    )
    return trimesh.Trimesh(np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], 1), faces, process=False)


def thing(low: tuple[float, float, float], high: tuple[float, float, float]) -> trimesh.Trimesh:
    box = trimesh.creation.box(bounds=np.array([low, high]))
    return box.subdivide_to_size(0.06)


def join(*parts: trimesh.Trimesh) -> Mesh:
    whole = trimesh.util.concatenate(parts)
    return Mesh(torch.tensor(np.array(whole.vertices)), torch.tensor(np.array(whole.faces)))


def options(**values: object) -> argparse.Namespace:
    nothing = {"crop": "auto", "region": None, "crop_center": "", "crop_radius": 0.0, "crop_box": ""}
    return argparse.Namespace(**{**nothing, **values})


def write_region(folder: Path, plane: bool = True, center: tuple[float, float, float] = (0, 0, 0.2)) -> Path:
    """region.json with the subject's ball of 0.35 radii, at a place in the unit sphere's frame."""
    point = {"point": CENTER.tolist(), "normal": UP.tolist(), "thickness": 0.02 * RADIUS}
    found = {"center": (CENTER + RADIUS * np.array(center)).tolist(), "radius": 0.35 * RADIUS, "plane": point}
    (folder / "region.json").write_text(json.dumps({"crop": {**found, "plane": point if plane else None}}))
    return folder / "region.json"


def cut(mesh: Mesh, args: argparse.Namespace) -> tuple[np.ndarray, float]:
    """The vertices that are kept, and the share that is not."""
    kept, share = crop.apply(mesh, crop.read(args, SCENE), VOXEL)
    return kept.vertices.numpy(), share


def get_area(mesh: Mesh) -> float:
    return float(surface.face_areas(mesh).sum())


STATUE = thing((-0.2, -0.15, 0), (0.2, 0.15, 0.5))


def test_the_base_is_a_bit_larger_than_the_footprint(tmp_path: Path) -> None:
    mesh = join(ground(), STATUE)
    points, share = cut(mesh, options(region=write_region(tmp_path)))
    low = points[points[:, 2] < 0.01]
    reach = np.linalg.norm(low[:, :2], axis=1).max()
    assert 1.05 * 0.25 < reach < 1.4 * 0.25
    assert points[:, 2].max() == 0.5
    assert share == pytest.approx(1 - (np.pi * reach**2 + get_area(join(STATUE))) / get_area(mesh), abs=0.01)


def test_a_part_that_the_region_stage_did_not_know_is_not_cut(tmp_path: Path) -> None:
    """It is longer than the ball in which the points were."""
    long = thing((-0.3, -0.1, 0), (0.5, 0.1, 0.2))
    points, _ = cut(join(ground(), long), options(region=write_region(tmp_path, center=(-0.15, 0, 0.1))))
    assert {-0.3, 0.5} <= set(points[points[:, 2] > 0.19][:, 0].tolist())


def test_several_things_are_all_kept_and_what_stands_far_out_is_not(tmp_path: Path) -> None:
    second, far = thing((0.25, -0.05, 0), (0.4, 0.1, 0.2)), thing((0.7, 0.5, 0), (0.8, 0.6, 0.3))
    points, share = cut(join(ground(), STATUE, second, far), options(region=write_region(tmp_path)))
    assert (np.abs(points - [0.4, 0.1, 0.2]).max(1) < 1e-9).any()
    assert not ((points[:, 0] > 0.65) & (points[:, 2] > 0.1)).any()
    assert 0.5 < share < 0.95


def test_without_a_ground_all_is_kept(tmp_path: Path) -> None:
    mesh = join(ground(), STATUE)
    for args in (options(region=write_region(tmp_path, plane=False)), options(crop="none"), options()):
        points, share = cut(mesh, args)
        assert len(points) == len(mesh.vertices) and share == 0


def test_a_ground_with_nothing_on_it_is_kept(tmp_path: Path) -> None:
    assert cut(join(ground()), options(region=write_region(tmp_path)))[1] == 0


def test_a_sphere_and_a_box_are_in_the_world(tmp_path: Path) -> None:
    mesh = join(ground())
    center = ",".join(map(str, CENTER + np.array([0.4, 0, 0])))
    points, share = cut(mesh, options(crop="sphere", crop_center=center, crop_radius=2.0))
    away = np.linalg.norm(points - [0.1, 0, 0], axis=1)
    assert away.max() == pytest.approx(0.5, abs=1e-3)
    assert share == pytest.approx(1 - np.pi * 0.25 / 4, abs=0.01)
    box = [[2.0, 4.0], [-4.0, 0.0], [4.0, 6.0]]
    points, share = cut(mesh, options(crop="box", crop_box=json.dumps(box)))
    assert np.allclose([points.min(0), points.max(0)], [[-0.25, -0.5, 0], [0.25, 0.5, 0]])
    assert share == pytest.approx(1 - 0.5 / 4, abs=0.01)


def test_a_turned_box_is_cut_along_its_own_axes() -> None:
    turn = trimesh.transformations.rotation_matrix(np.radians(30), [0, 0, 1])[:3, :3]
    center = CENTER + np.array([0.4, 0.8, 0])
    box = {"center": center.tolist(), "size": [1.6, 3.2, 9.0], "rotation": turn.ravel().tolist()}
    mesh = join(ground())
    found = crop.read(options(crop="box", crop_box=json.dumps(box)), SCENE)
    kept, share = crop.apply(mesh, found, VOXEL)
    along = (kept.vertices.numpy() - [0.1, 0.2, 0]) @ turn
    assert np.allclose([along.min(0)[:2], along.max(0)[:2]], [[-0.2, -0.4], [0.2, 0.4]], atol=0.02)
    assert share == pytest.approx(1 - 0.4 * 0.8 / 4, abs=0.01)
    assert found.words == {"method": "box", **box}
    upright = {"center": [3.0, -2.0, 5.0], "size": [2.0, 4.0, 2.0], "rotation": np.eye(3).ravel().tolist()}
    points, _ = cut(mesh, options(crop="box", crop_box=json.dumps(upright)))
    same, _ = cut(mesh, options(crop="box", crop_box=json.dumps([[2.0, 4.0], [-4.0, 0.0], [4.0, 6.0]])))
    assert np.allclose(points, same)


def test_colours_are_cut_with_the_mesh() -> None:
    mesh = join(ground())
    painted = Mesh(torch.cat([mesh.vertices, mesh.vertices], 1), mesh.faces)
    kept, _ = crop.apply(painted, crop.read(options(crop="box", crop_box="[[2, 4], [-9, 9], [0, 9]]"), SCENE), VOXEL)
    assert torch.allclose(kept.vertices[:, :3], kept.vertices[:, 3:])


def test_a_crop_that_misses_the_mesh_says_so() -> None:
    with pytest.raises(UserError) as error:
        cut(join(ground()), options(crop="sphere", crop_center="900,0,0", crop_radius=1.0))
    for word in ("crop.method sphere", "900", "transforms.json", "none"):
        assert word in str(error.value)


@pytest.mark.parametrize("content", ["{}", '{"crop": null}', '{"crop": {"center": [0, 0], "radius": 1}}', "[]"])
def test_a_region_json_without_a_crop_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "region.json").write_text(content)
    with pytest.raises(UserError, match=r"region\.json: crop has no center"):
        crop.read(options(region=tmp_path / "region.json"), SCENE)
