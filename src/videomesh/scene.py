"""The contract between stages and engines: transforms.json, images.tar, masks.tar and points.npz.

This is their only reader, and the writer of all but the tars, which the poses stage packs.

transforms.json has Instant-NGP's format with the region added, as NVIDIA's Neuralangelo reads it. Its poses have
OpenGL's camera axes (x right, y up, z backward). COLMAP and this workflow's own code use OpenCV's (x right, y down, z
forward). Its world is upright, z up: the region stage has turned COLMAP's by applied_transform and scaled it by
applied_scale (nerfstudio's names).
Python 3.8, NumPy and Pillow only: the engines run inside foreign images.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Sequence

import numpy as np
from PIL import Image

from videomesh.errors import UserError
from videomesh.files import read_json, write_json

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])  # and the other way round
NUMBERS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "sphere_radius")  # of which all but cx and cy are above 0
UNITS = ("arbitrary", "m")
AGAIN = "run the region stage again"
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2", "sk_x", "sk_y")
MAX_DECODERS = 8  # threads that read images, each of which holds one at full size
BOX = 4  # Image.Resampling.BOX, Image.BOX before Pillow 9.1: each new pixel is the mean of those it covers


@dataclass(frozen=True)
class Scene:
    """What transforms.json says. Lengths are in the world's unit, which may be arbitrary, as COLMAP's is."""

    path: Path  # for messages
    names: list[str]  # of the images, without a folder
    width: int  # px, of all images
    height: int
    focal: tuple[float, float]  # px
    principal: tuple[float, float]  # px
    distortion: list[float]  # of any kind, all 0 once undistorted
    world_from_cam: np.ndarray  # (n, 4, 4) float64, OpenCV's axes
    center: np.ndarray  # (3,) float64: of the region's sphere
    radius: float
    box: np.ndarray | None  # (3, 2): lowest and highest x, y, z of the region, if it has a box too
    applied_transform: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(3))  # rotation of COLMAP's world
    applied_scale: float = 1.0  # of COLMAP's lengths
    units: str = "arbitrary"  # of lengths: arbitrary, or m
    masks: Sequence[str | None] = ()  # of each image the name of its mask in masks.tar, or None; () if none has one


def read_scene(path: Path) -> Scene:
    """The scene of a transforms.json. Raises UserError naming the key or the frame that is missing or broken."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; the region stage writes it")
    content = read_json(path)
    needed = [*NUMBERS, "sphere_center", "frames"]
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; {AGAIN}")
    content = {**dict.fromkeys(DISTORTION, 0), **content}
    for key in (*NUMBERS, *DISTORTION):
        if not is_finite(content[key], ()):
            raise UserError(f"{path}: {key} is {content[key]!r}, not a number; {AGAIN}")
        if key in NUMBERS and key not in ("cx", "cy") and content[key] <= 0:
            raise UserError(f"{path}: {key} is {content[key]}; it must be above 0")
        if key in ("w", "h") and content[key] != int(content[key]):
            raise UserError(f"{path}: {key} is {content[key]}; it must be a whole number of pixels")
    if not is_finite(content["sphere_center"], (3,)):
        raise UserError(f"{path}: sphere_center is {content['sphere_center']!r}, not 3 numbers")
    if not is_finite(content.get("applied_transform", np.eye(3)), (3, 3)):
        raise UserError(f"{path}: applied_transform is {content['applied_transform']!r}, not 3 x 3 numbers; {AGAIN}")
    scale, units = content.get("applied_scale", 1.0), content.get("units", "arbitrary")
    if not is_finite(scale, ()) or scale <= 0:
        raise UserError(f"{path}: applied_scale is {scale!r}, not a number above 0; {AGAIN}")
    if units not in UNITS:
        raise UserError(f"{path}: units is {units!r}; it must be {' or '.join(UNITS)}; {AGAIN}")
    names, world_from_cam = read_poses(path, content["frames"], "run the poses stage again")
    if not names:
        raise UserError(f"{path}: holds no frames; {AGAIN}")
    return Scene(
        path=Path(path),
        names=names,
        width=int(content["w"]),
        height=int(content["h"]),
        focal=(float(content["fl_x"]), float(content["fl_y"])),
        principal=(float(content["cx"]), float(content["cy"])),
        distortion=[float(content[key]) for key in DISTORTION] + [float(bool(content.get("is_fisheye")))],
        world_from_cam=world_from_cam,
        center=np.array(content["sphere_center"], float),
        radius=float(content["sphere_radius"]),
        box=read_box(path, content),
        applied_transform=np.array(content.get("applied_transform", np.eye(3)), float),
        applied_scale=float(scale),
        units=units,
        masks=read_mask_names(path, content["frames"]),
    )


