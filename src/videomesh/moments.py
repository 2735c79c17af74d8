"""Times in a video, as messages for the person with the camera name them.

Python 3.8 and the standard library only: some steps run inside foreign images.
"""

import math
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

MAX_PLACES = 5  # in one message
MIN_SPAN = 0.5  # seconds; what is shorter is at a time, not between two
REASONS = {  # of `rejected` in frames.json
    "still": "the camera stands",
    "black": "the picture is black",
    "title": "a title or a still picture is shown",
    "duplicate": "frames are copies of those before them",
    "damaged": "the video is damaged",
}


def show_time(seconds: float) -> str:
    """Minutes and seconds as video players show them: 0:12, or 1:02:03 with hours."""
    whole = int(seconds + 1e-6)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def show_span(begin: float, end: float) -> str:
    """at 0:12, or between 0:12 and 0:15, which holds all of it."""
    if end - begin < MIN_SPAN:
        return f"at {show_time(begin)}"
    return f"between {show_time(begin)} and {show_time(math.ceil(end))}"


def describe_moments(frames_json: Dict[str, Any], names: Iterable[str]) -> str:
    """Where in the footage these frames are, as the end of a sentence. Empty if there are none.

    "between 0:12 and 0:15 and at 0:31" in a video; "in b.mp4 at 0:31" if there are several clips; the names of photos.
    Frames that no other kept frame parts make one stretch.
    """
    wanted = set(names)
    stretches: List[List[Dict[str, Any]]] = []
    before: Optional[Dict[str, Any]] = None
    for frame in frames_json["frames"]:
        if frame["name"] in wanted:
            if stretches and before is stretches[-1][-1] and frame.get("clip", 0) == before.get("clip", 0):
                stretches[-1].append(frame)
            else:
                stretches.append([frame])
        before = frame
    if not stretches:
        return ""
    if any(frame.get("time") is None for stretch in stretches for frame in stretch):
        return join([str(frame.get("source", frame["name"])) for stretch in stretches for frame in stretch])
    clips = [clip["name"] for clip in frames_json.get("clips", [])]
    places = []
    for stretch in stretches:
        span = show_span(stretch[0]["time"], stretch[-1]["time"])
        places.append(f"in {clips[stretch[0].get('clip', 0)]} {span}" if len(clips) > 1 else span)
    return join(list(dict.fromkeys(places)))


def describe_rejected(entry: Dict[str, Any]) -> str:
    """A sentence about an entry of `rejected` in frames.json, without its clip."""
    count = f"{entry['frames']} frame{'s' if entry['frames'] != 1 else ''}"
    place = "" if entry["from"] is None else f" {show_span(entry['from'], entry['to'])}"
    return f"{REASONS.get(entry['reason'], entry['reason'])}{place}; {count} left out"


def describe_burnt_in(entry: Dict[str, Any]) -> str:
    """A sentence about an entry of `burnt_in` in frames.json, without its clip."""
    left, top, right, bottom = entry["box"]
    row = ("top", "middle", "bottom")[min(2, int(1.5 * (top + bottom)))]
    column = ("left", "middle", "right")[min(2, int(1.5 * (left + right)))]
    place = row if row == column else f"{row} {column}"
    return (
        f"something stays where it is while the picture moves on ({place}), such as a date or a logo; COLMAP may take "
        "it for a part of the scene: export the video without it, or crop it away"
    )


def describe_cuts(frames_json: Dict[str, Any]) -> str:
    """Where one shot ends and another begins, as the end of a sentence: "at 0:12 and 0:40". Empty if nowhere."""
    cuts = frames_json.get("cuts", [])
    clips = [clip["name"] for clip in frames_json.get("clips", [])]
    places: List[Tuple[str, str]] = [
        (
            f"in {clips[cut['clip']]} " if len(clips) > 1 else "",
            f"at frame {cut['frame']}" if cut["time"] is None else f"at {show_time(cut['time'])}",
        )
        for cut in cuts
    ]
    return join(list(dict.fromkeys(clip + place for clip, place in places)))


def join(places: Sequence[str]) -> str:
    """a, b and c; of more than a few the first ones and how many there are besides."""
    if len(places) > MAX_PLACES:
        return f"{', '.join(places[:MAX_PLACES])} and {len(places) - MAX_PLACES} more"
    return places[0] if len(places) == 1 else " and ".join([", ".join(places[:-1]), places[-1]]) if places else ""
