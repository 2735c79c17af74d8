"""The real size: a known distance between two places that the user marks in pictures."""

from typing import NamedTuple

import numpy as np

from videomesh.errors import UserError, suggest
from videomesh.poses.model import Camera, Image

MISS = 0.005  # of the picture's long side: rays that miss the marks by more do not show one place; 10 px of 1920
MIN_ANGLE = np.radians(2)  # between the rays to a place; below it, its depth is noise


class Mark(NamedTuple):
    """A place in a picture of images.tar."""

    name: str
    x: float  # px from the left edge
    y: float  # px from the upper edge


def parse_marks(text: str, key: str) -> list[Mark]:
    """The marks in "000012.jpg 812 440, 000040.jpg 790.5 451". Raises UserError naming the part that is none."""
    marks = []
    for part in text.split(","):
        try:
            name, x, y = part.rsplit(maxsplit=2)
            marks.append(Mark(name.strip(), float(x), float(y)))
        except ValueError:
            raise UserError(
                f"{key}: {part.strip()!r} is not NAME X Y. Write for each picture its name and the place in pixels, "
                "such as 000012.jpg 812 440, separated by commas"
            )
    if len({mark.name for mark in marks}) < 2:
        raise UserError(f"{key}: the place is marked in one picture. Mark it in two or more, from different sides")
    return marks


def get_scale(distance: float, marks: dict[str, list[Mark]], camera: Camera, images: list[Image]) -> float:
    """Metres per unit of the poses' world; distance in metres between the places of two settings."""
    first, second = (find_place(key, places, camera, images) for key, places in marks.items())
    length = float(np.linalg.norm(first - second))
    spread = np.linalg.norm(np.ptp([image.world_from_cam[:3, 3] for image in images], axis=0))
    if length < 1e-4 * spread:
        raise UserError(f"{' and '.join(marks)} mark the same place. Mark two places that are scale.distance apart")
    return distance / length


def find_place(key: str, marks: list[Mark], camera: Camera, images: list[Image]) -> np.ndarray:
    """(3,) the place in the world where the rays through the marks meet. Raises UserError if they do not."""
    poses = {image.name: image.world_from_cam for image in images}
    fx, fy, cx, cy = camera.params
    for mark in marks:
        if mark.name not in poses:
            raise UserError(
                f"{key}: no picture {mark.name} has a pose.{suggest(mark.name, poses)} Those that have one are in "
                "poses/images.tar"
            )
        if not (0 <= mark.x <= camera.width and 0 <= mark.y <= camera.height):
            raise UserError(
                f"{key}: {mark.x:g} {mark.y:g} is outside of {mark.name}, which has {camera.width} x {camera.height} px"
            )
    rays = np.array([[(mark.x - cx) / fx, (mark.y - cy) / fy, 1] for mark in marks])
    world_from_cam = np.stack([poses[mark.name] for mark in marks])
    direction = np.einsum("nij,nj->ni", world_from_cam[:, :3, :3], rays / np.linalg.norm(rays, axis=1, keepdims=True))
    if np.arccos(np.clip((direction @ direction.T).min(), -1, 1)) < MIN_ANGLE:
        raise UserError(f"{key}: its pictures look from nearly the same side. Mark the place in pictures farther apart")
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    centers = world_from_cam[:, :3, 3]
    place: np.ndarray = np.linalg.solve(across.sum(0), np.einsum("nij,nj->i", across, centers))
    local = np.einsum("nij,ni->nj", world_from_cam[:, :3, :3], place - centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = local[:, :2] / local[:, 2:] * [fx, fy] + [cx, cy]
    miss = np.linalg.norm(shown - [[mark.x, mark.y] for mark in marks], axis=1)
    miss[local[:, 2] <= 0] = np.inf
    limit = MISS * max(camera.width, camera.height)
    if miss.max() > limit:
        worst = marks[int(miss.argmax())]
        away = f"{miss.max():.3g} px" if np.isfinite(miss.max()) else "far"
        raise UserError(
            f"{key}: the rays miss each other. The place that they come nearest to is {away} away from the mark in "
            f"{worst.name}; at most {limit:.3g} px are right. See whether all marks are on the same spot"
        )
    return place
