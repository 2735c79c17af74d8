"""A scene's footage, a video, a tar of clips or a tar of photos, becomes frames."""

import json
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

from videomesh.errors import UserError
from videomesh.frames.count import check_count
from videomesh.frames.decoding import Source
from videomesh.frames.options import Options
from videomesh.frames.photos import store_photos
from videomesh.frames.video import store_videos

CLIPS = "clips.tar"  # what ingest calls it


def store_frames(footage: Path, archive: Path, masks: Path, options: Options) -> Dict[str, Any]:
    """Write the frames and their masks to uncompressed tars; returns the content of frames.json.

    Footage called clips.tar holds videos, any other .tar photos. Raises UserError if it cannot be used or gives
    too few frames.
    """
    if not footage.is_file():
        raise UserError(f"{footage}: no such file; run the ingest stage first")
    with tarfile.open(archive, "w") as tar, tarfile.open(masks, "w") as masks_tar:
        if footage.name == CLIPS:
            clips, left_out = read_clips(footage)
            summary = store_videos(tar, clips, options)
            summary["left_out"] = left_out + summary["left_out"]
        elif footage.suffix == ".tar":
            summary = store_photos(tar, masks_tar, footage, options.max_size)
        else:
            summary = store_videos(tar, [Source(footage)], options)
    check_count(footage, summary)
    return summary


def read_clips(footage: Path) -> Tuple[List[Source], List[Dict[str, Any]]]:
    """The videos in a tar as ingest writes it, in their order, and what ingest left out."""
    clips = []
    left_out: List[Dict[str, Any]] = []
    try:
        with tarfile.open(footage, "r:") as tar:
            for member in tar:
                if member.name == "ingest.json":
                    file = tar.extractfile(member)
                    assert file
                    left_out = json.loads(file.read().decode())["left_out"]
                elif member.isfile():
                    clips.append(Source(footage, member.name, member.offset_data, member.size))
    except (tarfile.TarError, ValueError, KeyError) as error:
        raise UserError(f"{footage}: not a tar of clips ({error}); run the ingest stage again")
    if not clips:
        raise UserError(f"{footage}: no clips in it; run the ingest stage again")
    return sorted(clips, key=lambda clip: clip.name), left_out
