"""The undistorted images and their camera."""

import io
from pathlib import Path

import pytest
from PIL import Image

from poses_program import noise
from videomesh.poses.images import inspect_images, pack_images


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
