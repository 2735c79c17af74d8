"""The folder for Blender's add-on holds what the add-on reads, and what it saves is taken back."""

import json
from pathlib import Path

import numpy as np
import pytest

from videomesh.adjust import blender
from videomesh.adjust.workflow import Project
from videomesh.errors import UserError
from videomesh.poses.model import read_cameras, read_images, read_points
from videomesh.region.by_hand import parse_by_hand
from videomesh.region.override import read_override
from videomesh.scene import read_scene


def export(project: Project, folder: Path) -> int:
    return blender.export(project.find_results("thing", blender.NEEDED), folder)


def test_the_folder_has_what_the_add_on_reads(project: Project, tmp_path: Path) -> None:
    """Its files by their names; one world for poses, points and box; the box can be reached with sliders of 0 to 50."""
    folder = tmp_path / "for blender"
    assert export(project, folder) == 8
    scene = read_scene(tmp_path / "results/thing/region/transforms.json")
    (camera,) = read_cameras(folder / "sparse/cameras.bin")
    assert (camera.model, len(camera.params)) == ("PINHOLE", 4)
    images = read_images(folder / "sparse/images.bin")
    assert {image.name for image in images} == {file.name for file in (folder / "images").iterdir()} == set(scene.names)
    assert np.allclose([image.world_from_cam for image in images], scene.world_from_cam)
    points = read_points(folder / "sparse/points3D.bin").xyz
    known = np.load(tmp_path / "results/thing/region/points.npz")["xyz"]
    assert np.allclose(points, known), "without the point that is 450 units away"
    box = np.array(json.loads((folder / "transforms.json").read_text())["aabb_range"])
    sliders = np.stack([box[:, 0] - points.min(0), points.max(0) - box[:, 1]])
    assert (sliders >= 0).all() and (sliders <= 50).all() and (box[:, 0] < box[:, 1]).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["for blender", "results"]


def test_what_the_add_on_saves_is_taken_back(project: Project, tmp_path: Path) -> None:
    """It writes a transforms.json of its own, from the model in the folder, with a sphere round points in the box."""
    export(project, tmp_path / "blender")
    flip = np.diag([1.0, -1, -1, 1])
    frames = [
        {"file_path": f"images/{image.name}", "transform_matrix": (image.world_from_cam @ flip).tolist()}
        for image in read_images(tmp_path / "blender/sparse/images.bin")
    ]
    saved = {"sphere_center": [0.1, 0, 0.5], "sphere_radius": 1.25, "frames": frames}
    saved["aabb_range"] = [[-1, 1], [-0.8, 0.8], [0, 1]]
    (tmp_path / "thing.json").write_text(json.dumps(saved))
    scene = read_scene(tmp_path / "results/thing/region/transforms.json")
    region = read_override(str(tmp_path / "thing.json"), scene).region
    assert np.allclose(region.center, [0.1, 0, 0.5]) and region.radius == 1.25
    assert parse_by_hand("thing.json", saved).add_on


def test_a_folder_that_is_there_is_not_written_over(project: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(project, tmp_path / "empty")
    before = (tmp_path / "empty/transforms.json").stat().st_mtime_ns
    with pytest.raises(UserError, match="is there already"):
        export(project, tmp_path / "empty")
    assert (tmp_path / "empty/transforms.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("poses/images.tar", "not a readable tar"),
        ("poses/points3D.bin", "there are no points near"),
        ("poses/images.bin", "cut short"),
    ],
)
def test_nothing_half_written_stays(project: Project, tmp_path: Path, broken: str, words: str) -> None:
    path = tmp_path / "results/thing" / broken
    path.write_bytes(bytes(8) if broken.endswith("D.bin") else path.read_bytes()[:100])
    with pytest.raises(UserError, match=words):
        export(project, tmp_path / "blender")
    assert [file.name for file in tmp_path.iterdir()] == ["results"]
    path.unlink()
    with pytest.raises(UserError, match=f"no {broken} yet"):
        export(project, tmp_path / "blender")
