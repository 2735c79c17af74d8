"""The page of a scene: what it holds, what it does without, and that nothing from outside runs in it."""

import base64
import hashlib
import json
import os
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videomesh.report import figures, page
from videomesh.report.collect import collect, merge
from videomesh.report.results import Results, find_files, find_state, name_files
from videomesh.scene import SparsePoints, write_points

SETTINGS: dict[str, Any] = {
    "engine": "sdfgrid",
    "video": "ball.mp4",
    "gate": {"mode": "fail"},
    "crop": {"method": "auto"},
    "train": {"iterations": 200, "milestones": [100]},
}


class Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles by id or tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.key = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.key = dict(attrs).get("id") or tag if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        if self.key:
            self.texts.setdefault(self.key, []).append(data)

    def handle_endtag(self, tag: str) -> None:
        self.key = ""

    def text(self, key: str) -> str:
        return "".join(self.texts.get(key, []))


def get_results(root: Path, scene: str = "ball", **settings: Any) -> Results:
    return Results(scene, {**SETTINGS, **settings}, find_files(root, scene))


def make(root: Path, scene: str = "ball", **settings: Any) -> tuple[str, dict[str, Any]]:
    results = get_results(root, scene, **settings)
    return page.make_page(results, find_state(results), root, "c0de")


def read_data(html: str) -> dict[str, Any]:
    data = json.loads(Elements(html).text("page-data"))
    assert isinstance(data, dict)
    return data


def test_the_data_is_what_the_viewer_expects(root: Path) -> None:
    html, _ = make(root)
    data = read_data(html)
    assert data["scene"] == "ball" and data["unit"] is None
    assert [(mesh["iteration"], mesh["label"]) for mesh in data["meshes"]] == [
        (100, "milestone 100"),
        (200, "delivered"),
    ]
    camera = data["cameras"][0]
    assert set(camera) == {"name", "matrix", "fx", "fy", "cx", "cy", "w", "h", "thumb", "held_out"}
    assert np.allclose(np.reshape(camera["matrix"], (4, 4))[:3, 3], [4, 0, 0])
    assert np.allclose(np.reshape(camera["matrix"], (4, 4))[:3, 2], [1, 0, 0])  # OpenGL: z points backward
    assert [camera["held_out"] for camera in data["cameras"]] == [False, True, False, False, False, True, False, False]
    assert camera["thumb"].startswith("data:image/jpeg;base64,")
    assert data["region"] == {"center": [0, 0, 0], "radius": 1.5}
    assert data["crop"] == {"kind": "sphere", "center": [0, 0, 0], "radius": 1.2}
    assert data["frames"][2]["time"] == 0.5 and data["frames"][2]["reason"] is None
    assert data["rejected"] == [{"from": 0.5, "to": 0.9, "reason": "the camera stands"}]
    assert {series["name"]: series["unit"] for series in data["training"]["series"]} == {"loss": None, "psnr": "dB"}
    assert data["training"]["series"][0]["x"] == [1, 200]
    assert [entry["name"] for entry in data["held_out"]] == ["000001.jpg", "000005.jpg"]
    assert all(entry["psnr"] > 3 for entry in data["held_out"])
    for blob in [mesh["blob"] for mesh in data["meshes"]] + [data["points"]["blob"], data["points"]["colours"]]:
        assert base64.b64decode(Elements(html).text(blob))
    points = np.frombuffer(base64.b64decode(Elements(html).text("blob-points")), "<f4").reshape(-1, 3)
    assert np.allclose(points, np.eye(3))


def test_several_clips_lie_end_to_end(root: Path) -> None:
    path = root / "results/ball/frames/frames.json"
    content = json.loads(path.read_text())
    for number, frame in enumerate(content["frames"]):
        frame["clip"] = int(number >= 4)
    content["rejected"][0]["clip"] = 1
    content["clips"] = [
        {"name": "a.mp4", "frames": 20, "duration": 3.5},
        {"name": "b.mp4", "frames": 20, "duration": 1},
    ]
    path.write_text(json.dumps(content))
    data = read_data(make(root)[0])
    places = [(frame["clip"], frame["start"]) for frame in data["frames"]]
    assert places == [("a.mp4", 0)] * 4 + [("b.mp4", 3.5)] * 4
    stretch = {"from": 0.5, "to": 0.9, "clip": "b.mp4", "start": 3.5, "reason": "the camera stands"}
    assert data["rejected"] == [stretch]


