"""Turn a video, or a tar of photos, into the frames that the next steps use: frames.tar and frames.json.

A video is sampled: `--select sharpest` cuts its time into equal buckets and keeps the sharpest frame of each, because
blurred frames cost poses and detail (Neuralangelo's FAQ names motion blur first); `--select every` keeps frames 0, N,
2N ... as Neuralangelo's own script does. Photos are all kept. Every frame ends as an 8-bit sRGB JPEG, upright.

Needs ffmpeg 4.2 or newer; Python 3.8, numpy and pillow only, because it also runs inside COLMAP's own image.
"""

import argparse
import tarfile
from pathlib import Path

from videomesh.errors import UserError, run
from videomesh.files import outputs, write_json
from videomesh.frames.count import MAX_TARGET, MIN_FRAMES, check_count
from videomesh.frames.photos import store_photos
from videomesh.frames.storing import MIN_SIDE
from videomesh.frames.video import store_video


def main() -> None:
    args = parse_arguments()
    check_arguments(args)
    try:
        with outputs(args.frames, args.summary) as (frames, summary):
            with tarfile.open(frames, "w") as tar:
                result = store_photos(tar, args) if args.source.suffix == ".tar" else store_video(tar, args)
            check_count(args, result)
            write_json(summary, result)
    except OSError as error:
        place = error.filename or args.frames
        raise UserError(f"{place}: {error.strerror or error}; check permissions and free disk space")
    print(f"{args.source}: kept {len(result['frames'])} of {result['source_frames']} frames", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a video, or photos in an uncompressed .tar")
    parser.add_argument("--frames", type=Path, required=True, help="tar of JPEGs to write, named by video frame")
    parser.add_argument("--summary", type=Path, required=True, help="JSON to write: index, time, sharpness of each")
    parser.add_argument(
        "--select",
        choices=["sharpest", "every"],
        default="sharpest",
        help="which frames of a video are kept (default: sharpest)",
    )
    parser.add_argument(
        "--target", type=int, default=150, help="frames wanted by --select sharpest, 20 to 2000 (default: 150)"
    )
    parser.add_argument(
        "--downsample", type=int, default=1, help="N of --select every: keep frames 0, N, 2N ... (default: 1)"
    )
    parser.add_argument(
        "--max-size", type=int, default=1920, help="largest long side of a stored frame in pixels (default: 1920)"
    )
    parser.add_argument("--threads", type=int, help="decoder threads (default: ffmpeg decides)")
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    for flag, value, least, most in [
        ("--target", args.target, MIN_FRAMES, MAX_TARGET),
        ("--downsample", args.downsample, 1, 100_000),
        ("--max-size", args.max_size, MIN_SIDE, 16_384),
        ("--threads", args.threads, 1, 1024),
    ]:
        if value is not None and not least <= value <= most:
            raise UserError(f"{args.source}: {flag} {value} is out of range; allowed: {least} to {most}")
    if not args.source.is_file():
        raise UserError(f"{args.source}: no such file; run the ingest stage first")


if __name__ == "__main__":
    run(main)
