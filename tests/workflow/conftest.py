"""One small finished run of three scenes; the tests work on copies of it."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import DEMO, SMALL, Checkout, make_photos


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
def scenes(web: str) -> list[dict[str, object]]:
    short = {"train.iterations": 20, "train.milestones": "[]"}  # no more than shows that all of it runs
    return [
        {"scene": "film", "video": "film.mp4", "deliver.formats": "obj,stl"},
        {"scene": "photos", "video": "photos", **short, "mesh.resolution": 48},
        {"scene": "web", "video": f"{web}/tractor.mp4", **short},
    ]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, scenes: list[dict[str, object]]) -> Checkout:
    """A checkout in which three scenes were run to their end. Do not change it: copy it."""
    checkout = Checkout.make(tmp_path_factory.mktemp("finished") / "checkout")
    shutil.copy(DEMO, checkout.folder / "film.mp4")
    make_photos(checkout.folder / "photos")
    checkout.configure(scenes, **SMALL)
    run = checkout.snakemake()
    assert run.returncode == 0, run.stdout
    return checkout


@pytest.fixture
def copy(finished: Checkout, tmp_path: Path) -> Checkout:
    return finished.copy(tmp_path / "checkout")
