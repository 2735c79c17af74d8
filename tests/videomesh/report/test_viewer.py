"""The viewer of the scene page, in a real browser."""

import base64
import math
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from playwright.sync_api import Browser, expect

from browser import Visit, needs_chromium, open_browser, pixels
from videomesh.meshing import gltf, texture
from videomesh.report import models
from viewer_page import CONTAINERS, write_viewer_page

pytestmark = needs_chromium

RED, BLUE, GREEN = (200, 30, 30), (30, 60, 200), (0, 220, 0)
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"
Opener = Callable[..., "Scene"]


def cube(colour: tuple[int, int, int]) -> bytes:
    """GLB of a cube from -1 to 1."""
    mesh = trimesh.creation.box((2, 2, 2))
    mesh.visual.vertex_colors = [*colour, 255]
    return bytes(mesh.export(file_type="glb"))


def uri(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> str:
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG", quality=95)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def camera(degrees: float, **others: Any) -> dict[str, Any]:
    """A camera on a circle of radius 5 at height 1. It looks level at the z axis, beside its picture's middle."""
    a = math.radians(degrees)
    right, up, back = (-math.sin(a), math.cos(a), 0.0), (0.0, 0.0, 1.0), (math.cos(a), math.sin(a), 0.0)
    position = (5 * math.cos(a), 5 * math.sin(a), 1.0)
    matrix = [*(n for row in zip(right, up, back, position, strict=True) for n in row), 0, 0, 0, 1]
    numbers = {"fx": 420.0, "fy": 400.0, "cx": 190.0, "cy": 160.0, "w": 400, "h": 300}
    name = others.pop("name", f"{int(degrees):06}.jpg")
    return {"name": name, "matrix": matrix, **numbers, "thumb": uri(GREEN), "held_out": False, **others}


def frame(number: int, **others: Any) -> dict[str, Any]:
    values = {"time": number / 2, "sharpness": 100.0 + number, "exposure": 0.5 + number / 100}
    return {"name": f"{number * 30:06}.jpg", **values, "reason": None, "thumb": uri(GREEN), **others}


def full_page() -> dict[str, Any]:
    curve = {"x": [1, 100, 200], "y": [0.5, None, 0.1]}
    frames = [frame(i) for i in range(12)]
    frames[3].update(reason="blurred", sharpness=20.0)
    frames.append(frame(12, name="lost.jpg"))
    view = {"name": "000060.jpg", "photo": uri(RED), "rendering": uri(BLUE), "difference": uri(GREEN), "psnr": 24.31}
    return {
        "scene": "cube",
        "unit": "m",
        "meshes": [
            {"iteration": 100, "blob": "blob-early", "faces": 12, "label": None},
            {"iteration": 200, "blob": "blob-mesh", "faces": 12, "label": "delivered"},
        ],
        "cameras": [camera(30 * i, held_out=i == 2) for i in range(12)],
        "points": {"blob": "blob-points", "colours": "blob-colours"},
        "region": {"center": [0, 0, 0], "radius": 1.8},
        "crop": {"kind": "box", "center": [0, 0, 0], "size": [2.4, 2.4, 2.4], "rotation": [0, -1, 0, 1, 0, 0, 0, 0, 1]},
        "frames": frames,
        "rejected": [{"from": 1.4, "to": 1.6, "reason": "blurred"}, {"from": 5, "to": 5.5, "reason": "too dark"}],
        "training": {"series": [{"name": "loss", "unit": None, **curve}, {"name": "PSNR", "unit": "dB", **curve}]},
        "held_out": [view],
        "ring": {
            "sectors": [{"from": i, "to": i + 30, "frames": i % 60} for i in range(0, 360, 30)],
            "missing": [[300, 330], [345, 375]],
        },
    }


def full_blobs() -> dict[str, bytes]:
    points = np.random.default_rng(0).normal(size=(400, 3)) * 2
    colours = np.tile(np.array([[250, 0, 250]], np.uint8), (400, 1))
    return {
        "blob-early": cube(RED),
        "blob-mesh": cube(BLUE),
        "blob-points": points.astype("<f4").tobytes(),
        "blob-colours": colours.tobytes(),
    }


class Scene(Visit):
    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        super().__init__(browser, file, **options)
        self.page.evaluate("viewerReady")
        self.canvas = self.page.locator(".v-area")

    def state(self) -> dict[str, Any]:
        return dict(self.page.evaluate("viewerState()"))

    def settle(self) -> dict[str, Any]:
        """After flights and gliding: when nothing is drawn any more."""
        before = -1
        while (state := self.state())["frames"] != before or state["flying"]:
            before = state["frames"]
            self.page.wait_for_timeout(80)
        return state

    def picture(self) -> np.ndarray:
        self.settle()
        return pixels(self.canvas)

    def place(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Where a point of the world is in the window."""
        box = self.canvas.bounding_box()
        assert box
        left, top = self.page.evaluate(f"viewerPixels({x}, {y}, {z})")
        return box["x"] + 1 + left, box["y"] + 1 + top  # the border

    def click(self, x: float, y: float, z: float) -> None:
        self.page.mouse.click(*self.place(x, y, z))

    def drag(self, dx: float, dy: float) -> None:
        x, y = self.place(0, 0, 0)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx, y + dy, steps=3)
        self.page.mouse.up()

    def tool(self, name: str) -> None:
        self.page.click(f"[data-tool={name}]")

    def begin_again(self) -> None:
        """As after opening, which costs most of what a test costs."""
        self.page.evaluate("document.querySelectorAll('[aria-pressed=true]').forEach((button) => button.click())")
        self.page.check("input[value=colours]", force=True)
        self.tool("reset")
        self.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        self.page.mouse.move(0, 0)
        self.settle()

    def status(self) -> str:
        return self.page.locator(".v-status").inner_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as chromium:
        yield chromium


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    scenes: list[Scene] = []

    def opener(data: dict[str, Any], blobs: dict[str, bytes] | None = None, **options: Any) -> Scene:
        file = write_viewer_page(tmp_path / "scene.html", data, full_blobs() if blobs is None else blobs)
        scenes.append(Scene(browser, file, **{"reduced_motion": "reduce", **options}))
        return scenes[-1]

    yield opener
    for scene in scenes:
        scene.check()
        scene.context.close()


@pytest.fixture(scope="module")
def full(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    file = write_viewer_page(tmp_path_factory.mktemp("viewer") / "scene.html", full_page(), full_blobs())
    yield Scene(browser, file, reduced_motion="reduce")


@pytest.fixture
def scene(full: Scene) -> Iterator[Scene]:
    """A page with all parts."""
    full.begin_again()
    yield full
    full.check()


def close_to(found: np.ndarray, colour: tuple[int, int, int], by: int = 12) -> bool:
    return bool((np.abs(found - np.array(colour)) <= by).all())


def middle(picture: np.ndarray) -> np.ndarray:
    return np.asarray(picture[picture.shape[0] // 2, picture.shape[1] // 2])


def changed(first: np.ndarray, second: np.ndarray) -> int:
    """Pixels that differ."""
    return int((np.abs(first - second).max(-1) > 8).sum())


def test_a_mesh_with_a_picture_shows_it(visit: Opener) -> None:
    """Packed as the page packs it, and under the page's policy. Its vertices have no colours."""
    box = trimesh.creation.box((2, 2, 2)).subdivide()
    vertices, faces = np.array(box.vertices), np.array(box.faces)
    normals = np.array(box.vertex_normals)
    atlas = texture.unwrap(vertices, faces, 30, 512)
    picture = np.full((*atlas.size[::-1], 3), RED, np.uint8)
    model = models.read_content(gltf.read(texture.glb(vertices, normals, atlas, picture)))
    scene = visit(
        {"meshes": [{"iteration": 1, "blob": "m", "faces": len(faces), "label": None}]}, {"m": models.pack(model)}
    )
    assert close_to(middle(scene.picture()), RED)
    scene.page.check("input[value=shape]", force=True)
    assert not close_to(middle(scene.picture()), RED)


def test_the_mesh_is_drawn_large_in_the_middle(scene: Scene) -> None:
    picture = scene.picture()
    blue = picture[..., 2] > picture[..., 0] + 80
    assert 0.1 < blue.mean() < 0.7
    rows, columns = np.nonzero(blue)
    assert 0.7 < (rows.max() - rows.min()) / picture.shape[0] < 0.95
    assert columns.mean() == pytest.approx(picture.shape[1] / 2, rel=0.1)
    assert scene.status() == "Delivered, 12 faces"
    assert "a still" not in scene.page.locator("#viewer").inner_text()


def test_the_mesh_stands_upright(scene: Scene) -> None:
    assert scene.place(0, 0, 1)[1] < scene.place(0, 0, -1)[1] - 100


def test_dragging_turns_and_reset_turns_back(scene: Scene) -> None:
    before, start = scene.picture(), scene.state()["position"]
    scene.drag(120, 40)
    assert changed(before, scene.picture()) > 2000
    assert math.dist(start, scene.state()["position"]) > 1
    scene.tool("reset")
    assert scene.settle()["position"] == pytest.approx(start, abs=1e-6)
    assert changed(before, scene.picture()) < 200


def test_the_wheel_scrolls_the_page_until_the_viewer_is_chosen(scene: Scene) -> None:
    start = scene.state()["position"]
    scene.page.mouse.move(*scene.place(0, 0, 0))
    scene.page.mouse.wheel(0, 120)
    scene.page.wait_for_timeout(100)
    assert scene.settle()["position"] == start
    assert scene.page.evaluate("scrollY") > 0
    scene.page.evaluate("scrollTo(0, 0)")
    scene.click(0, 0, 0)
    scene.page.mouse.wheel(0, 120)
    scene.page.wait_for_timeout(100)
    assert math.hypot(*scene.settle()["position"]) > math.hypot(*start) * 1.02


def test_the_surface_has_four_looks(scene: Scene) -> None:
    looks = {}
    for mode in ("colours", "shape", "wireframe", "normals"):
        scene.page.check(f"input[value={mode}]", force=True)
        assert scene.state()["mode"] == mode
        looks[mode] = scene.picture()
    x, y = (round(v) for v in scene.page.evaluate("viewerPixels(0.3, 0.2, 1)"))
    top = {mode: picture[y, x] for mode, picture in looks.items()}
    assert np.ptp(top["shape"]) < 30  # grey
    assert top["colours"][2] > top["colours"][0] + 80
    assert np.ptp(top["normals"]) > 60
    assert changed(looks["wireframe"], looks["shape"]) > 500


@pytest.mark.parametrize("layer", ["cameras", "points", "region", "crop"])
def test_a_layer_is_shown_on_request_and_goes_again(scene: Scene, layer: str) -> None:
    button = scene.page.locator(f"[data-layer={layer}]")
    before = scene.picture()
    assert (scene.state()["layers"], button.get_attribute("aria-pressed")) == ([], "false")
    button.click()
    assert changed(before, scene.picture()) > 100
    assert (scene.state()["layers"], button.get_attribute("aria-pressed")) == ([layer], "true")
    button.click()
    assert changed(before, scene.picture()) == 0


def test_a_click_on_a_camera_shows_its_frame_and_flies_there(scene: Scene) -> None:
    scene.page.click("[data-layer=cameras]")
    scene.tool("reset")  # now all cameras are in view
    scene.settle()
    x, y, z = (5 * math.cos(math.radians(30)), 5 * math.sin(math.radians(30)), 1)
    scene.click(x, y, z)
    state = scene.settle()
    assert state["camera"] == state["lens"] == "000030.jpg"
    assert state["position"] == pytest.approx([x, y, z], abs=1e-5)
    card = scene.page.locator(".v-card")
    assert card.locator("img").get_attribute("src") == uri(GREEN)
    assert "000030.jpg" in card.inner_text()
    card.locator("[data-camera=next]").click()
    assert scene.settle()["camera"] == "000060.jpg"
    assert "held out" in card.inner_text()
    card.locator("[data-camera=previous]").click()
    assert scene.settle()["camera"] == "000030.jpg"
    card.locator("[data-camera=close]").click()
    assert (scene.settle()["camera"], card.is_visible()) == (None, False)


def test_turning_leaves_the_view_of_a_camera(scene: Scene) -> None:
    scene.tool("cameras")
    assert scene.settle()["lens"] == "000000.jpg"
    scene.drag(60, 0)
    state = scene.settle()
    assert state["lens"] is None
    assert math.dist(state["position"], [5, 0, 1]) > 0.3
    assert math.hypot(*state["position"]) == pytest.approx(math.hypot(5, 1), rel=0.05)  # still around the mesh


def test_a_cameras_view_is_exactly_its_picture(scene: Scene) -> None:
    scene.tool("cameras")  # at (5, 0, 1), looks along -x, y to the right, z up
    scene.page.click("[data-camera=compare]")
    scene.settle()
    box = scene.page.locator(".v-compare").bounding_box()
    assert box
    scale = box["width"] / 400
    assert box["height"] == pytest.approx(300 * scale, abs=0.1)
    for x, y, z in [(1, 1, 1), (1, -1, -1), (-1, 0.5, 1)]:
        depth = 5 - x
        left, top = scene.place(x, y, z)
        found = ((left - box["x"]) / scale, (top - box["y"]) / scale)
        assert found == pytest.approx((190 + 420 * y / depth, 160 - 400 * (z - 1) / depth), abs=0.05)


def test_the_divider_moves_between_frame_and_mesh(scene: Scene) -> None:
    scene.tool("cameras")
    scene.page.click("[data-camera=compare]")
    assert scene.settle()["comparing"] == "000000.jpg"
    box = scene.page.locator(".v-compare").bounding_box()
    assert box
    u, v = round(box["width"] * 0.48), round(box["height"] * 0.6)  # left of the middle, and in front of the cube
    shown = pixels(scene.page.locator(".v-compare"))
    assert close_to(shown[v, u], GREEN)
    scene.page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.3)
    assert scene.state()["split"] == pytest.approx(20, abs=2)
    assert not close_to(pixels(scene.page.locator(".v-compare"))[v, u], GREEN, 60)
    scene.page.keyboard.press("ArrowRight")
    assert scene.state()["split"] == pytest.approx(20.5, abs=2)
    scene.page.click("[data-camera=compare]")
    assert scene.state()["comparing"] is None


def test_a_milestone_can_be_chosen(scene: Scene) -> None:
    slider = scene.page.locator("[data-tool=milestone]")
    assert scene.state()["milestone"] == 200
    slider.press("ArrowLeft")
    scene.page.wait_for_timeout(200)
    assert scene.settle()["milestone"] == 100
    assert scene.status() == "100 iterations, 12 faces"
    red = middle(scene.picture())
    slider.press("ArrowRight")
    scene.page.wait_for_timeout(200)
    blue = middle(scene.picture())
    assert red[0] > red[2] + 80
    assert blue[2] > blue[0] + 80


def measure(scene: Scene) -> list[str]:
    """The words of the label after two clicks, 1.8 units apart."""
    scene.tool("measure")
    scene.click(-0.9, -0.9, 1)
    assert scene.state()["distance"] is None
    scene.click(0.9, -0.9, 1)
    assert scene.settle()["distance"] == pytest.approx(1.8, abs=0.02)
    label = scene.page.locator(".v-distance")
    expect(label).to_have_text(re.compile(r"\d+ \w+"))  # it is written with the next picture
    return label.inner_text().split()


def test_a_distance_is_measured_by_two_clicks(scene: Scene) -> None:
    number, unit = measure(scene)
    assert (float(number), unit) == (pytest.approx(1.8, abs=0.02), "m")
    scene.tool("measure")
    assert (scene.state()["measuring"], scene.state()["distance"]) == (False, None)


def test_a_flight_arrives_and_lengths_of_no_known_size_are_units(visit: Opener) -> None:
    scene = visit({**full_page(), "unit": None}, reduced_motion="no-preference")
    assert measure(scene)[1] == "units"
    start = scene.state()["position"]
    scene.tool("cameras")
    assert scene.state()["flying"]
    assert scene.settle()["position"] == pytest.approx([5, 0, 1], abs=1e-5)
    scene.tool("reset")
    assert scene.settle()["position"] == pytest.approx(start, abs=1e-6)
    scene.drag(50, 20)
    assert math.dist(scene.settle()["position"], start) > 0.5


def test_a_click_beside_the_mesh_measures_nothing(scene: Scene) -> None:
    scene.tool("measure")
    box = scene.canvas.bounding_box()
    assert box
    scene.page.mouse.click(box["x"] + 8, box["y"] + 8)
    assert "no mesh" in scene.status()


def test_all_works_with_the_keyboard(scene: Scene) -> None:
    scene.page.focus("canvas")
    start = scene.state()["position"]
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "+", "-"):
        before = scene.settle()["position"]
        scene.page.keyboard.press(key)
        assert math.dist(before, scene.settle()["position"]) > 0.05, key
    scene.page.keyboard.press("0")
    assert scene.settle()["position"] == pytest.approx(start, abs=1e-6)
    scene.tool("measure")
    scene.page.focus("canvas")
    scene.page.keyboard.press("Enter")
    scene.page.keyboard.press("ArrowLeft")
    scene.settle()
    scene.page.keyboard.press("Enter")
    assert scene.settle()["distance"] > 0
    scene.page.keyboard.press("Escape")
    assert scene.state()["measuring"] is False


