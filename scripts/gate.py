"""Is this capture good enough to spend training time on?

check measures everything that is known before training and writes gate.json: each check with its value, limits, verdict
and advice for the person with the camera. decide reads gate.json and lets the scene pass, or stops it with that advice.
"NA-xx" names the failure that a check guards against (docs/troubleshooting.md).
"""

import argparse
import difflib
import json
import math
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

import region_rules as rules
from region_rules import Cloud, Views
from videomesh.errors import UserError, run
from videomesh.files import outputs, read_json, write_json

Unit = Literal["share", "px", "degrees", "ratio", "frames", "images", "models", "observations", "points"]
Levels = dict[str, float | None]


class Limit(NamedTuple):
    """Default limits of one check; None switches a level off."""

    warn: float | None
    fail: float | None
    worse: Literal["above", "below"]  # a value beyond a limit in this direction is bad
    unit: Unit
    source: str
    meaning: str


LIMITS = {
    # capture
    "frame_count": Limit(None, 20, "below", "frames", "NA-14", "frames with a known camera pose"),
    "blurred_share": Limit(0.15, 0.5, "above", "share", "NA-01", "share of frames below 0.4 x the median sharpness"),
    "exposure_range": Limit(0.15, None, "above", "share", "NA-05", "range of mean brightness, 5th to 95th percentile"),
    # structure from motion
    "registered_share": Limit(0.8, 0.5, "below", "share", "NA-07", "share of frames whose camera pose was found"),
    "reprojection_error": Limit(1.5, 2.0, "above", "px", "NA-07", "mean reprojection error of the sparse points"),
    "track_length": Limit(3.0, None, "below", "observations", "NA-07", "mean number of frames that see a point"),
    "points_per_image": Limit(300, None, "below", "points", "NA-07", "mean number of points seen in a frame"),
    "models": Limit(1, None, "above", "models", "NA-06", "separate models with more than 5 % of the frames"),
    "focal_difference": Limit(
        None, 0.02, "above", "ratio", "NA-09", "difference of the two focal lengths as a share of the first"
    ),
    "principal_point": Limit(None, 0.1, "above", "ratio", "NA-09", "distance from the image centre / image size"),
    "distortion": Limit(None, 0.0, "above", "ratio", "NA-09", "largest distortion or skew; 0 once undistorted"),
    "pose_matrices": Limit(None, 0, "above", "frames", "NA-23", "frames whose pose is not a rotation (determinant 1)"),
    "camera_motion": Limit(0.15, 0.05, "below", "ratio", "NA-04", "spread of the camera positions / median depth"),
    # the way the camera went (object and indoor scenes)
    "camera_focus": Limit(0.8, 0.5, "below", "share", "NA-12", "share of cameras that look as the scene type says"),
    "azimuth_coverage": Limit(0.75, 0.4, "below", "share", "NA-03", "share of the circle round the object filmed from"),
    "elevation_spread": Limit(10, None, "below", "degrees", "NA-03", "range of heights filmed from, 5 to 95 %"),
    # region
    "points_inside": Limit(0.95, 0.8, "below", "share", "NA-11", "share of the subject's points inside the sphere"),
    "region_too_large": Limit(0.95, None, "above", "share", "NA-11", "share of them within half the radius"),
    "cameras_inside": Limit(0.2, None, "above", "share", "NA-11", "share of cameras inside the sphere"),
    "camera_distance": Limit(
        0.0, 0.1, "above", "share", "NA-23", "share of cameras not 0.3 to 10 radii from the centre"
    ),
    "upstream_region_difference": Limit(0.2, None, "above", "ratio", "NA-10", "error of upstream's radius"),
    # images
    "image_names": Limit(None, 0, "above", "images", "NA-14", "images without a frame, and frames without an image"),
    "image_files": Limit(None, 0, "above", "images", "NA-15", "images that are broken or not w x h 8-bit RGB"),
}


class Finding(NamedTuple):
    value: float
    advice: str


class Capture(NamedTuple):
    """Everything the checks look at."""

    frames: list[dict[str, Any]]  # frames.json
    poses: dict[str, Any]  # poses.json
    transforms: dict[str, Any]
    region: dict[str, Any]
    names: list[str]  # images of transforms.json, in its order
    camera_to_world: np.ndarray  # (n, 4, 4) OpenGL axes
    cloud: Cloud
    subject: np.ndarray  # (m,) bool: points that the region has to hold

    @property
    def scene_type(self) -> str:
        return str(self.region["scene_type"]["used"])

    @property
    def center(self) -> np.ndarray:
        return np.array(self.transforms["sphere_center"], float)

    @property
    def radius(self) -> float:
        return float(self.transforms["sphere_radius"])

    @property
    def views(self) -> Views:
        matrix = self.camera_to_world
        return Views(matrix[:, :3, 3], -matrix[:, :3, 2], matrix[:, :3, 1])


