"""Camera poses and sparse points of a scene's frames, by COLMAP (structure from motion).

Steps and camera model are those of Neuralangelo's preprocessing: SIFT features with one SIMPLE_RADIAL camera, matching,
incremental mapping, undistortion to one PINHOLE camera. In addition the ends of an orbit are matched with each other,
the model with most frames is used, and matching is repeated with more effort while too few frames get a pose.

Python 3.8, numpy and pillow only, because it also runs inside the image docker.io/chenhsuanlin/colmap:3.8.
"""

import argparse
import io
import os
import re
import shutil
import signal
import tarfile
import tempfile
import time
from contextlib import contextmanager
from itertools import combinations
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from colmap_model import Points, read_cameras, read_images, read_points
from videomesh.errors import UserError, run
from videomesh.files import outputs, read_json, write_json

if TYPE_CHECKING:
    from poses_colmap import Colmap
    from poses_pycolmap import Pycolmap

Pairs = Set[Tuple[int, int]]  # (i, j) with i < j: places in the list of frames

MIN_FRAMES = 3
OVERLAP, WIDE_OVERLAP = 6, 20  # so many following frames are matched with each
KEY_FRAME_STEP, MAX_KEY_FRAMES = 5, 30
MAX_EXHAUSTIVE = 300  # frames; that is 44,850 pairs

# Mapper options as COLMAP's command line names them; programs that lack one do without it. The ratios, by which a model
# grows between two adjustments of the whole, are COLMAP's own for video (ModifyForVideoData in option_manager.cc; else
# 1.1). With redundant points left out (4.x), mapping is a third faster than by default, at the same camera error.
MAPPER = {"ba_global_frames_ratio": 1.4, "ba_global_points_ratio": 1.4, "ba_global_ignore_redundant_points3D": 1}
# About half of COLMAP's defaults, which are 100, 30, 0.25, 16 degrees and 10 frames.
LOWER_THRESHOLD = {
    "init_min_num_inliers": 50,
    "abs_pose_min_num_inliers": 15,
    "abs_pose_min_inlier_ratio": 0.12,
    "init_min_tri_angle": 8,
    "min_model_size": 5,
}

Image.MAX_IMAGE_PIXELS = None  # the frames are this workflow's own files


class Frames(NamedTuple):
    names: List[str]  # sorted
    ordered: bool  # neighbours in the list are neighbours in space: a video


class Rung(NamedTuple):
    """One way to match and map; the ladder's next rung costs more and asks less of the frames."""

    name: str
    pairs: Pairs
    mapper: Dict[str, float]


class Model(NamedTuple):
    """One of COLMAP's models: frames that could be put into one coordinate system."""

    folder: Path
    names: List[str]  # registered frames
    points: Points

    @property
    def reprojection_error(self) -> float:
        """Mean over the points, pixels of the frames."""
        return float(self.points.error.mean()) if len(self.points.error) else 0.0


class Attempt(NamedTuple):
    name: str
    pairs: int  # matched so far, by this attempt and those before
    models: List[Model]  # most frames first
    seconds: float

    @property
    def registered(self) -> int:
        return len(self.models[0].names) if self.models else 0


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


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """One line on standard output: what is done, and at its end the seconds it took."""
    start = time.monotonic()
    print(what, end=" ... ", flush=True)
    try:
        yield
    except BaseException:
        say("")
        raise
    say(f"{time.monotonic() - start:.1f} s")


# Frames ----------------------------------------------------------------------------------------------------------


def unpack_frames(archive: Path, summary: Path, folder: Path, threads: int) -> Frames:
    """Write the frames into the folder. UserError unless each is there, decodes and has the size of the summary."""
    names, size, ordered = read_frames_json(summary)
    folder.mkdir()
    missing = set(names) - extract_members(archive, set(names), folder)
    if missing:
        raise UserError(
            f"{archive}: {min(missing)}, which {summary.name} lists, is not in it; the file is cut short or of another "
            "run; run the frames step again"
        )

    def decode(name: str) -> Tuple[str, Tuple[int, int]]:
        try:
            with Image.open(folder / name) as image:
                image.load()
                return name, image.size
        except (OSError, SyntaxError, ValueError) as error:  # pillow raises all three for damaged files
            raise UserError(f"{archive}: {name} is not a whole image ({error}); run the frames step again")

    with ThreadPool(threads) as pool:
        for name, (width, height) in pool.imap(decode, names):
            if (width, height) != size:
                raise UserError(
                    f"{archive}: {name} has {width}x{height} pixels, {summary.name} says {size[0]}x{size[1]}; all "
                    "frames must come from one camera, held one way, at one zoom: make one scene of each size"
                )
    return Frames(names, ordered)


