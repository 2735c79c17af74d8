"""What the limits of the gate are worth: a good capture, made worse one quality at a time.

make     writes the weakened captures into a folder, with a table of scenes and a configuration that refuses nothing
table    prints a Markdown table: each capture with what the gate measured and how good its mesh is

Between the two, the workflow runs: snakemake -s Snakefile -d FOLDER --profile profiles/local
It makes about fifty meshes, so let a night pass, or a GPU do it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import yaml
from PIL import Image, ImageEnhance, ImageFilter

from videomesh.errors import UserError, run
from videomesh.files import read_json

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "config" / "demo" / "tractor.mp4"
Frames = dict[int, Image.Image]  # pictures by their number in the video
Effect = Callable[[Image.Image, np.random.Generator], Image.Image]
SEED = 0
QUALITY = 95


# --- what is made worse -----------------------------------------------------------------------------------------------


def spread(frames: Frames, count: int) -> Frames:
    """So many frames, evenly spread over those given."""
    numbers = sorted(frames)
    return {numbers[i]: frames[numbers[i]] for i in np.linspace(0, len(numbers) - 1, count).round().astype(int)}


def arc(frames: Frames, degrees: float) -> Frames:
    """Only the first part of the way round, which is 360 degrees long, with every frame of it."""
    numbers = sorted(frames)
    return {number: frames[number] for number in numbers[: round(len(numbers) * degrees / 360)]}


def change(frames: Frames, share: float, effect: Effect) -> Frames:
    """The effect on this share of the frames, evenly spread."""
    random = np.random.default_rng(SEED)
    hit = set(spread(frames, round(share * len(frames))))
    return {number: effect(frame, random) if number in hit else frame for number, frame in frames.items()}


def smear(pixels: int) -> Effect:
    """Motion blur along a line in any direction."""

    def effect(image: Image.Image, random: np.random.Generator) -> Image.Image:
        dx, dy = pixels * np.array([np.cos(turn := random.uniform(0, np.pi)), np.sin(turn)])
        total = np.zeros((image.height, image.width, 3))
        steps = np.linspace(-0.5, 0.5, pixels + 1)
        for step in steps:
            total += np.asarray(image.transform(image.size, Image.Transform.AFFINE, (1, 0, step * dx, 0, 1, step * dy)))
        return Image.fromarray((total / len(steps)).round().astype(np.uint8))

    return effect


def erase(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Nothing is left to see, so that no pose can be found."""
    return image.filter(ImageFilter.GaussianBlur(60))


def noise(sigma: float) -> Effect:
    def effect(image: Image.Image, random: np.random.Generator) -> Image.Image:
        noisy = np.asarray(image) + random.normal(0, sigma, (image.height, image.width, 3))
        return Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))

    return effect


def flatten(radius: int) -> Effect:
    """Less texture: what is smaller than the radius goes, edges stay."""
    return lambda image, _: image.filter(ImageFilter.MedianFilter(2 * radius + 1))


def brightness(share: float) -> Effect:
    def effect(image: Image.Image, random: np.random.Generator) -> Image.Image:
        return ImageEnhance.Brightness(image).enhance(1 + share * random.uniform(-1, 1))

    return effect


def wobble(pixels: float) -> Effect:
    """Each picture is bent by some pixels, as a rolling shutter or a stabiliser bends it."""

    def effect(image: Image.Image, random: np.random.Generator) -> Image.Image:
        shear, stretch = random.uniform(-1, 1, 2) * 2 * pixels / image.height
        matrix = (1, shear, -shear * image.height / 2, 0, 1 + stretch, -stretch * image.height / 2)
        return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)

    return effect


def zoom(share: float) -> Effect:
    """Each picture has another focal length."""

    def effect(image: Image.Image, random: np.random.Generator) -> Image.Image:
        scale = 1 - share * random.uniform(0, 1)
        width, height = image.size
        matrix = (scale, 0, width * (1 - scale) / 2, 0, scale, height * (1 - scale) / 2)
        return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)

    return effect


def turn_on_the_spot(frames: Frames) -> Frames:
    """The camera turns and does not move: the pictures that it would take within the first picture."""
    number, picture = min(frames.items())
    (width, height), count, focal = picture.size, 36, 1.1 * picture.width
    to_picture = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    to_ray = np.linalg.inv(np.array([[2 * focal, 0, width / 2], [0, 2 * focal, height / 2], [0, 0, 1]]))
    result = {}
    for k, angle in enumerate(np.linspace(0, 2 * np.pi, count, endpoint=False)):
        yaw, pitch = np.radians(9) * np.sin(angle), np.radians(5) * np.cos(angle)
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        matrix = to_picture @ turn @ nod @ to_ray
        coefficients = (matrix / matrix[2, 2]).ravel()[:8].tolist()
        result[number + k] = picture.transform(
            picture.size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC
        )
    return result


