"""Compare a reconstructed mesh with the true surface of the demo or of a rendered capture. Prints one JSON line.

The reconstruction lives in its own frame. A similarity (Umeyama 1991) between its camera centres and the true ones
carries it over; no registration of the surfaces follows, so an error of the poses counts. What is compared:

accuracy         mean distance from points on the mesh to the true surface
completeness     mean distance from the true points that some frame of the video sees to the mesh
chamfer          the mean of both; chamfer_px: in pixels
fscore_1pct      harmonic mean of the shares of both that are below 0.01
seen_...         the same, but completeness counts only points that at least 3 of the used frames see
seen_f_1px, 2px  the harmonic mean at one and two pixels
seen_share       share of the visible points that at least 3 of the used frames see: what can be known
camera_error     mean distance of the camera centres after alignment; camera_error_px: in pixels
pixel            size of a pixel on the object: of the video, at the used frames' median distance

Lengths are in object lengths but for those in pixels. Only the part of the mesh within the truth's crop sphere and a
little above the table or wall counts, since these are not part of the truth.

With --region, how well the region of region.json fits:

subject_inside   share of the true points that some frame sees inside its sphere
radius_ratio     its radius, divided by that of the smallest sphere round these points

The truth of a rendered capture has normals. Distances to its surface and to the mesh are then exact to a fraction of
a pixel. The demo's has points only, and the nearest point counts.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from videomesh.errors import UserError, run
from videomesh.files import read_json
from videomesh.poses.given import fit_similarity
from videomesh.region.override import Similarity

SAMPLES = 300_000
ABOVE_TABLE = 0.02  # in units of the truth, where the truth does not say
THRESHOLD = 0.01  # object lengths
SEEN_BY = 3  # frames: fewer cannot tell where a surface is
DEMO_SIZE = (640, 480)  # of its video, which its truth does not say
NEIGHBOURS = 8  # triangles that may be the nearest one


class Reconstruction(NamedTuple):
    """What of the mesh counts, in the truth's frame."""

    points: np.ndarray  # (n, 3), spread evenly over the area
    triangles: np.ndarray  # (n, 3, 3), on which they lie