def read_frames_json(summary: Path) -> Tuple[List[str], Tuple[int, int], bool]:
    """Sorted names of the frames, their width and height, and whether they follow each other as in a video."""
    content = read_json(summary)
    try:
        names = sorted(frame["name"] for frame in content["frames"])
        size = (content["width"], content["height"])
        ordered = content["source"] == "video"
    except (KeyError, TypeError) as error:
        raise UserError(f"{summary}: not written by the frames step ({error!r}); run the frames step again")
    strange = [name for name in names if not re.fullmatch(r"\d+\.jpg", name)]
    if strange:
        raise UserError(f"{summary}: frame name {strange[0]!r}; expected digits and .jpg; run the frames step again")
    if len(names) < MIN_FRAMES:
        raise UserError(
            f"{summary}: {len(names)} frames, at least {MIN_FRAMES} are needed and 50 to 300 are good; film for longer "
            "or keep more frames"
        )
    return names, size, ordered


def extract_members(archive: Path, names: Set[str], folder: Path) -> Set[str]:
    """Write those members of the tar into the folder; returns the names that were found."""
    found = set()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.name in names else None
                if source is not None:
                    (folder / member.name).write_bytes(source.read())
                    found.add(member.name)
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file; run the frames step first")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: cut short or not a tar file ({error}); run the frames step again")
    return found


# Matching and mapping --------------------------------------------------------------------------------------------

NOTHING_MATCHES = (
    "no two of the {} frames match, so no camera pose was found. Likely causes: motion blur, plain or shiny surfaces, "
    "jumps between frames. Move slowly in good light, let neighbouring frames share more than half of the picture, and "
    "put something with texture round the object, such as newspaper"
)


def create_backend(name: str, folder: Path, threads: int, seed: int) -> Union["Colmap", "Pycolmap"]:
    if name in ("auto", "pycolmap"):
        try:
            from poses_pycolmap import Pycolmap

            return Pycolmap(folder, threads, seed)
        except ImportError as error:
            if name == "pycolmap":
                raise UserError(
                    f"the Python package pycolmap cannot be used ({error}); install it (pip install pycolmap), or use "
                    "COLMAP's program with --backend colmap"
                )
    from poses_colmap import Colmap

    return Colmap(folder, threads, seed)


def climb_ladder(
    backend: Union["Colmap", "Pycolmap"], folder: Path, frames: Frames, min_registered: float
) -> List[Attempt]:
    """Match and map with rising effort until enough frames have a pose. All attempts, in their order; at least one."""
    count = len(frames.names)
    matched: Pairs = set()
    attempts: List[Attempt] = []
    for rung in ladder(count, frames.ordered):
        new = rung.pairs - matched
        if not new and rung.mapper is MAPPER:
            continue  # a small scene: the rung before has matched all these
        start = time.monotonic()
        if new:
            with timed(f"matching {len(new)} pairs ({rung.name})"):
                backend.match([(frames.names[i], frames.names[j]) for i, j in sorted(new)])
            matched |= new
        models_folder = folder / f"models{len(attempts)}"
        models_folder.mkdir()
        with timed("mapping"):
            backend.map(models_folder, rung.mapper)
        models = read_models(models_folder)
        attempts.append(Attempt(rung.name, len(matched), models, time.monotonic() - start))
        registered = attempts[-1].registered
        if registered and registered / count >= min_registered:
            break
        say(f"{rung.name}: {registered} of {count} frames in the largest of {len(models)} models")
    return attempts


def ladder(count: int, ordered: bool) -> List[Rung]:
    """The rungs for so many frames. Features stay; each rung matches only the pairs that those before did not."""
    rungs = []
    if ordered or count > MAX_EXHAUSTIVE:
        key_frames = key_frame_pairs(count)
        rungs.append(Rung("sequential", sequential_pairs(count, OVERLAP) | key_frames, MAPPER))
        rungs.append(Rung("wider", sequential_pairs(count, WIDE_OVERLAP) | key_frames, MAPPER))
    if count <= MAX_EXHAUSTIVE:
        rungs.append(Rung("exhaustive", set(combinations(range(count), 2)), MAPPER))
    return [*rungs, Rung("lower threshold", set(), {**MAPPER, **LOWER_THRESHOLD})]


def sequential_pairs(count: int, overlap: int) -> Pairs:
    """Each frame with the next `overlap` ones and with those 2 and 3 times as far. After the last comes the first:
    most captures go round something, and if not, these pairs cost little."""
    steps = [*range(1, overlap + 1), 2 * overlap, 3 * overlap]
    pairs = [(i, (i + step) % count) for i in range(count) for step in steps]
    return {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}


