"""Which frames of a clip are kept, by what its camera does: even steps of what is seen, and what gives way to them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import media
from frames_program import keep, run
from videomesh.frames.choice import Clip, choose, share_out, sift
from videomesh.frames.motion import Frame

STEP = 3.0  # pixels between neighbouring frames of the usual camera, 1.9 % of the picture
CARD = np.full((120, 160, 3), (20, 30, 120), np.uint8)
CARD[50:70, 30:130:4] = 250
BLACK = np.zeros((120, 160, 3), np.uint8)


def film(tmp_path: Path, pictures: list[np.ndarray], *options: str, rate: int = 16, **codec: Any) -> dict[str, Any]:
    """frames.json of a film."""
    usual = ["-crf", "18", "-g", "250", "-preset", "medium"]
    summary, _ = keep(media.write_video(tmp_path / "film.mp4", pictures, *usual, rate=rate), *options)
    return summary


def walk(count: int, begin: float = 0.0, step: float = STEP, seed: int = 0) -> list[np.ndarray]:
    return [media.view(begin + step * k, seed) for k in range(count)]


def kept(summary: dict[str, Any]) -> list[int]:
    return [frame["video_frame"] for frame in summary["frames"]]


def rejected(summary: dict[str, Any]) -> list[tuple[str, int]]:
    return [(entry["reason"], entry["frames"]) for entry in summary["rejected"]]


def test_an_even_walk_is_cut_evenly(tmp_path: Path) -> None:
    summary = film(tmp_path, walk(96), "--target=24")
    gaps = np.diff(kept(summary))
    assert len(gaps) == 23 and gaps.min() >= 2 and gaps.max() <= 6
    assert summary["rejected"] == [] and summary["cuts"] == []


@pytest.mark.parametrize("slow", [2, 5, 10])
def test_changing_speed_leaves_the_views_even(tmp_path: Path, slow: int) -> None:
    """A part that is filmed more slowly gives a few more frames, not as many more as it takes time."""
    places = [STEP / slow * k for k in range(40 * slow)]
    places += [places[-1] + STEP * (k + 1) for k in range(80)]
    summary = film(tmp_path, [media.view(place) for place in places], "--target=30")
    steps = np.diff([places[n] for n in kept(summary)])
    assert len(steps) == 29
    assert steps.max() < 2.2 * steps.mean()
    slowly = sum(n < 40 * slow for n in kept(summary))
    assert 10 <= slowly <= 15


def test_standing_stretches_give_way(tmp_path: Path) -> None:
    """At most two frames of each, as many frames as were asked for all the same, and a word about each stretch."""
    pictures = [media.view(0)] * 24 + walk(30) + [media.view(90)] * 40 + walk(30, 90) + [media.view(180)] * 24
    summary = film(tmp_path, pictures, "--target=24")
    numbers = kept(summary)
    assert len(numbers) == 24
    for first, last in ((0, 23), (54, 93), (124, 147)):
        assert sum(first <= n <= last for n in numbers) <= 2
    still = [entry for entry in summary["rejected"] if entry["reason"] == "still"]
    assert [(entry["clip"], entry["from"], entry["to"]) for entry in still] == [
        (0, pytest.approx(0, abs=0.2), pytest.approx(24 / 16, abs=0.2)),
        (0, pytest.approx(54 / 16, abs=0.2), pytest.approx(94 / 16, abs=0.2)),
        (0, pytest.approx(124 / 16, abs=0.2), pytest.approx(147 / 16, abs=0.2)),
    ]
    assert "the camera stands between 0:03 and 0:06" in run(tmp_path / "film.mp4", "--target=24").stdout


def test_noise_and_a_hand_that_trembles_are_no_motion(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    places = [0.5 * np.sin(k / 4) for k in range(48)] + [STEP * k for k in range(60)]
    pictures = [
        np.clip(media.view(place) + random.normal(0, 12, (120, 160, 3)), 0, 255).astype(np.uint8) for place in places
    ]
    numbers = kept(film(tmp_path, pictures, "--target=24"))
    assert len(numbers) == 24 and sum(n < 48 for n in numbers) <= 2


def test_black_stretches_give_way(tmp_path: Path) -> None:
    pictures = [BLACK] * 16 + walk(30) + [BLACK] * 10 + walk(30, 90) + [BLACK] * 16
    summary = film(tmp_path, pictures, "--target=24")
    assert len(summary["frames"]) == 24 and min(frame["luminance"] for frame in summary["frames"]) > 0.02
    assert rejected(summary) == [("black", 16), ("black", 10), ("black", 16)]


def test_titles_give_way(tmp_path: Path) -> None:
    """Stills between cuts: at the front, after a second shot has begun in the middle, and at the end."""
    pictures = [CARD] * 16 + walk(60) + [CARD[::-1]] * 16 + walk(60, 200) + [CARD] * 16
    summary = film(tmp_path, pictures, "--target=40")
    numbers = kept(summary)
    assert len(numbers) == 40 and all(16 <= n < 76 or 92 <= n < 152 for n in numbers)
    assert rejected(summary) == [("title", 16)] * 3
    assert [cut["frame"] for cut in summary["cuts"]] == [92]


def test_copies_of_frames_give_way(tmp_path: Path) -> None:
    """16 pictures a second in a film of 48."""
    pictures = [picture for picture in walk(60) for _ in range(3)]
    summary = film(tmp_path, pictures, "--target=50", rate=48)
    numbers = kept(summary)
    assert len(numbers) == 50 and len({n // 3 for n in numbers}) == 50
    assert [reason for reason, _ in rejected(summary)] == ["duplicate"]


def test_cuts_are_named(tmp_path: Path) -> None:
    """Two shots. A flash, a fast turn and a text that appears are no cuts."""
    shots = walk(40) + walk(40, seed=1)
    summary = film(tmp_path, shots)
    assert summary["cuts"] == [{"clip": 0, "time": 2.5, "frame": 40}]
    assert "warning: " in run(tmp_path / "film.mp4").stdout
    flash = walk(60)
    flash[20] = np.full_like(flash[20], 250)
    turn = walk(20) + walk(20, 60, step=40) + walk(20, 860)
    text = walk(60)
    for picture in range(30, 60):
        text[picture] = text[picture].copy()
        text[picture][95:115, 10:150:3] = 255
    for pictures in (flash, turn, text):
        assert film(tmp_path, pictures)["cuts"] == []


@pytest.mark.parametrize("picture", [BLACK, CARD, media.view(0)], ids=["black", "flat", "seen"])
def test_a_film_in_which_nothing_moves_is_left_to_later_stages(tmp_path: Path, picture: np.ndarray) -> None:
    summary = film(tmp_path, [picture] * 60, "--target=24")
    assert len(summary["frames"]) >= 20


def test_a_still_film_of_slides_keeps_frames_of_each(tmp_path: Path) -> None:
    pictures = [media.view(0, seed) for seed in range(5) for _ in range(16)]
    numbers = kept(film(tmp_path, pictures, "--target=24"))
    assert {n // 16 for n in numbers} == {0, 1, 2, 3, 4}


def test_a_short_film_that_stands_for_a_while_keeps_all_of_its_motion(tmp_path: Path) -> None:
    numbers = kept(film(tmp_path, [media.view(0)] * 30 + walk(40), "--target=150"))
    assert set(range(31, 70)) <= set(numbers) and sum(n < 30 for n in numbers) <= 2


def test_what_is_burnt_in_is_named(tmp_path: Path) -> None:
    """A date in the lower left corner. A still background is none, nor is anything in the other films here."""
    pictures = walk(60)
    for number, picture in enumerate(pictures):
        pictures[number] = picture.copy()
        pictures[number][100:112, 10:14] = pictures[number][100:112, 20:24] = pictures[number][106:112, 30:50] = 255
    summary = film(tmp_path, pictures)
    ((clip, box),) = [(entry["clip"], entry["box"]) for entry in summary["burnt_in"]]
    assert clip == 0 and box == pytest.approx([10 / 160, 100 / 120, 50 / 160, 112 / 120], abs=0.02)
    assert "(bottom left), such as a date or a logo" in run(tmp_path / "film.mp4").stdout
    assert film(tmp_path, walk(60))["burnt_in"] == []
    for number in range(60):
        turning = media.view(0).copy()
        turning[30:90, 50:110] = media.view(3.0 * number, 1)[30:90, 50:110]
        pictures[number] = turning
    assert film(tmp_path, pictures)["burnt_in"] == []


@given(data=st.data(), count=st.integers(1, 120), target=st.sampled_from([3, 5, 24, 48, 150]), timed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_film_gives_as_many_frames_as_it_can(data: st.DataObject, count: int, target: int, timed: bool) -> None:
    def draw(*values: float) -> list[float]:
        return data.draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))

    advance = draw(0.0, 0.0, 1e-9, 0.003, 0.01, 5.0)
    motion = [Frame(*frame) for frame in zip(advance, draw(1, 0.9, 0), draw(0, 1, 90), draw(0, 0.5, 0.5), strict=True)]
    positions = np.cumsum(draw(0.01, 0.04, 2.0) if timed else np.ones(count)).tolist()
    damaged = {index for index, bad in enumerate(draw(0, 0, 0, 1)) if bad}
    clip = Clip(positions, timed, draw(1, 50, 60), motion, damaged)
    sifted = sift(clip, target)
    chosen = choose(sifted, clip.sharpness, target)
    assert chosen == sorted(set(chosen) - damaged)
    assert len(chosen) == min(target, len(sifted.candidates))
    assert len(sifted.candidates) >= min(3, count - len(damaged))
    assert all(0 <= first <= last < count and frames > 0 for first, last, frames, _ in sifted.rejected)
    assert sum(share_out([sifted, sifted], target)) == min(target, 2 * len(sifted.candidates))
