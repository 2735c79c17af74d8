"""From frames to the model that later stages use: of the largest part of the scene, undistorted."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from videomesh.errors import UserError
from videomesh.poses.backend import Backend
from videomesh.poses.database import Motion, read_motion
from videomesh.poses.explanation import explain_failure, explain_missing, explain_staying
from videomesh.poses.frames import Frames
from videomesh.poses.given import MIN_GIVEN, Solution, solve_given
from videomesh.poses.mapping import Attempt, Model, match_and_map
from videomesh.poses.model import read_images
from videomesh.poses.progress import timed
from videomesh.poses.undistortion import Map, unify

# A camera that moves less, over the distance of what it sees, gives depth to nothing. An orbit gives 1, a still camera
# about 0.02 (errors of COLMAP).
MIN_MOTION = 0.05
MASKED = "masked "  # how the names of attempts begin that use features on the subject alone
MAX_MORE_FEATURES = 4
NO_MOTION = Motion(0, 0, 0)  # where it is not asked for


class Options(NamedTuple):
    """What a user can choose about poses, besides the backend and its seed."""

    max_image_size: int  # pixels: long side at which features are looked for
    max_features: int  # in each frame
    min_registered: (
        float  # 0 to 1: matching is repeated with more effort while a smaller share of the frames has a pose
    )
    given: str  # use, refine or ignore


class Masks(NamedTuple):
    folder: Path  # with 000012.jpg.png for 000012.jpg, as COLMAP names masks
    names: List[str]  # frames that have one


class Reconstruction(NamedTuple):
    model: Model  # the one with most frames, of the first attempt that has it
    folder: Path  # images/ and sparse/ with cameras.bin, images.bin, points3D.bin: the model, undistorted
    maps: Dict[str, Map]  # to their frames, of images that may need a mask
    summary: Dict[str, Any]  # for poses.json


class Found(NamedTuple):
    """What the search for poses brought, before the images are undistorted."""

    attempts: List[Attempt]
    given: str  # used, refined, ignored or none
    motion: Motion  # of the pairs that match with all features
    error: Optional[float]  # pixels, of the given poses


def reconstruct(
    backend: Backend, folder: Path, frames: Frames, masks: Masks, options: Options, threads: int
) -> Reconstruction:
    """Find the poses of the frames, which are in folder/frames. Raises UserError if there are none to be used."""
    found = find_poses(backend, folder, frames, masks, options)
    best = take_best(found.attempts, found.motion)
    if best.registered == 0:
        raise UserError(explain_failure(frames, found.motion, bool(masks.names)))
    model = best.models[0]
    with timed(f"undistorting {best.registered} frames"):
        backend.undistort(model.folder, folder / "undistorted")
        maps = unify(folder / "frames", model.folder, folder / "undistorted", masks.names, threads)
    summary = summarize(backend, frames, found)
    tell(frames, found.motion, summary, options.min_registered, bool(masks.names))
    return Reconstruction(model, folder / "undistorted", maps, summary)


def find_poses(backend: Backend, folder: Path, frames: Frames, masks: Masks, options: Options) -> Found:
    """From the given poses if there are any and they are wanted, else from the frames alone."""
    state = choose_given(frames, options.given)
    if options.given == "ignore":
        frames = frames._replace(groups=[group._replace(given=None) for group in frames.groups])
    with timed(f"features {len(frames.names)} frames"):
        backend.extract(frames.groups, options.max_image_size, options.max_features, None)
    if state in ("used", "refined"):
        solution = use_given(backend, folder, frames, masks, options)
        return Found([solution.attempt], state, NO_MOTION, solution.error)
    # What stands around the subject gives most of the poses where the camera walks. So features outside the masks are
    # left out only where all features gave too little: there the subject may move before what stands still.
    attempts = match_and_map(backend, folder, frames, options.min_registered, "")
    motion = read_motion(folder / "database.db", frames.sizes)
    enough = options.min_registered * len(frames.names)
    best = take_best(attempts, motion)
    if masks.names and (best.registered < enough or not moves(best) or motion.stays):
        extract_masked(backend, frames, masks, options)
        attempts = attempts + match_and_map(backend, folder, frames, options.min_registered, MASKED)
    return Found(attempts, state, motion, None)


def choose_given(frames: Frames, wish: str) -> str:
    """used, refined or ignored; none where too few poses are given."""
    if len(frames.given) < MIN_GIVEN:
        return "none"
    return {"use": "used", "refine": "refined", "ignore": "ignored"}[wish]


def use_given(backend: Backend, folder: Path, frames: Frames, masks: Masks, options: Options) -> Solution:
    """With all features; where these do not fit the poses and there are masks, with those on the subject alone."""
    refine = options.given == "refine"
    try:
        return solve_given(backend, folder, frames, refine, "")
    except UserError:
        if not masks.names:
            raise
    extract_masked(backend, frames, masks, options)
    return solve_given(backend, folder, frames, refine, MASKED)


def extract_masked(backend: Backend, frames: Frames, masks: Masks, options: Options) -> None:
    """Features on the subject alone."""
    shares = []
    for name in masks.names:
        with Image.open(masks.folder / f"{name}.png") as mask:
            shares.append(float((np.asarray(mask.convert("L")) >= 128).mean()))
    for name in set(frames.names) - set(masks.names):  # COLMAP 4 leaves out frames without a mask
        Image.new("L", frames.sizes[name], 255).save(masks.folder / f"{name}.png")
    # COLMAP finds the features before it drops those outside. On the subject as many shall remain as a user asked for.
    features = int(options.max_features * min(1 / max(float(np.mean(shares)), 0.01), MAX_MORE_FEATURES))
    with timed(f"features {len(frames.names)} frames, {len(masks.names)} of them masked"):
        backend.extract(frames.groups, options.max_image_size, features, masks.folder)


def take_best(attempts: Sequence[Attempt], motion: Motion) -> Attempt:
    """The one whose model has most frames, of those in which the camera moves if there are any; the first of equals.

    motion: of the pairs that match with all features. If the camera stays where it is, a model of them means nothing.
    """

    def rate(attempt: Attempt) -> Tuple[bool, int]:
        meant = attempt.name.startswith(MASKED) or not motion.stays
        return meant and moves(attempt), attempt.registered

    return max(attempts, key=rate)


def moves(attempt: Attempt) -> bool:
    """Whether the largest model's camera has moved enough to see depth."""
    if not attempt.models:
        return False
    model = attempt.models[0]
    images = read_images(model.folder / "images.bin")
    places = np.stack([image.world_from_cam[:3, 3] for image in images])
    if not len(model.points.xyz):
        return False
    rows = {image.id: row for row, image in enumerate(images)}
    seen_by = np.array([rows[track[0]] for track in model.points.image_ids])
    distance = np.median(np.linalg.norm(model.points.xyz - places[seen_by], axis=1))
    extent = np.linalg.norm(places - places.mean(axis=0), axis=1).max()
    return bool(extent > MIN_MOTION * distance)


