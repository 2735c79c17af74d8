"""Moves a mesh's vertices along their normals to where the photographs agree best about what they show.

A training has rays for a few of the photographs' pixels. Here each pixel near a vertex counts. A small square on the
surface is looked at in the photographs that show the vertex: where it is, a little in front of that, and a little
behind it. Where the squares are most alike is the surface, as in multi-view stereo (Furukawa & Ponce 2010: normalised
cross correlation). How surely that is known depends on the texture. What has none stays, or goes with what is round it.

Torch only, on the mesh's own device. Lengths are in the frame of the region's unit sphere.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import torch
from torch import Tensor

from videomesh.meshing import surface
from videomesh.meshing.sparse_mesh import Mesh
from videomesh.meshing.surface import DepthImage, Views

ROUNDS = 4
EVERY = 4  # one vertex in so many is looked at, at random: neighbours see nearly the same, and move with it
HALF = 2  # px from the middle of a square to its edge: 5 x 5 px
STEP, STEPS = 0.5, 5  # px between two places where a vertex may be, and how many on each side
FRAMES = 10  # that look at a vertex, at most: evenly among all that show it
LEAST_FRAMES = 3
COSINE = 0.3  # between the viewing direction and the normal, or a frame shows too little of a square
CONTRAST = 0.8  # of 255: standard deviation within a square, without its slope, below which all is noise
# Pixels of the depth image. What is so much nearer or farther than the mesh, where it faces the camera, is something
# else. For a slanted surface it is more. The pixels round it may differ by twice that, or there is an outline.
HIDDEN = 1.5
ALIKE = 0.5  # mean correlation of squares that show the same thing
# How much a place is believed: the curvature of the correlation there over what it lacks of 1, as a share of CERTAIN.
LACK, CERTAIN, MOST = 0.01, 0.3, 3.0
SMOOTH, STAY = 1.0, 0.05  # weights of moving as the neighbours do, and of not moving
SOLVER_STEPS = 30
CALM_STEPS = 10  # how often moves are evened out
TURN = 0.5  # cosine of the angle by which a face may turn
# Vertices at once, which bounds the memory: a GPU takes 4.5 s for a mesh of 780,000 with the smaller number, and 1.0
# with the larger one.
BLOCK = {"cpu": 1 << 15, "cuda": 1 << 18}
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Moves(NamedTuple):
    """How a mesh was refined."""

    known_share: float  # of the vertices that were looked at: those at which photographs agree
    moved: float  # mean distance between the old and the new places of vertices
    moved_px: float  # the same, in pixels of the photographs


class Look(NamedTuple):
    """A photograph, and what the mesh looks like from its place."""

    cam_from_unit: Tensor  # (3, 4)
    focal: Tensor  # (2,) px
    principal: Tensor  # (2,) px
    grey: Tensor  # (height, width) float16 in 0..255
    shows: Tensor  # (height, width) bool
    nearest: DepthImage
    around: Tensor  # like nearest.depth: the farthest of the pixels round each


class Squares(NamedTuple):
    """A square on the surface at each of some vertices; their first axis is (n,)."""

    centre: Tensor  # (n, 3)
    normal: Tensor  # (n, 3)
    right: Tensor  # (n, 3) a pixel long, along the surface
    up: Tensor  # (n, 3) the same, at a right angle to it
    pixel: Tensor  # (n,) length of a pixel of the nearest photograph

    def select(self, which: Tensor) -> Squares:
        return Squares(*(part[which] for part in self))


class Wanted(NamedTuple):
    """Where single vertices should be."""

    move: Tensor  # (n,) along the normal
    certainty: Tensor  # (n,) 0: nothing is known
    pixel: Tensor  # (n,) length of a pixel of the nearest photograph, inf where none shows the vertex


@torch.no_grad()
def refine(
    mesh: Mesh, views: Views, images: Sequence[Tensor], shows: Sequence[Tensor], voxel: float
) -> tuple[Mesh, Moves]:
    """The same triangles, with their vertices (V, 3) where the photographs agree best.

    images: (height, width, 3) uint8 each. shows: (height, width) bool each, which pixels count. voxel: how far apart
    vertices are, at the most.
    """
    before, device = mesh.vertices, mesh.vertices.device
    luma = torch.tensor(LUMA, device=device)
    greys = [(image.to(device).float() @ luma).half() for image in images]
    counted = [counts.to(device) for counts in shows]
    edges, _ = surface.edges_of(mesh)
    generator = torch.Generator().manual_seed(0)
    for _ in range(ROUNDS):
        normals = surface.vertex_normals(mesh)
        order = torch.randperm(len(before), generator=generator)
        chosen = order[: -(-len(order) // EVERY)].sort().values.to(device)
        looks = [look_at(mesh, views, *each, voxel) for each in zip(views.cam_from_unit, greys, counted)]
        blocks = chosen.split(BLOCK[device.type])
        found = [find_moves(mesh.vertices[part].float(), normals[part].float(), looks) for part in blocks]
        wanted = Wanted(*(torch.cat(each) for each in zip(*found)))
        move = calm(mesh, edges, spread(mesh, edges, chosen, wanted)[:, None] * normals)
        mesh = Mesh(mesh.vertices + move, mesh.faces)
    known = wanted.certainty > 0
    moved = float((mesh.vertices - before).norm(dim=-1).mean())
    pixel = float(wanted.pixel[known].mean()) if bool(known.any()) else float("inf")
    return mesh, Moves(float(known.double().mean()), moved, moved / pixel)


def look_at(mesh: Mesh, views: Views, matrix: Tensor, grey: Tensor, shows: Tensor, voxel: float) -> Look:
    vertices = mesh.vertices.float()
    matrix = matrix.to(vertices)
    x, y, depth = surface.project(vertices.T.contiguous(), matrix, views)
    nearest = surface.draw_depth(x, y, depth, surface.is_within(x, y, depth, views), views, voxel)
    around = surface.largest_around(nearest.depth, nearest)
    focal, principal = (matrix.new_tensor(pair) for pair in (views.focal, views.principal))
    return Look(matrix, focal, principal, grey, shows, nearest, around)


def find_moves(points: Tensor, normals: Tensor, looks: Sequence[Look]) -> Wanted:
    """Where vertices (n, 3) with such normals (n, 3) should be."""
    seen, weight, pixel = (torch.stack(each) for each in zip(*(find_seen(points, normals, each) for each in looks)))
    pixel = torch.where(seen, pixel, torch.inf).amin(0)
    squares = lay_squares(points, normals, pixel)
    # Evenly among those that see a point: the k-th of n is taken where k * FRAMES / n passes a whole number.
    rank, total = seen.cumsum(0) - 1, seen.sum(0).clamp(min=1)
    first, second = ((rank + more) * FRAMES for more in (0, 1))
    taken = seen & (first.div(total, rounding_mode="floor") != second.div(total, rounding_mode="floor"))

    places, size = 2 * STEPS + 1, (2 * HALF + 1) ** 2
    total_patch = points.new_zeros(len(points), places, size)
    weights, squared_weights, frames, variance = (points.new_zeros(len(points)) for _ in range(4))
    for each, mask, share in zip(looks, taken, weight):
        which = mask.nonzero()[:, 0]
        which = which[is_whole(squares.select(which), each)]
        patch, share = read_squares(squares.select(which), each), share[which]
        length = patch.square().sum(-1, keepdim=True)
        total_patch[which] += share[:, None, None] * patch / length.clamp(min=size).sqrt()
        variance[which] += remove_slope(patch[:, STEPS]).square().mean(-1)
        weights[which] += share
        squared_weights[which] += share.square()
        frames[which] += 1
    # The square of a sum of vectors is the sum of all products of two. Without those of one with itself, it is the mean
    # correlation of two photographs.
    pairs = weights.square() - squared_weights
    alike = (total_patch.square().sum(-1) - squared_weights[:, None]) / pairs.clamp(min=1e-12)[:, None]
    step, certainty = find_peak(alike)
    known = (frames >= LEAST_FRAMES) & (variance >= CONTRAST**2 * frames) & (certainty > 0)
    return Wanted(torch.where(known, step * STEP * pixel, 0), torch.where(known, certainty, 0), pixel)


def find_seen(points: Tensor, normals: Tensor, look: Look) -> tuple[Tensor, Tensor, Tensor]:
    """Of points (n, 3): whether a photograph shows them well enough, how much it counts, and the length of a pixel."""
    camera = -look.cam_from_unit[:, :3].T @ look.cam_from_unit[:, 3]
    distance = (camera - points).norm(dim=-1)
    cosine = ((camera - points) * normals).sum(-1) / distance
    inside = points @ look.cam_from_unit[:, :3].T + look.cam_from_unit[:, 3]
    depth, place = inside[:, 2], inside[:, :2] / inside[:, 2:] * look.focal + look.principal
    shown = (depth > 0) & (cosine > COSINE) & is_shown(place, depth, look, get_slack(depth, cosine, look))
    return shown, cosine / distance, depth / look.focal.max()


def get_slack(depth: Tensor, cosine: Tensor, look: Look) -> Tensor:
    """(n,) by how much the depth image may differ from the depths (n,) of a surface that it shows."""
    slope = (1 - cosine.square()).clamp(min=0).sqrt() / cosine.clamp(min=COSINE)
    return HIDDEN * (1 + slope) * depth / (look.focal.max() * look.nearest.shrink)


def is_shown(place: Tensor, depth: Tensor, look: Look, slack: Tensor) -> Tensor:
    """Whether a photograph shows a part of the mesh (...) that it would have at a place (..., 2) in pixels."""
    height, width = look.grey.shape
    x, y = place.unbind(-1)
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = torch.where(within, x, 0), torch.where(within, y, 0)
    pixel = look.nearest.get_pixel(x, y, within)
    clear = ((look.nearest.depth[pixel] - depth).abs() <= slack) & (look.around[pixel] - depth <= 2 * slack)
    return within & look.shows[y.long(), x.long()] & clear


def lay_squares(points: Tensor, normals: Tensor, pixel: Tensor) -> Squares:
    """Squares on the surface at points (n, 3)."""
    aside = torch.zeros_like(normals).scatter_(1, normals.abs().argmin(1, keepdim=True), 1.0)
    right = torch.nn.functional.normalize(torch.cross(normals, aside, dim=-1), dim=-1)
    up = torch.cross(normals, right, dim=-1)
    return Squares(points, normals, right * pixel[:, None], up * pixel[:, None], pixel)


def read_squares(squares: Squares, look: Look) -> Tensor:
    """What a photograph shows of squares, moved along their normals: (n, places, pixels) less the mean of each."""
    rotation = look.cam_from_unit[:, :3].T
    steps = torch.arange(-STEPS, STEPS + 1, device=rotation.device) * STEP
    centre = squares.centre @ rotation + look.cam_from_unit[:, 3]
    centre = centre[:, None] + (steps * squares.pixel[:, None])[..., None] * (squares.normal @ rotation)[:, None]
    place = project_squares(squares, centre, look)
    height, width = look.grey.shape
    grid = place.flatten(1, 2)[None] * (2 / place.new_tensor([width, height])) - 1
    shown = torch.nn.functional.grid_sample(
        look.grey[None, None].float(), grid, padding_mode="border", align_corners=False
    )
    shown = shown.view(place.shape[:-1])
    return shown - shown.mean(-1, keepdim=True)


def remove_slope(squares: Tensor) -> Tensor:
    """Squares (n, pixels) of mean 0 without what rises evenly from side to side, as shading on a plain surface does.

    It is alike wherever a square is.
    """
    pixels = get_pixels(squares)
    slope = squares @ pixels / pixels.square().sum(0)
    return squares - slope @ pixels.T


def project_squares(squares: Squares, centre: Tensor, look: Look) -> Tensor:
    """Positions (n, places, pixels, 2) in a photograph of the pixels of squares whose centres are at (n, places, 3) in
    its camera's frame. A square is so small that it is drawn without perspective of its own."""
    depth = centre[..., 2:]
    at = centre[..., :2] / depth
    rotation = look.cam_from_unit[:, :3].T
    right, up = (
        (side[:, None, :2] - at * side[:, None, 2:]) / depth * look.focal
        for side in (squares.right @ rotation, squares.up @ rotation)
    )
    # x and y of each pixel are sums of three numbers each: one product of matrices is quicker than adding them up.
    pixels = torch.cat([right.new_ones(1, (2 * HALF + 1) ** 2), get_pixels(right).T])  # (3, pixels)
    sums = torch.einsum("kp,xy->kxpy", pixels, torch.eye(2, device=right.device)).reshape(6, -1)
    return (torch.cat([at * look.focal + look.principal, right, up], -1) @ sums).unflatten(-1, (-1, 2))


