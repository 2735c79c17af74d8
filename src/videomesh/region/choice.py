"""Which of the regions is used, and region.json, which says how it was found."""

import math
from typing import Any, NamedTuple

import numpy as np

from videomesh.errors import UserError
from videomesh.region.override import Override
from videomesh.region.subject import Plane, Region, SceneType, Subject, ball_region, enclosing_ball, guess_scene_type
from videomesh.region.upstream import Upstream
from videomesh.region.views import Cloud, Focus, Views, good_points


class Choice(NamedTuple):
    """A region with where it came from."""

    method: str  # override, explicit, robust or upstream
    region: Region


def choose_region(
    override: Override | None, explicit: Region | None, method: str, subject: Subject, upstream: Upstream | None
) -> Choice:
    if override:
        return Choice("override", override.region)
    if explicit:
        return Choice("explicit", explicit)
    if method == "robust":
        return Choice("robust", subject.region)
    if upstream is None:
        raise UserError(
            "region.method: upstream needs sparse points, and this scene has none; see poses.json, or set it to robust"
        )
    return Choice("upstream", upstream.region)


def check_reach(choice: Choice, views: Views, cloud: Cloud, override: str) -> None:
    """Raise UserError for a sphere that cannot belong to this scene; a merely bad one is for the gate to judge."""
    region = choice.region
    extent = max(_extent(views.center), _extent(cloud.xyz))
    if not (region.radius > 1e-6 * extent > 0 and math.isfinite(region.radius)):
        raise UserError(
            f"no region could be found: its radius would be {region.radius:.3g} ({region.rule}). The cameras do not "
            "move, or there are too few points. Film again while walking round the subject, or give region.center and "
            "region.radius"
        )
    distance = float(np.linalg.norm(views.center - region.center, axis=1).min())
    if distance > region.radius + 100 * extent and choice.method in ("override", "explicit"):
        place = f"{override}: center" if choice.method == "override" else "region.center"
        raise UserError(
            f"{place}: {np.round(region.center, 4).tolist()} is {distance:.4g} away from the nearest camera, but the "
            f"scene is only about {extent:.4g} wide. Is it the sphere of another scene, or of older poses?"
        )


def _extent(xyz: np.ndarray) -> float:
    """Median distance from the middle, 0 without points."""
    return float(np.median(np.linalg.norm(xyz - np.median(xyz, axis=0), axis=1))) if len(xyz) else 0.0


def _inside(xyz: np.ndarray, region: Region) -> np.ndarray:
    return np.linalg.norm(xyz - region.center, axis=1) < region.radius


def summarize(
    choice: Choice,
    given: str,
    used: SceneType,
    focus: Focus,
    subject: Subject,
    upstream: Upstream | None,
    views: Views,
    cloud: Cloud,
    up_from: str,
) -> dict[str, Any]:
    """region.json: the region, how it was found, and upstream's for comparison."""
    region, plane = choice.region, subject.plane
    good = good_points(cloud)
    inside = _inside(cloud.xyz, region)
    return {
        "method": choice.method,
        "rule": region.rule,
        "scene_type": {
            "given": given,
            "used": used,
            "guess": guess_scene_type(focus),
            "looking_at_center": focus.looking_at_center,
            "looking_out": focus.looking_out,
            "one_way": focus.one_way,
            "points_between": focus.between,
        },
        "center": region.center.tolist(),
        "radius": region.radius,
        "aabb_range": region.aabb_range.tolist(),
        "cameras": len(views.center),
        "points": {
            "total": len(cloud.xyz),
            "good": int(good.sum()),
            "subject": int(subject.mask.sum()),
            "inside": int(inside.sum()),
            "good_inside": int((good & inside).sum()),
            "subject_inside": int((subject.mask & inside).sum()),
        },
        "crop": get_crop(subject, region),
        "meeting_point": None if focus.point is None else focus.point.tolist(),
        "meeting_point_from": focus.rule,
        "plane": None if plane is None else _describe_plane(plane),
        "up": [0.0, 0.0, 1.0],
        "up_from": up_from,
        "upstream": _upstream_summary(upstream),
    }


def get_crop(subject: Subject, region: Region) -> dict[str, Any]:
    """What the automatic crop keeps: what stands on the ground within a ball, with its ground; all without a ground.

    The ball need not be exact: a piece of the mesh counts if half of it is inside.
    """
    if subject.plane is None:
        return {"method": "auto", "keeps": "all", **_describe_ball(region), "plane": None}
    center, radius = enclosing_ball(subject.extent)
    ball = ball_region(center, radius, "")
    return {"method": "auto", "keeps": "subject", **_describe_ball(ball), "plane": _describe_plane(subject.plane)}


def _describe_ball(region: Region) -> dict[str, Any]:
    return {"center": region.center.tolist(), "radius": region.radius, "box": region.aabb_range.tolist()}


def _describe_plane(plane: Plane) -> dict[str, Any]:
    return {"normal": plane.normal.tolist(), "point": plane.point.tolist(), "thickness": plane.thickness}


def _upstream_summary(upstream: Upstream | None) -> dict[str, Any] | None:
    if upstream is None or upstream.region.radius == 0:
        return None
    return {
        "rule": upstream.region.rule,
        "center": upstream.region.center.tolist(),
        "radius": upstream.region.radius,
        "radius_from_origin": upstream.radius_from_origin,
        "aabb_range": upstream.region.aabb_range.tolist(),
    }


def describe(summary: dict[str, Any]) -> str:
    kind, points = summary["scene_type"], summary["points"]
    return (
        f"region: {kind['used']}, {summary['method']}, radius {summary['radius']:.4g}, {points['inside']} of "
        f"{points['total']} points inside, {100 * kind['looking_at_center']:.0f} % of {summary['cameras']} cameras "
        f"look at a common centre ({summary['rule']})"
    )
