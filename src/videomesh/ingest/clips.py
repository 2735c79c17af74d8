"""Several videos of one scene, in one tar."""

import contextlib
import hashlib
import json
import tarfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from videomesh.download import Progress, downloaded
from videomesh.errors import UserError
from videomesh.files import add_to_tar
from videomesh.ingest.listing import LeftOut
from videomesh.ingest.sources import is_remote, local_path, without_secrets
from videomesh.ingest.video import check_video
from videomesh.sources import VIDEO_SUFFIXES, list_folder, resolve_path

CHUNK = 1 << 20


def ingest_clips(sources: list[str], output: Path, progress: Progress) -> None:
    """Write videos, and those of folders, to an uncompressed tar, in their order, and ingest.json.

    UserError, with all that is wrong, if one of them cannot be used.
    """
    left_out = LeftOut()
    clips = [clip for source in sources for clip in list_clips(source, left_out)]
    problems = []
    with tarfile.open(output, "w") as tar:
        for number, clip in enumerate(clips):
            try:
                with fetched(clip, output, progress) as path:
                    check_video(path, clip)
                    add_file(tar, f"{number:03d}_{name_clip(clip, path)}", path)
            except UserError as error:
                problems.append(str(error) if len(clips) == 1 else f"{without_secrets(clip)}: {error}")
        add_to_tar(tar, "ingest.json", json.dumps({"left_out": left_out.describe()}).encode())
    if problems:
        raise UserError("; ".join(problems))
    progress.report(f"{len(clips)} clip{'s' if len(clips) != 1 else ''}")
    if left_out.names:
        progress.report(f"left out: {left_out}")


def list_clips(source: str, left_out: LeftOut) -> list[str]:
    """The source itself, or the videos of a folder without those that stand for another. UserError if there is none."""
    folder = Path(resolve_path(source))
    if is_remote(source) or not folder.is_dir():
        return [source]
    videos, photos = list_folder(folder)
    if not videos:
        raise UserError(f"{source}: no video in this folder; files that can be used end in {'/'.join(VIDEO_SUFFIXES)}")
    left_out.add("photos", (str(path.relative_to(folder)) for path in photos))
    kept = drop_copies(folder, drop_versions(folder, videos, left_out), left_out)
    return [str(path) for path in kept]


def drop_versions(folder: Path, videos: list[Path], left_out: LeftOut) -> list[Path]:
    """Of files with one name and several suffixes, such as IMG_1.MOV and IMG_1.mp4, only the largest."""
    named = defaultdict(list)
    for path in videos:
        named[path.parent, path.stem.lower()].append(path)
    largest = {max(paths, key=lambda path: path.stat().st_size) for paths in named.values()}
    gone = [path for path in videos if path not in largest]
    left_out.add("other versions of a video", (str(path.relative_to(folder)) for path in gone))
    return [path for path in videos if path in largest]


def drop_copies(folder: Path, videos: list[Path], left_out: LeftOut) -> list[Path]:
    """Each content once."""
    sizes = [path.stat().st_size for path in videos]
    seen = set()
    kept = []
    for path, size in zip(videos, sizes, strict=True):
        content = hash_file(path) if sizes.count(size) > 1 else str(path)
        if content in seen:
            left_out.add("copies of a video", [str(path.relative_to(folder))])
        else:
            kept.append(path)
        seen.add(content)
    return kept


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def fetched(clip: str, output: Path, progress: Progress) -> Iterator[Path]:
    """The file of a clip, as long as the block lasts if it is a download."""
    if is_remote(clip):
        with downloaded(clip, output, progress) as path:
            yield path
    else:
        yield local_path(clip)


def name_clip(clip: str, path: Path) -> str:
    """The file's name; of a download, that in its address."""
    name = Path(unquote(urlsplit(clip).path)).name or urlsplit(clip).netloc if is_remote(clip) else path.name
    return unicodedata.normalize("NFC", name)


def add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a file without time and owner: the same files give the same tar."""
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    with open(path, "rb") as file:
        tar.addfile(member, file)
