"""Compare the poses of a scene with the true ones of a rendered capture or the demo. Prints one JSON line.

    python benchmarks/poses.py --poses results/table/poses --truth captures/table/truth.npz

A similarity (Umeyama 1991) between the camera centres found and the true ones carries the one world into the other.

registered       share of the frames that have a pose
reprojection     mean error of the sparse points, in pixels
position         mean distance of the centres after alignment, in percent of the median distance from what was filmed
rotation         mean angle between the found and the true view, in degrees, after the mean rotation between them
focal            how much longer the found focal length is, in percent, where frames have the size of the video; the
                 demo's truth does not say its own
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from evaluate_mesh import read_truth
from videomesh.errors import run
from videomesh.files import read_json
from videomesh.poses.given import fit_similarity
from videomesh.poses.model import read_cameras, read_images

FLIP = np.diag([1.0, -1.0, -1.0])  # OpenCV's axes of a camera to OpenGL's


def main() -> None:
    args = parse_arguments()
    truth, summary = read_truth(args.truth), read_json(args.poses / "poses.json")
    images = read_images(args.poses / "images.bin")
    poses = np.array([image.world_from_cam for image in images])
    # Names are the numbers of frames in the video; those of the demo's truth may begin at 1.
    index = np.array([int(Path(image.name).stem) for image in images])
    found = min((compare(poses, index - first, truth) for first in (0, 1) if index.min() >= first), key=position)
    if "focal" in truth:
        (camera,) = read_cameras(args.poses / "cameras.bin")
        found["focal"] = 100 * (camera.params[0] / float(truth["focal"]) - 1)  # cropping keeps it
    known = {name: summary[name] for name in ("registered_share", "reprojection_error", "points", "device", "attempt")}
    seconds = sum(attempt["seconds"] for attempt in summary["attempts"])
    print(json.dumps({**known, **{name: round(value, 4) for name, value in found.items()}, "seconds": seconds}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=Path, required=True, help="the folder results/SCENE/poses")
    parser.add_argument(
        "--truth",
        type=Path,
        default=Path(__file__).parent / "data" / "tractor_ground_truth.npz",
        help="truth.npz of captures/render.py (default: the demo's truth)",
    )
    return parser.parse_args()


def position(found: dict[str, float]) -> float:
    return found["position"]


def compare(poses: np.ndarray, index: np.ndarray, truth: dict[str, Any]) -> dict[str, float]:
    """poses: (n, 4, 4) world_from_cam of the frames with these indices, OpenCV axes."""
    true = truth["camera_to_world"]
    if index.max() >= len(true):
        return {"position": np.inf}
    true = true[index]
    scale, turn, move = fit_similarity(poses[:, :3, 3], true[:, :3, 3])
    away = np.linalg.norm(scale * poses[:, :3, 3] @ turn.T + move - true[:, :3, 3], axis=1)
    turns = turn @ poses[:, :3, :3] @ FLIP @ true[:, :3, :3].transpose(0, 2, 1)
    u, _, vt = np.linalg.svd(turns.mean(0))
    left = (u @ vt).T @ turns
    angles = np.degrees(np.arccos(np.clip((np.trace(left, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    distance = np.linalg.norm(true[:, :3, 3] - truth["visible"].mean(0), axis=1)
    return {"position": 100 * float(away.mean() / np.median(distance)), "rotation": float(angles.mean())}


if __name__ == "__main__":
    run(main)
