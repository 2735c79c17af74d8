"""Upstream's trained model as a field that our extraction reads, through upstream's own modules."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from neuralangelo_engine.scratch import STANDINS, Scratch
from videomesh.errors import UserError
from videomesh.scene import Scene

IMAGE = "docker.io/chenhsuanlin/neuralangelo:23.04-py3"
CHUNK = 1 << 19  # points a call; upstream's networks then need 2 GB at work, and a GPU is full all the same


class Field:
    """A videomesh.meshing.extract.Field. The frame of the region's unit sphere is upstream's own."""

    def __init__(self, model: Any, texture: Callable[..., np.ndarray], scene: Scene, iteration: int) -> None:
        """model: upstream's, in evaluation mode, with its levels set; texture: upstream's extract_texture."""
        self.center = torch.tensor(scene.center)
        self.radius = scene.radius
        self.iteration = iteration
        self.model = model
        self._texture = texture
        self._device = next(model.parameters()).device
        # Upstream lets matrix products round to TensorFloat-32. That is right for its networks, which learnt with it,
        # and wrong for our projections of vertices into photographs.
        self._rounds = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False

    @torch.no_grad()
    def signed_distance(self, points: Tensor) -> Tensor:
        """Signed distance (N,), positive outside, at points (N, 3) float32; in units of the radius."""
        with self.precision():
            parts = [self.model.neural_sdf.sdf(part.to(self._device))[:, 0] for part in points.split(CHUNK)]
        return torch.cat(parts).to(points.device)

    @torch.no_grad()
    def colour(self, points: Tensor, directions: Tensor) -> Tensor:
        """RGB (N, 3) in 0..1 of surface points (N, 3). Upstream's way: seen from where the surface's normal points to,
        without any photograph's exposure; the directions are not used."""
        model, parts = self.model, []
        with self.precision():
            for part in points.cpu().split(CHUNK // 2):
                colours = self._texture(part.numpy(), model.neural_rgb, model.neural_sdf, model.appear_embed)
                parts.append(torch.from_numpy(colours).view(-1, 3))  # uint8; of one point, upstream gives (3,)
        return torch.cat(parts).to(points.device).float() / 255

    def release(self) -> None:
        """Free the model's memory for a program that loads the model itself."""
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @contextmanager
    def precision(self) -> Iterator[None]:
        """For calls of the model."""
        torch.backends.cuda.matmul.allow_tf32 = self._rounds
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False


def load(scratch: Scratch, config: Path, checkpoint: Path, scene: Scene) -> Field:
    """The field of a checkpoint. Raises UserError if upstream cannot read config or checkpoint, or they do not fit.

    config: the file that the scratch folder's config.yaml is a copy of, for messages
    """
    content = read_checkpoint(checkpoint)
    sys.path[:0] = [str(STANDINS), str(scratch.programs)]
    with working_in(scratch.programs):
        with explained(f"upstream cannot be imported; run this in the image {IMAGE}, on a machine with a GPU"):
            read_config = importlib.import_module("imaginaire.config").Config
            get_trainer = importlib.import_module("imaginaire.trainers.utils.get_trainer").get_trainer
            texture = importlib.import_module("projects.neuralangelo.utils.mesh").extract_texture
        with explained(f"{config}: upstream cannot read it; give the YAML file that the training used"):
            cfg = read_config(str(scratch.config))
        cfg.logdir = ""
        with explained(
            f"{config}: upstream cannot build its model. Run this in the image {IMAGE}, on a machine with a GPU, and "
            "give the YAML file that the training used"
        ):
            trainer = get_trainer(cfg, is_inference=True, seed=0)
    check_fits(config, checkpoint, content["model"], trainer.model.state_dict())
    # What upstream's checkpointer does, but without a second reading of 4 GB and with what torch offers to save memory.
    trainer.model.load_state_dict(content.pop("model"))
    trainer.model.eval()
    model, iteration = trainer.model_module, int(content["iteration"])
    sdf = cfg.model.object.sdf
    if sdf.encoding.coarse2fine.enabled:
        model.neural_sdf.set_active_levels(iteration)
        if sdf.gradient.mode == "numerical":
            model.neural_sdf.set_normal_epsilon()
    return Field(model, texture, scene, iteration)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's `model` and `iteration`; what the optimiser kept, two thirds of the file, is let go of."""
    options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
    if "mmap" in inspect.signature(torch.load).parameters:  # from PyTorch 2.1 on: reads only what is used
        options["mmap"] = True
    try:
        content = torch.load(str(path), **options)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file")
    except MemoryError:
        raise
    except Exception as error:  # torch.load raises whatever its parts raise on a file that is no checkpoint
        raise UserError(f"{path}: not a checkpoint ({describe(error)}); train this milestone again")
    if not isinstance(content, dict) or not {"model", "iteration"} <= set(content):
        raise UserError(f"{path}: not a checkpoint of Neuralangelo: it has no model and iteration; train again")
    if not isinstance(content["iteration"], int) or content["iteration"] < 1:
        raise UserError(f"{path}: holds iteration {content['iteration']!r}: nothing is learnt yet; train longer")
    return {"model": content["model"], "iteration": content["iteration"]}


def check_fits(config: Path, checkpoint: Path, learnt: dict[str, Tensor], built: dict[str, Tensor]) -> None:
    """Raises UserError naming what differs between a checkpoint's parameters and those of the config's model."""

    def shape(parameters: dict[str, Tensor], name: str) -> str:
        return "x".join(map(str, parameters[name].shape)) or "one value" if name in parameters else "none"

    wrong = [
        f"{name}: {shape(learnt, name)}, the config says {shape(built, name)}"
        for name in sorted(set(learnt) | set(built))
        if shape(learnt, name) != shape(built, name)
    ]
    if wrong:
        listed = "; ".join(wrong[:3]) + ("; ..." if len(wrong) > 3 else "")
        raise UserError(
            f"{checkpoint}: trained with another config than {config}: {len(wrong)} parameters differ ({listed}); give "
            "the config.yaml that it was trained with, or train again"
        )


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Upstream finds a config's `_parent_` from its own root only."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def explained(message: str) -> Iterator[None]:
    """Tell upstream's errors in one line, except those about memory, which the command line explains."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if "out of memory" in str(error):
            raise
        raise UserError(f"{message} ({describe(error)})")


def describe(error: Exception) -> str:
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
