"""Videos on this machine, and what is said of files that are none."""

import tarfile
from pathlib import Path

import pytest

import media
from ingest_program import fetch, refuse


def test_a_local_video_is_copied_even_through_a_link(video: Path, tmp_path: Path, output: Path) -> None:
    link = tmp_path / "my film (1).MOV"
    link.symlink_to(video)
    fetch(link, output)
    assert output.read_bytes() == video.read_bytes()


def test_a_missing_video(tmp_path: Path, output: Path) -> None:
    refuse(tmp_path / "no.mp4", output, [f"{tmp_path}/no.mp4: no such file", "check the path in the table"])


def test_a_folder_or_device_instead_of_a_video(tmp_path: Path, output: Path) -> None:
    refuse(tmp_path, output, ["a folder, where a video was expected", "ending in .tar"])
    refuse("/dev/null", output, ["neither a file nor a folder"])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (bytes(5000), "a file of zero bytes"),
        (b"<!DOCTYPE html><title>Sign in</title>", 'a web page ("Sign in")'),
        (b"#EXTM3U\n", "a playlist"),
        (b"%PDF-1.7", "a PDF"),
        (b"just a text", "Invalid data"),
    ],
)
def test_a_file_that_is_no_video(tmp_path: Path, output: Path, content: bytes, found: str) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(content)
    said = refuse(source, output, ["not a video", found, "a video player plays"])
    assert ".part" not in said


def test_a_video_cut_short_and_a_sound_file(video: Path, tmp_path: Path, output: Path) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(video.read_bytes()[:-2000])
    refuse(source, output, ["cut short", "copy or download it again"])
    media.ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(source))
    refuse(source, output, ["no video stream, only Audio: aac"])


def test_a_compressed_tar_in_place_of_a_video(video: Path, tmp_path: Path, output: Path) -> None:
    source = tmp_path / "film.mp4"
    with tarfile.open(source, "w:gz") as tar:
        tar.add(video, "film.mp4")
    refuse(source, output, ["not a video but a compressed tar archive", "if it holds videos, unpack it"])


def test_an_unknown_kind_of_address(output: Path) -> None:
    refuse("ftp://host/film.mp4", output, ["ftp:// is not known", "https://", "gdrive://ID"])


def test_an_output_that_cannot_be_written(video: Path, tmp_path: Path) -> None:
    refuse(video, video / "tractor.mp4", ["check permissions"])
