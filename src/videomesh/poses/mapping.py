"""Matching and mapping, with more effort while too few frames get a pose."""

import time
from itertools import combinations
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

import numpy as np

from videomesh.poses.backend import Backend
from videomesh.poses.database import read_motion
from videomesh.poses.frames import Frames
from videomesh.poses.model import Points, read_images, read_points
from videomesh.poses.progress import timed

Pairs = Set[Tuple[int, int]]  # (i, j) with i < j: places in the list of frames
OVERLAP, WIDE_OVERLAP = 6, 20  # so many following frames are matched with each
KEY_FRAME_STEP, MAX_KEY_FRAMES = 5, 30
MIN_KEY_FRAMES = 5  # of each of several shots: what joins them
MAX_EXHAUSTIVE = 300  # frames; that is 44,850 pairs
# Mapper options as COLMAP's command line names them; programs that lack one do without it. A model grows by the ratios
# between two adjustments of the whole; COLMAP's own are 1.1, for video 1.4 (ModifyForVideoData in option_manager.cc).
# Each adjustment is shorter than COLMAP's, too: what one leaves is done by the next, and the last one is of the whole.
# On seven rendered captures and on 300 frames at 1080p this takes 20 to 40 % less time than 1.4 alone, and the cameras
# are as near the true ones (docs/benchmarks.md). Without redundant points (4.x) an adjustment is quicker still.
MAPPER = {
    "ba_global_frames_ratio": 2.0,
    "ba_global_points_ratio": 2.0,
    "ba_global_max_refinements": 2,
    "ba_global_ignore_redundant_points3D": 1,
    "ba_local_num_images": 4,
    "ba_local_max_num_iterations": 10,
    "ba_local_max_refinements": 1,
}
# About half of COLMAP's defaults, which are 100, 30, 0.25, 16 degrees and 10 frames.
LOWER_THRESHOLD = {
    "init_min_num_inliers": 50,
    "abs_pose_min_num_inliers": 15,
    "abs_pose_min_inlier_ratio": 0.12,
    "init_min_tri_angle": 8,
    "min_model_size": 5,
}


class Effort(NamedTuple):
    """One way to match and map. The next one costs more and asks less of the frames."""

    name: str
    pairs: Pairs
    mapper: Dict[str, float]


class Model(NamedTuple):
    """One of COLMAP's models: frames that could be put into one coordinate system."""

    folder: Path
    names: List[str]  # registered frames
    points: Points

    @property
    def reprojection_error(self) -> float:
        """Mean over the points, pixels of the frames."""
        return float(self.points.error.mean()) if len(self.points.error) else 0.0


class Attempt(NamedTuple):
    """What came out of one effort."""

    name: str
    pairs: int  # matched so far, by this attempt and those before
    models: List[Model]  # most frames first
    seconds: float

    @property
    def registered(self) -> int:
        return len(self.models[0].names) if self.models else 0


def match_and_map(backend: Backend, folder: Path, frames: Frames, min_registered: float, prefix: str) -> List[Attempt]:
    """Match and map with rising effort until enough frames have a pose. All attempts, in their order; at least one.

    min_registered: the share of the frames that is enough, 0 to 1. prefix: of the names of the attempts.
    """
    count = len(frames.names)
    matched: Pairs = set()
    attempts: List[Attempt] = []
    for effort in list_efforts(frames.clips, frames.shots, frames.ordered):
        new = effort.pairs - matched
        if not new and effort.mapper is MAPPER:
            continue  # a small scene: the effort before has matched all these
        start = time.monotonic()
        name = prefix + effort.name
        if new:
            with timed(f"matching {len(new)} pairs ({name})"):
                backend.match([(frames.names[i], frames.names[j]) for i, j in sorted(new)])
            matched |= new
        models_folder = folder / f"{prefix.strip() or 'all'}-models{len(attempts)}"
        models_folder.mkdir()
        with timed("mapping"):
            # Parts that were merged wrongly lose frames. So what follows on them does without.
            backend.map(models_folder, effort.mapper, in_parts=not attempts)
        models = read_models(models_folder)
        attempts.append(Attempt(name, len(matched), models, time.monotonic() - start))
        registered = attempts[-1].registered
        if registered and registered / count >= min_registered:
            break
        print(f"{name}: {registered} of {count} frames in the largest of {len(models)} models", flush=True)
        if not registered and read_motion(folder / "database.db", frames.sizes).stands:
            break  # every pair shows the same view: more pairs show it, too
    return attempts


def list_efforts(clips: Sequence[Sequence[int]], shots: Sequence[Sequence[int]], ordered: bool) -> List[Effort]:
    """The efforts for the frames of these clips. Each matches only the pairs that those before did not.

    shots: parts of the clips. Neighbours are matched over their borders too, as a cut may be none.
    """
    count = sum(map(len, clips))
    efforts = []
    if ordered or count > MAX_EXHAUSTIVE:
        key_frames = key_frame_pairs(shots)
        for name, overlap in (("sequential", OVERLAP), ("wider", WIDE_OVERLAP)):
            pairs = {(clip[i], clip[j]) for clip in [*clips, *shots] for i, j in sequential_pairs(len(clip), overlap)}
            efforts.append(Effort(name, pairs | key_frames, MAPPER))
    if count <= MAX_EXHAUSTIVE:
        efforts.append(Effort("exhaustive", set(combinations(range(count), 2)), MAPPER))
    return [*efforts, Effort("lower threshold", set(), {**MAPPER, **LOWER_THRESHOLD})]


def sequential_pairs(count: int, overlap: int) -> Pairs:
    """Each frame with the next `overlap` ones and with those 2 and 3 times as far. After the last comes the first:
    most captures go round something, and if not, these pairs cost little."""
    steps = [*range(1, overlap + 1), 2 * overlap, 3 * overlap]
    pairs = [(i, (i + step) % count) for i in range(count) for step in steps]
    return {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}


def key_frame_pairs(shots: Sequence[Sequence[int]]) -> Pairs:
    """All pairs of evenly spaced frames, also of different shots: joins the shots, and the turns of a capture that goes
    round several times."""
    keys: Set[int] = set()
    least = min(MIN_KEY_FRAMES, max(1, MAX_EXHAUSTIVE // len(shots))) if len(shots) > 1 else 0
    for shot in shots:
        wanted = max(min(len(shot) // KEY_FRAME_STEP, MAX_KEY_FRAMES // len(shots)), min(least, len(shot)))
        keys |= {shot[place] for place in np.linspace(0, len(shot) - 1, wanted).round().astype(int).tolist()}
    return set(combinations(sorted(keys), 2))


def read_models(folder: Path) -> List[Model]:
    """All models that the mapper wrote, most frames first: COLMAP's numbers say nothing about size."""
    models = [read_model(path.parent) for path in sorted(folder.glob("*/images.bin"))]
    return sorted(models, key=lambda model: (-len(model.names), -len(model.points.xyz)))


def read_model(folder: Path) -> Model:
    names = [image.name for image in read_images(folder / "images.bin")]
    return Model(folder, names, read_points(folder / "points3D.bin"))
