"""Many frames are mapped in parts side by side, which are merged and refined."""

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from poses_program import fail_poses, store
from videomesh.poses import mapping, parts
from videomesh.poses.colmap_package import Pycolmap
from videomesh.poses.frames import Frames, Group
from videomesh.poses.given import fit_similarity
from videomesh.poses.mapping import MAPPER, Model, list_efforts, match_and_map, read_models
from videomesh.poses.model import Points, read_images

COUNT = 32


@pytest.fixture(scope="module")
def matched(tmp_path_factory: pytest.TempPathFactory, orbit: list[bytes]) -> Path:
    """A folder with frames all round the demo's object, and their matches."""
    folder = tmp_path_factory.mktemp("matched")
    (folder / "frames").mkdir()
    names = [f"{index:06d}.jpg" for index in range(COUNT)]
    for name, image in zip(names, orbit[::3], strict=True):
        (folder / "frames" / name).write_bytes(image)
    backend = Pycolmap(folder, threads=4, seed=0, device="cpu")
    backend.extract([Group(names, (320, 240), None)], 1600, 1000, None)
    pairs = list_efforts([range(COUNT)], [range(COUNT)], True)[0].pairs
    backend.match([(names[i], names[j]) for i, j in sorted(pairs)])
    return folder


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MIN_FRAMES": COUNT, "SIZE": 12, "OVERLAP": 5}.items():
        monkeypatch.setattr(parts, name, value)


def map_frames(matched: Path, folder: Path, threads: int, in_parts: bool) -> Model:
    """The largest model."""
    folder.mkdir()
    shutil.copy(matched / "database.db", folder)
    (folder / "frames").symlink_to(matched / "frames")
    (folder / "models").mkdir()
    Pycolmap(folder, threads, 0, "cpu").map(folder / "models", MAPPER, in_parts=in_parts)
    return read_models(folder / "models")[0]


def places(model: Model) -> np.ndarray:
    return np.array([image.world_from_cam[:3, 3] for image in read_images(model.folder / "images.bin")])


@pytest.mark.usefixtures("few_are_many")
def test_parts_give_the_poses_that_the_whole_gives(matched: Path, tmp_path: Path) -> None:
    whole, found = (map_frames(matched, tmp_path / str(way), 4, way) for way in (False, True))
    merged = mapping.read_model(tmp_path / "True" / "models-parts" / "merged")
    assert len(found.names) == len(whole.names) == COUNT
    assert found.reprojection_error < min(1.1 * whole.reprojection_error, merged.reprojection_error)
    scale, turn, move = fit_similarity(places(found), places(whole))
    away = np.linalg.norm(scale * places(found) @ turn.T + move - places(whole), axis=1)
    size = np.linalg.norm(places(whole) - places(whole).mean(0), axis=1).mean()
    assert away.max() < 0.01 * size


@pytest.mark.usefixtures("few_are_many")
def test_frames_that_the_parts_lack_are_added(matched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = map_frames(matched, tmp_path / "whole", 4, False)
    half = tmp_path / "half"
    half.mkdir()
    model = pycolmap.Reconstruction(whole.folder)
    for frame in sorted(model.reg_frame_ids())[COUNT // 2 :]:
        model.deregister_frame(frame)
    model.write(half)
    monkeypatch.setattr(parts, "map_parts", lambda *arguments: half)
    assert len(map_frames(matched, tmp_path / "added", 4, True).names) == COUNT


def test_parts_that_give_no_model_are_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orbit: list[bytes]
) -> None:
    for name, value in {"MIN_FRAMES": 12, "SIZE": 5, "OVERLAP": 2}.items():
        monkeypatch.setattr(parts, name, value)
    message = fail_poses(store(tmp_path, [orbit[0]] * 12), "--threads=4")
    assert "the camera does not move: 66 of 66 matching pairs of frames show the same view" in message


def test_parts_that_fail_are_told_and_done_without(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert parts.map_parts(tmp_path / "no.db", tmp_path, tmp_path / "parts", MAPPER, 4, 0) is None
    printed = capfd.readouterr()
    assert "mapping in parts ended with code 1; the whole is mapped at once" in printed.out
    assert "COLMAP's mapping in parts failed: " in printed.err and "Traceback" not in printed.err


def test_a_signal_ends_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COLMAP itself hears none before all parts are done."""
    program, number = tmp_path / "python3", tmp_path / "number"
    program.write_text(f'#!/bin/sh\necho $$ > "{number}"\nkill -TERM {os.getpid()}\nexec sleep 60\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            parts.map_parts(tmp_path / "database.db", tmp_path, tmp_path / "parts", MAPPER, 4, 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


@pytest.mark.parametrize(("frames", "threads", "wish"), [(COUNT + 1, 4, True), (COUNT, 3, True), (COUNT, 4, False)])
def test_few_frames_and_few_cores_are_mapped_as_a_whole(
    matched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, threads: int, wish: bool
) -> None:
    def map_parts(*arguments: object) -> None:
        called.append("parts")

    called: list[str] = []
    monkeypatch.setattr(parts, "MIN_FRAMES", frames)
    monkeypatch.setattr(parts, "map_parts", map_parts)
    monkeypatch.setattr(pycolmap, "incremental_mapping", lambda *arguments, **options: called.append("whole"))
    folder = tmp_path / "folder"
    with pytest.raises(IndexError):  # nothing is mapped
        map_frames(matched, folder, threads, wish)
    assert called == ["whole"]


def test_a_second_attempt_does_without_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are merged wrongly lose frames."""
    names = [f"{index:06d}.jpg" for index in range(400)]
    asked: list[bool] = []

    class Backend:
        def match(self, pairs: Sequence[tuple[str, str]]) -> None:
            pass

        def map(self, models: Path, options: object, start: object = None, in_parts: bool = False) -> None:
            asked.append(in_parts)

    def read(folder: Path) -> list[Model]:
        found = names if len(asked) == 3 else names[:100]
        return [Model(folder, found, Points(*[np.zeros((0, 3))] * len(Points._fields)))]

    monkeypatch.setattr(mapping, "read_models", read)
    frames = Frames(tmp_path, names, True, [], [list(range(400))], [list(range(400))], {}, False, {})
    attempts = match_and_map(Backend(), tmp_path, frames, 0.8, "")  # type: ignore[arg-type]
    assert [attempt.registered for attempt in attempts] == [100, 100, 400] and asked == [True, False, False]