def read_poses(path: Path, frames: Any, remedy: str) -> tuple[list[str], np.ndarray]:
    """Image names, and world_from_cam (n, 4, 4) float64 in OpenCV's axes, of the entry `frames` of a transforms.json.

    Raises UserError, which ends in the remedy, naming the frame without a name or a pose.
    """
    if not isinstance(frames, list):
        raise UserError(f"{path}: frames holds {type(frames).__name__}, not a list; {remedy}")
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise UserError(f"{path}: frame {index} has no file_path; {remedy}")
        if not is_finite(frame.get("transform_matrix"), (4, 4)):
            raise UserError(
                f"{path}: frame {index} ({frame['file_path']}): transform_matrix is not 4 x 4 finite numbers; {remedy}"
            )
    poses = np.array([frame["transform_matrix"] for frame in frames], float).reshape(-1, 4, 4)
    return [get_name(frame["file_path"]) for frame in frames], poses @ OPENGL_FROM_OPENCV


def read_mask_names(path: Path, frames: list[dict[str, Any]]) -> list[str | None]:
    """Of each frame the name of its mask in masks.tar, or None."""
    for index, frame in enumerate(frames):
        if not isinstance(frame.get("mask_path", ""), str):
            raise UserError(f"{path}: frame {index}: mask_path is {frame['mask_path']!r}, not a path; {AGAIN}")
    return [get_name(frame["mask_path"]) if "mask_path" in frame else None for frame in frames]


def read_box(path: Path, content: dict[str, Any]) -> np.ndarray | None:
    if "aabb_range" not in content:
        return None
    box = content["aabb_range"]
    if not is_finite(box, (3, 2)):
        raise UserError(f"{path}: aabb_range is {box!r}, not [[low, high], [low, high], [low, high]]")
    return np.array(box, float)


def get_name(file_path: str) -> str:
    """images/000012.jpg, or images\\000012.jpg as Windows writes it, is 000012.jpg."""
    return file_path.replace("\\", "/").split("/")[-1]


