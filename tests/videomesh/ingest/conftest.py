"""Sources, and where they go."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import media
from web_server import Server, serve


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.write_video(tmp_path_factory.mktemp("made") / "made.mp4", [media.picture(n) for n in range(20)])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "video.mp4"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The output for photos."""
    return tmp_path / "out" / "photos.tar"


@pytest.fixture
def server(video: Path) -> Iterator[Server]:
    yield from serve(video.read_bytes())


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Downloads do not wait before they try again; the seconds for which they would have."""
    seconds: list[float] = []
    monkeypatch.setattr("videomesh.download.time", SimpleNamespace(monotonic=time.monotonic, sleep=seconds.append))
    return seconds
