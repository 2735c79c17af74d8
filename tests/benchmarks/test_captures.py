"""Rendered captures: the truth is what the pictures show, and the measure of the truth's own surface is nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import evaluate_mesh
import render
from paths import look_at
from programs import call_main
from scenes import CAPTURES, TURNTABLE
from shapes import Part, Scene, Thing, subject_mask, to_shapes
from tracing import BALL, BOX, FAR, depth_map, distances
from truth import MARGIN, count_views, describe, sample_surface
from videomesh.errors import UserError
from videomesh.frames.decoding import find_ffmpeg

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = ["--frames", "4", "--width", "64", "--height", "48"]


def run_render(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["render.py", *map(str, words)])
    render.main()


def film(monkeypatch, folder, *words):
    """The pictures (4, 48, 64, 3) of a small capture without losses."""
    run_render(monkeypatch, "toy", "--output", folder, *SMALL, "--samples", 1, "--points", 300, "--bitrate", 0, *words)
    return decode(folder / "video.mp4")


def decode(video):
    command = [find_ffmpeg(), "-loglevel", "error", "-i", video, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, 48, 64, 3).astype(float)


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """A small capture of the plain figure on its table."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        run_render(patch, "plain", "--output", folder, *SMALL, "--points", 30_000)
    with np.load(folder / "truth.npz") as truth:
        return folder, dict(truth)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return film(patch, tmp_path_factory.mktemp("usual"))


# -------------------------------------------------------------------------------------------------------- the truth


def test_points_lie_where_the_picture_shows_them(capture):
    _, truth = capture
    scene = CAPTURES["plain"]().scene
    shapes = to_shapes(scene)
    seen_by = np.unpackbits(truth["seen_by"], axis=1)[:, : len(truth["camera_to_world"])].astype(bool)
    assert np.abs(distances(to_shapes(scene, subject_only=True), truth["surface"].astype(float))).max() < 1e-5
    for camera, seen in zip(truth["camera_to_world"], seen_by.T, strict=True):
        assert seen.sum() > 1000
        x, y, z = ((truth["visible"] - camera[:3, 3]) @ camera[:3, :3]).T
        depth = depth_map(shapes, camera, 8.0 * truth["focal"], 8 * 64, 8 * 48)
        column = np.floor(8 * (32 + truth["focal"] * x / -z)).astype(int)
        row = np.floor(8 * (24 - truth["focal"] * y / -z)).astype(int)
        inside = (column >= 0) & (column < 8 * 64) & (row >= 0) & (row < 8 * 48)
        assert inside[seen].all()
        behind = -z[inside] - depth[row[inside], column[inside]]
        assert np.quantile(np.abs(behind[seen[inside]]), 0.9) < 0.015
        hidden = behind[~seen[inside]]
        assert len(hidden) > 100 and (hidden > -0.015).mean() > 0.93  # the rest lies on the outline


def test_what_counts_is_above_the_table(capture):
    _, truth = capture
    assert truth["visible"][:, 2].min() > MARGIN > truth["surface"][:, 2].min()
    assert np.linalg.norm(truth["normals"], axis=1) == pytest.approx(np.ones(len(truth["normals"])))
    assert truth["distance"] == pytest.approx(np.full(4, 2.3), rel=0.2)


def test_a_surface_is_sampled_evenly():
    scene = Scene([Thing([Part(BALL, (0.5, 0.5, 0.5), (1, 2, 3))])])
    points, spacing = sample_surface(scene, 40_000)
    assert np.linalg.norm(points - [1, 2, 3], axis=1) == pytest.approx(np.full(40_000, 0.5), abs=1e-6)
    assert spacing**2 * 40_000 == pytest.approx(np.pi, rel=0.02)  # the area
    shares = [(points[:, axis] > centre + 0.25).mean() for axis, centre in enumerate((1, 2, 3))]
    assert shares == pytest.approx([0.25] * 3, abs=0.01)  # Archimedes: a slice's area is its height's share


