"""The photos of a folder or an archive in one tar: flat names, masks in one form, poses that came along."""

import collections
import contextlib
import hashlib
import io
import json
import re
import tarfile
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from videomesh.download import Progress, downloaded
from videomesh.errors import UserError
from videomesh.files import add_to_tar
from videomesh.frames.count import MIN_FRAMES
from videomesh.frames.opening import DamagedPhoto, check_damaged, get_orientation, open_photo
from videomesh.ingest import masks as masking
from videomesh.ingest.given import Given, find_given
from videomesh.ingest.listing import File, LeftOut, list_source
from videomesh.ingest.pictures import DAMAGE, Picture, list_pictures, read_headers
from videomesh.ingest.raw import can_read_raw, read_photo
from videomesh.ingest.sorting import MASKS, match_masks, sort_pictures
from videomesh.ingest.sources import is_remote, local_path
from videomesh.ingest.spherical import check_spherical
from videomesh.photos import PHOTO_SUFFIXES, natural_key
from videomesh.sources import is_video

PHOTOS_END = ".tar"  # of an --output for photos
MASK_SETTINGS = ("auto", "ignore")  # else a path
GIVEN_SETTINGS = ("read", "ignore")
DAMAGED = "damaged photos"
# What programs add to the name of a copy: IMG_1 (2), IMG_1 copy.
COPY = re.compile(r"^copy of |[ _-]*\(\d+\)$|[ _-]+(copy|copia|copie|kopie)([ _-]?\(?\d+\)?)?$")


def ingest_photos(source: str, output: Path, progress: Progress, masks: str = "auto", given: str = "read") -> None:
    """Write the photos of a folder or an archive to an uncompressed tar, in their natural order, and ingest.json.

    masks: auto, ignore, or a folder or an archive that holds them. given: read or ignore poses that came along.
    """
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(downloaded(source, output, progress)) if is_remote(source) else local_path(source)
        files = list_source(path, source, output, stack)
        left_out = LeftOut()
        photos, poses, problems = choose_photos(files, left_out, with_poses=given == "read")
        if masks != "auto":
            left_out.rename(MASKS, "masks (not used)")
        if masks not in MASK_SETTINGS:
            give_masks(photos, masks, output, stack)
        writer = Writer(photos, poses, problems, left_out, masks)
        with tarfile.open(output, "w") as tar:
            writer.write(tar)
    for line in writer.describe():
        progress.report(line)


def choose_photos(files: list[File], left_out: LeftOut, with_poses: bool) -> tuple[list[Picture], Given | None, dict]:
    """The photos among the files, with their masks, their poses, and what is wrong with others, by path."""
    pictures = list_pictures(files)
    read, problems = read_headers(pictures)
    left_out.add("animated pictures", (picture.file for picture in read if picture.animated))
    read = [picture for picture in read if not picture.animated]
    given = find_given(files, read, left_out) if with_poses else None
    explicit = {mask.path for mask in given.masks.values()} if given else set()
    named = set(given.frames) if given else set()
    photos = sort_pictures([picture for picture in read if picture.path not in explicit], named, left_out)
    if not can_read_raw():
        left_out.add("RAW files (install rawpy to use them)", (photo.file for photo in photos if photo.is_raw))
        photos = [photo for photo in photos if not photo.is_raw]
    if given:
        for photo in photos:
            photo.masks = [given.masks[photo.path]] if photo.path in given.masks else photo.masks
        left_out.add(MASKS, sorted(explicit))
    taken = {picture.path for picture in pictures} | {file.path for file in (given.files if given else [])}
    rest = [file for file in files if file.path not in taken]
    for suffix, _ in collections.Counter(file.suffix for file in rest).most_common():
        left_out.add(suffix or "files without suffix", (file for file in rest if file.suffix == suffix))
    spherical = check_spherical(photos)
    left_out.add("360 degree photos", (photo.file for photo in spherical))
    return [photo for photo in photos if photo not in spherical], given, problems


def give_masks(photos: list[Picture], source: str, output: Path, stack: contextlib.ExitStack) -> None:
    """Give photos the masks of a folder or an archive, by name, in place of their own. UserError if none fits."""
    try:
        files = list_source(local_path(source), source, output, stack)
    except UserError as error:
        raise UserError(f"masks: {source}: {error}")
    pictures, problems = read_headers([picture for picture in list_pictures(files) if not picture.is_raw])
    if problems:
        raise UserError(f"masks: {source}: {'; '.join(problems.values())}; make them again, or remove them")
    for photo in photos:
        photo.masks = []
    for picture in pictures:  # the folder as a whole is for masks, so that names of folders around it do not count
        picture.kind = picture.kind or "mask"
    match_masks(pictures, photos, LeftOut())
    if not any(photo.masks for photo in photos):
        example = photos[0].path if photos else "no photo"
        raise UserError(
            f"masks: {source}: no picture in it is called like a photo, such as {example}; "
            "rename them, or set masks: ignore"
        )