def tell(frames: Frames, motion: Motion, summary: Dict[str, Any], enough: float, masked: bool) -> None:
    """Say what is wrong with the model, so that nobody has to find out from a bad mesh."""
    if summary["unmoving"]:
        effect = "so the poses show no depth"
        if motion.stays:
            reason = explain_staying(frames, motion, effect, masked)
        else:
            reason = f"the camera moves very little for how far away the scene is, {effect}. Walk round the subject"
        print(f"warning: {frames.archive}: {reason}", flush=True)
    if summary["unregistered"]:
        warning = "warning: " if summary["registered_share"] < enough else ""
        print(f"{warning}{frames.archive}: {explain_missing(frames, summary['unregistered'])}", flush=True)


def summarize(backend: Backend, frames: Frames, found: Found) -> Dict[str, Any]:
    """What poses.json says of the model and of the attempts; its images come from images.inspect_images."""
    best = take_best(found.attempts, found.motion)
    model = best.models[0]
    observations = sum(len(track) for track in model.points.image_ids)
    points = len(model.points.xyz)
    share = best.registered / len(frames.names)
    solved_anew = found.given in ("ignored", "none")
    stays = found.motion.stays and not best.name.startswith(MASKED)
    return {
        "backend": backend.version,
        "device": backend.device.name.lower(),
        "frames": len(frames.names),
        "registered": best.registered,
        "registered_share": round(share, 4),
        "reprojection_error": round(model.reprojection_error, 4),
        "track_length": round(observations / max(points, 1), 3),
        "points": points,
        "points_per_image": round(observations / best.registered, 1),
        "unregistered": sorted(set(frames.names) - set(model.names)),
        "cameras": len(frames.groups),
        "given": found.given,
        "given_error": None if found.error is None else round(found.error, 3),
        "metric": frames.metric and not solved_anew,
        "masked_features": best.name.startswith(MASKED),
        "unmoving": solved_anew and (stays or not moves(best)),
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
            for attempt in found.attempts
        ],
    }
