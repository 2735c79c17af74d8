"""Compare a reconstructed mesh of the demo with its ground truth. Prints one JSON line.

The reconstruction lives in its own frame. A similarity (Umeyama 1991) between its camera centres and the true ones
carries it over; no registration of the surfaces follows, so an error of the poses counts. What is compared:

accuracy      mean distance from points on the mesh to the true surface
completeness  mean distance from the true points that some frame sees to points on the mesh
chamfer       the mean of both
fscore_1pct   harmonic mean of the shares of both that are below 0.01
camera_error  mean distance of the camera centres after alignment

All lengths are in object lengths. Only the part of the mesh within the truth's crop sphere and more than 2 cm above
the table counts, since the table is not part of the truth.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from scipy.spatial import cKDTree

SAMPLES = 300_000
ABOVE_TABLE = 0.02  # in units of the truth
THRESHOLD = 0.01  # object lengths


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation"""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.scale * points @ self.rotation.T + self.translation


def main() -> None:
    args = parse_arguments()
    truth = read_truth(args.truth)
    frames = json.loads(args.transforms.read_text())["frames"]
    to_truth, camera_error = align_cameras(frames, truth["camera_to_world"][:, :3, 3])
    mesh = trimesh.load_mesh(args.mesh, process=False)
    points = within_reach(to_truth(sample(mesh)), truth)
    measures = {**compare(points, truth), "camera_error": camera_error / truth["object_length"]}
    counts = {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "frames": len(frames)}
    print(json.dumps({**{name: round(value, 5) for name, value in measures.items()}, **counts}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, required=True, help="mesh.ply or mesh.glb in the world of transforms.json")
    parser.add_argument("--transforms", type=Path, required=True, help="transforms.json")
    parser.add_argument(
        "--truth",
        type=Path,
        default=Path(__file__).parent / "data" / "tractor_ground_truth.npz",
        help="points and cameras of the true scene (default: the demo's)",
    )
    return parser.parse_args()


def read_truth(path: Path) -> dict[str, Any]:
    """surface and visible (n, 3) points, camera_to_world (frames, 4, 4), object_length, crop_center and crop_radius."""
    with np.load(path) as file:
        truth = dict(file)
    for name in ("surface", "visible"):
        truth[name] = truth[name] / truth["scale"]
    truth["object_length"] = float(truth["object_length"])
    return truth


def align_cameras(frames: list[dict[str, Any]], true_centres: np.ndarray) -> tuple[Similarity, float]:
    """The similarity from the reconstruction to the truth, and the mean distance of camera centres under it."""
    centres = np.array([frame["transform_matrix"] for frame in frames])[:, :3, 3]
    index = np.array([video_frame(frame) for frame in frames])
    found = []
    for first in (0, 1):  # names may count from either
        if index.min() >= first and index.max() - first < len(true_centres):
            target = true_centres[index - first]
            similarity = fit_similarity(centres, target)
            found.append((float(np.linalg.norm(similarity(centres) - target, axis=1).mean()), similarity))
    if not found:
        raise SystemExit(f"error: frames {index.min()} to {index.max()}, but the truth has {len(true_centres)}")
    error, similarity = min(found, key=lambda pair: pair[0])
    return similarity, error


def video_frame(frame: dict[str, Any]) -> int:
    """A frame's index in the video: its video_frame, or the number in its name."""
    if "video_frame" in frame:
        return int(frame["video_frame"])
    return int(re.findall(r"\d+", Path(frame["file_path"]).stem)[-1])


def fit_similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """The least-squares similarity that takes source (n, 3) to target (n, 3) (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    source, target = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(target.T @ source / len(source))
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])  # a rotation, never a reflection
    rotation = u @ np.diag(sign) @ vt
    scale = float((singular * sign).sum() / (source**2).sum(1).mean())
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def sample(mesh: trimesh.Trimesh) -> np.ndarray:
    """Points (SAMPLES, 3) spread evenly over the mesh's area."""
    return np.asarray(trimesh.sample.sample_surface(mesh, SAMPLES, seed=0)[0])


def within_reach(points: np.ndarray, truth: dict[str, Any]) -> np.ndarray:
    above_table = points[:, 2] > truth["table_z"] + ABOVE_TABLE
    return points[above_table & (np.linalg.norm(points - truth["crop_center"], axis=1) < truth["crop_radius"])]


def compare(points: np.ndarray, truth: dict[str, Any]) -> dict[str, float]:
    if not len(points):
        raise SystemExit("error: no part of the mesh lies where the truth does; are mesh and transforms of one scene?")
    to_surface = cKDTree(truth["surface"]).query(points, workers=-1)[0] / truth["object_length"]
    to_mesh = cKDTree(points).query(truth["visible"], workers=-1)[0] / truth["object_length"]
    precision, recall = float((to_surface < THRESHOLD).mean()), float((to_mesh < THRESHOLD).mean())
    return {
        "accuracy": float(to_surface.mean()),
        "completeness": float(to_mesh.mean()),
        "chamfer": float(to_surface.mean() + to_mesh.mean()) / 2,
        "fscore_1pct": 2 * precision * recall / max(precision + recall, 1e-12),
    }


if __name__ == "__main__":
    main()
