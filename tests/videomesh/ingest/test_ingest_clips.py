"""Several videos of one scene in one tar, from files, folders and addresses."""

import json
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import media
from ingest_program import get_arguments
from programs import call
from web_server import Server


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """The output for clips."""
    return tmp_path / "out" / "clips.tar"


def fetch(sources: list[str | Path], output: Path) -> str:
    done = call("ingest", "--scene=tractor", f"--output={output}", "--source", *map(str, sources))
    assert done.returncode == 0, done.stderr
    assert list(output.parent.iterdir()) == [output]
    return done.stdout


def refuse(sources: list[str | Path], output: Path, says: list[str]) -> None:
    done = call("ingest", "--scene=tractor", f"--output={output}", "--source", *map(str, sources))
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: scene tractor: source ") and done.stderr.count("\n") == 1, done.stderr
    for words in says:
        assert words in done.stderr, done.stderr
    assert not list(output.parent.iterdir())


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def read_left_out(path: Path) -> list[Any]:
    return json.loads(read(path)["ingest.json"])["left_out"]  # type: ignore[no-any-return]


def write_videos(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        media.write_video(folder / name, [media.picture(number)] * (3 + number))
    return folder


def test_files_in_the_order_of_the_cell(tmp_path: Path, clips: Path) -> None:
    folder = write_videos(tmp_path / "films", "b (1).mp4", "a.mov")
    said = fetch([folder / "b (1).mp4", folder / "a.mov"], clips)
    content = read(clips)
    assert list(content) == ["000_b (1).mp4", "001_a.mov", "ingest.json"]
    assert content["001_a.mov"] == (folder / "a.mov").read_bytes()
    assert said == "scene tractor: 2 clips\n"


def test_a_folder_in_natural_order_with_its_folders(tmp_path: Path, clips: Path) -> None:
    folder = write_videos(tmp_path / "films", "clip10.mp4", "clip2.MP4", "second/clip1.mkv")
    for junk in ("._clip2.MP4", ".trash/old.mp4", "__MACOSX/clip1.mp4", "notes.txt", "clip2.LRV"):
        (folder / junk).parent.mkdir(exist_ok=True)
        (folder / junk).write_bytes(b"junk")
    fetch([folder], clips)
    assert list(read(clips)) == ["000_clip2.MP4", "001_clip10.mp4", "002_clip1.mkv", "ingest.json"]


def test_what_a_folder_has_besides_is_left_out_and_named(tmp_path: Path, clips: Path) -> None:
    folder = write_videos(tmp_path / "films", "a.mp4", "b.mp4")
    (folder / "a.MOV").write_bytes((folder / "a.mp4").read_bytes()[:500])
    (folder / "b copy.mp4").write_bytes((folder / "b.mp4").read_bytes())
    media.write_photos(folder, 1)
    said = fetch([folder], clips)
    assert list(read(clips)) == ["000_a.mp4", "001_b copy.mp4", "ingest.json"]
    assert read_left_out(clips) == [
        {"reason": "photos", "count": 1, "names": ["IMG_0.jpg"]},
        {"reason": "other versions of a video", "count": 1, "names": ["a.MOV"]},
        {"reason": "copies of a video", "count": 1, "names": ["b.mp4"]},
    ]
    assert "left out: 1 photo (IMG_0.jpg), 1 other version of a video (a.MOV), 1 copy of a video (b.mp4)" in said


def test_a_file_and_an_address(tmp_path: Path, video: Path, clips: Path, server: Server) -> None:
    fetch([video, f"{server.url}/my%20film.mp4?token=SECRET"], clips)
    content = read(clips)
    assert list(content) == ["000_made.mp4", "001_my film.mp4", "ingest.json"]
    assert content["001_my film.mp4"] == video.read_bytes()


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, video: Path, clips: Path) -> None:
    (tmp_path / "b.mp4").write_text("<html><title>Sign in</title>")
    (tmp_path / "c.mp4").write_bytes(b"")
    sources = [video, tmp_path / "b.mp4", tmp_path / "c.mp4", tmp_path / "none.mp4"]
    refuse(
        sources, clips, ["b.mp4: not a video but a web page", "c.mp4: not a video but an empty", "none.mp4: no such"]
    )


def test_a_folder_without_videos(tmp_path: Path, clips: Path) -> None:
    refuse([media.write_photos(tmp_path / "photos", 3)], clips, ["no video in this folder", ".mp4"])


@pytest.mark.parametrize(("disk", "table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_in_the_other_unicode_form(tmp_path: Path, video: Path, output: Path, disk: Any, table: Any) -> None:
    folder = tmp_path / unicodedata.normalize(disk, "Tür")
    folder.mkdir()
    (folder / unicodedata.normalize(disk, "Küche.mp4")).write_bytes(video.read_bytes())
    source = unicodedata.normalize(table, f"{tmp_path}/Tür/Küche.mp4")
    done = call("ingest", *get_arguments(source, output))
    assert done.returncode == 0 and output.read_bytes() == video.read_bytes(), done.stderr
