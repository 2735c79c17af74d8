"""The frames that get poses: unpacked, and checked before COLMAP sees them."""

import re
import tarfile
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import List, NamedTuple, Set, Tuple

from PIL import Image

from videomesh.errors import UserError
from videomesh.files import read_json

MIN_FRAMES = 3


class Frames(NamedTuple):
    archive: Path  # frames.tar, for messages
    names: List[str]  # sorted
    ordered: bool  # neighbours in the list are neighbours in space: a video


def unpack_frames(archive: Path, summary: Path, folder: Path, threads: int) -> Frames:
    """Write the frames into the folder. UserError unless each is there, decodes and has the size of the summary."""
    names, size, ordered = read_frames_json(summary)
    folder.mkdir()
    missing = set(names) - extract_members(archive, set(names), folder)
    if missing:
        raise UserError(
            f"{archive}: {min(missing)}, which {summary.name} lists, is not in it; the file is cut short or of another "
            "run; run the frames stage again"
        )

    def decode(name: str) -> Tuple[str, Tuple[int, int]]:
        try:
            with Image.open(folder / name) as image:
                image.load()
                return name, image.size
        except (OSError, SyntaxError, ValueError) as error:  # pillow raises all three for damaged files
            raise UserError(f"{archive}: {name} is not a whole image ({error}); run the frames stage again")

    with ThreadPool(threads) as pool:
        for name, (width, height) in pool.imap(decode, names):
            if (width, height) != size:
                raise UserError(
                    f"{archive}: {name} has {width}x{height} pixels, {summary.name} says {size[0]}x{size[1]}; all "
                    "frames must come from one camera, held one way, at one zoom: make one scene of each size"
                )
    return Frames(archive, names, ordered)


def read_frames_json(summary: Path) -> Tuple[List[str], Tuple[int, int], bool]:
    """Sorted names of the frames, their width and height, and whether they follow each other as in a video."""
    content = read_json(summary)
    try:
        names = sorted(frame["name"] for frame in content["frames"])
        size = (content["width"], content["height"])
        ordered = content["source"] == "video"
    except (KeyError, TypeError) as error:
        raise UserError(f"{summary}: not written by the frames stage ({error!r}); run the frames stage again")
    strange = [name for name in names if not re.fullmatch(r"\d+\.jpg", name)]
    if strange:
        raise UserError(f"{summary}: frame name {strange[0]!r}; expected digits and .jpg; run the frames stage again")
    if len(names) < MIN_FRAMES:
        raise UserError(
            f"{summary}: {len(names)} frames, at least {MIN_FRAMES} are needed and 50 to 300 are good; film for longer "
            "or keep more frames"
        )
    return names, size, ordered


def extract_members(archive: Path, names: Set[str], folder: Path) -> Set[str]:
    """Write those members of the tar into the folder; returns the names that were found."""
    found = set()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.name in names else None
                if source is not None:
                    (folder / member.name).write_bytes(source.read())
                    found.add(member.name)
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file; run the frames stage first")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: cut short or not a tar file ({error}); run the frames stage again")
    return found
