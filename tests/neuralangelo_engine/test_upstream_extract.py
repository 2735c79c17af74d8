"""From a checkpoint of Neuralangelo to mesh.ply and mesh.json, by both extractors, with upstream's test double."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from scipy.spatial import cKDTree

torch = pytest.importorskip("torch")

import double  # noqa: E402

from checkout import ROOT  # noqa: E402
from neuralangelo_engine import dense  # noqa: E402
from videomesh.meshing import ply, sparse_mesh, surface  # noqa: E402
from videomesh.meshing.sparse_mesh import Mesh  # noqa: E402

RESOLUTION = 96
VOXEL = 2 / RESOLUTION
LEARNT = {"size": [0.32, 0.24, 0.22]}  # not as in a new model: only the checkpoint can tell
GREY = 0.5


class Extracted(NamedTuple):
    points: np.ndarray  # in the unit sphere's frame
    faces: np.ndarray
    colours: np.ndarray  # 0..1
    summary: dict[str, Any]
    stdout: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("scene")
    double.make_source(folder / "neuralangelo.tar.gz")
    double.make_config(folder / "config.yaml")
    double.make_checkpoint(folder / "checkpoint.pt", **LEARNT)
    double.make_scene(folder, **LEARNT)
    return folder


def get_values(scene: Path, out: Path, **changes: object) -> dict[str, object]:
    return {
        "source": scene / "neuralangelo.tar.gz",
        "config": scene / "config.yaml",
        "checkpoint": scene / "checkpoint.pt",
        "transforms": scene / "transforms.json",
        "images": scene / "images.tar",
        "masks": scene / "masks.tar",
        "extractor": "sparse",
        "resolution": RESOLUTION,
        "crop": "none",
        "min_component": 0.01,
        "block_res": 32,
        "mesh": out / "mesh.ply",
        "summary": out / "mesh.json",
        "device": "cpu",
        "threads": 1,
        **changes,
    }


def get_command(scene: Path, out: Path, **changes: object) -> list[str]:
    options = double.get_options(get_values(scene, out, **changes))
    return [sys.executable, "-m", "neuralangelo_engine", "extract", *options]


def get_environment(scratch: Path) -> dict[str, str]:
    scratch.mkdir(parents=True, exist_ok=True)
    return {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "TMPDIR": str(scratch), "HOME": "/nowhere"}


def call(scene: Path, out: Path, scratch: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    """The command in this process, which leaves it as it was: the program brings upstream's modules and settings."""
    handler, modules = signal.getsignal(signal.SIGTERM), set(sys.modules)
    with (
        mock.patch.dict(os.environ, get_environment(scratch), clear=True),
        mock.patch.object(tempfile, "tempdir", str(scratch)),
        mock.patch.object(sys, "path", list(sys.path)),
    ):
        try:
            return double.call_engine("extract", **get_values(scene, out, **changes))
        finally:
            signal.signal(signal.SIGTERM, handler)
            for name in set(sys.modules) - modules:
                if name.partition(".")[0] in ("imaginaire", "projects", "wandb"):
                    del sys.modules[name]


def extract(scene: Path, out: Path, **changes: object) -> Extracted:
    return read(out, call(scene, out, out.parent / "scratch", **changes))


def extract_in_a_process(scene: Path, out: Path, **changes: object) -> Extracted:
    environment = get_environment(out.parent / "scratch")
    command = get_command(scene, out, **changes)
    return read(out, subprocess.run(command, capture_output=True, text=True, env=environment))


def read(out: Path, done: subprocess.CompletedProcess[str]) -> Extracted:
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["mesh.json", "mesh.ply"]
    assert not list((out.parent / "scratch").iterdir())
    vertices, faces, colours, _ = ply.read(out / "mesh.ply")
    points = (vertices.astype(float) - double.CENTER) / double.RADIUS
    return Extracted(points, faces, colours / 255, json.loads((out / "mesh.json").read_text()), done.stdout)


