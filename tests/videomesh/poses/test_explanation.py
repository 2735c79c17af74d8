"""What is said about frames without a pose, and about a camera that does not move."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from poses_program import call_poses, fail_poses, noise, store
from videomesh.poses.database import Motion
from videomesh.poses.explanation import explain_failure, explain_missing
from videomesh.poses.frames import Frames

NAMES = [f"{number:06d}.jpg" for number in range(20)]
CUT = {"clip": 0, "time": 12.4, "frame": 124}
BLURRED = range(12, 16)


def make_frames(source: str = "video", **content: Any) -> Frames:
    """20 frames, one a second; those at 12 to 15 seconds are blurred."""
    frames = [
        {
            "name": name,
            "time": float(number) if source == "video" else None,
            "sharpness": 9.0 if number in BLURRED else 100.0 + number,
            "source": f"IMG_{number}.jpg",
        }
        for number, name in enumerate(NAMES)
    ]
    about = {"source": source, "clips": [], "cuts": [], "burnt_in": [], "frames": frames, **content}
    shots = [[*range(13)], [*range(13, 20)]] if about["cuts"] else [[*range(20)]]
    return Frames(Path("frames.tar"), NAMES, True, [], [[*range(20)]], shots, {}, False, about)


TURNTABLE = ["plain background", "masks of the subject", "Walk round"]
MOTIONS: dict[str, tuple[Motion, list[str]]] = {
    "stands": (Motion(20, 20, 0), ["the camera does not move: 20 of 20", "show the same view", *TURNTABLE]),
    "turns": (Motion(20, 1, 19), ["the camera only turns on the spot: 20 of 20", "Walk round"]),
    "too little": (Motion(20, 0, 3), ["20 pairs of the 20 frames match", "different sides", "frames.target"]),
    "nothing": (Motion(0, 0, 0), ["no two of the 20 frames match", "blur"]),
}


@pytest.mark.parametrize("case", MOTIONS)
def test_why_there_is_no_pose(case: str) -> None:
    motion, parts = MOTIONS[case]
    message = explain_failure(make_frames(), motion, False)
    for part in parts:
        assert part in message
    assert ("blurred between 0:12 and 0:15" in message) == (case in ("too little", "nothing"))
    assert "shot" not in message
    cut = explain_failure(make_frames(cuts=[CUT]), motion, False)
    told = "Another shot begins at 0:12: shots become one model only if they show the same things" in cut
    assert told == (case in ("too little", "nothing"))


def test_blurred_photos_are_named() -> None:
    assert "Blurred are IMG_12.jpg, IMG_13.jpg" in explain_failure(make_frames("photos"), Motion(0, 0, 0), False)


def test_something_burnt_in_that_alone_matches_is_no_turntable() -> None:
    frames = make_frames(burnt_in=[{"clip": 0, "box": [0.7, 0.9, 0.95, 0.97]}])
    message = explain_failure(frames, Motion(20, 20, 0), False)
    assert "only what is burnt into the video matches: 20 of 20" in message and "(bottom right)" in message
    assert "turntable" not in message and "move slower" not in message


def test_a_logo_that_alone_matches(tmp_path: Path) -> None:
    """Pictures that have nothing in common but what is burnt in."""
    logo = Image.open(io.BytesIO(noise(99, (160, 120))))
    images = []
    for seed in range(8):
        image = Image.open(io.BytesIO(noise(seed)))
        image.paste(logo, (150, 110))
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=95)
        images.append(encoded.getvalue())
    box = [150 / 320, 110 / 240, 310 / 320, 230 / 240]
    message = fail_poses(store(tmp_path, images, burnt_in=[{"clip": 0, "box": box}]))
    assert "only what is burnt into the video matches" in message and "crop it away" in message
    assert "turntable" not in message


def test_where_the_frames_without_a_pose_are() -> None:
    said = explain_missing(make_frames(cuts=[CUT]), NAMES[13:17])
    assert said.startswith("4 of 20 frames have no pose: between 0:13 and 0:16. Another shot begins at 0:12: ")
    assert said.endswith("The picture is blurred between 0:13 and 0:15")
    said = explain_missing(make_frames(cuts=[CUT]), NAMES[13:15])  # the rest of that shot has a pose
    assert said == "2 of 20 frames have no pose: between 0:13 and 0:14. The picture is blurred between 0:13 and 0:14"
    assert explain_missing(make_frames(), NAMES[3:4]) == "1 of 20 frames has no pose: at 0:03"


def test_two_scenes_in_one_video(tmp_path: Path, orbit: list[bytes]) -> None:
    """The log says from when on there is no pose, and that another shot begins there."""
    images = [*orbit[:24:2], *(noise(seed) for seed in range(4))]
    times = [float(number) for number in range(16)]
    cut = {"clip": 0, "time": 12.0, "frame": 12}
    result = call_poses(store(tmp_path, images, time=times, cuts=[cut]), "--min-registered", "0.8")
    assert result.returncode == 0
    assert "4 of 16 frames have no pose: between 0:12 and 0:15. Another shot begins at 0:12" in result.stdout
    assert "warning: " in result.stdout
