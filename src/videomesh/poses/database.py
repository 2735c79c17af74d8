"""What COLMAP's database knows: which pairs of frames match, and how.

Tables: https://colmap.github.io/database.html. They are the same in 3.8 and 4.x for what is read here.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import numpy as np

MAX_IMAGES = 2147483647  # pair_id = first * MAX_IMAGES + second
# TwoViewGeometry::ConfigurationType in src/colmap/scene/two_view_geometry.h: PLANAR, PANORAMIC, PLANAR_OR_PANORAMIC and
# WATERMARK. A homography explains such pairs, as it does for all pairs of a camera that stands still.
FLAT = (4, 5, 6, 7)
STILL = 0.004  # of the picture's long side: matches that move less lie on what stands still before the camera


class Pair(NamedTuple):
    """Two images whose matches fit one geometry."""

    images: Tuple[int, int]  # ids
    config: int
    matches: np.ndarray  # (n, 2) rows of the keypoints of each


class Motion(NamedTuple):
    """What the matched pairs of frames say of the camera's motion."""

    verified: int  # pairs whose matches fit one geometry
    flat: int  # pairs in which a homography explains all: no parallax, or a flat scene
    still: int  # pairs that show the same view

    @property
    def stands(self) -> bool:
        """The camera stands still, whatever may move before it."""
        return self.verified >= 3 and self.still >= 0.8 * self.verified

    @property
    def has_no_parallax(self) -> bool:
        return self.verified >= 3 and self.flat >= 0.8 * self.verified


def read_ids(database: Path) -> Dict[str, Tuple[int, int]]:
    """Name of each image -> its id and its camera's."""
    with closing(sqlite3.connect(str(database))) as connection:
        rows = connection.execute("SELECT name, image_id, camera_id FROM images")
        return {name: (image, camera) for name, image, camera in rows}


def read_keypoints(database: Path) -> Dict[int, np.ndarray]:
    """Image id -> (n, 2) float32 places in pixels."""
    with closing(sqlite3.connect(str(database))) as connection:
        rows = connection.execute("SELECT image_id, rows, cols, data FROM keypoints WHERE rows > 0")
        return {image: np.frombuffer(data, "<f4").reshape(n, m)[:, :2] for image, n, m, data in rows}


def read_pairs(database: Path) -> List[Pair]:
    """All pairs that COLMAP verified."""
    with closing(sqlite3.connect(str(database))) as connection:
        rows = connection.execute("SELECT pair_id, rows, data, config FROM two_view_geometries WHERE rows > 0")
        return [
            Pair(divmod(pair, MAX_IMAGES), config, np.frombuffer(data, "<u4").reshape(count, 2))
            for pair, count, data, config in rows
        ]


def read_motion(database: Path, largest_side: int) -> Motion:
    """largest_side: of the frames, pixels."""
    keypoints = read_keypoints(database)
    pairs = read_pairs(database)
    still = 0
    for pair in pairs:
        first, second = (keypoints[image][pair.matches[:, k]] for k, image in enumerate(pair.images))
        still += bool(np.median(np.linalg.norm(first - second, axis=1)) < STILL * largest_side)
    return Motion(len(pairs), sum(pair.config in FLAT for pair in pairs), still)
