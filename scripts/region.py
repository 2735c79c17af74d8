"""Write transforms.json: camera poses and the bounding sphere that training and extraction are limited to.

Reads the COLMAP model of the poses stage. The region comes from, first match wins: an override file, --center with
--radius, or --method.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")  # no display on a head node

import matplotlib.pyplot as plt
import numpy as np

import region_rules as rules
from region_rules import Cloud, Focus, Region, SceneType, Subject, Upstream, Views
from videomesh.errors import UserError, run
from videomesh.files import outputs, read_json, write_json
from videomesh.poses.model import Camera, Image, Points, read_cameras, read_images, read_points

OBSERVERS = 12  # per point in points.npz; enough to tell where a point is seen from
OVERRIDE_KEYS = ("center", "radius", "aabb_range", "scene_type")
INSIDE, OUTSIDE, CAMERA = "#d9541a", "#9aa5b1", "#1f5fa8"


class Choice(NamedTuple):
    """A region with where it came from."""

    method: str  # override, explicit, robust or upstream
    region: Region


class Override(NamedTuple):
    region: Region
    scene_type: SceneType | None


def main() -> None:
    args = parse_arguments()
    camera, images, points = read_model(args.cameras, args.image_poses, args.points)
    frames = match_frames(images, read_frames(args.frames_json), args.frames_json)
    views = rules.views_from(np.stack([image.camera_to_world for image in images]))
    cloud = to_cloud(points, images)

    override = read_override(args.override, images, views) if args.override else None
    explicit = parse_sphere(args.center, args.radius)
    focus = rules.find_focus(views, cloud)
    given = override.scene_type if override and override.scene_type else args.scene_type
    used = rules.guess_scene_type(focus) if given == "auto" else given
    subject = rules.find_subject(views, cloud, used, focus, args.margin)
    upstream = rules.upstream_region(views, cloud.xyz, used)
    choice = choose_region(override, explicit, args.method, subject, upstream)
    check_reach(choice, views, cloud, args.override)

    summary = summarize(choice, given, used, focus, subject, upstream, views, cloud)
    with outputs(args.transforms, args.summary, args.picture, args.engine_points) as parts:
        write_json(parts[0], transforms(camera, images, frames, choice.region))
        write_json(parts[1], summary)
        draw(parts[2], views, cloud, summary)
        with open(parts[3], "wb") as file:  # a file, because numpy appends .npz to names
            np.savez(file, **cloud._asdict(), subject=subject.mask)
    print(describe(summary))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_argument_group("input")
    source.add_argument("--cameras", type=Path, required=True, help="COLMAP cameras.bin with one PINHOLE camera")
    source.add_argument("--image-poses", type=Path, required=True, help="COLMAP images.bin")
    source.add_argument("--points", type=Path, required=True, help="COLMAP points3D.bin")
    source.add_argument("--frames-json", type=Path, required=True, help="frames.json of the frames stage")
    choice = parser.add_argument_group("region")
    choice.add_argument("--scene-type", choices=("auto", *rules.SCENE_TYPES), default="auto", help="default: auto")
    choice.add_argument(
        "--method",
        choices=("robust", "upstream"),
        default="robust",
        help="robust: sphere round the subject; upstream: the rules of Neuralangelo's own scripts (default: robust)",
    )
    choice.add_argument("--margin", type=margin, default=1.08, help="the robust sphere is this much larger (1.08)")
    choice.add_argument("--center", default="", help="sphere centre X,Y,Z; write --center=X,Y,Z for the minus signs")
    choice.add_argument("--radius", default="", help="sphere radius, with --center")
    choice.add_argument(
        "--override",
        default="",
        help='JSON file {"center": [x, y, z], "radius": r}, or a transforms.json of the BlenderNeuralangelo add-on',
    )
    result = parser.add_argument_group("output")
    result.add_argument("--transforms", type=Path, required=True, help="transforms.json for the engines")
    result.add_argument("--summary", type=Path, required=True, help="region.json: how the region was found")
    result.add_argument("--picture", type=Path, required=True, help="region.png: cameras, points, sphere")
    result.add_argument("--engine-points", type=Path, required=True, help="points.npz: sparse points for the engine")
    return parser.parse_args()


def margin(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= 5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.5 and 5")
    return value


# ------------------------------------------------------------------------------------------------------------ input


def read_model(cameras_path: Path, images_path: Path, points_path: Path) -> tuple[Camera, list[Image], Points]:
    """The one camera, the registered images sorted by name, and the points. Raises UserError on anything unusable."""
    cameras, images, points = read_cameras(cameras_path), read_images(images_path), read_points(points_path)
    if len(cameras) != 1:
        raise UserError(
            f"{cameras_path}: {len(cameras)} cameras, but one common camera is needed (NA-09): film a scene with one "
            "phone and one zoom, all upright or all sideways, or make one scene of each clip"
        )
    if cameras[0].model != "PINHOLE":
        raise UserError(
            f"{cameras_path}: camera model {cameras[0].model}, allowed is PINHOLE; undistort the images "
            "(the poses stage does that)"
        )
    if len(images) < 2:
        raise UserError(f"{images_path}: {len(images)} images have a pose, at least 2 are needed; see poses.json")
    for image in images:
        if not np.isfinite(image.world_to_camera).all():
            raise UserError(f"{images_path}: the pose of {image.name} is not finite; run the poses stage again")
    if not np.isfinite(points.xyz).all():
        raise UserError(f"{points_path}: a point is not finite; run the poses stage again")
    return cameras[0], images, points


def read_frames(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of frames.json by name."""
    content = read_json(path)
    try:
        return {
            frame["name"]: {"video_frame": frame["video_frame"], "time": frame["time"]} for frame in content["frames"]
        }
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: not the frames.json of the frames stage ({error!r} is missing)")


