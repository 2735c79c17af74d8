"""Which way is up, and the world that stands upright: COLMAP's turned so that z points up.

COLMAP chooses the axes of its world by chance. Turned upright, and so that the first camera looks along y, they mean
the same after each run: z is up, the first camera looks from the front.
"""

from typing import NamedTuple

import numpy as np

from videomesh.region.subject import Plane, find_ground
from videomesh.region.views import Cloud, Lens, Views, find_focus, up_direction

UP = np.array([0.0, 0.0, 1.0])  # of the upright world
ALIGNED = np.cos(np.radians(10))  # poses that were given have a world in which one axis is up, nearly or exactly


class World(NamedTuple):
    """From COLMAP's world to the one of transforms.json: x -> scale * rotation @ x."""

    rotation: np.ndarray  # (3, 3)
    scale: float
    units: str  # arbitrary, or m

    def move(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3)."""
        return self.scale * points @ self.rotation.T

    def move_poses(self, world_from_cam: np.ndarray) -> np.ndarray:
        """Poses (n, 4, 4)."""
        moved = world_from_cam.copy()
        moved[:, :3, :3] = self.rotation @ world_from_cam[:, :3, :3]
        moved[:, :3, 3] = self.move(world_from_cam[:, :3, 3])
        return moved

    def move_cloud(self, cloud: Cloud) -> Cloud:
        return cloud._replace(xyz=self.move(cloud.xyz))


def turn_upright(views: Views, degrees: np.ndarray) -> Views:
    """The views with the image directions they had before the pixels were turned clockwise by degrees (n,).

    Photos that were taken sideways are turned so that one camera made all of them.
    """
    sine, cosine = np.sin(np.radians(degrees))[:, None], np.cos(np.radians(degrees))[:, None]
    return views._replace(up=cosine * views.up + sine * views.right)


def find_world(
    views: Views, cloud: Cloud, lens: Lens, turned: np.ndarray, given: bool, scale: float, units: str
) -> tuple[World, str]:
    """The upright world, and what tells where up is.

    turned: (n,) degrees by which the pixels were turned; given: the poses came with the capture
    """
    held = turn_upright(views, turned)
    ground = find_ground(views, cloud, lens, find_focus(views, cloud, lens), up_direction(held))
    up, source = find_up(held, ground, given)
    return World(upright_rotation(up, views), scale, units), source


def find_up(held: Views, plane: Plane | None, given: bool) -> tuple[np.ndarray, str]:
    """(3,) up, and what tells it: poses, plane or cameras.

    held: the views as the person held the camera; given: the poses came with the capture, whose world is upright then
    """
    up = up_direction(held)
    if given:
        axis = np.eye(3)[np.abs(up).argmax()] * np.sign(up[np.abs(up).argmax()])
        if axis @ up > ALIGNED:
            return axis, "poses"
    if plane is not None:
        return plane.normal, "plane"
    return up, "cameras"


def upright_rotation(up: np.ndarray, views: Views) -> np.ndarray:
    """(3, 3) rotation that takes up to z, and the direction in which the first camera looks to y as far as it can."""
    for ahead in (views.forward[0], views.up[0], np.eye(3)[np.abs(up).argmin()]):
        level = ahead - (ahead @ up) * up
        if np.linalg.norm(level) > 0.1:  # else it points straight up or down
            break
    level = level / np.linalg.norm(level)
    return np.stack([np.cross(level, up), level, up])
