"""Sources behind an address and on Google Drive, against a server on this machine."""

import inspect
import socket
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import gdown
import pytest

from ingest_program import fetch, refuse
from videomesh.ingest.sources import remedy
from web_server import Server


@pytest.mark.parametrize("kind", ["video", "moved", "unannounced", "busy-once", "half-once"])
def test_a_video_behind_an_address(server: Server, output: Path, waits: list[float], kind: str) -> None:
    said = fetch(f"{server.url}/{kind}/film.mp4?token=SECRET", output)
    assert output.read_bytes() == server.content
    assert ("trying again" in said) == kind.endswith("-once")
    assert waits == ([1] if kind.endswith("-once") else [])
    assert "SECRET" not in said


@pytest.mark.parametrize(
    ("kind", "requests", "says"),
    [
        ("404", 1, ["HTTP 404 (not found)", "check the address"]),
        ("403", 1, ["HTTP 403 (access refused)", "make the file public"]),
        ("500", 3, ["HTTP 500 (tried 3 times)", "try later"]),
        ("418", 1, ["HTTP 418", "check the address"]),
        ("page", 1, ['not a video but a web page ("Google Drive - Quota exceeded")', "a download must start"]),
        ("half", 3, ["broke off before its end (tried 3 times)", "try later"]),
        ("circle", None, ["leads in circles", "the file itself"]),
    ],
)
def test_an_address_that_gives_no_video(
    server: Server, output: Path, kind: str, requests: int | None, says: list[str]
) -> None:
    source = server.url.replace("//", "//user:SECRET1@") + f"/{kind}/film.mp4?token=SECRET2"
    said = refuse(source, output, [f"source {server.url}/{kind}/film.mp4: ", *says])
    assert "SECRET" not in said and "user" not in said
    assert requests in (None, server.requests[f"/{kind}/film.mp4"])


def test_a_google_drive_page_gets_the_right_address() -> None:
    said = remedy("https://drive.google.com/file/d/1a2B3c4D5e6F-7g/view?usp=sharing", "a web page")
    assert "gdrive://1a2B3c4D5e6F-7g" in said


def test_servers_that_cannot_be_reached(output: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/film.mp4"
    refuse(url, output, ["refuses the connection (tried 3 times)", "that the server runs"])
    refuse("https://no-such-host.invalid/film.mp4?key=SECRET", output, ["host name is not known", "DNS"])


@pytest.mark.parametrize(
    "source", ["https:///film.mp4", "http://[bad/film.mp4", "https://.example/a.mp4", "http://:x@"]
)
def test_addresses_that_are_not_valid(source: str, output: Path) -> None:
    refuse(source, output, ["the address is not valid", "table of scenes"])


def test_a_server_that_stalls(server: Server, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomesh.download.READ_SECONDS", 0.2)
    monkeypatch.setattr("videomesh.download.PROGRESS_SECONDS", 0)
    monkeypatch.setattr("videomesh.download.CHUNK", 500)
    said = refuse(f"{server.url}/slow/film.mp4", output, ["does not answer in time"])
    assert f"scene tractor: 0.0 MB of {len(server.content) / 1e6:.1f} MB downloaded" in said


# Google Drive ----------------------------------------------------------------------------------------------------


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch, video: Path) -> None:
    """In place of Google, which cannot be reached from a test."""
    content = {
        "video-with-an-id": video.read_bytes(),
        "page-with-an-id": b"<html><title>Google Drive - Quota exceeded</title>",
    }

    def download(id: str, output: BinaryIO, quiet: bool, progress: Callable[..., None], timeout: tuple) -> None:
        if id not in content:
            said = "Cannot retrieve the public link of the file.\n\tYou may need to change it"
            raise gdown.exceptions.FileURLRetrievalError(said)
        output.write(content[id])
        progress(1, None)

    monkeypatch.setattr(gdown, "download", download)


@pytest.mark.usefixtures("drive")
def test_google_drive(output: Path, video: Path) -> None:
    fetch("gdrive://video-with-an-id", output)
    assert output.read_bytes() == video.read_bytes()


@pytest.mark.usefixtures("drive")
def test_google_drive_refuses(output: Path) -> None:
    says = [
        "does not hand the file out (Cannot retrieve the public link of the file. You may",
        "anyone who has the link",
    ]
    refuse("gdrive://missing-or-private", output, ["source gdrive://missing-or-private: ", *says])
    says = ['a web page ("Google Drive - Quota exceeded")', "wait a day"]
    refuse("gdrive://page-with-an-id", output, says)
    refuse("gdrive://", output, ["not gdrive://ID", "between /d/ and /view"])


def test_the_real_gdown_takes_these_arguments() -> None:
    assert {"id", "output", "quiet", "progress", "timeout"} <= set(inspect.signature(gdown.download).parameters)
    assert issubclass(gdown.exceptions.FileURLRetrievalError, gdown.exceptions.DownloadError)
