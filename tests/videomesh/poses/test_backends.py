"""Which COLMAP runs, what its program is told, and what is said where it fails."""

import io
import json
import os
import shutil
import sys
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from unittest import mock

import pycolmap
import pytest
from PIL import Image

from checkout import ROOT
from poses_program import (
    BANNER,
    HELP,
    call_poses,
    fail_poses,
    hide_pycolmap,
    needs_colmap,
    noise,
    program,
    run_poses,
    store,
)
from videomesh.poses import colmap_program
from videomesh.poses.database import read_ids
from videomesh.poses.frames import Given, Group
from videomesh.poses.mapping import LOWER_THRESHOLD, read_model


@needs_colmap
def test_auto_takes_the_program_where_pycolmap_does_not_load(
    tmp_path: Path, orbit: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_pycolmap(tmp_path, monkeypatch)
    run = call_poses(store(tmp_path, orbit[:20:2]))
    assert run.returncode == 0, run.stderr
    assert "cannot be used (libcurand.so.10: cannot open shared object); COLMAP's program takes its place" in run.stdout
    assert json.loads((tmp_path / "out" / "poses.json").read_text())["backend"].startswith("colmap ")


def test_auto_takes_pycolmap_where_it_is_installed(tmp_path: Path, orbit: list[bytes]) -> None:
    summary = run_poses(store(tmp_path, orbit[:20:2]))
    assert summary["backend"] == f"pycolmap {pycolmap.__version__}"


@pytest.fixture
def colmap4(tmp_path: Path) -> dict[str, str]:
    """An environment in which `colmap` is the stand-in for 4.x."""
    stand_in = ROOT / "tests" / "helpers" / "colmap4.py"
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
    assert {"Mapper.ba_global_frames_ratio=2.0", "Mapper.random_seed=7", "Mapper.num_threads=2"} <= set(steps[2])
    assert not any("min_num_inliers" in option for option in steps[4])
    assert {"Mapper.init_min_num_inliers=50", "Mapper.abs_pose_min_num_inliers=15"} <= set(steps[5])


def test_colmap_4_gets_cameras_masks_and_poses(tmp_path: Path, orbit: list[bytes], colmap4: Mapping[str, str]) -> None:
    """The steps that only such captures need. What is right is tested with the other backends."""
    images = orbit[:24:2]
    (tmp_path / "frames").mkdir()
    names = [f"{index:06d}.jpg" for index in range(len(images))]
    for name, data in zip(names, images, strict=True):
        (tmp_path / "frames" / name).write_bytes(data)
    (tmp_path / "masks").mkdir()
    for name in names:
        Image.new("L", (320, 240), 0 if name == names[-1] else 255).save(tmp_path / "masks" / f"{name}.png")
    given = Given("PINHOLE", [302.0, 302.0, 160.0, 120.0])
    with mock.patch.dict(os.environ, colmap4):
        backend = colmap_program.Colmap(tmp_path, threads=2, seed=0, device="auto")
        backend.extract(
            [Group(names[:5], (320, 240), given), Group(names[5:], (320, 240), given)], 1600, 700, tmp_path / "masks"
        )
        backend.match(list(combinations(names, 2)))
        (tmp_path / "models").mkdir()
        backend.map(tmp_path / "models", LOWER_THRESHOLD)
        for step in ("triangulated", "adjusted"):
            (tmp_path / step).mkdir()
        limits = {"filter_max_reproj_error": 8.0, "tri_complete_max_reproj_error": 8.0}
        backend.triangulate(tmp_path / "models" / "0", tmp_path / "triangulated", limits)
        backend.adjust(tmp_path / "triangulated", tmp_path / "adjusted")
    first, second, *_, triangulator, adjuster = calls(tmp_path)
    for step in (first, second):
        assert f"ImageReader.mask_path={tmp_path}/masks" in step and "SiftExtraction.first_octave=-1" in step
        assert (
            "ImageReader.camera_params=302.0,302.0,160.0,120.0" in step and "ImageReader.camera_model=PINHOLE" in step
        )
    assert {"Mapper.filter_max_reproj_error=8.0", "Mapper.tri_complete_max_reproj_error=8.0"} <= set(triangulator)
    assert adjuster[0] == "bundle_adjuster"
    model = read_model(tmp_path / "adjusted")
    assert len(model.names) == 11 and model.reprojection_error < 1
    assert len({camera for _, camera in read_ids(tmp_path / "database.db").values()}) == 2


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
    assert "Mapper.ba_global_images_ratio 2.0 " in mapper or "Mapper.ba_global_frames_ratio 2.0 " in mapper


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
    monkeypatch.setattr(colmap_program, "count_gpus", lambda: 1)
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.jpg").write_bytes(orbit[0])
    backend = colmap_program.Colmap(tmp_path, threads=2, seed=0, device="auto")
    backend.extract([Group(["0.jpg"], (320, 240), None)], 1600, 700, None)
    assert ["FeatureExtraction.use_gpu=1" in step for step in calls(tmp_path)] == [True, False]
    backend.match([("0.jpg", "0.jpg")])
    assert "FeatureMatching.use_gpu=0" in calls(tmp_path)[-1]
    assert "no kernel image is available" in capfd.readouterr().err


@needs_colmap
@pytest.mark.parametrize("image", ["noise", "plain"])
def test_nothing_matches_for_the_program_either(tmp_path: Path, image: str) -> None:
    plain = io.BytesIO()
    Image.new("RGB", (320, 240), "gray").save(plain, "JPEG")
    store(tmp_path, [noise(seed) if image == "noise" else plain.getvalue() for seed in range(6)])
    assert "no two of the 6 frames match" in fail_poses(tmp_path, "--backend", "colmap")


def test_no_backend_at_all(tmp_path: Path, orbit: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    hide_pycolmap(tmp_path, monkeypatch)
    message = fail_poses(store(tmp_path, orbit[:6]), PATH=str(tmp_path))
    assert "pip install pycolmap" in message and "apt install colmap" in message
    message = fail_poses(tmp_path, "--backend", "pycolmap")
    assert (
        "libcurand.so.10" in message and "pip install pycolmap" in message and "set poses.backend to colmap" in message
    )


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
