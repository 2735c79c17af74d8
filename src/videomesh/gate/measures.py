"""What the gate measures, one function a check: the value, and advice for the person with the camera.

None stands for "cannot be asked of this capture". The list of checks is in verdict.py.
"""

from typing import Any

import numpy as np

from videomesh.checks import Finding, find_blurred, get_exposure_range
from videomesh.gate.capture import Capture
from videomesh.moments import describe_cuts, describe_moments
from videomesh.region.views import depths

ONE_CAMERA = "Use one camera with one zoom for a scene, all upright or all sideways, and do not crop the frames."
BY_HAND = "Look at region.png, and set the region with scripts/adjust.py, or region.center and region.radius."
AGAIN = "Run the poses stage again."


def some(names: list[str]) -> str:
    """At most five names."""
    return ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def where(words: str, capture: Capture, names: list[str]) -> str:
    """A sentence that says where in the footage these frames are; nothing without frames."""
    return f" {words} {describe_moments(capture.footage, names)}." if names else ""


# --- frames -----------------------------------------------------------------------------------------------------------


def frame_count(capture: Capture) -> Finding:
    return Finding(
        len(capture.scene.names),
        "Film longer or take more photos: 40 or more make a good mesh, 100 to 300 a better one (frames.target).",
    )


def blurred_share(capture: Capture) -> Finding:
    names = find_blurred(capture.frames)
    return Finding(
        len(names) / len(capture.frames),
        "Move slower, film in more light or with a shorter exposure time, keep the focus locked."
        + where("Blurred:", capture, names),
    )


def exposure_range(capture: Capture) -> Finding:
    return Finding(
        get_exposure_range([frame["luminance"] for frame in capture.frames]),
        "Lock exposure and white balance in the camera app, film in even light, switch off the flash.",
    )


# --- structure from motion --------------------------------------------------------------------------------------------


def registered_share(capture: Capture) -> Finding:
    lost = capture.poses["unregistered"]
    return Finding(
        capture.poses["registered_share"],
        "Move slower, turn less quickly and keep more texture in view, so that each frame overlaps the one "
        "before by two thirds." + where("Without a pose:", capture, lost) + describe_shots(capture),
    )


def describe_shots(capture: Capture) -> str:
    cuts = describe_cuts(capture.footage)
    return f" Another shot begins {cuts}: shots of one scene have to overlap." if cuts else ""


def reprojection_error(capture: Capture) -> Finding:
    return Finding(
        capture.poses["reprojection_error"],
        "Use one fixed zoom, switch off video stabilisation, and let nothing move in the scene while filming.",
    )


def track_length(capture: Capture) -> Finding:
    return Finding(
        capture.poses["track_length"],
        "Move slower or keep more frames (frames.target), so that frames overlap more.",
    )


def points_per_image(capture: Capture) -> Finding:
    return Finding(
        capture.poses["points_per_image"],
        "There is little texture. Put printed paper or cloth under the subject, use more light, avoid shine.",
    )


def models(capture: Capture) -> Finding:
    sizes = get_model_sizes(capture.poses)
    return Finding(
        max(sum(size > 0.05 * capture.poses["frames"] for size in sizes), 1),
        "The capture falls apart into pieces that do not overlap. Film in one go, and return to where you started."
        + describe_shots(capture)
        + (f" Frames per piece: {', '.join(map(str, sizes[:5]))}." if len(sizes) > 1 else ""),
    )


def get_model_sizes(poses: dict[str, Any]) -> list[int]:
    """Registered frames of each model, largest first, of the attempt whose model was used."""
    try:
        attempts = [
            sorted((model["registered"] for model in attempt["models"]), reverse=True) for attempt in poses["attempts"]
        ]
    except (TypeError, KeyError):
        return []
    used = [sizes for sizes in attempts if sizes and sizes[0] == poses["registered"]]
    return (used or attempts or [[]])[-1]


# --- camera -----------------------------------------------------------------------------------------------------------


def focal_difference(capture: Capture) -> Finding:
    x, y = capture.scene.focal
    return Finding(abs(x - y) / abs(x), ONE_CAMERA)


def principal_point(capture: Capture) -> Finding:
    size = (capture.scene.width, capture.scene.height)
    away = [abs(place / length - 0.5) for place, length in zip(capture.scene.principal, size, strict=True)]
    return Finding(max(away), ONE_CAMERA)


