"""The benchmark's measure: nothing for a mesh of the truth itself in any frame, the known distance for a moved one."""

import json

import numpy as np
import pytest
import trimesh

import evaluate_mesh
from programs import call_main

LENGTH, SCALE = 2.0, 10_000


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


@pytest.fixture(scope="module")
def truth():
    """A ball above a table, filmed from 20 places, and what the truth's file holds of it."""
    generator = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    ball.apply_translation([0, 0, 0.7])
    surface = np.concatenate([trimesh.sample.sample_surface(ball, 60_000, seed=1)[0], ball.vertices])
    cameras = np.tile(np.eye(4), (20, 1, 1))
    cameras[:, :3, 3] = generator.normal(size=(20, 3)) * 3 + [0, 0, 4]
    stored = {"surface": np.round(surface * SCALE).astype("i2"), "visible": np.round(surface[::2] * SCALE).astype("i2")}
    facts = {
        "scale": SCALE,
        "object_length": LENGTH,
        "crop_center": [0, 0, 0.7],
        "crop_radius": 1.0,
        "table_z": 0.0,
        "focal": 600.0,
    }
    return ball, {**stored, **facts, "camera_to_world": cameras}


def evaluate(folder, truth, mesh, **frame_keys):
    """The measures of a mesh given in the truth's frame, after both it and the cameras are put in another frame."""
    turn, scale, shift = rotation(7), 3.7, np.array([5.0, -2, 1])
    moved = mesh.copy()
    moved.vertices = scale * mesh.vertices @ turn.T + shift
    moved.export(folder / "mesh.ply")
    frames = []
    for index in range(0, 20, 2):
        pose = np.eye(4)
        pose[:3, 3] = scale * turn @ truth["camera_to_world"][index, :3, 3] + shift
        keys = {key: value(index) for key, value in frame_keys.items()}
        frames.append({"transform_matrix": pose.tolist(), "file_path": "images/000000.jpg", **keys})
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
    np.savez(folder / "truth.npz", **truth)
    names = {"--mesh": "mesh.ply", "--transforms": "transforms.json", "--truth": "truth.npz"}
    words = [str(word) for flag, name in names.items() for word in (flag, folder / name)]
    return call_main(evaluate_mesh, ["evaluate_mesh.py", *words])


@pytest.mark.parametrize(
    "frame_keys",
    [
        {"video_frame": lambda index: index},
        {"file_path": lambda index: f"images/{index:06d}.jpg"},
        {"file_path": lambda index: f"images/frame_{index + 1:04d}.png"},  # counts from 1
    ],
)
def test_a_mesh_of_the_truth_has_no_error(tmp_path, truth, frame_keys):
    ball, content = truth
    done = evaluate(tmp_path, content, ball, **frame_keys)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["chamfer"] < 0.003 and result["accuracy"] < 0.003 and result["completeness"] < 0.003
    assert result["fscore_1pct"] > 0.999
    assert result["camera_error"] < 1e-5
    assert (result["frames"], result["faces"]) == (10, len(ball.faces))


def test_a_larger_mesh_is_as_far_away_as_it_is(tmp_path, truth):
    ball, content = truth
    larger = ball.copy()
    larger.vertices = (ball.vertices - [0, 0, 0.7]) * 1.2 + [0, 0, 0.7]  # 0.1 outside: 0.05 object lengths
    result = json.loads(evaluate(tmp_path, content, larger, video_frame=lambda index: index).stdout)
    assert result["accuracy"] == pytest.approx(0.05, rel=0.02)
    assert result["completeness"] == pytest.approx(0.05, rel=0.02)
    assert result["fscore_1pct"] == 0


def test_table_and_surroundings_do_not_count(tmp_path, truth):
    ball, content = truth
    table = trimesh.creation.box(extents=[1.5, 1.5, 0.02])
    far = trimesh.creation.box(extents=[1, 1, 1])
    far.apply_translation([9, 0, 3])
    both = trimesh.util.concatenate([ball, table, far])
    result = json.loads(evaluate(tmp_path, content, both, video_frame=lambda index: index).stdout)
    assert result["accuracy"] < 0.003


def test_half_a_mesh_is_accurate_but_not_complete(tmp_path, truth):
    ball, content = truth
    half = trimesh.Trimesh(ball.vertices, ball.faces[ball.triangles_center[:, 0] > 0])
    result = json.loads(evaluate(tmp_path, content, half, video_frame=lambda index: index).stdout)
    assert result["accuracy"] < 0.003 < 0.05 < result["completeness"]
    assert 0.6 < result["fscore_1pct"] < 0.72  # precision 1, recall a half


def test_frames_beyond_the_video(tmp_path, truth):
    ball, content = truth
    done = evaluate(tmp_path, content, ball, video_frame=lambda index: index + 50)
    assert done.returncode == 1 and "frames 50 to 68, but the truth has 20" in done.stderr
