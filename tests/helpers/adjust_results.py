"""The results of a small scene, as far as the page of scripts/adjust.py needs them.

A grey box of 2 x 1 x 1 stands turned on a ground, and is filmed from eight sides.
"""

import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image

from videomesh.files import add_to_tar
from videomesh.meshing.web import glb
from videomesh.poses.model import Camera, to_quaternion, write_cameras
from videomesh.scene import Scene, SparsePoints, write_points, write_scene

FRAMES = 8
TURN = np.radians(30)  # of the box, round z
SIDES = (2.0, 1.0, 1.0)
APPLIED = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # from COLMAP's world to the upright one
SCALE = 0.5


def get_settings(**crop: Any) -> dict[str, Any]:
    return {
        "engine": "sdfgrid",
        "train": {"iterations": 200, "milestones": [100]},
        "crop": {"method": "auto", "center": None, "radius": None, "box": None, **crop},
        "region": {"center": None, "radius": None},
    }


def look_at(azimuth: float, distance: float = 5.0) -> np.ndarray:
    """A camera (OpenCV's axes) that looks at the middle; azimuth in degrees from x."""
    angle = np.radians(azimuth)
    back = np.array([np.cos(angle), np.sin(angle), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([[-np.sin(angle), np.cos(angle), 0], [0, 0, -1], -back], 1)
    pose[:3, 3] = back * distance
    return pose


def make_thing() -> trimesh.Trimesh:
    """The middle of its floor is at 0, 0, 0. Its faces are small enough to be counted."""
    box = trimesh.creation.box(SIDES).subdivide_to_size(0.2)
    box.apply_translation([0, 0, SIDES[2] / 2])
    return box.apply_transform(trimesh.transformations.rotation_matrix(TURN, [0, 0, 1]))


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_results(root: Path, scene: str, mesh: int = 200) -> None:
    """mesh: the iteration at which there is one."""
    folder = root / "results" / scene
    names = [f"{number:06}.jpg" for number in range(FRAMES)]
    times = [{"name": name, "time": number / 4, "video_frame": number} for number, name in enumerate(names)]
    write(folder / "frames/frames.json", {"frames": times})
    (folder / "poses").mkdir()
    with tarfile.open(folder / "poses/images.tar", "w") as tar:
        for number, name in enumerate(names):
            file = io.BytesIO()
            Image.new("RGB", (64, 48), (20 * number, 90, 90)).save(file, "JPEG")
            add_to_tar(tar, name, file.getvalue())
    poses = np.stack([look_at(45 * number) for number in range(FRAMES)])
    (folder / "region").mkdir()
    scene_file = folder / "region/transforms.json"
    described = Scene(
        scene_file, names, 64, 48, (60.0, 60.0), (32.0, 24.0), [0.0] * 9, poses, np.array([0, 0, 0.5]), 2.0, None,
        applied_transform=APPLIED, applied_scale=SCALE,
    )  # fmt: skip
    write_scene(scene_file, described, times)
    ball = {"method": "auto", "center": [0.0, 0.0, 0.5], "radius": 1.2, "plane": None}
    write(folder / "region/region.json", {"center": [0, 0, 0.5], "radius": 2.0, "crop": ball})
    thing = make_thing()
    ground = np.random.default_rng(0).uniform(-6, 6, (100, 3)) * [1, 1, 0]
    xyz = np.concatenate([thing.vertices, ground])
    subject = np.arange(len(xyz)) < len(thing.vertices)
    seen = np.tile(np.array([[0, 1]]), (len(xyz), 1))
    write_points(
        folder / "region/points.npz", SparsePoints(xyz, np.ones(len(xyz)), np.full(len(xyz), 2), seen, subject)
    )
    write_model(folder / "poses", names, poses, xyz)
    data = glb(thing.vertices, thing.faces, thing.vertex_normals, np.full((len(thing.vertices), 3), 0.5))
    (folder / f"mesh/{mesh}").mkdir(parents=True)
    (folder / f"mesh/{mesh}/mesh.glb").write_bytes(data)


def write_model(folder: Path, names: list[str], poses: np.ndarray, xyz: np.ndarray) -> None:
    """COLMAP's model, in its own world, in which up is not z."""
    write_cameras(folder / "cameras.bin", [Camera(1, "PINHOLE", 64, 48, np.array([60.0, 60, 32, 24]))])
    to_world = APPLIED.T / SCALE
    with open(folder / "images.bin", "wb") as file:
        file.write(struct.pack("<Q", len(names)))
        for number, (name, pose) in enumerate(zip(names, poses, strict=True), 1):
            rotation = (APPLIED.T @ pose[:3, :3]).T
            translation = -rotation @ to_world @ pose[:3, 3]
            file.write(struct.pack("<I7dI", number, *to_quaternion(rotation), *translation, 1) + name.encode() + b"\0")
            file.write(struct.pack("<Q2dQ", 1, 3.0, 4.0, 1))
    with open(folder / "points3D.bin", "wb") as file:
        file.write(struct.pack("<Q", len(xyz) + 1))
        for number, point in enumerate([*xyz, [900.0, 0, 0]]):
            file.write(struct.pack("<Q3d3BdQ2I", number, *(to_world @ point), 9, 9, 9, 0.5, 1, 1, 0))