def test_what_is_hidden_is_not_seen():
    ball, board = Part(BALL, (0.3, 0.3, 0.3), (0, 0, 0)), Part(BOX, (0.02, 1, 1), (1, 0.99, 0))
    scene = Scene([Thing([ball]), Thing([board], subject=False)])
    points = np.array([[0.3 * np.cos(a), 0.3 * np.sin(a), 0] for a in (0.3, -0.3, np.pi)])
    camera = look_at(np.array([[4.0, 0, 0]]), np.zeros((1, 3)), np.zeros(1))
    seen = count_views(scene, points, points / 0.3, camera, 100.0, 64, 48)
    assert seen[:, 0].tolist() == [False, True, False]  # behind the board; free; on the far side
    mask = subject_mask(scene, camera[0], 100.0, 64, 48)
    assert mask[:, :31].any() and not mask[:, 33:].any()  # y grows to the right of this camera


@pytest.mark.parametrize("name", CAPTURES)
def test_every_scene_shows_its_subject(name):
    scene, path = CAPTURES[name]()
    cameras = path.cameras((np.arange(16) + 0.5) * 2.5, 40)
    truth = describe(scene, cameras, path.focal * 64, 64, 48, 6000)
    views = np.unpackbits(truth["seen_by"], axis=1).sum(1)
    assert len(views) > 0.4 * 2000
    assert (views >= 3).mean() > (0.3 if name in ("big", "room") else 0.7)
    for camera in cameras:
        depth = depth_map(to_shapes(scene), camera, path.focal * 32, 32, 24)
        assert depth.min() > 0.3 and depth.max() < FAR  # not inside anything, and no holes


# ------------------------------------------------------------------------------------------------------ the measure


