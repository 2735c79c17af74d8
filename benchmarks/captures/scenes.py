"""The scenes, and how each is filmed. Units are arbitrary; a thing on a table is about one long. z is up."""

import math
from collections.abc import Callable
from typing import NamedTuple

from paths import Path
from shapes import Part, Scene, Thing
from tracing import BALL, BOX, CAPSULE, CONE, CYLINDER, ROOM, TORUS

Point = tuple[float, float, float]
GROUND = (0.0, 0.0, 1.0, 0.0)  # the plane z = 0


class Capture(NamedTuple):
    scene: Scene
    path: Path


def tube(start: Point, end: Point, radius: float, material: str, **more: float) -> Part:
    """A capsule between two points."""
    dx, dy, dz = (b - a for a, b in zip(start, end, strict=True))
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    lean, around = math.degrees(math.acos(dz / length)), math.degrees(math.atan2(dy, dx))
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, (start[2] + end[2]) / 2)
    return Part(CAPSULE, (radius, length / 2), middle, (0, lean, around), material=material, **more)  # type: ignore[arg-type]


def surroundings(table: str, round_table: bool = True, size: float = 1.7) -> list[Thing]:
    """A room with pictures on its walls, and in it the table whose top is z = 0."""
    top = Part(CYLINDER, (size, 0.03), (0, 0, -0.03), round=0.01, material=table)
    if not round_table:
        top = Part(BOX, (size, 0.75 * size, 0.03), (0, 0, -0.03), round=0.01, material=table)
    walls = Part(ROOM, (5, 4, 2.2), (0, 0, 1.2), material="wallpaper")
    pictures = [
        Part(BOX, (0.05, 1, 0.6), (4.95, 0.7, 1.3), material="picture"),
        Part(BOX, (0.05, 0.7, 0.8), (-4.95, -0.9, 1.2), material="print"),
        Part(BOX, (1.2, 0.05, 0.6), (-0.8, 3.95, 1.2), material="paint"),
        Part(BOX, (0.8, 0.05, 0.7), (1.4, -3.95, 1.3), material="picture"),
        Part(BOX, (0.5, 0.3, 0.9), (-3, -3.6, -0.1), material="wood"),
    ]
    floor = Part(BOX, (5, 4, 0.05), (0, 0, -0.99), material="floor")
    leg = Part(CYLINDER, (0.12, 0.46), (0, 0, -0.5), material="wood")
    return [Thing([part], subject=False) for part in (walls, floor, top, leg, *pictures)]


def toy() -> Capture:
    """One textured object: an animal with a saddle."""
    animal = Thing(
        [
            Part(BALL, (0.5, 0.27, 0.26), (0, 0, 0.5), material="fur"),
            Part(BALL, (0.24, 0.18, 0.2), (0.55, 0, 0.78), blend=0.18, material="fur"),
            Part(BALL, (0.13, 0.11, 0.1), (0.78, 0, 0.72), blend=0.06, material="cloth"),
            *(
                tube((x, y, 0.45), (1.15 * x, 1.15 * y, 0.07), 0.085, "paint", blend=0.08)
                for x in (-0.32, 0.32)
                for y in (-0.16, 0.16)
            ),
            tube((-0.45, 0, 0.6), (-0.72, 0.08, 0.78), 0.045, "fur", blend=0.1),
        ]
    )
    ears = [
        Thing([Part(BALL, (0.045, 0.1, 0.15), (0.5, 0.15 * side, 0.97), (25 * side, 0, 0), material="cloth")])
        for side in (-1, 1)
    ]
    saddle = Thing(
        [
            Part(BALL, (0.3, 0.285, 0.275), (-0.05, 0, 0.515), material="print", bumps=(0.006, 45)),
            Part(TORUS, (0.17, 0.03), (-0.05, 0, 0.79), material="wood", blend=0.03),
        ]
    )
    scene = Scene([animal, *ears, saddle, *surroundings("carpet")], [GROUND])
    return Capture(scene, Path(target=(0, 0, 0.45), distance=(2.3, 2.3), height=(1.0, 1.9)))


