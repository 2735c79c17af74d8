"""scripts/poses.py through its command line, on small frames of the demo video (one orbit of 96 frames)."""

import ast
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import poses_colmap
import pycolmap
import pytest
from colmap_model import read_cameras, read_images, read_points
from PIL import Image, ImageOps

import poses
from videomesh.errors import UserError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "poses.py"
OUTPUTS = ["cameras.bin", "images.bin", "images.tar", "points3D.bin", "poses.json"]
FOCAL = 302.2  # pixels at 320 x 240; the demo was rendered with 604.44 at 640 x 480

needs_colmap = pytest.mark.skipif(
    shutil.which("colmap") is None, reason="the program colmap is not on PATH; see tests/install_colmap.sh"
)
BACKENDS = ["pycolmap", pytest.param("colmap", marks=needs_colmap)]


@pytest.fixture(scope="session")
def orbit(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The 96 frames of the demo as JPEGs of 320 x 240 pixels, 3.75 degrees apart."""
    folder = tmp_path_factory.mktemp("orbit")
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


def mirrored(image: bytes) -> bytes:
    """Looks alike and cannot be matched with the original: another scene."""
    encoded = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(image))).save(encoded, "JPEG", quality=95)
    return encoded.getvalue()


def store(folder: Path, images: Sequence[bytes], source: str = "video") -> Path:
    """frames.tar and frames.json as the frames step writes them; returns the folder."""
    folder.mkdir(exist_ok=True)
    names = [f"{index:06d}.jpg" for index in range(len(images))]
    with tarfile.open(folder / "frames.tar", "w") as tar:
        for name, data in zip(names, images, strict=True):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    width, height = Image.open(io.BytesIO(images[0])).size if images else (0, 0)
    frames = [{"name": name, "video_frame": index} for index, name in enumerate(names)]
    content = {"source": source, "width": width, "height": height, "frames": frames}
    (folder / "frames.json").write_text(json.dumps(content))
    return folder


def command(folder: Path, *flags: str, out: str = "out") -> list[str]:
    """The program on folder/frames.tar, writing to folder/out; flags override the defaults for tests."""
    result = [sys.executable, str(SCRIPT), "--frames", str(folder / "frames.tar")]
    result += ["--frames-json", str(folder / "frames.json")]
    for flag, name in [
        ("--images", "images.tar"),
        ("--cameras", "cameras.bin"),
        ("--image-poses", "images.bin"),
        ("--points", "points3D.bin"),
        ("--summary", "poses.json"),
    ]:
        result += [flag, str(folder / out / name)]
    return [*result, "--threads", "2", "--max-features", "700", *flags]


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """Temporary files go to folder/tmp, so that a test can see what is left there."""
    (folder / "tmp").mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(folder / "tmp"), **changes}


def run_poses(folder: Path, *flags: str, out: str = "out", **changes: str) -> dict[str, Any]:
    """Run the program, which must succeed; returns poses.json."""
    result = subprocess.run(
        command(folder, *flags, out=out), capture_output=True, text=True, env=environment(folder, **changes)
    )
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (folder / out).iterdir()) == OUTPUTS
    assert list((folder / "tmp").iterdir()) == []
    return json.loads((folder / out / "poses.json").read_text())


def fail_poses(folder: Path, *flags: str, **changes: str) -> str:
    """Run the program, which must fail cleanly; returns its message."""
    result = subprocess.run(command(folder, *flags), capture_output=True, text=True, env=environment(folder, **changes))
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


def without_pycolmap(folder: Path) -> dict[str, str]:
    (folder / "hide").mkdir()
    (folder / "hide" / "pycolmap.py").write_text("raise ImportError('libcurand.so.10: cannot open shared object')")
    return {"PYTHONPATH": str(folder / "hide")}


# What comes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_arc_gives_every_output(tmp_path: Path, orbit: list[bytes], backend: str) -> None:
    summary = run_poses(store(tmp_path, orbit[:32:2]), "--backend", backend)
    out = tmp_path / "out"

    assert summary["backend"].startswith(f"{backend} ") and summary["backend"].split()[1][0] in "34"
    assert (summary["frames"], summary["registered"], summary["registered_share"]) == (16, 16, 1.0)
    assert summary["unregistered"] == []
    assert 0.1 < summary["reprojection_error"] < 0.8
    points = read_points(out / "points3D.bin")
    assert summary["points"] == len(points.xyz) > 200
    observations = sum(map(len, points.image_ids))
    assert summary["track_length"] == pytest.approx(observations / len(points.xyz), abs=0.001)
    assert summary["points_per_image"] == pytest.approx(observations / 16, abs=0.1)
    (attempt,) = summary["attempts"]
    assert attempt["name"] == summary["attempt"] == "sequential"
    assert attempt["models"][0]["registered"] == 16 and attempt["models"][0]["points"] == summary["points"]
    assert attempt["seconds"] > 0

    (camera,) = read_cameras(out / "cameras.bin")
    assert camera.model == "PINHOLE"
    # COLMAP 3.8 is not deterministic: ten runs lay within 1 %, one of them on another machine at 3.6 %.
    assert camera.params[:2] == pytest.approx(FOCAL, rel=0.06)
    with tarfile.open(out / "images.tar") as tar:
        assert tar.getnames() == [f"{index:06d}.jpg" for index in range(16)]
        for member in tar:
            assert Image.open(tar.extractfile(member)).size == (camera.width, camera.height)
    images = read_images(out / "images.bin")
    assert [image.name for image in images] == [f"{index:06d}.jpg" for index in range(16)]
    # The frames lie 7.5 degrees apart on a circle: equal steps, and a turn of 112 degrees from first to last.
    centers = np.array([image.camera_to_world[:3, 3] for image in images])
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    assert steps.max() < 1.3 * steps.min()
    turn = images[0].world_to_camera[:3, :3] @ images[15].camera_to_world[:3, :3]
    assert 100 < np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 125


def test_the_same_frames_give_the_same_poses(tmp_path: Path, orbit: list[bytes]) -> None:
    """pycolmap with one thread: to the byte. More may differ on a busy machine, COLMAP 3.8 always may."""
    store(tmp_path, orbit[:24:2])
    for out in ("first", "second"):
        run_poses(tmp_path, "--backend", "pycolmap", "--seed", "3", "--threads", "1", out=out)
    for name in OUTPUTS[:-1]:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_the_end_of_an_orbit_is_matched_with_its_start(tmp_path: Path, orbit: list[bytes]) -> None:
    """Two arcs that touch only where the last frame meets the first: no neighbours in the list connect them."""
    arc = orbit[:48:2]
    summary = run_poses(store(tmp_path, arc[12:] + arc[:12]))
    assert (summary["registered"], summary["attempt"]) == (24, "sequential")


# The largest model, and the ladder -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_several_models_the_one_with_most_frames_is_used(tmp_path: Path, orbit: list[bytes], backend: str) -> None:
    """COLMAP begins with the arc that has the denser frames, which are fewer: its model is number 0."""
    store(tmp_path, orbit[:12] + [mirrored(image) for image in orbit[:32:2]])
    summary = run_poses(tmp_path, "--backend", backend, "--min-registered", "0.5")
    assert [model["registered"] for model in summary["attempts"][0]["models"]] == [16, 12]
    assert summary["registered"] == 16
    assert summary["unregistered"] == [f"{index:06d}.jpg" for index in range(12)]
    assert [image.name for image in read_images(tmp_path / "out" / "images.bin")] == [
        f"{index:06d}.jpg" for index in range(12, 28)
    ]


def test_wider_matching_saves_a_video_that_jumps(tmp_path: Path, orbit: list[bytes]) -> None:
    """Frames in an order in which neighbours in space are at least 11 places apart."""
    summary = run_poses(store(tmp_path, [orbit[2 * (35 * place % 48)] for place in range(48)]))
    first, second = summary["attempts"]
    assert (first["name"], second["name"], summary["attempt"]) == ("sequential", "wider", "wider")
    assert not first["models"] or first["models"][0]["registered"] < 0.8 * 48
    assert summary["registered"] >= 0.8 * 48
    assert first["pairs"] < second["pairs"] < 48 * 47 / 2


def test_photos_have_no_order_and_are_matched_exhaustively(tmp_path: Path, orbit: list[bytes]) -> None:
    images = orbit[:32:2]
    random.Random(0).shuffle(images)
    summary = run_poses(store(tmp_path, images, source="photos"))
    assert summary["registered"] == 16
    assert [(attempt["name"], attempt["pairs"]) for attempt in summary["attempts"]] == [("exhaustive", 120)]


def test_the_ladder_is_climbed_to_its_end_and_the_best_attempt_wins(tmp_path: Path, orbit: list[bytes]) -> None:
    """One frame shows something else: no effort can register it, and the names tell which."""
    images = orbit[:32:2]
    images[5] = noise(0)
    summary = run_poses(store(tmp_path, images), "--min-registered", "1")
    # With 16 frames the wider rung has matched all pairs, and exhaustive matching would add none.
    assert [attempt["name"] for attempt in summary["attempts"]] == ["sequential", "wider", "lower threshold"]
    assert summary["attempt"] == "sequential"
    assert (summary["registered"], summary["registered_share"]) == (15, 0.9375)
    assert summary["unregistered"] == ["000005.jpg"]


def test_rungs_of_the_ladder() -> None:
    def names(count: int, ordered: bool) -> list[str]:
        return [rung.name for rung in poses.ladder(count, ordered)]

    assert names(300, True) == ["sequential", "wider", "exhaustive", "lower threshold"]
    assert names(301, True) == ["sequential", "wider", "lower threshold"]
    assert names(300, False) == ["exhaustive", "lower threshold"]
    assert names(301, False) == ["sequential", "wider", "lower threshold"]
    sequential, wider, exhaustive, _ = (rung.pairs for rung in poses.ladder(150, True))
    assert {(0, 1), (0, 6), (0, 12), (0, 18), (0, 149), (0, 132), (0, 144)} <= sequential
    assert not {(0, 7), (0, 20), (0, 60)} & sequential
    keys = np.linspace(0, 149, 30).round().astype(int).tolist()
    assert set(combinations(keys, 2)) <= sequential & wider
    assert {(0, 20), (0, 40), (0, 60), (0, 130), (0, 90)} <= wider
    assert sequential < wider < exhaustive
    assert exhaustive == set(combinations(range(150), 2))
    assert all(i < j for i, j in sequential | wider)


@pytest.mark.parametrize("count", range(3, 60))
def test_few_frames_give_no_impossible_pairs(count: int) -> None:
    for rung in poses.ladder(count, True):
        assert rung.pairs <= set(combinations(range(count), 2))


# COLMAP's program ------------------------------------------------------------------------------------------------


@needs_colmap
def test_auto_takes_the_program_where_pycolmap_does_not_load(tmp_path: Path, orbit: list[bytes]) -> None:
    summary = run_poses(store(tmp_path, orbit[:20:2]), **without_pycolmap(tmp_path))
    assert summary["backend"].startswith("colmap ")


def test_auto_takes_pycolmap_where_it_is_installed(tmp_path: Path, orbit: list[bytes]) -> None:
    summary = run_poses(store(tmp_path, orbit[:20:2]))
    assert summary["backend"] == f"pycolmap {pycolmap.__version__}"


@pytest.fixture
def colmap4(tmp_path: Path) -> dict[str, str]:
    """An environment in which `colmap` is the stand-in for 4.x."""
    stand_in = Path(__file__).with_name("colmap4.py")
    return {
        **program(tmp_path, f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n'),
        "COLMAP_CALLS": str(tmp_path / "calls"),
    }


def calls(folder: Path) -> list[list[str]]:
    """Calls of the stand-in other than for help, with --name value joined to name=value."""
    lines = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return [
        [line[0], *(f"{name[2:]}={value}" for name, value in zip(line[1::2], line[2::2], strict=True))]
        for line in lines
        if line[-1] != "-h"
    ]


def test_colmap_4_gets_its_own_option_names(tmp_path: Path, orbit: list[bytes], colmap4: Mapping[str, str]) -> None:
    images = orbit[:32:2]
    images[5] = noise(0)
    store(tmp_path, images)
    flags = ("--backend", "colmap", "--min-registered", "1", "--seed", "7", "--max-image-size", "300")
    summary = run_poses(tmp_path, *flags, **colmap4)
    assert summary["backend"] == "colmap 4.1.1"
    assert summary["registered"] == 15

    steps = calls(tmp_path)
    assert [step[0] for step in steps] == [
        "feature_extractor",
        "matches_importer",
        "mapper",
        "matches_importer",
        "mapper",
        "mapper",
        "image_undistorter",
    ]
    assert {
        "ImageReader.camera_model=SIMPLE_RADIAL",
        "ImageReader.single_camera=1",
        "FeatureExtraction.use_gpu=0",
        "FeatureExtraction.num_threads=2",
        "FeatureExtraction.max_image_size=300",
        "SiftExtraction.max_num_features=700",
        "SiftExtraction.first_octave=0",
        "default_random_seed=7",
    } <= set(steps[0])
    assert {"FeatureMatching.use_gpu=0", "FeatureMatching.num_threads=2", "TwoViewGeometry.random_seed=7"} <= set(
        steps[1]
    )
    assert "Mapper.ba_global_ignore_redundant_points3D=1" in steps[2]
    assert {"Mapper.ba_global_frames_ratio=1.4", "Mapper.random_seed=7", "Mapper.num_threads=2"} <= set(steps[2])
    assert not any("min_num_inliers" in option for option in steps[4])
    assert {"Mapper.init_min_num_inliers=50", "Mapper.abs_pose_min_num_inliers=15"} <= set(steps[5])


@needs_colmap
def test_the_installed_colmap_knows_every_option_it_is_given(tmp_path: Path, orbit: list[bytes]) -> None:
    """Options that no name in the help stands for are left out without a word, so they are counted here."""
    real = shutil.which("colmap")
    logged = program(tmp_path, f'#!/bin/sh\n[ "$2" = -h ] || echo "$@" >> {tmp_path}/calls\nexec {real} "$@"\n')
    run_poses(store(tmp_path, orbit[:20:2]), "--backend", "colmap", **logged)
    _, extract, match, mapper, _ = (tmp_path / "calls").read_text().splitlines()
    for name in ("max_image_size", "max_num_features", "first_octave", "use_gpu", "num_threads", "random_seed"):
        assert f"{name} " in extract
    for name in ("use_gpu", "num_threads", "random_seed"):
        assert f"{name} " in match
    assert "Mapper.ba_global_images_ratio 1.4 " in mapper or "Mapper.ba_global_frames_ratio 1.4 " in mapper


def test_a_gpu_that_fails_is_done_without(
    tmp_path: Path,
    orbit: list[bytes],
    colmap4: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    banner = "COLMAP 4.1.1 (Commit 01234567 on 2026-01-01 with CUDA)"
    for name, value in {**colmap4, "COLMAP_BANNER": banner}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(poses_colmap, "has_gpu", lambda: True)
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.jpg").write_bytes(orbit[0])
    backend = poses_colmap.Colmap(tmp_path, threads=2, seed=0)
    backend.extract(max_image_size=1600, max_features=700)
    assert ["FeatureExtraction.use_gpu=1" in step for step in calls(tmp_path)] == [True, False]
    backend.match([("0.jpg", "0.jpg")])
    assert "FeatureMatching.use_gpu=0" in calls(tmp_path)[-1]
    assert "no kernel image is available" in capfd.readouterr().err


# Bad inputs ------------------------------------------------------------------------------------------------------


def without_name(folder: Path) -> None:
    (folder / "frames.json").write_text('{"source": "video", "width": 1, "height": 1, "frames": [{"index": 3}]}')


def with_frames(folder: Path, change: Callable[[list], list]) -> None:
    content = json.loads((folder / "frames.json").read_text())
    content["frames"] = change(content["frames"])
    (folder / "frames.json").write_text(json.dumps(content))


def cut(path: Path, share: float) -> None:
    with open(path, "r+b") as file:
        file.truncate(int(path.stat().st_size * share))


def replaced(images: list[bytes], data: bytes) -> list[bytes]:
    return [*images[:3], data, *images[4:]]


BAD_INPUTS: dict[str, tuple[Callable[[Path, list[bytes]], object], list[str]]] = {
    "no tar": (lambda folder, _: (folder / "frames.tar").unlink(), ["frames.tar: no such file", "frames step"]),
    "no json": (lambda folder, _: (folder / "frames.json").unlink(), ["frames.json: no such file"]),
    "broken json": (lambda folder, _: cut(folder / "frames.json", 0.5), ["frames.json: not valid JSON"]),
    "other json": (lambda folder, _: (folder / "frames.json").write_text("[1]"), ["not written by the frames step"]),
    "json without names": (lambda folder, _: without_name(folder), ["frames.json", "'name'", "frames step"]),
    "escaping name": (
        lambda folder, _: with_frames(folder, lambda frames: [*frames, {"name": "../evil.jpg"}]),
        ["../evil.jpg", "expected digits and .jpg"],
    ),
    "no frames": (lambda folder, _: store(folder, []), ["frames.json: 0 frames", "at least 3"]),
    "two frames": (lambda folder, images: store(folder, images[:2]), ["2 frames", "at least 3"]),
    "tar cut short": (lambda folder, _: cut(folder / "frames.tar", 0.5), ["frames.tar", "cut short", "again"]),
    "not a tar": (lambda folder, _: (folder / "frames.tar").write_text("x" * 2000), ["frames.tar", "not a tar"]),
    "empty tar": (lambda folder, _: (folder / "frames.tar").write_text(""), ["frames.tar", "not a tar"]),
    "frame not in the tar": (
        lambda folder, _: with_frames(folder, lambda frames: [*frames, {"name": "000099.jpg"}]),
        ["000099.jpg", "is not in it", "again"],
    ),
    "no image": (
        lambda folder, images: store(folder, replaced(images, b"<html>")),
        ["frames.tar: 000003.jpg is not a whole image", "again"],
    ),
    "image cut short": (
        lambda folder, images: store(folder, replaced(images, images[3][:-500])),
        ["frames.tar: 000003.jpg is not a whole image", "truncated"],
    ),
    "mixed sizes": (
        lambda folder, images: store(folder, replaced(images, noise(0, (240, 320)))),
        ["000003.jpg has 240x320 pixels", "320x240", "one camera", "one scene of each"],
    ),
    "nothing matches": (
        lambda folder, images: store(folder, [noise(seed) for seed in range(6)]),
        ["frames.tar: no two of the 6 frames match", "blur", "texture", "jumps"],
    ),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_frames(tmp_path: Path, orbit: list[bytes], case: str) -> None:
    spoil, parts = BAD_INPUTS[case]
    spoil(store(tmp_path, orbit[:12:2]), orbit[:12:2])
    message = fail_poses(tmp_path)
    for part in parts:
        assert part in message


@needs_colmap
@pytest.mark.parametrize("image", ["noise", "plain"])
def test_nothing_matches_for_the_program_either(tmp_path: Path, image: str) -> None:
    plain = io.BytesIO()
    Image.new("RGB", (320, 240), "gray").save(plain, "JPEG")
    store(tmp_path, [noise(seed) if image == "noise" else plain.getvalue() for seed in range(6)])
    assert "no two of the 6 frames match" in fail_poses(tmp_path, "--backend", "colmap")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--min-registered", "1.5"),
        ("--min-registered", "nan"),
        ("--max-features", "10"),
        ("--max-image-size", "0"),
        ("--seed", "-1"),
        ("--threads", "0"),
    ],
)
def test_numbers_out_of_range(tmp_path: Path, orbit: list[bytes], flag: str, value: str) -> None:
    message = fail_poses(store(tmp_path, orbit[:6]), flag, value)
    assert f"{flag} {value}" in message and "allowed: " in message


def test_no_backend_at_all(tmp_path: Path, orbit: list[bytes]) -> None:
    hidden = without_pycolmap(tmp_path)
    message = fail_poses(store(tmp_path, orbit[:6]), PATH=str(tmp_path), **hidden)
    assert "pip install pycolmap" in message and "apt install colmap" in message
    message = fail_poses(tmp_path, "--backend", "pycolmap", **hidden)
    assert "libcurand.so.10" in message and "pip install pycolmap" in message and "--backend colmap" in message


BANNER = 'if [ "$*" = -h ]; then echo "COLMAP 3.8 (Commit Unknown without CUDA)"; exit; fi\n'
HELP = 'if [ "$2" = -h ]; then exit; fi\n'


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("echo 'usage: something else'", ["names no version", "usage: something else"]),
        (
            f"{BANNER}{HELP}echo reading; echo disk is full >&2; exit 3",
            ["feature_extractor`", "code 3", "disk is full"],
        ),
        (f"{BANNER}{HELP}kill -9 $$", ["feature_extractor` was killed by signal 9", "memory", "fewer frames"]),
    ],
)
def test_a_program_that_fails(tmp_path: Path, orbit: list[bytes], script: str, parts: list[str]) -> None:
    message = fail_poses(
        store(tmp_path, orbit[:6]), "--backend", "colmap", **program(tmp_path, f"#!/bin/sh\n{script}\n")
    )
    for part in parts:
        assert part in message


# Leaving early ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_colmap_and_leaves_nothing(
    tmp_path: Path, orbit: list[bytes], number: signal.Signals
) -> None:
    stub = f"#!/bin/sh\n{BANNER}{HELP}echo $$ > {tmp_path}/pid\nexec sleep 60\n"
    changes = program(tmp_path, stub)
    process = start(store(tmp_path, orbit[:6]), number, "--backend", "colmap", **changes)
    wait_for((tmp_path / "pid").exists)
    child = int((tmp_path / "pid").read_text())
    process.send_signal(number)
    assert process.wait(10) == 130
    wait_for(lambda: not Path("/proc", str(child)).exists())
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_with_pycolmap_leaves_nothing(tmp_path: Path, orbit: list[bytes], number: signal.Signals) -> None:
    process = start(store(tmp_path, orbit * 2), number, "--backend", "pycolmap")
    wait_for(lambda: any((tmp_path / "tmp").glob("poses-*/database.db")))
    process.send_signal(number)
    assert process.wait(30) == 130
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def start(folder: Path, number: signal.Signals, *flags: str, **changes: str) -> subprocess.Popen:
    # A test runner in the background ignores SIGINT, and its children would, too.
    return subprocess.Popen(
        command(folder, *flags),
        env=environment(folder, **changes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# The camera ------------------------------------------------------------------------------------------------------


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
        poses.check_camera(Path("frames.tar"), folder, ["000000.jpg"])
    assert part in str(caught.value)


def test_a_good_camera(tmp_path: Path) -> None:
    poses.check_camera(Path("frames.tar"), undistorted(tmp_path, [300, 301, 161, 119]), ["000000.jpg"])


@pytest.mark.parametrize("name", ["poses.py", "poses_colmap.py", "colmap_model.py", "stage.py"])
def test_the_steps_in_colmaps_image_are_python_3_8(name: str) -> None:
    ast.parse((ROOT / "scripts" / name).read_text(), feature_version=(3, 8))


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
    poses.pack_images(tmp_path, ["000003.jpg"], tmp_path / "images.tar")
    (image,) = poses.inspect_images(tmp_path / "images.tar", (64, 48))
    assert image["name"] == "000003.jpg" and bool(image["flaw"]) == bool(words)
    for word in words:
        assert word in image["flaw"]
