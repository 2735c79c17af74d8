"""scripts/frames.py on made footage."""

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

import media
from programs import call


def run(footage: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run frames.py; outputs go to the folder "out" beside the footage. Options are added to usual ones."""
    return call("frames", *get_arguments(footage, *options))


def get_arguments(footage: Path, *options: str) -> list[str]:
    out = footage.parent / "out"
    given = {option.partition("=")[0] for option in options}
    usual = ["--max-size=1920", "--threads=2"]
    if not {"--target", "--downsample"} & given:
        usual.append("--target=150")
    files = [f"--frames={out}/frames.tar", f"--masks={out}/masks.tar", f"--summary={out}/frames.json"]
    return [f"--source={footage}", *files, *usual, *options]


def keep(footage: Path, *options: str) -> tuple[dict[str, Any], dict[str, Image.Image]]:
    """frames.json and the pictures of frames.tar, of a run that must succeed."""
    done = run(footage, *options)
    assert done.returncode == 0, done.stderr
    out = footage.parent / "out"
    with tarfile.open(out / "frames.tar", "r:") as tar:
        pictures = {member.name: Image.open(io.BytesIO(tar.extractfile(member).read())) for member in tar}  # type: ignore[union-attr]
    summary = json.loads((out / "frames.json").read_text())
    assert [frame["name"] for frame in summary["frames"]] == list(pictures)
    sizes = [(camera["width"], camera["height"]) for camera in summary["cameras"]]
    assert [image.size for image in pictures.values()] == [sizes[frame["camera"]] for frame in summary["frames"]]
    assert sizes[0] == (summary["width"], summary["height"])
    return summary, pictures


def read_masks(footage: Path) -> dict[str, Image.Image]:
    """The pictures of masks.tar, of a run that succeeded."""
    with tarfile.open(footage.parent / "out" / "masks.tar", "r:") as tar:
        return {member.name: Image.open(io.BytesIO(tar.extractfile(member).read())) for member in tar}  # type: ignore[union-attr]


def refuse(footage: Path, *options: str, says: list[str]) -> None:
    """A run that must fail with one clear message and leave nothing behind."""
    done = run(footage, *options)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    for words in [*says, str(footage)]:
        assert words in done.stderr, done.stderr
    out = footage.parent / "out"
    assert not out.exists() or not list(out.iterdir())


def numbers(pictures: dict[str, Image.Image]) -> list[int]:
    return [media.number_of(image) for image in pictures.values()]
