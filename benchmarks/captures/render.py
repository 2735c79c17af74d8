"""Render a capture of which everything is known: FOLDER/video.mp4 and FOLDER/truth.npz for evaluate_mesh.py.

    python benchmarks/captures/render.py table --output captures/table --phone

The surfaces are analytic, so distances to them and what each frame sees of them are exact. A capture takes 1 to 2
minutes on two cores.
"""

import argparse
import math
import os
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads must not take cores from other programs

import numpy as np
from PIL import Image

from phone import BITRATE, Flaws, breathe, develop, sample_times, video_writer
from scenes import CAPTURES, TURNTABLE, on_turntable
from shapes import Scene, subject_mask, to_look, to_shapes
from tracing import MOSAIC, PLAIN, Look, take_picture
from truth import describe
from videomesh.arguments import at_least
from videomesh.errors import UserError, run, suggest

BRIGHTNESS = 0.24  # mean of a well-exposed picture, linear


# What a usual phone has of each flaw, and its unit.
USUAL = {
    "rolling_shutter": (20.0, "milliseconds from the first row to the last"),
    "motion_blur": (10.0, "milliseconds that the shutter is open"),
    "drift": (0.4, "stops that the exposure drifts to both sides, and the white balance with it"),
    "noise": (1.0, "noise of the sensor"),
    "breathing": (0.5, "percent that the focal length changes to both sides"),
}


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help shows all options")


def main() -> None:
    args = parse_arguments()
    flaws = Flaws(**{name: getattr(args, name) for name in Flaws._fields})
    scene, path = CAPTURES[args.scene]()
    path.arc = args.arc or path.arc
    backdrop = PLAIN
    if args.turntable:
        scene, backdrop = on_turntable(scene), {"plain": PLAIN, "textured": MOSAIC}[args.turntable]
    cameras_at = path.turntable if args.turntable else path.cameras
    times = (np.arange(args.frames) + 0.5) / args.frames * args.seconds
    cameras, focal = cameras_at(times, args.seconds), path.focal * max(args.width, args.height)
    args.output.mkdir(parents=True, exist_ok=True)

    begun = time.monotonic()
    studio = Studio(scene, to_look(scene, backdrop), focal, args.width, args.height, args.samples)
    gain = expose(studio, cameras)
    video = args.output / "video.mp4"
    with video_writer(video, args.width, args.height, args.fps, args.bitrate) as encoder:
        for number, when in enumerate(times):
            taken = cameras_at(sample_times(when, flaws, args.height, args.samples).ravel(), args.seconds)
            light = studio.take(taken, breathe(when / args.seconds, flaws), turn_of(cameras, number, args.turntable))
            generator = np.random.default_rng([args.seed, number])
            encoder.write(develop(gain * light, when / args.seconds, flaws, generator).tobytes())
            if args.masks:
                write_mask(args.output / "masks" / f"{number:06d}.png", studio, cameras[number])
    truth = describe(scene, cameras, focal, args.width, args.height, args.points)
    np.savez_compressed(args.output / "truth.npz", **truth)
    views = np.unpackbits(truth["seen_by"], axis=1).sum(1)
    print(
        f"{video}: {args.frames} frames of {args.width} x {args.height} in {time.monotonic() - begun:.0f} s; "
        f"half of the {len(views)} visible points are seen by {np.median(views):.0f} frames or more, "
        f"{100 * (views >= 3).mean():.0f} % by 3 or more"
    )


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", metavar="SCENE", help=", ".join(CAPTURES))
    parser.add_argument("--output", type=Path, required=True, help="folder for video.mp4 and truth.npz")
    parser.add_argument("--frames", type=at_least(2), default=96)
    parser.add_argument("--width", type=at_least(16), default=640)
    parser.add_argument("--height", type=at_least(16), default=480)
    parser.add_argument("--arc", type=float, default=0, metavar="DEGREES", help="of the walk (default: the scene's)")
    parser.add_argument(
        "--seconds", type=float, default=40, help="that the walk takes; the video shows some frames of it"
    )
    parser.add_argument("--fps", type=float, default=16, help="frames a second of the video")
    parser.add_argument("--bitrate", type=float, metavar="MBIT", help="of H.264 (default: 17 at 1080p); 0: lossless")
    parser.add_argument("--samples", type=at_least(1), default=4, help="rays a pixel")
    parser.add_argument("--points", type=at_least(300), default=300_000, help="of the surface in truth.npz")
    parser.add_argument("--turntable", choices=("plain", "textured"), help="the object turns before such a background")
    parser.add_argument("--masks", action="store_true", help="write masks/000000.png ...: 255 where the subject is")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--phone", action="store_true", help="all of the flaws below, as a usual phone has them")
    flaws = parser.add_argument_group("flaws of a phone (a flaw without a number is that of a usual phone)")
    for name, (usual, text) in USUAL.items():
        option = "--" + name.replace("_", "-")
        flaws.add_argument(option, type=float, nargs="?", const=usual, metavar="X", help=f"{text} ({usual:g})")
    args = parser.parse_args()
    check(args)
    for name, (usual, _) in USUAL.items():
        if getattr(args, name) is None:
            setattr(args, name, usual if args.phone else 0.0)
    if args.bitrate is None:
        args.bitrate = BITRATE * args.width * args.height
    return args


