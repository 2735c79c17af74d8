"""Photos: all are kept, in sRGB, those of one camera at one size, with their masks and given poses."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image, ImageCms, ImageOps

from videomesh.errors import UserError
from videomesh.files import add_to_tar
from videomesh.frames.cameras import Header, Placing, describe_cameras, place_photos, read_header, turn
from videomesh.frames.frame import MIN_SIDE, store_frame
from videomesh.frames.opening import ORIENTATION, DamagedPhoto, check_damaged, open_photo
from videomesh.photos import natural_key

DAMAGED = "damaged photos"
NAMES_KEPT = 20  # of photos left out for one reason
AGAIN = "run the ingest stage again"


class Archive(NamedTuple):
    """What ingest handed over."""

    tar: tarfile.TarFile
    path: Path  # for messages
    photos: List[tarfile.TarInfo]  # in their natural order
    masks: Dict[str, tarfile.TarInfo]  # by the name of the photo
    left_out: List[Dict[str, Any]]
    given: Dict[str, Any]  # metric, cameras, frames


def store_photos(tar: tarfile.TarFile, masks: tarfile.TarFile, footage: Path, max_size: int) -> Dict[str, Any]:
    """Keep all photos, in the natural order of their names, and their masks. Returns frames.json."""
    with open_tar(footage) as opened:
        archive = read_archive(opened, footage)
        problems: Dict[str, str] = {}
        headers = read_headers(archive, problems)
        poses = {frame["name"]: frame for frame in archive.given["frames"]}
        names = list(headers)
        placed = place_photos(
            list(headers.values()),
            [poses[name]["camera"] if name in poses else None for name in names],
            [(camera["width"], camera["height"]) for camera in archive.given["cameras"]],
        )
        placings = dict(zip(names, placed))
        frames: List[Dict[str, Any]] = []
        stored: List[Tuple[Placing, Tuple[int, int]]] = []
        for index, member in enumerate(archive.photos):
            if member.name not in headers:
                continue
            placing = placings[member.name]
            try:
                upright = load_photo(archive.tar, member)
            except DamagedPhoto as error:
                problems[member.name] = str(error)
                continue
            image = turn(upright, placing.turn)
            image.thumbnail((max_size, max_size))
            image = to_srgb(image)
            pose = poses[member.name]["world_from_cam"] if member.name in poses else None
            frame = {**store_frame(tar, 0, index, None, image), "source": member.name}
            frames.append({**frame, "camera": 0, "clip": 0, "given": pose, "turned": placing.turn})
            stored.append((placing, image.size))
            if member.name in archive.masks:
                mask = load_mask(archive, member.name, headers[member.name])
                store_mask(masks, frame["name"], turn(mask, placing.turn), image.size)
        before = sum(entry["count"] for entry in archive.left_out if entry["reason"] == DAMAGED)
        check_damaged([f"{footage}: {problem}" for problem in problems.values()], len(archive.photos) + before, before)
    cameras, numbers = describe_cameras(
        [placing for placing, _ in stored], [size for _, size in stored], archive.given["cameras"]
    )
    for problem in problems.values():
        print(f"{footage}: {problem}; it is left out", flush=True)
    return {
        "source": "photos",
        "width": cameras[0]["width"] if cameras else 0,
        "height": cameras[0]["height"] if cameras else 0,
        "source_frames": len(archive.photos),
        "duration": None,
        "select": "every",
        "metric": archive.given["metric"],
        "cameras": cameras,
        "left_out": add_damaged(archive.left_out, sorted(problems)),
        "clips": [],
        "rejected": [],
        "cuts": [],
        "burnt_in": [],
        "frames": [{**frame, "camera": number} for frame, number in zip(frames, numbers)],
    }


def open_tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise UserError(f"{path}: not an uncompressed tar of photos ({error}); {AGAIN}")


def read_archive(tar: tarfile.TarFile, path: Path) -> Archive:
    members = {member.name: member for member in tar if member.isfile()}
    about: Dict[str, Any] = {}
    if "ingest.json" in members:
        file = tar.extractfile(members.pop("ingest.json"))
        assert file
        about = json.loads(file.read().decode())
    masks = {name[len("masks/") : -len(".png")]: members.pop(name) for name in list(members) if "/" in name}
    photos = sorted(members.values(), key=lambda member: natural_key(member.name))
    if not photos:
        raise UserError(f"{path}: no photos in it; {AGAIN}")
    given = about.get("given") or {"metric": False, "cameras": [], "frames": []}
    return Archive(tar, path, photos, masks, about.get("left_out", []), given)


def read_headers(archive: Archive, problems: Dict[str, str]) -> Dict[str, Header]:
    """Headers of the photos by name. What is wrong with others is added to the problems."""
    headers = {}
    for member in archive.photos:
        file = archive.tar.extractfile(member)
        assert file
        try:
            header = read_header(open_photo(file, member.name))
        except DamagedPhoto as error:
            problems[member.name] = str(error)
            continue
        except UserError as error:
            raise UserError(f"{archive.path}: {error}")
        if min(header.size) < MIN_SIDE:
            width, height = header.size
            problems[member.name] = f"{member.name}: {width} x {height} pixels; at least {MIN_SIDE} a side are needed"
        else:
            headers[member.name] = header
    return headers


def load_photo(photos: tarfile.TarFile, member: tarfile.TarInfo) -> Image.Image:
    """The whole photo, upright, 8 bits a channel (RGB, L or CMYK). DamagedPhoto if it does not decode.

    The colours below transparent pixels stay; the mask tells that they are not seen.
    """
    file = photos.extractfile(member)
    assert file
    image = open_photo(file, member.name)
    try:
        image.load()
        image = ImageOps.exif_transpose(image) or image
    except (OSError, ValueError, SyntaxError) as error:  # pillow reports a broken PNG as SyntaxError
        raise DamagedPhoto(f"{member.name}: the photo is damaged ({error})")
    if image.mode == "F":
        raise DamagedPhoto(f"{member.name}: brightness is stored as floating-point numbers, which no photo has")
    if image.mode.startswith("I"):  # 16-bit gray, which pillow would clip rather than scale
        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
    return image if image.mode in ("RGB", "L", "CMYK") else image.convert("RGB")


def load_mask(archive: Archive, name: str, header: Header) -> Image.Image:
    """The mask of a photo, upright as the photo is. UserError if it is not as ingest writes it."""
    file = archive.tar.extractfile(archive.masks[name])
    assert file
    where = f"{archive.path}: {archive.masks[name].name}"
    try:
        mask = Image.open(file).convert("L")
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{where}: the mask is damaged ({error}); {AGAIN}")
    if mask.size != header.size:
        raise UserError(f"{where}: the mask is {mask.size[0]} x {mask.size[1]}, not as its photo; {AGAIN}")
    exif = Image.Exif()
    exif[ORIENTATION] = header.orientation
    encoded = io.BytesIO()
    mask.save(encoded, "PNG", exif=exif)  # Pillow turns only what says so itself
    turned: Optional[Image.Image] = ImageOps.exif_transpose(Image.open(encoded))
    return turned or mask


def store_mask(tar: tarfile.TarFile, frame: str, mask: Image.Image, size: Tuple[int, int]) -> None:
    """Add a mask that is called like its frame, as large as this."""
    encoded = io.BytesIO()
    mask.resize(size, 0).save(encoded, "PNG")  # 0: Image.Resampling.NEAREST, so that no value in between comes up
    add_to_tar(tar, f"{Path(frame).stem}.png", encoded.getvalue())


def add_damaged(left_out: List[Dict[str, Any]], names: List[str]) -> List[Dict[str, Any]]:
    """What ingest left out, with the photos that proved to be damaged."""
    if not names:
        return left_out
    none: Dict[str, Any] = {"count": 0, "names": []}
    known = next((entry for entry in left_out if entry["reason"] == DAMAGED), none)
    damaged = {
        "reason": DAMAGED,
        "count": known["count"] + len(names),
        "names": [*known["names"], *names][:NAMES_KEPT],
    }
    return [*(entry for entry in left_out if entry["reason"] != DAMAGED), damaged]


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB image with its colour profile (such as the Display P3 of phones) converted to sRGB."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: viewers ignore it, too
    return image.convert("RGB")
