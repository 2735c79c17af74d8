"""Why frames have no pose, in words: what the matches show, and what frames.json says of the footage."""

from typing import Any, Dict, List, Sequence, Set

from videomesh.checks import find_blurred
from videomesh.moments import describe_burnt_in, describe_cuts, describe_moments
from videomesh.poses.database import Motion
from videomesh.poses.frames import Frames


def explain_failure(frames: Frames, motion: Motion, masked: bool) -> str:
    """Why no frame got a pose, and what to do. masked: some frames have a mask."""
    count = len(frames.names)
    if motion.verified < 2:
        text = (
            f"no two of the {count} frames match, so no camera pose was found. Likely causes: motion blur, plain or "
            "shiny surfaces, jumps between frames. Move slowly in good light, let neighbouring frames share more than "
            "half of the picture, and put something with texture round the object, such as newspaper"
        )
    elif motion.stays:
        return f"{frames.archive}: {explain_staying(frames, motion, 'so no camera pose was found', masked)}"
    else:
        text = (
            f"{motion.verified} pairs of the {count} frames match, but too few points are seen from different sides to "
            "find a camera pose. Move the camera sideways round the subject, not only towards it, let nothing move "
            "while you film, and keep more frames (frames.target)"
        )
    troubles = list_troubles(frames.content, frames.names)
    return ". ".join([f"{frames.archive}: {text}", *list_cuts(frames.content), *troubles])


def explain_staying(frames: Frames, motion: Motion, effect: str, masked: bool) -> str:
    """That the camera stays where it is, and what helps. effect: a clause about what came of it."""
    what = "does not move" if motion.stands else "only turns on the spot"
    pairs = motion.still if motion.stands else motion.still + motion.turned
    seen = "the same view" if motion.stands else "the same view, turned"
    tried = "; the masks did not help, as too little on the subject matches" if masked else ""
    found = f"{pairs} of {motion.verified} matching pairs of frames show {seen}, {effect}{tried}"
    burnt_in = frames.content.get("burnt_in", [])
    if motion.stands and burnt_in:  # the frames stage has seen that the rest of the picture moves on
        return f"only what is burnt into the video matches: {found}. {sentence(describe_burnt_in(burnt_in[0]))}"
    return (
        f"the camera {what}: {found}. Walk round the subject with the camera. A turntable works before a plain "
        "background without any texture, or with masks of the subject; a mat with texture that turns with it helps"
    )


def explain_missing(frames: Frames, missing: Sequence[str]) -> str:
    """Where the frames without a pose are, and what may be the matter with them."""
    where = describe_moments(frames.content, missing)
    have = "have" if len(missing) > 1 else "has"
    begin = f"{len(missing)} of {len(frames.names)} frames {have} no pose: {where}"
    cuts = list_cuts(frames.content) if lacks_shot(frames, set(missing)) else []
    return ". ".join([begin, *cuts, *list_troubles(frames.content, missing)])


def lacks_shot(frames: Frames, missing: Set[str]) -> bool:
    """Whether a shot that is not all of its clip is missing, or nearly all of it."""
    parts = [shot for shot in frames.shots if shot not in frames.clips]
    return any(sum(frames.names[place] in missing for place in shot) > len(shot) / 2 for shot in parts)


def list_troubles(content: Dict[str, Any], names: Sequence[str]) -> List[str]:
    """Sentences about what is known to be wrong with these frames."""
    blurred = describe_moments(content, set(find_blurred(content["frames"])) & set(names))
    burnt_in = content.get("burnt_in", [])
    return [
        *([f"The picture is blurred {blurred}" if is_video(content) else f"Blurred are {blurred}"] if blurred else []),
        *([sentence(describe_burnt_in(burnt_in[0]))] if burnt_in else []),
    ]


def list_cuts(content: Dict[str, Any]) -> List[str]:
    """A sentence if the footage has several shots."""
    cuts = describe_cuts(content)
    advice = "shots become one model only if they show the same things, so cut off what shows another scene"
    return [f"Another shot begins {cuts}: {advice}"] if cuts else []


def is_video(content: Dict[str, Any]) -> bool:
    return bool(content["source"] == "video")


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