def test_every_control_has_a_name(scene: Scene) -> None:
    scene.tool("cameras")
    scene.page.click("[data-camera=compare]")
    nameless = """[...document.querySelectorAll("button, input, canvas[role], [role=img], img")].filter((node) =>
        !(node.getAttribute("aria-label") || node.textContent.trim() || node.closest("label")?.textContent
          || node.hasAttribute("alt"))).map((node) => node.outerHTML)"""
    assert scene.page.evaluate(nameless) == []


def test_full_screen_is_asked_for(scene: Scene) -> None:
    scene.tool("full")
    scene.page.wait_for_timeout(200)
    assert scene.page.evaluate("document.fullscreenElement?.id") == "viewer"
    scene.tool("full")
    scene.page.wait_for_timeout(200)
    assert scene.page.evaluate("document.fullscreenElement") is None


def test_a_frame_of_the_filmstrip_flies_the_viewer_there(scene: Scene) -> None:
    frames = scene.page.locator("#filmstrip button")
    assert frames.count() == 13
    frames.nth(1).click()
    assert scene.settle()["camera"] == "000030.jpg"
    assert frames.nth(1).get_attribute("data-chosen") is not None
    scene.page.keyboard.press("ArrowRight")
    scene.page.keyboard.press("Enter")
    assert scene.settle()["camera"] == "000060.jpg"
    assert "no pose" in frames.last.inner_text()


