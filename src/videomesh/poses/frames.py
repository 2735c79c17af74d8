"""The frames that get poses: unpacked, and checked before COLMAP sees them."""

import re
import tarfile
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np
from PIL import Image

from videomesh.errors import UserError
from videomesh.files import read_json
from videomesh.poses.model import PARAMETERS

MIN_FRAMES = 3


class Given(NamedTuple):
    """What is known of a camera before COLMAP looks at the frames."""

    model: str  # COLMAP's name
    params: List[float]


class Group(NamedTuple):
    """Frames that share one camera: one lens at one zoom, one size."""

    names: List[str]  # sorted
    size: Tuple[int, int]  # width and height, pixels
    given: Optional[Given]


class Frames(NamedTuple):
    archive: Path  # frames.tar, for messages
    names: List[str]  # sorted
    ordered: bool  # neighbours in a clip are neighbours in space: a video
    groups: List[Group]  # those that have frames; together they have all names
    clips: List[List[int]]  # places in names
    shots: List[List[int]]  # the same, clips parted where another shot begins
    given: Dict[str, np.ndarray]  # name -> world_from_cam, 4 x 4, OpenCV axes; only frames whose camera is given too
    metric: bool  # the given poses are in metres
    content: Dict[str, Any]  # of frames.json, for messages

    @property
    def sizes(self) -> Dict[str, Tuple[int, int]]:
        """Width and height of each frame."""
        return {name: group.size for group in self.groups for name in group.names}

    @property
    def largest_side(self) -> int:
        """Pixels."""
        return max(max(group.size) for group in self.groups)


def unpack_frames(archive: Path, summary: Path, folder: Path, threads: int) -> Frames:
    """Write the frames into the folder. UserError unless each is there, decodes and has the size of the summary."""
    frames = read_frames_json(archive, summary)
    folder.mkdir()
    missing = set(frames.names) - extract_members(archive, set(frames.names), folder)
    if missing:
        raise UserError(
            f"{archive}: {min(missing)}, which {summary.name} lists, is not in it; the file is cut short or of another "
            "run; run the frames stage again"
        )
    sizes = frames.sizes
    for name, (width, height) in decode(archive, folder, frames.names, threads):
        if (width, height) != sizes[name]:
            expected = f"{sizes[name][0]}x{sizes[name][1]}"
            raise UserError(
                f"{archive}: {name} has {width}x{height} pixels, {summary.name} says {expected}; the two files are of "
                "different runs; run the frames stage again"
            )
    return frames


def unpack_masks(archive: Path, frames: Frames, folder: Path, threads: int) -> List[str]:
    """Write the masks of the frames into the folder, with COLMAP's names; returns the frames that have one, sorted."""
    folder.mkdir()
    masks = {str(Path(name).with_suffix(".png")): name for name in frames.names}
    found = sorted(extract_members(archive, set(masks), folder))
    sizes = frames.sizes
    for name, (width, height) in decode(archive, folder, found, threads):
        expected = sizes[masks[name]]
        if (width, height) != expected:
            raise UserError(
                f"{archive}: the mask {name} has {width}x{height} pixels, its frame {expected[0]}x{expected[1]}; the "
                "files are of different runs; run the frames stage again"
            )
        (folder / name).rename(folder / f"{masks[name]}.png")
    return [masks[name] for name in found]


def decode(archive: Path, folder: Path, names: List[str], threads: int) -> List[Tuple[str, Tuple[int, int]]]:
    """Name, width and height of each image. Raises UserError if one is not whole."""

    def measure(name: str) -> Tuple[str, Tuple[int, int]]:
        try:
            with Image.open(folder / name) as image:
                image.load()
                return name, image.size
        except (OSError, SyntaxError, ValueError) as error:  # pillow raises all three for damaged files
            raise UserError(f"{archive}: {name} is not a whole image ({error}); run the frames stage again")

    with ThreadPool(threads) as pool:
        return list(pool.imap(measure, names))


