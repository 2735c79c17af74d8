"""Test double: a surface made of a few numbers. Needs PyTorch only, so that tests can use it on its own.

A box and a ring beside it; before ROUND_BEFORE iterations a sphere, as a model is that has learnt
nothing. A checkpoint whose parameter `empty` is 1 holds no surface at all.
"""

import torch

ROUND_BEFORE = 10  # iterations


class Model(torch.nn.Module):
    def __init__(self, cfg_model):
        super().__init__()
        sdf = cfg_model.object.sdf
        sdf.setdefault("gradient", type(sdf)(mode="numerical"))
        self.neural_sdf = Distance(sdf.encoding.hashgrid.dict_size)
        self.neural_rgb = Paint()
        self.appear_embed = torch.nn.Embedding(4, 8) if cfg_model.appear_embed.enabled else None


class Distance(torch.nn.Module):
    def __init__(self, dict_size=10):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(2 ** min(dict_size, 12)))  # only its size matters
        self.size = torch.nn.Parameter(torch.tensor([0.3, 0.25, 0.2]))
        self.ring = torch.nn.Parameter(torch.tensor([0.25, 0.09]))
        self.empty = torch.nn.Parameter(torch.tensor(0.0))
        self.iteration = self.normal_eps = None

    def set_active_levels(self, current_iter=None):
        self.iteration = current_iter

    def set_normal_epsilon(self):
        self.normal_eps = 1e-3

    def sdf(self, points_3D):
        if self.iteration < ROUND_BEFORE:
            distance = points_3D.norm(dim=-1) - 0.5
        else:
            distance = self.shape(points_3D)
        return distance[..., None] + 2 * self.empty

    def shape(self, points):
        box = to_box(points - points.new_tensor([-0.35, 0.0, -0.1]), self.size)
        x, y, z = (points - points.new_tensor([0.45, 0.1, 0.1])).unbind(-1)
        ring = torch.stack([(x * x + y * y).sqrt() - self.ring[0], z], -1).norm(dim=-1) - self.ring[1]
        return torch.minimum(box, ring)

    def forward(self, points_3D, with_sdf=True, with_feat=True):
        return self.sdf(points_3D), points_3D

    def compute_gradients(self, x, training=False, sdf=None):
        steps = torch.eye(3) * self.normal_eps
        parts = [(self.sdf(x + step) - self.sdf(x - step)) / (2 * self.normal_eps) for step in steps]
        return torch.cat(parts, -1), None


class Paint(torch.nn.Module):
    def forward(self, points_3D, normals, rays_unit, feats, app):
        return painted(points_3D)


def painted(points):
    return 0.5 + 0.4 * torch.sin(4 * points + points.new_tensor([0.0, 1.0, 2.0]))


def to_box(points, size):
    beyond = points.abs() - size
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)
