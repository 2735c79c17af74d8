"""Marching cubes on a regular lattice that looks only near the surface, for any signed-distance function and device.

A dense lattice of 2048 points a side has 8.6 billion points, of which the surface touches a few per cent. So:

1. one value at the centre of each cell of CELL^3 voxels; the cell is kept if |value| <= LIPSCHITZ x half its diagonal,
2. the lattice points of the kept cells are evaluated,
3. a change of sign on the face between a kept cell and one not kept adds that neighbour, until none is added,
4. marching cubes (Lorensen & Cline 1987) on the cells with a change of sign. A vertex is named by its lattice edge, so
   the cells' pieces are welded exactly, without any tolerance.

Memory holds one value per lattice point of the kept cells, and the mesh.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple, Sequence

import torch
from torch import Tensor

# Voxels along a cell's side. Smaller ones evaluate fewer points in all, but more centres. At 2048 on an H200 3.6 s with
# 16, 2.3 s with 8, 1.9 s with 4; on a CPU 8 is fastest.
CELL = 8
# Learnt distances are steeper than 1 in places: slopes up to 2.6 were seen on trained models. 1.5 with step 3 found
# the same surface as a dense evaluation; a factor of 1.0 without step 3 lost 0.06 % of it.
LIPSCHITZ = 1.5
# Vertices stay this far, in voxels, from the ends of their lattice edge: where the surface passes exactly through a
# lattice point its vertices would coincide and their triangles have no area.
MARGIN = 1e-4
# Points a call: the working set of a learnt function should stay in the CPU's cache, and fill a GPU.
CHUNK = {"cpu": 1 << 16, "cuda": 1 << 22}


class Mesh(NamedTuple):
    """A triangle mesh: vertices (V, 3) float64, faces (F, 3) int64, counterclockwise seen from outside."""

    vertices: Tensor
    faces: Tensor


class Stats(NamedTuple):
    """What an extraction looked at: numbers of cells and of calls' points."""

    cells: int  # in the lattice
    cells_evaluated: int
    cells_live: int  # with a change of sign
    cells_grown: int  # of those evaluated, found by their neighbours
    evaluations: int  # points given to the function


@torch.no_grad()
def extract(
    signed_distance: Callable[[Tensor], Tensor],
    bounds: Sequence[tuple[float, float]],
    voxel: float,
    radius: float | None = None,
    device: str | torch.device = "cpu",
    cell: int = CELL,
) -> tuple[Mesh, Stats]:
    """The zero level of a function on a lattice.

    signed_distance: points (N, 3) float32 on `device` -> (N,), positive outside, zero on the surface, in their unit
    bounds: (low, high) of each axis; the lattice starts at the three low values and reaches at least the high ones
    voxel: distance of neighbouring lattice points
    cell: voxels along a cell's side
    radius: if given, cells that do not meet the ball of this radius about the origin are left out

    Raises ValueError if the function returns values that are not finite.
    """
    device = torch.device(device)
    lattice = _Lattice(bounds, voxel, cell, device)
    evaluate = _checked(signed_distance)
    values, cells, stats = _evaluate_cells(evaluate, lattice, radius)
    _agree_on_shared_points(values, cells, lattice)
    live = _changes_sign(values)
    return _polygonise(values[live], cells[live], lattice), stats._replace(cells_live=int(live.sum()))