def test_the_charts_show_quality_and_the_rejected_stretches(scene: Scene) -> None:
    chart = scene.page.locator("#quality-chart")
    assert chart.locator(".v-chart b").all_inner_texts() == ["Sharpness", "Exposure"]
    assert chart.locator("li").all_inner_texts() == ["1.4 s to 1.6 s: blurred", "5 s to 5.5 s: too dark"]
    plot = chart.locator(".u-over").first
    assert np.ptp(pixels(plot).reshape(-1, 3), 0).max() > 60
    box = plot.bounding_box()
    assert box
    plot.hover(position={"x": box["width"] * 3 / 12, "y": 20})
    assert chart.locator("output").first.inner_text() == "20 at 1.5 s · blurred"
    assert chart.locator("output").last.inner_text() == "0.53 at 1.5 s · blurred"


def test_clips_stand_one_after_the_other(visit: Opener) -> None:
    data = full_page()
    for number, one in enumerate(data["frames"]):
        one.update({"clip": "b.mp4", "start": 30, "time": number / 4} if number > 6 else {"clip": "a.mp4", "start": 0})
    data["rejected"] = [
        {"from": 0.5, "to": 2.5, "clip": "b.mp4", "start": 30, "reason": "too dark"},
        {"from": None, "to": None, "reason": "damaged"},
    ]
    scene = visit(data)
    chart = scene.page.locator("#quality-chart")
    assert chart.locator("li").all_inner_texts() == ["b.mp4, 0.5 s to 2.5 s: too dark", "damaged"]
    assert scene.page.locator("#filmstrip button").nth(8).inner_text() == "b.mp4, 2 s"
    plot = chart.locator(".u-over").first
    box = plot.bounding_box()
    assert box
    plot.hover(position={"x": box["width"] * 32 / 33, "y": 20})
    assert chart.locator("output").first.inner_text() == "108 at b.mp4, 2 s · too dark"


