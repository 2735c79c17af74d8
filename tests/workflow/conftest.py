"""One small finished run of three scenes; the tests work on copies of it."""

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import DEMO, SMALL, Checkout, make_photos
from shared import make_once


@pytest.fixture(scope="session")
def web_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    shutil.copy(DEMO, folder / "tractor.mp4")
    return folder


@pytest.fixture(scope="session")
def web(web_folder: Path) -> Iterator[str]:
    """The address of a web server on this machine that serves web_folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(web_folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str, web: str, kernels: None) -> Checkout:
    """A checkout in which three scenes were run to their end: once for all workers. Do not change it: copy it."""
    folder = make_once(
        tmp_path_factory, worker_id, "finished", lambda made: run_to_the_end(Checkout.make(made / "checkout"), web)
    )
    return Checkout(folder / "checkout")


def run_to_the_end(checkout: Checkout, web: str) -> None:
    short = {"train.iterations": 20, "train.milestones": "[]"}  # no more than shows that all of it runs
    scenes = [
        {"scene": "film", "video": "film.mp4", "deliver.formats": "obj,stl"},
        {"scene": "photos", "video": "photos", **short, "mesh.resolution": 48},
        {"scene": "web", "video": f"{web}/tractor.mp4", **short},
    ]
    shutil.copy(DEMO, checkout.folder / "film.mp4")
    make_photos(checkout.folder / "photos")
    checkout.configure(scenes, **SMALL)
    run = checkout.snakemake()
    assert run.returncode == 0, run.stdout
    (checkout.folder / "scenes.json").write_text(json.dumps(scenes))


@pytest.fixture(scope="session")
def scenes(finished: Checkout) -> list[dict[str, object]]:
    rows = json.loads((finished.folder / "scenes.json").read_text())
    assert isinstance(rows, list)
    return rows


@pytest.fixture
def copy(finished: Checkout, tmp_path: Path) -> Checkout:
    return finished.copy(tmp_path / "checkout")
