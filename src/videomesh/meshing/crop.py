"""What the mesh keeps: the subject with its ground round it, a box, a sphere, or all that was learnt.

Lengths are in the frame of the region's unit sphere, as those of the mesh.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from videomesh.errors import UserError
from videomesh.meshing import surface
from videomesh.meshing.sparse_mesh import Mesh
from videomesh.scene import Scene, read_crop

METHODS = ("auto", "none", "box", "sphere")
EDGE = 0.98  # share of the region's radius beyond which a mesh is the edge of what was learnt
BASE = 1.1  # how much larger the base is than the footprint of the subject
RIM = 4  # voxels that the base is larger at least, and that count as ground above its plane
SPECK = 0.01  # share of the largest piece's area; smaller pieces do not make the base larger


class Crop(NamedTuple):
    """How to cut, in the unit sphere's frame, and the same in the world's units for mesh.json."""

    method: str
    center: Tensor | None  # (3,) of the sphere, or of what the region stage takes for the subject
    radius: float
    box: (
        tuple[Tensor, Tensor, Tensor] | None
    )  # centre and half the size (3,), rotation (3, 3) from the box to the world
    plane: tuple[Tensor, Tensor, float] | None  # point and normal (3,) of the ground, and its thickness
    words: dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--crop", choices=METHODS, required=True, help="what to keep: auto needs --region, sphere and box the options "
        "below")  # fmt: skip
    add("--region", type=Path, help="region.json of the region stage")
    add("--crop-center", default="", help="X,Y,Z in the world; write --crop-center=X,Y,Z for the minus signs")
    add("--crop-radius", type=float, default=0.0)
    add("--crop-box", default="", help="[[xmin, xmax], [ymin, ymax], [zmin, zmax]] in the world, or "
        "{center: [x, y, z], size: [x, y, z], rotation: [9 numbers row by row, box to world]}, as JSON")  # fmt: skip


def read(args: argparse.Namespace, scene: Scene) -> Crop:
    """The crop of the arguments. The configuration has checked their values."""

    def to_unit(point: Any) -> Tensor:
        return torch.tensor((np.array(point, float) - scene.center) / scene.radius)

    nothing = Crop(args.crop, None, 0.0, None, None, {"method": args.crop})
    if args.crop == "sphere":
        center = [float(part) for part in args.crop_center.split(",")]
        words = {"method": "sphere", "center": center, "radius": args.crop_radius}
        return nothing._replace(center=to_unit(center), radius=args.crop_radius / scene.radius, words=words)
    if args.crop == "box":
        box = json.loads(args.crop_box)
        words = {"method": "box", **(box if isinstance(box, dict) else {"box": box})}
        middle, size, rotation = get_box(box)
        half = torch.tensor(size / 2 / scene.radius)
        return nothing._replace(box=(to_unit(middle), half, torch.tensor(rotation)), words=words)
    if args.crop == "auto" and args.region:
        found = read_crop(args.region)
        if found.plane is not None:
            point, normal, thickness = found.plane
            plane = (to_unit(point), torch.tensor(normal), thickness / scene.radius)
            return nothing._replace(center=to_unit(found.center), radius=found.radius / scene.radius, plane=plane)
    return nothing


def get_box(box: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, size (3,) and rotation (3, 3), from the box to the world, of either form of --crop-box."""
    if isinstance(box, dict):
        return (
            np.array(box["center"], float),
            np.array(box["size"], float),
            np.array(box["rotation"], float).reshape(3, 3),
        )
    low, high = np.array(box, float).T
    return (low + high) / 2, high - low, np.eye(3)


def apply(mesh: Mesh, crop: Crop, voxel: float) -> tuple[Mesh, float]:
    """What the crop keeps of a mesh, whose vertices may hold more than coordinates, and the share of the area cut off.

    Raises UserError if nothing is left.
    """
    distance = get_distance(mesh, crop, voxel)
    if distance is None:
        return mesh, 0.0
    area = float(surface.face_areas(bare(mesh)).sum())
    kept = surface.cut(mesh, distance)
    if not len(kept.faces):
        raise UserError(
            f"crop.method {crop.method}: nothing of the mesh lies in {json.dumps(crop.words)}. Its numbers are in the "
            "world of transforms.json; look at region.png, or set crop.method to none"
        )
    return kept, max(0.0, 1 - float(surface.face_areas(bare(kept)).sum()) / area)


def bare(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices[:, :3], mesh.faces)


def get_distance(mesh: Mesh, crop: Crop, voxel: float) -> Tensor | None:
    """(V,) how far each vertex is outside of what is kept, negative inside; None if all is kept."""
    points = mesh.vertices[:, :3]
    if crop.method == "sphere" and crop.center is not None:
        return (points - crop.center.to(points)).norm(dim=-1) - crop.radius
    if crop.method == "box" and crop.box is not None:
        center, half, rotation = (part.to(points) for part in crop.box)
        return (((points - center) @ rotation).abs() - half).amax(-1)  # along the axes of the box
    if crop.plane is not None:
        return get_distance_from_base(bare(mesh), crop, voxel)
    return None


def get_distance_from_base(mesh: Mesh, crop: Crop, voxel: float) -> Tensor | None:
    """The subject is what stands on the ground in the middle; the base is a disc of the ground below it.

    So the cut goes through the ground alone, and what stands by itself farther out goes.
    """
    assert crop.plane is not None and crop.center is not None
    points = mesh.vertices
    origin, normal, thickness = (part.to(points) if isinstance(part, Tensor) else part for part in crop.plane)
    above = (points - origin) @ normal > max(thickness, RIM * voxel)
    standing = above[mesh.faces].all(-1)
    if not bool(standing.any()):
        return None
    parts, _ = surface.keep_faces(mesh, standing)
    label = surface.components(parts)[parts.faces[:, 0]]
    area = surface.face_areas(parts)
    middle = parts.vertices[parts.faces].mean(1)
    near = (middle - crop.center.to(points)).norm(dim=-1) < crop.radius
    total, within = torch.bincount(label, area), torch.bincount(label, area * near)
    kept = (within >= 0.5 * total) & (within >= SPECK * within.max())
    if not bool(kept.any()):
        return None
    subject = torch.unique(parts.faces[kept[label]])
    level = parts.vertices[subject] - origin
    level = level - (level @ normal)[:, None] * normal
    center, radius = enclosing_circle(level)
    offset = points - origin
    offset = offset - (offset @ normal)[:, None] * normal - center
    return offset.norm(dim=-1) - max(BASE * radius, radius + RIM * voxel)


def enclosing_circle(points: Tensor, iterations: int = 300) -> tuple[Tensor, float]:
    """Centre and radius of a ball round all points, nearly the smallest (Badoiu and Clarkson 2003: steps of 1/i)."""
    center = points.mean(0)
    for i in range(iterations):
        farthest = points[(points - center).square().sum(-1).argmax()]
        center = center + (farthest - center) / (i + 2)
    return center, float((points - center).norm(dim=-1).max())
