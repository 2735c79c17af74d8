"""scripts/poses.py, on small frames of the demo video (one orbit of 96 frames)."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from checkout import ROOT
from programs import call
from videomesh.files import add_to_tar

OUTPUTS = ["cameras.bin", "images.bin", "images.tar", "masks.tar", "points3D.bin", "poses.json"]
# How a shell script that stands for `colmap` begins.
BANNER = 'if [ "$*" = -h ]; then echo "COLMAP 3.8 (Commit Unknown without CUDA)"; exit; fi\n'
HELP = 'if [ "$2" = -h ]; then exit; fi\n'

needs_colmap = pytest.mark.skipif(
    shutil.which("colmap") is None, reason="the program colmap is not on PATH; see tests/install_program.sh"
)


def read_orbit(folder: Path) -> list[bytes]:
    """The 96 frames of the demo as JPEGs of 320 x 240 pixels, 3.75 degrees apart. They are made in an empty folder."""
    video = ROOT / "config" / "demo" / "tractor.mp4"
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(video)]
    subprocess.run([*ffmpeg, "-vf", "scale=320:240", "-q:v", "2", str(folder / "%06d.jpg")], check=True)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def noise(seed: int, size: tuple[int, int] = (320, 240)) -> bytes:
    """A JPEG with texture that is in no other picture."""
    coarse = np.random.default_rng(seed).integers(0, 255, (size[1] // 8, size[0] // 8), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert("RGB").save(encoded, "JPEG")
    return encoded.getvalue()


def store(
    folder: Path, images: Sequence[bytes], source: str = "video", masks: Mapping[int, Image.Image] = {}, **changes: Any
) -> Path:
    """frames.tar, frames.json and masks.tar as the frames stage writes them; returns the folder.

    Frames of one size have one camera. masks: by the place of their frame. changes: lists by frame for the keys of
    the frames (clip=[0, 0, 1], time=[...]), anything for keys at the top.
    """
    folder.mkdir(exist_ok=True)
    names = [f"{index:06d}.jpg" for index in range(len(images))]
    with tarfile.open(folder / "frames.tar", "w") as tar:
        for name, data in zip(names, images, strict=True):
            add_to_tar(tar, name, data)
    with tarfile.open(folder / "masks.tar", "w") as tar:
        for index, mask in masks.items():
            encoded = io.BytesIO()
            mask.save(encoded, "PNG")
            add_to_tar(tar, f"{index:06d}.png", encoded.getvalue())
    sizes = [Image.open(io.BytesIO(data)).size if data[:1] == b"\xff" else (320, 240) for data in images]
    different = sorted(set(sizes), key=lambda size: -sizes.count(size))
    frames = [
        {
            "name": name,
            "video_frame": index,
            "sharpness": 100.0,
            "camera": different.index(size),
            "clip": 0,
            "given": None,
            "source": name,
        }
        for index, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]
    content = {
        "source": source,
        "width": different[0][0] if images else 0,
        "height": different[0][1] if images else 0,
        "cameras": [{"width": width, "height": height, "given": None} for width, height in different],
        "frames": frames,
        "metric": False,
        "left_out": [],
        "clips": [],
        "rejected": [],
        "cuts": [],
        "burnt_in": [],
    }
    for key, value in changes.items():
        if key in ("camera", "clip", "given", "sharpness", "time", "video_frame"):
            for frame, own in zip(frames, value, strict=True):
                frame[key] = own
        else:
            content[key] = value
    (folder / "frames.json").write_text(json.dumps(content))
    return folder


def get_arguments(folder: Path, *flags: str, out: str = "out") -> list[str]:
    """For frames.tar and frames.json in the folder, writing to folder/out. Flags are added to usual ones."""
    usual = [
        "--given=use",
        "--backend=auto",
        "--device=auto",
        "--min-registered=0.8",
        "--max-features=700",
        "--max-image-size=1600",
        "--seed=0",
    ]
    return [
        f"--frames={folder}/frames.tar",
        f"--frames-json={folder}/frames.json",
        f"--images={folder}/{out}/images.tar",
        f"--cameras={folder}/{out}/cameras.bin",
        f"--image-poses={folder}/{out}/images.bin",
        f"--points={folder}/{out}/points3D.bin",
        f"--frame-masks={folder}/masks.tar",
        f"--masks={folder}/{out}/masks.tar",
        f"--summary={folder}/{out}/poses.json",
        *(*usual, "--given=use", "--threads=2", *flags),
    ]


def make_temporary(folder: Path) -> Path:
    """Temporary files of the program go there, so that a test can see what is left of them."""
    (folder / "tmp").mkdir(exist_ok=True)
    return folder / "tmp"


def call_poses(folder: Path, *flags: str, out: str = "out", **changes: str) -> subprocess.CompletedProcess[str]:
    handler = signal.getsignal(signal.SIGTERM)
    temporary = make_temporary(folder)
    with (
        mock.patch.dict(os.environ, {"TMPDIR": str(temporary), **changes}),
        mock.patch.object(tempfile, "tempdir", str(temporary)),
    ):
        try:
            return call("poses", *get_arguments(folder, *flags, out=out))
        finally:
            signal.signal(signal.SIGTERM, handler)


def run_poses(folder: Path, *flags: str, out: str = "out", **changes: str) -> dict[str, Any]:
    """Run the program, which must succeed; returns poses.json."""
    result = call_poses(folder, *flags, out=out, **changes)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (folder / out).iterdir()) == OUTPUTS
    assert list((folder / "tmp").iterdir()) == []
    return json.loads((folder / out / "poses.json").read_text())  # type: ignore[no-any-return]


def fail_poses(folder: Path, *flags: str, **changes: str) -> str:
    """Run the program, which must fail cleanly; returns its message."""
    result = call_poses(folder, *flags, **changes)
    assert result.returncode == 1, result.stdout + result.stderr
    assert result.stderr.startswith("error: ") and "Traceback" not in result.stderr, result.stderr
    assert not any(folder.glob("out/*")) and not any(folder.glob("out/.*"))
    assert list((folder / "tmp").iterdir()) == []
    return result.stderr


def program(folder: Path, text: str) -> dict[str, str]:
    """An environment in which `colmap` is this shell script."""
    (folder / "bin").mkdir()
    (folder / "bin" / "colmap").write_text(text)
    (folder / "bin" / "colmap").chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


def hide_pycolmap(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of pycolmap fails, as that of 4.2 does where a library that it needs is missing."""
    (folder / "hide").mkdir()
    (folder / "hide" / "pycolmap.py").write_text(
        "try:\n    raise ImportError('libcurand.so.10: cannot open shared object')\n"
        "except ImportError as error:\n    raise RuntimeError('Cannot import the C++ backend') from error\n"
    )
    monkeypatch.syspath_prepend(folder / "hide")
    for name in ("pycolmap", "videomesh.poses.colmap_package"):
        monkeypatch.delitem(sys.modules, name, raising=False)
