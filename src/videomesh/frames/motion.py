"""How far the picture has moved on, frame by frame, and where one shot ends and the next begins.

Motion is measured as the displacement of what is seen, in shares of the picture's long side. Mean temporal difference
over mean gradient is the size of the optical flow along the gradient (Horn and Schunck, "Determining optical flow",
1981): it does not depend on contrast, and it sees turning, walking and zooming alike.
"""

from typing import List, NamedTuple, Optional, Sequence

import numpy as np

SIDE = 96  # pixels of the long side at which motion is measured: noise and fine grain are gone
LEVELS = 3  # each half as large as the one before: small displacements are seen on the first, large ones on the last
STEP = 0.01  # of the long side: as far as displacements are measured from one and the same frame
FLAT = 0.3  # gray levels a pixel: the mean gradient of a picture that shows nothing
PARTS = 4  # along each side, in which pictures are compared
ALIKE, UNLIKE = 0.7, 0.3  # likeness of two frames of one shot, and of two shots


class Frame(NamedTuple):
    """A frame of the video as far as its motion goes."""

    advance: float  # motion since the frame before, in shares of the picture's long side
    likeness: float  # with the frame before, -1 to 1
    changed: float  # the largest change of a pixel since the frame before, gray levels
    luminance: float  # mean, 0 to 1


class Motion:
    """Takes the frames of a video one after another; holds three small pictures at most.

    Displacements are measured from a reference, which stays until the picture has moved on by a step. So noise and the
    shaking of a hand count once a step and not once a frame, and slow motion is not lost in them.
    """

    def __init__(self) -> None:
        self.frames: List[Frame] = []
        self._reference: Optional[np.ndarray] = None
        self._before: Optional[np.ndarray] = None
        self._reached = 0.0  # displacement from the reference

    def add(self, gray: np.ndarray) -> None:
        """gray: (height, width) uint8."""
        small = shrink(gray)
        luminance = float(small.mean()) / 255
        if self._before is None or self._reference is None or self._before.shape != small.shape:
            self.frames.append(Frame(0.0, 1.0, 255.0, luminance))
            self._reference, self._reached = small, 0.0
        else:
            reached = max(self._reached, measure_displacement(self._reference, small))
            changed = float(np.abs(small - self._before).max())
            self.frames.append(Frame(reached - self._reached, compare(self._before, small), changed, luminance))
            self._reached = reached
            if reached >= STEP or is_flat(self._reference):
                self._reference, self._reached = small, 0.0
        self._before = small


def is_flat(picture: np.ndarray) -> bool:
    """Whether a small picture shows nothing from which motion could be told."""
    return float(picture.std()) < FLAT


def shrink(gray: np.ndarray) -> np.ndarray:
    """A (height, width) picture with a long side of at most SIDE: the mean of blocks, slightly blurred; float32."""
    block = max(1, -(-max(gray.shape) // SIDE))
    height, width = (max(1, length // block) for length in gray.shape)
    cut = gray[: height * block, : width * block] if min(gray.shape) >= block else gray[:1, :1]
    rows = np.add.reduceat(cut, np.arange(0, cut.shape[0], block), axis=0, dtype=np.uint32)
    blocks = np.add.reduceat(rows, np.arange(0, cut.shape[1], block), axis=1, dtype=np.uint32)
    return blur(blocks[:height, :width].astype(np.float32) / block**2)


def blur(picture: np.ndarray) -> np.ndarray:
    """Weights 1, 2, 1 along both axes."""
    for axis in (0, 1):
        padded = np.pad(picture, [(1, 1) if axis == a else (0, 0) for a in (0, 1)], mode="edge")
        parts = [np.take(padded, np.arange(k, k + picture.shape[axis]), axis=axis) for k in range(3)]
        picture = (parts[0] + 2 * parts[1] + parts[2]) / 4
    return picture


def measure_displacement(first: np.ndarray, second: np.ndarray) -> float:
    """Mean displacement between two small pictures, in shares of the long side; 0 where nothing is seen.

    A level tells displacements up to about the size of what it shows. The largest of the levels is right, because a
    displacement that is too large for a level looks small there.
    """
    largest = 0.0
    for level in range(LEVELS):
        if min(first.shape) < 8:
            break
        if level:
            first, second = halve(first), halve(second)
        largest = max(largest, _flow(first, second) / max(first.shape))
    return largest


def _flow(first: np.ndarray, second: np.ndarray) -> float:
    """Mean size of the flow along the gradient, pixels. Brightness that changes as a whole is no motion."""
    second = match_brightness(first, second)
    middle = (first + second) / 2
    vertical, horizontal = np.gradient(middle)
    gradient = float(np.hypot(vertical, horizontal).mean())
    return float(np.abs(second - first).mean()) / gradient if gradient > FLAT else 0.0


def match_brightness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The second picture with the mean and the spread of the first."""
    spread = float(second.std())
    return (second - second.mean()) * (float(first.std()) / spread if spread > FLAT else 1.0) + first.mean()


def halve(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    return blur(picture[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3)))


def compare(first: np.ndarray, second: np.ndarray) -> float:
    """How alike two small pictures are, -1 to 1: the median of parts, so that a text that appears does not count."""
    if min(first.shape) >= 8 * PARTS:
        first, second = halve(first), halve(second)
    parts = [
        correlate(one, other)
        for rows, others in zip(np.array_split(first, PARTS), np.array_split(second, PARTS))
        for one, other in zip(np.array_split(rows, PARTS, axis=1), np.array_split(others, PARTS, axis=1))
        if one.size
    ]
    return float(np.median(parts))


def correlate(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two small pictures; 1 if both are flat and equal."""
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if size < FLAT**2 * a.size:
        return 1.0 if abs(float(first.mean() - second.mean())) < 8 else 0.0
    return float((a * b).sum()) / size


def find_cuts(frames: Sequence[Frame]) -> List[int]:
    """Numbers of the frames that begin another shot: unlike the frame before, while their neighbours are alike."""
    cuts = []
    for index in range(1, len(frames)):
        around = [frames[k].likeness for k in (index - 1, index + 1) if 0 < k < len(frames)]
        if frames[index].likeness < UNLIKE and all(likeness > ALIKE for likeness in around):
            cuts.append(index)
    return cuts
