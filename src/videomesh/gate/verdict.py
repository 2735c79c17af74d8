"""The list of checks, and what follows from them. Limits come from the configuration (gate.CHECK.warn and .fail)."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from videomesh.checks import Entry, Finding, Limit, describe, get_verdict, judge, select, summarize
from videomesh.errors import UserError, suggest
from videomesh.files import read_json
from videomesh.gate import measures, path
from videomesh.gate.capture import Capture


class Check(NamedTuple):
    """A check is called what its function is called."""

    measure: Callable[[Capture], Finding | None]
    limit: Limit

    @property
    def name(self) -> str:
        return self.measure.__name__


CHECKS = [
    # frames
    Check(measures.frame_count, Limit("below", "frames", "NA-14", "frames with a known camera pose")),
    Check(measures.blurred_share, Limit("above", "share", "NA-01", "share of frames below 0.4 x the median sharpness")),
    Check(
        measures.exposure_range, Limit("above", "share", "NA-05", "range of mean brightness, 5th to 95th percentile")
    ),
    # structure from motion
    Check(measures.registered_share, Limit("below", "share", "NA-07", "share of frames whose camera pose was found")),
    Check(measures.reprojection_error, Limit("above", "px", "NA-07", "mean reprojection error of the sparse points")),
    Check(measures.track_length, Limit("below", "observations", "NA-07", "mean number of frames that see a point")),
    Check(measures.points_per_image, Limit("below", "points", "NA-07", "mean number of points seen in a frame")),
    Check(measures.models, Limit("above", "models", "NA-06", "separate models with more than 5 % of the frames")),
    # camera
    Check(
        measures.focal_difference,
        Limit("above", "ratio", "NA-09", "difference of the two focal lengths as a share of the first"),
    ),
    Check(measures.principal_point, Limit("above", "ratio", "NA-09", "distance from the image centre / image size")),
    Check(measures.distortion, Limit("above", "ratio", "NA-09", "largest distortion or skew; 0 once undistorted")),
    Check(
        measures.pose_matrices, Limit("above", "frames", "NA-23", "frames whose pose is not a rotation (determinant 1)")
    ),
    Check(measures.camera_motion, Limit("below", "ratio", "NA-04", "spread of the camera positions / median depth")),
    # the way the camera went
    Check(path.camera_focus, Limit("below", "share", "NA-12", "share of cameras that look as the scene type says")),
    Check(path.azimuth_coverage, Limit("below", "share", "NA-03", "share of the circle round the object filmed from")),
    Check(path.elevation_spread, Limit("below", "degrees", "NA-03", "range of heights filmed from, 5 to 95 %")),
    # region
    Check(measures.points_inside, Limit("below", "share", "NA-11", "share of the subject's points inside the sphere")),
    Check(
        measures.region_too_large,
        Limit("above", "share", "NA-11", "share of the subject's points within half the radius"),
    ),
    Check(measures.cameras_inside, Limit("above", "share", "NA-11", "share of cameras inside the sphere")),
    Check(
        measures.camera_distance,
        Limit("above", "share", "NA-23", "share of cameras not 0.3 to 10 radii from the centre"),
    ),
    # images
    Check(
        measures.image_names, Limit("above", "images", "NA-14", "images without a frame, and frames without an image")
    ),
    Check(measures.image_files, Limit("above", "images", "NA-15", "images that are broken or not w x h 8-bit RGB")),
]
Limits = Mapping[str, tuple[float | None, float | None]]  # check -> warn and fail; None switches a level off


def read_limits(text: str) -> Limits:
    """The limits of all checks from {"CHECK": {"warn": ..., "fail": ...}, ...}. The configuration has checked them."""
    try:
        limits = {name: (levels["warn"], levels["fail"]) for name, levels in json.loads(text).items()}
    except ValueError as error:
        raise UserError(f"gate thresholds: not valid JSON ({error}): {text[:80]}")
    except (AttributeError, TypeError, KeyError):
        raise UserError(f"gate thresholds: {text[:80]} does not give each check an object with warn and fail")
    names = [check.name for check in CHECKS]
    for name in limits:
        if name not in names:
            raise UserError(f"gate.{name}: there is no such check.{suggest(name, names)}")
    missing = [name for name in names if name not in limits]
    if missing:
        raise UserError(f"gate: the limits of {', '.join(missing)} are missing")
    return limits


def check_capture(capture: Capture, limits: Limits) -> list[Entry]:
    """The entries of gate.json, for the checks that can be asked of this capture."""
    found = [(check, check.measure(capture)) for check in CHECKS]
    return [
        judge(check.name, check.limit, finding, *limits[check.name]) for check, finding in found if finding is not None
    ]


def describe_gate(scene: str, checks: Sequence[Entry]) -> dict[str, Any]:
    """The content of gate.json."""
    return {"scene": scene, "verdict": get_verdict(checks), "checks": list(checks)}


def decide(gate_json: Path, mode: str) -> str:
    """What gate.pass says. Raises UserError with the advice if the scene must not go on. mode: fail or warn."""
    gate = read_json(gate_json)
    try:
        scene, verdict, checks = gate["scene"], gate["verdict"], gate["checks"]
        failures = "".join(f"\n  failed: {describe(entry)}" for entry in select(checks, "fail"))
        warnings = "".join(f"\n  warning: {describe(entry)}" for entry in select(checks, "warn"))
    except (TypeError, KeyError) as error:
        raise UserError(f"{gate_json}: not a gate.json ({error!r} is missing); run the gate again")
    summary = summarize(checks)
    if verdict == "fail" and mode == "fail":
        raise UserError(
            f"scene {scene}: the capture is not good enough to train on ({summary}):{failures}{warnings}\n"
            f"To go on anyway, set gate.mode: warn, for all scenes in config.yaml or for {scene} alone in its row of "
            "the table. To move one limit, set gate.CHECK.fail"
        )
    return f"{scene}: {verdict}, {summary}{failures}{warnings}\n"
