"""The results of a small scene, as if it had been run to its end: a coloured ball, filmed from eight sides."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from adjust_results import look_at
from videomesh.files import add_to_tar
from videomesh.meshing.web import glb
from videomesh.report import page
from videomesh.scene import Scene, SparsePoints, write_points, write_scene

SIZE = (64, 48)
FRAMES = 8


def make_ball() -> trimesh.Trimesh:
    """Red where x is positive, blue elsewhere; radius 1."""
    return trimesh.creation.icosphere(subdivisions=3)


def get_colours(vertices: np.ndarray) -> np.ndarray:
    return np.where(vertices[:, :1] > 0, [[0.8, 0.1, 0.1]], [[0.1, 0.1, 0.8]])


def make_check(verdict: str, **changes: Any) -> dict[str, Any]:
    entry = {
        "name": "track_length",
        "meaning": "mean number of frames that see a point",
        "value": 2.5,
        "unit": "points",
        "worse": "below",
        "warn": 3,
        "fail": 2.0,
        "verdict": verdict,
        "advice": "Film slower.",
        "source": "NA-07",
    }
    return {**entry, **changes}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_results(root: Path, scene: str) -> None:
    folder = root / "results" / scene
    names = [f"{number:06}.jpg" for number in range(FRAMES)]
    kept = [{"name": name, "time": number / 4, "sharpness": 100.0 + number, "luminance": 0.5, "video_frame": number}
            for number, name in enumerate(names)]  # fmt: skip
    rejected = [{"clip": 0, "from": 0.5, "to": 0.9, "frames": 9, "reason": "still"}]
    write(folder / "frames/frames.json", {"source": "video", "width": 64, "height": 48, "source_frames": 40,
          "duration": 2.0, "frames": kept, "rejected": rejected})  # fmt: skip
    (folder / "poses").mkdir()
    with tarfile.open(folder / "poses/images.tar", "w") as tar:
        for number, name in enumerate(names):
            file = io.BytesIO()
            Image.new("RGB", SIZE, (20 * number, 90, 90)).save(file, "JPEG")
            add_to_tar(tar, name, file.getvalue())
    write(folder / "poses/poses.json", {"backend": "pycolmap 4.2.1", "frames": 9, "registered": FRAMES,
          "reprojection_error": 0.5, "points": 3, "unregistered": ["lost.jpg"]})  # fmt: skip
    poses = np.stack([look_at(30 * number, 4.0) for number in range(FRAMES)])
    (folder / "region").mkdir()
    scene_file = folder / "region/transforms.json"
    described = Scene(scene_file, names, *SIZE, (60.0, 60.0), (32.0, 24.0), [0.0] * 9, poses, np.zeros(3), 1.5, None)
    write_scene(scene_file, described, kept)
    crop = {"method": "auto", "center": [0.0, 0.0, 0.0], "radius": 1.2, "plane": None}
    write(folder / "region/region.json", {"scene_type": {"used": "object"}, "crop": crop})
    seen = np.array([[0, 1], [3, -1], [5, -1]])
    points = SparsePoints(np.eye(3), np.ones(3), np.full(3, 2), seen, np.ones(3, bool))
    write_points(folder / "region/points.npz", points)
    write(folder / "gate/gate.json", {"scene": scene, "verdict": "warn", "checks": [make_check("warn")]})
    write(folder / "train/config/config.yaml", {"held_out_first": 1, "held_out_every": 4, "held_out_views": 2})
    ball = make_ball()
    data = glb(ball.vertices, ball.faces, ball.vertex_normals, get_colours(ball.vertices))
    for iteration in (100, 200):
        lines = [{"iteration": step, "seconds": step / 10, "loss": 1 / step, "psnr": 20.0} for step in (1, iteration)]
        metrics = folder / f"train/{iteration}/metrics.jsonl"
        metrics.parent.mkdir()
        metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"iteration": 2')  # cut off
        figures = {"faces": len(ball.faces), "units": "arbitrary", "size": [2.0, 2.0, 2.0], "verdict": "pass"}
        write(folder / f"mesh/{iteration}/mesh.json", {**figures, "checks": [make_check("pass")]})
        (folder / f"mesh/{iteration}/mesh.glb").write_bytes(data)


@pytest.fixture(autouse=True)
def small_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small picture of the mesh: its size is what a page of a small scene takes longest for."""
    monkeypatch.setattr(page, "STILL_SIZE", (64, 48))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A working folder with the results of the scene ball."""
    make_results(tmp_path, "ball")
    return tmp_path
