"""What happens to a mesh after marching cubes: cut to the region, cleaned of what is not the subject, and measured.

Torch only, on the mesh's own device. Vertices are (V, 3) float64, faces (F, 3) int64, counterclockwise from outside.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

import torch
from torch import Tensor

from sdfgrid.sparse_mesh import Mesh


class Views(NamedTuple):
    """The photographs' pinhole cameras, one row each, in the mesh's frame. Lengths of the image in pixels."""

    to_camera: Tensor  # (N, 3, 4) world to camera, OpenCV axes: x right, y down, z forward
    focal: Tuple[float, float]
    centre: Tuple[float, float]
    size: Tuple[int, int]  # width, height


class Topology(NamedTuple):
    components: int
    largest_share: float  # of the area
    open_edges: int  # edges of one face only
    euler_number: int  # vertices - edges + faces


# --------------------------------------------------------------------------------------------------------- cutting


def keep_faces(mesh: Mesh, keep: Tensor) -> Mesh:
    """The faces of a mask (F,), with the vertices they use."""
    faces = mesh.faces[keep]
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=faces.device)
    used[faces.reshape(-1)] = True
    return Mesh(mesh.vertices[used], (used.cumsum(0) - 1)[faces])


def crop_to_ball(mesh: Mesh, radius: float) -> Mesh:
    """The part within a ball about the origin. Faces across its surface are cut there, so that the rim is smooth."""
    distance = mesh.vertices.norm(dim=-1) - radius
    inside = (distance < 0)[mesh.faces]  # (F, 3)
    count = inside.sum(-1)
    # turn each cut face so that the corner that is alone on its side comes first
    one, two = mesh.faces[count == 1], mesh.faces[count == 2]
    a, b, c = _roll(one, inside[count == 1].int().argmax(-1)).unbind(-1)
    p, q, r = _roll(two, (~inside[count == 2]).int().argmax(-1)).unbind(-1)

    total = len(mesh.vertices)
    ends = torch.cat([torch.stack(pair, -1) for pair in ((a, b), (a, c), (p, q), (p, r))]).sort(-1).values
    key, number = torch.unique(ends[:, 0] * total + ends[:, 1], return_inverse=True)
    low, high = key // total, key % total
    share = (distance[low] / (distance[low] - distance[high]))[:, None]
    on_ball = mesh.vertices[low] + share * (mesh.vertices[high] - mesh.vertices[low])
    ab, ac, pq, pr = (number + total).split([len(a), len(a), len(p), len(p)])
    faces = [mesh.faces[count == 3]]
    faces += [torch.stack(corners, -1) for corners in ((a, ab, ac), (pq, q, r), (pq, r, pr))]
    cut = Mesh(torch.cat([mesh.vertices, on_ball]), torch.cat(faces))
    return keep_faces(cut, torch.ones(len(cut.faces), dtype=torch.bool, device=cut.faces.device))


def _roll(faces: Tensor, first: Tensor) -> Tensor:
    """Each face's corners, starting from its corner number `first`."""
    turn = torch.arange(3, device=faces.device)
    return faces.gather(1, (first[:, None] + turn) % 3)


# -------------------------------------------------------------------------------------------------------- measuring


def face_areas(mesh: Mesh) -> Tensor:
    return _face_normals(mesh).norm(dim=-1) / 2


def vertex_normals(mesh: Mesh) -> Tensor:
    """(V, 3) unit vectors: the mean of the faces' normals, weighted by area."""
    faces = _face_normals(mesh)
    normals = torch.zeros_like(mesh.vertices)
    for corner in range(3):
        normals.index_add_(0, mesh.faces[:, corner], faces)
    return torch.nn.functional.normalize(normals, dim=-1)