def test_a_finger_turns_the_mesh_two_zoom_and_a_tap_chooses_a_camera(visit: Opener) -> None:
    scene = visit(full_page(), has_touch=True, is_mobile=True, width=400)
    devtools = scene.context.new_cdp_session(scene.page)
    x, y = scene.place(0, 0, 0)

    def move(*paths: tuple[float, float]) -> None:
        """Fingers that begin beside the middle, and end where the path says from there."""
        for kind, share in (("touchStart", 0), ("touchMove", 0.5), ("touchMove", 1), ("touchEnd", None)):
            points = [
                {"x": x + 20 * number + dx * (share or 0), "y": y + dy * (share or 0), "id": number}
                for number, (dx, dy) in enumerate(paths)
            ]
            event = {"type": kind, "touchPoints": [] if share is None else points}
            devtools.send("Input.dispatchTouchEvent", event)

    start = scene.settle()
    move((90, 0))
    turned = scene.settle()
    assert math.dist(start["position"], turned["position"]) > 1
    move((-60, 0), (60, 0))
    zoomed = scene.settle()
    assert math.hypot(*zoomed["position"]) < 0.7 * math.hypot(*turned["position"])
    scene.tool("reset")
    scene.page.click("[data-layer=cameras]")
    scene.settle()
    scene.page.touchscreen.tap(*scene.place(-5, 0, 1))
    assert scene.settle()["camera"] == "000180.jpg"