def evaluate(capture, tmp_path, shift, *words):
    """The measures of small triangles about the true points, moved along the normals, with the true cameras."""
    folder, truth = capture
    normals = truth["normals"].astype(float)
    across = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.7, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    across *= float(truth["spacing"]) / 2 / np.linalg.norm(across, axis=1, keepdims=True)
    third = np.cross(normals, across)
    centres = truth["surface"] + shift * normals
    corners = np.stack([centres + across, centres - across / 2 + third, centres - across / 2 - third], axis=1)
    trimesh.Trimesh(corners.reshape(-1, 3), np.arange(3 * len(centres)).reshape(-1, 3), process=False).export(
        tmp_path / "mesh.ply"
    )
    frames = [{"transform_matrix": c.tolist(), "video_frame": k} for k, c in enumerate(truth["camera_to_world"])]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames, "w": 64, "h": 48}))
    files = {"mesh": tmp_path / "mesh.ply", "transforms": tmp_path / "transforms.json", "truth": folder / "truth.npz"}
    done = measure(*(word for name, file in files.items() for word in (f"--{name}", file)), *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def measure(*words):
    return call_main(evaluate_mesh, ["evaluate_mesh.py", *map(str, words)])


def test_the_true_surface_has_no_error(capture, tmp_path):
    result = evaluate(capture, tmp_path, 0)
    assert result["chamfer"] < 2e-4 and result["seen_chamfer"] < 2e-4
    assert result["fscore_1pct"] > 0.999 and result["seen_f_1px"] > 0.999
    assert result["camera_error"] < 1e-6
    views = np.unpackbits(capture[1]["seen_by"], axis=1).sum(1)
    assert result["seen_share"] == pytest.approx((views >= 3).mean(), abs=1e-5)


def test_a_thicker_object_is_as_far_away_as_it_is(capture, tmp_path):
    length, pixel = float(capture[1]["object_length"]), float(np.median(capture[1]["distance"]) / capture[1]["focal"])
    region = {"center": [0, 0, 0.5], "radius": 9.0}
    (tmp_path / "region.json").write_text(json.dumps(region))
    result = evaluate(capture, tmp_path, 0.02, "--region", tmp_path / "region.json")
    assert result["accuracy"] == pytest.approx(0.02 / length, rel=0.05)
    assert result["chamfer_px"] == pytest.approx(0.02 / pixel, rel=0.05)
    assert result["pixel"] == pytest.approx(pixel / length, rel=1e-3)
    assert result["subject_inside"] == 1
    assert result["radius_ratio"] == pytest.approx(
        9 / trimesh.nsphere.minimum_nsphere(capture[1]["visible"])[1], rel=2e-3
    )


def test_a_region_that_cuts(capture, tmp_path):
    (tmp_path / "region.json").write_text(json.dumps({"center": [0, 0, 0], "radius": 0.5}))
    result = evaluate(capture, tmp_path, 0, "--region", tmp_path / "region.json")
    visible = capture[1]["visible"]
    assert result["subject_inside"] == pytest.approx((np.linalg.norm(visible, axis=1) < 0.5).mean(), abs=1e-4)
    assert 0 < result["subject_inside"] < 1 and result["radius_ratio"] < 1


def test_a_truth_that_is_none(capture, tmp_path):
    (tmp_path / "truth.npz").write_text("no archive")
    done = measure("--mesh", "mesh.ply", "--transforms", "transforms.json", "--truth", tmp_path / "truth.npz")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "render.py" in done.stderr


# ----------------------------------------------------------------------------------------------------- the switches


def test_the_same_twice(monkeypatch, tmp_path, usual):
    assert usual.shape == (4, 48, 64, 3)
    assert 90 < usual.mean() < 165 and usual.std() > 25
    assert np.array_equal(usual, film(monkeypatch, tmp_path))


@pytest.mark.parametrize(
    ("words", "least"),
    [
        (["--rolling-shutter", "400"], 2),
        (["--motion-blur", "600", "--samples", "6"], 2),
        (["--drift"], 2),
        (["--noise"], 1),
        (["--breathing", "3"], 2),
        (["--phone"], 3),
        (["--arc", "90"], 5),
        (["--turntable", "plain"], 5),
        (["--turntable", "textured"], 5),
        (["--bitrate", "0.02"], 1),
    ],
)
def test_a_switch_changes_the_picture(monkeypatch, tmp_path, usual, words, least):
    assert np.abs(film(monkeypatch, tmp_path, *words) - usual).mean() > least


def test_a_rolling_shutter_spares_the_middle_row(monkeypatch, tmp_path, usual):
    change = np.abs(film(monkeypatch, tmp_path, "--rolling-shutter", 400) - usual).mean((0, 2, 3))
    assert change[22:26].mean() < change[:4].mean() / 3 and change[22:26].mean() < change[-4:].mean() / 3


def test_on_a_turntable_the_background_stands_still(monkeypatch, tmp_path):
    pictures = film(monkeypatch, tmp_path, "--turntable", "textured", "--masks")
    masks = np.array([np.asarray(Image.open(tmp_path / "masks" / f"{number:06d}.png")) for number in range(4)])
    assert set(np.unique(masks)) == {0, 255}
    movement, subject = np.ptp(pictures, axis=0).mean(-1), masks.max(0) == 255
    assert movement[:12][~subject[:12]].mean() < 3 < 20 < movement[subject].mean()
    with np.load(tmp_path / "truth.npz") as truth:  # in the object's axes, so that the camera goes round it
        assert np.ptp(truth["camera_to_world"][:, :2, 3], axis=0).min() > 2
        assert np.ptp(truth["camera_to_world"][:, 2, 3]) < 1e-9


# ------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toyy"], "Did you mean toy?"),
        (["toy", "--width", "63"], "--width 63: H.264 needs an even number"),
        (["toy", "--frames", "1"], "1 is too small; it must be 2 or more"),
        (["toy", "--arc", "400"], "--arc 400: must be above 0 and at most 360 degrees"),
        (["toy", "--noise", "-1"], "--noise -1: must be 0 or more"),
        (["toy", "--fps", "0"], "--fps 0: must be above 0"),
        (["room", "--turntable", "plain"], "room does not fit on one; take " + ", ".join(TURNTABLE)),
    ],
)
def test_a_wrong_word_is_one_line(monkeypatch, tmp_path, words, message):
    with pytest.raises(UserError) as caught:
        run_render(monkeypatch, *words, "--output", tmp_path / "new")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_the_program_says_what_it_needs():
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "captures" / "render.py", "toy"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "error: the following arguments are required: --output; --help shows all options\n"
