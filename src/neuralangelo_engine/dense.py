"""Upstream's own extraction: every lattice point of the box, block after block, in a separate process.

It is here for comparison. It is slow: 8 minutes at resolution 2048 on an H200, where the sparse one takes 3 s.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralangelo_engine.processes import child_group
from neuralangelo_engine.scratch import Scratch
from videomesh.errors import UserError
from videomesh.meshing import surface
from videomesh.meshing.extract import Bounds, Raw
from videomesh.meshing.sparse_mesh import Mesh

SCRIPT = "projects/neuralangelo/scripts/extract_mesh.py"
TOLERANCE = 1e-3  # of a voxel, within which two vertices are one (NA-28)


def extract(scratch: Scratch, bounds: Bounds, args: argparse.Namespace, device: torch.device) -> Raw:
    """The surface as upstream finds it, with upstream's colours, welded."""
    voxel = 2 / args.resolution
    mesh, colours = read(run_upstream(scratch, bounds, voxel, args), args, device)
    mesh, colours = weld(mesh, colours, TOLERANCE * voxel)
    points = math.prod(math.ceil((high - low) / voxel - 1e-6) + 1 for low, high in bounds)
    return Raw(mesh, colours, "upstream", points)


def run_upstream(scratch: Scratch, bounds: Bounds, voxel: float, args: argparse.Namespace) -> Path:
    """Upstream's mesh in the unit sphere's frame. This process must have the environment of the scratch folder."""
    # Upstream takes the box and the way back to the world from this file. In the unit sphere's frame its 32-bit floats
    # are as fine as can be.
    scene = {"sphere_center": [0.0, 0.0, 0.0], "sphere_radius": 1.0, "aabb_range": get_box(bounds, voxel)}
    (scratch.folder / "data" / "transforms.json").write_text(json.dumps(scene))
    mesh = scratch.folder / "mesh" / "mesh.ply"
    options = {
        "config": scratch.config,
        "checkpoint": args.checkpoint.absolute(),
        "output_file": mesh,
        "resolution": args.resolution,
        "block_res": args.block_res,
        "data.root": scratch.folder / "data",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1"]
    command += [SCRIPT, "--textured"] + [f"--{name}={value}" for name, value in options.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    with child_group(command, cwd=str(scratch.programs), env=environment) as process:
        code = process.wait()
    if code:
        raise UserError(
            f"upstream's {SCRIPT} stopped with exit code {code}. Its messages are above. If the memory of the machine "
            f"or its GPU is full, lower mesh.resolution ({args.resolution}) or --block-res ({args.block_res}), or set "
            "neuralangelo.extractor to sparse"
        )
    return mesh


def get_box(bounds: Bounds, voxel: float) -> list[list[float]]:
    """The box with which upstream has the points of the sparse lattice: it leaves out the last point of each axis."""
    return [[low, high + voxel * (1 - 1e-6)] for low, high in bounds]


def read(path: Path, args: argparse.Namespace, device: torch.device) -> tuple[Mesh, Tensor]:
    """A mesh of upstream's and its colours (V, 3) in 0..1."""
    counts = dict(re.findall(rb"element (vertex|face) (\d+)", path.read_bytes()[:4096])) if path.is_file() else {}
    if not int(counts.get(b"vertex", 0)) or not int(counts.get(b"face", 0)):  # upstream calls that a success (NA-29)
        raise UserError(
            f"{args.checkpoint}: upstream's extraction found no surface in the region's sphere and the box "
            f"(aabb_range) of {args.transforms}; draw the region round the subject, or train longer"
        )
    import trimesh  # in upstream's image, but not needed by anything else here

    try:
        found: Any = trimesh.load(str(path), process=False)
        colours = np.asarray(found.visual.vertex_colors)[:, :3]
        mesh = Mesh(
            torch.tensor(np.asarray(found.vertices), dtype=torch.float64, device=device),
            torch.tensor(np.asarray(found.faces), dtype=torch.int64, device=device),
        )
    except Exception as error:  # trimesh has no error of its own for a broken file
        raise UserError(f"{path}: upstream's mesh cannot be read ({type(error).__name__}: {error}); extract again")
    return mesh, torch.tensor(colours, device=device).float() / 255


def weld(mesh: Mesh, colours: Tensor, tolerance: float) -> tuple[Mesh, Tensor]:
    """One vertex where several lie within `tolerance` of each other, and the colours (V, C) that remain.

    Only faces with a repeated vertex go: slivers hold their neighbours together. Twins of a face go too.
    """
    edges, uses = surface.edges_of(mesh)
    rim = torch.unique(edges[uses == 1])  # where a block ends; no other vertex has a double
    label = near_each_other(mesh.vertices[rim], tolerance)
    target = torch.arange(len(mesh.vertices), device=rim.device)
    target[rim] = rim[first_of_each(label)]
    faces = target[mesh.faces]
    a, b, c = faces.unbind(-1)
    faces = faces[(a != b) & (b != c) & (c != a)]
    welded, used = surface.keep_faces(Mesh(mesh.vertices, without_twins(faces, len(mesh.vertices))), slice(None))
    return welded, colours[used]


def near_each_other(points: Tensor, tolerance: float) -> Tensor:
    """(N,) labels: points (N, 3) that differ by at most `tolerance` along each axis share one.

    Rounding alone would part neighbours that lie on both sides of a cell's edge. Of eight grids, each moved by half a
    cell along some axes, one has both in the same cell.
    """
    if not len(points):
        return torch.zeros(0, dtype=torch.int64, device=points.device)
    steps = (points - points.min(0).values) / (2 * tolerance)
    number = torch.arange(len(points), device=points.device)
    links = []
    for shift in itertools.product((0.0, 0.5), repeat=3):
        cell = (steps + torch.tensor(shift, dtype=steps.dtype, device=steps.device)).long()
        key = (cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2]  # 2048 voxels are 2^20 such cells
        first = first_of_each(torch.unique(key, return_inverse=True)[1])
        links.append(torch.stack([number, first, first], -1))
    return surface.components(Mesh(points, torch.cat(links)))


def first_of_each(label: Tensor) -> Tensor:
    """(N,): for each element of a labelling 0, 1, ... the first that has its label."""
    number = torch.arange(len(label), device=label.device)
    count = int(label.max()) + 1 if len(label) else 0
    first = torch.full((count,), len(label), dtype=torch.int64, device=label.device)
    return first.scatter_reduce_(0, label, number, "amin")[label]


def without_twins(faces: Tensor, vertices: int) -> Tensor:
    """Faces (F, 3), the first of those with the same three vertices only."""
    low, middle, high = faces.sort(-1).values.unbind(-1)
    pair = torch.unique(low * vertices + middle, return_inverse=True)[1]
    face = torch.unique(pair * vertices + high, return_inverse=True)[1]
    return faces[first_of_each(face) == torch.arange(len(faces), device=faces.device)]
