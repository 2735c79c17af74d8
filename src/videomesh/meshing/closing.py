"""A mesh with holes becomes a closed one: each hole gets a membrane that is spanned across its rim.

Torch only. Vertices may hold more than coordinates (colours): the membrane has the mean of what is round it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from videomesh.meshing.sparse_mesh import Mesh
from videomesh.meshing.surface import components, vertex_normals

SMALL = 8  # corners of a hole that a fan of triangles closes well enough
# A film across the rim of a sheet, such as the ground that an object stands on, would lie in the sheet. So it is moved
# to the back of the sheet by so many edges of its rim, if the rim has more than LARGE.
THICKNESS, LARGE = 4, 64
RELAXATIONS = 300  # of the membrane: its vertices move to the mean of their neighbours


def close(mesh: Mesh) -> tuple[Mesh, Tensor]:
    """The closed mesh, each of whose edges has two faces, and which of its vertices (V,) are new.

    Vertices at which parts only touch are doubled first, so that each hole has a rim of its own. Old vertices that no
    face uses may remain.
    """
    mesh = separate(mesh)
    normals = vertex_normals(Mesh(mesh.vertices[:, :3], mesh.faces))
    old = len(mesh.vertices)
    vertices, faces, moves = [mesh.vertices], [mesh.faces], [torch.zeros_like(mesh.vertices)]
    count = old
    for rim in find_rims(mesh.faces):
        added, new_faces = span(mesh.vertices[rim], rim, count)
        vertices.append(added)
        faces.append(new_faces)
        moves.append(torch.zeros_like(added))
        if len(rim) > LARGE:
            edge = (mesh.vertices[rim, :3] - mesh.vertices[rim.roll(-1), :3]).norm(dim=-1).mean()
            moves[-1][:, :3] = -THICKNESS * edge * normals[rim].mean(0)
        count += len(added)
    new = torch.arange(count, device=mesh.faces.device) >= old
    film = relax(Mesh(torch.cat(vertices), torch.cat(faces)), new)
    return Mesh(film.vertices + torch.cat(moves), film.faces), new


def separate(mesh: Mesh) -> Mesh:
    """The same triangles, joined only where exactly two meet along an edge, in opposite directions.

    Around each vertex the corners of faces that are joined so make one vertex.
    """
    faces, total = mesh.faces, len(mesh.vertices)
    corner = torch.arange(faces.numel(), device=faces.device).view(-1, 3)
    start, end = faces.reshape(-1), faces.roll(-1, 1).reshape(-1)
    tail, head = corner.reshape(-1), corner.roll(-1, 1).reshape(-1)
    key = torch.minimum(start, end) * total + torch.maximum(start, end)
    order = key.argsort(stable=True)
    same = key[order][1:] == key[order][:-1]
    alone = torch.ones(1, dtype=torch.bool, device=faces.device)
    pair = same & torch.cat([alone, ~same[:-1]]) & torch.cat([~same[1:], alone])  # two faces, not three
    one, other = order[:-1][pair], order[1:][pair]
    opposite = start[one] == end[other]
    one, other = one[opposite], other[opposite]
    joined = torch.cat([torch.stack([tail[one], head[other]], 1), torch.stack([head[one], tail[other]], 1)])
    graph = Mesh(mesh.vertices.new_zeros(corner.numel(), 1), torch.cat([joined, joined[:, 1:]], 1))
    label = components(graph)
    vertex_of = torch.zeros(int(label.max()) + 1 if len(label) else 0, dtype=torch.int64, device=faces.device)
    vertex_of[label] = faces.reshape(-1)
    return Mesh(mesh.vertices[vertex_of], label.view(-1, 3))


def find_rims(faces: Tensor) -> list[Tensor]:
    """The vertices round each hole of a separated mesh, in the direction of its faces' edges."""
    start, end = faces.reshape(-1), faces.roll(-1, 1).reshape(-1)
    total = int(faces.max()) + 1 if len(faces) else 0
    open_edge = ~torch.isin(start * total + end, end * total + start)
    after = dict(zip(start[open_edge].tolist(), end[open_edge].tolist()))
    rims = []
    while after:
        first, vertex = after.popitem()
        rim = [first]
        while vertex != first:
            rim.append(vertex)
            vertex = after.pop(vertex)
        rims.append(torch.tensor(rim, device=faces.device))
    return rims


def span(corners: Tensor, rim: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """New vertices (n, k), numbered from count, and faces across a rim with the values (r, k) at its corners.

    Rings lead to the middle. Each has half as many vertices as the one before and is twice as far from it, so that
    triangles are as wide as they are high and a large hole costs no more than its rim.
    """
    middle = corners.mean(0)
    added: list[Tensor] = []
    faces: list[Tensor] = []
    outer, number = corners, rim
    step = 2 * math.pi / len(corners)  # an edge of a round rim, as a share of its radius
    share = step
    while len(outer) > SMALL and share < 1:
        half = torch.arange(len(outer), device=rim.device) // 2
        inner = corners[:: 2 ** (len(added) + 1)]
        inner = inner + share * (middle - inner)
        inner_number = count + torch.arange(len(inner), device=rim.device)
        following = number.roll(-1)
        near, far = inner_number[half], inner_number[half.roll(-1)]
        faces.append(torch.stack([following, number, near], 1))
        turn = near != far
        faces.append(torch.stack([following, near, far], 1)[turn])
        added.append(inner)
        outer, number, count = inner, inner_number, count + len(inner)
        step *= 2
        share += step
    added.append(middle[None])
    faces.append(torch.stack([number.roll(-1), number, torch.full_like(number, count)], 1))
    return torch.cat(added), torch.cat(faces)


def relax(mesh: Mesh, moving: Tensor) -> Mesh:
    """The mesh with the moving vertices (V,) at the mean of their neighbours, nearly: a soap film across its frame."""
    touched = mesh.faces[moving[mesh.faces].any(-1)]
    one, other = touched.reshape(-1), touched.roll(-1, 1).reshape(-1)  # each edge once in each direction
    inner = moving[one]
    one, other = one[inner], other[inner]
    values = mesh.vertices.clone()
    degree = torch.bincount(one, minlength=len(values)).clamp(min=1)[:, None]
    for _ in range(RELAXATIONS if len(one) else 0):
        mean = torch.zeros_like(values).index_add_(0, one, values[other]) / degree
        values = torch.where(moving[:, None], mean, values)
    return Mesh(values, mesh.faces)
