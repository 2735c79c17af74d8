"""A scene's footage, one video or a tar of photos, becomes frames."""

import tarfile
from pathlib import Path
from typing import Any, Dict

from videomesh.errors import UserError
from videomesh.frames.count import check_count
from videomesh.frames.options import Options
from videomesh.frames.photos import store_photos
from videomesh.frames.video import store_video


def store_frames(footage: Path, archive: Path, masks: Path, options: Options) -> Dict[str, Any]:
    """Write the frames and their masks to uncompressed tars; returns the content of frames.json.

    Footage whose name ends in .tar holds photos. Raises UserError if it cannot be used or gives too few frames.
    """
    if not footage.is_file():
        raise UserError(f"{footage}: no such file; run the ingest stage first")
    with tarfile.open(archive, "w") as tar, tarfile.open(masks, "w") as masks_tar:
        if footage.suffix == ".tar":
            summary = store_photos(tar, masks_tar, footage, options.max_size)
        else:
            summary = describe_one_camera(store_video(tar, footage, options))
    check_count(footage, summary)
    return summary


def describe_one_camera(summary: Dict[str, Any]) -> Dict[str, Any]:
    """The frames.json of one clip, with what photos of several cameras have in it."""
    camera = {"width": summary["width"], "height": summary["height"], "given": None}
    frames = [{**frame, "camera": 0, "clip": 0, "given": None, "turned": 0} for frame in summary["frames"]]
    return {**summary, "metric": False, "cameras": [camera], "left_out": [], "rejected": [], "frames": frames}
