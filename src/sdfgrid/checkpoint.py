"""Checkpoints: plain tensors and plain Python values in one file that torch.load(weights_only=True) reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdfgrid import kernels
from sdfgrid.dataset import grid_from_region
from sdfgrid.model import CHUNK, SurfaceModel, direction_terms
from sdfgrid.settings import Settings, from_dict
from videomesh.errors import UserError

FORMAT = "sdfgrid checkpoint 1"


class Field:
    """A trained scene, for reading. Points are in the frame of the region's unit sphere.

    world = unit * radius + center, with center (3,) float64 on the CPU and radius in world units.
    iteration: iterations trained.
    """

    def __init__(self, model: SurfaceModel, center: Tensor, radius: float, iteration: int) -> None:
        self.model = model
        self.center = center
        self.radius = radius
        self.iteration = iteration
        self.grid_from_region = torch.tensor(grid_from_region(model.settings.tilt))

    @torch.no_grad()
    def signed_distance(self, points: Tensor) -> Tensor:
        """Signed distance (N,), positive outside, at points (N, 3) float32; in units of the radius."""
        turn = self.grid_from_region.to(points)
        return torch.cat([self.model.distance_at(part @ turn.T) for part in points.split(CHUNK[points.device.type])])

    @torch.no_grad()
    def colour(self, points: Tensor, directions: Tensor) -> Tensor:
        """RGB (N, 3) in 0..1 of surface points (N, 3) seen along unit directions (N, 3), camera to surface."""
        turn = self.grid_from_region.to(points)
        parts = zip(
            (points @ turn.T).split(CHUNK[points.device.type]), (directions @ turn.T).split(CHUNK[points.device.type])
        )
        return torch.cat([self.model.colour(self.model.features(p), direction_terms(d)) for p, d in parts])


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint's content (see trainer.Trainer.content) to path."""
    torch.save({"format": FORMAT, **content}, path)


def read(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint. Raises UserError if the file is none of ours."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file")
    except Exception as error:  # torch.load raises whatever its parts raise on a file that is no checkpoint
        first_line = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path}: not a checkpoint ({type(error).__name__}: {first_line}); train this milestone again")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UserError(
            f"{path}: not a checkpoint of this engine's version ({found!r}, wanted {FORMAT!r}); train again"
        )
    return content


def restore_model(model: SurfaceModel, content: dict[str, Any]) -> None:
    """Give a fresh model of the same settings the levels, bricks and weights of a checkpoint's content."""
    state = content["model"]
    model.levels = content["levels"]
    for name, grid in (("grid", model.grid), ("background_grid", model.background_grid)):
        grid.restore(state[f"{name}.bricks"], state[f"{name}.table"])
    model.load_state_dict(state)


def model_content(
    model: SurfaceModel, settings: Settings, center: Tensor, radius: float, iteration: int
) -> dict[str, Any]:
    """What a Field needs, as plain values."""
    return {
        "settings": dataclasses.asdict(settings),
        "levels": model.levels,
        "model": {name: tensor.detach() for name, tensor in model.state_dict().items()},
        "center": center,
        "radius": radius,
        "iteration": iteration,
    }


def load(path: Path, device: torch.device) -> Field:
    """The scene in a checkpoint. Raises UserError if the file is missing, broken or of another version."""
    content = read(path, device)
    model = SurfaceModel(from_dict(content["settings"]), kernels.choose(device)).to(device)
    restore_model(model, content)
    return Field(model, content["center"].cpu(), content["radius"], content["iteration"])
