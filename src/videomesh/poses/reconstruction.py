"""From frames to the model that later stages use: of the largest part of the scene, undistorted."""

from pathlib import Path
from typing import Any, Dict, NamedTuple, Sequence

from videomesh.errors import UserError
from videomesh.poses.backend import Backend
from videomesh.poses.frames import Frames
from videomesh.poses.images import check_camera
from videomesh.poses.mapping import Attempt, Model, match_and_map
from videomesh.poses.progress import timed


class Options(NamedTuple):
    """What a user can choose about poses, besides the backend and its seed."""

    max_image_size: int  # pixels: long side at which features are looked for
    max_features: int  # in each frame
    min_registered: (
        float  # 0 to 1: matching is repeated with more effort while a smaller share of the frames has a pose
    )


class Reconstruction(NamedTuple):
    model: Model  # the one with most frames, of the first attempt that has it
    folder: Path  # images/ and sparse/ with cameras.bin, images.bin, points3D.bin: the model, undistorted
    summary: Dict[str, Any]  # for poses.json


def reconstruct(backend: Backend, folder: Path, frames: Frames, options: Options) -> Reconstruction:
    """Find the poses of the frames, which are in folder/frames. Raises UserError if there are none to be used."""
    with timed(f"features {len(frames.names)} frames"):
        backend.extract(options.max_image_size, options.max_features)
    attempts = match_and_map(backend, folder, frames, options.min_registered)
    best = max(attempts, key=lambda attempt: attempt.registered)  # the first of equals
    if best.registered == 0:
        raise UserError(
            f"{frames.archive}: no two of the {len(frames.names)} frames match, so no camera pose was found. Likely "
            "causes: motion blur, plain or shiny surfaces, jumps between frames. Move slowly in good light, let "
            "neighbouring frames share more than half of the picture, and put something with texture round the object, "
            "such as newspaper"
        )
    model = best.models[0]
    with timed(f"undistorting {best.registered} frames"):
        backend.undistort(model.folder, folder / "undistorted")
    check_camera(frames.archive, folder / "undistorted", model.names)
    return Reconstruction(model, folder / "undistorted", summarize(backend.version, frames, attempts, best))


def summarize(version: str, frames: Frames, attempts: Sequence[Attempt], best: Attempt) -> Dict[str, Any]:
    """What poses.json says of the model and of the attempts; its images come from images.inspect_images."""
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
