"""Turn a video, several clips or photos into the frames that the next steps use: frames.tar, masks.tar and frames.json.

A video is sampled. `--target N` cuts it into N stretches over which the picture moves on by the same amount, and keeps
the sharpest frame of each, because blurred frames cost poses and detail (Neuralangelo's FAQ names motion blur first).
`--downsample N` keeps frames 0, N, 2N ... as Neuralangelo's own script does. Photos are all kept. Every frame ends as
an 8-bit sRGB JPEG, upright; only what one camera took that was held both ways is turned, so that it fits this camera.

It needs ffmpeg 4.2 or newer. It uses only Python 3.8, numpy and pillow, because it also runs inside COLMAP's own image.
"""

import argparse
from pathlib import Path

from videomesh.arguments import at_least
from videomesh.errors import run
from videomesh.files import outputs, write_json
from videomesh.frames.count import MIN_FRAMES
from videomesh.frames.footage import store_frames
from videomesh.frames.options import Options


def main() -> None:
    args = parse_arguments()
    with outputs(args.frames, args.masks, args.summary) as (frames, masks, summary):
        options = Options(args.target, args.downsample, args.max_size, args.threads)
        result = store_frames(args.source, frames, masks, options)
        write_json(summary, result)
    print(f"{args.source}: kept {len(result['frames'])} of {result['source_frames']} frames", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a video, clips.tar, or photos in a .tar")
    selection = parser.add_mutually_exclusive_group(required=True)
    selection.add_argument(
        "--target",
        type=at_least(MIN_FRAMES),
        metavar="N",
        help="keep the sharpest frame of each of N stretches of equal motion",
    )
    selection.add_argument("--downsample", type=at_least(1), metavar="N", help="keep frames 0, N, 2N ...")
    parser.add_argument(
        "--max-size", type=at_least(1), required=True, help="the largest long side of a stored frame, in pixels"
    )
    parser.add_argument("--threads", type=at_least(1), required=True, help="threads that decode the video")
    parser.add_argument("--frames", type=Path, required=True, help="the tar of JPEGs to write, named by video frame")
    parser.add_argument("--masks", type=Path, required=True, help="the tar of PNGs to write: masks of frames")
    parser.add_argument("--summary", type=Path, required=True, help="the JSON to write about each frame")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
