"""A made scene for tests: a textured ball before a coloured sky, ray-traced in NumPy."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REGION_CENTER = np.array([0.5, -1.0, 2.0])  # world
REGION_RADIUS = 2.0
BALL_RADIUS = 1.2  # world: 0.6 of the region's
CAMERA_DISTANCE = 6.0
SMALL: dict[str, Any] = {  # settings with which the built-in engine learns the ball in seconds
    "levels": [8, 16, 32],
    "level_starts": [0.0, 0.0, 0.3],
    "dense_up_to": 16,
    "background_levels": [4, 8],
    "rays": 256,
    "eikonal_points": 128,
    "bake_resolution": 32,
    "warmup_steps": 20,
}


def make_sphere_scene(folder: Path, views: int = 12, size: int = 64, turntable: bool = False) -> dict[str, Path]:
    """Write transforms.json, images.tar, points.npz and masks.tar of a ball of BALL_RADIUS at REGION_CENTER; return
    their paths.

    `views` square images of `size` px, from three rings of cameras that look at the ball. If the ball turns on a
    turntable, the background is the same in all images, and masks tell the ball from it. Else there are no masks.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    focal = 1.4 * size
    poses = [_pose(index, views) for index in range(views)]
    names = [f"{index * 3:06d}.jpg" for index in range(views)]
    with tarfile.open(folder / "images.tar", "w") as images, tarfile.open(folder / "masks.tar", "w") as masks:
        for name, pose in zip(names, poses, strict=True):
            photograph, shows = _photograph(pose, size, focal, turntable)
            _add(images, name, photograph, "JPEG")
            if turntable:
                _add(masks, f"{Path(name).stem}.png", shows, "PNG")
    transforms = {
        "fl_x": focal,
        "fl_y": focal,
        "cx": size / 2,
        "cy": size / 2,
        "w": size,
        "h": size,
        "sphere_center": REGION_CENTER.tolist(),
        "sphere_radius": REGION_RADIUS,
        "frames": [
            {
                "file_path": f"images/{name}",
                **({"mask_path": f"masks/{Path(name).stem}.png"} if turntable else {}),
                "transform_matrix": pose.tolist(),
                "video_frame": index * 3,
                "time": index / 10,
            }
            for index, (name, pose) in enumerate(zip(names, poses, strict=True))
        ],
    }
    (folder / "transforms.json").write_text(json.dumps(transforms))
    np.savez(folder / "points.npz", **_points(poses))
    return {name.split(".")[0]: folder / name for name in ("transforms.json", "images.tar", "points.npz", "masks.tar")}


def write_pictures(path: Path, pictures: dict[str, np.ndarray]) -> Path:
    """A tar of PNGs, as images.tar and masks.tar are."""
    with tarfile.open(path, "w") as tar:
        for name, pixels in pictures.items():
            _add(tar, name, pixels, "PNG")
    return path


def _add(tar: tarfile.TarFile, name: str, pixels: np.ndarray, form: str) -> None:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form, quality=95)
    member = tarfile.TarInfo(name)
    member.size = data.tell()
    data.seek(0)
    tar.addfile(member, data)


def _pose(index: int, views: int) -> np.ndarray:
    """Camera-to-world in OpenGL's axes (x right, y up, z backwards)."""
    azimuth, elevation = 2 * np.pi * index / views * 5, np.radians([-25, 15, 50])[index % 3]
    backwards = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.cross([0, 0, 1], backwards)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack(
        [right, np.cross(backwards, right), backwards, REGION_CENTER + CAMERA_DISTANCE * backwards], axis=1
    )
    return pose


def _photograph(pose: np.ndarray, size: int, focal: float, turntable: bool) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (size, size, 3), the mean of 2 x 2 rays a pixel, and the mask (size, size) of the ball."""
    ticks = (np.arange(2 * size) + 0.5) / 2
    x, y = np.meshgrid(ticks, ticks)
    rays = np.stack([(x - size / 2) / focal, -(y - size / 2) / focal, -np.ones_like(x)], -1)
    rays = rays @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    origin = pose[:3, 3] - REGION_CENTER
    b = rays @ origin
    discriminant = b * b - (origin @ origin - BALL_RADIUS**2)
    hit = discriminant > 0
    surface = origin + rays * (-b - np.sqrt(np.where(hit, discriminant, 0)))[..., None]
    if turntable:  # a wall that the camera does not move before
        background = 0.5 + 0.4 * np.sin(np.stack([x + 2 * y, 3 * x - y, x - 3 * y], -1) * 20 / size)
    else:
        background = 0.5 + 0.4 * rays * [1, 0.6, 0.3]
    colours = np.where(hit[..., None], _texture(surface / BALL_RADIUS), background)
    photograph = (255 * colours.reshape(size, 2, size, 2, 3).mean((1, 3))).round().astype(np.uint8)
    return photograph, np.where(hit.reshape(size, 2, size, 2).mean((1, 3)) >= 0.5, 255, 0).astype(np.uint8)


def _texture(unit: np.ndarray) -> np.ndarray:
    axes = np.array([[1, 0.4, 0.2], [0, 1, 0.5], [0.6, 0, 1]])
    waves = np.sin(9 * unit @ axes.T + [0, 1, 2])
    return 0.5 + 0.22 * waves + 0.2 * np.sin(17 * unit[..., 2:])


def _points(poses: list[np.ndarray]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(400, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    xyz = REGION_CENTER + BALL_RADIUS * unit
    observers = np.full((len(xyz), 12), -1, np.int32)
    for index, (point, normal) in enumerate(zip(xyz, unit, strict=True)):
        facing = [k for k, pose in enumerate(poses) if (pose[:3, 3] - point) @ normal > 1.0][:12]
        observers[index, : len(facing)] = facing
    track = (observers >= 0).sum(1)
    arrays = {"xyz": xyz, "error": np.full(len(xyz), 0.5), "track": track, "observers": observers}
    return {**arrays, "subject": np.ones(len(xyz), bool)}
