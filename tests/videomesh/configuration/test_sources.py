"""The video cell: everything that can be footage is accepted. What cannot is in errors.yaml."""

from pathlib import Path

import pytest

from settings_folder import HEADER, TABLE, load, write


def test_every_kind_of_source_is_accepted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    write("photos.zip", "PK")
    write("a #1 & more.mp4", "content")
    sources = ["videos/lamp.mp4", str(folder / "videos/lamp.mp4"), "~/videos/lamp.mp4", "photos", "photos.zip"]
    sources += ["a #1 & more.mp4", "https://example.com/a.mp4?token=1#t", "http://127.0.0.1:8000/a.mp4"]
    sources += ["s3://bucket/folder/a.mp4", "gdrive://1a2B3c_4d-5E"]
    write(TABLE, "\n".join([HEADER, *(f"scene-{n}\t{source}" for n, source in enumerate(sources))]))
    videos = [settings["video"] for settings in load().values()]
    assert videos == [source.replace("~", str(folder)) for source in sources]