def test_points_have_the_colour_of_the_first_frame_that_sees_them(root: Path) -> None:
    colours = np.frombuffer(collect(get_results(root)).blobs["blob-point-colours"], np.uint8).reshape(-1, 3)
    assert np.abs(colours[:, 0].astype(int) - [0, 60, 100]).max() < 5


def test_points_that_nobody_sees_are_grey(root: Path) -> None:
    nobody = SparsePoints(np.eye(3), np.ones(3), np.zeros(3), np.empty((3, 0), int), np.ones(3, bool))
    write_points(root / "results/ball/region/points.npz", nobody)
    assert set(collect(get_results(root)).blobs["blob-point-colours"]) == {128}


def test_the_ring_names_the_sides_that_nobody_filmed(root: Path) -> None:
    ring = read_data(make(root)[0])["ring"]
    assert sum(sector["frames"] for sector in ring["sectors"]) == 8
    assert ring["missing"] == [[260.0, 310.0]]  # cameras stand at 0 to 210, and reach 45 degrees to both sides


def test_stretches_across_zero_are_one() -> None:
    missing = np.zeros(36, bool)
    missing[[0, 1, 34, 35, 10]] = True
    assert merge(missing, 10.0) == [[100.0, 110.0], [340.0, 380.0]]
    assert merge(np.ones(36, bool), 10.0) == [[0.0, 360.0]]
    assert merge(np.zeros(36, bool), 10.0) == []


