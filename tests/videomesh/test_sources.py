"""What a cell of the column video names."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from videomesh.sources import get_kind, list_folder, resolve, split_sources


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)


def test_semicolons_part_clips() -> None:
    assert split_sources("a.mp4 ; b c.mov;d.mp4;") == ["a.mp4", "b c.mov", "d.mp4"]
    assert split_sources("a.mp4") == ["a.mp4"]
    assert split_sources(";") == [";"]
    write("a;b.mp4")
    assert split_sources("a;b.mp4") == ["a;b.mp4"]


def test_semicolons_in_addresses() -> None:
    address = "https://example.com/a;v=1.mp4?x=1;y=2"
    assert split_sources(address) == [address]
    assert split_sources(f"{address} ; s3://bucket/b.mp4;gdrive://1a2B3c4D5e6F; c.mp4") == [
        address,
        "s3://bucket/b.mp4",
        "gdrive://1a2B3c4D5e6F",
        "c.mp4",
    ]


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("a.mp4", "video"),
        ("https://example.com/a.mp4?name=x.zip", "video"),
        ("https://example.com/a.zip?token=1#t", "photos"),
        ("s3://bucket/photos.tar.gz", "photos"),
        ("a.ZIP", "photos"),
        ("a.mp4;b.mp4", "clips"),
        ("films", "clips"),
        ("photos", "photos"),
        ("live", "photos"),
        ("mixed", "clips"),
        ("poster", "clips"),
        ("empty", "photos"),
    ],
)
def test_the_kind_of_a_cell(cell: str, kind: str) -> None:
    write("films/a.mp4", "films/deep/B.MOV", "films/._c.jpg", *(f"photos/{n}.jpg" for n in range(5)), "photos/a.mov")
    write(*(f"live/IMG_{n}.{suffix}" for n in range(5) for suffix in ("HEIC", "MOV")))
    write(*(f"mixed/{n}.mp4" for n in range(5)), *(f"mixed/{n}.jpg" for n in range(4)))
    write("poster/film.mp4", "poster/cover.jpg", "poster/back.jpg", "empty/notes.txt")
    assert get_kind(cell) == kind


def test_videos_and_photos_of_a_folder() -> None:
    write("films/clip10.mp4", "films/clip2.mp4", "films/.old.mp4", "films/__MACOSX/a.mp4", "films/a.txt", "films/b.jpg")
    videos, photos = list_folder(Path("films"))
    assert [path.name for path in videos] == ["clip2.mp4", "clip10.mp4"] and [path.name for path in photos] == ["b.jpg"]


@pytest.mark.parametrize(("disk", "table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_found_in_either_unicode_form(folder: Path, disk: Any, table: Any) -> None:
    """On each folder of the path, in relative and absolute paths, and in each of several clips."""
    films = [unicodedata.normalize(disk, name) for name in ("Möbel/Tür (1).mp4", "Möbel/Ärger.mp4")]
    write(*films)
    for film in films:
        for found in (film, f"{folder}/{film}"):
            assert resolve(unicodedata.normalize(table, found)) == found
    assert resolve(unicodedata.normalize(table, ";".join(films))) == " ; ".join(films)
    assert resolve(unicodedata.normalize(table, "Möbel")) == unicodedata.normalize(disk, "Möbel")
    assert resolve(unicodedata.normalize(table, "Möbel/Stuhl.mp4")) == unicodedata.normalize(table, "Möbel/Stuhl.mp4")


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    write("a.mp4", "b.mp4")
    assert resolve("~/a.mp4") == f"{folder}/a.mp4"
    assert resolve("~/a.mp4 ; ~/b.mp4") == f"{folder}/a.mp4 ; {folder}/b.mp4"
    assert resolve("https://example.com/~me/a.mp4") == "https://example.com/~me/a.mp4"