def test_the_ring_shows_cameras_and_what_is_missing(scene: Scene) -> None:
    ring = scene.page.locator("#camera-ring")
    assert (ring.locator(".v-sector").count(), ring.locator(".v-camera").count()) == (12, 12)
    assert "Missing: 300° to 330°, 345° to 15°" in ring.inner_text()
    image, dot = ring.locator("svg").bounding_box(), ring.locator(".v-camera").nth(3).bounding_box()
    gap = ring.locator(".v-gap").first.bounding_box()
    assert image and dot and gap
    assert dot["y"] < image["y"] + image["height"] / 2 - 30  # 90 degrees is up
    assert gap["y"] > image["y"] + image["height"] / 2  # 300 to 330 is lower right
    assert gap["x"] > image["x"] + image["width"] / 2
    ring.locator(".v-camera").nth(3).click()
    assert scene.settle()["camera"] == "000090.jpg"


def test_training_and_held_out_views_are_shown(scene: Scene) -> None:
    assert scene.page.locator("#training-charts b").all_inner_texts() == ["loss", "PSNR (dB)"]
    assert scene.page.locator("#training-charts output").first.inner_text() == "0.1 at 200"
    held = scene.page.locator("#held-out")
    assert held.locator("img").count() == 3
    assert "PSNR 24.3 dB" in held.inner_text()
    assert scene.page.evaluate("[...document.querySelectorAll('#held-out img')].every((i) => i.naturalWidth === 40)")