@pytest.fixture(scope="module")
def sparse(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    return extract_in_a_process(scene, tmp_path_factory.mktemp("sparse") / "out")


@pytest.fixture(scope="module")
def upstream(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    return extract_in_a_process(scene, tmp_path_factory.mktemp("upstream") / "out", extractor="upstream")


@pytest.fixture(params=["sparse", "upstream"])
def extracted(request: pytest.FixtureRequest) -> Extracted:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def test_the_surface_is_the_checkpoints_in_world_coordinates(extracted: Extracted) -> None:
    distance = np.abs(double.measure(extracted.points, **LEARNT)) / VOXEL
    assert np.quantile(distance, 0.99) < 0.5 and np.median(distance) < 0.05
    assert np.abs(double.measure(extracted.points)).max() > 0.01  # a new model's surface lies elsewhere
    assert extracted.summary["components"] == 2


def test_faces_look_outwards(extracted: Extracted) -> None:
    a, b, c = (extracted.points[extracted.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-12)
    middle = (a + b + c) / 3
    outside, inside = (double.measure(middle + side * 0.01 * normal, **LEARNT) for side in (1, -1))
    assert (outside > inside).mean() > 0.99


def test_both_extractors_find_the_same_surface(sparse: Extracted, upstream: Extracted) -> None:
    for one, other in ((sparse, upstream), (upstream, sparse)):
        distance, _ = cKDTree(other.points).query(one.points)
        assert distance.max() < 0.05 * VOXEL
    assert abs(len(sparse.points) - len(upstream.points)) < 0.002 * len(sparse.points)
    assert abs(len(sparse.faces) - len(upstream.faces)) < 0.002 * len(sparse.faces)


def test_the_seams_between_blocks_are_welded(sparse: Extracted, upstream: Extracted) -> None:
    """All of the box and the ring is in photographs, so that nothing is cut off: only seams could be open."""
    for found in (sparse, upstream):
        assert found.summary["open_edges"] == 0
        assert found.summary["euler_number"] == 2  # of the box; that of a ring is 0
        faces = np.sort(found.faces, 1)
        assert len(np.unique(faces, axis=0)) == len(faces)
        assert (faces[:, 0] < faces[:, 1]).all() and (faces[:, 1] < faces[:, 2]).all()


def test_colours_are_the_photographs_and_the_learnt_ones(extracted: Extracted) -> None:
    difference = np.abs(extracted.colours - double.painted(extracted.points)).mean(1)
    assert np.median(difference) < 0.02 and np.quantile(difference, 0.95) < 0.08


def test_learnt_colours_where_no_photograph_helps(scene: Path, tmp_path: Path) -> None:
    """Photographs that are grey all over, and see only the upper side: below, the learnt colours remain."""
    transforms = json.loads((scene / "transforms.json").read_text())
    transforms["frames"] = transforms["frames"][::2]
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for frame in transforms["frames"]:
            file = tmp_path / Path(frame["file_path"]).name
            double.Image.new("RGB", (double.SIZE, double.SIZE), (128, 128, 128)).save(file)
            tar.add(file, file.name)
    for extractor in ("sparse", "upstream"):
        changes = {"transforms": tmp_path / "transforms.json", "images": tmp_path / "images.tar"}
        found = extract(scene, tmp_path / extractor / "out", **changes, extractor=extractor)
        grey = np.abs(found.colours - GREY).max(1) < 0.01
        right = np.abs(found.colours - double.painted(found.points)).max(1) < 0.01
        assert (grey | right).mean() > 0.97, extractor  # a few are a mean of faces' corners, at the edge of both
        assert right.mean() > 0.01 and grey.mean() > 0.5, extractor
        assert np.abs(found.points[right & ~grey, 2].mean()) < 0.5


def test_vertices_move_if_that_is_asked_for(scene: Path, tmp_path: Path) -> None:
    assert extract(scene, tmp_path / "out", refine="always").summary["refined"]["known_share"] > 0


@pytest.mark.parametrize("name", ["sparse", "upstream"])
def test_summary(request: pytest.FixtureRequest, name: str) -> None:
    found = request.getfixturevalue(name)
    assert found.summary["extractor"] == name
    assert found.summary["iteration"] == double.TRAINED
    assert found.summary["voxel"] == pytest.approx(VOXEL * double.RADIUS)
    assert len(found.summary["checks"]) == 7
    assert found.summary["refined"] is None, "nobody measured what that does to it"
    assert found.summary["evaluations"] > 100_000
    assert f"{len(found.points):,} vertices" in found.stdout
    assert ("Running mesh extraction with 1 GPUs." in found.stdout) == (name == "upstream")


def test_a_box_bounds_both(scene: Path, tmp_path: Path) -> None:
    """Not a whole number of voxels, and off the middle."""
    box = np.array([[-0.7, 0.013], [-0.2, 0.4], [-0.5, 0.5]])
    transforms = json.loads((scene / "transforms.json").read_text())
    transforms["aabb_range"] = (box * double.RADIUS + double.CENTER[:, None]).tolist()
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    one, other = (
        extract(scene, tmp_path / name / "out", extractor=name, transforms=tmp_path / "transforms.json").points
        for name in ("sparse", "upstream")
    )
    assert cKDTree(one).query(other)[0].max() < 0.05 * VOXEL and cKDTree(other).query(one)[0].max() < 0.05 * VOXEL
    assert (one.min(0) >= box[:, 0] - 1e-6).all() and (one.max(0) <= box[:, 1] + VOXEL).all()


# ------------------------------------------------------------------------------------------------------- bad inputs


@pytest.fixture
def failing(scene: Path, tmp_path: Path) -> Callable[..., str]:
    """The message of a run that must fail: one line on stderr, exit code 1, nothing written, nothing left behind."""

    def fail(upstream_speaks: bool = False, **changes: object) -> str:
        out = tmp_path / "out"
        done = call(scene, out, tmp_path / "scratch", **changes)
        assert done.returncode == 1, done.stderr
        lines = done.stderr.splitlines()
        assert lines[-1].startswith("error: ") and (len(lines) == 1 or upstream_speaks), done.stderr
        assert not out.exists() or not list(out.iterdir())
        assert not list((tmp_path / "scratch").iterdir())
        return lines[-1]

    return fail


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"block_res": 8}, ["--block-res 8", "16 to 512"]),
        ({"source": "nowhere/source.tar.gz"}, ["nowhere/source.tar.gz", "no such file"]),
        ({"source": __file__}, [__file__, "tar"]),
        ({"config": "nowhere/config.yaml"}, ["nowhere/config.yaml", "no such file"]),
        ({"config": ROOT / "README.md"}, ["README.md", "upstream cannot read it", "the training used"]),
        ({"checkpoint": "nowhere/checkpoint.pt"}, ["nowhere/checkpoint.pt", "no such file"]),
        ({"checkpoint": __file__}, [__file__, "not a checkpoint"]),
        ({"images": "nowhere/images.tar"}, ["nowhere/images.tar", "no such file"]),
        ({"mesh": Path(__file__) / "mesh.ply"}, ["mesh.ply", "cannot be written"]),
    ],
)
def test_bad_arguments(failing: Callable[..., str], changes: dict[str, object], words: list[str]) -> None:
    message = failing(**changes)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("name", ["../outside.py", "/tmp/outside.py", "projects/../../outside.py"])