def read_frames_json(archive: Path, summary: Path) -> Frames:
    """What frames.json says of the frames, which are in the archive."""
    content = read_json(summary)
    try:
        entries = sorted(content["frames"], key=lambda frame: frame["name"])  # type: ignore[no-any-return]
        names: List[str] = [frame["name"] for frame in entries]
        groups = read_groups(summary, content["cameras"], entries)
        ordered = content["source"] != "photos"
        clips = [
            [place for place, frame in enumerate(entries) if frame["clip"] == clip]
            for clip in sorted({frame["clip"] for frame in entries})
        ]
        shots = [shot for clip in clips for shot in split_clip(clip, entries, content.get("cuts", []))]
        known = {name for group in groups if group.given for name in group.names}
        given = {
            frame["name"]: read_pose(summary, frame)
            for frame in entries
            if frame["given"] is not None and frame["name"] in known
        }
        metric = bool(content["metric"])
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{summary}: not written by the frames stage ({error!r}); run the frames stage again")
    strange = [name for name in names if not re.fullmatch(r"\d+\.jpg", name)]
    if strange:
        raise UserError(f"{summary}: frame name {strange[0]!r}; expected digits and .jpg; run the frames stage again")
    if len(names) < MIN_FRAMES:
        raise UserError(
            f"{summary}: {len(names)} frames, at least {MIN_FRAMES} are needed and 50 to 300 are good; film for longer "
            "or keep more frames"
        )
    return Frames(archive, names, ordered, groups, clips, shots, given, metric, content)


def split_clip(clip: List[int], entries: List[Any], cuts: List[Any]) -> List[List[int]]:
    """The places of a clip's frames, by the shots that it is made of. cuts: of frames.json."""
    begins = [cut["frame"] for cut in cuts if cut["clip"] == entries[clip[0]]["clip"]]
    shots: Dict[int, List[int]] = {}
    for place in clip:
        shots.setdefault(sum(begin <= entries[place]["video_frame"] for begin in begins), []).append(place)
    return list(shots.values())


def read_groups(summary: Path, cameras: List[Any], entries: List[Any]) -> List[Group]:
    """The cameras that have frames, with the names of their frames."""
    groups = []
    for index, camera in enumerate(cameras):
        names = [frame["name"] for frame in entries if frame["camera"] == index]
        given = Given(camera["given"]["model"], list(camera["given"]["params"])) if camera["given"] else None
        if given and len(given.params) != PARAMETERS.get(given.model):
            raise UserError(
                f"{summary}: camera {index} is given as {given.model} with {len(given.params)} parameters; known are "
                f"{', '.join(f'{model} ({count})' for model, count in PARAMETERS.items())}; set poses.given to ignore "
                "to find the cameras anew"
            )
        if names:
            groups.append(Group(names, (camera["width"], camera["height"]), given))
    lost = [frame["name"] for frame in entries if frame["camera"] not in range(len(cameras))]
    if lost:
        raise UserError(f"{summary}: {lost[0]} has no camera in the list of cameras; run the frames stage again")
    return groups


def read_pose(summary: Path, frame: Any) -> np.ndarray:
    """The frame's given world_from_cam. Raises UserError unless it is a rotation and a place."""
    try:
        pose = np.array(frame["given"], float)
        good = pose.shape == (4, 4) and np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-2)
        good = good and bool(np.isfinite(pose).all()) and float(np.linalg.det(pose[:3, :3])) > 0
    except ValueError:
        good = False
    if not good:
        raise UserError(
            f"{summary}: the given pose of {frame['name']} is not a rotation and a position; correct the file "
            "that it comes from, or set poses.given to ignore to find all poses anew"
        )
    u, _, vt = np.linalg.svd(pose[:3, :3])  # the nearest rotation: COLMAP stores quaternions
    pose[:3, :3] = u @ vt
    return pose


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