def _face_normals(mesh: Mesh) -> Tensor:
    """(F, 3): twice the area long."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return torch.cross(b - a, c - a, dim=-1)


def components(mesh: Mesh) -> Tensor:
    """(V,) labels 0, 1, ...: vertices joined by faces share one.

    Every vertex starts as its own root. Along each edge the higher root is hung below the lower one, then pointers
    jump until all point at roots (Shiloach & Vishkin 1982), until no edge joins two roots.
    """
    parent = torch.arange(len(mesh.vertices), device=mesh.faces.device)
    one, other = mesh.faces[:, :2].reshape(-1), mesh.faces[:, 1:].reshape(-1)
    while len(one):
        one, other = parent[one], parent[other]
        apart = one != other
        one, other = one[apart], other[apart]
        parent.scatter_reduce_(0, torch.maximum(one, other), torch.minimum(one, other), "amin")
        while not torch.equal(jumped := parent[parent], parent):
            parent = jumped
    return torch.unique(parent, return_inverse=True)[1]


def drop_small_components(mesh: Mesh, min_share: float) -> Mesh:
    """Without the components whose area is under `min_share` of the largest one's."""
    if not len(mesh.faces):
        return mesh
    label, area = _component_areas(mesh)
    return keep_faces(mesh, (area >= min_share * area.max())[label])


def _component_areas(mesh: Mesh) -> Tuple[Tensor, Tensor]:
    """The component of each face (F,), and the components' areas (C,)."""
    label = components(mesh)[mesh.faces[:, 0]]
    return label, torch.bincount(label, face_areas(mesh))


def topology(mesh: Mesh) -> Topology:
    _, area = _component_areas(mesh)
    ends = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]).sort(-1).values
    edges, uses = torch.unique(ends[:, 0] * len(mesh.vertices) + ends[:, 1], return_counts=True)
    return Topology(
        components=len(area),
        largest_share=float(area.max() / area.sum()),
        open_edges=int((uses == 1).sum()),
        euler_number=len(mesh.vertices) - len(edges) + len(mesh.faces),
    )


# ------------------------------------------------------------------------------------------------------- visibility


def project(vertices: Tensor, views: Views, number: int) -> Tuple[Tensor, Tensor]:
    """Pixel positions (V, 2) in a view and depths (V,)."""
    matrix = views.to_camera[number].to(vertices)
    local = vertices @ matrix[:, :3].T + matrix[:, 3]
    depth = local[:, 2]
    scale = vertices.new_tensor(views.focal)
    return local[:, :2] / depth[:, None] * scale + vertices.new_tensor(views.centre), depth


def visible(pixel: Tensor, depth: Tensor, views: Views, spacing: float) -> Tensor:
    """(V,) bool: the vertices that a view shows, in front of all others.

    The vertices themselves are the depth image: its pixels are wide enough that a surface with vertices `spacing`
    apart leaves no holes in it. A vertex may lie behind the nearest one of its own pixel, as far as those of the
    pixels around it, since a slanted surface is deep within one pixel. So errors are to the side of keeping:
    within a pixel of an outline, hidden vertices count as seen.
    """
    width, height = views.size
    shown = (depth > 0) & (pixel >= 0).all(-1) & (pixel < pixel.new_tensor([width, height])).all(-1)
    if not bool(shown.any()):
        return shown
    near = float(depth[shown][::SAMPLE].quantile(NEAR))
    shrink = min(1.0, near / (max(views.focal) * PIXEL * spacing))
    columns, rows = int(width * shrink) + 1, int(height * shrink) + 1
    cell = (pixel[shown] * shrink).long()
    cell = cell[:, 1] * columns + cell[:, 0]
    image = torch.full((rows * columns,), float("inf"), dtype=depth.dtype, device=depth.device)
    image.scatter_reduce_(0, cell, depth[shown], "amin")
    image[image.isinf()] = 0  # background lends no depth to the pixels beside it
    around = torch.nn.functional.max_pool2d(image.view(1, 1, rows, columns), 3, stride=1, padding=1).view(-1)
    seen = shown.clone()
    seen[shown] = depth[shown] <= around[cell] + DEPTH * spacing
    return seen


SAMPLE = 16  # every 16th vertex is enough to know how near the surface comes
NEAR = 0.05  # share of vertices allowed to be nearer than the depth image is made for
PIXEL = 2.0  # of the depth image, in spacings
DEPTH = 2.0  # tolerance in spacings
