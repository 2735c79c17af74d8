"""How many frames see the surface, from mesh.ply to the pixels of the page."""

import base64
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from playwright.sync_api import Browser

from browser import Visit, needs_chromium, open_browser, pixels
from programs import call
from videomesh.meshing import gltf, ply
from videomesh.report import page
from videomesh.report.models import read_content, reduce
from videomesh.report.results import Results, find_files, find_state
from viewer_page import write_viewer_page

SETTINGS = {"engine": "sdfgrid", "gate": {"mode": "fail"}, "train": {"iterations": 200, "milestones": [100]}}
# By how many frames the ball is seen: below each height, at each height, and what the legend calls it.
BANDS = [(-0.3, 40, "16 or more"), (0.05, 9, "8 to 15"), (0.35, 3, "3"), (0.7, 1, "1"), (2.0, 0, "0")]
HEIGHTS = [-0.45, -0.12, 0.2, 0.52, 0.87]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as chromium:
        yield chromium


def count_frames(vertices: np.ndarray) -> np.ndarray:
    return np.select([vertices[:, 2] < height for height, *_ in BANDS], [count for _, count, _ in BANDS])


def make_page(root: Path, texture_size: int) -> Path:
    """The page of results whose last mesh.glb is made of a mesh.ply that knows its frames."""
    folder = root / "results/ball"
    mesh = folder / "mesh/200/mesh.ply"
    ball = trimesh.creation.icosphere(subdivisions=4)
    grey = np.full(ball.vertices.shape, 128)
    ply.write(mesh, np.array(ball.vertices), np.array(ball.faces), grey, count_frames(ball.vertices))
    with tarfile.open(folder / "poses/masks.tar", "w"):
        pass
    names = {"transforms": "region/transforms.json", "images": "poses/images.tar", "masks": "poses/masks.tar"}
    options = [word for name, path in names.items() for word in (f"--{name}", folder / path)]
    done = call("web_mesh", "--mesh", mesh, "--faces", "4000", "--texture-size", str(texture_size), *options,
                "--output", mesh.with_name("mesh.glb"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = Results("ball", SETTINGS, find_files(root, "ball"))
    html, _ = page.make_page(results, find_state(results), root)
    (root / "scene.html").write_text(html)
    return root / "scene.html"


def to_rgb(colour: str | None) -> np.ndarray:
    assert colour and re.fullmatch("#[0-9a-f]{6}", colour)
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])


def read_legend(visit: Visit) -> dict[str, np.ndarray]:
    """sRGB colours by what they mean."""
    items = visit.page.locator(".v-legend li").all()
    return {item.inner_text(): to_rgb(item.locator("rect").get_attribute("fill")) for item in items}


@needs_chromium
@pytest.mark.parametrize("texture_size", [0, 128], ids=["vertex colours", "picture"])
def test_the_page_shows_by_how_many_frames_each_place_is_seen(root: Path, browser: Browser, texture_size: int) -> None:
    visit = Visit(browser, make_page(root, texture_size), reduced_motion="reduce")
    visit.page.evaluate("viewerReady")
    assert not visit.page.locator(".v-legend").is_visible()
    visit.page.check("input[value=coverage]", force=True)
    assert visit.page.locator(".v-legend").is_visible()
    legend = read_legend(visit)
    assert list(legend) == ["0", "1", "2", "3", "4 to 7", "8 to 15", "16 or more"]
    visit.page.wait_for_timeout(300)
    picture = pixels(visit.page.locator(".v-area"))
    position = np.array(visit.page.evaluate("viewerState().position"))
    ahead = position[:2] / np.linalg.norm(position[:2])
    for height, (_, _, words) in zip(HEIGHTS, BANDS, strict=True):
        point = [*(ahead * np.sqrt(1 - height**2)), height]  # on the side that is seen
        x, y = (round(place) + 1 for place in visit.page.evaluate(f"viewerPixels(...{json.dumps(point)})"))
        found = picture[y, x]
        shade = (found.max() / legend[words].max()).clip(0.7, 1)
        assert np.abs(found - shade * legend[words]).max() < 16, f"{words}: {found}"
    visit.check()
    visit.context.close()


@needs_chromium
@pytest.mark.parametrize("size", [None, 3, 0], ids=["none", "of another mesh", "empty"])
def test_a_mesh_that_does_not_say_it_has_no_such_look(browser: Browser, tmp_path: Path, size: int | None) -> None:
    cube = bytes(trimesh.creation.box().export(file_type="glb"))
    mesh = {"iteration": 1, "blob": "m", "faces": 12, "label": None, "frames": None if size is None else "f"}
    blobs = {"m": cube, **({} if size is None else {"f": bytes(size)})}
    visit = Visit(browser, write_viewer_page(tmp_path / "scene.html", {"meshes": [mesh]}, blobs))
    visit.page.evaluate("viewerReady")
    modes = visit.page.locator("input[name=v-mode]").evaluate_all("(nodes) => nodes.map((node) => node.value)")
    assert modes == ["colours", "shape", "wireframe", "normals"]
    visit.check()
    visit.context.close()


def test_the_page_gets_one_byte_a_vertex(root: Path) -> None:
    html = make_page(root, 128).read_text()
    model = read_content(gltf.read((root / "results/ball/mesh/200/mesh.glb").read_bytes()))
    text = re.search('id="blob-frames-200"[^>]*>([^<]*)<', html)
    assert text and len(base64.b64decode(text[1])) == len(model.vertices)
    assert "blob-frames-100" not in html, "an older mesh.glb, which does not say it"


def test_a_smaller_mesh_keeps_its_numbers(root: Path) -> None:
    make_page(root, 128)
    model = read_content(gltf.read((root / "results/ball/mesh/200/mesh.glb").read_bytes()))
    smaller = reduce(model, 1000)
    assert smaller.frames is not None and len(smaller.faces) <= 1000
    right = np.abs(smaller.frames.astype(int) - count_frames(smaller.vertices)) <= 1
    edges = np.abs(smaller.vertices[:, 2:] - [height for height, *_ in BANDS]).min(1) < 0.1
    assert right[~edges].all() and (~edges).mean() > 0.4


def test_other_programs_read_the_numbers(root: Path) -> None:
    """As glTF has it: a name of one's own begins with _, and integers are numbers as they are."""
    make_page(root, 0)
    mesh = trimesh.load(root / "results/ball/mesh/200/mesh.glb", force="mesh", process=False)
    assert set(np.unique(mesh.vertex_attributes["_FRAMES"])) >= {0, 1, 3, 9, 40}


# Colours as they look without one kind of cones, in linear light (Machado, Oliveira and Fernandes 2009, severity 1).
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear sRGB


def to_lab(linear: np.ndarray) -> np.ndarray:
    """CIELAB, in which a difference of 2.3 is just seen."""
    x, y, z = np.cbrt(linear.clip(0, 1) @ XYZ.T / XYZ.sum(1)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@needs_chromium
def test_the_colour_blind_tell_the_classes_apart(root: Path, browser: Browser) -> None:
    visit = Visit(browser, make_page(root, 0))
    visit.page.evaluate("viewerReady")
    visit.page.check("input[value=coverage]", force=True)
    linear = (np.array(list(read_legend(visit).values())) / 255) ** 2.2
    for name, matrix in BLIND.items():
        lab = to_lab(linear @ np.array(matrix).T)
        apart = np.linalg.norm(lab[:, None] - lab, axis=2)[np.triu_indices(len(lab), 1)]
        assert apart.min() > 10, f"{name}: {apart.min():.1f}"
    visit.context.close()
