"""Pictures of a mesh without display or GPU, and the meshes of the page."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from videomesh.meshing.web import glb
from videomesh.report.models import Model, pack, read_glb, reduce, to_linear, to_srgb
from videomesh.report.still import Pinhole, draw, make_still


@pytest.fixture
def ball() -> Model:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    vertices = np.array(mesh.vertices)
    colours = np.where(vertices[:, :1] > 0, [[0.8, 0.1, 0.1]], [[0.1, 0.1, 0.8]])
    return Model(vertices, np.array(mesh.faces), colours, np.array(mesh.vertex_normals))


def get_camera(distance: float = 5.0) -> Pinhole:
    """Looks along the world's y from behind the origin, x to the right."""
    pose = np.eye(4)
    pose[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    pose[2, 3] = distance
    return Pinhole(pose, (100.0, 100.0), (60.0, 40.0), (120, 80))


def test_a_ball_is_a_disc_of_the_right_size_and_colours(ball: Model) -> None:
    drawing = draw(ball, get_camera())
    radius = 100 / np.sqrt(5**2 - 1)  # of the outline of a unit ball, in pixels
    y, x = np.mgrid[:80, :120] + 0.5
    distance = np.hypot(x - 60, y - 40)
    assert drawing.covered[distance < radius - 1].all() and not drawing.covered[distance > radius + 1].any()
    right, left = drawing.colours[40, 70], drawing.colours[40, 50]
    assert np.allclose(right, [0.8, 0.1, 0.1], atol=0.01) and np.allclose(left, [0.1, 0.1, 0.8], atol=0.01)


def test_what_is_nearer_hides_what_is_behind() -> None:
    square = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], float)
    vertices = np.concatenate([square + np.array([0, 1, 0]), square * 0.5 - np.array([0, 1, 0])])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    colours = np.repeat([[1.0, 0, 0], [0, 1.0, 0]], 4, 0)
    for order in (faces, faces[::-1]):
        drawing = draw(Model(vertices, order, colours, np.zeros_like(vertices)), get_camera())
        assert np.allclose(drawing.colours[40, 60], [0, 1, 0], atol=1e-6)  # the small one, in front
        assert np.allclose(drawing.colours[40, 60 + 14], [1, 0, 0], atol=1e-6)


def test_what_reaches_behind_the_camera_is_left_out(ball: Model) -> None:
    assert not draw(ball, get_camera(-5.0)).covered.any()
    inside = draw(ball, get_camera(0.0))
    assert inside.covered.any() and np.isfinite(inside.colours).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_still_shows_all_of_the_mesh(ball: Model, scale: float) -> None:
    model = ball._replace(vertices=ball.vertices * [scale, 3 * scale, scale] + 5 * scale)
    for cameras in (None, np.array([[9.0, 2.0, 8.0]]) * scale):
        picture = np.asarray(make_still(model, cameras, (80, 60)))
        shown = picture[:, :, 3] > 0
        assert 0.1 < shown.mean() < 0.9
        assert not shown[[0, -1]].any() and not shown[:, [0, -1]].any()


def test_a_mesh_without_extent_has_a_still() -> None:
    point = Model(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.ones((3, 3)), np.tile([0.0, 0, 1], (3, 1)))
    assert make_still(point, None, (8, 6)).size == (8, 6)


def test_packing_keeps_shape_and_colours(ball: Model, tmp_path: Path) -> None:
    data = pack(ball)
    plain = glb(ball.vertices, ball.faces, ball.normals, ball.colours)
    assert len(data) < 0.8 * len(plain)
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size = struct.unpack_from("<I", data, 12)[0]
    document, binary = json.loads(data[20 : 20 + size]), data[28 + size :]
    assert document["buffers"][0]["byteLength"] == len(binary)
    node = document["nodes"][1]
    stored = np.frombuffer(binary, "<u2", len(ball.vertices) * 4).reshape(-1, 4)[:, :3] / 65535
    assert np.allclose(stored * node["scale"] + node["translation"], ball.vertices, atol=1e-4)
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0


def test_a_mesh_for_the_web_is_read_back(ball: Model, tmp_path: Path) -> None:
    file = tmp_path / "mesh.glb"
    file.write_bytes(glb(ball.vertices, ball.faces, ball.normals, ball.colours))
    model = read_glb(file)
    assert model is not None
    assert np.allclose(model.vertices, ball.vertices, atol=1e-6) and (model.faces == ball.faces).all()
    assert np.allclose(model.colours, ball.colours, atol=1e-4)
    assert np.allclose(to_srgb(to_linear(ball.colours)), ball.colours, atol=1e-6)
    fewer = reduce(model, 500)
    assert 100 < len(fewer.faces) <= 500 and len(fewer.colours) == len(fewer.vertices)


def test_a_textured_mesh_is_read_with_z_up(tmp_path: Path) -> None:
    box = trimesh.creation.box(extents=[1, 4, 2])  # glTF's y is up
    box.visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)))
    box.export(tmp_path / "mesh.glb")
    model = read_glb(tmp_path / "mesh.glb")
    assert model is not None and np.allclose(np.ptp(model.vertices, axis=0), [1, 2, 4])


@pytest.mark.parametrize("data", [b"", b"glTF", b"glTF" + bytes(40), b"<html>"])
def test_a_broken_mesh_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mesh.glb").write_bytes(data)
    assert read_glb(tmp_path / "mesh.glb") is None