def main() -> None:
    args = parse_arguments()
    args.action(args)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(required=True, metavar="check|decide")
    one = actions.add_parser("check", help="measure and write gate.json; exit code 0 whatever the verdict")
    one.set_defaults(action=check)
    one.add_argument("--scene", required=True, help="name of the scene, for the messages")
    one.add_argument("--frames-json", type=Path, required=True, help="frames.json of the frames stage")
    one.add_argument("--poses-json", type=Path, required=True, help="poses.json of the poses stage")
    one.add_argument("--transforms", type=Path, required=True, help="transforms.json of the region stage")
    one.add_argument("--region", type=Path, required=True, help="region.json of the region stage")
    one.add_argument("--points", type=Path, required=True, help="points.npz of the region stage")
    one.add_argument(
        "--thresholds",
        default="{}",
        help='JSON {"check": {"warn": number or null, "fail": number or null}, ...} over the defaults; null: never',
    )
    one.add_argument("--output", type=Path, required=True, help="gate.json")
    two = actions.add_parser("decide", help="exit code 1 with the advice if the verdict is fail")
    two.set_defaults(action=decide)
    two.add_argument("--gate", type=Path, required=True, help="gate.json")
    two.add_argument("--mode", choices=("fail", "warn"), required=True, help="fail: a failed check stops the scene")
    two.add_argument("--output", type=Path, required=True, help="gate.pass: written if the scene may go on")
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    limits = read_limits(args.thresholds)
    capture = read_capture(args)
    findings = {
        **check_frames(capture),
        **check_structure(capture),
        **check_camera(capture),
        **check_path(capture),
        **check_region(capture),
        **check_images(capture),
    }
    checks = [judge(name, findings[name], limits[name]) for name in LIMITS if name in findings]
    verdicts = {entry["verdict"] for entry in checks}
    verdict = next(level for level in ("fail", "warn", "pass") if level in verdicts)
    with outputs(args.output) as (part,):
        write_json(part, {"scene": args.scene, "verdict": verdict, "checks": checks})
    print(f"gate: {args.scene}: {verdict}, {summarize(checks)}")


def decide(args: argparse.Namespace) -> None:
    gate = read_json(args.gate)
    try:
        scene, verdict, checks = gate["scene"], gate["verdict"], gate["checks"]
        lines = {
            level: [describe(entry) for entry in checks if entry["verdict"] == level] for level in ("fail", "warn")
        }
        summary = summarize(checks)
    except (TypeError, KeyError) as error:
        raise UserError(f"{args.gate}: not a gate.json ({error!r} is missing); run the gate again")
    warnings = "".join(f"\n  warning: {line}" for line in lines["warn"])
    failures = "".join(f"\n  failed: {line}" for line in lines["fail"])
    if verdict == "fail" and args.mode == "fail":
        args.output.unlink(missing_ok=True)
        raise UserError(
            f"scene {scene}: the capture is not good enough to train on ({summary}):{failures}{warnings}\n"
            f"to go on anyway set gate.mode: warn (for all scenes in config.yaml, for {scene} alone in its row of the "
            "table); to move one limit set gate.<check>.fail"
        )
    if lines["fail"] or lines["warn"]:
        print(f"gate: scene {scene} goes on ({summary}):{failures}{warnings}", file=sys.stderr)
    with outputs(args.output) as (part,):
        part.write_text(f"{scene}: {verdict}, {summary}{failures}{warnings}\n")


# ------------------------------------------------------------------------------------------------ limits, verdicts


