"""The video cell: everything that can be footage is accepted. What cannot is in errors.yaml."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from settings_folder import HEADER, TABLE, load, write


def test_every_kind_of_source_is_accepted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    write("photos.zip", "PK")
    write("a #1 & more.mp4", "content")
    sources = ["videos/lamp.mp4", str(folder / "videos/lamp.mp4"), "~/videos/lamp.mp4", "photos", "photos.zip"]
    sources += ["a #1 & more.mp4", "https://example.com/a.mp4?token=1#t", "http://127.0.0.1:8000/a.mp4"]
    sources += ["s3://bucket/folder/a.mp4", "gdrive://1a2B3c_4d-5E", "videos"]
    sources += ["videos/lamp.mp4 ; videos/chair.mov", "~/videos/lamp.mp4 ; https://example.com/a.mp4;s3://bucket/b.mp4"]
    write(TABLE, "\n".join([HEADER, *(f"scene-{n}\t{source}" for n, source in enumerate(sources))]))
    videos = [settings["video"] for settings in load().values()]
    assert videos == [source.replace("~", str(folder)).replace("mp4;s3", "mp4 ; s3") for source in sources]


@pytest.mark.parametrize(("disk", "table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_in_the_other_unicode_form_is_found(disk: Any, table: Any) -> None:
    """The setting is the name as the disk has it, so that all later steps find it, too."""
    film = unicodedata.normalize(disk, "Möbel/Tür.mp4")
    write(film, "content")
    write(TABLE, f"{HEADER}\nlamp\t{unicodedata.normalize(table, film)}\n")
    assert load()["lamp"]["video"] == film