def get_pixels(like: Tensor) -> Tensor:
    """(pixels, 2): of a square, in pixels from its centre."""
    axis = torch.arange(-HALF, HALF + 1, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)


def is_whole(squares: Squares, look: Look) -> Tensor:
    """(n,) whether a photograph shows all of a square."""
    rotation = look.cam_from_unit[:, :3].T
    centre = squares.centre @ rotation + look.cam_from_unit[:, 3]
    place = project_squares(squares, centre[:, None], look)[:, 0]
    sides = torch.stack([squares.right @ rotation[:, 2], squares.up @ rotation[:, 2]])
    cosine = -torch.nn.functional.cosine_similarity(centre, squares.normal @ rotation, dim=-1)
    slack = get_slack(centre[:, 2], cosine, look)[:, None]
    return is_shown(place, centre[:, 2:] + (get_pixels(sides) @ sides).T, look, slack).all(-1)


def find_peak(alike: Tensor) -> tuple[Tensor, Tensor]:
    """Steps (n,) from the middle to the nearest peak of values (n, places), between places, and how sure it is (n,): 0
    where the values rise to the end.

    The nearest one and not the highest: a pattern that repeats is alike in many places.
    """
    last = alike.shape[1] - 1
    place = torch.full_like(alike[:, :1], STEPS, dtype=torch.int64)
    for _ in range(STEPS):
        here, left, right = (alike.gather(1, (place + side).clamp(0, last)) for side in (0, -1, 1))
        place = place + torch.where((right > here) & (right >= left), 1, torch.where(left > here, -1, 0))
        place = place.clamp(0, last)
    inner = place.clamp(1, last - 1)
    left, here, right = (alike.gather(1, inner + side)[:, 0] for side in (-1, 0, 1))
    curvature = 2 * here - left - right
    peak = (place == inner)[:, 0] & (curvature > 0) & (here > ALIKE)
    step = (inner[:, 0] - STEPS) + (right - left) / (2 * curvature.clamp(min=1e-9))
    certainty = (curvature / (1 - here + LACK) / CERTAIN).clamp(max=MOST)
    return torch.where(peak, step, 0), torch.where(peak, certainty, 0)


