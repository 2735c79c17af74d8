"""A picture among the files of a source: what its header and a look at its pixels say."""

import functools
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from videomesh.errors import UserError
from videomesh.frames.opening import DamagedPhoto, get_orientation, open_photo
from videomesh.ingest.listing import File
from videomesh.photos import PHOTO_SUFFIXES, RAW_SUFFIXES

# What names of files and folders say about pictures that belong to another one.
WORDS = {
    "mask": "alpha|fg|foreground|mask|masks|masque|maske|masken|matte|mattes|matting|seg|segm|segmentation|"
    "segmentations|segs|silhouette|silhouettes",
    "depth": "conf|confidence|depth|depthmap|depthmaps|depths|disp|disparity|flow|normal|normals|semantic|semantics",
    "preview": "preview|previews|thumb|thumbnail|thumbnails|thumbs",
}
KINDS = {word: kind for kind, words in WORDS.items() for word in words.split("|")}
IMAGE_WORDS = {  # of folders
    "color",
    "colors",
    "colour",
    "frames",
    "image",
    "images",
    "img",
    "imgs",
    "input",
    "photo",
    "photos",
    "pictures",
    "rgb",
}
ANY_WORD = "|".join(KINDS)
BEFORE = re.compile(rf"({ANY_WORD})(?:[ _.-]+|(?=\d))(.+)", re.IGNORECASE)
AFTER = re.compile(rf"(.+?)(?:[ _.-]+|(?<=\d))({ANY_WORD})(?:[ _.-]?(\d{{1,4}}))?", re.IGNORECASE)
# What Pillow and archives raise where a file is damaged.
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error)
LOOK = 256  # pixels of the long side at which the content of a picture is looked at
SAME_SIDE = 24  # pixels of a side at which they are compared


@dataclass(eq=False)
class Picture:
    """A file that may be a photo, a mask of one, or another version of one."""

    file: File
    size: tuple[int, int] = (0, 0)  # of its pixels, as they are stored
    orientation: int = 1  # EXIF
    animated: bool = False
    kind: str = ""  # what its name or its folder says: mask, depth, preview
    base: str = ""  # its name without suffix, and without the word for its kind
    index: str = ""  # a number after that word: one of several masks of a photo
    place: tuple[str, ...] = ()  # the folders around it, without words such as images and masks
    masks: "list[Picture]" = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def folder(self) -> tuple[str, ...]:
        return self.file.parts[:-1]

    @property
    def stem(self) -> str:
        return get_stem(self.file.parts[-1])

    @property
    def upright_size(self) -> tuple[int, int]:
        return (self.size[1], self.size[0]) if self.orientation >= 5 else self.size

    @property
    def is_raw(self) -> bool:
        return self.file.suffix in RAW_SUFFIXES

    def read_header(self) -> None:
        """Find the size and the orientation. Raises DamagedPhoto."""
        try:
            with self.file.open() as file:
                image = open_photo(file, self.path)
                self.size, self.orientation = image.size, get_orientation(image)
                self.animated = self.file.suffix in (".gif", ".webp") and getattr(image, "n_frames", 1) > 1
        except DAMAGE as error:
            raise DamagedPhoto(f"{self.path}: damaged ({error})")

    @functools.cached_property
    def look(self) -> Image.Image | None:
        """The picture in small, without values between those of its pixels; None if it is damaged."""
        try:
            with self.file.open() as file:
                image = open_photo(file, self.path)
                image.draft("RGB", (LOOK, LOOK))
                scale = min(1, LOOK / max(image.size))
                size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
                return image.resize(size, Image.Resampling.NEAREST)
        except (UserError, *DAMAGE):
            return None

    def is_mask(self, strict: bool) -> bool:
        """Whether it has the colours of a mask: grey, and nearly all pixels black or at one bright value.

        Not strict, for pictures that are called masks: soft edges, several colours or an alpha channel are fine too.
        """
        if self.look is None:
            return False
        if not strict and has_alpha(self.look):
            return True
        rgb = np.asarray(to_8_bits(self.look).convert("RGB")).astype(int)
        highest, top = rgb.max(2), max(1, int(rgb.max()))
        extreme = ((highest < 0.1 * top) | (highest > 0.9 * top)).mean()
        spread = (highest - rgb.min(2)).mean()
        if strict:
            return bool(extreme > 0.97 and spread < 2 and 0 < (highest > 0.5 * top).mean() < 1)
        few_colours = len(np.unique(rgb.reshape(-1, 3), axis=0)) <= 32
        return bool(spread < 2 or few_colours or (extreme > 0.9 and spread < 0.1 * top))

    @functools.cached_property
    def signature(self) -> np.ndarray:
        """Its brightness (24, 24) when upright, with mean 0 and length 1; zeros if it is plain or damaged."""
        try:
            with self.file.open() as file:
                image = open_photo(file, self.path)
                image.draft("L", (LOOK, LOOK))
                upright = ImageOps.exif_transpose(to_8_bits(image)).convert("RGB").convert("L")
                values = np.asarray(upright.resize((SAME_SIDE, SAME_SIDE), Image.Resampling.BOX), float)
        except (UserError, *DAMAGE):
            return np.zeros((SAME_SIDE, SAME_SIDE))
        values = values - values.mean()
        length = float(np.linalg.norm(values))
        return values / length if length > SAME_SIDE else values * 0

    def shows_the_same(self, other: "Picture", least: float) -> bool:
        """Whether the correlation with another picture is at least so high."""
        return float((self.signature * other.signature).sum()) >= least


