"""COLMAP's camera models: from rays to pixels, and back.

Formulas and order of parameters: src/colmap/sensor/models.h. Python 3.8 and numpy only.
"""

from typing import Tuple

import numpy as np

from videomesh.poses.model import Camera

ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")


def split(camera: Camera) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Focal lengths (x, y), principal point (x, y), both in pixels, and the parameters of the distortion."""
    params = np.asarray(camera.params, float)
    if camera.model in ONE_FOCAL:
        return params[[0, 0]], params[1:3], params[3:]
    return params[:2], params[2:4], params[4:]


def project(camera: Camera, rays: np.ndarray) -> np.ndarray:
    """Pixels (n, 2) of rays (n, 2), which are x / z and y / z. NaN beyond the angle to which the model holds."""
    focal, center, _ = split(camera)
    with np.errstate(all="ignore"):
        pixels = distort(camera, rays) * focal + center
    radius = np.linalg.norm(rays, axis=1)
    pixels[~(radius <= find_limit(camera, float(radius.max(initial=0))))] = np.nan
    return pixels


def find_limit(camera: Camera, largest: float) -> float:
    """The radius of a ray up to which a larger angle lies farther out in the picture; beyond it a polynomial folds
    back, and what is outside would appear a second time."""
    if camera.model in ("SIMPLE_PINHOLE", "PINHOLE"):
        return largest
    radius = np.linspace(0, largest, 1000)
    with np.errstate(all="ignore"):
        length = np.linalg.norm(distort(camera, np.stack([radius, 0 * radius], axis=1)), axis=1)
    fall = np.flatnonzero(~(np.diff(length) > 0))
    return float(radius[fall[0]]) if len(fall) else largest


def unproject(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """Rays (n, 2) of pixels (n, 2), by Newton's method with numerical derivatives."""
    focal, center, _ = split(camera)
    wanted = (np.asarray(pixels, float) - center) / focal
    rays = wanted.copy()
    step = 1e-6
    right, down = np.array([step, 0]), np.array([0, step])
    with np.errstate(all="ignore"):
        for _ in range(20):
            error = distort(camera, rays) - wanted
            dx = (distort(camera, rays + right) - wanted - error) / step
            dy = (distort(camera, rays + down) - wanted - error) / step
            determinant = dx[:, 0] * dy[:, 1] - dy[:, 0] * dx[:, 1]
            rays = rays - np.stack(
                [
                    (dy[:, 1] * error[:, 0] - dy[:, 0] * error[:, 1]) / determinant,
                    (dx[:, 0] * error[:, 1] - dx[:, 1] * error[:, 0]) / determinant,
                ],
                axis=1,
            )
    return rays


def distort(camera: Camera, rays: np.ndarray) -> np.ndarray:
    """Where rays (n, 2) without distortion lie with it, both at focal length 1."""
    _, _, k = split(camera)
    model = camera.model
    if "FISHEYE" in model:
        radius = np.linalg.norm(rays, axis=1, keepdims=True)
        rays = rays * np.where(radius > 1e-9, np.arctan(radius) / np.where(radius > 1e-9, radius, 1), 1)
    x, y = rays[:, 0], rays[:, 1]
    r2 = x * x + y * y
    if model in ("SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE"):
        return rays * (1 + sum(c * r2 ** (i + 1) for i, c in enumerate(k)))[:, None]
    if model == "OPENCV":
        return rays * (1 + k[0] * r2 + k[1] * r2**2)[:, None] + tangential(x, y, k[2], k[3])
    if model == "FULL_OPENCV":
        above = 1 + k[0] * r2 + k[1] * r2**2 + k[4] * r2**3
        below = 1 + k[5] * r2 + k[6] * r2**2 + k[7] * r2**3
        return rays * (above / below)[:, None] + tangential(x, y, k[2], k[3])
    if model == "THIN_PRISM_FISHEYE":
        radial = 1 + k[0] * r2 + k[1] * r2**2 + k[4] * r2**3 + k[5] * r2**4
        return rays * radial[:, None] + tangential(x, y, k[2], k[3]) + r2[:, None] * k[6:8]
    if model == "FOV":
        radius, omega = np.sqrt(r2), k[0]
        if abs(omega) < 1e-6:
            return rays
        far = np.arctan(2 * radius * np.tan(omega / 2)) / (np.where(radius > 1e-9, radius, 1) * omega)
        return rays * np.where(radius > 1e-9, far, 2 * np.tan(omega / 2) / omega)[:, None]
    return rays


def tangential(x: np.ndarray, y: np.ndarray, p1: float, p2: float) -> np.ndarray:
    r2 = x * x + y * y
    return np.stack([2 * p1 * x * y + p2 * (r2 + 2 * x * x), 2 * p2 * x * y + p1 * (r2 + 2 * y * y)], axis=1)
