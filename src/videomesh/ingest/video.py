"""One video, copied or downloaded, and checked on arrival."""

import shutil
from pathlib import Path

from videomesh.download import Progress, download
from videomesh.errors import UserError
from videomesh.frames.decoding import probe
from videomesh.ingest.photos import PHOTOS_END
from videomesh.ingest.sources import describe, is_remote, local_path, remedy


def ingest_video(source: str, output: Path, progress: Progress) -> None:
    """Copy or download a video. UserError unless it has a video stream whose first frame decodes."""
    if is_remote(source):
        download(source, output, progress)
    else:
        path = local_path(source)
        if path.is_dir():
            raise UserError(f"a folder, where a video was expected; photos need an --output ending in {PHOTOS_END}")
        shutil.copyfile(path, output)
    check_video(output, source)


def check_video(path: Path, source: str) -> None:
    """UserError unless a file that came from the source has a video stream whose first frame decodes."""
    found = describe(path)
    if found:
        raise UserError(f"not a video but {found}; {remedy(source, found)}")
    try:
        probe(path)
    except UserError as error:
        raise UserError(str(error).replace(f"{path}: ", ""))
