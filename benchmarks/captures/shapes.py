"""Scenes as data: things made of simple parts, and what they are made of.

Lengths are in units of the scene; z is up.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tracing import (
    BALL,
    BOX,
    CAPSULE,
    CHECKS,
    CONE,
    CYLINDER,
    FAR,
    MOSAIC,
    MOTTLED,
    PLAIN,
    ROOM,
    STRIPES,
    TORUS,
    Look,
    Shapes,
    depth_map,
)


@dataclass
class Part:
    """One shape. size, in half lengths and radii, along its own axes:

    BALL (x, y, z)   BOX (x, y, z)   ROOM (x, y, z), a box seen from inside   CYLINDER (radius, half height)
    CAPSULE (radius, half length between the ends' centres)   TORUS (ring's radius, tube's radius), about z
    CONE (lower radius, upper radius, half height)
    """

    kind: int
    size: tuple[float, ...]
    at: tuple[float, float, float]
    turn: tuple[float, float, float] = (0, 0, 0)  # degrees about the world's x, then y, then z
    round: float = 0  # radius of the edges; the part keeps its size
    blend: float = 0  # how far it melts into the parts of its thing before it
    cut: bool = False  # taken away from them instead
    bumps: tuple[float, float] = (0, 0)  # height of waves on the surface, and their number in 2 pi units
    material: str = "plain"

    def reach(self) -> float:
        """Radius of a ball round the part."""
        size = (*self.size, 0, 0)
        radius = {
            BALL: max(self.size),
            BOX: math.hypot(*size[:3]),
            ROOM: FAR,
            CYLINDER: math.hypot(*size[:2]),
            CAPSULE: size[0] + size[1],
            TORUS: size[0] + size[1],
            CONE: math.hypot(max(size[0], size[1]), size[2]),
        }[self.kind]
        return radius + self.bumps[0] + self.blend / 4  # a smooth union adds a quarter of its width at most


@dataclass
class Thing:
    """Parts that are melted together or cut from each other, in this order."""

    parts: list[Part]
    subject: bool = True  # part of what is reconstructed; else table, wall, room


@dataclass
class Scene:
    """What is filmed. planes: (normal, offset) of the tables and walls that bound the subject."""

    things: list[Thing]
    planes: list[tuple[float, float, float, float]] = field(default_factory=list)
    light: tuple[float, float, float] = (0.45, -0.5, 0.85)
    ambient: float = 0.55


class Material(NamedTuple):
    """A texture in space. Colours are linear, 0 to 1; scale: features in one unit; gloss: 0 matt to 1 mirror."""

    pattern: int
    first: tuple[float, float, float]
    second: tuple[float, float, float] = (0.5, 0.5, 0.5)
    scale: float = 6.0
    gloss: float = 0.0


MATERIALS = {
    "plain": Material(PLAIN, (0.62, 0.6, 0.56)),
    "clay": Material(PLAIN, (0.55, 0.36, 0.26)),
    "blue": Material(PLAIN, (0.12, 0.25, 0.5)),
    "dark": Material(PLAIN, (0.09, 0.09, 0.1)),
    "white": Material(PLAIN, (0.75, 0.74, 0.71)),
    "red gloss": Material(PLAIN, (0.5, 0.03, 0.03), gloss=0.8),
    "steel": Material(PLAIN, (0.35, 0.36, 0.38), gloss=0.6),
    "cloth": Material(MOSAIC, (0.55, 0.2, 0.12), (0.8, 0.72, 0.55), 14),
    "carpet": Material(MOSAIC, (0.1, 0.2, 0.3), (0.6, 0.5, 0.35), 9),
    "floor": Material(STRIPES, (0.32, 0.18, 0.09), (0.5, 0.32, 0.18), 2.2),
    "wood": Material(STRIPES, (0.3, 0.15, 0.06), (0.58, 0.36, 0.17), 9),
    "wallpaper": Material(MOTTLED, (0.38, 0.42, 0.4), (0.68, 0.64, 0.56), 3.5),
    "plaster": Material(MOTTLED, (0.5, 0.46, 0.4), (0.68, 0.64, 0.58), 7),
    "stone": Material(MOTTLED, (0.26, 0.24, 0.22), (0.62, 0.58, 0.52), 9),
    "brick": Material(CHECKS, (0.42, 0.16, 0.1), (0.58, 0.3, 0.2), 7),
    "paint": Material(MOSAIC, (0.1, 0.4, 0.35), (0.85, 0.6, 0.15), 11),
    "fur": Material(MOTTLED, (0.5, 0.26, 0.08), (0.85, 0.62, 0.3), 13),
    "print": Material(CHECKS, (0.12, 0.2, 0.5), (0.85, 0.82, 0.7), 12),
    "leaf": Material(MOTTLED, (0.06, 0.2, 0.04), (0.3, 0.5, 0.12), 16),
    "rust": Material(MOTTLED, (0.25, 0.1, 0.05), (0.6, 0.35, 0.18), 10),
    "picture": Material(MOSAIC, (0.15, 0.3, 0.55), (0.9, 0.75, 0.4), 5),
}


def to_shapes(scene: Scene, subject_only: bool = False) -> Shapes:
    """The arrays that the functions below take."""
    things = [thing for thing in scene.things if thing.subject or not subject_only]
    ends = np.cumsum([len(thing.parts) for thing in things])
    return Shapes(
        np.array([to_row(part) for thing in things for part in thing.parts], float),
        np.array(
            [(*bounding_ball(thing), end - len(thing.parts), end) for thing, end in zip(things, ends, strict=True)]
        ),
        np.arange(len(things)),
    )


def to_row(part: Part) -> list[float]:
    size = [*part.size, 0.0, 0.0][:3]
    turned = any(part.turn)
    own_from_world = rotation(part.turn).T.ravel()
    return [
        part.kind,
        part.cut,
        *size,
        part.round,
        part.blend,
        *part.bumps,
        *part.at,
        part.reach(),
        turned,
        *own_from_world,
    ]


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation about x, then y, then z."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[i, i] = about[j, j] = np.cos(angle)
        about[j, i], about[i, j] = np.sin(angle), -np.sin(angle)
        turned = about @ turned
    return turned


def bounding_ball(thing: Thing) -> tuple[float, float, float, float]:
    """Centre and radius of a ball round what the parts of a thing add."""
    added = [part for part in thing.parts if not part.cut]
    low = np.min([np.array(part.at) - part.reach() for part in added], axis=0)
    high = np.max([np.array(part.at) + part.reach() for part in added], axis=0)
    centre = (low + high) / 2
    return (*centre, max(float(np.linalg.norm(np.array(part.at) - centre)) + part.reach() for part in added))


def to_look(scene: Scene, backdrop: int = PLAIN) -> Look:
    """The look that goes with to_shapes(scene)."""
    materials = [MATERIALS[part.material] for thing in scene.things for part in thing.parts]
    light = np.array(scene.light, float)
    return Look(
        np.array([material.pattern for material in materials]),
        np.array([material.first for material in materials], float),
        np.array([material.second for material in materials], float),
        np.array([material.scale for material in materials], float),
        np.array([material.gloss for material in materials], float),
        light / np.linalg.norm(light),
        scene.ambient,
        backdrop,
    )


def subject_mask(scene: Scene, camera: np.ndarray, focal: float, width: int, height: int) -> np.ndarray:
    """(height, width) whether the first surface at each pixel's centre is the subject's."""
    everything = depth_map(to_shapes(scene), camera, focal, width, height)
    subject = depth_map(to_shapes(scene, subject_only=True), camera, focal, width, height)
    return (subject < FAR) & (subject <= everything + 1e-3)
