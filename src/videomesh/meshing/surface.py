"""What happens to a mesh after marching cubes: cut to the region, cleaned of what is not the subject, and measured.

Torch only, on the mesh's own device. Vertices are (V, 3) float64, faces (F, 3) int64, counterclockwise from outside.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Sequence

import torch
from torch import Tensor

from videomesh.meshing.sparse_mesh import Mesh
from videomesh.scene import OUTSIDE, UNKNOWN


class Views(NamedTuple):
    """The photographs' poses, one row each, in the mesh's frame, and their one pinhole camera, in pixels."""

    cam_from_unit: Tensor  # (N, 3, 4); camera axes as OpenCV's: x right, y down, z forward
    focal: tuple[float, float]
    principal: tuple[float, float]
    size: tuple[int, int]  # width, height


class Topology(NamedTuple):
    components: int
    largest_share: float  # of the area
    open_edges: int  # edges of one face only
    euler_number: int  # vertices - edges + faces


# --------------------------------------------------------------------------------------------------------- cutting


def keep_faces(mesh: Mesh, keep: Tensor | slice) -> tuple[Mesh, Tensor]:
    """The faces of a mask (F,) and the vertices they use, and the mask (V,) of the latter."""
    faces = mesh.faces[keep]
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=faces.device)
    used[faces.reshape(-1)] = True
    return Mesh(mesh.vertices[used], (used.cumsum(0) - 1)[faces]), used


def crop_to_ball(mesh: Mesh, radius: float) -> Mesh:
    """The part within a ball about the origin."""
    return cut(mesh, mesh.vertices[:, :3].norm(dim=-1) - radius)


def cut(mesh: Mesh, distance: Tensor) -> Mesh:
    """The part whose vertices have a distance (V,) below 0. Faces across 0 are cut there, so that the rim is smooth.

    What vertices hold beyond their three coordinates (colours) is interpolated with them.
    """
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
    on_rim = mesh.vertices[low] + share * (mesh.vertices[high] - mesh.vertices[low])
    ab, ac, pq, pr = (number + total).split([len(a), len(a), len(p), len(p)])
    faces = [mesh.faces[count == 3]]
    faces += [torch.stack(corners, -1) for corners in ((a, ab, ac), (pq, q, r), (pq, r, pr))]
    return keep_faces(Mesh(torch.cat([mesh.vertices, on_rim]), torch.cat(faces)), slice(None))[0]


def _roll(faces: Tensor, first: Tensor) -> Tensor:
    """Each face's corners, starting from its corner number `first`."""
    turn = torch.arange(3, device=faces.device)
    return faces.gather(1, (first[:, None] + turn) % 3)


# -------------------------------------------------------------------------------------------------------- measuring


def face_areas(mesh: Mesh) -> Tensor:
    return face_normals(mesh).norm(dim=-1) / 2


def vertex_normals(mesh: Mesh) -> Tensor:
    """(V, 3) unit vectors: the mean of the faces' normals, weighted by area."""
    faces = face_normals(mesh)
    normals = torch.zeros_like(mesh.vertices)
    for corner in range(3):
        normals.index_add_(0, mesh.faces[:, corner], faces)
    return torch.nn.functional.normalize(normals, dim=-1)


def face_normals(mesh: Mesh) -> Tensor:
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


def large_components(mesh: Mesh, min_share: float) -> tuple[Tensor, int]:
    """Mask of the faces (F,) in components with an area of at least `min_share` of the largest one's, and the number of
    all components."""
    label, area = _component_areas(mesh)
    return (area >= min_share * area.max())[label], len(area)