def filled(scene: Scene) -> list[str]:
    return [str(name) for name in scene.page.evaluate("[...document.querySelectorAll('.v')].map((node) => node.id)")]


def test_a_page_without_data_stays_as_it_was_written(visit: Opener) -> None:
    scene = visit({}, {})
    assert filled(scene) == []
    assert scene.page.locator("#viewer").inner_text() == "a still"


def test_a_scene_that_was_stopped_shows_points_and_cameras(visit: Opener) -> None:
    scene = visit({**full_page(), "meshes": [], "training": None, "held_out": None})
    assert "no mesh yet" in scene.status()
    assert scene.settle()["layers"] == ["cameras", "points"]
    assert np.ptp(scene.picture().reshape(-1, 3), 0).max() > 100
    assert scene.page.locator("input[name=v-mode], [data-tool=measure], [data-tool=milestone]").count() == 0
    scene.tool("cameras")
    assert scene.settle()["camera"] == "000000.jpg"
    assert scene.page.locator("[data-camera=compare]").count() == 0


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        ("scene cameras training", ["viewer", "filmstrip", "quality-chart", "camera-ring", "held-out"]),
        ("points frames held_out", ["viewer", "camera-ring", "training-charts"]),
        ("region crop ring rejected", ["viewer", *CONTAINERS[1:]]),
    ],
)
def test_missing_parts_leave_the_page_correct(visit: Opener, missing: str, left: list[str]) -> None:
    scene = visit({**full_page(), **dict.fromkeys(missing.split())})
    assert filled(scene) == left
    assert scene.settle()["milestone"] == 200
    buttons = scene.page.locator("[data-layer]").evaluate_all("(nodes) => nodes.map((node) => node.dataset.layer)")
    assert buttons == [name for name in ("cameras", "points", "region", "crop") if name not in missing.split()]


