"""Whether a picture shows all directions at once: COLMAP and the engines know no such camera."""

import numpy as np

WIDTH = 1024  # pixels at which pictures are looked at: a row next to a pole is then close to one point
SEAM = 0.35  # of the usual difference of columns far apart: the left and the right edge show the same
NEAR = 0.5  # of the difference of columns a twentieth apart there: before a plain background all columns are alike
POLE = 0.4  # of the usual spread: the first and the last row show one point each
DARK, LIGHT = 12, 40  # mean gray levels outside and inside the two circles of a camera with two fisheye lenses


def is_equirectangular(pixels: np.ndarray) -> bool:
    """Whether the edges of a (height, 2 height, 3) picture meet and its poles are single points."""
    pixels = pixels.astype(float)
    usual = np.abs(pixels - np.roll(pixels, pixels.shape[1] // 2, axis=1)).mean()
    seam = np.abs(pixels[:, 0] - pixels[:, -1]).mean()
    away = pixels.shape[1] // 20
    near = (np.abs(pixels[:, 0] - pixels[:, away]).mean() + np.abs(pixels[:, -1] - pixels[:, -1 - away]).mean()) / 2
    spread = pixels.std(axis=1).mean()
    poles = max(pixels[0].std(axis=0).mean(), pixels[-1].std(axis=0).mean())
    return bool(seam < SEAM * usual and seam < NEAR * near and poles < POLE * spread)


def is_dual_fisheye(pixels: np.ndarray) -> bool:
    """Whether a (height, 2 height, 3) picture is two circles on black, side by side."""
    height, width = pixels.shape[:2]
    gray = pixels.mean(axis=2)
    y, x = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(x % height - height / 2, y - height / 2) / (height / 2)
    outside, inside = gray[distance > 1.1], gray[distance < 0.8]
    return bool(outside.mean() < DARK and inside.mean() > LIGHT)
