"""How long each step may take, in seconds, on a reference machine: one V100S for steps with a GPU, else eight CPUs.

It is for quotes and time limits, and it is rough: videos differ. Whoever runs the jobs corrects it by what they took.
The length of a video is not known before it is read, so the settings stand for it. Where no source is named, a constant
was measured for docs/benchmarks.md or docs/neuralangelo.md.
"""

from collections.abc import Callable, Mapping
from typing import Any

START = 10.0  # a program starts, imports its packages and compiles its kernels
ASPECT = 9 / 16  # height over width of most videos

FRAMES = 0.023  # for a kept megapixel: 14.2 s for 300 frames at 1920 x 1080, on two cores
# For a megapixel in which COLMAP looks for features: 486 s for 300 frames at 1600 x 900, on two cores. Eight CPUs are
# taken to be 2.7 times as fast, since not all of COLMAP runs in parallel.
POSES = 486 / (300 * 1.44) / 2.7
SDFGRID_ITERATION = (
    0.0237  # 3,000 iterations took 84 s and 6,000 took 155 s on an H100, where starting kernels took most
)
SDFGRID_CELL = 8.2 / 256**2  # of the surface, whose cells grow with the square of the resolution: 8.2 s at 256
# OVHcloud's tutorial: 1,000 iterations take about 5 minutes on a V100S, and 20,000 take 1 hour.
NEURALANGELO_START = 120.0
NEURALANGELO_ITERATION = (3600 - 300) / 19_000
FAST = 1.4  # iterations a second of `neuralangelo.preset: fast`, over those of `full`
NEURALANGELO_CELL = 180 / 2048**2  # the same tutorial: an extraction at 2048 takes about 3 minutes


# GB of GPU memory that a step needs. The built-in engine took 0.9 to 3.6 GiB. Neuralangelo's full table needs 24 GB, as
# the setting neuralangelo.gpu_memory says.
SDFGRID_MEMORY = 6
NEURALANGELO_MEMORY = 24


def count_frames(settings: Mapping[str, Any]) -> int:
    return int(settings["frames"]["target"])


def count_megapixels(side: int) -> float:
    """Of a frame, from its long side in pixels."""
    return side * side * ASPECT / 1e6


def expect_frames(settings: Mapping[str, Any], iterations: int) -> float:
    return START + FRAMES * count_frames(settings) * count_megapixels(settings["frames"]["max_size"])


def expect_poses(settings: Mapping[str, Any], iterations: int) -> float:
    side = min(settings["poses"]["max_image_size"], settings["frames"]["max_size"])
    return START + POSES * count_frames(settings) * count_megapixels(side)


def expect_sdfgrid_train(settings: Mapping[str, Any], iterations: int) -> float:
    return START + SDFGRID_ITERATION * iterations


def expect_sdfgrid_mesh(settings: Mapping[str, Any], iterations: int) -> float:
    return START + SDFGRID_CELL * settings["mesh"]["resolution"] ** 2


def expect_sdfgrid_train_and_mesh(settings: Mapping[str, Any], iterations: int) -> float:
    return expect_sdfgrid_train(settings, iterations) + expect_sdfgrid_mesh(settings, iterations) - START


def expect_neuralangelo_train(settings: Mapping[str, Any], iterations: int) -> float:
    faster = FAST if settings["neuralangelo"]["preset"] == "fast" else 1.0
    return NEURALANGELO_START + NEURALANGELO_ITERATION * iterations / faster


def expect_neuralangelo_mesh(settings: Mapping[str, Any], iterations: int) -> float:
    return 3 * START + NEURALANGELO_CELL * settings["mesh"]["resolution"] ** 2


# By rule. iterations: of this training, from the milestone before; 0 for other steps.
EXPECTED: Mapping[str, Callable[[Mapping[str, Any], int], float]] = {
    "frames": expect_frames,
    "poses": expect_poses,
    "sdfgrid_train": expect_sdfgrid_train,
    "sdfgrid_mesh": expect_sdfgrid_mesh,
    "sdfgrid_train_and_mesh": expect_sdfgrid_train_and_mesh,
    "neuralangelo_train": expect_neuralangelo_train,
    "neuralangelo_mesh": expect_neuralangelo_mesh,
}


def get_gpu_memory(settings: Mapping[str, Any]) -> float:
    """GB that training and extraction of the scene's engine need."""
    if settings["engine"] == "sdfgrid":
        return SDFGRID_MEMORY
    return float(settings["neuralangelo"]["gpu_memory"] or NEURALANGELO_MEMORY)


def get_expected_seconds(rule: str, settings: Mapping[str, Any], iteration: int = 0) -> int:
    """settings: of the scene. iteration: the milestone at which a training ends."""
    train = settings["train"]
    before = [milestone for milestone in train["milestones"] if milestone < iteration]
    return max(1, round(EXPECTED[rule](settings, iteration - max(before, default=0))))
