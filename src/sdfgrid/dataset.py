"""Posed images, decoded one at a time and kept at training size, in the frame of the grid.

That is the frame of the region's unit sphere, tilted by settings.tilt.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sdfgrid.settings import Settings
from videomesh.errors import UserError
from videomesh.scene import Scene, SparsePoints, read_images, read_points, read_scene

MIN_FRAMES = 4


@dataclass(frozen=True)
class Dataset:
    """All that training reads. Lengths are in units of the region's radius, axes of cameras as OpenCV's."""

    images: Tensor  # (n, height, width, 3) uint8
    poses: Tensor  # (n, 3, 4) camera to grid
    focal: tuple[float, float]  # px at training size
    principal: tuple[float, float]
    training: list[int]  # indices of frames
    held_out: list[int]
    inside: (
        Tensor  # int32 indices into the training frames' pixels (frame * height * width + pixel) that see the region
    )
    outside: Tensor  # the other pixels
    points: Tensor  # (p, 3) triangulated points in the region; p may be 0
    observers: Tensor  # (p, k) int64 indices of frames that see the point, -1: none
    center: Tensor  # (3,) float64, world
    radius: float  # world
    nearest: float  # where the rays of a camera inside the region begin
    fingerprint: str  # of frames, poses, region and training size: a resumed run must see the same

    @property
    def pixels_per_frame(self) -> int:
        return self.images.shape[1] * self.images.shape[2]

    def rays(self, frames: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Origins and unit directions (N, 3) through the centres of pixels (N,) of frames (N,)."""
        width = self.images.shape[2]
        x = (pixels % width + 0.5 - self.principal[0]) / self.focal[0]
        y = (torch.div(pixels, width, rounding_mode="floor") + 0.5 - self.principal[1]) / self.focal[1]
        poses = self.poses[frames]
        directions = (poses[:, :, :3] @ torch.stack([x, y, torch.ones_like(x)], -1)[..., None])[..., 0]
        return poses[:, :, 3], F.normalize(directions, dim=-1)

    def colours(self, frames: Tensor, pixels: Tensor) -> Tensor:
        """RGB (N, 3) in 0..1."""
        return self.images.view(-1, 3)[frames * self.pixels_per_frame + pixels].float() / 255


def region_span(origins: Tensor, directions: Tensor, nearest: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depths (N,) where rays enter and leave the unit sphere, whether they do, and the depth nearest to its centre.

    Rays that begin inside enter at the depth `nearest`.
    """
    closest = -(origins * directions).sum(-1)
    discriminant = closest * closest - ((origins * origins).sum(-1) - 1)
    half = discriminant.clamp(min=1e-6).sqrt()
    near, far = (closest - half).clamp(min=nearest), closest + half
    return near, far, (discriminant > 1e-4) & (far > near + 1e-3), closest


def load(
    transforms_path: Path, images_path: Path, points_path: Path, settings: Settings, device: torch.device
) -> Dataset:
    """Read a scene. Raises UserError naming the file and frame on anything missing, broken or contradictory."""
    scene = read_scene(transforms_path)
    count = len(scene.names)
    if count < MIN_FRAMES:
        raise UserError(
            f"{transforms_path}: {count} frames are too few. A surface needs at least {MIN_FRAMES}, better 40 or more"
        )
    scale = min(1.0, settings.image_size / max(scene.width, scene.height))
    size = (max(1, round(scene.width * scale)), max(1, round(scene.height * scale)))
    images = torch.from_numpy(read_images(images_path, scene, scene.names, size))
    poses = scene.world_from_cam[:, :3].copy()
    poses[:, :, 3] = (poses[:, :, 3] - scene.center) / scene.radius
    poses = grid_from_region(settings.tilt) @ poses
    points, observers = choose_points(read_points(points_path, scene), scene, settings)
    held_out = list(range(settings.held_out_first, count, settings.held_out_every))
    across, down = size[0] / scene.width, size[1] / scene.height
    names = [f"images/{name}" for name in scene.names]  # as transforms.json has them
    facts = json.dumps([names, poses.tolist(), scene.center.tolist(), scene.radius, size])
    dataset = Dataset(
        images=images.to(device),
        poses=torch.tensor(poses, dtype=torch.float32, device=device),
        focal=(scene.focal[0] * across, scene.focal[1] * down),
        principal=(scene.principal[0] * across, scene.principal[1] * down),
        training=[index for index in range(count) if index not in held_out],
        held_out=held_out,
        inside=torch.empty(0),
        outside=torch.empty(0),
        points=points.to(device),
        observers=observers.to(device),
        center=torch.tensor(scene.center),
        radius=scene.radius,
        nearest=settings.nearest,
        fingerprint=hashlib.sha256(facts.encode()).hexdigest(),
    )
    inside, outside = _split_pixels(dataset)
    if not len(inside):
        raise UserError(
            f"{transforms_path}: no pixel of any frame looks into the region (sphere_center {scene.center.tolist()}, "
            f"sphere_radius {scene.radius:g}). Set region.center and region.radius to what the cameras show"
        )
    object.__setattr__(dataset, "inside", inside)
    object.__setattr__(dataset, "outside", outside)
    return dataset


def grid_from_region(tilt: float) -> np.ndarray:
    """Rotation (3, 3) by so many degrees about the horizontal diagonal: no axis of the world stays one of the grid."""
    cosine, sine = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    axis = np.array([1.0, 1.0, 0.0]) / math.sqrt(2)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + sine * cross + (1 - cosine) * cross @ cross  # Rodrigues' formula


def choose_points(points: SparsePoints, scene: Scene, settings: Settings) -> tuple[Tensor, Tensor]:
    """Well-triangulated points in the region (p, 3) float32 and their observers (p, k) int64."""
    unit = (points.xyz - scene.center) / scene.radius
    clear = (points.error < settings.max_error) & (points.track >= settings.min_track)
    good = (np.linalg.norm(unit, axis=1) < 1) & clear
    unit = unit[good] @ grid_from_region(settings.tilt).T
    return torch.tensor(unit, dtype=torch.float32), torch.tensor(points.observers[good], dtype=torch.int64)


def _split_pixels(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Pixels of the training frames whose rays cross the region, and those whose rays do not."""
    count = dataset.pixels_per_frame
    pixels = torch.arange(count, device=dataset.images.device)
    inside, outside = [], []
    for frame in dataset.training:
        hit = region_span(*dataset.rays(torch.full_like(pixels, frame), pixels), dataset.nearest)[2]
        inside.append((pixels[hit] + frame * count).int())
        outside.append((pixels[~hit] + frame * count).int())
    return torch.cat(inside), torch.cat(outside)


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of colours in 0..1."""
    return -10 * math.log10(max(squared_error, 1e-10))