def table() -> Capture:
    """Several things, some plain and one glossy."""
    mug = Thing(
        [
            Part(CYLINDER, (0.17, 0.2), (0.5, -0.3, 0.2), round=0.02, material="white"),
            Part(TORUS, (0.11, 0.028), (0.66, -0.42, 0.21), (90, 0, -37), blend=0.03, material="white"),
            Part(CYLINDER, (0.145, 0.2), (0.5, -0.3, 0.24), round=0.02, cut=True, material="clay"),
        ]
    )
    teapot = Thing(
        [
            Part(BALL, (0.27, 0.27, 0.23), (-0.05, 0.15, 0.22), material="red gloss"),
            Part(BALL, (0.05, 0.05, 0.05), (-0.05, 0.15, 0.48), blend=0.04, material="red gloss"),
            tube((0.15, 0.22, 0.2), (0.36, 0.3, 0.4), 0.04, "red gloss", blend=0.08),
            Part(TORUS, (0.14, 0.03), (-0.33, 0.05, 0.24), (90, 0, 20), blend=0.03, material="red gloss"),
        ]
    )
    books = [
        Thing([Part(BOX, (0.3, 0.21, 0.05), (-0.42, -0.45, 0.05), (0, 0, 20), 0.008, material="print")]),
        Thing([Part(BOX, (0.26, 0.19, 0.04), (-0.4, -0.46, 0.14), (0, 0, 38), 0.008, material="cloth")]),
    ]
    rest = [
        Thing([Part(CONE, (0.17, 0.03, 0.27), (0.1, -0.55, 0.27), material="blue")]),
        Thing([Part(BOX, (0.13, 0.13, 0.13), (0.55, 0.35, 0.13), (0, 0, 30), 0.015, material="brick")]),
        Thing([Part(BALL, (0.1, 0.1, 0.1), (-0.48, 0.55, 0.1), material="paint")]),
        Thing(
            [
                Part(BALL, (0.26, 0.26, 0.2), (0.12, 0.68, 0.2), material="wood"),
                Part(BALL, (0.22, 0.22, 0.18), (0.12, 0.68, 0.25), cut=True, material="wood"),
                Part(BOX, (0.4, 0.4, 0.2), (0.12, 0.68, 0.42), cut=True, material="wood"),
            ]
        ),
    ]
    scene = Scene([mug, teapot, *books, *rest, *surroundings("carpet")], [GROUND])
    return Capture(scene, Path(target=(0, 0, 0.18), distance=(2.5, 2.5), height=(1.0, 2.1)))


def thin() -> Capture:
    """A chair of thin rods, and a plant of wires and leaves."""
    legs = [(x, y) for x in (-0.25, 0.25) for y in (-0.25, 0.25)]
    chair = [
        Thing([Part(BOX, (0.29, 0.29, 0.018), (0, 0, 0.5), round=0.01, material="wood")]),
        *(Thing([tube((1.1 * x, 1.1 * y, 0.02), (x, y, 0.5), 0.02, "wood")]) for x, y in legs),
        *(Thing([tube((-0.25, y, 0.5), (-0.33, 1.05 * y, 1.1), 0.018, "wood")]) for y in (-0.25, 0.25)),
        *(Thing([tube((-0.26, y, 0.5), (-0.325, 1.05 * y, 1.05), 0.009, "paint")]) for y in (-0.12, 0, 0.12)),
        Thing([Part(BOX, (0.014, 0.29, 0.06), (-0.33, 0, 1.07), (0, -8, 0), 0.01, material="print")]),
        Thing([tube((-0.27, -0.26, 0.2), (-0.27, 0.26, 0.2), 0.012, "wood")]),
        Thing([tube((0.27, -0.26, 0.2), (0.27, 0.26, 0.2), 0.012, "wood")]),
    ]
    plant = [Thing([Part(CONE, (0.09, 0.13, 0.12), (0.55, 0.5, 0.12), material="brick")])]
    for number in range(7):
        around = 2.4 * number
        root = (0.55, 0.5, 0.2)
        tip = (0.55 + 0.22 * math.cos(around), 0.5 + 0.22 * math.sin(around), 0.62 + 0.06 * number)
        leaf = Part(CYLINDER, (0.075, 0.006), tip, (0, 30 + 8 * number, math.degrees(around)), 0.005, material="leaf")
        plant += [Thing([tube(root, tip, 0.007, "leaf")]), Thing([leaf])]
    hoop = Thing([Part(TORUS, (0.2, 0.008), (0.5, -0.5, 0.2), (90, 0, 40), material="rust")])
    scene = Scene([*chair, *plant, hoop, *surroundings("carpet")], [GROUND])
    return Capture(scene, Path(target=(0.1, 0.05, 0.5), distance=(2.4, 2.4), height=(0.9, 1.9)))


