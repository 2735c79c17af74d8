"""Times in a video as messages name them."""

from typing import Any

from videomesh.moments import describe_cuts, describe_moments, describe_rejected, show_span, show_time


def summary(times: list[float | None], clips: list[int] | None = None, **more: Any) -> dict[str, Any]:
    frames = [
        {"name": f"{n:06d}.jpg", "time": time, "clip": clips[n] if clips else 0, "source": f"IMG_{n}.jpg"}
        for n, time in enumerate(times)
    ]
    names = [f"{name}.mp4" for name in "abc"[: max(clips or [0]) + 1]]
    return {"frames": frames, "clips": [{"name": name} for name in names], **more}


def name(*numbers: int) -> list[str]:
    return [f"{number:06d}.jpg" for number in numbers]


def test_times_as_players_show_them() -> None:
    assert [show_time(seconds) for seconds in (0, 12.9, 75, 3723.4)] == ["0:00", "0:12", "1:15", "1:02:03"]
    assert show_span(12.2, 12.4) == "at 0:12"
    assert show_span(12.2, 14.7) == "between 0:12 and 0:15"


def test_frames_become_stretches() -> None:
    film = summary([float(n) for n in range(40)])
    assert describe_moments(film, name(31, 12, 13, 14, 15)) == "between 0:12 and 0:15 and at 0:31"
    assert describe_moments(film, name(5)) == "at 0:05"
    assert describe_moments(film, []) == ""
    assert describe_moments(film, name(*range(0, 40, 2))) == "at 0:00, at 0:02, at 0:04, at 0:06, at 0:08 and 15 more"


def test_of_several_clips_the_clip_is_named() -> None:
    films = summary([0.0, 1.0, 2.0, 0.0, 1.0, 2.0], [0, 0, 0, 1, 1, 1])
    assert describe_moments(films, name(1, 2, 3)) == "in a.mp4 between 0:01 and 0:02 and in b.mp4 at 0:00"


def test_photos_are_named() -> None:
    assert describe_moments({**summary([None] * 5), "clips": []}, name(1, 2)) == "IMG_1.jpg and IMG_2.jpg"


def test_stretches_that_gave_way_and_cuts() -> None:
    entry = {"clip": 0, "from": 12.2, "to": 14.7, "frames": 40, "reason": "still"}
    assert describe_rejected(entry) == "the camera stands between 0:12 and 0:15; 40 frames left out"
    untimed = {**entry, "from": None, "to": None, "frames": 1, "reason": "black"}
    assert describe_rejected(untimed) == "the picture is black; 1 frame left out"
    cuts = [{"clip": 0, "time": 12.5, "frame": 125}, {"clip": 1, "time": None, "frame": 7}]
    assert describe_cuts(summary([0.0], [0], cuts=cuts[:1])) == "at 0:12"
    assert describe_cuts(summary([0.0, 0.0], [0, 1], cuts=cuts)) == "in a.mp4 at 0:12 and in b.mp4 at frame 7"
    assert describe_cuts(summary([0.0])) == ""