def list_pictures(files: list[File]) -> list[Picture]:
    """Those files that are called like photos."""
    pictures = [Picture(file) for file in files if file.suffix in PHOTO_SUFFIXES + RAW_SUFFIXES]
    for picture in pictures:
        read_name(picture)
    return pictures


def read_name(picture: Picture) -> None:
    """Find out kind, base, index and place from the path."""
    picture.base = picture.stem.casefold()
    after, before = AFTER.fullmatch(picture.stem), BEFORE.fullmatch(picture.stem)
    if after:
        picture.base, picture.kind = get_stem(after[1]).casefold(), KINDS[after[2].lower()]
        picture.index = after[3] or ""
    elif before:
        picture.base, picture.kind = before[2].casefold(), KINDS[before[1].lower()]
    place = []
    for name in picture.folder:
        words = re.findall("[a-z]+", name.lower())
        kinds = [KINDS[word] for word in words if word in KINDS]
        picture.kind = picture.kind or (kinds[0] if kinds else "")
        rest = [word for word in words if word not in IMAGE_WORDS and word not in KINDS]
        if len(rest) == len(words):
            place.append(name.casefold())
        elif rest:
            place.append("".join(rest))
    picture.place = tuple(place)


def get_stem(name: str) -> str:
    """IMG_1 of IMG_1.jpg and of IMG_1.jpg.png."""
    stem = Path(name).stem if Path(name).suffix.lower() in PHOTO_SUFFIXES + RAW_SUFFIXES else name
    return Path(stem).stem if Path(stem).suffix.lower() in PHOTO_SUFFIXES + RAW_SUFFIXES else stem


def may_have_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def has_alpha(image: Image.Image) -> bool:
    """Whether some pixels are more transparent than not."""
    return may_have_alpha(image) and int(np.asarray(image.convert("RGBA"))[:, :, 3].min()) < 128


def to_8_bits(image: Image.Image) -> Image.Image:
    """The same picture with at most 8 bits a channel: its own range of values becomes 0 to 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image).astype(float))
    top = values.max() if values.size else 0
    return Image.fromarray((values * (255 / top if top > 0 else 1)).clip(0, 255).astype(np.uint8))


def read_headers(pictures: list[Picture]) -> tuple[list[Picture], dict[str, str]]:
    """Pictures that can be opened, and what is wrong with each of the others, by its path."""
    problems: dict[str, str] = {}
    for picture in pictures:
        try:
            if not picture.is_raw:
                picture.read_header()
        except DamagedPhoto as error:
            problems[picture.path] = str(error)
    return [picture for picture in pictures if picture.path not in problems], problems
