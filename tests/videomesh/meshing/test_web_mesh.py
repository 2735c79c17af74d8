"""mesh.ply -> mesh.glb: fewer faces, the same shape and colours, in a file that a glTF viewer shows as it should."""

import json
import struct

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from programs import call
from videomesh.meshing import ply, web


def run(*words):
    return call("web_mesh", *words)


def painted(points):
    """Slow changes of colour, dark ones among them, so that neighbours may be averaged."""
    return 0.5 + 0.5 * np.sin(3 * points)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A ball of 20,480 faces, far from the origin and small, as COLMAP's worlds may be."""
    ball = trimesh.creation.icosphere(subdivisions=5)
    path = tmp_path_factory.mktemp("source") / "mesh.ply"
    ply.write(path, ball.vertices * 0.01 + [5, -3, 2], ball.faces, np.round(painted(ball.vertices) * 255), 3)
    return path


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """(path of mesh.glb, its JSON document, its arrays in the order of accessors)"""
    output = tmp_path_factory.mktemp("made") / "scene" / "mesh.glb"
    done = run("--mesh", source, "--faces", 2000, "--output", output)
    assert done.returncode == 0, done.stderr
    assert "2,000 of 20,480 faces" in done.stdout
    assert [path.name for path in output.parent.iterdir()] == ["mesh.glb"]
    return output, *parse(output)


def parse(path):
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    assert data[24 + size : 28 + size] == b"BIN\0"
    binary = data[28 + size :]
    assert document["buffers"] == [{"byteLength": len(binary)}]
    arrays = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        dtype = np.dtype({5126: "<f4", 5123: "<u2", 5125: "<u4", 5121: "u1"}[accessor["componentType"]])
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        stride = view.get("byteStride", dtype.itemsize * width)
        assert stride % 4 == 0
        rows = np.frombuffer(binary, np.uint8, accessor["count"] * stride, view["byteOffset"]).reshape(-1, stride)
        arrays.append(np.ascontiguousarray(rows[:, : dtype.itemsize * width]).view(dtype))
    return document, arrays


def test_fewer_faces_same_shape(made):
    _, document, (position, _, _, frames, index) = made
    assert len(frames) == len(position) and (frames == 3).all()
    assert index.size == 3 * 2000 and index.max() == len(position) - 1
    radius = np.linalg.norm(position.astype(float) - [5, -3, 2], axis=1)
    assert np.abs(radius / 0.01 - 1).max() < 0.01
    assert np.allclose(document["accessors"][0]["min"], position.min(0), atol=0)
    assert np.allclose(document["accessors"][0]["max"], position.max(0), atol=0)
    mesh = trimesh.Trimesh(position, index.reshape(-1, 3), process=False)
    assert mesh.is_watertight and mesh.volume > 0


def test_normals(made):
    position, normal = made[2][:2]
    assert np.allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    outward = (position.astype(float) - [5, -3, 2]) / 0.01
    assert ((normal * outward).sum(1) > 0.98).all()


def test_a_vertex_of_faces_without_area_has_a_normal_too():
    points = np.array([[0.0, 0, 0], [1e-7, 0, 0], [0, 1e-7, 0], [5, 5, 5]])
    normals = web.vertex_normals(points, np.array([[0, 1, 2], [3, 3, 3]]))
    assert normals.tolist() == [[0, 0, 1]] * 4
    assert web.vertex_normals(points * 0, np.array([[0, 1, 2]])).tolist() == [[0, 0, 1]] * 4


def test_colours_are_linear_light(made):
    """glTF's vertex colours are linear, photographs are sRGB: written as they are they would look pale."""
    _, document, (position, _, rgba, *_) = made
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    accessor = document["accessors"][attributes["COLOR_0"]]
    assert accessor["normalized"] is True and accessor["type"] == "VEC4" and (rgba[:, 3] == 65535).all()
    linear = rgba[:, :3] / 65535
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(srgb - painted((position.astype(float) - [5, -3, 2]) / 0.01)).mean() < 0.01


def test_light_is_not_applied_twice(made):
    material = made[1]["materials"][0]
    assert material["extensions"] == {"KHR_materials_unlit": {}} and material["doubleSided"] is True
    assert made[1]["extensionsUsed"] == ["KHR_materials_unlit"]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_other_programs_read_it(made):
    mesh = trimesh.load(made[0], force="mesh", process=False)
    assert len(mesh.faces) == 2000
    assert np.allclose(mesh.centroid, [5, 2, 3], atol=1e-4)