def relief() -> Capture:
    """A rosette in a frame on a wall, filmed on a quarter circle."""
    petals = []
    for number in range(8):
        angle = number * math.pi / 4
        at = (0.28 * math.cos(angle), -0.02, 1.0 + 0.28 * math.sin(angle))
        petals.append(Part(BALL, (0.18, 0.14, 0.085), at, (0, -math.degrees(angle), 0), blend=0.04, material="stone"))
    plaque = Thing(
        [
            Part(BOX, (0.72, 0.05, 0.72), (0, 0, 1.0), round=0.02, material="stone"),
            *petals,
            Part(BALL, (0.14, 0.18, 0.14), (0, -0.02, 1.0), blend=0.03, bumps=(0.008, 40), material="stone"),
            Part(TORUS, (0.56, 0.045), (0, -0.04, 1.0), (90, 0, 0), blend=0.03, material="stone"),
        ]
    )
    frame = [
        Thing([Part(BOX, (0.8, 0.1, 0.07), (0, -0.03, 1.0 + 0.76 * side), round=0.02, material="rust")])
        for side in (-1, 1)
    ]
    frame += [
        Thing([Part(BOX, (0.07, 0.1, 0.8), (0.76 * side, -0.03, 1.0), round=0.02, material="rust")]) for side in (-1, 1)
    ]
    wall = Thing([Part(BOX, (6, 0.5, 3), (0, 0.5, 1.5), material="plaster")], subject=False)
    ground = Thing([Part(BOX, (8, 8, 0.1), (0, -4, -0.5), material="brick")], subject=False)
    scene = Scene([plaque, *frame, wall, ground], [(0, -1, 0, 0)], light=(0.6, -0.6, 0.7))
    path = Path(target=(0, 0, 1), distance=(2.3, 2.3), height=(0.7, 1.7), arc=90, start=-90)
    return Capture(scene, path)


def room() -> Capture:
    """A furnished room, filmed from inside; walls and floor belong to it."""
    shell = [
        Thing([Part(ROOM, (2.2, 1.8, 1.2), (0, 0, 1.2), material="wallpaper")]),
        Thing([Part(BOX, (2.2, 1.8, 0.02), (0, 0, 0), material="floor")]),
        Thing([Part(BOX, (0.7, 1.0, 0.01), (0, 0, 0.025), material="carpet")]),
    ]
    sofa = Thing(
        [
            Part(BOX, (0.35, 0.8, 0.2), (-1.75, 0, 0.25), round=0.05, material="cloth"),
            Part(BOX, (0.12, 0.8, 0.25), (-2.0, 0, 0.6), round=0.06, material="cloth"),
            Part(BOX, (0.35, 0.1, 0.32), (-1.75, 0.8, 0.33), round=0.05, material="cloth"),
            Part(BOX, (0.35, 0.1, 0.32), (-1.75, -0.8, 0.33), round=0.05, material="cloth"),
        ]
    )
    shelf = [
        Thing([Part(BOX, (0.6, 0.16, 0.015), (0.6, 1.6, height), material="wood")]) for height in (0.5, 0.9, 1.3, 1.7)
    ]
    shelf += [Thing([Part(BOX, (0.015, 0.16, 0.85), (x, 1.6, 0.86), material="wood")]) for x in (0.0, 0.6, 1.2)]
    shelf += [
        Thing([Part(BALL, (0.12, 0.12, 0.12), (0.3, 1.55, 0.64), material="paint")]),
        Thing([Part(BOX, (0.1, 0.1, 0.14), (0.9, 1.55, 1.05), material="print")]),
        Thing([Part(CONE, (0.09, 0.04, 0.13), (0.3, 1.55, 1.45), material="brick")]),
    ]
    desk = Thing(
        [
            Part(BOX, (0.3, 0.6, 0.02), (1.85, -0.5, 0.75), round=0.01, material="wood"),
            Part(BOX, (0.25, 0.04, 0.36), (1.85, -1.0, 0.38), material="wood"),
            Part(BOX, (0.25, 0.04, 0.36), (1.85, 0.0, 0.38), material="wood"),
        ]
    )
    things = [
        Thing([Part(BALL, (0.15, 0.15, 0.15), (1.85, -0.7, 0.92), material="plain")]),
        Thing([Part(BOX, (0.02, 0.3, 0.2), (2.0, -0.3, 1.0), material="picture")]),
        Thing([Part(BOX, (0.5, 0.03, 0.4), (-0.7, 1.78, 1.4), material="picture")]),
        Thing([Part(BOX, (0.6, 0.03, 0.35), (0.2, -1.78, 1.5), material="print")]),
        Thing([Part(BOX, (0.03, 0.4, 0.3), (-2.18, 0, 1.6), material="paint")]),
        Thing([Part(CYLINDER, (0.2, 0.4), (-1.0, -1.5, 0.4), round=0.03, material="rust")]),
        Thing([Part(BOX, (0.25, 0.2, 0.25), (0.5, -1.5, 0.25), (0, 0, 15), 0.02, material="fur")]),
    ]
    scene = Scene([*shell, sofa, *shelf, desk, *things], light=(0.05, -0.1, 1.0), ambient=0.95)
    path = Path(
        target=(0, 0, 1.1),
        distance=(0.75, 0.6),
        height=(1.0, 1.8),
        look=(-0.9, -0.7),
        look_height=(0.3, 1.5),
        focal=0.75,
    )
    return Capture(scene, path)


