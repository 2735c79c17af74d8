"""The page that sets region and crop, in a real browser, with its server."""

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from browser import needs_chromium, open_browser, pixels
from videomesh.adjust import page as adjust
from videomesh.adjust.server import Server
from videomesh.adjust.workflow import Project
from videomesh.region.by_hand import ByHand, read_by_hand

pytestmark = needs_chromium

FILE = Path("config/regions/thing.json")
TURN = 30  # degrees by which the thing stands turned


class Visit:
    """The page in a window of its own. Nothing may be complained about, nor asked for elsewhere."""

    def __init__(self, browser: Browser, server: Server, width: int = 1280, height: int = 800, **options: Any) -> None:
        settings = {"viewport": {"width": width, "height": height}, "reduced_motion": "reduce", **options}
        self.context = browser.new_context(**settings)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.server = server
        self.page.goto(server.url)
        self.page.evaluate("adjustReady")

    def close(self) -> None:
        self.complaints = [words for words in self.complaints if "409 (Conflict)" not in words]  # Chromium's own words
        assert self.complaints == []
        elsewhere = [url for url in self.requests if not url.startswith((self.server.url, "data:", "blob:"))]
        assert elsewhere == []
        self.context.close()

    def state(self) -> dict[str, Any]:
        return dict(self.page.evaluate("adjustState()"))

    @property
    def shape(self) -> dict[str, Any]:
        return dict(self.state()["shape"])

    def do(self, name: str) -> None:
        self.page.click(f"[data-do={name}]")

    def pick(self, value: str) -> None:
        self.page.check(f"input[value={value}]", force=True)

    def type(self, field: str, text: str) -> None:
        self.page.fill(f"[data-field={field}]", text)
        self.page.press(f"[data-field={field}]", "Tab")

    def answer(self, yes: bool) -> str:
        """Of the dialog, whose words come back."""
        dialog = self.page.locator("dialog")
        words = dialog.inner_text()
        dialog.locator(f"[data-answer={'yes' if yes else 'no'}]").click()
        return words

    def said(self, words: str) -> str:
        """What the page says, once it says these words."""
        status = self.page.locator(".v-said", has_text=words)
        status.wait_for()
        return status.inner_text()

    def tip(self, axis: str) -> tuple[float, float]:
        """Where the end of a handle is in the window."""
        box = self.page.locator(".v-area").bounding_box()
        assert box
        left, top = self.page.evaluate(f"adjustTip('{axis}')")
        return box["x"] + 1 + left, box["y"] + 1 + top

    def pull(self, axis: str, dx: float, dy: float) -> None:
        """Drag the end of a handle by pixels."""
        x, y = self.tip(axis)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx, y + dy, steps=4)
        self.page.mouse.up()
        self.page.mouse.move(0, 0)

    def pull_with_finger(self, axis: str, dx: float, dy: float) -> None:
        x, y = self.tip(axis)
        session = self.context.new_cdp_session(self.page)
        for kind, points in (
            ("touchStart", [{"x": x, "y": y}]),
            ("touchMove", [{"x": x + dx / 2, "y": y + dy / 2}]),
            ("touchMove", [{"x": x + dx, "y": y + dy}]),
            ("touchEnd", []),
        ):
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as chromium:
        yield chromium


@pytest.fixture
def server(project: Project) -> Iterator[Server]:
    page = adjust.Page(project, "thing")
    with Server(page.show, page.ask, page.save) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Visit]:
    opened = Visit(browser, server)
    yield opened
    opened.close()


def read() -> ByHand:
    return read_by_hand(FILE)


def count_red(picture: np.ndarray) -> int:
    red, green, blue = np.moveaxis(picture, -1, 0)
    return int(((red > green + 50) & (red > blue + 50)).sum())


