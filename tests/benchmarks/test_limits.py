"""The captures that show what the limits of the gate are worth: each is worse in the one way that its name says."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageFilter

import limits
from videomesh.configuration.load import load_scenes
from videomesh.errors import UserError

SIZE = (96, 72)


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1))


@pytest.fixture(scope="module")
def frames() -> limits.Frames:
    return {number: picture(number) for number in range(96)}


@pytest.fixture(scope="module")
def weakened(frames: limits.Frames) -> dict[str, limits.Frames]:
    return {name: pictures() for name, pictures, _ in limits.weaken(frames)}


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def detail(picture: Image.Image) -> float:
    """Contrast in the middle; past its edges a picture is black."""
    return float(np.std(np.asarray(picture, float)[24:-24, 24:-24]))


def test_the_good_capture_is_untouched(frames: limits.Frames, weakened: dict[str, limits.Frames]) -> None:
    assert len(weakened["good"]) == 48
    assert all(picture is frames[number] for number, picture in weakened["good"].items())


@pytest.mark.parametrize(("name", "numbers"), [("count-6", [0, 19, 38, 57, 76, 95]), ("arc-30", list(range(8)))])
def test_fewer_frames_and_less_of_the_way(weakened: dict[str, limits.Frames], name: str, numbers: list[int]) -> None:
    assert sorted(weakened[name]) == numbers


@pytest.mark.parametrize("kind", ["exposure", "noise", "flat", "wobble", "zoom"])
def test_a_larger_number_is_worse(weakened: dict[str, limits.Frames], kind: str) -> None:
    names = [name for name in weakened if name.startswith(f"{kind}-")]
    worse = [
        np.mean([difference(weakened[name][number], good) for number, good in weakened["good"].items()])
        for name in names
    ]
    assert len(worse) >= 3 and worse[0] > 0 and worse == sorted(worse)


@pytest.mark.parametrize(("name", "count"), [("blur-20", 10), ("blur-100", 48), ("lost-30", 14), ("lost-70", 34)])
def test_that_share_of_the_frames_is_changed(weakened: dict[str, limits.Frames], name: str, count: int) -> None:
    changed = [number for number, good in weakened["good"].items() if weakened[name][number] is not good]
    assert len(changed) == count
    assert all(detail(weakened[name][number]) < detail(weakened["good"][number]) for number in changed)


def test_captures_and_a_table_that_the_workflow_takes(
    tmp_path: Path, frames: limits.Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "read_video", lambda path: dict(list(frames.items())[:12]))
    limits.make(tmp_path, limits.DEMO)
    monkeypatch.chdir(tmp_path)
    scenes = load_scenes(yaml.safe_load((tmp_path / "config" / "config.yaml").read_text()))
    assert len(scenes) == len(list((tmp_path / "captures").iterdir()))
    with pytest.raises(UserError, match="it is there already"):
        limits.make(tmp_path, limits.DEMO)


def test_the_table_tells_what_became_of_a_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("count-8", "count-12", "good"):
        (tmp_path / "captures" / name).mkdir(parents=True)
    gate = tmp_path / "results" / "count-12" / "gate" / "gate.json"
    gate.parent.mkdir(parents=True)
    check = {"name": "frame_count", "value": 12, "verdict": "warn"}
    gate.write_text(json.dumps({"verdict": "warn", "checks": [check, {**check, "name": "models", "verdict": "pass"}]}))
    limits.table(tmp_path, limits.DEMO)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == [
        "| count-8 | 0 | no poses |  |",
        "| count-12 | 0 | warn | frame_count 12 |",
        "| good | 0 | no poses |  |",
    ]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda folder: limits.make(folder, folder / "film.mp4"), "film.mp4: no such file"),
        (lambda folder: limits.table(folder, folder / "truth.npz"), "it holds no captures"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, call: limits.Callable[[Path], None], words: str) -> None:
    with pytest.raises(UserError, match=words):
        call(tmp_path)
