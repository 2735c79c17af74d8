"""COLMAP's model and the frames, as the region needs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videomesh.errors import UserError
from videomesh.files import read_json
from videomesh.poses.model import Camera, Image, Points, read_cameras, read_images, read_points
from videomesh.region.together import Masks
from videomesh.region.upright import World
from videomesh.region.views import Cloud, Lens, lens_from
from videomesh.scene import Scene, find_masked, read_masks

MASK_SIZE = 96  # px, long side at which masks are looked at
OBSERVERS = 12  # per point in points.npz; enough to tell where a point is seen from


def read_model(cameras_path: Path, images_path: Path, points_path: Path) -> tuple[Camera, list[Image], Points]:
    """The one camera, the registered images sorted by name, and the points. Raises UserError on anything unusable."""
    cameras, images, points = read_cameras(cameras_path), read_images(images_path), read_points(points_path)
    if len(cameras) != 1:
        raise UserError(
            f"{cameras_path}: {len(cameras)} cameras, but a scene needs one common camera. Film it with one phone and "
            "one zoom, all upright or all sideways, or make one scene of each clip"
        )
    if cameras[0].model != "PINHOLE":
        raise UserError(
            f"{cameras_path}: the camera model is {cameras[0].model}, but must be PINHOLE; run the poses stage again, "
            "which undistorts the images"
        )
    if len(images) < 2:
        raise UserError(
            f"{images_path}: {len(images)} images have a pose, but a region needs at least 2; see poses.json"
        )
    for image in images:
        if not np.isfinite(image.cam_from_world).all():
            raise UserError(f"{images_path}: the pose of {image.name} is not finite; run the poses stage again")
    if not np.isfinite(points.xyz).all():
        raise UserError(f"{points_path}: a point is not finite; run the poses stage again")
    return cameras[0], images, points


def read_frames(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of frames.json by name: video_frame, time, and by how many degrees the pixels were turned clockwise."""
    content = read_json(path)
    try:
        return {
            frame["name"]: {
                "video_frame": frame["video_frame"],
                "time": frame["time"],
                "turned": float(frame.get("turned") or 0),
            }
            for frame in content["frames"]
        }
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: not the frames.json of the frames stage ({error!r} is missing)")


class Poses(NamedTuple):
    """What poses.json says of the world."""

    given: bool  # its poses came with the capture
    metric: bool  # its unit is the metre


def read_poses_json(path: Path) -> Poses:
    """Files of before poses could be given say nothing of it."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not the poses.json of the poses stage; run the poses stage again")
    return Poses(content.get("given") in ("used", "refined"), content.get("metric") is True)


def match_frames(images: list[Image], frames: dict[str, dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    unknown = [image.name for image in images if image.name not in frames]
    if unknown:
        raise UserError(
            f"{path}: has no frame {unknown[0]}, which has a pose ({len(unknown)} such frames). Frames and poses are "
            "of different runs; run the poses stage again"
        )
    return [frames[image.name] for image in images]


def to_lens(camera: Camera) -> Lens:
    fx, fy, cx, cy = camera.params.tolist()
    return lens_from(camera.width, camera.height, (fx, fy), (cx, cy))


def read_subject_masks(path: Path, scene: Scene) -> Masks | None:
    """The masks that say what the subject is, small; None if fewer than half of the images have one."""
    rows = [row for row, mask in enumerate(scene.masks) if mask]
    scale = min(1.0, MASK_SIZE / max(scene.width, scene.height))
    size = (max(1, round(scene.width * scale)), max(1, round(scene.height * scale)))
    values = read_masks(path, scene, [scene.names[row] for row in rows], size)
    telling = find_masked(values)
    if telling.sum() < max(2, 0.5 * len(scene.names)):
        return None
    return Masks(np.array(rows)[telling], values[telling])


def to_cloud(points: Points, images: list[Image]) -> Cloud:
    """Points with their observers as rows of images, at most 12 spread evenly over the track, -1 padded."""
    row = {image.id: k for k, image in enumerate(images)}
    observers = np.full((len(points.xyz), OBSERVERS), -1, dtype=np.int32)
    for k, ids in enumerate(points.image_ids):
        track = sorted({row[i] for i in ids.tolist() if i in row})
        if len(track) > OBSERVERS:
            track = [track[i] for i in np.linspace(0, len(track) - 1, OBSERVERS).astype(int)]
        observers[k, : len(track)] = track
    length = np.array([len(ids) for ids in points.image_ids], dtype=np.int32)
    return Cloud(points.xyz, points.error, length, observers)


def to_scene(path: Path, camera: Camera, images: list[Image], world: World, masks: Sequence[str]) -> Scene:
    """The scene without its region: that of radius 0."""
    fx, fy, cx, cy = camera.params.tolist()
    names = [image.name for image in images]
    mask_of = {Path(mask).stem: mask for mask in masks}
    return Scene(
        path=path,
        names=names,
        width=camera.width,
        height=camera.height,
        focal=(fx, fy),
        principal=(cx, cy),
        distortion=[],
        world_from_cam=world.move_poses(np.stack([image.world_from_cam for image in images])),
        center=np.zeros(3),
        radius=0.0,
        box=None,
        applied_transform=world.rotation,
        applied_scale=world.scale,
        units=world.units,
        masks=[mask_of.get(Path(name).stem) for name in names],
    )
