"""The folder that Blender's add-on BlenderNeuralangelo opens: images, COLMAP's model, and the region as it is.

Checked against https://github.com/mli0603/BlenderNeuralangelo, neuralangelo_addon.py of version 1.0. It reads
sparse/{cameras,images,points3D}.bin, copies the pictures of images/, and takes the box of transforms.json. Its sliders
move each side of the box inwards from the outermost point, by 0 to 50 units.
"""

import os
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np

from videomesh.errors import UserError
from videomesh.files import read_json, write_json
from videomesh.poses.model import move_world
from videomesh.report.results import Results
from videomesh.scene import Scene, get_name, read_scene

MODEL = ("cameras.bin", "images.bin", "points3D.bin")
NEEDED = ("region/transforms.json", "poses/images.tar", *(f"poses/{name}" for name in MODEL))
REACH = 50.0  # units: `max` of the add-on's box_slider
HEAD = struct.Struct("<Q3d3Bd")  # of a point: id, x, y, z, colour, error; then its track


def export(results: Results, folder: Path) -> int:
    """Write the folder, which appears complete or not at all. Returns the number of images. Raises UserError."""
    missing = [name for name in NEEDED if name not in results.files]
    if missing:
        raise UserError(f"{results.scene}: there is no {missing[0]} yet; run the workflow up to the region first")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already. Name a new folder, or remove this one")
    scene = read_scene(results.files["region/transforms.json"])
    part = folder.absolute().with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        (part / "sparse").mkdir(parents=True)
        (part / "images").mkdir()
        for name in MODEL:
            shutil.copyfile(results.files[f"poses/{name}"], part / "sparse" / name)
        move_world(part / "sparse", scene.applied_scale, scene.applied_transform, np.zeros(3))
        points = keep_near(part / "sparse/points3D.bin", scene)
        content = read_json(scene.path)
        content["aabb_range"] = clip_box(content["aabb_range"], points).tolist()
        write_json(part / "transforms.json", content)
        count = unpack(results.files["poses/images.tar"], part / "images", set(scene.names))
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count


def keep_near(path: Path, scene: Scene) -> np.ndarray:
    """Leave points out that the sliders cannot reach from the region. Returns the others (n, 3), at least one."""
    low, high = scene.center - scene.radius - REACH, scene.center + scene.radius + REACH
    data = path.read_bytes()
    kept, places, place = [], [], 8
    while place < len(data):
        xyz = HEAD.unpack_from(data, place)[1:4]
        end = place + HEAD.size
        end += 8 + 8 * int(struct.unpack_from("<Q", data, end)[0])
        if (low <= xyz).all() and (xyz <= high).all():
            kept.append(data[place:end])
            places.append(xyz)
        place = end
    if not places:
        raise UserError(
            f"{scene.path}: there are no points near the region, and the add-on opens no scene without points"
        )
    path.write_bytes(struct.pack("<Q", len(kept)) + b"".join(kept))
    return np.array(places)


def clip_box(box: list[list[float]], points: np.ndarray) -> np.ndarray:
    """The box (3, 2) within the points, since a slider moves inwards only; one that holds no point becomes theirs."""
    ends = np.stack([points.min(0), points.max(0)], 1)
    clipped = np.clip(np.array(box, float), ends[:, :1], ends[:, 1:])
    empty = clipped[:, 0] >= clipped[:, 1]
    clipped[empty] = ends[empty]
    return np.asarray(clipped)


def unpack(tar_path: Path, folder: Path, names: set[str]) -> int:
    """The images of a tar that have a pose, by their bare names."""
    count = 0
    try:
        with tarfile.open(tar_path, "r:") as tar:
            for member in tar:
                name = get_name(member.name)
                file = tar.extractfile(member) if name in names else None
                if file is not None:
                    (folder / name).write_bytes(file.read())
                    count += 1
    except tarfile.TarError as error:
        raise UserError(f"{tar_path}: not a readable tar archive ({error}); run the poses stage again")
    if count < len(names):
        raise UserError(f"{tar_path}: has {count} of the {len(names)} images with a pose; run the poses stage again")
    return count