def spread(mesh: Mesh, edges: Tensor, chosen: Tensor, wanted: Wanted) -> Tensor:
    """(V,) how far each vertex moves, where this is wanted of some of them (n,).

    The least sum of certainty * (move - wanted)^2, SMOOTH * (move - neighbour's move)^2 over all edges, and STAY *
    move^2, by conjugate gradients.
    """
    own = mesh.vertices.new_full((len(mesh.vertices),), STAY)
    own[chosen] += wanted.certainty
    right = torch.zeros_like(own)
    right[chosen] = (wanted.certainty * wanted.move).to(right)
    diagonal = own + SMOOTH * torch.bincount(edges.reshape(-1), minlength=len(own))

    def multiply(move: Tensor) -> Tensor:
        return diagonal * move - SMOOTH * sum_beside(edges, move)

    move = torch.zeros_like(right)
    rest = right
    eased = rest / diagonal
    direction, norm = eased, rest @ eased
    for _ in range(SOLVER_STEPS):
        if float(norm) == 0:
            break
        product = multiply(direction)
        share = norm / (direction @ product)
        move, rest = move + share * direction, rest - share * product
        eased = rest / diagonal
        before, norm = norm, rest @ eased
        direction = eased + norm / before * direction
    return move


def sum_beside(edges: Tensor, values: Tensor) -> Tensor:
    """Of each vertex, the sum of its neighbours' values (V, ...) along edges (E, 2)."""
    one, other = edges.T
    return torch.zeros_like(values).index_add_(0, one, values[other]).index_add_(0, other, values[one])


def calm(mesh: Mesh, edges: Tensor, move: Tensor) -> Tensor:
    """The moves (V, 3), evened out where a triangle would turn over.

    Vertices may be so close together that a small difference does that, if only of their normals.
    """
    degree = torch.bincount(edges.reshape(-1), minlength=len(move)).clamp(min=1)[:, None]
    before = torch.nn.functional.normalize(surface.face_normals(mesh), dim=-1)
    for _ in range(CALM_STEPS):
        now = torch.nn.functional.normalize(surface.face_normals(Mesh(mesh.vertices + move, mesh.faces)), dim=-1)
        corners = mesh.faces[(before * now).sum(-1) < TURN].reshape(-1)
        if not len(corners):
            break
        move = move.index_copy(0, corners, (sum_beside(edges, move) / degree)[corners])
    return move
