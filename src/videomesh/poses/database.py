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
TURNED = 0.05  # of the long side: with less a turn cannot be told from a step along a wall
FOCALS = np.geomspace(0.5, 2.5, 33)  # over the long side: 90 to 23 degrees
MAX_SKEW = 0.04  # how far a homography may be from a rotation, see measure_skew


class Pair(NamedTuple):
    """Two images whose matches fit one geometry."""

    images: Tuple[int, int]  # ids
    config: int
    matches: np.ndarray  # (n, 2) rows of the keypoints of each
    homography: np.ndarray  # 3 x 3, pixels to pixels


class Motion(NamedTuple):
    """What the matched pairs of frames say of the camera's motion."""

    verified: int  # pairs whose matches fit one geometry
    still: int  # pairs that show the same view
    turned: int  # pairs that a turn on the spot explains

    @property
    def stands(self) -> bool:
        """The camera stands still, whatever may move before it."""
        return self.verified >= 3 and self.still >= 0.8 * self.verified

    @property
    def stays(self) -> bool:
        """The camera stands still or turns on the spot."""
        return self.verified >= 3 and self.still + self.turned >= 0.8 * self.verified


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


def find_lost_features(database: Path, frames: int) -> str:
    """What is missing of the features of so many frames, in words; "" if nothing."""
    with closing(sqlite3.connect(str(database))) as connection:
        ((done, most),) = connection.execute("SELECT COUNT(*), MAX(rows) FROM keypoints")
    if done < frames:
        return f"no features of {frames - done} of {frames} frames came back"
    return "" if most else "it found no feature in any frame"


def find_lost_matches(database: Path) -> str:
    """Whether no pair has a match, in words; "" if one has. If none has, COLMAP may match them again."""
    with closing(sqlite3.connect(str(database))) as connection, connection:
        ((most,),) = connection.execute("SELECT MAX(rows) FROM matches")
        if most:
            return ""
        connection.execute("DELETE FROM matches")  # it skips pairs that have a row, though it may be empty
        connection.execute("DELETE FROM two_view_geometries")
    return "it matched no two frames"


def read_pairs(database: Path) -> List[Pair]:
    """All pairs that COLMAP verified."""
    with closing(sqlite3.connect(str(database))) as connection:
        rows = connection.execute("SELECT pair_id, rows, data, config, H FROM two_view_geometries WHERE rows > 0")
        return [
            Pair(
                divmod(pair, MAX_IMAGES),
                config,
                np.frombuffer(data, "<u4").reshape(count, 2),
                np.frombuffer(homography or bytes(72), "<f8").reshape(3, 3),
            )
            for pair, count, data, config, homography in rows
        ]


def read_motion(database: Path, sizes: Dict[str, Tuple[int, int]]) -> Motion:
    """sizes: of the frames by their names, width and height in pixels."""
    keypoints, pairs = read_keypoints(database), read_pairs(database)
    ids = read_ids(database)
    size_of = {image: sizes[name] for name, (image, _) in ids.items()}
    camera_of = dict(ids.values())
    still, skews = 0, []
    for pair in pairs:
        if pair.config not in FLAT:
            continue
        first, second = pair.images
        before, after = keypoints[first][pair.matches[:, 0]], keypoints[second][pair.matches[:, 1]]
        step = np.median(np.linalg.norm(before - after, axis=1)) / max(size_of[first])
        if step < STILL:
            still += 1
        elif step > TURNED and camera_of[first] == camera_of[second]:
            skews.append(measure_skew(pair.homography, size_of[first]))
    # All turns of one camera have one focal length: that at which most pairs are turns.
    turned = int((np.array(skews).reshape(-1, len(FOCALS)) < MAX_SKEW).sum(axis=0).max())
    flat = sum(pair.config in FLAT for pair in pairs)
    if len(skews) >= 0.1 * flat and turned >= max(0.8 * len(skews), 3):
        turned = flat - still  # those that turn too little to be told are of the same kind
    return Motion(len(pairs), still, turned)


def measure_skew(homography: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """How far K^-1 H K is from a rotation, for each of FOCALS: 0 if the camera has turned on the spot (Hartley and
    Zisserman, Multiple View Geometry, 8.4)."""
    skews = []
    for focal in FOCALS * max(size):
        lens = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
        matrix = np.linalg.inv(lens) @ homography @ lens
        scale = np.cbrt(np.linalg.det(matrix))
        matrix = matrix / scale if abs(scale) > 1e-12 else np.zeros((3, 3))
        skews.append(np.linalg.norm(matrix.T @ matrix - np.eye(3)))
    return np.array(skews)