def test_a_shape_is_made_by_numbers_buttons_and_keys_and_undone(visit: Visit) -> None:
    assert visit.shape == {"kind": "sphere", "center": [0, 0, 0.5], "radius": 2}, "begins with the region in use"
    start = visit.state()
    assert start["inside"]["subject"] == start["total"]["subject"] > 100 and start["inside"]["cut"] == 0
    assert 0 < start["inside"]["points"] < start["total"]["points"] and start["inside"]["cameras"] == 0

    area = visit.page.locator(".v-area")
    before = count_red(pixels(area))
    visit.type("radius0", "0.6")
    half = visit.state()
    assert half["shape"]["radius"] == 0.6 and 0.2 < half["inside"]["cut"] < 0.9
    assert count_red(pixels(area)) > before + 2000, "what is cut off is red"
    assert half["inside"]["subject"] < half["total"]["subject"]
    for text in ("0", "-1", ""):
        visit.type("radius0", text)
        assert visit.shape["radius"] == 0.6 and "above 0" in visit.said("Type a number")
    assert visit.page.input_value("[data-field=radius0]") == "0.6"

    visit.do("fit")
    fitted = visit.state()
    assert fitted["inside"]["cut"] == 0 and fitted["inside"]["subject"] == fitted["total"]["subject"]
    assert np.allclose(fitted["shape"]["center"], [0, 0, 0.5], atol=0.05)
    assert 1.0 < fitted["shape"]["radius"] / math.hypot(1, 0.5, 0.5) < 1.12

    visit.pick("box")
    assert visit.shape["size"] == [2 * fitted["shape"]["radius"]] * 3
    visit.do("fit")
    box = visit.state()
    assert np.allclose(sorted(box["shape"]["size"]), [1, 1, 2], atol=0.15), box
    assert box["inside"]["cut"] == 0
    turned = [float(visit.page.input_value(f"[data-field=angles{axis}]")) for axis in range(3)]
    assert turned[:2] == [0, 0] and (turned[2] - TURN) % 90 == pytest.approx(0, abs=3.1)

    visit.type("angles0", "20")
    visit.type("size2", "0.5")
    visit.type("center1", "0.25")
    shape = visit.shape
    assert shape["size"][2] == 0.5 and shape["center"][1] == 0.25
    rotation = np.array(shape["rotation"]).reshape(3, 3)
    assert np.allclose(rotation @ rotation.T, np.eye(3)) and rotation[2, 2] == pytest.approx(math.cos(math.radians(20)))
    assert json.loads(visit.page.input_value("textarea"))["size"][2] == 0.5

    place = visit.state()["place"]
    for _ in range(3):
        visit.do("undo")
    assert visit.shape == box["shape"]
    visit.page.evaluate("document.activeElement.blur()")
    visit.page.keyboard.press("Control+z")
    visit.page.keyboard.press("Control+z")
    assert visit.shape == fitted["shape"]
    visit.page.keyboard.press("Control+Shift+z")
    visit.page.keyboard.press("Control+y")
    visit.do("redo")
    assert visit.state()["place"] == place - 2

    for name in ("upright", "use-crop", "fit-mesh", "fit-points", "use-region", "larger", "smaller"):
        before = visit.shape
        visit.do(name)
        assert visit.shape != before or name == "fit-mesh", name
    assert visit.shape["radius"] == pytest.approx(2), "the region, larger and smaller again"


def test_handles_move_turn_and_size_the_shape_and_the_picture_shows_it(visit: Visit) -> None:
    area = visit.page.locator(".v-area")
    before, picture = visit.shape, pixels(area)
    red, green, blue = np.moveaxis(picture, -1, 0)
    assert ((red > green + 60) & (blue > green + 20)).sum() > 300, "the lines of the shape are pink"
    visit.pull("Z", 0, -60)
    moved = visit.shape
    assert moved["center"][2] > before["center"][2] + 0.1
    assert moved["center"][:2] == pytest.approx(before["center"][:2]) and moved["radius"] == before["radius"]
    assert visit.state()["place"] == 1 and (np.abs(pixels(area) - picture).max(-1) > 8).sum() > 1000
    visit.pick("scale")
    visit.pull("Z", 0, -40)
    assert visit.shape["radius"] > moved["radius"] * 1.05
    assert visit.page.is_disabled("input[value=rotate]"), "a sphere cannot be turned"
    visit.pick("box")
    size = visit.shape["size"]
    visit.pull("Z", 0, -40)
    assert visit.shape["size"][2] > size[2] * 1.05 and visit.shape["size"][:2] == pytest.approx(size[:2])
    visit.page.focus("canvas")
    visit.page.keyboard.press("t")
    assert visit.state()["mode"] == "rotate"
    visit.page.keyboard.press("m")
    assert visit.state()["mode"] == "translate"
    visit.pick("sphere")
    visit.page.keyboard.press("t")
    assert visit.state()["mode"] == "translate"


def test_saving_tells_first_what_is_cut_off_and_round_trips(visit: Visit) -> None:
    visit.do("save-region")
    assert "The next run makes region, gate, train (200 iterations), mesh" in visit.said("Saved: the region")
    assert read() == ByHand({"center": [0, 0, 0.5], "radius": 2}, "", None), "nothing is cut off: no question"

    visit.pick("box")
    visit.type("size0", "1.25")
    visit.type("angles2", "30")
    visit.do("save-crop")
    words = visit.answer(yes=False)
    assert (
        "cuts off the mesh" in words and "points of the subject are outside" in words and "Nothing is trained" in words
    )
    visit.said("Nothing was saved.")
    assert read().crop is None
    visit.do("save-crop")
    visit.answer(yes=True)
    visit.said("Saved: the crop")
    crop = read().crop
    assert crop and crop["size"] == [1.25, 4, 4] and np.allclose(crop["center"], [0, 0, 0.5])
    half = math.sqrt(3) / 2
    assert np.allclose(crop["rotation"], [half, -0.5, 0, 0.5, half, 0, 0, 0, 1])

    visit.page.reload()
    visit.page.evaluate("adjustReady")
    assert np.allclose(visit.shape["rotation"], crop["rotation"]) and visit.shape["size"] == crop["size"]
    visit.do("save-region")  # the sphere round the box
    visit.answer(yes=True) if visit.page.locator("dialog").count() else None
    visit.said("Saved: the region")
    saved = read()
    assert saved.crop == crop and saved.region
    assert saved.region["radius"] == pytest.approx(math.hypot(1.25, 4, 4) / 2)
    visit.do("remove-region")
    visit.said("Removed")
    assert read() == ByHand(None, "", crop)
    visit.do("keep-all")
    visit.said("Saved: the crop")
    assert read().crop == {"method": "none"}
    visit.do("remove-crop")
    visit.said("Removed")
    assert not FILE.exists()


