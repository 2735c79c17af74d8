"""The server answers its own page and nobody else, and a page that is asked for has what it needs."""

import http.client
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from videomesh.adjust.page import Page
from videomesh.adjust.server import LARGEST, Server
from videomesh.adjust.workflow import Project
from videomesh.errors import UserError

FILE = Path("config/regions/thing.json")
REGION = {"center": [0, 0, 1], "radius": 1.25}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def page(project: Project) -> Page:
    return Page(project, "thing")


@pytest.fixture
def server(page: Page) -> Iterator[Server]:
    with Server(page.show, page.ask, page.save) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: Server, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """path: below the token, or from the root if it begins with a slash."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path if path.startswith("/") else f"/{server.token}/{path}", data, headers or {})
    answer = connection.getresponse()
    found = (answer.status, answer.read(), answer.headers)
    connection.close()
    return found


def put(server: Server, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    status, data, _ = ask(server, "save", "POST", body, {**JSON, **headers})
    return status, json.loads(data)


def request(part: str = "region", value: Any = REGION, version: str = "none") -> dict[str, Any]:
    return {"part": part, "value": value, "version": version}


def test_the_page_needs_the_token_and_says_what_it_may_do(server: Server) -> None:
    status, html, headers = ask(server, "")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "frame-ancestors 'none'" in policy
    assert "connect-src 'self' blob:" in policy and "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    assert len(server.token) >= 32
    data = json.loads(html.split(b'id="page-data">')[1].split(b"</script>")[0])
    assert data["adjust"]["file"]["version"] == "none" and data["adjust"]["others"] == ["other"]
    assert len(data["cameras"]) == 8 and data["cameras"][0]["thumb"].startswith("data:image/jpeg")
    assert [mesh["iteration"] for mesh in data["meshes"]] == [200]


@pytest.mark.parametrize("path", ["/", "/save", "/x/", "/../", "/favicon.ico", "//", "/%00/"])
def test_without_the_token_there_is_nothing(server: Server, path: str) -> None:
    for method in ("GET", "POST"):
        status, data, _ = ask(server, path, method, request() if method == "POST" else None, JSON)
        assert status == 403 and b"address" in data
    assert not FILE.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_site_gets_nothing_even_with_the_token(server: Server, headers: dict[str, str]) -> None:
    assert ask(server, "", headers=headers)[0] == 403
    assert ask(server, "save", "POST", request(), {**JSON, **headers})[0] == 403
    assert not FILE.exists()


def test_localhost_is_the_same_server(server: Server) -> None:
    assert ask(server, "", headers={"Host": f"localhost:{server.server_port}"})[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (request(), {"Content-Type": "text/plain"}, 415),
        (request(), {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"x" * (LARGEST + 1), JSON, 413),
        (b"{}", {**JSON, "Content-Length": "99999999999999999999"}, 413),
        (b"{}", {**JSON, "Content-Length": "-1"}, 411),
        (b"{", JSON, 400),
        (b"[" * 60_000, JSON, 400),
        (b"[]", JSON, 400),
        (b"{}", JSON, 400),
        ({**request(), "more": 1}, JSON, 400),
        ({**request(), "part": ["region"]}, JSON, 400),
        ({**request(), "version": None}, JSON, 409),
        (request(part="name"), JSON, 400),
        (request(value={"center": [0, 0, 0], "radius": 0}), JSON, 400),
        (request(value="<script>"), JSON, 400),
    ],
)
def test_a_request_that_is_not_the_pages_is_refused(
    server: Server, body: Any, headers: dict[str, str], status: int
) -> None:
    found, data, _ = ask(server, "save", "POST", body, headers)
    assert found == status and json.loads(data)["error"]
    assert not FILE.exists()


def test_other_methods_and_addresses_are_refused(server: Server) -> None:
    assert ask(server, "save")[0] == 404
    assert ask(server, "other/nobody")[0] == 404
    assert ask(server, "other/..%2F..%2Fthing")[0] == 404
    assert ask(server, "else", "POST", request(), JSON)[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert ask(server, "save", method, request(), JSON)[0] == HTTPStatus.NOT_IMPLEMENTED


def test_what_is_saved_is_what_the_next_page_shows(server: Server, page: Page) -> None:
    status, content = put(server, request())
    assert status == 200 and content["file"]["region"] == REGION
    assert json.loads(FILE.read_text()) == REGION
    status, again = put(server, request("crop", {"method": "none"}))
    assert status == 409 and again["file"] == content["file"], "the page was opened before the region was saved"
    assert put(server, request("crop", {"method": "none"}, content["file"]["version"]))[0] == 200
    assert json.loads(FILE.read_text()) == {**REGION, "crop": {"method": "none"}}
    html, _ = page.show()
    assert json.loads(html.split('id="page-data">')[1].split("</script>")[0])["adjust"]["file"]["region"] == REGION


def test_another_scene_hands_over_its_region_and_crop(server: Server, root: Path) -> None:
    found = json.loads(ask(server, "other/other")[1])
    assert found == {"region": None, "crop": {"kind": "sphere", "center": [1, 2, 3], "radius": 0.5}}
    found = json.loads(ask(server, "other/thing")[1])
    assert found["region"] == {"center": [0, 0, 0.5], "radius": 2.0}
    assert found["crop"] == {"kind": "sphere", "center": [0.0, 0.0, 0.5], "radius": 1.2}


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_scene_without_a_region_says_what_to_run(project: Project) -> None:
    with pytest.raises(UserError, match=r"results/other/region/transforms\.json"):
        Page(project, "other")
    with pytest.raises(UserError, match="Did you mean thing"):
        Page(project, "thin")


@pytest.mark.parametrize(
    "missing", ["mesh/200/mesh.glb", "region/points.npz", "poses/images.tar", "region/region.json"]
)
def test_a_page_does_without_what_is_missing_or_broken(project: Project, root: Path, missing: str) -> None:
    path = root / "results/thing" / missing
    for change in (lambda: path.write_bytes(b"broken"), path.unlink):
        change()
        html, _ = Page(project, "thing").show()
        assert "page-data" in html


def test_from_a_bucket_only_small_files_are_read_and_the_copies_go_again(project: Project, root: Path) -> None:
    """Pictures are those of the scene's page, which is on this machine."""
    asked: list[str] = []
    copies: list[Path] = []

    def fetch(scene: str, names: Any) -> list[Path]:
        asked.extend(names)
        found = [root / "results" / scene / name for name in names if (root / "results" / scene / name).exists()]
        copies.extend(found)
        return found

    elsewhere = Project(project.scenes, fetch, copies)
    thumb = Page(project, "thing").data["cameras"][0]["thumb"]
    data = json.dumps({"cameras": [{"name": "000000.jpg", "thumb": thumb}, {"name": "000001.jpg", "thumb": None}]})
    (root / "deliver/thing").mkdir(parents=True)
    (root / "deliver/thing/scene.html").write_text(
        f'<p></p><script type="application/json" id="page-data">{data}</script>'
    )
    files = {path: path.read_bytes() for path in (root / "results/thing/region").iterdir()}
    page = Page(elsewhere, "thing")
    assert "poses/images.tar" not in asked and not any("checkpoint" in name for name in asked)
    assert page.data["adjust"]["elsewhere"] is True
    assert [bool(camera["thumb"]) for camera in page.data["cameras"][:2]] == [True, False]
    assert page.data["meshes"]
    assert not (root / "results/thing/mesh/200/mesh.glb").exists() and elsewhere.copies == []
    for path, content in files.items():
        path.write_bytes(content)
    assert page.ask("other/thing")[1]["region"]
    assert not (root / "results/thing/region/region.json").exists()
