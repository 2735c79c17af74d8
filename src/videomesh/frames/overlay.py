"""What is burnt into a video: a date, a text or a logo that stays where it is while the picture moves on.

COLMAP takes it for a part of the scene, which then seems not to move.
"""

from typing import List, Optional

import numpy as np

from videomesh.frames.motion import Frame

SIDE = 480  # pixels of the long side at which it is looked for
APART = 0.05  # of the long side: so far the picture moves on between two frames that are compared
LEAST = 8  # comparisons
SAME = 32  # gray levels: a pixel that changes less has stayed as it is
STAYS = 0.85  # of the comparisons in which a burnt-in pixel stays
EDGE = 25  # gray levels a pixel: the edges of what is burnt in
MIN_EDGES = 0.0003  # of the picture
MAX_STAYING = 0.3  # of the picture; where more stays, it is the background that does not move


class Overlay:
    """Takes the frames of a video one after another, with their motion."""

    def __init__(self) -> None:
        self._before: Optional[np.ndarray] = None
        self._sum: Optional[np.ndarray] = None
        self._stayed: Optional[np.ndarray] = None
        self._count = 0
        self._moved = APART

    def add(self, gray: np.ndarray, frame: Frame) -> None:
        """gray: (height, width) uint8."""
        self._moved += frame.advance
        if self._moved < APART:
            return
        self._moved = 0.0
        step = -(-max(gray.shape) // SIDE)
        picture = gray[::step, ::step].astype(np.float32)
        if self._before is None or self._sum is None or self._stayed is None or picture.shape != self._sum.shape:
            self._sum, self._stayed, self._count = picture * 0, picture * 0, 0
        else:
            self._sum += picture
            self._stayed += np.abs(picture - self._before) < SAME
            self._count += 1
        self._before = picture

    def find(self) -> Optional[List[float]]:
        """Left, top, right and bottom of what is burnt in, in shares of width and height; None if there is nothing."""
        if self._count < LEAST or self._sum is None or self._stayed is None:
            return None
        stays = self._stayed >= STAYS * self._count
        vertical, horizontal = np.gradient(self._sum / self._count)
        edges = stays & (np.hypot(vertical, horizontal) > EDGE)
        if edges.mean() < MIN_EDGES or stays.mean() > MAX_STAYING:
            return None
        rows, columns = np.flatnonzero(edges.any(axis=1)), np.flatnonzero(edges.any(axis=0))
        height, width = edges.shape
        box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
        return [round(float(place), 3) for place in box]