def match_frames(images: list[Image], frames: dict[str, dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    unknown = [image.name for image in images if image.name not in frames]
    if unknown:
        raise UserError(
            f"{path}: has no frame {unknown[0]}, which has a pose ({len(unknown)} such frames); frames and poses "
            "are of different runs: run the poses stage again"
        )
    return [frames[image.name] for image in images]


def to_cloud(points: Points, images: list[Image]) -> Cloud:
    """Points with their observers as rows of images, at most 12 spread evenly over the track, -1 padded."""
    row = {image.id: k for k, image in enumerate(images)}
    observers = np.full((len(points.xyz), OBSERVERS), -1, dtype=np.int32)
    for k, ids in enumerate(points.image_ids):
        track = sorted({row[i] for i in ids.tolist() if i in row})
        if len(track) > OBSERVERS:
            track = [track[i] for i in np.linspace(0, len(track) - 1, OBSERVERS).astype(int)]
        observers[k, : len(track)] = track
    length = np.array([len(ids) for ids in points.image_ids], dtype=np.int32)
    return Cloud(points.xyz, points.error, length, observers)


def parse_sphere(center: str, radius: str) -> Region | None:
    """The sphere given on the command line, or None."""
    if not center and not radius:
        return None
    if not (center and radius):
        raise UserError("region.center and region.radius belong together: give both or neither")
    values = [_number(part, "region.center") for part in center.split(",")]
    if len(values) != 3:
        raise UserError(f"region.center: {center!r} has {len(values)} numbers, needs three: X,Y,Z")
    value = _number(radius, "region.radius")
    if value <= 0:
        raise UserError(f"region.radius: {radius} is not above 0")
    return rules.ball_region(np.array(values), value, "given by hand")


def _number(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{place}: {text.strip()!r} is not a number")
    if not math.isfinite(value):
        raise UserError(f"{place}: {text.strip()!r} is not a finite number")
    return value


# --------------------------------------------------------------------------------------------------------- override


def read_override(path: str, images: list[Image], views: Views) -> Override:
    """The region in an override file: our own small JSON, or a transforms.json. Raises UserError on any flaw."""
    content = read_json(Path(path))
    if not isinstance(content, dict):
        raise UserError(f'{path}: holds {type(content).__name__}, needs an object {{"center": [x, y, z], "radius": r}}')
    if "frames" in content or "sphere_center" in content:
        _check_same_poses(path, content, images, views)
        names = ("sphere_center", "sphere_radius", "aabb_range")
    else:
        names = ("center", "radius", "aabb_range")
        for key in content:
            if key not in OVERRIDE_KEYS:
                raise UserError(f"{path}: unknown key {key!r}; allowed: {', '.join(OVERRIDE_KEYS)}")
    center_key, radius_key, box_key = names
    for key in (center_key, radius_key):
        if key not in content:
            raise UserError(f"{path}: key {key!r} is missing; it holds the sphere's {key.split('_')[-1]}")
    center = _array(path, center_key, content[center_key], (3,), "three numbers [x, y, z]")
    radius = float(_array(path, radius_key, content[radius_key], (), "a number"))
    if radius <= 0:
        raise UserError(f"{path}: {radius_key} is {radius:g}, must be above 0")
    region = rules.ball_region(center, radius, f"read from {path}")
    if box_key in content:
        box = _array(path, box_key, content[box_key], (3, 2), "[[xmin, xmax], [ymin, ymax], [zmin, zmax]]")
        if not (box[:, 0] < box[:, 1]).all():
            raise UserError(f"{path}: {box_key}: each minimum must be below its maximum, here {box.tolist()}")
        if (np.linalg.norm(np.clip(center, box[:, 0], box[:, 1]) - center)) >= radius:
            raise UserError(f"{path}: {box_key} lies outside the sphere of {center_key} and {radius_key}")
        region = region._replace(aabb_range=box)
    scene_type = content.get("scene_type")
    if scene_type is not None and scene_type not in rules.SCENE_TYPES:
        raise UserError(f"{path}: scene_type is {scene_type!r}, allowed: {', '.join(rules.SCENE_TYPES)}")
    return Override(region, scene_type)


def _array(path: str, key: str, value: Any, shape: tuple[int, ...], wanted: str) -> np.ndarray:
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    # float() accepts "1" and True, JSON numbers are neither
    if array.shape != shape or any(not isinstance(v, int | float) or isinstance(v, bool) for v in _leaves(value)):
        raise UserError(f"{path}: {key} is {json.dumps(value)[:80]}, needs {wanted}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: {key} is {json.dumps(value)[:80]}, needs finite numbers")
    return array


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


def _check_same_poses(path: str, content: dict[str, Any], images: list[Image], views: Views) -> None:
    """COLMAP chooses its world anew in each run, so a sphere drawn for other poses would lie anywhere."""
    if "frames" not in content:
        return
    try:
        saved = {
            str(frame["file_path"]).replace("\\", "/").split("/")[-1]: np.array(frame["transform_matrix"], float)[:3, 3]
            for frame in content["frames"]
        }
    except (TypeError, KeyError, ValueError, IndexError):
        raise UserError(f"{path}: frames: each needs file_path and a 4 x 4 transform_matrix, as the add-on writes them")
    again = (
        "the poses were made anew since it was saved: draw the sphere again on the present poses, or remove the file"
    )
    current = {image.name: center for image, center in zip(images, views.center, strict=True)}
    common = sorted(saved.keys() & current.keys())
    if not common:
        raise UserError(f"{path}: frames: none of its {len(saved)} images has a pose in this scene; {again}")
    extent = float(np.linalg.norm(views.center - views.center.mean(0), axis=1).max())
    for name in common:
        distance = float(np.linalg.norm(saved[name] - current[name]))
        if not distance <= 0.01 * extent:
            raise UserError(
                f"{path}: frames: the camera of {name} is {distance:.3g} away from where it is now; {again}"
            )


# ----------------------------------------------------------------------------------------------------------- choice


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
        raise UserError("region.method upstream needs sparse points for this scene, there are none; see poses.json")
    return Choice("upstream", upstream.region)


def check_reach(choice: Choice, views: Views, cloud: Cloud, override: str) -> None:
    """Raise UserError for a sphere that cannot belong to this scene; a merely bad one is for the gate to judge."""
    region = choice.region
    extent = max(_extent(views.center), _extent(cloud.xyz))
    if not (region.radius > 1e-6 * extent > 0 and math.isfinite(region.radius)):
        raise UserError(
            f"no region could be found (radius {region.radius:.3g}; {region.rule}): the cameras do not move or there "
            "are too few points; film again walking round the subject, or give region.center and region.radius"
        )
    distance = float(np.linalg.norm(views.center - region.center, axis=1).min())
    if distance > region.radius + 100 * extent and choice.method in ("override", "explicit"):
        place = f"{override}: center" if choice.method == "override" else "region.center"
        raise UserError(
            f"{place}: {np.round(region.center, 4).tolist()} is {distance:.4g} away from the nearest camera, but the "
            f"scene is about {extent:.4g} wide; is it the sphere of another scene, or of older poses?"
        )


def _extent(xyz: np.ndarray) -> float:
    """Median distance from the middle, 0 without points."""
    return float(np.median(np.linalg.norm(xyz - np.median(xyz, axis=0), axis=1))) if len(xyz) else 0.0


def _inside(xyz: np.ndarray, region: Region) -> np.ndarray:
    return np.linalg.norm(xyz - region.center, axis=1) < region.radius


# ----------------------------------------------------------------------------------------------------------- output


def transforms(camera: Camera, images: list[Image], frames: list[dict[str, Any]], region: Region) -> dict[str, Any]:
    """transforms.json as upstream writes it (Instant-NGP's format), plus video_frame and time of each frame."""
    fx, fy, cx, cy = camera.params.tolist()
    to_opengl = np.diag([1.0, -1.0, -1.0, 1.0])  # COLMAP: y down, z forward; OpenGL: y up, z backward
    return {
        "camera_angle_x": 2 * math.atan(camera.width / (2 * fx)),
        "camera_angle_y": 2 * math.atan(camera.height / (2 * fy)),
        "fl_x": fx,
        "fl_y": fy,
        "sk_x": 0.0,
        "sk_y": 0.0,
        **dict.fromkeys(("k1", "k2", "k3", "k4", "p1", "p2"), 0.0),  # the images are undistorted
        "is_fisheye": False,
        "cx": cx,
        "cy": cy,
        "w": camera.width,
        "h": camera.height,
        "aabb_scale": 2.0 ** round(math.log2(region.radius)),
        "aabb_range": region.aabb_range.tolist(),
        "sphere_center": region.center.tolist(),
        "sphere_radius": region.radius,
        "frames": [
            {
                "file_path": f"images/{image.name}",
                "transform_matrix": (image.camera_to_world @ to_opengl).tolist(),
                "video_frame": frame["video_frame"],
                "time": frame["time"],
            }
            for image, frame in zip(images, frames, strict=True)
        ],
    }


def summarize(
    choice: Choice,
    given: str,
    used: SceneType,
    focus: Focus,
    subject: Subject,
    upstream: Upstream | None,
    views: Views,
    cloud: Cloud,
) -> dict[str, Any]:
    """region.json: the region, how it was found, and upstream's for comparison."""
    region, plane = choice.region, subject.plane
    up = plane.normal if plane else rules.up_direction(views)
    good = rules.good_points(cloud)
    inside = _inside(cloud.xyz, region)
    return {
        "method": choice.method,
        "rule": region.rule,
        "scene_type": {
            "given": given,
            "used": used,
            "guess": rules.guess_scene_type(focus),
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
        "meeting_point": None if focus.point is None else focus.point.tolist(),
        "plane": None if plane is None else {"normal": plane.normal.tolist(), "point": plane.point.tolist()},
        "up": up.tolist(),
        "up_from": "plane" if plane else "cameras",
        "upstream": _upstream_summary(upstream),
    }


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


# ---------------------------------------------------------------------------------------------------------- picture


def draw(path: Path, views: Views, cloud: Cloud, summary: dict[str, Any]) -> None:
    """Cameras, points and sphere from three sides, upright; coordinates are relative to the sphere's centre."""
    center = np.array(summary["center"])
    views, xyz = views._replace(center=views.center - center), cloud.xyz - center
    up = np.array(summary["up"])
    right, ahead = _horizontal_axes(views, up)
    sides = (
        ("front: seen from the first frame's side", right, up),
        ("right side", ahead, up),
        ("from above, first frame at the bottom", right, ahead),
    )
    figure, panels = plt.subplots(1, 3, figsize=(16.5, 6.2), layout="constrained")
    for panel, (title, across, upward) in zip(panels, sides, strict=True):
        _draw_side(panel, views, xyz, summary["radius"], np.stack([across, upward]))
        panel.set_title(title, fontsize=11)
    figure.suptitle(_title(summary) + "\n", fontsize=14)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=11, frameon=False)
    for handle in legend.get_lines():
        handle.set_markersize(10)  # the points themselves are too small to show a colour
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})
    plt.close(figure)


def _title(summary: dict[str, Any]) -> str:
    points = summary["points"]
    return (
        f"{summary['scene_type']['used']} ({summary['scene_type']['given']}), {summary['method']} region: "
        f"radius {summary['radius']:.3g}, {summary['cameras']} cameras, "
        f"{points['inside']} of {points['total']} points inside"
    )


def _horizontal_axes(views: Views, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right and ahead as someone at the first camera sees the sphere, at right angles to up."""
    for ahead in (-views.center[0], views.forward[0], np.eye(3)[np.abs(up).argmin()]):
        level = ahead - (ahead @ up) * up
        if np.linalg.norm(level) > 0.01 * np.linalg.norm(ahead):  # else it points straight up or down
            break
    level = level / np.linalg.norm(level)
    return np.cross(level, up), level


def _draw_side(panel: plt.Axes, views: Views, xyz: np.ndarray, radius: float, axes: np.ndarray) -> None:
    """One projection onto the two rows of axes, the sphere's centre at 0."""
    points, cameras = xyz @ axes.T, views.center @ axes.T
    inside = np.linalg.norm(xyz, axis=1) < radius
    shown = np.random.default_rng(0).permutation(len(points))[:20_000]  # more only make it slow and solid
    for mask, color, label in ((~inside, OUTSIDE, "points outside"), (inside, INSIDE, "points inside")):
        panel.plot(*points[shown[mask[shown]]].T, ".", color=color, markersize=2.5, markeredgewidth=0, label=label)
    panel.add_patch(plt.Circle((0, 0), radius, fill=False, color="black", linewidth=1.6, label="sphere"))
    panel.plot(0, 0, "+", color="black", markersize=8)
    middle, half = _frame(points, cameras, radius)
    tips = 0.12 * half * (views.forward @ axes.T)
    panel.quiver(*cameras.T, *tips.T, angles="xy", scale_units="xy", scale=1, width=0.004, color=CAMERA)
    panel.plot(*cameras.T, ".", color=CAMERA, label="cameras, arrow: viewing direction")
    panel.plot(*cameras[0], "o", color=CAMERA, markersize=9, fillstyle="none", label="first frame")
    panel.set_xlim(middle[0] - half, middle[0] + half)
    panel.set_ylim(middle[1] - half, middle[1] + half)
    panel.set_aspect("equal")
    panel.grid(alpha=0.25)


def _frame(points: np.ndarray, cameras: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """Middle and half width of a panel: sphere and cameras whole, and of the points the middle 90 %, but no more than
    one width beyond them, because points far away would make the rest tiny."""
    core = np.concatenate([cameras, np.full((1, 2), radius), np.full((1, 2), -radius)])
    low, high = core.min(0), core.max(0)
    if len(points):
        width = (high - low).max()
        low = np.minimum(low, np.maximum(np.percentile(points, 5, axis=0), low - width))
        high = np.maximum(high, np.minimum(np.percentile(points, 95, axis=0), high + width))
    return (low + high) / 2, 0.54 * float((high - low).max())


if __name__ == "__main__":
    run(main)
