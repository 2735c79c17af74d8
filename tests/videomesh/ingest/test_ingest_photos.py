"""Folders and archives of photos, and what is said of those that cannot be used."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import media
from ingest_program import fetch, refuse
from web_server import serve


def names(path: Path) -> list[str]:
    """Of the photos."""
    with tarfile.open(path, "r:") as tar:
        return [name for name in tar.getnames() if name != "ingest.json" and "/" not in name]


def test_a_folder_of_photos(tmp_path: Path, photos: Path) -> None:
    folder = media.write_photos(tmp_path / "photos", 21)
    for junk in (".hidden.jpg", "notes.txt", "film.MOV", "@eaDir/IMG_1.jpg", "thumbnails/IMG_1.jpg", ".cache/a.jpg"):
        (folder / junk).parent.mkdir(exist_ok=True)
        (folder / junk).write_bytes(b"junk")
    (folder / "IMG_20.jpg").unlink()
    (folder / "IMG_20.JPEG").symlink_to(folder / "IMG_3.jpg")
    fetch(folder, photos)
    assert names(photos) == [*[f"IMG_{n}.jpg" for n in range(20)], "IMG_20.JPEG"]
    with tarfile.open(photos, "r:") as tar:
        assert all(member.isreg() for member in tar)
        assert tar.extractfile("IMG_20.JPEG").read() == (folder / "IMG_3.jpg").read_bytes()  # type: ignore[union-attr]


def test_photos_in_several_folders_get_names_of_their_own(tmp_path: Path, photos: Path) -> None:
    media.write_photos(tmp_path / "DCIM" / "100APPLE", 12)
    for number in range(12):
        (tmp_path / "DCIM" / "101APPLE").mkdir(exist_ok=True)
        (tmp_path / "DCIM" / "101APPLE" / f"IMG_{number}.jpg").write_bytes(photo(number + 30))
    fetch(tmp_path / "DCIM", photos)
    expected = [f"{folder}_IMG_{n}.jpg" for folder in ("100APPLE", "101APPLE") for n in range(12)]
    assert names(photos) == expected


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
def test_an_archive_of_photos(tmp_path: Path, photos: Path, write: type) -> None:
    junk = {"__MACOSX/my photos/._IMG_1.jpg": b"junk", "my photos/.DS_Store": b"junk", "readme.txt": b"text"}
    archive = write(tmp_path / "photos.zip", {**PHOTOS, **junk})
    fetch(archive, photos)
    assert names(photos) == [f"IMG_{n}.jpg" for n in range(20)]


def test_an_archive_behind_an_address(tmp_path: Path, photos: Path) -> None:
    for server in serve(write_zip(tmp_path / "photos.zip", PHOTOS).read_bytes()):
        fetch(f"{server.url}/photos.zip?token=SECRET", photos)
        assert len(names(photos)) == 20
        photos.unlink()
        says = ["but a web page", "Quota exceeded", "a download must start"]
        refuse(f"{server.url}/page/photos.zip", photos, says)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_names_in_an_archive_cannot_point_outside(tmp_path: Path, photos: Path, write: type) -> None:
    files = {**PHOTOS, "../../evil.jpg": photo(0), "/abs.jpg": photo(1), "..\\win.jpg": photo(2)}
    fetch(write(tmp_path / "photos.tar", files), photos)
    expected = ["abs.jpg", "evil.jpg", *[f"my photos_IMG_{n}.jpg" for n in range(20)], "win.jpg"]
    assert names(photos) == expected
    assert not list(tmp_path.glob("**/evil.jpg")) and not (tmp_path.parent / "evil.jpg").exists()


def test_links_in_a_tar_are_not_followed(tmp_path: Path, photos: Path) -> None:
    path = write_tar(tmp_path / "photos.tar", PHOTOS)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("secret.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    fetch(path, photos)
    assert len(names(photos)) == 20


def write_text(path: Path) -> Path:
    path.write_text("<!doctype html><title>Sign in</title>")
    return path


def test_sources_without_photos(tmp_path: Path, photos: Path, video: Path) -> None:
    refuse(tmp_path / "nowhere", photos, ["no such file or folder"])
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse(empty, photos, ["no photos in it", "at least 3"])
    for name in ("a.CR3", "b.cr3", "c.mov"):
        (empty / name).write_bytes(b"raw")
    refuse(empty, photos, ["2 of 2 photos cannot be used", "a.CR3: not a RAW photo", "b.cr3"])
    few = media.write_photos(tmp_path / "few", 2)
    refuse(few, photos, ["2 photos in it", "at least 3"])
    refuse(video, photos, ["not a folder, a zip or a tar"])
    films = write_zip(tmp_path / "films.zip", {"a.mp4": b"film", "b.mov": b"film"})
    refuse(films, photos, ["videos in an archive are not read, such as a.mp4", "unpack it, and name the folder"])
    nested = write_zip(tmp_path / "nested.zip", {"photos.zip": b"PK"})
    refuse(nested, photos, ["no photos in it", "left out: 1 .zip"])
    packed = tmp_path / "photos.tar.gz"
    packed.write_bytes(gzip.compress(b"a text"))
    refuse(packed, photos, ["a gzip archive without a tar in it", "name a folder, a .zip, a .tar or a .tar.gz"])
    refuse(write_text(tmp_path / "photos.zip"), photos, ["not a folder, a zip or a tar of photos, but a web page"])


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar(tmp_path: Path, photos: Path, mode: str) -> None:
    fetch(write_tar(tmp_path / f"photos.tar.{mode[2:]}", PHOTOS, mode), photos)
    assert names(photos) == [f"IMG_{n}.jpg" for n in range(20)]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_that_is_damaged_or_cut_short(tmp_path: Path, photos: Path, mode: str) -> None:
    archive = write_tar(tmp_path / f"photos.tar.{mode[2:]}", PHOTOS, mode)
    whole = bytearray(archive.read_bytes())
    whole[len(whole) // 2] ^= 255
    archive.write_bytes(whole)
    refuse(archive, photos, ["archive that is cut short or damaged"])
    archive.write_bytes(whole[: len(whole) // 2])
    refuse(archive, photos, ["archive that is cut short or damaged", "copy or download it again"])


def test_a_few_damaged_photos_are_left_out_and_many_named_all_at_once(tmp_path: Path, photos: Path) -> None:
    folder = media.write_photos(tmp_path / "photos", 20)
    (folder / "IMG_7.jpg").write_text("<html>not found</html>")
    (folder / "IMG_9.jpg").write_bytes(b"")
    said = fetch(folder, photos)
    assert "left out: 2 damaged photos (IMG_7.jpg, IMG_9.jpg)" in said and "IMG_9.jpg: an empty file" in said
    assert len(names(photos)) == 18
    photos.unlink()
    (folder / "IMG_3.jpg").write_bytes(b"")
    every = ["IMG_3.jpg: an empty file", "IMG_7.jpg: not a photo that can be read", "IMG_9.jpg: an empty file"]
    refuse(folder, photos, ["3 of 20 photos cannot be used", *every, "export them as JPEG"])


def test_damaged_and_locked_archives(tmp_path: Path, photos: Path) -> None:
    archive = write_zip(tmp_path / "photos.zip", PHOTOS)
    whole = bytearray(archive.read_bytes())
    middle = whole.index(PHOTOS["my photos/IMG_5.jpg"]) + len(PHOTOS["my photos/IMG_5.jpg"]) - 10
    whole[middle] ^= 255
    archive.write_bytes(whole)
    assert "IMG_5.jpg: damaged (Bad CRC-32" in fetch(archive, photos)
    photos.unlink()
    archive.write_bytes(whole[: len(whole) // 2])
    refuse(archive, photos, ["a zip archive that is cut short or damaged", "copy or download it again"])
    locked = bytearray(write_zip(archive, PHOTOS).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # mark every file as encrypted
        place = locked.find(signature)
        while place >= 0:
            locked[place + flags] |= 1
            place = locked.find(signature, place + 4)
    archive.write_bytes(locked)
    refuse(archive, photos, ["cannot be unpacked", "password"])


def test_two_photos_of_one_name(tmp_path: Path, photos: Path) -> None:
    archive = write_zip(tmp_path / "photos.zip", {**PHOTOS, "a/b_c.jpg": photo(0), "a_b/c.jpg": photo(1)})
    refuse(archive, photos, ["a_b_c.jpg", "a/b_c.jpg and a_b/c.jpg", "rename one"])