def test_a_source_with_a_member_outside(failing: Callable[..., str], tmp_path: Path, name: str) -> None:
    message = failing(source=double.pack(tmp_path / "bad.tar.gz", {"train.py": b"", name: b"raise SystemExit"}))
    assert "bad.tar.gz" in message and name in message
    assert not (tmp_path / "outside.py").exists() and not Path("/tmp/outside.py").exists()


def test_a_source_that_is_another(failing: Callable[..., str], tmp_path: Path) -> None:
    message = failing(source=double.pack(tmp_path / "other.tar.gz", {"neuralangelo/train.py": b""}))
    assert "other.tar.gz" in message and "not Neuralangelo's source" in message


def test_upstream_that_cannot_be_imported(failing: Callable[..., str], tmp_path: Path) -> None:
    files = {"imaginaire/config.py": b"import tinycudann", dense.SCRIPT: b""}
    message = failing(source=double.pack(tmp_path / "source.tar.gz", files))
    assert "No module named 'tinycudann'" in message and "neuralangelo:23.04-py3" in message


def test_a_config_of_another_training(failing: Callable[..., str], tmp_path: Path) -> None:
    settings = {"model": {"object": {"sdf": {"encoding": {"hashgrid": {"dict_size": 9}}}}}}
    message = failing(config=double.make_config(tmp_path / "other.yaml", **settings))
    assert "checkpoint.pt: trained with another config than" in message and "other.yaml" in message
    assert "module.neural_sdf.table: 1024, the config says 512" in message


@pytest.mark.parametrize(
    "extractor, made, words",
    [
        ("sparse", {"iteration": 3}, ["after 3 iterations", "a sphere", "should be at least 0.05"]),
        ("upstream", {"iteration": 3}, ["after 3 iterations", "a sphere", "should be at least 0.05"]),
        ("sparse", {"empty": 1.0}, ["after 1000 iterations", "is 0 vertices and should be at least 500"]),
        ("sparse", {"empty": float("nan")}, ["not finite"]),
        ("sparse", {"iteration": 0}, ["iteration 0", "train longer"]),
    ],
    ids=["untrained", "untrained for upstream", "empty", "not a number", "iteration 0"],
)
def test_no_usable_surface(
    failing: Callable[..., str], tmp_path: Path, made: dict[str, Any], words: list[str], extractor: str
) -> None:
    message = failing(checkpoint=double.make_checkpoint(tmp_path / "bad.pt", **made), extractor=extractor)
    assert all(word in message for word in words), message


