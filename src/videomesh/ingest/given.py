"""Poses that photos bring along: transforms.json, the raw folders of phones' apps, or a COLMAP model.

Each reader gives the frames of its format; here they are matched with the photos. World coordinates stay as they are.
Cameras of ARKit and of transforms.json have OpenGL's axes (x right, y up, z backward), ours OpenCV's.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from videomesh.errors import UserError
from videomesh.ingest import colmap
from videomesh.ingest.listing import File, LeftOut, split_path
from videomesh.ingest.pictures import Picture, get_stem
from videomesh.photos import natural_key

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
SAME_ASPECT = 0.01  # relative difference of width / height that is only rounding
ROTATION_ERROR = 1e-2  # of a matrix from an app, whose numbers are often rounded
IGNORE = "correct it or export it again, or set poses.given: ignore, which finds the poses anew"
# Words in a transforms.json that tell of a program that measures in metres.
METRIC_WORDS = r"arkit|arcore|kiri|nerfcapture|polycam|record3d|scaniverse|spectacular"
MISSING = "photos named in {}, but missing"

Size = tuple[int, int]


class Camera(NamedTuple):
    """As ingest.json describes it. Params are COLMAP's, for pixels of a picture of this size."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]


class Frame(NamedTuple):
    """A photo's pose as a file tells of it."""

    name: str  # the path that the file names
    where: str  # the place in the file, for messages
    get_camera: Callable[[Size], Camera]  # for the size of the photo, which some formats do not repeat
    world_from_cam: np.ndarray  # 4 x 4, OpenCV's axes
    mask: str = ""  # the path of its mask, if the file names one


@dataclass
class Poses:
    """The frames of one format."""

    format: str
    place: str  # path of the file or folder, for messages
    folder: tuple[str, ...]  # that paths begin at
    metric: bool
    frames: list[Frame]
    files: list[File]  # that were read
    complete: bool = True  # every frame should have a photo; some apps keep only every sixth


@dataclass
class Given:
    """Poses of photos, by the paths of these."""

    format: str
    metric: bool
    place: str
    files: list[File]
    cameras: list[Camera] = field(default_factory=list)
    frames: dict[str, tuple[int, np.ndarray]] = field(default_factory=dict)  # camera, world_from_cam
    masks: dict[str, Picture] = field(default_factory=dict)


def find_given(files: list[File], pictures: list[Picture], left_out: LeftOut) -> Given | None:
    """Poses among the files, matched with the pictures. None if there are none. UserError if they are broken."""
    readers = (read_transforms, read_polycam, read_record3d, read_scanner_app, read_colmap)
    poses = next((found for found in (reader(files, pictures) for reader in readers) if found), None)
    if not poses:
        return None
    if not poses.frames:
        raise UserError(f"{poses.place}: it holds no poses; {IGNORE}")
    given = Given(poses.format, poses.metric, poses.place, poses.files)
    find = Finder(pictures, poses.folder)
    numbers: dict[Camera, int] = {}
    missing = []
    misfits = []
    for frame in poses.frames:
        pose = check_pose(frame)
        picture = find(frame.name, frame.get_camera)
        if picture is None:
            missing.append(frame.name)
            continue
        camera = fit_camera(frame.get_camera(picture.size), picture)
        if camera is None:
            misfits.append(f"{frame.where}: {describe_misfit(frame, picture)}")
            continue
        number = numbers.setdefault(camera, len(numbers))
        given.frames[picture.path] = (number, pose)
        mask = find(frame.mask, None) if frame.mask else None
        if mask is not None and mask is not picture:
            given.masks[picture.path] = mask
    if misfits:
        raise UserError(f"{misfits[0]}{f' (and {len(misfits) - 1} more)' if len(misfits) > 1 else ''}; {IGNORE}")
    if not given.frames:
        raise UserError(
            f"{poses.place}: none of the {len(poses.frames)} photos that it names is there, such as "
            f"{poses.frames[0].name}; add them, or set poses.given: ignore, which finds the poses anew"
        )
    given.cameras = list(numbers)
    if poses.complete:
        left_out.add(MISSING.format(poses.place), missing)
    return given