def test_colours_are_averaged_not_picked(tmp_path):
    """A checkerboard finer than the result becomes grey, not noise."""
    grid = np.linspace(0, 1, 101)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    points = np.stack([x, y, 0.02 * np.sin(9 * x) * np.sin(9 * y)], -1).reshape(-1, 3)
    corner = (np.arange(100)[:, None] * 101 + np.arange(100)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 101, corner + 102], 1), np.stack([corner, corner + 102, corner + 1], 1)]
    )
    colours = np.repeat(255 * (np.indices((101, 101)).sum(0) % 2).reshape(-1, 1), 3, 1)
    ply.write(tmp_path / "mesh.ply", points, faces, colours, 3)
    assert run("--mesh", tmp_path / "mesh.ply", "--faces", 500, "--output", tmp_path / "mesh.glb").returncode == 0
    linear = parse(tmp_path / "mesh.glb")[1][2][:, :3] / 65535
    assert 0.15 < np.median(linear) < 0.3 and np.quantile(linear, 0.75) < 0.5  # sRGB 0.5 is 0.21 in linear light


def test_a_mesh_that_is_small_enough_stays_as_it_is(source, tmp_path):
    assert run("--mesh", source, "--faces", 50_000, "--output", tmp_path / "mesh.glb").returncode == 0
    position, _, _, _, index = parse(tmp_path / "mesh.glb")[1]
    vertices, faces, *_ = ply.read(source)
    assert (position == vertices).all() and (index.reshape(-1, 3) == faces).all()


def test_it_stands_upright(made):
    """z, which is up in the world, is glTF's y, and what is in front stays in front: -y is glTF's z."""
    rotation = made[1]["nodes"][0]["rotation"]
    matrix = trimesh.transformations.quaternion_matrix([rotation[3], *rotation[:3]])[:3, :3]
    assert np.allclose(matrix @ np.eye(3), np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]), atol=1e-12)


PLY_HEADER = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
FACES_HEADER = "element face {}\nproperty list uchar int vertex_indices\nend_header\n"


@pytest.mark.parametrize(
    "content, words",
    [
        (None, ["no such file", "mesh step"]),
        ("<html>not found</html>", ["not a readable PLY mesh"]),
        ("", ["not a readable PLY mesh"]),
        (PLY_HEADER.format(0) + FACES_HEADER.format(0), ["no faces"]),
        (PLY_HEADER.format(3) + "end_header\n0 0 0\n1 0 0\n0 1 0\n", ["no faces"]),
        (PLY_HEADER.format(3) + FACES_HEADER.format(1) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", ["vertices it lacks"]),
        (PLY_HEADER.format(3) + FACES_HEADER.format(1) + "0 0 0\n1 0 nan\n0 1 0\n3 0 1 2\n", ["not finite"]),
    ],
    ids=["missing", "html", "zero bytes", "empty", "points only", "bad index", "nan"],
)  # fmt: skip
def test_bad_meshes(tmp_path, content, words):
    if content is not None:
        (tmp_path / "mesh.ply").write_text(content)
    assert_fails(tmp_path, ["mesh.ply", *words], "--mesh", tmp_path / "mesh.ply")


def test_a_mesh_cut_short(source, tmp_path):
    (tmp_path / "mesh.ply").write_bytes(source.read_bytes()[:-1000])
    assert_fails(tmp_path, ["mesh.ply", "not a readable PLY mesh"], "--mesh", tmp_path / "mesh.ply")


def assert_fails(tmp_path, words, *arguments):
    done = run(*arguments, "--faces", 500, "--output", tmp_path / "out" / "mesh.glb")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "out").exists()


def test_nearest_colours_for_vertices_that_stand_for_none():
    """Decimation may place a vertex to which no other is nearest."""
    points, colours = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[1.0, 0, 0], [0, 1, 0]])
    fewer = np.array([[0.01, 0, 0], [0.9, 0, 0], [0.5001, 5, 0]])
    assert cKDTree(fewer).query(points)[1].tolist() == [0, 1]
    assert web.mean_values(points, colours, fewer).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
