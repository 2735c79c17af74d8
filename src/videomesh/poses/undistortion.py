"""One PINHOLE camera for all images, which is what the later stages know, and the masks that belong to it.

COLMAP undistorts each image to a PINHOLE camera of its own group. Where there is one group, that camera is used as it
is. Else one camera is chosen for all, and the frames of the others are resampled into it. What it sees and a frame
does not show is neutral grey in the image and UNKNOWN in the mask.
"""

import io
import tarfile
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from videomesh.files import add_to_tar
from videomesh.poses.distortion import project
from videomesh.poses.model import Camera, move_observations, read_cameras, read_images, write_cameras

SUBJECT, OUTSIDE, UNKNOWN = 255, 0, 128
LARGE = 0.2  # share of the images that makes the common camera see all that a group sees
WIDER = 1.1  # so much more must such a group see before the common camera is not that of the largest group
MAX_GROWTH = 1.5  # long side of a common camera, over the longest side of its groups
JPEG_QUALITY = 95
NEUTRAL = 128
BOX = 4  # pillow's filter that takes the mean; its name is another one in old versions


class Map(NamedTuple):
    """Where the pixels of the common camera lie in the frames of one camera."""

    x: np.ndarray  # (height, width) float32, columns of the frame; 0 is the centre of the first one
    y: np.ndarray
    known: np.ndarray  # (height, width) bool: the frame shows it
    scale: float  # pixels of the common camera per pixel of the frame, near the centre


def unify(frames: Path, model: Path, undistorted: Path, masked: Sequence[str], threads: int) -> Dict[str, Map]:
    """Leave one camera in the undistorted model, and its images with it.

    frames: the folder of the frames. model: as COLMAP found it. undistorted: what COLMAP's undistortion made of it.
    masked: frames that have a mask. Returns the maps to their frames of those images that may need a mask.
    """
    sparse = undistorted / "sparse"
    flat = {camera.id: camera for camera in read_cameras(sparse / "cameras.bin")}
    camera_of = {image.name: image.camera_id for image in read_images(sparse / "images.bin")}
    used = sorted(set(camera_of.values()))
    counts = {key: list(camera_of.values()).count(key) for key in used}
    common = choose_camera({key: flat[key] for key in used}, counts)
    changed = {name for name, key in camera_of.items() if flat[key] is not common}
    needed = changed | set(masked).intersection(camera_of)
    originals = {camera.id: camera for camera in read_cameras(model / "cameras.bin")}
    map_of = {key: make_map(common, originals[key]) for key in {camera_of[name] for name in needed}}
    for key in map_of:
        if flat[key] is common:  # COLMAP leaves no pixel unknown; a border here would be one of rounding
            map_of[key].known[:] = True
    maps = {name: map_of[camera_of[name]] for name in sorted(needed)}
    with ThreadPool(threads) as pool:
        images = undistorted / "images"
        pool.map(lambda name: resample_frame(frames / name, images / name, maps[name]), sorted(changed))
    if changed or len(flat) > 1:
        write_cameras(sparse / "cameras.bin", [common])
        temporary = sparse / "images.part"
        move_observations(sparse / "images.bin", temporary, lambda key, xy: to_camera(flat[key], common, xy), common.id)
        temporary.replace(sparse / "images.bin")
    return maps


def choose_camera(cameras: Dict[int, Camera], counts: Dict[int, int]) -> Camera:
    """One camera for the images of several PINHOLE cameras, of which each has so many.

    It is that of the largest group, unless another large group sees more, or later steps could not use it: its
    principal point must be near the centre and its pixels square.
    """
    largest = max(sorted(counts), key=lambda key: counts[key])
    total = sum(counts.values())
    large = [camera for key, camera in cameras.items() if key == largest or counts[key] >= LARGE * total]
    reach = np.max([get_reach(camera) for camera in large], axis=0)
    camera = cameras[largest]
    if is_usable(camera) and (reach <= WIDER * get_reach(camera)).all():
        return camera
    side = MAX_GROWTH * max(max(other.width, other.height) for other in large)
    focal = min(max(float(max(other.params[:2])) for other in large), side / (2 * float(reach.max())))
    width, height = (round(2 * focal * extent) for extent in reach)
    return Camera(camera.id, "PINHOLE", width, height, np.array([focal, focal, width / 2, height / 2]))