def test_a_checkpoint_cut_short(failing: Callable[..., str], scene: Path, tmp_path: Path) -> None:
    (tmp_path / "half.pt").write_bytes((scene / "checkpoint.pt").read_bytes()[:3000])
    assert "half.pt: not a checkpoint" in failing(checkpoint=tmp_path / "half.pt")


def test_a_file_of_something_else(failing: Callable[..., str], tmp_path: Path) -> None:
    torch.save({"format": "another"}, tmp_path / "other.pt")
    assert "other.pt: not a checkpoint of Neuralangelo" in failing(checkpoint=tmp_path / "other.pt")


def test_an_empty_mesh_of_upstream(failing: Callable[..., str], scene: Path, tmp_path: Path) -> None:
    """Upstream calls it a success (NA-29)."""
    transforms = json.loads((scene / "transforms.json").read_text())
    box = np.array([[0.0, 0.1], [-0.8, -0.7], [0.0, 0.1]])
    transforms["aabb_range"] = (box * double.RADIUS + double.CENTER[:, None]).tolist()
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    message = failing(True, transforms=tmp_path / "transforms.json", extractor="upstream")
    assert "found no surface" in message and "aabb_range" in message


def test_upstream_that_fails(failing: Callable[..., str], tmp_path: Path) -> None:
    config = double.make_config(tmp_path / "config.yaml", inference_args={"crash_extraction": True})
    message = failing(True, config=config, extractor="upstream")
    assert "extract_mesh.py stopped with exit code 1" in message and "mesh.resolution" in message


def test_sigterm_leaves_nothing(scene: Path, tmp_path: Path) -> None:
    """Neither output nor scratch folder nor upstream's process."""
    config = double.make_config(tmp_path / "config.yaml", inference_args={"slow_extraction": 600})
    command = get_command(scene, tmp_path / "out", config=config, extractor="upstream")
    environment = get_environment(tmp_path / "scratch")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    while "Running mesh extraction" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted: nothing was written" in stderr
    assert not (tmp_path / "out").exists() and not list((tmp_path / "scratch").iterdir())
    deadline = time.monotonic() + 20
    while any(str(tmp_path).encode() in line for line in read_command_lines()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def read_command_lines() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    return lines


# ----------------------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize("resolution", [48, 2048])
def test_weld_closes_a_surface_cut_into_pieces(resolution: int) -> None:
    """Each face on its own, its corners moved as far as 32-bit floats can: one closed surface again, at 2048 too."""
    mesh, _ = sparse_mesh.extract(lambda p: p.norm(dim=-1) - 0.7, [(-1.0, 1.0)] * 3, 2 / 48)
    generator = torch.Generator().manual_seed(0)
    soup = mesh.vertices[mesh.faces.reshape(-1)]
    soup = soup + (torch.rand(soup.shape, generator=generator, dtype=torch.float64) - 0.5) * 1.2e-7
    soup = torch.cat([soup, soup[:30]])  # ten faces twice
    twice = Mesh(soup, torch.arange(len(soup)).view(-1, 3))
    colours = torch.rand(len(soup), 3, generator=generator)
    welded, kept = dense.weld(twice, colours, dense.TOLERANCE * 2 / resolution)
    shape = surface.topology(welded)
    assert (shape.components, shape.open_edges, shape.euler_number) == (1, 0, 2)
    assert len(welded.faces) == len(mesh.faces) and len(kept) == len(welded.vertices) == len(mesh.vertices)


def test_weld_drops_only_faces_that_collapse() -> None:
    """Two triangles side by side, with a double seam and a sliver in it that must not tear the seam open."""
    points = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1e-7], [0, 1, -1e-7], [1, 1, 0], [0.5, 0.5, 1e-3]]
    mesh = Mesh(torch.tensor(points, dtype=torch.float64), torch.tensor([[0, 1, 2], [3, 5, 4], [1, 3, 2], [1, 6, 2]]))
    welded, colours = dense.weld(mesh, torch.arange(7.0)[:, None], 1e-6)
    assert colours[:, 0].tolist() == [0, 1, 2, 5, 6]
    assert welded.faces.tolist() == [[0, 1, 2], [1, 3, 2], [1, 4, 2]]


def test_extraction_needs_neither_numba_nor_scipy() -> None:
    """Upstream's image may lack them."""
    missing = "import sys; sys.modules.update(numba=None, scipy=None); import neuralangelo_engine.extract"
    subprocess.run([sys.executable, "-c", missing], check=True, env={"PYTHONPATH": str(ROOT / "src")})
