"""Where the camera is: a walk round the subject with varying height, by a hand that shakes a little."""

from dataclasses import dataclass

import numpy as np

# Hertz, and the share that each has of the shake of a hand: a slow sway and a faster tremor.
SHAKE = ((0.23, 1.0), (0.71, 0.45), (1.9, 0.12), (4.3, 0.04))


@dataclass
class Path:
    """An ellipse round the target; the camera looks from there at another ellipse (a point if `look` is 0).

    Heights are of the camera and of what it looks at, and go up and down `waves` times.
    """

    target: tuple[float, float, float]
    distance: tuple[float, float]  # along x and y, on the ground
    height: tuple[float, float]
    look: tuple[float, float] = (0, 0)  # along x and y; below 0: to the other side
    look_height: tuple[float, float] | None = None  # default: the target's
    waves: float = 2
    arc: float = 360  # degrees, from half before `start` to half behind it
    start: float = 0
    focal: float = 0.944  # of the picture's longer side: a phone's main camera

    def cameras(self, times: np.ndarray, seconds: float) -> np.ndarray:
        """(n, 4, 4) camera-to-world, OpenGL axes, at times of 0 to `seconds`."""
        share = times / seconds
        azimuth = np.radians(self.start + self.arc * (share - 0.5))
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * self.waves * share)
        around = np.stack([np.cos(azimuth), np.sin(azimuth)], -1)
        target = np.array(self.target)
        low, high = self.look_height or (self.target[2], self.target[2])
        centres = np.column_stack([target[:2] + around * self.distance, between(self.height, wave)])
        looks = np.column_stack([target[:2] + around * self.look, between((low, high), wave)])
        size = np.linalg.norm(centres - looks, axis=1, keepdims=True)
        centres = centres + 0.02 * size * shake(times, 3, seed=1)
        looks = looks + 0.025 * size * shake(times, 3, seed=2)
        return look_at(centres, looks, 0.03 * shake(times, 1, seed=3)[:, 0])

    def turntable(self, times: np.ndarray, seconds: float) -> np.ndarray:
        """The same in the axes of an object that turns once before a camera which stands still."""
        azimuth = np.radians(self.start + self.arc * (times / seconds - 0.5))
        height = (self.height[0] + self.height[1]) / 2
        around = np.stack([np.cos(azimuth), np.sin(azimuth)], -1) * self.distance[0]
        centres = np.column_stack([around, np.full(len(times), height)])
        middle = (0, 0, sum(self.look_height) / 2 if self.look_height else self.target[2])
        return look_at(centres, np.tile(middle, (len(times), 1)), np.zeros(len(times)))


def between(ends: tuple[float, float], share: np.ndarray) -> np.ndarray:
    return ends[0] + (ends[1] - ends[0]) * share


def shake(times: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(n, count) smooth movements of about -1 to 1."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, (len(SHAKE), count))
    return (
        np.asarray(
            sum(
                size * np.sin(2 * np.pi * hertz * times[:, None] + phase)
                for (hertz, size), phase in zip(SHAKE, phases, strict=True)
            )
        )
        / 1.6
    )


def look_at(centres: np.ndarray, targets: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """(n, 4, 4) cameras at `centres` (n, 3) that look at `targets`, upright but for `roll` (n,) radians."""
    back = unit(centres - targets)
    right = unit(np.cross([0.0, 0.0, 1.0], back))
    up = np.cross(back, right)
    cosine, sine = np.cos(roll)[:, None], np.sin(roll)[:, None]
    cameras = np.tile(np.eye(4), (len(centres), 1, 1))
    cameras[:, :3, 0] = cosine * right + sine * up
    cameras[:, :3, 1] = cosine * up - sine * right
    cameras[:, :3, 2] = back
    cameras[:, :3, 3] = centres
    return cameras


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