def weaken(frames: Frames) -> Iterator[tuple[str, Callable[[], Frames], dict[str, Any]]]:
    """Name, what makes the pictures, and settings of each weakened capture."""
    good = spread(frames, 48)
    yield "good", lambda: good, {}
    for count in (6, 8, 10, 12, 16, 20, 24, 32):
        yield f"count-{count}", partial(spread, frames, count), {}
    for degrees in (30, 45, 60, 90, 120, 180, 270):
        yield f"arc-{degrees}", partial(arc, frames, degrees), {}
    for share in (30, 50, 70):
        yield f"lost-{share}", partial(change, good, share / 100, erase), {}
    for share in (20, 40, 60, 100):
        yield f"blur-{share}", partial(change, good, share / 100, smear(25)), {}
    everywhere: list[tuple[str, tuple[int, ...], Callable[[int], Effect]]] = [
        ("exposure", (30, 60, 90), lambda percent: brightness(percent / 100)),
        ("noise", (10, 25, 50), noise),
        ("flat", (2, 4, 8), flatten),
        ("wobble", (2, 5, 10, 20), wobble),
        ("zoom", (5, 15, 30), lambda percent: zoom(percent / 100)),
    ]
    for kind, values, effect in everywhere:
        for value in values:
            yield f"{kind}-{value}", partial(change, good, 1, effect(value)), {}
    yield "spot", partial(turn_on_the_spot, frames), {}
    for scene_type in ("indoor", "outdoor"):
        yield f"type-{scene_type}", lambda: good, {"scene_type": scene_type}


# --- make and table ---------------------------------------------------------------------------------------------------


def make(folder: Path, video: Path) -> None:
    captures = folder / "captures"
    if captures.exists():
        raise UserError(f"{captures}: it is there already. Name another folder, or remove it")
    frames = read_video(video)
    rows = []
    for name, pictures, settings in weaken(frames):
        photos = captures / name
        photos.mkdir(parents=True)
        for number, picture in pictures().items():
            picture.convert("RGB").save(photos / f"{number:06d}.jpg", quality=QUALITY)
        rows.append({"scene": name, "video": f"captures/{name}", **settings})
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["\t".join(columns), *("\t".join(str(row.get(column, "")) for column in columns) for row in rows)]
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "scenes.tsv").write_text("\n".join(lines) + "\n")
    settings = {"scenes": "config/scenes.tsv", "gate": {"mode": "warn"}}
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(settings))
    print(f"{len(rows)} captures are in {folder}")


def read_video(path: Path) -> Frames:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Name a video of a good capture")
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return {number: Image.frombytes("RGB", (width, height), frame) for number, frame in enumerate(reader)}


def table(folder: Path, truth: Path) -> None:
    if not (folder / "captures").is_dir():
        raise UserError(f"{folder}: it holds no captures. `limits.py make {folder}` writes them")
    rows = [describe(folder, scene.name, truth) for scene in sorted((folder / "captures").iterdir(), key=by_number)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    print("| " + " | ".join(names) + " |\n|" + " --- |" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row.get(name, "")) for name in names) + " |")


def by_number(path: Path) -> tuple[str, int]:
    kind, _, value = path.name.partition("-")
    return kind, int(value) if value.isdigit() else 0


def describe(folder: Path, scene: str, truth: Path) -> dict[str, Any]:
    """What the gate measured, and how good the mesh is."""
    results = folder / "results" / scene
    row: dict[str, Any] = {"capture": scene, "photos": len(list((folder / "captures" / scene).iterdir()))}
    gate = results / "gate" / "gate.json"
    if not gate.exists():
        return {**row, "verdict": "no poses"}
    content = read_json(gate)
    row["verdict"] = content["verdict"]
    row["not passed"] = ", ".join(
        f"{entry['name']} {entry['value']:.3g}" for entry in content["checks"] if entry["verdict"] != "pass"
    )
    for mesh in sorted(results.glob("mesh/*/mesh.ply")):
        row |= measure(results, mesh, truth)
    return row


def measure(results: Path, mesh: Path, truth: Path) -> dict[str, Any]:
    """The F-score over what at least three photos see, and over all that the good capture sees."""
    transforms = read_json(results / "region" / "transforms.json")
    frames = read_json(results / "frames" / "frames.json")["frames"]
    sources = {frame["name"]: frame["source"] for frame in frames}
    for frame in transforms["frames"]:
        frame["video_frame"] = int(Path(sources[Path(frame["file_path"]).name]).stem)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as renumbered:
        json.dump(transforms, renumbered)
        renumbered.flush()
        files = ["--mesh", mesh, "--transforms", renumbered.name, "--truth", truth]
        done = subprocess.run([sys.executable, HERE / "evaluate_mesh.py", *files], capture_output=True, text=True)
    if "no part of the mesh" in done.stderr:
        return {"F-score": 0.0, "F-score of what is seen": 0.0}
    if done.returncode:
        raise UserError(f"{mesh}: {done.stderr.strip().removeprefix('error: ')}")
    measures = json.loads(done.stdout)
    return {"F-score": measures["fscore_1pct"], "F-score of what is seen": measures["seen_f_1pct"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(required=True, dest="action", metavar="make|table")
    for name, text in (("make", "write the weakened captures"), ("table", "print what became of them")):
        action = actions.add_parser(name, help=text)
        action.add_argument("folder", type=Path, help="folder of the captures and their results")
        if name == "make":
            action.add_argument("--video", type=Path, default=DEMO, help="a good capture (default: the demo)")
        else:
            truth = HERE / "data" / "tractor_ground_truth.npz"
            action.add_argument("--truth", type=Path, default=truth, help="its true surface (default: the demo's)")
    args = parser.parse_args()
    if args.action == "make":
        make(args.folder, args.video)
    else:
        table(args.folder, args.truth)


if __name__ == "__main__":
    run(main)
