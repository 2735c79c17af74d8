"""The undistorted images and their camera."""

import io
from collections.abc import Sequence
from pathlib import Path

import pycolmap
import pytest
from PIL import Image

from poses_program import noise
from videomesh.errors import UserError
from videomesh.poses.images import check_camera, inspect_images, pack_images


def undistorted(folder: Path, params: Sequence[float], size: tuple[int, int] = (320, 240), cameras: int = 1) -> Path:
    model = pycolmap.Reconstruction()
    for index in range(cameras):
        camera = pycolmap.Camera(model="PINHOLE", width=320, height=240, params=params, camera_id=index + 1)
        model.add_camera(camera)
    (folder / "sparse").mkdir()
    (folder / "images").mkdir()
    model.write_binary(folder / "sparse")
    (folder / "images" / "000000.jpg").write_bytes(noise(0, size))
    return folder


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"cameras": 2}, "instead of one PINHOLE"),
        ({"params": [300, 310, 160, 120]}, "focal lengths 300 and 310 px"),
        ({"params": [300, 300, 160, 150]}, "principal point 160, 150"),
        ({"size": (320, 241)}, "000000.jpg has 320x241 px, the camera 320x240"),
    ],
)
def test_a_camera_that_later_steps_cannot_use(tmp_path: Path, change: dict, part: str) -> None:
    folder = undistorted(tmp_path, **{"params": [300, 300, 160, 120], **change})
    with pytest.raises(UserError, match="could not be calibrated") as caught:
        check_camera(Path("frames.tar"), folder, ["000000.jpg"])
    assert part in str(caught.value)


def test_a_good_camera(tmp_path: Path) -> None:
    check_camera(Path("frames.tar"), undistorted(tmp_path, [300, 301, 161, 119]), ["000000.jpg"])


def encoded(mode: str = "RGB", size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(), []),
        (noise(0, (64, 48))[:-400], ["cannot be decoded"]),
        (b"<html>", ["not an image"]),
        (b"", ["not an image"]),
        (encoded("L"), ["mode L"]),
        (encoded("RGBA", kind="PNG"), ["mode RGBA", "alpha"]),
        (encoded(size=(60, 48)), ["60 x 48, not 64 x 48"]),
    ],
    ids=["whole", "truncated", "html", "empty", "grey", "alpha", "size"],
)
def test_images_that_an_engine_cannot_use_are_noted_for_the_gate(tmp_path: Path, data: bytes, words: list[str]) -> None:
    (tmp_path / "000003.jpg").write_bytes(data)
    pack_images(tmp_path, ["000003.jpg"], tmp_path / "images.tar")
    (image,) = inspect_images(tmp_path / "images.tar", (64, 48))
    assert image["name"] == "000003.jpg" and bool(image["flaw"]) == bool(words)
    for word in words:
        assert word in image["flaw"]