class Finder:
    """Finds the picture that a file with poses names. Folders may have been renamed or moved since."""

    def __init__(self, pictures: list[Picture], folder: tuple[str, ...]) -> None:
        self.folder = folder
        pictures = [picture for picture in pictures if not picture.is_raw]  # whose size is not known yet
        self.by_path = {picture.file.parts: picture for picture in pictures}
        self.by_stem: dict[str, list[Picture]] = defaultdict(list)
        for picture in pictures:
            self.by_stem[get_stem(picture.file.parts[-1])].append(picture)

    def __call__(self, name: str, get_camera: Callable[[Size], Camera] | None) -> Picture | None:
        parts = split_path(name)
        if not parts:
            return None
        if (*self.folder, *parts) in self.by_path:
            return self.by_path[*self.folder, *parts]
        candidates = self.by_stem.get(get_stem(parts[-1]), []) or self.by_stem.get(parts[-1], [])
        candidates = [picture for picture in candidates if picture.kind == ""] or candidates
        agreeing = {id(picture): count_same_end(picture.file.parts, parts) for picture in candidates}
        best = [picture for picture in candidates if agreeing[id(picture)] == max(agreeing.values())]
        if get_camera and len(best) > 1:
            sized = [picture for picture in best if get_camera(picture.size)[1:3] == picture.size]
            best = sized or [max(best, key=lambda picture: picture.size)]
        return best[0] if len(best) == 1 else None


def count_same_end(parts: tuple[str, ...], named: tuple[str, ...]) -> int:
    """How many names at the end of two paths are the same. The file's own name may differ in its suffix."""
    pairs = zip([get_stem(parts[-1]), *parts[-2::-1]], [get_stem(named[-1]), *named[-2::-1]], strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(len(parts), len(named)))


def fit_camera(camera: Camera, picture: Picture) -> Camera | None:
    """The camera for the picture's own size, or for its size when upright; None if it has another shape."""
    for size in (picture.size, picture.upright_size):
        if abs(camera.width * size[1] / (camera.height * size[0]) - 1) <= SAME_ASPECT:
            return scale_camera(camera, size)
    return None


def scale_camera(camera: Camera, size: Size) -> Camera:
    scale = {"x": size[0] / camera.width, "y": size[1] / camera.height}
    return Camera(camera.model, *size, colmap.scale_params(camera.model, camera.params, scale["x"], scale["y"]))


def describe_misfit(frame: Frame, picture: Picture) -> str:
    camera = frame.get_camera(picture.size)
    return (
        f"its camera has {camera.width} x {camera.height} pixels, but {picture.path} has {picture.size[0]} x "
        f"{picture.size[1]}, another shape"
    )


def check_pose(frame: Frame) -> np.ndarray:
    """The pose with an exact rotation. UserError unless it is a rotation and a place."""
    pose = frame.world_from_cam.copy()
    rotation = pose[:3, :3]
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if not np.isfinite(pose).all() or not error < ROTATION_ERROR or np.linalg.det(rotation) < 0:
        raise UserError(f"{frame.where}: the pose of {frame.name} is not a rotation and a position; {IGNORE}")
    left, _, right = np.linalg.svd(rotation)
    pose[:3, :3] = left @ right
    return pose


# --- JSON -------------------------------------------------------------------------------------------------------------


