"""COLMAP's model and the frames, as the region needs them."""

from pathlib import Path
from typing import Any

import numpy as np

from videomesh.errors import UserError
from videomesh.files import read_json
from videomesh.poses.model import Camera, Image, Points, read_cameras, read_images, read_points
from videomesh.region.subject import Region
from videomesh.region.views import Cloud
from videomesh.scene import Scene

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
    """Entries of frames.json by name."""
    content = read_json(path)
    try:
        return {
            frame["name"]: {"video_frame": frame["video_frame"], "time": frame["time"]} for frame in content["frames"]
        }
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: not the frames.json of the frames stage ({error!r} is missing)")


def match_frames(images: list[Image], frames: dict[str, dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    unknown = [image.name for image in images if image.name not in frames]
    if unknown:
        raise UserError(
            f"{path}: has no frame {unknown[0]}, which has a pose ({len(unknown)} such frames). Frames and poses are "
            "of different runs; run the poses stage again"
        )
    return [frames[image.name] for image in images]


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


def to_scene(path: Path, camera: Camera, images: list[Image], region: Region) -> Scene:
    fx, fy, cx, cy = camera.params.tolist()
    return Scene(
        path=path,
        names=[image.name for image in images],
        width=camera.width,
        height=camera.height,
        focal=(fx, fy),
        principal=(cx, cy),
        distortion=[],
        world_from_cam=np.stack([image.world_from_cam for image in images]),
        center=region.center,
        radius=region.radius,
        box=region.aabb_range,
    )