def tower() -> Capture:
    """A tall, thin object, which no frame shows as a whole."""
    body = Thing(
        [
            Part(BOX, (0.22, 0.22, 0.8), (0, 0, 0.8), round=0.01, material="brick"),
            Part(BOX, (0.28, 0.28, 0.05), (0, 0, 1.62), round=0.02, material="stone"),
            *(
                Part(BOX, (0.07, 0.4, 0.12), (0, 0, height), (0, 0, turn), cut=True, material="dark")
                for height in (0.5, 1.0, 1.38)
                for turn in (0, 90)
            ),
        ]
    )
    rest = [
        Thing([Part(BOX, (0.32, 0.32, 0.06), (0, 0, 0.06), round=0.02, material="stone")]),
        Thing([Part(CYLINDER, (0.17, 0.4), (0, 0, 2.05), round=0.01, material="plaster", bumps=(0.006, 35))]),
        Thing([Part(TORUS, (0.18, 0.035), (0, 0, 2.42), material="stone")]),
        Thing([Part(CONE, (0.23, 0.02, 0.28), (0, 0, 2.72), material="print")]),
        Thing([tube((0, 0, 2.9), (0, 0, 3.2), 0.02, "steel")]),
        Thing([Part(BALL, (0.06, 0.06, 0.06), (0, 0, 3.2), material="paint")]),
        *(
            Thing([Part(BALL, (0.06, 0.06, 0.1), (0.24 * x, 0.24 * y, 1.74), material="rust")])
            for x in (-1, 1)
            for y in (-1, 1)
        ),
    ]
    square = Thing([Part(BOX, (4, 4, 0.05), (0, 0, -0.05), material="carpet")], subject=False)
    hall = Thing([Part(ROOM, (7, 6, 3.5), (0, 0, 2.5), material="wallpaper")], subject=False)
    pictures = [
        Part(BOX, (0.05, 1.5, 1), (6.95, 0.7, 2.3), material="picture"),
        Part(BOX, (0.05, 1.2, 1.2), (-6.95, -0.9, 2.2), material="print"),
        Part(BOX, (1.8, 0.05, 1), (-0.8, 5.95, 2.2), material="paint"),
        Part(BOX, (1.2, 0.05, 1.2), (1.4, -5.95, 2.3), material="picture"),
    ]
    around = [Thing([part], subject=False) for part in pictures]
    scene = Scene([body, *rest, square, hall, *around], [GROUND])
    path = Path(target=(0, 0, 0), distance=(2.4, 2.4), height=(0.5, 3.4), look_height=(0.5, 2.7), waves=2.5)
    return Capture(scene, path)


