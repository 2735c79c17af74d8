"""Which pictures are photos, and which stand for another photo: masks, depth, smaller or edited versions, copies.

Names say what a picture may be. Its content decides, since a folder called masks may hold photos of masks.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable

from videomesh.ingest.listing import LeftOut
from videomesh.ingest.pictures import Picture

SAMPLES = 3  # pictures of a set that are looked at
# Correlation of two pictures, averaged to 24 x 24 pixels, from which on they are of one shot. Edited ones may differ
# more. A smaller version has above 0.9999; photos that follow each other closely reach 0.991 (Instant-NGP's fox).
SAME_SHOT, SAME_PICTURE = 0.9, 0.998
SHARED = 0.5  # of the names of two folders: from there on they may hold the same photos
PREVIEWS = "small previews"
DEPTH = "pictures of depth, normals and the like"
MASKS = "masks (used)"
NO_MASKS = "pictures called masks that do not look like masks"
OTHER_FOLDERS = "pictures in other folders than the photos with poses"
SMALLER = "smaller versions of photos"
EDITED = "edited versions of photos"
OTHER_VERSIONS = "other versions of photos"
RAW_BESIDE = "RAW files beside photos of the same name"

# Names that programs and people give to a second version of a photo.
SUFFIX_WORDS = "bearbeitet|bewerkt|edit|edited|editado|modifié|modifie|modificato"
SIZE_WORDS = r"large|low|lowres|medium|preview|resized|scaled|small|web|\d{2,5}x\d{2,5}"
EDITS: list[tuple[str, re.Pattern[str]]] = [
    (EDITED, re.compile(r"(?P<before>img_)e(?P<after>\d{4})")),  # iPhones: IMG_E1234 beside IMG_1234
    (EDITED, re.compile(rf"(?P<before>.+?)[-_ ]\(?(?:{SUFFIX_WORDS})\)?(?:[-_ ]?\d+)?(?P<after>)")),
    (EDITED, re.compile(r"(?P<before>.+?)~\d+(?P<after>)")),  # Android
    (SMALLER, re.compile(rf"(?P<before>.+?)[-_ .](?:{SIZE_WORDS})(?P<after>)")),
]
PIXEL = re.compile(r"(.+)\.(?:raw|portrait)-\d\d\.(cover|original)")  # Google's phones: two files of one shot
PYRAMID = re.compile(r"(.+?)_(\d{1,2})")  # LLFF and nerfstudio: images_4 holds a quarter of the size


def sort_pictures(pictures: list[Picture], named: set[str], left_out: LeftOut) -> list[Picture]:
    """The photos, with their masks. What is no photo of its own is left out, and said to be.

    named: paths of those that a file with poses names, which are photos in any case.
    """
    pictures = leave_out_kind("preview", PREVIEWS, pictures, named, left_out)
    pictures, masks = take_masks(pictures, named, left_out)
    pictures = leave_out_kind("depth", DEPTH, pictures, named, left_out)
    for picture in pictures:
        picture.base = picture.stem.casefold()
    if named:
        folders = {picture.folder for picture in pictures if picture.path in named}
        others = [picture for picture in pictures if picture.folder not in folders]
        left_out.add(OTHER_FOLDERS, (picture.file for picture in others))
        pictures = [picture for picture in pictures if picture.folder in folders]
    steps: list[Callable[[list[Picture]], Iterable[tuple[str, Picture]]]] = [
        find_smaller_folders,
        find_same_shots,
        find_edited,
        find_same_folders,
    ]
    for step in steps:
        second = {picture.path: reason for reason, picture in step(pictures) if picture.path not in named}
        for reason in dict.fromkeys(second.values()):
            left_out.add(reason, (picture.file for picture in pictures if second.get(picture.path) == reason))
        pictures = [picture for picture in pictures if picture.path not in second]
    match_masks(masks, pictures, left_out)
    return pictures


def group(pictures: Iterable[Picture], key: Callable[[Picture], Hashable]) -> dict[Hashable, list[Picture]]:
    groups: dict[Hashable, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[key(picture)].append(picture)
    return groups


def sample(pictures: list[Picture]) -> list[Picture]:
    """A few of them, from begin to end."""
    count = min(SAMPLES, len(pictures))
    return [pictures[round(index * (len(pictures) - 1) / max(1, count - 1))] for index in range(count)]


# --- what is no photo -------------------------------------------------------------------------------------------------


def leave_out_kind(
    kind: str, reason: str, pictures: list[Picture], named: set[str], left_out: LeftOut
) -> list[Picture]:
    """Pictures without those whose folder or name says the kind, if others remain that they belong to."""
    found = [picture for picture in pictures if picture.kind == kind and picture.path not in named]
    others = [picture for picture in pictures if picture.kind != kind or picture.path in named]
    if 2 * count_belonging(found, others) < len(found):
        return pictures
    left_out.add(reason, (picture.file for picture in found))
    return others


def count_belonging(pictures: list[Picture], photos: list[Picture]) -> int:
    """How many pictures have the name, or the number, of a photo."""
    names = {photo.base for photo in photos} | {get_number(photo.base) for photo in photos} - {""}
    return sum(picture.base in names or get_number(picture.base) in names for picture in pictures)


def get_number(base: str) -> str:
    """The last number of a name, without zeros before it, as a name of its own; "" if there is none."""
    numbers = re.findall(r"\d+", base)
    return f"#{int(numbers[-1])}" if numbers else ""


# --- masks ------------------------------------------------------------------------------------------------------------


def take_masks(pictures: list[Picture], named: set[str], left_out: LeftOut) -> tuple[list[Picture], list[Picture]]:
    """Photos, and masks. Pictures of one folder, kind and suffix are masks together, or none of them is."""
    photos = [picture for picture in pictures if picture.path in named]
    masks: list[Picture] = []
    masked: list[list[Picture]] = []
    unmasked: list[Picture] = []
    others = (picture for picture in pictures if picture.path not in named)
    for members in group(others, lambda picture: (picture.folder, picture.kind, picture.file.suffix)).values():
        kind = members[0].kind
        if kind in ("", "mask") and not members[0].is_raw and looks_masked(members, strict=kind == ""):
            masked.append(members)
        else:
            photos += members
    for members in masked:
        if 2 * count_belonging(members, photos) >= len(members):
            masks += members
        else:
            unmasked += members
    photos += unmasked
    called = [picture for picture in photos if picture.kind == "mask" and picture.path not in named]
    rest = [picture for picture in photos if picture.kind != "mask" or picture.path in named]
    if called and 2 * count_belonging(called, rest) >= len(called):
        left_out.add(NO_MASKS, (picture.file for picture in called))
        photos = rest
    return sorted(photos, key=lambda picture: picture.file.parts), masks


def looks_masked(members: list[Picture], strict: bool) -> bool:
    looks = [picture.is_mask(strict) for picture in sample(members)]
    return sum(looks) > len(looks) / 2


def match_masks(masks: list[Picture], photos: list[Picture], left_out: LeftOut) -> None:
    """Give each photo its mask, by name. What matches no photo is left out; so are several masks of one photo."""
    found: dict[str, list[Picture]] = {}
    for get_keys in (get_names, get_numbers):  # 000.png is the mask of 000000.png only where no names agree
        by_key: dict[Hashable, list[Picture]] = defaultdict(list)
        for photo in photos:
            for key in get_keys(photo):
                by_key[key].append(photo)
        for mask in masks:
            matches = (by_key[key] for key in get_keys(mask) if len(by_key.get(key, [])) == 1)
            for photo in next(matches, []):
                if get_keys is get_names or mask.base.isdigit() or photo.base.isdigit():
                    found.setdefault(photo.path, []).append(mask)
        if found:
            break
    used: set[str] = set()
    for photo in photos:
        own = found.get(photo.path, [])
        whole = [mask for mask in own if not mask.index] or own
        fitting = [mask for mask in whole if mask.size == photo.size] or whole
        largest = max((mask.size for mask in fitting), default=None)
        fitting = [mask for mask in fitting if mask.size == largest]
        if len(fitting) == 1:
            photo.masks = fitting
            used.add(fitting[0].path)
    matched = {mask.path for own in found.values() for mask in own}
    left_out.add(MASKS, (mask.file for mask in masks if mask.path in used))
    several = "masks of photos that have several (merge them into one)"
    left_out.add(several, (mask.file for mask in masks if mask.path in matched - used))
    left_out.add("masks without a photo", (mask.file for mask in masks if mask.path not in matched))


def get_names(picture: Picture) -> list[Hashable]:
    """What a mask and its photo have in common, the surest first."""
    name = picture.file.parts[-1].casefold()
    double = name.rpartition(".")[0]  # 0001.jpg.png is the mask of 0001.jpg, whatever other photos are called
    return [(picture.place, double), (picture.place, name), (picture.place, picture.base), (picture.base,)]


def get_numbers(picture: Picture) -> list[Hashable]:
    number = get_number(picture.base)
    return [(picture.place, number), (number,)] if number else []


# --- versions of one photo --------------------------------------------------------------------------------------------


def rank(picture: Picture) -> tuple[bool, bool, int, bool, tuple[str, ...]]:
    """The least is the best of several versions of one photo."""
    cover = PIXEL.fullmatch(picture.base)
    usual = picture.file.suffix in (".jpg", ".jpeg", ".png")
    pixels = picture.size[0] * picture.size[1]
    return picture.is_raw, bool(cover and cover[2] == "cover"), -pixels, not usual, picture.file.parts


def find_smaller_folders(pictures: list[Picture]) -> Iterable[tuple[str, Picture]]:
    """All but the largest level of a pyramid: images, images_2, images_4 ..."""
    folders = group(pictures, lambda picture: picture.folder)
    levels: dict[tuple[tuple[str, ...], str], dict[int, list[Picture]]] = defaultdict(dict)
    for folder, members in folders.items():
        assert isinstance(folder, tuple)
        match = PYRAMID.fullmatch(folder[-1]) if folder else None
        if match and int(match[2]) in (2, 3, 4, 6, 8, 16, 32):
            levels[folder[:-1], match[1]][int(match[2])] = members
    for (around, name), level in levels.items():
        if (*around, name) in folders:
            level[1] = folders[*around, name]
        first = min(level)
        for factor, members in level.items():
            width, whole = (Counter(p.upright_size[0] for p in level[k]).most_common(1)[0][0] for k in (factor, first))
            if factor != first and abs(width * factor / first - whole) <= factor + first:
                yield from ((SMALLER, picture) for picture in members)


def find_same_shots(pictures: list[Picture]) -> Iterable[tuple[str, Picture]]:
    """All but the best of the files of one folder that differ in their suffix alone: HEIC and JPEG, RAW and JPEG."""

    def get_shot(picture: Picture) -> Hashable:
        pixel = PIXEL.fullmatch(picture.base)
        return picture.folder, pixel[1] if pixel else picture.base

    shots = [sorted(shot, key=rank) for shot in group(pictures, get_shot).values() if len(shot) > 1]
    for here in group_shots(shots):
        looked = [here[index] for index in sorted({0, len(here) // 2, len(here) - 1})]
        pairs = [(shot[0], second) for shot in looked for second in shot[1:]]
        same = [
            first.shows_the_same(second, SAME_SHOT) for first, second in pairs if not (first.is_raw or second.is_raw)
        ]
        if 2 * sum(same) >= len(same):
            for best, *others in here:
                for picture in others:
                    reason = f"{picture.file.suffix} files of shots that are there as {best.file.suffix} too"
                    yield RAW_BESIDE if picture.is_raw else reason, picture
    # RAW files often have a folder of their own.
    raws = [picture for picture in pictures if picture.is_raw]
    names = Counter(picture.base for picture in pictures if not picture.is_raw)
    yield from ((RAW_BESIDE, picture) for picture in raws if names[picture.base] == 1)


def group_shots(shots: list[list[Picture]]) -> Iterable[list[list[Picture]]]:
    """By folder."""
    folders: dict[Hashable, list[list[Picture]]] = defaultdict(list)
    for shot in shots:
        folders[shot[0].folder].append(shot)
    return folders.values()


def find_edited(pictures: list[Picture]) -> Iterable[tuple[str, Picture]]:
    originals = {(picture.folder, picture.base): picture for picture in pictures}
    for picture in pictures:
        for reason, pattern in EDITS:
            match = pattern.fullmatch(picture.base)
            original = originals.get((picture.folder, match["before"] + match["after"])) if match else None
            if original and reason == EDITED:
                yield EDITED, picture
            elif original and picture.shows_the_same(original, SAME_SHOT):
                yield SMALLER, min(picture, original, key=lambda version: version.size)


def find_same_folders(pictures: list[Picture]) -> Iterable[tuple[str, Picture]]:
    """Photos of a folder that another folder has in a better version, under the same names.

    Cameras of a rig number their photos alike too, so a few pairs are compared.
    """
    folders = {folder: {p.base: p for p in members} for folder, members in group(pictures, lambda p: p.folder).items()}
    order = sorted(folders, key=lambda folder: min(map(rank, folders[folder].values())))
    dropped: set[Hashable] = set()
    for number, worse in enumerate(order):
        for better in order[:number]:
            shared = [base for base in folders[worse] if base in folders[better]]
            if better in dropped or len(shared) < max(3, SHARED * min(len(folders[worse]), len(folders[better]))):
                continue
            looked = sample([folders[worse][base] for base in shared])
            if all(picture.shows_the_same(folders[better][picture.base], SAME_PICTURE) for picture in looked):
                dropped.add(worse)
                yield from ((OTHER_VERSIONS, folders[worse][base]) for base in shared)
                break
