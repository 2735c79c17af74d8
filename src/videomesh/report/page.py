"""The page of a scene: one HTML file that opens from disk and asks nothing of any server."""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from videomesh.report import bill, figures
from videomesh.report.advice import advise, read_mesh_checks
from videomesh.report.collect import Collected, collect
from videomesh.report.results import Results, State
from videomesh.report.still import make_still
from videomesh.report.times import read_durations

HERE = Path(__file__).parent
STILL_SIZE = (640, 480)
CARD_SIZE = (320, 240)  # px, of the still on the page over all scenes
WORDS = {
    "done": "The mesh is done.",
    "stopped": "The gate stopped this scene: the capture is not good enough to train on.",
    "failed": "A stage failed: {stage}.",
    "running": "A stage is running: {stage}.",
    "waiting": "This scene is not finished. The next stage is {stage}.",
}
LIGHTS = {"pass": "good", "warn": "warning", "fail": "failed"}


def make_page(results: Results, state: State, root: Path, code: str = "") -> tuple[str, dict[str, Any]]:
    """The page as HTML, and the summary for the page over all scenes.

    root: the working folder with the records and the bill.
    """
    charges = bill.read_bill(root).get(results.scene, [])
    collected = collect(results)
    still = draw_still(collected)
    gate, mesh = results.read("gate/gate.json"), read_mesh_checks(results)
    html = get_template("scene.html.j2").render(
        scene=results.scene,
        state=state,
        word=WORDS[state.name].format(stage=state.stage),
        still=still and to_webp(still),
        data=collected.data,
        page_data=to_json(collected.data),
        blobs={name: base64.b64encode(data).decode() for name, data in collected.blobs.items()},
        lights=[("The capture", gate.get("checks", [])), ("The mesh", mesh)],
        advice=advise(results),
        footage=figures.list_footage(results),
        poses=figures.list_poses(results),
        training=figures.list_training(results),
        mesh=figures.list_mesh(results),
        share=bill.add_up(charges).share,
        steps=figures.list_steps(read_durations(root, results.scene), charges),
        provenance=figures.list_provenance(results, code, bool(charges)),
        **get_assets(),
    )
    return html, {**summarize(results, state, collected, still), **bill.summarize(charges)}


def open_templates(folder: Path) -> Environment:
    """What is from outside is escaped, and a name without a value is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def get_template(name: str) -> Any:
    environment = open_templates(HERE / "templates")
    environment.filters["value"] = figures.show_value
    environment.filters["limit"] = show_limit
    environment.filters["light"] = LIGHTS.__getitem__
    return environment.get_template(name)


def show_limit(entry: dict[str, Any]) -> str:
    """at most 15 %, fails beyond 50 %; empty if both limits are off."""
    side = "at most" if entry["worse"] == "above" else "at least"
    warn, fail = (figures.show_value(entry, level) for level in ("warn", "fail"))
    if warn and fail:
        return f"{side} {warn}, fails beyond {fail}"
    return f"{side} {warn or fail}" if warn or fail else ""


def get_assets() -> dict[str, Any]:
    """The script and styles of the page, and a policy that lets nothing else run or be loaded."""
    script = read_asset("assets/viewer.js")
    styles = [read_asset("templates/page.css"), read_asset("assets/viewer.css")]
    return {
        "script": script,
        "styles": styles,
        "policy": get_policy([script], styles),
    }


def read_asset(name: str) -> str:
    path = HERE / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def get_policy(scripts: list[str], styles: list[str], connect: str = "blob:") -> str:
    """A content security policy: only these scripts and styles, pictures and meshes from the page itself.

    connect: to what the script may connect.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(get_hash, scripts))}",
            f"style-src {' '.join(map(get_hash, styles))}",
            "img-src data: blob:",
            f"connect-src {connect}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def get_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def to_json(data: dict[str, Any]) -> str:
    """JSON that cannot end the element that holds it, nor open a comment in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- the still and the summary ----------------------------------------------------------------------------------------


def draw_still(collected: Collected) -> Image.Image | None:
    if collected.model is None:
        return None
    cameras = [[camera["matrix"][place] for place in (3, 7, 11)] for camera in collected.data["cameras"]]
    return make_still(collected.model, np.array(cameras) if cameras else None, STILL_SIZE)


def to_webp(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def summarize(results: Results, state: State, collected: Collected, still: Image.Image | None) -> dict[str, Any]:
    """What the page over all scenes says of this one."""
    poses = results.read("poses/poses.json")
    done = results.list_done("mesh/{iteration}/mesh.json")
    mesh = results.read(f"mesh/{done[-1][0]}/mesh.json") if done else {}
    training = dict(figures.list_training(results))
    small = still.resize(CARD_SIZE) if still else None
    thumb = next((frame["thumb"] for frame in collected.data.get("frames", []) if frame["thumb"]), None)
    return {
        "scene": results.scene,
        "state": state.name,
        "stage": state.stage,
        "reason": state.reasons[0] if state.reasons else "",
        "gate": results.read("gate/gate.json").get("verdict"),
        "mesh": mesh.get("verdict"),
        "engine": results.settings.get("engine"),
        "frames": poses.get("frames") or len(collected.data.get("frames", [])) or None,
        "registered": poses.get("registered"),
        "reprojection_error": poses.get("reprojection_error"),
        "faces": mesh.get("faces"),
        "held_out_psnr": training.get("PSNR of frames it did not see"),
        "picture": to_webp(small) if small else thumb,
    }