def check(args: argparse.Namespace) -> None:
    """UserError on values that make no sense."""
    if args.scene not in CAPTURES:
        raise UserError(f"no scene {args.scene}; there are {', '.join(CAPTURES)}.{suggest(args.scene, CAPTURES)}")
    if args.turntable and args.scene not in TURNTABLE:
        raise UserError(f"--turntable: {args.scene} does not fit on one; take {', '.join(TURNTABLE)}")
    for name in ("width", "height"):
        if getattr(args, name) % 2:
            raise UserError(f"--{name} {getattr(args, name)}: H.264 needs an even number")
    if not 0 <= args.arc <= 360:
        raise UserError(f"--arc {args.arc:g}: must be above 0 and at most 360 degrees")
    for name in ("seconds", "fps"):
        if not 0 < getattr(args, name) < math.inf:
            raise UserError(f"--{name} {getattr(args, name):g}: must be above 0")
    for name in ("bitrate", *USUAL):
        value = getattr(args, name)
        if value is not None and not 0 <= value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value:g}: must be 0 or more")


class Studio(NamedTuple):
    """What stays the same from picture to picture."""

    scene: Scene
    look: Look
    focal: float
    width: int
    height: int
    samples: int

    def take(self, cameras: np.ndarray, zoom: float, turn: np.ndarray) -> np.ndarray:
        """(height, width, 3) linear light. cameras: those of all samples of all rows. turn: (3, 3) of the light."""
        cameras = np.ascontiguousarray(cameras.reshape(self.height, -1, 4, 4))
        apart = float(np.linalg.norm((cameras - cameras[self.height // 2, 0])[..., :3, :], axis=(2, 3)).max())
        look = self.look._replace(light=turn @ self.look.light)
        return take_picture(to_shapes(self.scene), look, cameras, zoom * self.focal, self.width, self.height, apart)


def turn_of(cameras: np.ndarray, number: int, turntable: str | None) -> np.ndarray:
    """How far the light has turned about the object: with the camera on a turntable, else not at all."""
    return cameras[number, :3, :3] @ cameras[0, :3, :3].T if turntable else np.eye(3)


def expose(studio: Studio, cameras: np.ndarray) -> float:
    """The gain that makes a few small pictures as bright as they should be."""
    small = studio._replace(focal=studio.focal / 8, width=studio.width // 8, height=studio.height // 8)
    chosen = cameras[:: max(1, len(cameras) // 5)]
    lights = [small.take(np.tile(camera, (small.height, 1, 1)), 1.0, np.eye(3)) for camera in chosen]
    return BRIGHTNESS / float(np.mean(lights))


def write_mask(path: Path, studio: Studio, camera: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    mask = subject_mask(studio.scene, camera, studio.focal, studio.width, studio.height)
    Image.fromarray(255 * mask.astype(np.uint8)).save(path)


if __name__ == "__main__":
    run(main)
