"""Test double: a mesh block by block, its seams left open, and its colours.

Marching cubes are this project's own, whose package has to be importable: how they differ from those of upstream is
measured with upstream itself (benchmarks/neuralangelo_extract.py).
"""

import math

import numpy as np
import torch
import trimesh


def extract_texture(xyz, neural_rgb, neural_sdf, appear_embed):
    points = torch.from_numpy(xyz).float()[None, None]
    distance, features = neural_sdf(points)
    gradient, _ = neural_sdf.compute_gradients(points, training=False, sdf=distance)
    normal = torch.nn.functional.normalize(gradient, dim=-1)
    app = torch.zeros([1, 1, len(xyz), appear_embed.embedding_dim]) if appear_embed is not None else None
    colours = neural_rgb.forward(points, normal, -normal, features, app=app)
    return (colours.squeeze().numpy() * 255).astype(np.uint8)


@torch.no_grad()
def extract_mesh(sdf_func, bounds, intv, block_res=64, texture_func=None, filter_lcc=False):
    counts = [math.ceil((high - low) / intv) for low, high in bounds]  # lattice points
    blocks = []
    for number in np.ndindex(*(math.ceil(count / block_res) for count in counts)):
        box = []
        for axis, index in enumerate(number):
            first, last = index * block_res, min((index + 1) * block_res, counts[axis] - 1)
            low = float(np.float32(bounds[axis][0] + first * intv))  # upstream's lattice has 32 bits too
            box.append((low, low + (last - first) * intv))
        if all(high > low for low, high in box):
            blocks.append(extract_block(sdf_func, box, intv, texture_func))
    blocks = [block for block in blocks if len(block.vertices)]
    return trimesh.util.concatenate(blocks) if blocks else trimesh.Trimesh()


def extract_block(sdf_func, box, intv, texture_func):
    from videomesh.meshing import (
        sparse_mesh,
    )  # not importable in a job of the stand-in, which has to come as far as here

    found, _ = sparse_mesh.extract(lambda points: -sdf_func(points), box, intv)
    vertices, faces = found.vertices.numpy(), found.faces.numpy()
    if not len(vertices):
        return trimesh.Trimesh()
    colours = texture_func(vertices) if texture_func else None
    within = (np.linalg.norm(vertices, axis=-1) < 1)[faces].all(1)
    mesh = trimesh.Trimesh(vertices, faces[within], vertex_colors=colours, process=False)
    mesh.remove_unreferenced_vertices()
    return mesh