def distortion(capture: Capture) -> Finding:
    largest = max(map(abs, capture.scene.distortion), default=0.0)
    return Finding(largest, f"The images have to be undistorted. {AGAIN}")


def pose_matrices(capture: Capture) -> Finding:
    broken = np.abs(np.linalg.det(capture.scene.world_from_cam[:, :3, :3]) - 1) > 1e-3
    names = [capture.scene.names[i] for i in np.flatnonzero(broken)]
    return Finding(broken.sum(), f"The poses are damaged. {AGAIN}" + (f" Frames: {some(names)}." if names else ""))


def camera_motion(capture: Capture) -> Finding:
    advice = "Walk round the subject, or sideways along it."
    if capture.poses["unmoving"]:  # COLMAP may then find poses all the same, of a camera that walks along a picture
        return Finding(
            0.0,
            f"The camera stands or only turns on the spot, and that shows no depth. {advice} If the subject turns and "
            "the camera stands, bring masks of the subject, or film it before a plain background.",
        )
    centers = capture.views.center
    spread = np.median(np.linalg.norm(centers - np.median(centers, axis=0), axis=1))
    depth = depths(capture.views, capture.cloud)
    known = depth[np.isfinite(depth)]
    return Finding(spread / np.median(known) if len(known) else 0.0, f"The camera hardly moves. {advice}")


# --- region -----------------------------------------------------------------------------------------------------------


def points_inside(capture: Capture) -> Finding:
    distance = get_subject_distance(capture)
    share = float((distance < 1).mean()) if len(distance) else 0.0
    return Finding(share, f"Parts are cut off. {BY_HAND}")


def region_too_large(capture: Capture) -> Finding:
    distance = get_subject_distance(capture)
    share = float((distance < 0.5).mean()) if len(distance) else 0.0
    return Finding(share, f"The sphere is far larger than the subject, which wastes detail. {BY_HAND}")


def get_subject_distance(capture: Capture) -> np.ndarray:
    """(m,) distance of the subject's points from the sphere's centre, in radii."""
    offset = capture.cloud.xyz[capture.subject] - capture.scene.center
    return np.asarray(np.linalg.norm(offset, axis=1) / capture.scene.radius)


def get_camera_distance(capture: Capture) -> np.ndarray:
    """(n,) distance of the cameras from the sphere's centre, in radii."""
    return np.asarray(np.linalg.norm(capture.views.center - capture.scene.center, axis=1) / capture.scene.radius)


def cameras_inside(capture: Capture) -> Finding | None:
    if capture.scene_type != "object":
        return None
    share = float((get_camera_distance(capture) < 1).mean())
    return Finding(share, f"Film from farther away, or the sphere is too large. {BY_HAND}")


def camera_distance(capture: Capture) -> Finding:
    distance, is_object = get_camera_distance(capture), capture.scene_type == "object"
    off = (distance > 10) | (distance < 0.3 if is_object else False)
    range_ = "0.3 to 10 radii from" if is_object else "within 10 radii of"
    return Finding(
        off.mean(),
        f"Cameras should be {range_} the sphere's centre, here {distance.min():.2g} to {distance.max():.2g}. Film from "
        f"nearer so that the subject fills the picture. {BY_HAND}",
    )


# --- images -----------------------------------------------------------------------------------------------------------
# Upstream hangs for ever on a missing or broken image (NA-14, NA-15), so the poses stage decodes each of them.


def image_names(capture: Capture) -> Finding:
    found = [image["name"] for image in capture.poses["images"]]
    missing = sorted(set(capture.scene.names) - set(found))
    extra = sorted(set(found) - set(capture.scene.names))
    doubled = sorted({name for name in found if found.count(name) > 1})
    lists = (("No image for", missing), ("No pose for", extra), ("Twice", doubled))
    return Finding(
        len(missing) + len(extra) + len(doubled),
        " ".join([AGAIN, *(f"{words}: {some(names)}." for words, names in lists if names)]),
    )


def image_files(capture: Capture) -> Finding:
    broken = [f"{image['name']} ({image['flaw']})" for image in capture.poses["images"] if image["flaw"]]
    return Finding(len(broken), AGAIN + (f" Broken: {some(broken)}." if broken else ""))