@pytest.mark.parametrize(
    "crop, expected",
    [
        (
            {"method": "sphere", "center": [1, 2, 3], "radius": 0.5},
            {"kind": "sphere", "center": [1, 2, 3], "radius": 0.5},
        ),
        (
            {"method": "box", "box": [[0, 2], [-1, 1], [0, 4]]},
            {"kind": "box", "center": [1, 0, 2], "size": [2, 2, 4], "rotation": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
        ),
        (
            {"method": "box", "center": [1, 0, 2], "size": [2, 2, 4], "rotation": [0, -1, 0, 1, 0, 0, 0, 0, 1]},
            {"kind": "box", "center": [1, 0, 2], "size": [2, 2, 4], "rotation": [0, -1, 0, 1, 0, 0, 0, 0, 1]},
        ),
        ({"method": "none"}, None),
    ],
)
def test_the_crop_is_as_configured(root: Path, crop: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert collect(get_results(root, crop=crop)).data.get("crop") == expected


# --- what is missing --------------------------------------------------------------------------------------------------


FILES = [
    "frames/frames.json",
    "poses/images.tar",
    "poses/poses.json",
    "region/transforms.json",
    "region/region.json",
    "region/points.npz",
    "gate/gate.json",
    "train/config/config.yaml",
    "train/200/metrics.jsonl",
    "mesh/200/mesh.json",
    "mesh/200/mesh.glb",
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", [None, b"\0broken", b"[1, 2]", b"{}"])
def test_any_file_may_be_missing_or_broken(root: Path, file: str, content: bytes | None) -> None:
    path = root / "results/ball" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    html, summary = make(root)
    assert "<h1>ball</h1>" in html and summary["scene"] == "ball"


def test_nothing_at_all_is_a_page(tmp_path: Path) -> None:
    html, summary = make(tmp_path)
    assert summary["state"] == "waiting" and "The next stage is ingest" in html
    assert all(f'id="{name}"' in html for name in ("viewer", "filmstrip", "quality-chart", "camera-ring"))


def test_a_milestone_that_is_missing_is_not_delivered(root: Path) -> None:
    shutil.rmtree(root / "results/ball/mesh/200")
    data = read_data(make(root)[0])
    assert [mesh["label"] for mesh in data["meshes"]] == ["milestone 100"]


# --- what the page may claim -----------------------------------------------------------------------------------------


def write_metrics(root: Path, milestone: int, *lines: dict[str, Any]) -> None:
    path = root / f"results/ball/train/{milestone}/metrics.jsonl"
    path.write_text("".join(json.dumps({"seconds": 1.0, "psnr": 20.0, **line}) + "\n" for line in lines))


def test_frames_that_taught_in_the_end_are_not_called_unseen(root: Path) -> None:
    told = {"iteration": 100, "training_frames": 6, "held_out_psnr": 23.2}
    write_metrics(root, 200, told)
    html, summary = make(root)
    assert "did not see</h2>" in html and "measured at iteration" not in html, "the training has not gone on"
    write_metrics(root, 200, told, {"iteration": 200, "training_frames": 8})
    html, summary = make(root)
    data = read_data(html)
    assert "Frames that training did not see before iteration 100</h2>" in html
    assert "100; from then on it saw all frames" in html and summary["held_out_psnr"] == "23.20 dB"
    assert not any(camera["held_out"] for camera in data["cameras"])
    assert [entry["name"] for entry in data["held_out"]] == ["000001.jpg", "000005.jpg"]
    assert {series["name"] for series in data["training"]["series"]} == {"psnr", "held_out_psnr"}


def test_neuralangelo_is_not_said_to_be_measured_on_unseen_frames(root: Path) -> None:
    """It validates on some of the frames that it trains on."""
    write_metrics(root, 200, {"iteration": 200, "validation_psnr": 24.5})
    html, summary = make(root)
    assert "PSNR of some whole frames" in html and "24.50 dB" in html and summary["held_out_psnr"] is None


def test_a_training_that_ended_early_claims_no_iterations_that_were_not_made(root: Path) -> None:
    """Its milestone is 200. The milestone before had ended it, so both have one mesh."""
    rows = [{"iteration": 64, "surface_moved": 1e-4, "still_at": 64, "ends_at": 80}, {"iteration": 80}]
    for milestone in (100, 200):
        write_metrics(root, milestone, *rows)
        path = root / f"results/ball/mesh/{milestone}/mesh.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "iteration": 80}))
    html, _ = make(root)
    assert [(mesh["iteration"], mesh["label"]) for mesh in read_data(html)["meshes"]] == [(80, "delivered")]
    assert "the surface stood still at iteration 64; 120 of 200 were saved" in html
    shown = dict(figures.list_training(get_results(root)))
    assert shown["iterations"] == "80" == dict(figures.list_mesh(get_results(root)))["iterations"]


# --- states -----------------------------------------------------------------------------------------------------------


def stop(root: Path) -> None:
    path = root / "results/ball/gate/gate.json"
    gate = json.loads(path.read_text())
    entry = {**gate["checks"][0], "verdict": "fail", "value": 1.0, "advice": "Film <b>slower</b>."}
    path.write_text(json.dumps({**gate, "verdict": "fail", "checks": [entry]}))


def test_a_scene_stopped_by_the_gate_says_why_on_top(root: Path) -> None:
    stop(root)
    html, summary = make(root)
    assert summary["state"] == "stopped" and summary["reason"].startswith("track_length is 1 points and should be")
    assert html.index("Why it stopped") < html.index('id="viewer"')
    assert html.index("track_length is 1 points") < html.index('id="viewer"')
    assert make(root, gate={"mode": "warn"})[1]["state"] == "done"


def test_a_failed_stage_shows_the_end_of_its_log(root: Path) -> None:
    shutil.rmtree(root / "results/ball/mesh/200")
    (root / "results/ball/mesh/200").mkdir()
    log = root / "results/ball/mesh/200/mesh.log"
    log.write_text("".join(f"line {number}\n" for number in range(5000)) + "error: out of memory\n")
    html, summary = make(root)
    assert (summary["state"], summary["stage"]) == ("failed", "mesh")
    assert "error: out of memory" in html and "line 4999" in html and "line 4000" not in html
    results = get_results(root)
    assert find_state(results, running=True).name == "running"
    log.write_text("")
    assert find_state(get_results(root)).name == "waiting"


def test_the_mesh_of_another_region_is_left_out(root: Path) -> None:
    results = get_results(root)
    assert results.without_outdated().files == results.files
    later = time.time() + 10
    os.utime(root / "results/ball/region/transforms.json", (later, later))
    kept = get_results(root).without_outdated().files
    assert "mesh/200/mesh.glb" not in kept and "train/200/metrics.jsonl" not in kept
    assert {"train/config/config.yaml", "gate/gate.json"} <= set(kept)


def test_files_of_a_copy_of_a_bucket_have_the_same_names() -> None:
    paths = [Path(".snakemake/storage/s3/b/results/results/frames/frames.json"), Path("x/videos/results/video.mp4")]
    assert set(name_files("results", paths)) == {"frames/frames.json", "source"}


# --- what comes from outside ------------------------------------------------------------------------------------------

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); '",
    "]]><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028\u2029 javascript:alert(1)",
    "&lt;script&gt;",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_outside_becomes_an_element(root: Path, text: str) -> None:
    """Names, reasons, messages, metrics, settings and logs: the page has the elements that it has without them."""
    plain, _ = make(root)
    folder = root / "results/ball"

    def change(file: str, **changes: Any) -> None:
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    frames = json.loads((folder / "frames/frames.json").read_text())["frames"]
    change("frames/frames.json", source=text, frames=[{**frame, "name": text} for frame in frames],
           rejected=[{"clip": 0, "from": 0.5, "to": 0.9, "frames": 9, "reason": text}])  # fmt: skip
    change("poses/poses.json", backend=text, unregistered=[text], attempts=[{"name": text}])
    gate = json.loads((folder / "gate/gate.json").read_text())["checks"]
    changed = [{**entry, "name": text, "meaning": text, "advice": text, "unit": text} for entry in gate]
    change("gate/gate.json", checks=changed)
    change("mesh/200/mesh.json", extractor=text, verdict=text)
    metrics = folder / "train/200/metrics.jsonl"
    metrics.write_text(json.dumps({"iteration": 1, "loss": 1.0, text: 2.0, "psnr": 3.0}) + "\n")
    html, _ = make(root, video=text, engine=text)

    def list_tags(page: str) -> set[tuple[str, str]]:
        return {(tag, name) for tag, attributes in Elements(page).tags for name in attributes}

    assert list_tags(html) - {("li", "class")} <= list_tags(plain)
    assert len([tag for tag, _ in Elements(html).tags if tag == "script"]) == len(
        [tag for tag, _ in Elements(plain).tags if tag == "script"]
    )
    assert read_data(html)["frames"][0]["name"] == text
    assert "<!--" not in html


def test_a_hostile_log_is_text(root: Path) -> None:
    shutil.rmtree(root / "results/ball/mesh/200")
    (root / "results/ball/mesh/200").mkdir()
    (root / "results/ball/mesh/200/mesh.log").write_bytes(b"\xff</pre><script>alert(1)</script>")
    html, _ = make(root)
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)" in html


# --- the policy -------------------------------------------------------------------------------------------------------


def test_only_the_page_s_own_script_and_styles_may_run(root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    files = {"assets/viewer.js": "let viewer = '<\u00e9>';\n", "assets/viewer.css": "#viewer { color: red }\n"}

    def read(name: str) -> str:
        return files.get(name) or (page.HERE / name).read_text()

    monkeypatch.setattr(page, "read_asset", read)
    html, _ = make(root)
    elements = Elements(html)
    policy = next(str(attributes["content"]) for tag, attributes in elements.tags
                  if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy")  # fmt: skip
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["data:", "blob:"] and rules["connect-src"] == ["blob:"]
    assert "'unsafe-inline'" not in policy and "http" not in policy

    def get_hash(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert list(map(get_hash, scripts)) == rules["script-src"]
    assert list(map(get_hash, styles)) == rules["style-src"]
    for tag, attributes in elements.tags:
        assert not {"style", "onclick", "onerror", "onload"} & set(attributes), tag
        assert tag not in ("link", "iframe", "object")
        assert str(attributes.get("src") or "data:").startswith("data:")


def test_our_scripts_cannot_end_their_own_element() -> None:
    for name in ("assets/viewer.js", "templates/index.js"):
        text = page.read_asset(name).lower()
        assert "</script" not in text and "<!--" not in text
    for name in ("assets/viewer.css", "templates/page.css", "templates/index.css"):
        assert "</style" not in page.read_asset(name).lower()


def test_each_picture_has_words_and_the_page_a_language(root: Path) -> None:
    html, _ = make(root)
    assert all(attributes.get("alt") for tag, attributes in Elements(html).tags if tag == "img")
    assert '<html lang="en">' in html and "<title>ball: done</title>" in html
