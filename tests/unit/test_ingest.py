"""scripts/ingest.py: every kind of source against a local server and folder, and what is said of the bad ones."""

import http.server
import inspect
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import gdown
import pytest
from PIL import Image

import ingest
import media

SCRIPT = Path(ingest.__file__)


def run(source: str | Path, output: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--scene=tractor", f"--source={source}", f"--output={output}"]
    return subprocess.run(command, capture_output=True, text=True, env=env)


def fetch(source: str | Path, output: Path) -> str:
    """A run that must succeed; returns what it said."""
    done = run(source, output)
    assert done.returncode == 0, done.stderr
    assert list(output.parent.iterdir()) == [output] and not output.is_symlink()
    return done.stdout


def refuse(source: str | Path, output: Path, says: list[str], env: dict[str, str] | None = None) -> str:
    """A run that must fail with one clear message and leave nothing behind; returns all that it said."""
    done = run(source, output, env)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: scene tractor: source ") and done.stderr.count("\n") == 1, done.stderr
    for words in says:
        assert words in done.stderr, done.stderr
    assert not output.parent.is_dir() or not list(output.parent.iterdir())
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.write_video(tmp_path_factory.mktemp("made") / "made.mp4", [media.picture(n) for n in range(20)])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "tractor.mp4"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "out" / "tractor.images.tar"


# Local videos ----------------------------------------------------------------------------------------------------


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


def test_an_unknown_kind_of_address(output: Path) -> None:
    refuse("ftp://host/film.mp4", output, ["ftp:// is not known", "https://", "gdrive://ID"])


def test_an_output_that_cannot_be_written(video: Path, tmp_path: Path) -> None:
    refuse(video, video / "tractor.mp4", ["check permissions"])


# Downloads -------------------------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Answers /KIND/... in the way that the kind asks for, and counts requests by path."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: dict[str, int] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        count = self.server.requests[path] = self.server.requests.get(path, 0) + 1
        kind, content = path.split("/")[1], self.server.content
        if kind.isdigit():
            self.answer(b"<html>an error page</html>", status=int(kind))
        elif kind == "busy-once" and count == 1:
            self.answer(b"", status=503)
        elif kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/video/film.mp4?token=SECRET2")
            self.end_headers()
        elif kind == "circle":
            self.send_response(302)
            self.send_header("Location", "/circle/film.mp4")
            self.end_headers()
        elif kind == "page":
            self.answer(b"\n<!doctype html><html><head><title>Google Drive -\nQuota exceeded</title></head></html>")
        elif kind == "half" or (kind == "half-once" and count == 1):
            self.answer(content[: len(content) // 2], announced=len(content))
        elif kind == "unannounced":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + content)
        elif kind == "slow":
            self.answer(content[:1000], announced=len(content), wait=3)
        else:
            self.answer(content)

    def answer(self, content: bytes, status: int = 200, announced: int | None = None, wait: float = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if announced is None else announced))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
        time.sleep(wait)

    def log_message(self, *_: object) -> None:
        pass


def serve(content: bytes) -> Iterator[Server]:
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(video: Path) -> Iterator[Server]:
    yield from serve(video.read_bytes())


@pytest.mark.parametrize("kind", ["video", "moved", "unannounced", "busy-once", "half-once"])
def test_a_video_behind_an_address(server: Server, output: Path, kind: str) -> None:
    said = fetch(f"{server.url}/{kind}/film.mp4?token=SECRET", output)
    assert output.read_bytes() == server.content
    assert ("trying again" in said) == kind.endswith("-once")
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
    said = ingest.remedy("https://drive.google.com/file/d/1a2B3c4D5e6F-7g/view?usp=sharing", "a web page")
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


def test_a_server_that_stalls(
    server: Server, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ingest, "READ_SECONDS", 0.2)
    monkeypatch.setattr(ingest, "PROGRESS_SECONDS", 0)
    monkeypatch.setattr(ingest, "CHUNK", 500)
    arguments = ["ingest.py", "--scene=tractor", f"--source={server.url}/slow/film.mp4", f"--output={output}"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(ingest.UserError, match="does not answer in time"):
        ingest.main()
    assert f"scene tractor: 0.0 MB of {len(server.content) / 1e6:.1f} MB downloaded" in capsys.readouterr().out
    assert not list(output.parent.iterdir())


# Google Drive ----------------------------------------------------------------------------------------------------

# Stands for gdown, because Google cannot be reached from a test.
FAKE_GDOWN = """
from types import SimpleNamespace
class DownloadError(Exception): pass
class FileURLRetrievalError(DownloadError): pass
exceptions = SimpleNamespace(DownloadError=DownloadError, FileURLRetrievalError=FileURLRetrievalError)
def download(id, output, quiet, progress, timeout):
    if id == "missing-or-private":
        raise FileURLRetrievalError("Cannot retrieve the public link of the file.\\n\\tYou may need to change it")
    output.write(open(f"CONTENT/{id}", "rb").read())
    progress(1, None)
"""


@pytest.fixture
def drive(tmp_path: Path, video: Path) -> dict[str, str]:
    content = tmp_path / "drive"
    content.mkdir()
    (content / "video-with-an-id").write_bytes(video.read_bytes())
    (content / "page-with-an-id").write_text("<html><title>Google Drive - Quota exceeded</title>")
    (content / "gdown.py").write_text(FAKE_GDOWN.replace("CONTENT", str(content)))
    return {"PYTHONPATH": str(content), "PATH": os.environ["PATH"]}


def test_google_drive(drive: dict[str, str], output: Path, video: Path) -> None:
    done = run("gdrive://video-with-an-id", output, drive)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == video.read_bytes()


def test_google_drive_refuses(drive: dict[str, str], output: Path) -> None:
    says = [
        "does not hand the file out (Cannot retrieve the public link of the file. You may",
        "anyone who has the link",
    ]
    refuse("gdrive://missing-or-private", output, ["source gdrive://missing-or-private: ", *says], drive)
    says = ['a web page ("Google Drive - Quota exceeded")', "wait a day"]
    refuse("gdrive://page-with-an-id", output, says, drive)
    refuse("gdrive://", output, ["not gdrive://ID", "between /d/ and /view"], drive)


def test_the_real_gdown_takes_these_arguments() -> None:
    assert {"id", "output", "quiet", "progress", "timeout"} <= set(inspect.signature(gdown.download).parameters)
    assert issubclass(gdown.exceptions.FileURLRetrievalError, gdown.exceptions.DownloadError)


# Photos ----------------------------------------------------------------------------------------------------------


def names(path: Path) -> list[str]:
    with tarfile.open(path, "r:") as tar:
        return tar.getnames()


def test_a_folder_of_photos(tmp_path: Path, images: Path) -> None:
    folder = media.write_photos(tmp_path / "photos", 21)
    for junk in (".hidden.jpg", "notes.txt", "film.MOV", "@eaDir/IMG_1.jpg", "thumbnails/IMG_1.jpg", ".cache/a.jpg"):
        (folder / junk).parent.mkdir(exist_ok=True)
        (folder / junk).write_bytes(b"junk")
    (folder / "IMG_20.jpg").unlink()
    (folder / "IMG_20.JPEG").symlink_to(folder / "IMG_3.jpg")
    fetch(folder, images)
    assert names(images) == [*[f"IMG_{n}.jpg" for n in range(20)], "IMG_20.JPEG"]
    with tarfile.open(images, "r:") as tar:
        assert all(member.isreg() for member in tar)
        assert tar.extractfile("IMG_20.JPEG").read() == (folder / "IMG_3.jpg").read_bytes()  # type: ignore[union-attr]


def test_photos_in_several_folders_get_names_of_their_own(tmp_path: Path, images: Path) -> None:
    media.write_photos(tmp_path / "DCIM" / "100APPLE", 12)
    media.write_photos(tmp_path / "DCIM" / "101APPLE", 12)
    fetch(tmp_path / "DCIM", images)
    expected = [f"{folder}_IMG_{n}.jpg" for folder in ("100APPLE", "101APPLE") for n in range(12)]
    assert names(images) == expected


def photo(number: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(media.picture(number)).save(encoded, "JPEG")
    return encoded.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


PHOTOS = {f"my photos/IMG_{n}.jpg": photo(n) for n in (*range(10, 20), *range(10))}


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive_of_photos(tmp_path: Path, images: Path, write: type) -> None:
    junk = {"__MACOSX/my photos/._IMG_1.jpg": b"junk", "my photos/.DS_Store": b"junk", "readme.txt": b"text"}
    archive = write(tmp_path / "photos.zip", {**PHOTOS, **junk})
    fetch(archive, images)
    assert names(images) == [f"IMG_{n}.jpg" for n in range(20)]


def test_an_archive_behind_an_address(tmp_path: Path, images: Path) -> None:
    for server in serve(write_zip(tmp_path / "photos.zip", PHOTOS).read_bytes()):
        fetch(f"{server.url}/photos.zip?token=SECRET", images)
        assert len(names(images)) == 20
        images.unlink()
        says = ["but a web page", "Quota exceeded", "a download must start"]
        refuse(f"{server.url}/page/photos.zip", images, says)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_names_in_an_archive_cannot_point_outside(tmp_path: Path, images: Path, write: type) -> None:
    files = {**PHOTOS, "../../evil.jpg": photo(0), "/abs.jpg": photo(1), "..\\win.jpg": photo(2)}
    fetch(write(tmp_path / "photos.tar", files), images)
    expected = ["abs.jpg", "evil.jpg", *[f"my photos_IMG_{n}.jpg" for n in range(20)], "win.jpg"]
    assert names(images) == expected
    assert not list(tmp_path.glob("**/evil.jpg")) and not (tmp_path.parent / "evil.jpg").exists()


def test_links_in_a_tar_are_not_followed(tmp_path: Path, images: Path) -> None:
    path = write_tar(tmp_path / "photos.tar", PHOTOS)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("secret.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    fetch(path, images)
    assert len(names(images)) == 20


def test_sources_without_photos(tmp_path: Path, images: Path, video: Path) -> None:
    refuse(tmp_path / "nowhere", images, ["no such file or folder"])
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse(empty, images, ["no photos in it", "at least 20", "found: nothing"])
    for name in ("a.CR3", "b.cr3", "c.mov"):
        (empty / name).write_bytes(b"raw")
    refuse(empty, images, ["no photos in it", "2 .cr3, 1 .mov", "usable are", ".jpg"])
    few = media.write_photos(tmp_path / "few", 19)
    refuse(few, images, ["19 photos in it", "at least 20"])
    refuse(video, images, ["neither a folder, a zip nor an uncompressed tar"])
    nested = write_zip(tmp_path / "nested.zip", {"photos.zip": b"PK"})
    refuse(nested, images, ["no photos in it", "found: 1 .zip"])
    packed = write_tar(tmp_path / "photos.tar.gz", PHOTOS, "w:gz")
    refuse(packed, images, ["uncompressed tar", "a gzip archive", "unpack it"])


def test_bad_photos_are_named(tmp_path: Path, images: Path) -> None:
    folder = media.write_photos(tmp_path / "photos", 20)
    (folder / "IMG_7.jpg").write_text("<html>not found</html>")
    refuse(folder, images, ["IMG_7.jpg: not a photo", "export it as JPEG"])
    (folder / "IMG_7.jpg").write_bytes(b"")
    refuse(folder, images, ["IMG_7.jpg: not a photo"])


def test_damaged_and_locked_archives(tmp_path: Path, images: Path) -> None:
    archive = write_zip(tmp_path / "photos.zip", PHOTOS)
    whole = bytearray(archive.read_bytes())
    middle = whole.index(PHOTOS["my photos/IMG_5.jpg"]) + len(PHOTOS["my photos/IMG_5.jpg"]) - 10
    whole[middle] ^= 255
    archive.write_bytes(whole)
    refuse(archive, images, ["IMG_5.jpg: damaged in the archive", "download the archive again"])
    archive.write_bytes(whole[: len(whole) // 2])
    refuse(archive, images, ["neither a folder, a zip", "a zip archive", "copy the archive again"])
    locked = bytearray(write_zip(archive, PHOTOS).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # mark every file as encrypted
        place = locked.find(signature)
        while place >= 0:
            locked[place + flags] |= 1
            place = locked.find(signature, place + 4)
    archive.write_bytes(locked)
    refuse(archive, images, ["cannot be unpacked", "password"])


def test_two_photos_of_one_name(tmp_path: Path, images: Path) -> None:
    archive = write_zip(tmp_path / "photos.zip", {**PHOTOS, "a/b_c.jpg": photo(0), "a_b/c.jpg": photo(1)})
    refuse(archive, images, ["a_b_c.jpg", "a/b_c.jpg and a_b/c.jpg", "rename one"])
