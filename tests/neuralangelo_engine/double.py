"""Upstream's test double as files: its source, its checkpoints, and photographs of what they hold."""

import gzip
import importlib.util
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from neuralangelo_engine import __main__ as command_line
from neuralangelo_engine.source import get_checksum, read_programs
from programs import call_main

UPSTREAM = Path(__file__).resolve().parent / "upstream"
CENTER, RADIUS = np.array([0.5, -1.0, 2.0]), 2.0  # of the region, in the world
SIZE, FOCAL, VIEWS = 96, 165.0, 12
TRAINED = 1000  # iterations
CHECKSUM = get_checksum(read_programs(UPSTREAM))

_spec = importlib.util.spec_from_file_location("double_model", UPSTREAM / "projects/neuralangelo/model.py")
assert _spec and _spec.loader
model = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(model)


def get_options(values: dict[str, object]) -> list[str]:
    """{"min_component": 0.1} -> ["--min-component=0.1"]"""
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def call_engine(command: str, **values: object) -> subprocess.CompletedProcess[str]:
    """What `python3 -m neuralangelo_engine COMMAND --NAME=VALUE ...` would give."""
    return call_main(command_line, ["neuralangelo_engine", command, *get_options(values)])


def make_source(path: Path) -> Path:
    """The double as the source step packs upstream: a .tar.gz, its files at the top level, the same bytes always."""
    files = [file for file in sorted(UPSTREAM.rglob("*")) if file.suffix in (".py", ".yaml", ".md")]
    return pack(path, {str(file.relative_to(UPSTREAM)): file.read_bytes() for file in files})


def pack(path: Path, files: dict[str, bytes]) -> Path:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    path.write_bytes(gzip.compress(content.getvalue(), mtime=0))
    return path


def make_config(path: Path, **settings: Any) -> Path:
    """What the config step writes, and `settings` of the model's object.sdf.encoding.hashgrid or inference_args."""
    content: dict[str, Any] = {"_parent_": "projects/neuralangelo/configs/base.yaml", "data": {"root": "../data"}}
    path.write_text(json.dumps({**content, **settings}))
    return path


def make_checkpoint(path: Path, iteration: int = TRAINED, **parameters: list[float] | float) -> Path:
    """A checkpoint as upstream saves one; parameters: of Distance, else as in a new model."""
    state = {f"module.neural_sdf.{name}": value for name, value in distance(**parameters).state_dict().items()}
    optimiser = {"state": {0: {"exp_avg": torch.zeros(9)}}, "param_groups": [{"lr": 0.001}]}
    torch.save({"model": state, "optim": optimiser, "sched": {}, "epoch": 3, "iteration": iteration}, path)
    return path


def distance(**parameters: list[float] | float) -> Any:
    made = model.Distance()
    made.set_active_levels(TRAINED)
    made.load_state_dict({name: torch.tensor(value) for name, value in parameters.items()}, strict=False)
    return made


@torch.no_grad()
def measure(points: np.ndarray, **parameters: list[float] | float) -> np.ndarray:
    """Signed distances (N,) at points (N, 3) of the unit sphere's frame."""
    return distance(**parameters).sdf(torch.tensor(points, dtype=torch.float64))[..., 0].numpy()


def painted(points: np.ndarray) -> np.ndarray:
    return model.painted(torch.tensor(points)).numpy()


def make_scene(folder: Path, **parameters: list[float] | float) -> None:
    """transforms.json, an empty masks.tar, and images.tar: photographs from two rings round the region, one with the
    axis tilted."""
    frames = []
    tarfile.open(folder / "masks.tar", "w").close()
    with tarfile.open(folder / "images.tar", "w") as tar:
        for index in range(VIEWS):
            pose = get_pose(index)
            world = pose.copy()
            world[:3, 3] = world[:3, 3] * RADIUS + CENTER
            name = f"{index:06d}.png"
            frames.append({"file_path": f"images/{name}", "transform_matrix": world.tolist()})
            data = io.BytesIO()
            Image.fromarray(photograph(pose, **parameters)).save(data, "PNG")
            member = tarfile.TarInfo(name)
            member.size = data.tell()
            data.seek(0)
            tar.addfile(member, data)
    transforms = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE}
    region = {"sphere_center": CENTER.tolist(), "sphere_radius": RADIUS}
    (folder / "transforms.json").write_text(json.dumps({**transforms, **region, "frames": frames}))


def get_pose(index: int) -> np.ndarray:
    """Camera to unit sphere, OpenGL axes."""
    azimuth, elevation = 2 * np.pi * index / VIEWS, np.radians(-40 if index % 2 else 40)
    back = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.cross([0, 0, 1], back) / np.cos(elevation)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, 3 * back], 1)
    return pose


def photograph(pose: np.ndarray, **parameters: list[float] | float) -> np.ndarray:
    """By sphere tracing: uint8 (SIZE, SIZE, 3) before a grey background."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([(x - SIZE / 2) / FOCAL, -(y - SIZE / 2) / FOCAL, -np.ones_like(x)], -1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    points = pose[:3, 3] + 1.5 * rays
    for _ in range(40):
        points = points + measure(points, **parameters)[..., None] * rays
    hit = (np.abs(measure(points, **parameters)) < 1e-3) & (np.linalg.norm(points, axis=-1) < 3)
    return (np.where(hit[..., None], painted(points), 0.5) * 255).round().astype(np.uint8)
