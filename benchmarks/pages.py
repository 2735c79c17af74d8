"""Seconds that pages take, as a Markdown table on standard output: to be made, and to be seen in a headless Chromium.

Scenes are synthetic, but for FOLDER, a project whose demo was run (make demo): its page is made and opened too.
"""

import argparse
import io
import json
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "helpers"), str(ROOT / "src")]
from browser import Visit, open_browser  # noqa: E402
from videomesh.files import add_to_tar  # noqa: E402
from videomesh.meshing.web import glb  # noqa: E402
from videomesh.report.index import update_pages  # noqa: E402
from videomesh.report.page import make_page  # noqa: E402
from videomesh.report.results import Results, find_files, find_state  # noqa: E402
from videomesh.scene import Scene, SparsePoints, write_points, write_scene  # noqa: E402

SETTINGS = {"engine": "sdfgrid", "video": "large.mp4", "gate": {"mode": "fail"}, "crop": {"method": "none"}}
SIZE = (1280, 720)
SCENES = 1000  # of the page over all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="project with the results of the demo")
    parser.add_argument("--faces", type=int, default=500_000, help="of the synthetic mesh (%(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="of the synthetic scene (%(default)s)")
    arguments = parser.parse_args()
    print("| page | made in, s | size, MB | first picture in Chromium, s | all of it, s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        if arguments.folder:
            measure_scene("the demo", arguments.folder, "tractor", 3000, root)
        make_scene(root, "large", arguments.faces, arguments.frames)
        measure_scene(f"{arguments.faces:,} faces, {arguments.frames} frames", root, "large", 100, root)
        measure_index(root)


def measure_scene(name: str, folder: Path, scene: str, iterations: int, scratch: Path) -> None:
    settings = {**SETTINGS, "train": {"milestones": [], "iterations": iterations}}
    begin = time.monotonic()
    results = Results(scene, settings, find_files(folder, scene))
    html, _ = make_page(results, find_state(results), folder)
    seconds = time.monotonic() - begin
    file = scratch / f"{scene}.html"
    file.write_text(html, encoding="utf-8")
    print(f"| {name} | {seconds:.1f} | {len(html) / 1e6:.1f} | {open_page(file, 'viewerReady')} |")


def measure_index(root: Path) -> None:
    summary = {"state": "done", "stage": "", "reason": "", "gate": "pass", "mesh": "warn", "engine": "sdfgrid"}
    figures = {"frames": 48, "registered": 40, "reprojection_error": 0.4, "faces": 90_000, "held_out_psnr": "23.20 dB"}
    picture = "data:image/webp;base64," + "A" * 8000
    scenes = [f"scene-{number}" for number in range(SCENES)]
    for scene in scenes:
        folder = root / "deliver" / scene
        folder.mkdir(parents=True)
        content = {"scene": scene, **summary, **figures, "picture": picture}
        (folder / "scene.json").write_text(json.dumps(content))
    begin = time.monotonic()
    update_pages(root, {key: {**SETTINGS, "train": {"milestones": [], "iterations": 100}} for key in scenes}, True)
    seconds = time.monotonic() - begin
    page = root / "deliver/index.html"
    size = page.stat().st_size / 1e6
    print(f"| all of {SCENES:,} scenes | {seconds:.1f} | {size:.1f} | {open_page(page, '1')} |")


def open_page(file: Path, ready: str) -> str:
    """Seconds until something is seen (the still, or the cards), and until the mesh turns, as cells of the table."""
    with open_browser() as browser:
        visit = Visit(browser, file, width=1280, height=900)
        visit.page.evaluate(ready)
        whole = visit.page.evaluate("new Promise(requestAnimationFrame).then(() => performance.now())")
        visit.page.wait_for_timeout(500)  # until the browser has noted what it painted
        first = visit.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        return f"{first / 1000:.1f} | {whole / 1000:.1f}"


def make_scene(root: Path, scene: str, faces: int, frames: int) -> None:
    """Results of a coloured ball with bumps and that many faces, seen by frames of a camera that walks round it."""
    folder = root / "results" / scene
    names = [f"{number:06}.jpg" for number in range(frames)]
    kept = [{"name": name, "time": number / 4, "sharpness": 100.0, "luminance": 0.5, "video_frame": number}
            for number, name in enumerate(names)]  # fmt: skip
    write(folder / "frames/frames.json", {"source": "video", "width": SIZE[0], "height": SIZE[1], "frames": kept})
    write_images(folder / "poses/images.tar", names)
    write(folder / "poses/poses.json", {"frames": frames, "registered": frames, "reprojection_error": 0.5})
    poses = np.stack([look_at(2 * np.pi * number / frames) for number in range(frames)])
    (folder / "region").mkdir()
    (width, height), focal = SIZE, 1000.0
    center = (width / 2, height / 2)
    file = folder / "region/transforms.json"
    write_scene(
        file, Scene(file, names, width, height, (focal, focal), center, [0.0] * 9, poses, np.zeros(3), 1.5, None), kept
    )
    write(folder / "region/region.json", {"scene_type": {"used": "object"}})
    random = np.random.default_rng(0)
    count = 100_000
    seen = np.stack([random.integers(0, frames, count), np.full(count, -1)], 1)
    points = SparsePoints(random.normal(size=(count, 3)), np.ones(count), np.full(count, 2), seen, np.ones(count, bool))
    write_points(folder / "region/points.npz", points)
    write(folder / "gate/gate.json", {"scene": scene, "verdict": "pass", "checks": []})
    write(folder / "train/config/config.yaml", {"held_out_first": 1, "held_out_every": 8, "held_out_views": 6})
    line = json.dumps({"iteration": 100, "seconds": 9.0, "loss": 0.1}) + "\n"
    write(folder / "train/100/metrics.jsonl", line)
    write(folder / "mesh/100/mesh.json", {"faces": faces, "units": "arbitrary", "verdict": "pass", "checks": []})
    side = int(np.sqrt(faces / 2)) + 1
    ball = trimesh.creation.uv_sphere(count=[side, side])
    vertices = ball.vertices * (1 + 0.05 * np.sin(12 * ball.vertices).prod(1, keepdims=True))
    data = glb(vertices, ball.faces, ball.vertex_normals, (ball.vertices + 1) / 2)
    (folder / "mesh/100/mesh.glb").write_bytes(data)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def write_images(path: Path, names: list[str]) -> None:
    """Pictures with as much in them as photos have: sixteen different ones, in turn."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(16):
        small = Image.fromarray(random.integers(0, 255, (90, 160, 3), np.uint8))
        file = io.BytesIO()
        small.resize(SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        pictures.append(file.getvalue())
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as tar:
        for number, name in enumerate(names):
            add_to_tar(tar, name, pictures[number % len(pictures)])


def look_at(azimuth: float) -> np.ndarray:
    """world_from_cam (4, 4), OpenCV's axes, of a camera 4 units away at the height of the middle. Radians from x."""
    back = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([[-back[1], back[0], 0], [0, 0, -1], -back], 1)
    pose[:3, 3] = back * 4
    return pose


if __name__ == "__main__":
    main()