def read_limits(text: str) -> dict[str, Levels]:
    """Limits per check: the defaults, changed by a JSON text. Raises UserError on unknown names and bad values."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise UserError(f"gate thresholds: not valid JSON ({error}): {text[:80]}")
    if not isinstance(given, dict):
        raise UserError(f"gate thresholds: {text[:80]} is not an object of checks")
    limits: dict[str, Levels] = {name: {"warn": limit.warn, "fail": limit.fail} for name, limit in LIMITS.items()}
    for name, levels in given.items():
        if name not in LIMITS:
            raise UserError(f"gate.{name}: no such check{_nearest(name, list(LIMITS))}; known: {', '.join(LIMITS)}")
        if not isinstance(levels, dict):
            raise UserError(f"gate.{name}: {json.dumps(levels)} is not {{warn: ..., fail: ...}}")
        for level, value in levels.items():
            if level not in ("warn", "fail"):
                raise UserError(
                    f"gate.{name}.{level}: unknown level{_nearest(level, ['warn', 'fail'])}; known: warn, fail"
                )
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if value is not None and not number:
                raise UserError(f"gate.{name}.{level}: {json.dumps(value)} is neither a number nor null")
            limits[name][level] = value
        warn, fail, worse = limits[name]["warn"], limits[name]["fail"], LIMITS[name].worse
        if warn is not None and fail is not None and (warn > fail if worse == "above" else warn < fail):
            raise UserError(
                f"gate.{name}: a value {worse} fail ({fail:g}) would fail before it warns ({warn:g}); values {worse} a "
                f"limit are bad here, so warn must be {'at most' if worse == 'above' else 'at least'} fail"
            )
    return limits


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else ""


def judge(name: str, finding: Finding, levels: Levels) -> dict[str, Any]:
    """One entry of gate.json."""
    limit = LIMITS[name]

    def beyond(bound: float | None) -> bool:
        return bound is not None and (finding.value > bound if limit.worse == "above" else finding.value < bound)

    return {
        "name": name,
        "meaning": limit.meaning,
        "value": round(float(finding.value), 4),
        "unit": limit.unit,
        "worse": limit.worse,
        "warn": levels["warn"],
        "fail": levels["fail"],
        "verdict": "fail" if beyond(levels["fail"]) else "warn" if beyond(levels["warn"]) else "pass",
        "advice": finding.advice,
        "source": limit.source,
    }


def summarize(checks: list[dict[str, Any]]) -> str:
    count = {level: sum(entry["verdict"] == level for entry in checks) for level in ("fail", "warn")}
    return f"{len(checks)} checks, {count['fail']} failed, {count['warn']} with a warning"


def describe(entry: dict[str, Any]) -> str:
    """A check that was not passed, in one line: what, value, limit, advice."""
    word = "at most" if entry["worse"] == "above" else "at least"
    value, limit = (_format(entry[key], entry["unit"]) for key in ("value", entry["verdict"]))
    return f"{entry['name']}: {entry['meaning']} is {value}, should be {word} {limit}. {entry['advice']}"


def _format(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{100 * value:.3g} %"
    return f"{value:.4g}" if unit == "ratio" else f"{value:.4g} {unit}"


# ------------------------------------------------------------------------------------------------------------ input


def read_capture(args: argparse.Namespace) -> Capture:
    """All inputs. Raises UserError naming the file and what is wrong with it."""
    frames = _read(args.frames_json, {"frames": list})["frames"]
    for frame in frames:
        _need(args.frames_json, frame, {"name": str, "sharpness": float, "luminance": float})
    numbers = ("registered_share", "reprojection_error", "track_length", "points_per_image")
    poses = _read(
        args.poses_json,
        {**dict.fromkeys(numbers, float), "frames": int, "registered": int, "unregistered": list, "attempts": list},
    )
    _need(args.poses_json, poses, {"images": list})
    for image in poses["images"]:
        _need(args.poses_json, image, {"name": str, "flaw": str})
    transforms = _read(
        args.transforms,
        {
            **dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h", "sphere_radius"), float),
            "sphere_center": list,
            "frames": list,
        },
    )
    try:
        names = [Path(frame["file_path"]).name for frame in transforms["frames"]]
        matrices = np.array([frame["transform_matrix"] for frame in transforms["frames"]], float).reshape(-1, 4, 4)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{args.transforms}: frames: not file_path and a 4 x 4 transform_matrix each ({error})")
    if not np.isfinite(matrices).all():
        broken = names[int((~np.isfinite(matrices)).any((1, 2)).argmax())]
        raise UserError(f"{args.transforms}: the pose of {broken} is not finite; run the poses stage again")
    center = transforms["sphere_center"]
    if len(center) != 3 or not all(isinstance(x, int | float) and math.isfinite(x) for x in center):
        raise UserError(f"{args.transforms}: sphere_center is {json.dumps(center)[:80]}, expected three numbers")
    if transforms["sphere_radius"] <= 0:
        raise UserError(f"{args.transforms}: sphere_radius is {transforms['sphere_radius']}, must be above 0")
    if not frames or not names:
        raise UserError(f"{args.frames_json if not frames else args.transforms}: holds no frames; run that stage again")
    region = _read(args.region, {"scene_type": dict, "up": list})
    shares = ("looking_at_center", "points_between")
    _need(args.region, region["scene_type"], {"used": str, "guess": str, **dict.fromkeys(shares, float)})
    try:
        with np.load(args.points) as file:
            cloud = Cloud(*(file[key] for key in Cloud._fields))
            subject = file["subject"]
    except FileNotFoundError:
        raise UserError(f"{args.points}: no such file")
    except Exception as error:  # numpy, zipfile and pickle have many ways to say that a file is broken
        raise UserError(f"{args.points}: not the points.npz of the region stage ({error}); run the region stage again")
    if cloud.observers.max(initial=-1) >= len(names):
        raise UserError(f"{args.points}: is of other frames than {args.transforms}; run the region stage again")
    return Capture(frames, poses, transforms, region, names, matrices, cloud, subject)


def _read(path: Path, keys: dict[str, type]) -> dict[str, Any]:
    content = read_json(path)
    _need(path, content, keys)
    return content  # type: ignore[no-any-return]


def _need(path: Path, content: Any, keys: dict[str, type]) -> None:
    """Raise UserError unless content is an object with these keys; float stands for any finite number."""
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__} where an object with {', '.join(keys)} is expected")
    for key, kind in keys.items():
        if key not in content:
            raise UserError(f"{path}: key {key!r} is missing; run the stage that writes it again")
        value = content[key]
        good = isinstance(value, int | float) and math.isfinite(value) if kind is float else isinstance(value, kind)
        if not good:
            raise UserError(f"{path}: {key} is {json.dumps(value)[:80]}, expected {_WORDS[kind]}")


_WORDS = {float: "a number", int: "a whole number", str: "a text", list: "a list", dict: "an object"}


# ----------------------------------------------------------------------------------------------------------- checks


def check_frames(capture: Capture) -> dict[str, Finding]:
    sharpness = np.array([frame["sharpness"] for frame in capture.frames], float)
    blurred = sharpness < 0.4 * np.median(sharpness)
    low, high = np.percentile([frame["luminance"] for frame in capture.frames], [5, 95])
    names = [frame["name"] for frame, bad in zip(capture.frames, blurred, strict=True) if bad]
    return {
        "frame_count": Finding(
            len(capture.names),
            "Film longer or take more photos, and keep more of them: frames.target 100 to 300 is a good range.",
        ),
        "blurred_share": Finding(
            blurred.mean(),
            "Move slower, film in more light or with a shorter exposure time, keep the focus locked."
            + (f" Blurred: {_some(names)}." if names else ""),
        ),
        "exposure_range": Finding(
            high - low, "Lock exposure and white balance in the camera app, film in even light, switch off the flash."
        ),
    }


def check_structure(capture: Capture) -> dict[str, Finding]:
    poses = capture.poses
    sizes = _model_sizes(poses)
    many = sum(size > 0.05 * poses["frames"] for size in sizes)
    lost = poses["unregistered"]
    return {
        "registered_share": Finding(
            poses["registered_share"],
            "Move slower, turn less quickly and keep more texture in view, so that each frame overlaps the one "
            "before by two thirds." + (f" No pose: {_some(lost)}." if lost else ""),
        ),
        "reprojection_error": Finding(
            poses["reprojection_error"],
            "Use one fixed zoom, switch off video stabilisation, and let nothing move in the scene while filming.",
        ),
        "track_length": Finding(
            poses["track_length"], "Move slower or keep more frames (frames.target), so that frames overlap more."
        ),
        "points_per_image": Finding(
            poses["points_per_image"],
            "There is little texture: put printed paper or cloth under the subject, use more light, avoid shine.",
        ),
        "models": Finding(
            max(many, 1),
            "The video falls apart into pieces that do not overlap: film in one go, and return to where you started."
            + (f" Frames per piece: {', '.join(map(str, sizes[:5]))}." if len(sizes) > 1 else ""),
        ),
    }


def _model_sizes(poses: dict[str, Any]) -> list[int]:
    """Registered frames of each model, largest first, of the attempt whose model was used."""
    try:
        attempts = [
            sorted((model["registered"] for model in attempt["models"]), reverse=True) for attempt in poses["attempts"]
        ]
    except (TypeError, KeyError):
        return []
    used = [sizes for sizes in attempts if sizes and sizes[0] == poses["registered"]]
    return (used or attempts or [[]])[-1]


def check_camera(capture: Capture) -> dict[str, Finding]:
    camera = capture.transforms
    off_center = max(abs(camera["cx"] / camera["w"] - 0.5), abs(camera["cy"] / camera["h"] - 0.5))
    distortion = [float(camera.get(key, 0)) for key in ("k1", "k2", "k3", "k4", "p1", "p2", "sk_x", "sk_y")]
    broken = np.abs(np.linalg.det(capture.camera_to_world[:, :3, :3]) - 1) > 1e-3
    views, depth = capture.views, rules.depths(capture.views, capture.cloud)
    spread = np.median(np.linalg.norm(views.center - np.median(views.center, axis=0), axis=1))
    known = depth[np.isfinite(depth)]
    one_camera = "Use one camera with one zoom for a scene, all upright or all sideways, and do not crop the frames."
    return {
        "focal_difference": Finding(abs(camera["fl_x"] - camera["fl_y"]) / abs(camera["fl_x"] or 1), one_camera),
        "principal_point": Finding(off_center, one_camera),
        "distortion": Finding(
            max(map(abs, distortion)) + bool(camera.get("is_fisheye")),
            "The images have to be undistorted: run the poses stage again.",
        ),
        "pose_matrices": Finding(
            broken.sum(),
            "The poses are damaged: run the poses stage again."
            + (f" Frames: {_some([capture.names[i] for i in np.flatnonzero(broken)])}." if broken.any() else ""),
        ),
        "camera_motion": Finding(
            spread / np.median(known) if len(known) else 0.0,
            "The camera seems not to move. Walk round the subject instead of turning it; a turntable needs a textured "
            "mat that turns with it and a plain background.",
        ),
    }


def check_path(capture: Capture) -> dict[str, Finding]:
    """How the camera went round the subject; nothing of this can be asked of an outdoor scene."""
    kind = capture.region["scene_type"]
    if capture.scene_type == "indoor":
        # Looking across a room is right, as long as there is no thing in the middle that all look at (NA-12).
        wrong = kind["looking_at_center"] if kind["points_between"] >= 0.1 else 0.0
        advice = (
            "The cameras look at a thing in the middle, as for an object; for a room stand inside and film the walls."
        )
        return {"camera_focus": Finding(1 - wrong, advice + _suggestion(kind))}
    if capture.scene_type == "outdoor":
        return {}
    ahead = "Keep the subject in the middle of the picture while you walk round it."
    views = capture.views
    looking = rules.looks_at(views, capture.center, np.full(len(views.center), np.inf))
    rows = np.flatnonzero(looking)
    azimuth, elevation = _directions(views.center[rows] - capture.center, np.array(capture.region["up"], float))
    coverage, gap = _coverage(azimuth, [capture.names[i] for i in rows])
    low, high = np.percentile(elevation, [5, 95]) if len(rows) else (0.0, 0.0)
    return {
        "camera_focus": Finding(kind["looking_at_center"], ahead + _suggestion(kind)),
        "azimuth_coverage": Finding(
            coverage,
            gap + " If it cannot be walked round (a facade, a relief), set its scene_type to outdoor."
            if gap
            else "Walk all the way round the subject and end where you started.",
        ),
        "elevation_spread": Finding(
            high - low, "Film a second round from higher up (and one from lower down), looking at the subject."
        ),
    }


def _suggestion(kind: dict[str, Any]) -> str:
    if kind["guess"] == kind["used"]:
        return ""
    return f" Or the scene type is wrong: the poses look like scene_type: {kind['guess']}."


def _directions(offset: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth (0 to 360, counterclockwise from above, 0 the first row) and elevation of vectors (n, 3), degrees."""
    if len(offset) == 0:
        return np.zeros(0), np.zeros(0)
    up = up / np.linalg.norm(up)
    height = offset @ up
    level = offset - height[:, None] * up
    axis = level[0] if np.linalg.norm(level[0]) > 0 else np.cross(up, np.eye(3)[np.abs(up).argmin()])
    axis = axis / np.linalg.norm(axis)
    azimuth = np.degrees(np.arctan2(level @ np.cross(up, axis), level @ axis)) % 360
    return azimuth, np.degrees(np.arctan2(height, np.linalg.norm(level, axis=1)))


