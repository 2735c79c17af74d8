"""What the page shows: the scene as on its report, the region and the crop in use, and what a change makes run."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from videomesh.adjust.saving import read_state
from videomesh.adjust.workflow import Project
from videomesh.errors import UserError
from videomesh.region.by_hand import get_path
from videomesh.report.collect import (
    Pictures,
    collect_cameras,
    collect_crop,
    collect_meshes,
    read_pictures,
    read_scene_or_none,
    store_points,
)
from videomesh.report.results import Results
from videomesh.scene import Scene, read_points

SMALL = ("region/transforms.json", "region/region.json", "region/points.npz")
PAGE_DATA = re.compile(r'<script type="application/json" id="page-data">(.*?)</script>', re.DOTALL)
STAGES = {
    "region": ("region", "gate", "train", "mesh", "report", "deliver"),
    "crop": ("mesh", "report", "deliver"),
}


def collect(project: Project, scene: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The page's JSON, and its binary parts by id. Raises UserError if the scene has no region yet."""
    results = find_small_results(project, scene)
    described = read_scene_or_none(results)
    if described is None:
        raise UserError(
            f"{scene}: there is no region/transforms.json yet. Run the workflow up to the region first: snakemake "
            f"results/{scene}/region/transforms.json, with the profile of your runs"
        )
    blobs: dict[str, bytes] = {}
    meshes, _ = collect_meshes(results, blobs)
    pictures = find_pictures(results)
    train = results.settings["train"]
    data = {
        "scene": {"name": scene},
        "unit": "m" if described.units == "m" else None,
        "meshes": meshes,
        "cameras": collect_cameras(described, pictures, ()),
        "points": collect_points(results, described, pictures, blobs),
        "region": {"center": described.center.tolist(), "radius": described.radius},
        "crop": collect_crop(results),
        "adjust": {
            "stages": STAGES,
            "iterations": train["iterations"],
            "engine": results.settings["engine"],
            "elsewhere": project.fetch is not None,
            "cropMethod": results.settings["crop"]["method"],
            "others": sorted(name for name in project.scenes if name != scene),
        },
    }
    return data, blobs


def find_small_results(project: Project, scene: str) -> Results:
    """The files that the page reads; of a bucket only small ones: no images, and the last mesh that there is."""
    settings = project.get_settings(scene)
    train = settings["train"]
    results = project.find_results(scene, SMALL)
    files = dict(results.files)
    for iteration in reversed([*train["milestones"], train["iterations"]]):
        found = project.find_results(scene, [f"mesh/{iteration}/mesh.glb"]).files
        if found:
            files.update(found)
            break
    if project.fetch is None:
        files.update(project.find_results(scene, ["frames/frames.json", "poses/images.tar"]).files)
    return Results(scene, settings, files)


def find_pictures(results: Results) -> Pictures:
    """Of images.tar, if it is on this machine; else those of the scene's page, which is."""
    if "poses/images.tar" in results.files:
        return read_pictures(results)
    page = Path("deliver") / results.scene / "scene.html"
    return Pictures(read_page_pictures(page), {})


def read_page_pictures(page: Path) -> dict[str, Image.Image]:
    """The pictures of cameras in a scene's page, by name; none if it is missing or of another kind."""
    try:
        found = PAGE_DATA.search(page.read_text(encoding="utf-8"))
        cameras = json.loads(found[1])["cameras"] if found else []
        return {camera["name"]: decode(camera["thumb"]) for camera in cameras if camera.get("thumb")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def collect_points(
    results: Results, scene: Scene, pictures: Pictures, blobs: dict[str, bytes]
) -> dict[str, Any] | None:
    """The sparse points, which of them are the subject's, and their colours."""
    try:
        points = read_points(results.files["region/points.npz"], scene)
    except (KeyError, UserError):
        return None
    rows = store_points(points, scene, pictures, blobs)
    blobs["blob-subject"] = points.subject[rows].astype(np.uint8).tobytes()
    return {
        "blob": "blob-points",
        "colours": "blob-point-colours",
        "subject": "blob-subject",
        "share": len(rows) / max(1, len(points.xyz)),
    }


def describe_other(project: Project, scene: str) -> dict[str, Any]:
    """Region and crop of another scene, to be copied; None where there is none."""
    settings = project.get_settings(scene)
    results = project.find_results(scene, SMALL[1:2])
    found, state = results.read("region/region.json"), read_state(get_path(scene))
    given = settings["region"]
    region = {"center": given["center"], "radius": given["radius"]} if given["center"] else None
    if "center" in found and "radius" in found:
        region = {"center": found["center"], "radius": found["radius"]}
    return {"region": state["region"] or region, "crop": collect_crop(results)}
