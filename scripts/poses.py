"""Camera poses and sparse points of a scene's frames, by COLMAP (structure from motion).

Steps and camera model are those of Neuralangelo's preprocessing: SIFT features with one SIMPLE_RADIAL camera, matching,
incremental mapping, undistortion to one PINHOLE camera. In addition the ends of an orbit are matched with each other,
the model with most frames is used, and matching is repeated with more effort while too few frames get a pose.

Python 3.8, numpy and pillow only, because it also runs inside the image docker.io/chenhsuanlin/colmap:3.8.
"""

import argparse
import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from videomesh.errors import UserError, run
from videomesh.files import outputs, write_json
from videomesh.poses.frames import unpack_frames
from videomesh.poses.images import check_camera, inspect_images, pack_images, read_size
from videomesh.poses.mapping import NOTHING_MATCHES, climb_ladder, create_backend, summarize
from videomesh.poses.progress import say, timed


def main() -> None:
    args = parse_arguments()
    check_arguments(args)
    finals = (args.images, args.cameras, args.image_poses, args.points, args.summary)
    with outputs(*finals) as (images, cameras, image_poses, points, summary), work_folder() as folder:
        backend = create_backend(args.backend, folder, args.threads, args.seed)
        # On SIGTERM leave as on Ctrl-C, which ends COLMAP and removes the work folder. This comes after the backend,
        # because pycolmap sets a handler of its own that prints a stack trace and aborts.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        frames = unpack_frames(args.frames, args.frames_json, folder / "frames", args.threads)
        with timed(f"features {len(frames.names)} frames"):
            backend.extract(args.max_image_size, args.max_features)
        attempts = climb_ladder(backend, folder, frames, args.min_registered)
        best = max(attempts, key=lambda attempt: attempt.registered)  # the first of equals
        if best.registered == 0:
            raise UserError(f"{args.frames}: {NOTHING_MATCHES.format(len(frames.names))}")
        with timed(f"undistorting {best.registered} frames"):
            backend.undistort(best.models[0].folder, folder / "undistorted")
        check_camera(args.frames, folder / "undistorted", best.models[0].names)
        pack_images(folder / "undistorted" / "images", best.models[0].names, images)
        for name, path in [("cameras.bin", cameras), ("images.bin", image_poses), ("points3D.bin", points)]:
            shutil.copyfile(folder / "undistorted" / "sparse" / name, path)
        content = summarize(backend.version, frames, attempts, best)
        write_json(summary, {**content, "images": inspect_images(images, read_size(cameras))})
    say(f"model: {best.registered} of {len(frames.names)} frames, {best.models[0].reprojection_error:.2f} px")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, required=True, help="frames.tar of the frames step")
    parser.add_argument("--frames-json", type=Path, required=True, help="frames.json of the frames step")
    parser.add_argument("--images", type=Path, required=True, help="tar to write: registered frames, undistorted")
    parser.add_argument("--cameras", type=Path, required=True, help="COLMAP cameras.bin to write: one PINHOLE camera")
    parser.add_argument("--image-poses", type=Path, required=True, help="COLMAP images.bin to write")
    parser.add_argument("--points", type=Path, required=True, help="COLMAP points3D.bin to write")
    parser.add_argument("--summary", type=Path, required=True, help="JSON to write: what was found, and by which tries")
    parser.add_argument(
        "--backend",
        choices=["auto", "pycolmap", "colmap"],
        default="auto",
        help="the Python package pycolmap, the program colmap (3.8 to 4.x), or what is installed (default: auto)",
    )
    parser.add_argument(
        "--min-registered",
        type=float,
        default=0.8,
        help="matching is repeated with more effort while a smaller share of the frames has a pose (default: 0.8)",
    )
    parser.add_argument("--max-features", type=int, default=2048, help="features per frame (default: 2048)")
    parser.add_argument(
        "--max-image-size", type=int, default=1600, help="long side in pixels for finding features (default: 1600)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of COLMAP's random choices (default: 0)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads (default: all cores)")
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    for flag, value, least, most in [
        ("--min-registered", args.min_registered, 0, 1),
        ("--max-features", args.max_features, 256, 32768),
        ("--max-image-size", args.max_image_size, 64, 8192),
        ("--seed", args.seed, 0, 2**31 - 1),
        ("--threads", args.threads, 1, 1024),
    ]:
        if not least <= value <= most:
            raise UserError(f"{flag} {value} is out of range; allowed: {least} to {most}")


@contextmanager
def work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="poses-") as folder:
        yield Path(folder)


if __name__ == "__main__":
    run(main)