def _coverage(azimuth: np.ndarray, names: list[str]) -> tuple[float, str]:
    """Share of 36 directions with a camera, and the widest gap in words ("" if there is none worth naming).

    A direction counts if a camera stands within 5 degrees of it, or within the mean spacing of the cameras were they
    spread evenly, so that 24 photos all the way round count as a full circle.
    """
    if len(azimuth) == 0:
        return 0.0, "No camera looks at the subject."
    bins = np.arange(5, 360, 10)
    distance = np.abs((bins[:, None] - azimuth + 180) % 360 - 180).min(1)
    covered = distance <= max(5.0, 360 / len(azimuth))
    if covered.all():
        return 1.0, ""
    order = np.argsort(azimuth)
    widths = np.diff(azimuth[order], append=azimuth[order[0]] + 360)
    widest = int(widths.argmax())
    before, after = order[widest], order[(widest + 1) % len(order)]
    middle = (azimuth[before] + widths[widest] / 2) % 360
    # Seen from the first camera, which is at azimuth 0, counterclockwise from above is to the right.
    side = ("near side", "right side", "far side", "left side")[int((middle + 45) // 90) % 4]
    text = (
        f"Nothing was filmed between {names[before]} and {names[after]}, about {widths[widest]:.0f} degrees on the "
        f"{side} as seen from {names[0]}: film that side too."
    )
    return float(covered.mean()), text


def check_region(capture: Capture) -> dict[str, Finding]:
    center, radius, views = capture.center, capture.radius, capture.views
    distance = np.linalg.norm(views.center - center, axis=1) / radius
    is_object = capture.scene_type == "object"
    off = (distance > 10) | (distance < 0.3 if is_object else False)
    subject = np.linalg.norm(capture.cloud.xyz[capture.subject] - center, axis=1) / radius
    by_hand = "Look at region.png; set region.center and region.radius, or draw the sphere in Blender."
    findings = {
        "points_inside": Finding(float((subject < 1).mean()) if len(subject) else 0.0, f"Parts are cut off. {by_hand}"),
        "region_too_large": Finding(
            float((subject < 0.5).mean()) if len(subject) else 0.0,
            f"The sphere is far larger than the subject, which wastes detail. {by_hand}",
        ),
        "camera_distance": Finding(
            off.mean(),
            (
                f"Cameras should be 0.3 to 10 radii from the sphere's centre, here {distance.min():.2g} to "
                if is_object
                else f"Cameras should be within 10 radii of the sphere's centre, here {distance.min():.2g} to "
            )
            + f"{distance.max():.2g}. Film from nearer so that the subject fills the picture. {by_hand}",
        ),
    }
    if is_object:
        findings["cameras_inside"] = Finding(
            float((distance < 1).mean()), f"Film from farther away, or the sphere is too large. {by_hand}"
        )
    upstream = capture.region.get("upstream")
    if upstream:
        findings["upstream_region_difference"] = Finding(
            abs(upstream["radius_from_origin"] - upstream["radius"]) / upstream["radius"],
            "Nothing to film again: upstream's own script would size the sphere from the wrong point; this workflow "
            "does not. Do not replace transforms.json by one that upstream's script wrote.",
        )
    return findings


def check_images(capture: Capture) -> dict[str, Finding]:
    """Upstream hangs for ever on a missing or broken image (NA-14, NA-15), so the poses stage decodes each of them."""
    found = [image["name"] for image in capture.poses["images"]]
    broken = [f"{image['name']} ({image['flaw']})" for image in capture.poses["images"] if image["flaw"]]
    missing = sorted(set(capture.names) - set(found))
    extra = sorted(set(found) - set(capture.names))
    doubled = sorted({name for name in found if found.count(name) > 1})
    again = "Run the poses stage again."
    lists = (("no image for", missing), ("no pose for", extra), ("twice", doubled))
    return {
        "image_names": Finding(
            len(missing) + len(extra) + len(doubled),
            " ".join([again, *(f"{words.capitalize()}: {_some(names)}." for words, names in lists if names)]),
        ),
        "image_files": Finding(len(broken), again + (f" Broken: {_some(broken)}." if broken else "")),
    }


def _some(names: list[str]) -> str:
    """At most five names."""
    return ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


if __name__ == "__main__":
    run(main)