def is_finite(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is a number, or nested lists of numbers of that shape, all finite."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return False
    return array.shape == shape and array.dtype.kind in "iuf" and bool(np.isfinite(array).all())


def write_scene(path: Path, scene: Scene, times: Sequence[dict[str, Any]]) -> None:
    """Write transforms.json with upstream's keys, plus the video_frame and time that `times` holds for each image."""
    write_json(path, describe_scene(scene, times))


def describe_scene(scene: Scene, times: Sequence[dict[str, Any]]) -> dict[str, Any]:
    masks = scene.masks or [None] * len(scene.names)
    box = scene.box if scene.box is not None else scene.center[:, None] + [-scene.radius, scene.radius]
    return {
        "camera_angle_x": 2 * math.atan(scene.width / (2 * scene.focal[0])),
        "camera_angle_y": 2 * math.atan(scene.height / (2 * scene.focal[1])),
        "fl_x": scene.focal[0],
        "fl_y": scene.focal[1],
        "sk_x": 0.0,
        "sk_y": 0.0,
        **dict.fromkeys(("k1", "k2", "k3", "k4", "p1", "p2"), 0.0),  # the images are undistorted
        "is_fisheye": False,
        "cx": scene.principal[0],
        "cy": scene.principal[1],
        "w": scene.width,
        "h": scene.height,
        "aabb_scale": 2.0 ** round(math.log2(scene.radius)),
        "aabb_range": box.tolist(),
        "sphere_center": scene.center.tolist(),
        "sphere_radius": scene.radius,
        "applied_transform": scene.applied_transform.tolist(),
        "applied_scale": scene.applied_scale,
        "units": scene.units,
        "frames": [
            {
                "file_path": f"images/{name}",
                **({"mask_path": f"masks/{mask}"} if mask else {}),
                "transform_matrix": (pose @ OPENGL_FROM_OPENCV).tolist(),
                "video_frame": frame["video_frame"],
                "time": frame["time"],
            }
            for name, mask, pose, frame in zip(scene.names, masks, scene.world_from_cam, times)
        ],
    }


# --- region.json ------------------------------------------------------------------------------------------------------


class SubjectCrop(NamedTuple):
    """What the automatic crop keeps: what stands on the ground within a ball; all if there is no ground."""

    center: np.ndarray  # (3,)
    radius: float
    plane: tuple[np.ndarray, np.ndarray, float] | None  # point and normal (3,) of the ground, and its thickness


def read_crop(path: Path) -> SubjectCrop:
    """The key crop of region.json. Raises UserError if it is missing or broken."""
    content = read_json(path)
    crop = content.get("crop") if isinstance(content, dict) else None
    plane = crop.get("plane") if isinstance(crop, dict) else None
    numbers = [(crop, "center", (3,)), (crop, "radius", ())]
    if plane is not None:
        numbers += [(plane, "point", (3,)), (plane, "normal", (3,)), (plane, "thickness", ())]
    for part, key, shape in numbers:
        if not isinstance(part, dict) or not is_finite(part.get(key), shape):
            raise UserError(f"{path}: crop has no {key}, or not as numbers; {AGAIN}")
    assert crop is not None
    ground = None
    if plane is not None:
        ground = (np.array(plane["point"], float), np.array(plane["normal"], float), float(plane["thickness"]))
    return SubjectCrop(np.array(crop["center"], float), float(crop["radius"]), ground)


# --- images -----------------------------------------------------------------------------------------------------------


def read_images(path: Path, scene: Scene, names: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """Images of the tar (n, height, width, 3) uint8, averaged down to size (width, height), in the order of names.

    Each thread decodes one at a time. Raises UserError naming the image on anything missing, broken or of another size.
    """
    images = np.empty((len(names), size[1], size[0], 3), np.uint8)
    try:
        with tarfile.open(path, "r:") as tar:
            members = {get_name(member.name): member for member in tar if member.isfile()}
            missing = [name for name in names if name not in members]
            if missing:
                listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
                raise UserError(
                    f"{path}: lacks {len(missing)} of the {len(names)} frames of {scene.path}: {listed}; "
                    "both must come from the same run of the poses stage"
                )

        def decode(index: int) -> None:
            member = members[names[index]]
            with open(path, "rb") as file:  # of its own: threads cannot share the place in a file
                file.seek(member.offset_data)
                content = io.BytesIO(file.read(member.size))
            images[index] = _decode(content, f"{path}, frame {names[index]}", scene, size)

        with ThreadPoolExecutor(min(MAX_DECODERS, os.cpu_count() or 1)) as pool:
            list(pool.map(decode, range(len(names))))  # raises what the first one that failed raised
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the poses stage writes it")
    except tarfile.TarError as error:
        raise UserError(f"{path}: not a readable tar archive ({str(error).splitlines()[0]}); run the poses stage again")
    return images


def _decode(file: Any, place: str, scene: Scene, size: tuple[int, int]) -> np.ndarray:
    try:
        opened = Image.open(file)
        if opened.size != (scene.width, scene.height):
            raise UserError(
                f"{place}: {opened.size[0]} x {opened.size[1]} px, but {scene.path} says {scene.width} x "
                f"{scene.height} px; all frames must be of the one undistorted camera"
            )
        opened.draft("RGB", size)  # lets a JPEG decode at a fraction of its size, never below ours
        image = opened.convert("RGB")
        return np.array(image if image.size == size else image.resize(size, BOX))
    except UserError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others on broken images
        raise UserError(f"{place}: cannot be decoded ({error}); run the poses stage again")


# --- masks ------------------------------------------------------------------------------------------------------------

SUBJECT, OUTSIDE, UNKNOWN = 255, 0, 128  # values of a mask's pixels
NEAREST = 0  # Image.Resampling.NEAREST: a mean of the values above would mean something else
FULL = 255  # of a pixel whose parts all have the same value


def list_masks(path: Path) -> list[str]:
    """Names of the masks in masks.tar."""
    return list(_read_members(path))


def read_masks(path: Path, scene: Scene, names: Sequence[str], size: tuple[int, int], pure: bool = False) -> np.ndarray:
    """Masks (n, height, width) uint8 of images, at size (width, height), in the order of names.

    255 is the subject, 0 is not, of 128 nothing is known. A smaller mask has the values of every so many-th pixel; if
    pure, a pixel whose parts differ is 128. An image without a mask is all subject. Raises UserError naming the mask on
    anything missing, broken or of another size.
    """
    masks = np.full((len(names), size[1], size[0]), SUBJECT, np.uint8)
    mask_of = dict(zip(scene.names, scene.masks))
    wanted = [(row, mask_of.get(name)) for row, name in enumerate(names)]
    members = _read_members(path) if any(mask for _, mask in wanted) else {}
    for row, mask in wanted:
        if mask is None:
            continue
        if mask not in members:
            raise UserError(f"{path}: lacks {mask}, which {scene.path} names; both must come from the same run")
        place = f"{path}, mask {mask}"
        try:
            image = Image.open(io.BytesIO(members[mask])).convert("L")
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others on broken images
            raise UserError(f"{place}: cannot be decoded ({error}); run the poses stage again")
        if image.size != (scene.width, scene.height):
            raise UserError(
                f"{place}: {image.size[0]} x {image.size[1]} px, but {scene.path} says {scene.width} x "
                f"{scene.height} px"
            )
        masks[row] = _reduce_pure(np.array(image), size) if pure else np.array(image.resize(size, NEAREST))
    return masks


def find_masked(masks: np.ndarray) -> np.ndarray:
    """(n,) bool: which of the masks (n, height, width) say what the subject is.

    One without a pixel outside of the subject only says where the picture ends, or there is none.
    """
    return np.asarray((masks == OUTSIDE).any((1, 2)))


def _reduce_pure(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    reduced = np.full((size[1], size[0]), UNKNOWN, np.uint8)
    for value in (SUBJECT, OUTSIDE):
        share = Image.fromarray(np.where(mask == value, FULL, 0).astype(np.uint8)).resize(size, BOX)
        reduced[np.asarray(share) == FULL] = value
    return reduced


def _read_members(path: Path) -> dict[str, bytes]:
    """The files of a tar by name: masks are small."""
    try:
        with tarfile.open(path, "r:") as tar:
            files = {get_name(member.name): tar.extractfile(member) for member in tar if member.isfile()}
            return {name: file.read() for name, file in files.items() if file}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the poses stage writes it")
    except tarfile.TarError as error:
        raise UserError(f"{path}: not a readable tar archive ({str(error).splitlines()[0]}); run the poses stage again")


# --- points -----------------------------------------------------------------------------------------------------------


class SparsePoints(NamedTuple):
    """COLMAP's triangulated points, one row each."""

    xyz: np.ndarray  # (n, 3) world
    error: np.ndarray  # (n,) mean reprojection error, px
    track: np.ndarray  # (n,) number of observations
    observers: np.ndarray  # (n, k) numbers of frames in transforms.json that see the point, -1 where there are fewer
    subject: np.ndarray  # (n,) bool: points that the region has to hold


def read_points(path: Path, scene: Scene) -> SparsePoints:
    """Raises UserError on anything that is not the points.npz of this scene."""
    try:
        with np.load(path) as arrays:
            missing = [key for key in SparsePoints._fields if key not in arrays.files]
            if missing:
                raise UserError(f"{path}: lacks the arrays {', '.join(missing)}; {AGAIN}")
            points = SparsePoints(*(arrays[key] for key in SparsePoints._fields))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the region stage writes it")
    except UserError:
        raise
    except Exception as error:  # NumPy and zipfile have many ways to say that a file is broken
        raise UserError(f"{path}: not a readable .npz file ({error}); {AGAIN}")
    count = len(points.xyz) if points.xyz.ndim else 0
    rows = [array.shape[:1] for array in (points.error, points.track, points.observers, points.subject)]
    if points.xyz.shape != (count, 3) or points.observers.ndim != 2 or rows != [(count,)] * 4:
        raise UserError(f"{path}: its arrays do not hold one row for each point; {AGAIN}")
    if points.observers.max(initial=-1) >= len(scene.names):
        raise UserError(
            f"{path}: names frame {points.observers.max()} of {len(scene.names)}; it belongs to another file than "
            f"{scene.path}; {AGAIN}"
        )
    return points


def write_points(path: Path, points: SparsePoints) -> None:
    with open(path, "wb") as file:  # a file, because numpy appends .npz to names
        np.savez(file, **points._asdict())