def test_a_mesh_that_cannot_be_read_is_named(visit: Opener) -> None:
    scene = visit(full_page(), {**full_blobs(), "blob-mesh": b"no mesh at all"})
    assert "The mesh cannot be read" in scene.status()
    assert scene.page.locator("#held-out img").count() == 3


def test_without_webgl_there_is_a_sentence_and_all_else(visit: Opener) -> None:
    no_webgl = """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...others) {
            return kind.startsWith("webgl") ? null : get.call(this, kind, ...others);
        };"""
    scene = visit(full_page(), before=no_webgl)
    assert "no WebGL" in scene.page.locator("#viewer").inner_text()
    assert "a still" in scene.page.locator("#viewer").inner_text()
    assert scene.page.evaluate("viewerState()") is None
    assert scene.page.locator("#filmstrip button").count() == 13
    scene.page.locator("#filmstrip button").first.click()


def test_text_from_outside_stays_text(visit: Opener) -> None:
    data = full_page()
    data["scene"] = data["unit"] = HOSTILE
    for part in (data["frames"], data["cameras"], data["held_out"], data["training"]["series"]):
        part[0]["name"] = HOSTILE
    data["frames"][1]["thumb"] = "javascript:alert(1)"
    data["frames"][2]["thumb"] = "https://example.org/a.jpg"
    data["rejected"][0]["reason"] = data["meshes"][1]["label"] = data["training"]["series"][1]["unit"] = HOSTILE
    scene = visit(data)
    scene.tool("cameras")
    scene.settle()
    scene.page.click("[data-camera=compare]")
    assert HOSTILE in scene.page.locator(".v-card").inner_text()
    assert HOSTILE in scene.page.locator("#quality-chart").inner_text()
    assert scene.page.locator("[onerror], img[src=x]").count() == 0


def test_the_page_fits_small_and_large_screens_by_day_and_night(scene: Scene) -> None:
    scene.tool("cameras")
    scene.page.click("[data-camera=compare]")
    try:
        for width in (400, 1280):
            scene.page.set_viewport_size({"width": width, "height": 700})
            scene.settle()
            assert scene.page.evaluate("document.documentElement.scrollWidth") <= width
            for scheme, dark in (("light", False), ("dark", True)):
                scene.page.emulate_media(color_scheme=scheme)
                assert (pixels(scene.page.locator("fieldset")).mean() < 128) == dark
    finally:
        scene.page.emulate_media(color_scheme="null")
        scene.page.set_viewport_size({"width": 800, "height": 700})


def test_paper_gets_a_still(scene: Scene) -> None:
    scene.page.pdf()  # asks as a user who prints does
    scene.page.emulate_media(media="print")
    still = scene.page.locator(".v-still")
    assert still.is_visible()
    assert np.ptp(pixels(still).reshape(-1, 3), 0).max() > 100
    assert not scene.page.locator(".v-bar").is_visible()
    scene.page.emulate_media(media="null")
