"""Camera poses and sparse points of a scene's frames, by COLMAP (structure from motion).

Steps and camera model are those of Neuralangelo's preprocessing: SIFT features with one SIMPLE_RADIAL camera, matching,
incremental mapping, undistortion to one PINHOLE camera. In addition, the ends of an orbit are matched with each other,
the model with most frames is used, and matching is repeated with more effort while too few frames have a pose.

Frames of several cameras are resampled to one. Poses that the capture brings along get points by triangulation. Masks
of the subject follow the images; features outside of them are left out where all features give too few poses.

It uses only Python 3.8, numpy and pillow, because it also runs inside the image docker.io/chenhsuanlin/colmap:3.8.
"""

import argparse
import shutil
import signal
import tempfile
from pathlib import Path

from videomesh.arguments import at_least
from videomesh.errors import run
from videomesh.files import outputs, write_json
from videomesh.poses.backend import create_backend
from videomesh.poses.frames import unpack_frames, unpack_masks
from videomesh.poses.images import inspect_images, pack_images, read_size
from videomesh.poses.reconstruction import Masks, Options, reconstruct
from videomesh.poses.undistortion import pack_masks


def main() -> None:
    args = parse_arguments()
    finals = (args.images, args.cameras, args.image_poses, args.points, args.masks, args.summary)
    with outputs(*finals) as parts, tempfile.TemporaryDirectory(prefix="poses-") as name:
        images, cameras, image_poses, points, masks, summary = parts
        folder = Path(name)
        backend = create_backend(args.backend, folder, args.threads, args.seed, args.device)
        # On SIGTERM leave as on Ctrl-C, which ends COLMAP and removes the work folder. This comes after the backend,
        # because pycolmap sets its own handler, which prints a stack trace and aborts.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        frames = unpack_frames(args.frames, args.frames_json, folder / "frames", args.threads)
        masked = unpack_masks(args.frame_masks, frames, folder / "masks", args.threads)
        options = Options(args.max_image_size, args.max_features, args.min_registered, args.given)
        found = reconstruct(backend, folder, frames, Masks(folder / "masks", masked), options, args.threads)
        pack_images(found.folder / "images", found.model.names, images)
        pack_masks(masks, folder / "masks", masked, found.maps, args.threads)
        for file, path in [("cameras.bin", cameras), ("images.bin", image_poses), ("points3D.bin", points)]:
            shutil.copyfile(found.folder / "sparse" / file, path)
        write_json(summary, {**found.summary, "images": inspect_images(images, read_size(cameras))})
    error = found.model.reprojection_error
    print(f"model: {len(found.model.names)} of {len(frames.names)} frames, {error:.2f} px", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, required=True, help="the frames.tar of the frames stage")
    parser.add_argument("--frames-json", type=Path, required=True, help="the frames.json of the frames stage")
    parser.add_argument("--frame-masks", type=Path, required=True, help="the masks.tar of the frames stage")
    parser.add_argument(
        "--given",
        choices=["use", "refine", "ignore"],
        required=True,
        help="poses that the capture brings along: use them as they are, improve them, or find all poses anew",
    )
    parser.add_argument(
        "--backend",
        choices=["auto", "pycolmap", "colmap"],
        required=True,
        help="the Python package pycolmap, the program colmap (3.8 to 4.x), or auto: pycolmap if it is installed",
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "gpu"],
        required=True,
        help="where features are found and matched; auto: an NVIDIA GPU if COLMAP can use one",
    )
    parser.add_argument(
        "--min-registered",
        type=float,
        required=True,
        help="matching is repeated with more effort while a smaller share of the frames (0 to 1) has a pose",
    )
    parser.add_argument("--max-features", type=at_least(1), required=True, help="features per frame")
    parser.add_argument(
        "--max-image-size", type=at_least(1), required=True, help="long side in pixels at which features are looked for"
    )
    parser.add_argument("--seed", type=at_least(0), required=True, help="seed of COLMAP's random choices")
    parser.add_argument("--threads", type=at_least(1), required=True, help="threads")
    parser.add_argument("--images", type=Path, required=True, help="the tar to write: registered frames, undistorted")
    parser.add_argument(
        "--cameras", type=Path, required=True, help="the COLMAP cameras.bin to write: one PINHOLE camera"
    )
    parser.add_argument("--image-poses", type=Path, required=True, help="the COLMAP images.bin to write")
    parser.add_argument("--points", type=Path, required=True, help="the COLMAP points3D.bin to write")
    parser.add_argument("--masks", type=Path, required=True, help="the tar to write: masks of images that need one")
    parser.add_argument("--summary", type=Path, required=True, help="the JSON to write: what was found, and how")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
