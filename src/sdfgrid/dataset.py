"""Posed images, decoded one at a time and kept at training size, in the frame of the grid.

That is the frame of the region's unit sphere, tilted by settings.tilt.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sdfgrid.settings import Settings
from videomesh.errors import UserError
from videomesh.scene import (
    OUTSIDE,
    SUBJECT,
    Scene,
    SparsePoints,
    find_masked,
    read_images,
    read_masks,
    read_points,
    read_scene,
)

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
    masks: Tensor  # (n, height, width) uint8, values as in masks.tar; (0, height, width) if no pixel is masked
    masked: Tensor  # (n,) bool: frames whose mask says what the subject is; (0,) if none does
    # int32 indices into the training frames' pixels (frame * height * width + pixel), of those of which something is
    # known. Masked frames show the subject without a background.
    inside: Tensor  # see the region, in masked frames the subject
    empty: Tensor  # see the region, and by their frame's mask nothing in it
    outside: Tensor  # miss the region, in frames that are not masked
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

    def with_all_frames(self) -> Dataset:
        """The same, with nothing held out."""
        return with_pixels(replace(self, training=list(range(len(self.images))), held_out=[]))

    def are_masked(self, frames: Tensor) -> Tensor:
        return self.masked[frames] if len(self.masked) else torch.zeros_like(frames, dtype=torch.bool)

    def look_up(self, frames: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Whether pixels (N,) of frames (N,) show what is to be learnt, and whether they show that nothing is there."""
        if not len(self.masks):
            return torch.ones_like(pixels, dtype=torch.bool), torch.zeros_like(pixels, dtype=torch.bool)
        values = self.masks.view(-1)[frames * self.pixels_per_frame + pixels]
        return values == SUBJECT, values == OUTSIDE


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
    transforms_path: Path,
    images_path: Path,
    points_path: Path,
    masks_path: Path,
    settings: Settings,
    device: torch.device,
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
    masks = read_masks(masks_path, scene, scene.names, size, pure=True)
    masked = find_masked(masks)
    if (masks == SUBJECT).all():
        masks = masks[:0]
    poses = scene.world_from_cam[:, :3].copy()
    poses[:, :, 3] = (poses[:, :, 3] - scene.center) / scene.radius
    poses = grid_from_region(settings.tilt) @ poses
    points, observers = choose_points(read_points(points_path, scene), scene, masks, masked, settings)
    held_out = list(range(settings.held_out_first, count, settings.held_out_every))
    across, down = size[0] / scene.width, size[1] / scene.height
    names = [f"images/{name}" for name in scene.names]  # as transforms.json has them
    facts = json.dumps([names, poses.tolist(), scene.center.tolist(), scene.radius, size]).encode()
    empty = torch.empty(0)
    dataset = Dataset(
        images=images.to(device),
        poses=torch.tensor(poses, dtype=torch.float32, device=device),
        focal=(scene.focal[0] * across, scene.focal[1] * down),
        principal=(scene.principal[0] * across, scene.principal[1] * down),
        training=[index for index in range(count) if index not in held_out],
        held_out=held_out,
        masks=torch.from_numpy(masks).to(device),
        masked=torch.from_numpy(masked if masked.any() else masked[:0]).to(device),
        inside=empty,
        empty=empty,
        outside=empty,
        points=points.to(device),
        observers=observers.to(device),
        center=torch.tensor(scene.center),
        radius=scene.radius,
        nearest=settings.nearest,
        fingerprint=hashlib.sha256(facts + masks.tobytes()).hexdigest(),
    )
    dataset = with_pixels(dataset)
    if not len(dataset.inside) and len(dataset.empty):
        raise UserError(
            f"{masks_path}: no mask has a pixel of the subject (255) that looks into the region (sphere_center "
            f"{scene.center.tolist()}, sphere_radius {scene.radius:g}). See that white is the subject, or set masks to "
            "ignore"
        )
    if not len(dataset.inside):
        raise UserError(
            f"{transforms_path}: no pixel of any frame looks into the region (sphere_center {scene.center.tolist()}, "
            f"sphere_radius {scene.radius:g}). Set region.center and region.radius to what the cameras show"
        )
    return dataset


def grid_from_region(tilt: float) -> np.ndarray:
    """Rotation (3, 3) by so many degrees about the horizontal diagonal: no axis of the world stays one of the grid."""
    cosine, sine = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    axis = np.array([1.0, 1.0, 0.0]) / math.sqrt(2)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + sine * cross + (1 - cosine) * cross @ cross  # Rodrigues' formula


def choose_points(
    points: SparsePoints, scene: Scene, masks: np.ndarray, masked: np.ndarray, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Well-triangulated points of the subject in the region (p, 3) float32 and their observers (p, k) int64."""
    unit = (points.xyz - scene.center) / scene.radius
    clear = (points.error < settings.max_error) & (points.track >= settings.min_track)
    good = (np.linalg.norm(unit, axis=1) < 1) & clear
    if masked.any():
        good &= find_subject_points(points, scene, masks, masked)
    unit = unit[good] @ grid_from_region(settings.tilt).T
    return torch.tensor(unit, dtype=torch.float32), torch.tensor(points.observers[good], dtype=torch.int64)


def find_subject_points(points: SparsePoints, scene: Scene, masks: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """(p,) bool: points that at most half of their observers' masks call outside of the subject."""
    rows, columns = np.nonzero(points.observers >= 0)
    frames = points.observers[rows, columns]
    rows, frames = rows[masked[frames]], frames[masked[frames]]
    poses = scene.world_from_cam[frames]
    x, y, depth = np.einsum("nji,nj->in", poses[:, :3, :3], points.xyz[rows] - poses[:, :3, 3])
    height, width = masks.shape[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (x / depth * scene.focal[0] + scene.principal[0]) / scene.width * width
        y = (y / depth * scene.focal[1] + scene.principal[1]) / scene.height * height
    shown = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows = rows[shown]
    values = masks[frames[shown], y[shown].astype(int), x[shown].astype(int)]
    outside, subject = (np.bincount(rows[values == value], minlength=len(points.xyz)) for value in (OUTSIDE, SUBJECT))
    return np.asarray(outside <= subject)


def with_pixels(dataset: Dataset) -> Dataset:
    """The same, with the lists of the training frames' pixels: inside, empty and outside."""
    count = dataset.pixels_per_frame
    pixels = torch.arange(count, device=dataset.images.device)
    inside: list[Tensor] = []
    empty: list[Tensor] = []
    outside: list[Tensor] = []
    for frame in dataset.training:
        hit = region_span(*dataset.rays(torch.full_like(pixels, frame), pixels), dataset.nearest)[2]
        shows, is_empty = dataset.look_up(torch.full_like(pixels, frame), pixels)
        missed = ~hit & shows & ~dataset.are_masked(torch.full_like(pixels, frame))
        for found, chosen in ((inside, hit & shows), (empty, hit & is_empty), (outside, missed)):
            found.append((pixels[chosen] + frame * count).int())
    return replace(dataset, inside=torch.cat(inside), empty=torch.cat(empty), outside=torch.cat(outside))


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of colours in 0..1."""
    return -10 * math.log10(max(squared_error, 1e-10))
