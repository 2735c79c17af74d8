"""Posed images, decoded one at a time and kept at training size, in the frame of the region's unit sphere."""

from __future__ import annotations

import hashlib
import json
import math
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from videomesh.errors import UserError

BOX = 4  # Image.Resampling.BOX, Image.BOX before Pillow 9.1: each new pixel is the mean of those it covers
MIN_FRAMES = 4
HELD_OUT_EVERY, HELD_OUT_FIRST = 8, 4  # frames 4, 12, 20, ... teach nothing and measure the PSNR
MIN_TRACK, MAX_ERROR = 3, 1.5  # of a triangulated point that may teach: images, px
SMALLEST_NEAR = 0.02  # where rays of a camera inside the region begin


@dataclass(frozen=True)
class Dataset:
    """All that training reads. Lengths are in units of the region's radius, axes of cameras as OpenCV's."""

    images: Tensor  # (n, height, width, 3) uint8
    poses: Tensor  # (n, 3, 4) camera to region
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


def region_span(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depths (N,) where rays enter and leave the unit sphere, whether they do, and the depth nearest to its centre."""
    closest = -(origins * directions).sum(-1)
    discriminant = closest * closest - ((origins * origins).sum(-1) - 1)
    half = discriminant.clamp(min=1e-6).sqrt()
    near, far = (closest - half).clamp(min=SMALLEST_NEAR), closest + half
    return near, far, (discriminant > 1e-4) & (far > near + 1e-3), closest


def load(
    transforms_path: Path, images_path: Path, points_path: Path | None, image_size: int, device: torch.device
) -> Dataset:
    """Read a scene. Raises UserError naming the file and frame on anything missing, broken or contradictory."""
    scene = read_transforms(transforms_path)
    frames, width, height = scene["frames"], scene["w"], scene["h"]
    scale = min(1.0, image_size / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    names = [frame["file_path"] for frame in frames]
    images = read_images(images_path, names, (width, height), size, transforms_path)
    center, radius = np.array(scene["sphere_center"], float), float(scene["sphere_radius"])
    poses = np.array([frame["transform_matrix"] for frame in frames], float)[:, :3]
    poses[:, :, 1:3] *= -1  # OpenGL's y and z axes to OpenCV's
    poses[:, :, 3] = (poses[:, :, 3] - center) / radius
    points, observers = _read_points(points_path, center, radius, len(frames))
    held_out = list(range(HELD_OUT_FIRST, len(frames), HELD_OUT_EVERY))
    fx, fy = size[0] / width, size[1] / height
    facts = json.dumps([names, poses.tolist(), center.tolist(), radius, size], sort_keys=True)
    dataset = Dataset(
        images=images.to(device),
        poses=torch.tensor(poses, dtype=torch.float32, device=device),
        focal=(scene["fl_x"] * fx, scene["fl_y"] * fy),
        principal=(scene["cx"] * fx, scene["cy"] * fy),
        training=[index for index in range(len(frames)) if index not in held_out],
        held_out=held_out,
        inside=torch.empty(0),
        outside=torch.empty(0),
        points=points.to(device),
        observers=observers.to(device),
        center=torch.tensor(center),
        radius=radius,
        fingerprint=hashlib.sha256(facts.encode()).hexdigest(),
    )
    inside, outside = _split_pixels(dataset)
    if not len(inside):
        raise UserError(
            f"{transforms_path}: no pixel of any frame looks into the region (sphere_center {center.tolist()}, "
            f"sphere_radius {radius:g}); set region.center and region.radius to where the cameras look"
        )
    object.__setattr__(dataset, "inside", inside)
    object.__setattr__(dataset, "outside", outside)
    return dataset


def read_transforms(path: Path) -> dict[str, Any]:
    try:
        scene = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the region step writes it")
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})")
    needed = ["fl_x", "fl_y", "cx", "cy", "w", "h", "sphere_center", "sphere_radius", "frames"]
    missing = [key for key in needed if not isinstance(scene, dict) or key not in scene]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; run the region step again")
    frames = scene["frames"]
    if not isinstance(frames, list) or len(frames) < MIN_FRAMES:
        count = len(frames) if isinstance(frames, list) else 0
        raise UserError(f"{path}: {count} frames; a surface needs at least {MIN_FRAMES}, better 40 or more")
    numbers = {key: scene[key] for key in needed[:6]}
    numbers.update({"sphere_center": scene["sphere_center"], "sphere_radius": scene["sphere_radius"]})
    for key, value in numbers.items():
        if not _is_finite(value, (3,) if key == "sphere_center" else ()):
            raise UserError(f"{path}: {key} is {value!r}, not {'3 numbers' if key == 'sphere_center' else 'a number'}")
    for key in ("fl_x", "fl_y", "w", "h", "sphere_radius"):
        if scene[key] <= 0:
            raise UserError(f"{path}: {key} is {scene[key]}; it must be more than 0")
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise UserError(f"{path}: frame {index} has no file_path")
        if not _is_finite(frame.get("transform_matrix"), (4, 4)):
            raise UserError(
                f"{path}: frame {index} ({frame['file_path']}): transform_matrix is not 4 x 4 finite numbers"
            )
    return scene


def _is_finite(value: Any, shape: tuple[int, ...]) -> bool:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return False
    return array.shape == shape and array.dtype.kind in "iuf" and bool(np.isfinite(array).all())


def read_images(
    path: Path, names: list[str], stored: tuple[int, int], size: tuple[int, int], transforms_path: Path
) -> Tensor:
    """All frames (n, height, width, 3) uint8, averaged down from `stored` to `size` (width, height)."""
    images = torch.empty(len(names), size[1], size[0], 3, dtype=torch.uint8)
    try:
        with tarfile.open(path, "r:") as tar:
            members = {Path(member.name).name: member for member in tar if member.isfile()}
            missing = [name for name in names if Path(name).name not in members]
            if missing:
                listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
                raise UserError(
                    f"{path}: lacks {len(missing)} of the {len(names)} frames of {transforms_path}: {listed}; "
                    "both must come from the same run of the poses step"
                )
            for index, name in enumerate(names):
                file = tar.extractfile(members[Path(name).name])
                images[index] = torch.from_numpy(_decode(file, f"{path}, frame {name}", stored, size, transforms_path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the poses step writes it")
    except tarfile.TarError as error:
        raise UserError(f"{path}: not a readable tar archive ({str(error).splitlines()[0]}); run the poses step again")
    return images


def _decode(file: Any, place: str, stored: tuple[int, int], size: tuple[int, int], transforms_path: Path) -> np.ndarray:
    try:
        opened = Image.open(file)
        if opened.size != stored:
            raise UserError(
                f"{place}: {opened.size[0]} x {opened.size[1]} px, but {transforms_path} says {stored[0]} x "
                f"{stored[1]} px; all frames must be of the one undistorted camera"
            )
        opened.draft("RGB", size)  # lets a JPEG decode at a fraction of its size, never below ours
        image = opened.convert("RGB")
        return np.array(image if image.size == size else image.resize(size, BOX))
    except UserError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others on broken images
        raise UserError(f"{place}: cannot be decoded ({error}); run the poses step again")


def _read_points(path: Path | None, center: np.ndarray, radius: float, frames: int) -> tuple[Tensor, Tensor]:
    """Well-triangulated points in the region (p, 3) float32 and their observers (p, k) int64."""
    if path is None:
        return torch.empty(0, 3), torch.empty(0, 1, dtype=torch.int64)
    try:
        with np.load(path) as arrays:
            xyz, errors, track, observers = (arrays[key] for key in ("xyz", "error", "track", "observers"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the region step writes it")
    except KeyError as error:
        raise UserError(f"{path}: lacks the array {error}; run the region step again")
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz file ({error}); run the region step again")
    count = len(xyz) if xyz.ndim else 0
    if [xyz.shape, errors.shape, track.shape, observers.shape[:1]] != [(count, 3), (count,), (count,), (count,)]:
        raise UserError(f"{path}: its arrays do not hold one row for each point; run the region step again")
    if observers.size and observers.max() >= frames:
        raise UserError(f"{path}: names frame {observers.max()} of {frames}; it belongs to another transforms.json")
    unit = (xyz - center) / radius
    good = (np.linalg.norm(unit, axis=1) < 1) & (errors < MAX_ERROR) & (track >= MIN_TRACK)
    return torch.tensor(unit[good], dtype=torch.float32), torch.tensor(observers[good], dtype=torch.int64)


def _split_pixels(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Pixels of the training frames whose rays cross the region, and those whose rays do not."""
    count = dataset.pixels_per_frame
    pixels = torch.arange(count, device=dataset.images.device)
    inside, outside = [], []
    for frame in dataset.training:
        hit = region_span(*dataset.rays(torch.full_like(pixels, frame), pixels))[2]
        inside.append((pixels[hit] + frame * count).int())
        outside.append((pixels[~hit] + frame * count).int())
    return torch.cat(inside), torch.cat(outside)


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of colours in 0..1."""
    return -10 * math.log10(max(squared_error, 1e-10))