class _Lattice:
    """Points origin + voxel x index, grouped in cells of `cell`^3 voxels. Points and cells are numbered in C order."""

    def __init__(self, bounds: Sequence[tuple[float, float]], voxel: float, cell: int, device: torch.device) -> None:
        self.device, self.voxel, self.cell, self.side = device, float(voxel), cell, cell + 1
        self.origin = torch.tensor([float(low) for low, _ in bounds], dtype=torch.float64, device=device)
        voxels = [max(1, math.ceil((high - low) / voxel - 1e-6)) for low, high in bounds]
        self.points = torch.tensor([n + 1 for n in voxels], device=device)
        self.cells = [-(-n // cell) for n in voxels]
        self.half_diagonal = 3**0.5 / 2 * cell * self.voxel
        steps = torch.arange(self.side, device=device)
        self.within = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1)  # (side, side, side, 3)
        self.chunk = CHUNK.get(device.type, CHUNK["cuda"])

    def __len__(self) -> int:
        return self.cells[0] * self.cells[1] * self.cells[2]

    def unravel(self, number: Tensor) -> Tensor:
        """Cell numbers (N,) -> cell indices (N, 3)."""
        _, ny, nz = self.cells
        return torch.stack([number // (ny * nz), number // nz % ny, number % nz], -1)

    def stride(self, axis: int) -> int:
        """Difference between the numbers of neighbouring cells."""
        return [self.cells[1] * self.cells[2], self.cells[2], 1][axis]

    def centres(self, number: Tensor) -> Tensor:
        return (self.origin + (self.unravel(number).double() + 0.5) * (self.cell * self.voxel)).float()


def _checked(signed_distance: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def evaluate(points: Tensor) -> Tensor:
        values = signed_distance(points).reshape(-1).float()
        if not bool(torch.isfinite(values).all()):
            where = points[~torch.isfinite(values)][0].tolist()
            raise ValueError(f"the signed distance is not finite, first at {[round(x, 3) for x in where]}")
        return values

    return evaluate


def _evaluate_cells(
    evaluate: Callable[[Tensor], Tensor], lattice: _Lattice, radius: float | None
) -> tuple[Tensor, Tensor, Stats]:
    """Values (K, side, side, side) and numbers (K,) of the kept cells and of those that the surface leads to."""
    eligible, frontier = _cells_near_surface(evaluate, lattice, radius)
    evaluations, first = int(eligible.sum()), len(frontier)
    values: list[Tensor] = [torch.empty((0, *[lattice.side] * 3), device=lattice.device)]
    cells: list[Tensor] = [frontier[:0]]
    while len(frontier):
        eligible[frontier] = False
        beyond = []
        for part in frontier.split(max(1, lattice.chunk // lattice.side**3)):
            values.append(_cell_values(evaluate, lattice, part))
            cells.append(part)
            beyond.append(_across_changing_faces(values[-1], part, lattice))
        found = torch.unique(torch.cat(beyond))
        frontier = found[eligible[found]]
    number, value = torch.cat(cells), torch.cat(values)
    stats = Stats(len(lattice), len(number), 0, len(number) - first, evaluations + value.numel())
    return value, number, stats


def _cells_near_surface(
    evaluate: Callable[[Tensor], Tensor], lattice: _Lattice, radius: float | None
) -> tuple[Tensor, Tensor]:
    """Which cells may be evaluated at all (bool, one per cell), and the numbers of those to keep by their centre."""
    eligible = torch.ones(len(lattice), dtype=torch.bool, device=lattice.device)
    near = []
    for start in range(0, len(lattice), lattice.chunk):
        number = torch.arange(start, min(start + lattice.chunk, len(lattice)), device=lattice.device)
        centres = lattice.centres(number)
        if radius is not None:
            inside = centres.norm(dim=-1) <= radius + lattice.half_diagonal
            eligible[number] = inside
            number, centres = number[inside], centres[inside]
        near.append(number[evaluate(centres).abs() <= LIPSCHITZ * lattice.half_diagonal])
    return eligible, torch.cat(near)


def _cell_values(evaluate: Callable[[Tensor], Tensor], lattice: _Lattice, cells: Tensor) -> Tensor:
    """(K, side, side, side): values at the cells' lattice points, NaN beyond the lattice's end."""
    index = (lattice.unravel(cells) * lattice.cell)[:, None, None, None] + lattice.within
    points = (lattice.origin + index.double() * lattice.voxel).float()
    value = evaluate(points.view(-1, 3)).view(index.shape[:-1])
    return torch.where((index < lattice.points).all(-1), value, torch.full_like(value, float("nan")))


def _changes_sign(values: Tensor) -> Tensor:
    """(K,) bool: the rows of (K, ...) that hold both signs."""
    return (values < 0).flatten(1).any(1) & (values >= 0).flatten(1).any(1)


def _across_changing_faces(values: Tensor, cells: Tensor, lattice: _Lattice) -> Tensor:
    """Numbers of the cells beyond those faces on which the values change sign."""
    position = lattice.unravel(cells)
    found = []
    for axis in range(3):
        for side, step in ((0, -1), (lattice.cell, 1)):
            neighbour = position[:, axis] + step
            crossed = (neighbour >= 0) & (neighbour < lattice.cells[axis])
            crossed &= _changes_sign(values.select(axis + 1, side))
            found.append(cells[crossed] + step * lattice.stride(axis))
    return torch.cat(found)


def _agree_on_shared_points(values: Tensor, cells: Tensor, lattice: _Lattice) -> None:
    """Make neighbouring cells hold the same value at the points they share, in place.

    The last digits of a learnt function depend on a point's place in its batch. If they decide the sign, two cells
    would disagree about a shared lattice edge and the mesh would have a crack.
    """
    row = torch.full((len(lattice) + 1,), -1, dtype=torch.int32, device=lattice.device)
    row[cells] = torch.arange(len(cells), dtype=torch.int32, device=lattice.device)
    position = lattice.unravel(cells)
    for axis in range(3):
        neighbour = (cells + lattice.stride(axis)).clamp(max=len(lattice))
        shared = (position[:, axis] + 1 < lattice.cells[axis]) & (row[neighbour] >= 0)
        values.select(axis + 1, lattice.cell)[shared] = values.select(axis + 1, 0)[row[neighbour[shared]].long()]


def _polygonise(values: Tensor, cells: Tensor, lattice: _Lattice) -> Mesh:
    """Marching cubes of all live cells, welded."""
    device = lattice.device
    keys: list[Tensor] = [torch.empty(0, dtype=torch.int64, device=device)]
    fractions: list[Tensor] = [torch.empty(0, dtype=torch.float64, device=device)]
    faces: list[Tensor] = [torch.empty((0, 3), dtype=torch.int64, device=device)]
    table = torch.tensor(CASES, device=device)
    count = 0
    size = max(1, lattice.chunk // lattice.side**3)
    for value, cell in zip(values.split(size), cells.split(size)):
        key, fraction, face = _march(value, lattice.unravel(cell) * lattice.cell, lattice, table)
        keys.append(key)
        fractions.append(fraction)
        faces.append(face + count)
        count += len(key)
    key, welded = torch.unique(torch.cat(keys), return_inverse=True)
    fraction = torch.empty(len(key), dtype=torch.float64, device=device)
    fraction[welded] = torch.cat(fractions)
    point, axis = key // 3, key % 3
    _, ny, nz = lattice.points.tolist()
    index = torch.stack([point // (ny * nz), point // nz % ny, point % nz], -1).double()
    index[torch.arange(len(key), device=device), axis] += fraction
    return Mesh(lattice.origin + index * lattice.voxel, welded[torch.cat(faces)])


def _march(values: Tensor, base: Tensor, lattice: _Lattice, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Marching cubes of some cells on their own: the keys of the crossed lattice edges (N,), where along its edge each
    vertex lies (N,), and faces (F, 3) as rows of those.

    values: (K, side, side, side); base: (K, 3) index of each cell's first lattice point.
    """
    side, cell, device = lattice.side, lattice.cell, lattice.device
    inside, known = values < 0, ~values.isnan()
    crossed = torch.zeros((*values.shape, 3), dtype=torch.bool, device=device)
    for axis in range(3):
        low, high = (slice(None, -1), slice(1, None))
        before: tuple[slice, ...] = tuple(low if k == axis + 1 else slice(None) for k in range(4))
        after: tuple[slice, ...] = tuple(high if k == axis + 1 else slice(None) for k in range(4))
        crossed[..., axis][before] = (inside[before] ^ inside[after]) & known[before] & known[after]

    edge = crossed.flatten().nonzero()[:, 0]
    row = torch.empty(crossed.numel(), dtype=torch.int32, device=device)
    row[edge] = torch.arange(len(edge), dtype=torch.int32, device=device)
    point, axis_of = edge // 3, edge % 3
    stride = torch.tensor([side * side, side, 1], device=device)
    low_value = values.flatten()[point].double()
    high_value = values.flatten()[point + stride[axis_of]].double()
    fraction = (low_value / (low_value - high_value)).clamp(MARGIN, 1 - MARGIN)
    index = base[point // side**3] + lattice.within.view(-1, 3)[point % side**3]
    _, ny, nz = lattice.points.tolist()
    key = ((index[:, 0] * ny + index[:, 1]) * nz + index[:, 2]) * 3 + axis_of

    case = torch.zeros((len(values), cell, cell, cell), dtype=torch.uint8, device=device)
    whole = torch.ones_like(case, dtype=torch.bool)
    for corner in range(8):
        dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2 & 1
        view = (slice(None), slice(dx, dx + cell), slice(dy, dy + cell), slice(dz, dz + cell))
        case += inside[view].to(torch.uint8) << corner
        whole &= known[view]
    k, x, y, z = (whole & (case > 0) & (case < 255)).nonzero().unbind(1)
    triangles = table[case[k, x, y, z].long()]  # (M, 5, 3) edges of the voxel
    voxel, which = (triangles[:, :, 0] >= 0).nonzero().unbind(1)
    triangles = triangles[voxel, which]
    offset = torch.tensor([_edge_offset(number, side) for number in range(12)], device=device)
    first = (((k * side + x) * side + y) * side + z) * 3
    return key, fraction, row[first[voxel][:, None] + offset[triangles]].long()


# Marching cubes' cases. Corner c of a voxel lies at (c & 1, c >> 1 & 1, c >> 2 & 1); an edge is its lower corner and
# its axis.
_EDGES = [(corner, axis) for axis in range(3) for corner in range(8) if not corner >> axis & 1]


def _edge_offset(edge: int, side: int) -> int:
    corner, axis = _EDGES[edge]
    return (((corner & 1) * side + (corner >> 1 & 1)) * side + (corner >> 2 & 1)) * 3 + axis


def _case_table() -> list[list[list[int]]]:
    """256 cases x 5 triangles x 3 edges (-1: no triangle), for bit c of the case = corner c is inside.

    Lorensen & Cline's 15 drawn cases leave holes where a face has its inside corners on a diagonal and the two voxels
    treat it differently. Here the rule is per face and depends on that face's four corners only: inside corners on a
    diagonal are separated. Both voxels of a face then draw the same segments on it, so the surface is closed by
    construction. In each voxel the segments join to loops, and a loop is cut into a fan of triangles.
    """
    edge_number = {frozenset((corner, corner | 1 << axis)): n for n, (corner, axis) in enumerate(_EDGES)}
    rings = []  # the corners of each face, counterclockwise seen from outside the voxel
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        rings += [[corner | 1 << axis for corner in (0, u, u | v, v)], [0, v, u | v, u]]
    ring_edges = [[edge_number[frozenset((ring[i - 1], ring[i]))] for i in range(4)] for ring in rings]
    table = []
    for case in range(256):
        follower: dict[int, int] = {}
        for ring, edges in zip(rings, ring_edges):
            is_inside = [bool(case >> corner & 1) for corner in ring]
            for i in range(4):
                if (
                    is_inside[i] and not is_inside[i - 1]
                ):  # edge i, from corner i-1 to i, enters a run of inside corners
                    leave = next(j % 4 for j in range(i + 1, i + 4) if not is_inside[j % 4])
                    follower[edges[i]] = edges[leave]
        triangles = [triangle for loop in _loops(follower) for triangle in _fan(loop, ring_edges)]
        table.append(triangles + [[-1, -1, -1]] * (5 - len(triangles)))
    return table


def _loops(follower: dict[int, int]) -> list[list[int]]:
    loops = []
    while follower:
        loop = [min(follower)]
        while follower[loop[-1]] != loop[0]:
            loop.append(follower.pop(loop[-1]))
        follower.pop(loop[-1])
        loops.append(loop)
    return loops


def _fan(loop: list[int], faces: list[list[int]]) -> list[list[int]]:
    """Triangles of a loop, from a corner whose diagonals do not lie in a face of the voxel: the neighbouring voxel may
    have the same diagonal there, and four triangles would meet in it."""
    n = len(loop)
    for start in range(n):
        turned = loop[start:] + loop[:start]
        if not any(turned[0] in face and other in face for other in turned[2:-1] for face in faces):
            return [[turned[0], turned[i], turned[i + 1]] for i in range(1, n - 1)]
    raise AssertionError("every loop has such a corner")


CASES = _case_table()