def main() -> None:
    args = parse_arguments()
    truth = read_truth(args.truth)
    transforms = read_json(args.transforms)
    frames = transforms["frames"]
    to_truth, camera_error, used = align_cameras(frames, truth["camera_to_world"][:, :3, 3])
    mesh = trimesh.load_mesh(args.mesh, process=False)
    pixel = pixel_size(truth, used)
    seen = count_views(truth, used, transforms.get("h", 0) > transforms.get("w", 0)) >= SEEN_BY
    measures = {
        **compare(within_reach(sample(mesh, to_truth), truth), truth, seen, pixel),
        "seen_share": seen.mean(),
        "camera_error": camera_error / truth["object_length"],
        "camera_error_px": camera_error / pixel,
        "pixel": pixel / truth["object_length"],
        **(judge_region(read_json(args.region), truth["visible"], to_truth) if args.region else {}),
    }
    counts = {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "frames": len(frames)}
    rounded = {name: None if np.isnan(value) else round(float(value), 5) for name, value in measures.items()}
    print(json.dumps({**rounded, **counts}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, required=True, help="mesh.ply or mesh.glb in the world of transforms.json")
    parser.add_argument("--transforms", type=Path, required=True, help="transforms.json")
    parser.add_argument("--region", type=Path, help="region.json of the same world")
    parser.add_argument(
        "--truth",
        type=Path,
        default=Path(__file__).parent / "data" / "tractor_ground_truth.npz",
        help="truth.npz of captures/render.py (default: the demo's truth)",
    )
    return parser.parse_args()


def read_truth(path: Path) -> dict[str, Any]:
    """surface and visible (n, 3) points, camera_to_world (frames, 4, 4), object_length, crop_center and crop_radius,
    planes (k, 4) with the margin above them. Rendered captures have more: see captures/truth.py."""
    try:
        with np.load(path) as file:
            truth = dict(file)
        for name in ("surface", "visible"):
            truth[name] = truth[name] / truth["scale"]
        truth["object_length"] = float(truth["object_length"])
        if "planes" not in truth:
            truth |= {"planes": np.array([[0, 0, 1, -truth["table_z"]]]), "margin": ABOVE_TABLE}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no truth of a capture ({error}); benchmarks/captures/render.py writes one")
    return truth


# ---------------------------------------------------------------------------------------------------------- cameras


def align_cameras(frames: list[dict[str, Any]], true_centres: np.ndarray) -> tuple[Similarity, float, np.ndarray]:
    """The similarity from the reconstruction to the truth, the mean distance of camera centres under it, and the
    frames' indices in the video."""
    centres = np.array([frame["transform_matrix"] for frame in frames])[:, :3, 3]
    index = np.array([video_frame(frame) for frame in frames])
    found = []
    for first in (0, 1):  # names may count from either
        if index.min() >= first and index.max() - first < len(true_centres):
            target = true_centres[index - first]
            similarity = Similarity(*fit_similarity(centres, target))
            error = float(np.linalg.norm(similarity(centres) - target, axis=1).mean())
            found.append((similarity, error, index - first))
    if not found:
        raise UserError(f"frames {index.min()} to {index.max()}, but the truth has {len(true_centres)}")
    return min(found, key=lambda fit: fit[1])


def video_frame(frame: dict[str, Any]) -> int:
    """A frame's index in the video: its video_frame, or the number in its name."""
    if "video_frame" in frame:
        return int(frame["video_frame"])
    return int(re.findall(r"\d+", Path(frame["file_path"]).stem)[-1])


def pixel_size(truth: dict[str, Any], used: np.ndarray) -> float:
    """Size of a pixel of the video on the object, in units of the truth."""
    if "distance" in truth:
        distance = truth["distance"][used]
    else:
        distance = np.linalg.norm(truth["camera_to_world"][used, :3, 3] - truth["crop_center"], axis=1)
    return float(np.median(distance) / truth["focal"])


def count_views(truth: dict[str, Any], used: np.ndarray, portrait: bool) -> np.ndarray:
    """(n,) how many of the used frames see each visible point."""
    if "seen_by" in truth:
        return np.unpackbits(truth["seen_by"], axis=1)[:, used].sum(1, dtype=int)
    size = DEMO_SIZE[::-1] if portrait else DEMO_SIZE
    cameras = truth["camera_to_world"][used]
    views = [sees(camera, truth["visible"], truth["surface"], float(truth["focal"]), size) for camera in cameras]
    return np.sum(views, axis=0)


def sees(
    camera: np.ndarray,
    points: np.ndarray,
    surface: np.ndarray,
    focal: float,
    size: tuple[int, int],
    shrink: int = 4,
    tolerance: float = 0.02,
) -> np.ndarray:
    """(n,) whether no point of the surface hides a point from a camera.

    The surface is only points, so its depth is kept for blocks of shrink x shrink pixels, in which some lie; what is
    less than `tolerance` behind them is seen too.
    """
    columns, rows = -(-size[0] // shrink), -(-size[1] // shrink)

    def to_blocks(world: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth, number of the block, and whether the point is in the picture."""
        x, y, z = ((world - camera[:3, 3]) @ camera[:3, :3]).T
        depth = np.where(z < 0, -z, np.inf)
        column = np.floor((size[0] / 2 + focal * x / depth) / shrink).astype(int)
        row = np.floor((size[1] / 2 - focal * y / depth) / shrink).astype(int)
        inside = (z < -1e-6) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        return depth[inside], (row * columns + column)[inside], inside

    front = np.full(rows * columns, np.inf)
    depth, block, _ = to_blocks(surface)
    np.minimum.at(front, block, depth)
    depth, block, seen = to_blocks(points)
    seen[seen] = depth < front[block] + tolerance
    return seen


# --------------------------------------------------------------------------------------------------------- surfaces


def sample(mesh: trimesh.Trimesh, to_truth: Similarity) -> Reconstruction:
    """SAMPLES points spread evenly over the mesh's area, moved to the truth's frame."""
    points, faces = trimesh.sample.sample_surface(mesh, SAMPLES, seed=0)
    return Reconstruction(to_truth(points), to_truth(mesh.vertices)[mesh.faces[faces]])


def within_reach(mesh: Reconstruction, truth: dict[str, Any]) -> Reconstruction:
    planes = truth["planes"]
    above = (mesh.points @ planes[:, :3].T + planes[:, 3] > truth["margin"]).all(1)
    keep = above & (np.linalg.norm(mesh.points - truth["crop_center"], axis=1) < truth["crop_radius"])
    if not keep.any():
        raise UserError("no part of the mesh lies where the truth does; are mesh and transforms of one scene?")
    return Reconstruction(mesh.points[keep], mesh.triangles[keep])


def compare(mesh: Reconstruction, truth: dict[str, Any], seen: np.ndarray, pixel: float) -> dict[str, float]:
    exact = "normals" in truth
    to_surface = distance_to_surface(mesh.points, truth)
    to_mesh = distance_to_mesh(truth["visible"], mesh, exact)
    length = truth["object_length"]
    chamfer, seen_chamfer = chamfer_distance(to_surface, to_mesh), chamfer_distance(to_surface, to_mesh[seen])
    return {
        "accuracy": to_surface.mean() / length,
        "completeness": to_mesh.mean() / length,
        "chamfer": chamfer / length,
        "chamfer_px": chamfer / pixel,
        "fscore_1pct": fscore(to_surface, to_mesh, THRESHOLD * length),
        "seen_chamfer": seen_chamfer / length,
        "seen_chamfer_px": seen_chamfer / pixel,
        "seen_f_1pct": fscore(to_surface, to_mesh[seen], THRESHOLD * length),
        "seen_f_2px": fscore(to_surface, to_mesh[seen], 2 * pixel),
        "seen_f_1px": fscore(to_surface, to_mesh[seen], pixel),
    }


def chamfer_distance(to_surface: np.ndarray, to_mesh: np.ndarray) -> float:
    return float(to_surface.mean() + to_mesh.mean()) / 2 if len(to_mesh) else float("nan")


def fscore(to_surface: np.ndarray, to_mesh: np.ndarray, limit: float) -> float:
    if not len(to_mesh):
        return float("nan")
    precision, recall = float((to_surface < limit).mean()), float((to_mesh < limit).mean())
    return 2 * precision * recall / max(precision + recall, 1e-12)


def distance_to_surface(points: np.ndarray, truth: dict[str, Any]) -> np.ndarray:
    """(n,) distance of points to the true surface: to the nearest of its points, or where the normals are known, to a
    disc as large as the points are apart."""
    distance, nearest = nearest_points(truth["surface"], points, 1)
    distance, nearest = distance[:, 0], nearest[:, 0]
    if "normals" not in truth:
        return distance
    height = ((points - truth["surface"][nearest]) * truth["normals"][nearest]).sum(1)
    aside = np.sqrt(np.maximum(distance**2 - height**2, 0))
    return np.hypot(height, np.maximum(aside - truth["spacing"], 0))


def nearest_points(points: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(m, count) distances and indices of the points nearest to each query."""
    distance, nearest = cKDTree(points).query(queries, k=list(range(1, min(count, len(points)) + 1)), workers=-1)
    return np.asarray(distance), np.asarray(nearest)


def distance_to_mesh(points: np.ndarray, mesh: Reconstruction, exact: bool) -> np.ndarray:
    """(n,) distance of points to the nearest of the mesh's points, or if exact, to the triangles of some of these."""
    distance, nearest = nearest_points(mesh.points, points, NEIGHBOURS if exact else 1)
    best = distance[:, 0]
    if not exact:
        return best
    for candidates in nearest.T:
        on_triangle = trimesh.triangles.closest_point(mesh.triangles[candidates], points)
        best = np.minimum(best, np.linalg.norm(points - on_triangle, axis=1))
    return best


def judge_region(region: dict[str, Any], visible: np.ndarray, to_truth: Similarity) -> dict[str, float]:
    """How much of the visible subject is inside the region's sphere, and how much larger it is than it has to be."""
    centre, radius = to_truth(np.array(region["center"], float)), to_truth.scale * float(region["radius"])
    least = smallest_ball_radius(visible)
    return {
        "subject_inside": float((np.linalg.norm(visible - centre, axis=1) < radius).mean()),
        "radius_ratio": radius / least,
    }


def smallest_ball_radius(points: np.ndarray, steps: int = 2000) -> float:
    """Radius of the smallest ball round all points, at most 0.1 % too large (Badoiu and Clarkson 2003)."""
    centre = points.mean(0)
    for step in range(2, steps + 2):
        farthest = points[((points - centre) ** 2).sum(1).argmax()]
        centre = centre + (farthest - centre) / step
    return float(np.linalg.norm(points - centre, axis=1).max())


if __name__ == "__main__":
    run(main)