def _component_areas(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """The component of each face (F,), and the components' areas (C,)."""
    label = components(mesh)[mesh.faces[:, 0]]
    return label, torch.bincount(label, face_areas(mesh))


def edges_of(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """The edges (E, 2), lower vertex first, and the number of faces (E,) that use each."""
    ends = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]).sort(-1).values
    total = len(mesh.vertices)
    key, uses = torch.unique(ends[:, 0] * total + ends[:, 1], return_counts=True)
    return torch.stack([key // total, key % total], -1), uses


def topology(mesh: Mesh) -> Topology:
    _, area = _component_areas(mesh)
    edges, uses = edges_of(mesh)
    return Topology(
        components=len(area),
        largest_share=float(area.max() / area.sum()),
        open_edges=int((uses == 1).sum()),
        euler_number=len(mesh.vertices) - len(edges) + len(mesh.faces),
    )


# ------------------------------------------------------------------------------------------------------- photographs

# A surface has vertices at most a voxel apart. A square with sides of sqrt(2) voxels, turned in any way, then holds
# one, so that a depth image with pixels this large, in voxels, has no holes to look through.
PIXEL = 1.5
DEPTH = 4.0  # voxels that a vertex may lie behind another of its pixel; a slanted surface is that deep within a pixel
NEAR = 0.05  # share of the vertices that may be nearer than the depth image is made for
SAMPLE = 16  # every 16th vertex tells well enough where that is
UNSURE = 1e-3  # weight of the colour of a vertex close to an outline: taken only where nothing better is


def observe(
    mesh: Mesh, views: Views, images: Sequence[Tensor], shows: Sequence[Tensor], voxel: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the photographs show of each vertex: by how many it is seen from outside (V,) int64, its mean RGB (V, 3) in
    0..1, that mean's total weight (V,), 0 where no photograph helps, and how far the photographs are from the mean
    (V,) in 0..1: their standard deviation.

    images: (height, width, 3) uint8 each. shows: (height, width) bool each, which pixels count. The weight of a
    photograph is the squared cosine between the viewing direction and the surface's normal: slanted views are blurred.
    On the demo this came nearer to held-out photographs than the learnt colours did (26.4 against 25.9 dB), whatever
    viewing direction the latter were asked for.

    A surface that shows only its back was not made from what the photographs show (rays enter a solid from outside),
    so it does not count as seen.
    """
    vertices, normals = mesh.vertices.float(), vertex_normals(mesh).float()
    columns = vertices.T.contiguous()
    origin_above_face = -(vertices * normals).sum(-1)
    seen = torch.zeros(len(vertices), dtype=torch.int64, device=vertices.device)
    colour, weight = torch.zeros_like(vertices), torch.zeros_like(origin_above_face)
    square = torch.zeros_like(weight)  # mean of the channels
    for matrix, image, counts in zip(views.cam_from_unit.to(vertices), images, shows):
        camera = -matrix[:, :3].T @ matrix[:, 3]
        above_face = normals @ camera + origin_above_face  # distance of the camera from the face's plane
        x, y, depth = project(columns, matrix, views)
        visible, clear = _visible(x, y, depth, above_face > 0, views, voxel)
        counted = counts.to(vertices.device)[y[visible].long(), x[visible].long()]
        visible, clear = visible[counted], clear[counted]
        cosine = above_face[visible] / (camera - vertices[visible]).norm(dim=-1)
        share = cosine.square() * torch.where(clear, 1.0, UNSURE)
        seen[visible] += 1
        shown = _sample(image.to(vertices.device), x[visible], y[visible])
        colour[visible] += share[:, None] * shown
        square[visible] += share * shown.square().mean(-1)
        weight[visible] += share
    total = weight.clamp(min=1e-12)
    colour = colour / total[:, None]
    spread = (square / total - colour.square().mean(-1)).clamp(min=0).sqrt()
    return seen, colour, weight, spread


def count_outside(vertices: Tensor, views: Views, masks: Sequence[Tensor], tolerance: int) -> tuple[Tensor, Tensor]:
    """How many of the views show the places of vertices (V, 3), and how many of these outside of the subject (V,).

    masks: of each view (height, width) uint8, values as in masks.tar. What is unknown does not count. What is within
    `tolerance` pixels of anything else than the outside is not outside.
    """
    columns = vertices.float().T.contiguous()
    shown = torch.zeros(len(vertices), dtype=torch.int64, device=vertices.device)
    outside = torch.zeros_like(shown)
    width = views.size[0]
    for matrix, mask in zip(views.cam_from_unit.to(columns), masks):
        x, y, depth = project(columns, matrix, views)
        within = is_within(x, y, depth, views).nonzero()[:, 0]
        pixel = y[within].long() * width + x[within].long()
        mask = mask.to(vertices.device)
        other = (mask != OUTSIDE).float()[None, None]
        other = torch.nn.functional.max_pool2d(other, 2 * tolerance + 1, stride=1, padding=tolerance)
        shown[within] += (mask.view(-1) != UNKNOWN)[pixel]
        outside[within] += (other.view(-1) == 0)[pixel]
    return shown, outside


def project(vertices: Tensor, cam_from_unit: Tensor, views: Views) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel positions x and y (V,) and depths (V,) of vertices (3, V)."""
    x, y, depth = cam_from_unit[:, :3] @ vertices + cam_from_unit[:, 3:]
    return x / depth * views.focal[0] + views.principal[0], y / depth * views.focal[1] + views.principal[1], depth


def _visible(x: Tensor, y: Tensor, depth: Tensor, facing: Tensor, views: Views, voxel: float) -> tuple[Tensor, Tensor]:
    """The numbers (N,) of those `facing` vertices that a view shows in front of all others, and which of them are clear
    of any outline (N,).

    The vertices themselves are the depth image. Errors are to the side of showing: within a pixel of an outline, what
    is hidden counts as shown. Clear is what lies behind none of the vertices in the pixels around it.
    """
    within = is_within(x, y, depth, views)
    image = draw_depth(x, y, depth, within, views, voxel)
    pixel = image.get_pixel(x, y, within)
    nearest = -largest_around(-image.depth, image)
    image.depth[image.depth.isinf()] = 0  # background lends no depth to the pixels beside it
    farthest = largest_around(image.depth, image)
    visible = (within & facing & (depth <= farthest[pixel] + DEPTH * voxel)).nonzero()[:, 0]
    return visible, depth[visible] <= nearest[pixel[visible]] + DEPTH * voxel


def is_within(x: Tensor, y: Tensor, depth: Tensor, views: Views) -> Tensor:
    width, height = views.size
    return (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)


class DepthImage(NamedTuple):
    """The nearest vertex in each pixel of a smaller photograph."""

    depth: Tensor  # (rows * columns + 1,), inf where there is none; the last element is for what no pixel shows
    rows: int
    columns: int
    shrink: float  # its pixels in one of the photograph's

    def get_pixel(self, x: Tensor, y: Tensor, within: Tensor) -> Tensor:
        """Numbers of its pixels at positions in the photograph."""
        pixel = (y * self.shrink).long() * self.columns + (x * self.shrink).long()
        return torch.where(within, pixel, self.rows * self.columns)


def draw_depth(x: Tensor, y: Tensor, depth: Tensor, within: Tensor, views: Views, voxel: float) -> DepthImage:
    """Of vertices at most a voxel apart: pixels are so large that a surface has no holes to look through."""
    width, height = views.size
    sample = depth[::SAMPLE][within[::SAMPLE]]
    near = float(sample.quantile(NEAR)) if len(sample) else 0.0
    shrink = min(1.0, near / (max(views.focal) * PIXEL * voxel))
    rows, columns = int(height * shrink) + 1, int(width * shrink) + 1
    image = DepthImage(torch.full((rows * columns + 1,), math.inf, device=depth.device), rows, columns, shrink)
    image.depth.scatter_reduce_(0, image.get_pixel(x, y, within), depth, "amin")
    return image


def largest_around(values: Tensor, image: DepthImage) -> Tensor:
    """The largest value of the 3 x 3 pixels round each of a depth image's."""
    square = values[:-1].view(1, 1, image.rows, image.columns)
    largest = torch.nn.functional.max_pool2d(square, 3, stride=1, padding=1)
    return torch.cat([largest.view(-1), values[-1:]])


def _sample(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """RGB (N, 3) in 0..1 of an image (H, W, 3) uint8 at pixel positions, interpolated; pixel centres lie at .5."""
    height, width = image.shape[:2]
    positions = torch.stack([x / width * 2 - 1, y / height * 2 - 1], -1)
    colours = torch.nn.functional.grid_sample(
        image.permute(2, 0, 1)[None].float(), positions[None, None], padding_mode="border", align_corners=False
    )
    return colours[0, :, 0].T / 255