def get_reach(camera: Camera) -> np.ndarray:
    """Tangents of the largest angles to the side and up or down that a PINHOLE camera sees."""
    size = np.array([camera.width, camera.height])
    return np.maximum(camera.params[2:], size - camera.params[2:]) / camera.params[:2]


def is_usable(camera: Camera) -> bool:
    fx, fy, cx, cy = camera.params
    centred = abs(cx / camera.width - 0.5) <= 0.1 and abs(cy / camera.height - 0.5) <= 0.1
    return bool(centred and abs(fx - fy) <= 0.02 * fx)


def to_camera(before: Camera, after: Camera, pixels: np.ndarray) -> np.ndarray:
    """Pixels (n, 2) of one PINHOLE camera in another one at the same place."""
    return (pixels - before.params[2:]) / before.params[:2] * after.params[:2] + after.params[2:]


def make_map(common: Camera, original: Camera) -> Map:
    """common: PINHOLE. original: any of COLMAP's models, whose size is that of its frames."""
    x, y = np.meshgrid(np.arange(common.width) + 0.5, np.arange(common.height) + 0.5)  # COLMAP: 0.5 is the first centre
    rays = (np.stack([x.ravel(), y.ravel()], axis=1) - common.params[2:]) / common.params[:2]
    pixels = project(original, rays).reshape(common.height, common.width, 2)
    with np.errstate(invalid="ignore"):
        known = np.all((pixels >= 0) & (pixels <= [original.width, original.height]), axis=2)
    pixels = np.nan_to_num(pixels - 0.5, nan=-1.0).astype(np.float32)
    return Map(pixels[..., 0], pixels[..., 1], known, float(common.params[0] / original.params[0]))


def resample_frame(source: Path, target: Path, map_: Map) -> None:
    with Image.open(source) as image:
        colours = resample(image.convert("RGB"), map_)
    colours[~map_.known] = NEUTRAL
    Image.fromarray(colours).save(target, "JPEG", quality=JPEG_QUALITY)


def resample(image: Image.Image, map_: Map) -> np.ndarray:
    """uint8 (height, width[, 3]): bilinear, after the mean over the pixels that become one. Nearest outside."""
    width, height = image.size
    if map_.scale < 0.9:
        smaller = (max(1, round(width * map_.scale)), max(1, round(height * map_.scale)))
        image = image.resize(smaller, BOX)
    factor = np.array(image.size) / [width, height]
    x = np.clip((map_.x + 0.5) * factor[0] - 0.5, 0, image.width - 1)
    y = np.clip((map_.y + 0.5) * factor[1] - 0.5, 0, image.height - 1)
    pixels = np.asarray(image)
    left, top = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    right, bottom = np.minimum(left + 1, image.width - 1), np.minimum(top + 1, image.height - 1)
    along, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
    if pixels.ndim == 3:
        along, down = along[..., None], down[..., None]
    above = pixels[top, left] * (1 - along) + pixels[top, right] * along
    below = pixels[bottom, left] * (1 - along) + pixels[bottom, right] * along
    return np.asarray((above * (1 - down) + below * down + 0.5).astype(np.uint8))


def pack_masks(archive: Path, masks: Path, masked: Sequence[str], maps: Dict[str, Map], threads: int) -> int:
    """Write a PNG for each image of which something is masked or unknown; returns how many.

    masks: the folder with the masks of the masked frames, as COLMAP names them.
    """

    def encode(name: str) -> Tuple[str, bytes]:
        given = masks / f"{name}.png" if name in masked else None
        return str(Path(name).with_suffix(".png")), encode_mask(given, maps[name])

    names: List[str] = sorted(maps)
    count = 0
    with tarfile.open(archive, "w") as tar, ThreadPool(threads) as pool:
        for name, data in pool.imap(encode, names):
            if data:
                add_to_tar(tar, name, data)
                count += 1
    return count


def encode_mask(given: Optional[Path], map_: Map) -> bytes:
    """The PNG of an image's mask, from that of its frame; nothing if all of the image is known and no mask is given."""
    if given is None and map_.known.all():
        return b""
    mask = np.full(map_.known.shape, SUBJECT, np.uint8)
    if given is not None:
        with Image.open(given) as image:
            mask[resample(image.convert("L"), map_) < 128] = OUTSIDE
    mask[~map_.known] = UNKNOWN
    encoded = io.BytesIO()
    Image.fromarray(mask).save(encoded, "PNG")
    return encoded.getvalue()
