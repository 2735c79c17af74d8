"""How far a surface moved and turned between two times in its training: a quick mesh now against the one before."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from videomesh.meshing import surface
from videomesh.meshing.extract import PREVIEW_RESOLUTION, Field, extract_preview

POINTS = 4000  # of each surface that are compared, spread over all of it
CHUNK = 256  # of them at once: against 100,000 others, 100 MB
VOXEL = 2 / PREVIEW_RESOLUTION
REACH = 2 * VOXEL  # a point with no other surface nearer than this has no counterpart
FAR = 0.1  # of the radius: what a point without a counterpart counts as, at most


class Snapshot(NamedTuple):
    """A quick mesh: points (N, 3) in the unit sphere's frame and its unit normals (N, 3), float32."""

    points: Tensor
    normals: Tensor


class Change(NamedTuple):
    moved: float  # mean distance, in units of the region's radius
    turned: float  # mean angle between the normals, degrees


def take(field: Field, device: torch.device) -> Snapshot:
    """The surface at low resolution; it may be empty. Raises UserError if distances are not finite."""
    mesh = extract_preview(field, device)
    return Snapshot(mesh.vertices.float(), surface.vertex_normals(mesh).float())


def compare(before: Snapshot, now: Snapshot) -> Change:
    """Both ways, so that what appears counts as what disappears."""
    if not len(before.points) or not len(now.points):
        same = len(before.points) == len(now.points)
        return Change(0.0, 0.0) if same else Change(FAR, 180.0)
    moved, turned = zip(_compare_one_way(before, now), _compare_one_way(now, before))
    return Change(sum(moved) / 2, sum(turned) / 2)


def _compare_one_way(one: Snapshot, other: Snapshot) -> tuple[float, float]:
    """Mean distance of the points of one surface to the other's planes at the nearest points, and mean angle."""
    count = min(POINTS, len(one.points))
    rows = torch.arange(count, device=one.points.device) * len(one.points) // count
    distances, cosines = [], []
    for part in rows.split(CHUNK):
        points, normals = one.points[part], one.normals[part]
        apart, nearest = torch.cdist(points, other.points).min(1)
        plane = ((points - other.points[nearest]) * other.normals[nearest]).sum(-1).abs()
        distances.append(torch.where(apart < REACH, plane, apart.clamp(max=FAR)))
        cosines.append((normals * other.normals[nearest]).sum(-1))
    angles = torch.rad2deg(torch.acos(torch.cat(cosines).clamp(-1, 1)))
    return float(torch.cat(distances).mean()), float(angles.mean())
