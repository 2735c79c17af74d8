"""Settings for all tests, and fixtures of the stand-in platform."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from heads import Head
from ovhai_standin.platform import Platform

import s3_server
import snakemake_process
import synthetic
from shared import make_once

# Several tests run at once. Threads of OpenMP that wait for a core burn a fifth of the time of all tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A test run in the background of a shell, or under nohup, inherits ignored signals, and so would every program that it
# starts: the tests that press Ctrl-C or close a terminal could not.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# A file is run by one worker, so the longest ones begin first: nobody waits for them at the end. Files that mostly wait
# for jobs stand between those that compute.
LONGEST = [
    "test_lint.py",
    "test_outages.py",
    "test_run.py",
    "test_races.py",
    "test_upstream_train.py",
    "test_faults.py",
    "test_captures.py",
    "test_neuralangelo.py",
    "test_silence.py",
    "test_train.py",
    "test_groups.py",
    "test_given.py",
    "test_ovhai.py",
    "test_reconstruction.py",
    "test_leaving.py",
    "test_upstream_extract.py",
    "test_staleness.py",
    "test_pages.py",
    "test_train_and_mesh.py",
    "test_region.py",
    "test_provenance.py",
    "test_backends.py",
    "test_runs.py",
    "test_masks.py",
    "test_viewer.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def tiny_numbers_stay() -> Iterator[None]:
    """The engines make a process take numbers below 1e-308 for 0. A k-d tree of SciPy that meets such numbers then
    never ends, so the setting must not outlive a test that calls an engine."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(autouse=True)
def no_workflow_outlives_its_test() -> Iterator[None]:
    yield
    snakemake_process.kill_all()


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """Numba has compiled the built-in engine's kernels: it takes 12 s, so all workers wait for one."""
    make_once(tmp_path_factory, worker_id, "kernels", compile_kernels)


def compile_kernels(folder: Path) -> None:
    """By a training of one iteration: Numba keeps them beside the code."""
    files = [f"--{name}={path}" for name, path in synthetic.make_sphere_scene(folder).items()]
    # Without a redraw_distance, one of the kernels would not be asked for.
    settings = {**synthetic.SMALL, "iterations": 1, "image_size": 32, "seed": 0, "redraw_distance": 0.03}
    (folder / "config").write_text(json.dumps(settings))
    files += [f"--{name}={folder / name}" for name in ("config", "checkpoint", "metrics")]
    command = [sys.executable, "-m", "sdfgrid", "train", "--iterations=1", "--threads=1", *files]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent / "src")}
    subprocess.run(command, env=environment, check=True, capture_output=True)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.S3Server]:
    with s3_server.s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def platform(tmp_path: Path, s3: s3_server.S3Server) -> Iterator[Platform]:
    platform = Platform.start(tmp_path / "platform", s3)
    yield platform
    platform.stop_everything()


@pytest.fixture
def bucket(s3: s3_server.S3Server) -> Iterator[str]:
    """The name of an empty bucket. It is deleted afterwards, because the server has room for few buckets at once."""
    name = f"b-{uuid.uuid4()}"
    s3.client().create_bucket(Bucket=name)
    yield name
    for present in s3.client().list_buckets()["Buckets"]:
        delete_bucket(s3, present["Name"])


@pytest.fixture
def head(tmp_path: Path, platform: Platform, s3: s3_server.S3Server, bucket: str) -> Head:
    """A head of a small workflow that has run nothing yet."""
    return Head(tmp_path / "head", platform, s3, bucket).write()


def delete_bucket(s3: s3_server.S3Server, name: str) -> None:
    client = s3.client()
    for entry in client.list_objects_v2(Bucket=name).get("Contents", []):
        client.delete_object(Bucket=name, Key=entry["Key"])
    client.delete_bucket(Bucket=name)