class Writer:
    """Writes photos.tar, and tells about it."""

    def __init__(
        self, photos: list[Picture], given: Given | None, problems: dict[str, str], left_out: LeftOut, masks: str
    ) -> None:
        self.photos = photos
        self.given = given
        self.problems = problems
        self.left_out = left_out
        self.masks = masks
        self.names: dict[str, str] = {}  # path -> flat name of what is stored
        self.shares: list[float] = []  # of each mask: how much is subject
        self.outlines: list[float] = []  # of each mask: how much of its border is

    def write(self, tar: tarfile.TarFile) -> None:
        flat = name_flat(self.photos)
        contents: set[tuple[bytes, str]] = set()
        copies: list[Picture] = []
        empty: list[Picture] = []
        for photo in sorted(self.photos, key=lambda photo: natural_key(flat[photo.path])):
            try:
                data, end = self.read(photo)
                mask = self.read_mask(photo)
            except DamagedPhoto as error:
                self.problems[photo.path] = str(error)
                continue
            content = hashlib.sha256(data).digest(), COPY.sub("", photo.base)
            if content in contents and not (self.given and photo.path in self.given.frames):
                copies.append(photo)
                continue
            contents.add(content)
            if mask is not None and not mask.getbbox():
                empty.append(photo)
                continue
            name = flat[photo.path] + end
            add_to_tar(tar, name, data)
            self.names[photo.path] = name
            if mask is not None:
                pixels = np.asarray(mask)
                self.shares.append(float((pixels > 0).mean()))
                self.outlines.append(masking.get_outline(pixels))
                add_to_tar(tar, f"masks/{name}.png", masking.encode_mask(mask))
        self.left_out.add("copies of other photos", (photo.file for photo in copies))
        self.left_out.add("photos whose mask is empty (black)", (photo.file for photo in empty))
        self.check(empty)
        add_to_tar(tar, "ingest.json", (json.dumps(self.summarise(), indent=1, allow_nan=False) + "\n").encode())

    def read(self, photo: Picture) -> tuple[bytes, str]:
        """The photo's content as it is stored, and the end of its name. Raises DamagedPhoto."""
        try:
            data, end = read_photo(photo)
        except DAMAGE as error:
            raise DamagedPhoto(f"{photo.path}: damaged ({error})")
        if end:
            image = open_photo(io.BytesIO(data), photo.path)
            photo.size, photo.orientation = image.size, get_orientation(image)
        return data, end

    def read_mask(self, photo: Picture) -> Any:
        """The mask to store with a photo, or None. What its masks are for, they are left out for in any case."""
        if self.masks == "ignore":
            return None
        if photo.masks:
            return masking.read_mask(photo.masks[0], photo)
        return masking.read_alpha(photo) if self.masks == "auto" else None

    def check(self, empty: list[Picture]) -> None:
        """UserError if too many photos are damaged, or too few are left."""
        self.left_out.add(DAMAGED, self.problems)
        check_damaged(list(self.problems.values()), len(self.names) + len(self.problems))
        if len(self.names) >= MIN_FRAMES:
            return
        found = f"; left out: {self.left_out}" if self.left_out.names else ""
        if empty:
            count = len(empty)
            raise UserError(f"the masks of {count} photos are all black; the subject must be white in a mask{found}")
        videos = [name for names in self.left_out.names.values() for name in names if is_video(name)]
        if videos:  # in an archive; those of a folder are clips
            raise UserError(f"videos in an archive are not read, such as {videos[0]}; unpack it, and name the folder")
        kinds = "/".join(PHOTO_SUFFIXES)
        raise UserError(
            f"{len(self.names) or 'no'} photos in it, at least {MIN_FRAMES} are needed and 50 to 300 are good{found}; "
            f"files that can be used end in {kinds}"
        )

    def summarise(self) -> dict[str, Any]:
        """The content of ingest.json."""
        given = None
        if self.given:
            frames = {self.names[path]: pose for path, pose in self.given.frames.items() if path in self.names}
            given = {
                "format": self.given.format,
                "metric": self.given.metric,
                "cameras": [camera._asdict() for camera in self.given.cameras],
                "frames": [
                    {"name": name, "camera": camera, "world_from_cam": pose.tolist()}
                    for name, (camera, pose) in sorted(frames.items(), key=lambda item: natural_key(item[0]))
                ],
            }
        return {"left_out": self.left_out.describe(), "given": given}

    def describe(self) -> list[str]:
        """What the user is told."""
        lines = [f"{len(self.names)} photos"]
        if self.given:
            posed = sum(path in self.names for path in self.given.frames)
            unit = "in metres" if self.given.metric else "of unknown scale"
            lines.append(f"poses: {posed} of {len(self.names)} photos have one, {unit}, from {self.given.place}")
        if self.shares:
            lines.append(masking.describe_masks(len(self.shares), len(self.names), self.shares, self.outlines))
        if self.left_out.names:
            lines.append(f"left out: {self.left_out}")
        lines += [f"damaged: {problem}" for problem in self.problems.values()]
        return lines


def name_flat(photos: list[Picture]) -> dict[str, str]:
    """Path -> name without folders. UserError if two photos would have one name."""
    levels = zip(*(photo.folder for photo in photos), strict=False)
    common = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))  # folders around all photos
    named: dict[str, str] = {}
    for photo in photos:
        name = "_".join(photo.file.parts[common:])
        if name in named:
            raise UserError(f"two photos would both be called {name}: {named[name]} and {photo.path}; rename one")
        named[name] = photo.path
    return {path: name for name, path in named.items()}