def read_json(file: File) -> Any:
    try:
        return json.loads(file.read().decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{file.path}: not valid JSON ({error}); {IGNORE}")


def get_matrix(value: Any, where: str) -> np.ndarray:
    """A pose of 16 or 12 numbers, row by row, as 4 x 4."""
    try:
        flat = np.asarray(value, float).reshape(-1)
    except (TypeError, ValueError):
        flat = np.empty(0)
    if flat.size not in (12, 16) or not np.isfinite(flat).all():
        raise UserError(f"{where} is not 4 x 4 numbers; {IGNORE}")
    matrix = np.eye(4)
    matrix[: flat.size // 4] = flat.reshape(-1, 4)
    return matrix


def get_number(content: dict[str, Any], key: str, where: str, default: float | None = None) -> float:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}: {key} is {json.dumps(value)}, not a number; {IGNORE}")
    return float(value)


def shallowest(files: Iterable[File]) -> File | None:
    return min(files, key=lambda file: (len(file.parts), file.parts), default=None)


def same_camera(camera: Camera) -> Callable[[Size], Camera]:
    return lambda size: camera


# --- transforms.json --------------------------------------------------------------------------------------------------


def read_transforms(files: list[File], pictures: list[Picture]) -> Poses | None:
    """Nerfstudio's, Instant-NGP's, or a phone's app's. NeRF's first data sets have three, for train, val, test."""
    found = [file for file in files if re.fullmatch(r"transforms(_\w+)?\.json", file.parts[-1], re.IGNORECASE)]
    first = shallowest(file for file in found if file.parts[-1].lower() == "transforms.json") or shallowest(found)
    if not first:
        return None
    used = [file for file in found if file.parts[:-1] == first.parts[:-1]]
    if first.parts[-1].lower() == "transforms.json":
        used = [first]
    frames: list[Frame] = []
    metric = True
    nerfstudio = False
    for file in used:
        content = read_json(file)
        entries = content.get("frames") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{file.path}: it has no list called frames; {IGNORE}")
        frames += [read_frame(file.path, content, number, entry) for number, entry in enumerate(entries)]
        metric = metric and is_metric(content, entries)
        nerfstudio = nerfstudio or "camera_model" in content or any("fl_x" in entry for entry in entries)
    name = "nerfstudio" if nerfstudio else "instant-ngp"
    return Poses(name, first.path, first.parts[:-1], metric, frames, used)


def is_metric(content: dict[str, Any], entries: list[dict[str, Any]]) -> bool:
    """Whether lengths are metres: a phone measured them, or this workflow wrote the file and says so."""
    if "units" in content:
        return str(content["units"]) in ("m", "metre", "metres", "meter", "meters")
    about = json.dumps({key: value for key, value in content.items() if key != "frames"})
    if re.search(METRIC_WORDS, about, re.IGNORECASE):
        return True
    if any("colmap_im_id" in entry for entry in entries):  # Nerfstudio found the poses itself
        return False
    # NeRFCapture's depth is in metres; Nerfstudio writes this word for Polycam alone.
    return "integer_depth_scale" in content or content.get("orientation_override") == "none"


def read_frame(path: str, content: dict[str, Any], number: int, entry: Any) -> Frame:
    where = f"{path}: frames[{number}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
        raise UserError(f"{where} has no file_path; {IGNORE}")
    pose = get_matrix(entry.get("transform_matrix"), f"{where} ({entry['file_path']}): transform_matrix")
    both = {**content, **entry}
    mask = entry.get("mask_path", "")
    return Frame(
        entry["file_path"],
        where,
        lambda size: read_camera(both, where, size),
        pose @ OPENGL_FROM_OPENCV,
        mask if isinstance(mask, str) else "",
    )


def read_camera(content: dict[str, Any], where: str, size: Size) -> Camera:
    """The camera of a frame of transforms.json. Size: the photo's, where the file does not say it."""
    width, height = (round(get_number(content, key, where, default)) for key, default in zip("wh", size, strict=True))
    if min(width, height) < 1:
        raise UserError(f"{where}: w and h are {width} and {height}; both must be above 0; {IGNORE}")
    if "fl_x" in content or "fl_y" in content:
        focal_x = get_number(content, "fl_x" if "fl_x" in content else "fl_y", where)
        focal_y = get_number(content, "fl_y" if "fl_y" in content else "fl_x", where)
    elif "camera_angle_x" in content:
        focal_x = width / (2 * math.tan(get_number(content, "camera_angle_x", where) / 2))
        angle_y = content.get("camera_angle_y")
        focal_y = height / (2 * math.tan(get_number(content, "camera_angle_y", where) / 2)) if angle_y else focal_x
    else:
        raise UserError(f"{where}: there is neither fl_x nor camera_angle_x, so the focal length is unknown; {IGNORE}")
    if not (0 < focal_x < 1e6 and 0 < focal_y < 1e6):
        raise UserError(f"{where}: the focal length is {focal_x:g} x {focal_y:g} pixels; {IGNORE}")
    center = (get_number(content, "cx", where, width / 2), get_number(content, "cy", where, height / 2))
    model = str(content.get("camera_model", "OPENCV")).upper()
    if "EQUIRECTANGULAR" in model or content.get("is_equirectangular"):
        raise UserError(f"{where}: the photos are 360 degree pictures; cut flat views out of them first")
    k1, k2, k3, k4, p1, p2 = (get_number(content, key, where, 0) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    first = (focal_x, focal_y, *center)
    if "FISHEYE" in model or content.get("is_fisheye"):
        return Camera("OPENCV_FISHEYE", width, height, (*first, k1, k2, k3, k4))
    if k3 or k4:
        if k4:
            raise UserError(f"{where}: k4 is {k4:g}, which only a fisheye camera has; {IGNORE}")
        return Camera("FULL_OPENCV", width, height, (*first, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0))
    if k1 or k2 or p1 or p2:
        return Camera("OPENCV", width, height, (*first, k1, k2, p1, p2))
    return Camera("PINHOLE", width, height, first)


# --- phones' apps -----------------------------------------------------------------------------------------------------


def read_polycam(files: list[File], pictures: list[Picture]) -> Poses | None:
    """Polycam's raw data: keyframes/cameras/TIME.json beside keyframes/images/TIME.jpg; corrected ones are better."""
    for name in ("corrected_cameras", "cameras"):
        found = [file for file in files if file.suffix == ".json" and file.parts[-3:-1] == ("keyframes", name)]
        if found:
            images = name.replace("cameras", "images")
            frames = [read_keyframe(file, images) for file in found]
            folder = found[0].parts[:-2]
            used = [file for file in files if file.suffix == ".json" and file.parts[:-2] == folder]
            return Poses("polycam", "/".join((*folder, name)), folder, True, frames, used)
    return None


def read_keyframe(file: File, images: str) -> Frame:
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file.path}: not the data of a camera; {IGNORE}")
    values = [content.get(f"t_{row}{column}") for row in range(3) for column in range(4)]
    numbers = {key: get_number(content, key, file.path) for key in ("fx", "fy", "cx", "cy", "width", "height")}
    camera = Camera(
        "PINHOLE",
        round(numbers["width"]),
        round(numbers["height"]),
        tuple(numbers[key] for key in ("fx", "fy", "cx", "cy")),
    )
    pose = get_matrix(values, f"{file.path}: t_00 to t_23")
    name = f"{images}/{file.parts[-1][: -len('.json')]}"
    return Frame(name, file.path, same_camera(camera), pose @ OPENGL_FROM_OPENCV)


def read_scanner_app(files: list[File], pictures: list[Picture]) -> Poses | None:
    """The raw data of 3D Scanner App: frame_00012.json beside frame_00012.jpg, which only some of the frames have."""
    found = [file for file in files if re.fullmatch(r"frame_\d+\.json", file.parts[-1])]
    frames = []
    for file in found:
        content = read_json(file)
        if isinstance(content, dict) and "cameraPoseARFrame" in content:
            frames.append(read_arkit_frame(file, content))
    if not frames:
        return None
    folder = found[0].parts[:-1]
    return Poses("3d-scanner-app", "/".join(folder) or "frame_*.json", folder, True, frames, found, complete=False)


def read_arkit_frame(file: File, content: dict[str, Any]) -> Frame:
    pose = get_matrix(content["cameraPoseARFrame"], f"{file.path}: cameraPoseARFrame")
    try:
        focal_x, _, center_x, _, focal_y, center_y, *_ = map(float, content["intrinsics"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{file.path}: intrinsics are not 9 numbers; {IGNORE}")
    params = (focal_x, focal_y, center_x, center_y)
    name = file.parts[-1][: -len(".json")]
    return Frame(name, file.path, lambda size: Camera("PINHOLE", *size, params), pose @ OPENGL_FROM_OPENCV)


def read_record3d(files: list[File], pictures: list[Picture]) -> Poses | None:
    """Record3D's export: metadata or metadata.json with quaternions (x, y, z, w) and places, photos rgb/NUMBER.jpg."""
    for file in sorted(files, key=lambda file: len(file.parts)):
        if file.parts[-1].lower() not in ("metadata", "metadata.json"):
            continue
        content = read_json(file)
        if isinstance(content, dict) and "poses" in content and "K" in content:
            return read_record3d_frames(file, content, pictures)
    return None


def read_record3d_frames(file: File, content: dict[str, Any], pictures: list[Picture]) -> Poses:
    folder = file.parts[:-1]
    try:
        poses = np.asarray(content["poses"], float).reshape(-1, 7)
        matrix = np.asarray(content["K"], float).reshape(3, 3).T  # column by column
        each = np.asarray(content.get("perFrameIntrinsicCoeffs") or np.empty((0, 4)), float)[:, :4]
    except (TypeError, ValueError, IndexError) as error:
        raise UserError(f"{file.path}: poses or K are not as Record3D writes them ({error}); {IGNORE}")
    width, height = (round(get_number(content, key, file.path)) for key in ("w", "h"))
    numbered = [p for p in pictures if p.folder[: len(folder)] == folder and p.file.parts[-1].split(".")[0].isdigit()]
    numbered = [p for p in numbered if p.kind == ""]
    numbered.sort(key=lambda picture: natural_key(picture.file.parts[-1]))
    indices = [int(picture.file.parts[-1].split(".")[0]) for picture in numbered]
    if max(indices, default=0) >= len(poses):
        if len(indices) != len(poses):
            last = numbered[-1].path
            raise UserError(
                f"{file.path}: it has {len(poses)} poses, but {last} would be number {indices[-1]}; {IGNORE}"
            )
        indices = list(range(len(poses)))
    frames = []
    for picture, index in zip(numbered, indices, strict=True):
        fixed = (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
        params = tuple(map(float, each[index] if len(each) == len(poses) else fixed))
        x, y, z, w = poses[index, :4]
        if not poses[index, :4].any():
            raise UserError(f"{file.path}: poses[{index}]: its quaternion is zero; {IGNORE}")
        pose = colmap.get_pose(np.array([w, x, y, z]), poses[index, 4:])
        camera = Camera("PINHOLE", width, height, params)
        name = "/".join(picture.file.parts[len(folder) :])
        where = f"{file.path}: poses[{index}]"
        frames.append(Frame(name, where, same_camera(camera), pose @ OPENGL_FROM_OPENCV))
    return Poses("record3d", file.path, folder, True, frames, [file])


# --- COLMAP -----------------------------------------------------------------------------------------------------------


def read_colmap(files: list[File], pictures: list[Picture]) -> Poses | None:
    """The model with most images: several come out where photos fall into parts that do not touch."""
    folders: dict[tuple[str, ...], dict[str, File]] = defaultdict(dict)
    for file in files:
        if re.fullmatch(r"(cameras|images|points3D|rigs|frames)\.(bin|txt)", file.parts[-1]):
            folders[file.parts[:-1]][file.parts[-1]] = file
    models = []
    for folder, members in folders.items():
        suffix = next((end for end in ("bin", "txt") if {f"cameras.{end}", f"images.{end}"} <= members.keys()), None)
        if suffix:
            images = colmap.read_model(members[f"cameras.{suffix}"], members[f"images.{suffix}"])
            models.append((-len(images), len(folder), folder, images))
    if not models:
        return None
    _, _, folder, images = min(models, key=lambda model: model[:3])
    frames = [
        Frame(image.name, f"{image.where}", same_camera(Camera(*image.camera)), np.linalg.inv(image.cam_from_world))
        for image in images
    ]
    used = [file for members in folders.values() for file in members.values()]
    place = "/".join(folder) or "the COLMAP model"
    return Poses("colmap", place, (), False, frames, used)