def key_frame_pairs(count: int) -> Pairs:
    """All pairs of evenly spaced frames: joins the turns of a capture that goes round several times."""
    keys = np.linspace(0, count - 1, min(count // KEY_FRAME_STEP, MAX_KEY_FRAMES)).round().astype(int)
    return set(combinations(keys.tolist(), 2))


def read_models(folder: Path) -> List[Model]:
    """All models that the mapper wrote, most frames first: COLMAP's numbers say nothing about size."""
    models = [
        Model(path.parent, [image.name for image in read_images(path)], read_points(path.parent / "points3D.bin"))
        for path in sorted(folder.glob("*/images.bin"))
    ]
    return sorted(models, key=lambda model: (-len(model.names), -len(model.points.xyz)))


# Results ---------------------------------------------------------------------------------------------------------


def check_camera(archive: Path, undistorted: Path, names: Sequence[str]) -> None:
    """Later steps know one pinhole camera for all images. UserError if COLMAP made anything else."""
    cameras = read_cameras(undistorted / "sparse" / "cameras.bin")
    problem = ""
    if [camera.model for camera in cameras] != ["PINHOLE"]:
        problem = f"cameras {[camera.model for camera in cameras]} instead of one PINHOLE"
    else:
        width, height = cameras[0].width, cameras[0].height
        fx, fy, cx, cy = cameras[0].params
        if abs(fx - fy) > 0.02 * fx:
            problem = f"focal lengths {fx:.0f} and {fy:.0f} px differ by more than 2 %"
        elif abs(cx / width - 0.5) > 0.1 or abs(cy / height - 0.5) > 0.1:
            problem = f"principal point {cx:.0f}, {cy:.0f} is not near the centre of {width}x{height} px"
        for name in names:
            with Image.open(undistorted / "images" / name) as image:
                if image.size != (width, height):
                    problem = f"{name} has {image.size[0]}x{image.size[1]} px, the camera {width}x{height}"
    if problem:
        raise UserError(
            f"{archive}: the camera could not be calibrated: {problem}. Use one camera at one zoom, without cropping "
            "or electronic image stabilisation"
        )


def pack_images(folder: Path, names: Sequence[str], archive: Path) -> None:
    with tarfile.open(archive, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)  # no time, no owner: the same images give the same tar
            member.size = (folder / name).stat().st_size
            with open(folder / name, "rb") as file:
                tar.addfile(member, file)


def read_size(cameras: Path) -> Tuple[int, int]:
    """Width and height in pixels of the one camera."""
    (camera,) = read_cameras(cameras)
    return camera.width, camera.height


def inspect_images(archive: Path, size: Tuple[int, int]) -> List[Dict[str, str]]:
    """Name and flaw of each image in the tar, as the gate judges them: it need not load them again, from far away."""
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            found.append({"name": member.name, "flaw": find_flaw(file.read() if file else b"", size)})
    return found


def find_flaw(data: bytes, size: Tuple[int, int]) -> str:
    """What is wrong with an image of which an engine expects width x height 8-bit RGB; "" if nothing."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()  # raises on truncated data: Pillow is strict unless told otherwise
            if image.mode != "RGB":
                return f"mode {image.mode}, not 8-bit RGB without alpha"
            return "" if image.size == size else f"{image.width} x {image.height}, not {size[0]} x {size[1]}"
    except UnidentifiedImageError:
        return "not an image"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's plugins raise these
        return f"cannot be decoded: {error}"


def summarize(version: str, frames: Frames, attempts: Sequence[Attempt], best: Attempt) -> Dict[str, Any]:
    model = best.models[0]
    observations = sum(len(track) for track in model.points.image_ids)
    points = len(model.points.xyz)
    return {
        "backend": version,
        "frames": len(frames.names),
        "registered": best.registered,
        "registered_share": round(best.registered / len(frames.names), 4),
        "reprojection_error": round(model.reprojection_error, 4),
        "track_length": round(observations / max(points, 1), 3),
        "points": points,
        "points_per_image": round(observations / best.registered, 1),
        "unregistered": sorted(set(frames.names) - set(model.names)),
        "attempt": best.name,
        "attempts": [
            {
                "name": attempt.name,
                "pairs": attempt.pairs,
                "models": [
                    {
                        "registered": len(model.names),
                        "points": len(model.points.xyz),
                        "reprojection_error": round(model.reprojection_error, 4),
                    }
                    for model in attempt.models
                ],
                "seconds": round(attempt.seconds, 1),
            }
            for attempt in attempts
        ],
    }


if __name__ == "__main__":
    run(main)