def test_a_file_that_changed_meanwhile_is_not_written_over_silently(visit: Visit) -> None:
    FILE.parent.mkdir(parents=True)
    FILE.write_text(json.dumps({"center": [1, 2, 3], "radius": 4, "crop": "none"}))
    visit.do("save-region")
    assert "changed since this page was opened" in (words := visit.answer(yes=False)) and '"radius":4' in words
    visit.said("Nothing was saved.")
    assert read().region == {"center": [1, 2, 3], "radius": 4}
    visit.do("save-region")
    visit.answer(yes=True)
    visit.said("Saved: the region")
    assert read() == ByHand({"center": [0, 0, 0.5], "radius": 2}, "", {"method": "none"})


def test_another_scenes_region_and_crop_are_copied(visit: Visit) -> None:
    visit.do("copy-crop")
    visit.said("This is the crop of other")
    assert visit.shape == {"kind": "sphere", "center": [1, 2, 3], "radius": 0.5}
    visit.do("copy-region")
    visit.said("other has no region with numbers.")


def test_a_small_shape_far_from_the_middle_keeps_its_digits(visit: Visit) -> None:
    """As in a survey's coordinates."""
    for field, text in (("center0", "456789.123456"), ("center1", "5400000.5"), ("radius0", "0.0123456")):
        visit.type(field, text)
    visit.do("save-crop")
    visit.answer(yes=True)
    visit.said("Saved: the crop")
    assert read().crop == {"method": "sphere", "center": [456789.123456, 5400000.5, 0.5], "radius": 0.0123456}


def test_results_in_a_bucket_a_file_of_the_add_on_and_hostile_names(
    browser: Browser, project: Project, root: Path
) -> None:
    """Costs are told before anything is saved; nothing from outside becomes a part of the page."""
    hostile = "</script><img src=x onerror=alert(1)>\"'&"
    transforms = root / "results/thing/region/transforms.json"
    transforms.write_text(transforms.read_text().replace("000003.jpg", json.dumps(hostile)[1:-1]))
    FILE.parent.mkdir(parents=True)
    FILE.write_text(json.dumps({"sphere_center": [0, 0, 0.5], "sphere_radius": 1.5, "frames": [], "note": hostile}))

    def fetch(scene: str, names: Any) -> list[Path]:
        return [path for name in names if (path := root / "results" / scene / name).exists()]

    page = adjust.Page(Project({**project.scenes, hostile: project.scenes["other"]}, fetch), "thing")
    with Server(page.show, page.ask, page.save) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        visit = Visit(browser, server, width=400, height=700, color_scheme="dark", has_touch=True)
        assert visit.shape["radius"] == 1.5
        assert visit.page.evaluate("document.images.length") < 3 and visit.page.locator("[onerror]").count() == 0
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400
        visit.pull_with_finger("Z", 0, -40)
        assert visit.shape["center"][2] > 0.6 and visit.page.evaluate("scrollY") == 0
        visit.do("undo")
        visit.page.select_option("select", hostile)
        visit.do("copy-crop")
        visit.said(f"This is the crop of {hostile}")
        visit.do("use-region")
        visit.do("save-region")
        words = visit.answer(yes=True)
        assert "which costs" in words and "was saved by Blender" in words
        visit.said("Saved: the region")
        visit.close()
        server.shutdown()
    assert read().region == {"center": [0, 0, 0.5], "radius": 2}


def test_without_webgl_the_numbers_can_still_be_set(browser: Browser, server: Server) -> None:
    visit = Visit(browser, server)
    visit.page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    visit.page.reload()
    visit.page.evaluate("adjustReady")
    visit.type("radius0", "0.6")
    visit.do("save-region")
    assert "points of the subject are outside" in visit.answer(yes=True)
    visit.said("Saved: the region")
    assert read().region == {"center": [0, 0, 0.5], "radius": 0.6}
    visit.close()