def big() -> Capture:
    """A long boat, of which each part is seen by few frames."""
    hull = Thing(
        [
            Part(BALL, (2.1, 0.55, 0.55), (0, 0, 0.6), material="wood"),
            Part(BOX, (2.5, 1, 0.5), (0, 0, 1.2), cut=True, material="wood"),
            Part(BALL, (1.9, 0.45, 0.42), (0, 0, 0.72), cut=True, material="floor"),
            Part(BOX, (1.5, 0.06, 0.25), (0, 0, 0.25), blend=0.05, round=0.03, material="rust"),
        ]
    )
    cabin = Thing(
        [
            Part(BOX, (0.5, 0.3, 0.35), (-0.4, 0, 0.75), round=0.03, material="paint"),
            Part(BOX, (0.56, 0.36, 0.03), (-0.4, 0, 1.12), round=0.02, material="print"),
            Part(BOX, (0.12, 0.5, 0.1), (-0.6, 0, 0.9), cut=True, material="dark"),
            Part(BOX, (0.12, 0.5, 0.1), (-0.2, 0, 0.9), cut=True, material="dark"),
        ]
    )
    rest = [
        Thing([Part(CYLINDER, (0.11, 0.2), (-0.6, 0, 1.3), round=0.01, material="brick")]),
        Thing([tube((0.9, 0, 0.3), (0.9, 0, 1.7), 0.035, "wood")]),
        Thing([tube((0.9, -0.4, 1.45), (0.9, 0.4, 1.45), 0.022, "wood")]),
        *(Thing([Part(BOX, (0.1, 0.38, 0.02), (x, 0, 0.7), material="plaster")]) for x in (0.35, 1.3)),
        Thing([Part(BOX, (0.16, 0.13, 0.13), (0.6, 0.1, 0.45), (0, 0, 25), 0.01, material="cloth")]),
        Thing([Part(TORUS, (0.14, 0.045), (-1.45, 0, 0.78), (0, 12, 0), material="cloth")]),
        *(Thing([Part(BOX, (0.08, 0.55, 0.2), (x, 0, 0.13), round=0.02, material="stone")]) for x in (-1.2, 1.2)),
        Thing([Part(BALL, (0.16, 0.16, 0.16), (1.6, 0.62, 0.16), material="print")]),
        Thing([Part(CYLINDER, (0.2, 0.28), (-1.4, -0.75, 0.28), round=0.03, material="rust")]),
    ]
    yard = Thing([Part(BOX, (6, 5, 0.05), (0, 0, -0.05), material="carpet")], subject=False)
    hall = Thing([Part(ROOM, (7, 6, 3), (0, 0, 2), material="wallpaper")], subject=False)
    pictures = [
        Part(BOX, (0.05, 1.5, 1), (6.95, 0.7, 1.6), material="picture"),
        Part(BOX, (0.05, 1.2, 1.2), (-6.95, -0.9, 1.5), material="print"),
        Part(BOX, (1.8, 0.05, 1), (-0.8, 5.95, 1.5), material="paint"),
        Part(BOX, (1.2, 0.05, 1.2), (1.4, -5.95, 1.6), material="picture"),
    ]
    around = [Thing([part], subject=False) for part in pictures]
    scene = Scene([hull, cabin, *rest, yard, hall, *around], [GROUND])
    path = Path(
        target=(0, 0, 0), distance=(3.2, 1.9), height=(0.9, 1.9), look=(1.7, 0.2), look_height=(0.45, 0.75), waves=3
    )
    return Capture(scene, path)


def plain() -> Capture:
    """An object without any texture on a patterned table."""
    figure = Thing(
        [
            Part(CYLINDER, (0.34, 0.05), (0, 0, 0.05), round=0.03),
            Part(BALL, (0.3, 0.26, 0.34), (0, 0, 0.4), blend=0.12),
            Part(BALL, (0.2, 0.19, 0.21), (0.04, 0, 0.85), blend=0.12),
            Part(BALL, (0.06, 0.05, 0.06), (0.24, 0, 0.83), blend=0.05),
            tube((0.02, 0.22, 0.55), (0.3, 0.3, 0.35), 0.07, "plain", blend=0.08),
            tube((0.02, -0.22, 0.55), (0.1, -0.42, 0.75), 0.07, "plain", blend=0.08),
            Part(TORUS, (0.2, 0.035), (0.04, 0, 1.0), (0, -10, 0), blend=0.04),
        ]
    )
    scene = Scene([figure, *surroundings("carpet")], [GROUND])
    return Capture(scene, Path(target=(0, 0, 0.45), distance=(2.2, 2.2), height=(0.9, 1.9)))


def on_turntable(scene: Scene) -> Scene:
    """The subject on a plain disc, without table and room."""
    subject = [thing for thing in scene.things if thing.subject]
    radius = max(math.hypot(*part.at[:2]) + part.reach() for thing in subject for part in thing.parts)
    disc = Thing([Part(CYLINDER, (radius, 0.02), (0, 0, -0.02), material="white")], subject=False)
    return Scene([*subject, disc], scene.planes, scene.light, scene.ambient)


CAPTURES: dict[str, Callable[[], Capture]] = {
    "toy": toy,
    "table": table,
    "thin": thin,
    "relief": relief,
    "room": room,
    "tower": tower,
    "big": big,
    "plain": plain,
}
TURNTABLE = ("toy", "table", "thin", "tower", "plain")  # what stands on the ground by itself
