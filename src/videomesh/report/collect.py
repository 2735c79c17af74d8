"""The data that the page's script shows: meshes, cameras, points, frames, curves. What a scene lacks is left out."""

import base64
import io
import math
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from videomesh.errors import UserError
from videomesh.moments import REASONS
from videomesh.report.models import Model, halve_picture, pack, read_glb, reduce
from videomesh.report.results import Results, read_lines
from videomesh.report.still import Pinhole, draw
from videomesh.scene import OPENGL_FROM_OPENCV, Scene, SparsePoints, get_name, read_points, read_scene

MILESTONE_FACES = 30_000  # of an earlier mesh, which is there to compare
LARGEST_MESH = 9_000_000  # bytes; a larger one loses first detail of its picture, then faces: people mail the page
SMALLEST_PICTURE = 2048  # px, long side; one of half that size shows little more than colours at vertices
FEWER_FACES = 150_000
MAX_POINTS = 60_000
THUMB_BUDGET = 10_000_000  # pixels of all pictures of cameras together, about 2 MB
THUMB_SIZES = (160, 512)  # px, long side
STRIP_SIZE = 160  # px, long side, of a frame in the filmstrip
QUALITY = 72  # of JPEGs
MAX_STEPS = 1500  # of a curve
HELD_OUT_SIZE = 360  # px, long side
SECTORS = 36
UNITS = {"psnr": "dB", "validation_psnr": "dB", "held_out_psnr": "dB", "held_out_psnr_region": "dB"}
NO_CURVES = {"iteration", "seconds", "held_out_views", "epoch"}


class Collected(NamedTuple):
    data: dict[str, Any]  # the page's JSON
    blobs: dict[str, bytes]  # binary parts by the id of the element that holds each
    model: Model | None  # the delivered mesh


def collect(results: Results) -> Collected:
    scene = read_scene_or_none(results)
    blobs: dict[str, bytes] = {}
    meshes, model = collect_meshes(results, blobs)
    pictures = read_pictures(results)
    held_out = find_held_out(results, scene)
    data = {
        "scene": results.scene,
        "unit": "m" if scene and scene.units == "m" else None,
        "meshes": meshes,
        "cameras": collect_cameras(scene, pictures, held_out),
        "points": collect_points(results, scene, pictures, blobs),
        "region": scene and {"center": scene.center.tolist(), "radius": scene.radius},
        "crop": collect_crop(results),
        "frames": collect_frames(results, pictures),
        "rejected": collect_rejected(results),
        "training": {"series": collect_series(results)},
        "held_out": compare_held_out(results, scene, pictures, held_out, model),
        "ring": collect_ring(results, scene),
    }
    return Collected(data, blobs, model)


def read_scene_or_none(results: Results) -> Scene | None:
    try:
        return read_scene(results.files["region/transforms.json"])
    except (KeyError, UserError):
        return None


# --- meshes -----------------------------------------------------------------------------------------------------------


def collect_meshes(results: Results, blobs: dict[str, bytes]) -> tuple[list[dict[str, Any]], Model | None]:
    """Entries of all milestones that have a mesh; the last is the delivered one, whose model comes back too."""
    entries = []
    done = results.list_done("mesh/{iteration}/mesh.glb")
    model = None
    for place, (iteration, path) in enumerate(done):
        last = place == len(done) - 1
        model = read_glb(path)
        if model is None:
            continue
        blob = f"blob-mesh-{iteration}"
        shown = model if last else reduce(model, MILESTONE_FACES)
        blobs[blob] = pack(shown)
        while len(blobs[blob]) > LARGEST_MESH and shown.texture and shown.texture.get_size() > SMALLEST_PICTURE:
            shown = halve_picture(shown)
            blobs[blob] = pack(shown)
        if len(blobs[blob]) > LARGEST_MESH:
            shown = reduce(shown, FEWER_FACES)
            blobs[blob] = pack(shown)
        label = "delivered" if last and iteration == results.milestones[-1] else f"milestone {iteration:,}"
        entry: dict[str, Any] = {"iteration": iteration, "blob": blob, "faces": len(shown.faces), "label": label}
        if shown.frames is not None:
            entry["frames"] = f"blob-frames-{iteration}"
            blobs[entry["frames"]] = shown.frames.tobytes()
        entries.append(entry)
    return entries, model


# --- pictures ---------------------------------------------------------------------------------------------------------


class Pictures(NamedTuple):
    undistorted: Mapping[str, Image.Image]  # of the cameras
    frames: Mapping[str, Image.Image]  # as they were filmed


def read_pictures(results: Results) -> Pictures:
    """Pictures of frames by name, made small while they are read."""
    frames = results.read("frames/frames.json").get("frames") or []
    side = int(math.sqrt(THUMB_BUDGET / max(1, len(frames)) * 4 / 3))
    side = min(max(side, THUMB_SIZES[0]), THUMB_SIZES[1])
    undistorted = read_tar(results.files.get("poses/images.tar"), side)
    missing = {frame["name"] for frame in frames} - set(undistorted)
    return Pictures(undistorted, read_tar(results.files.get("frames/frames.tar"), STRIP_SIZE, missing))


def read_tar(path: Path | None, side: int, names: set[str] | None = None) -> dict[str, Image.Image]:
    """Pictures of a tar with their long side in px; only those of the names, if any are given. {} if it is missing."""
    found: dict[str, Image.Image] = {}
    if path is None or names == set():
        return found
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = get_name(member.name)
                file = tar.extractfile(member) if names is None or name in names else None
                if file is not None:
                    picture = shrink(file.read(), side)
                    found.update({name: picture} if picture else {})
    except (OSError, tarfile.TarError):
        pass
    return found


def shrink(data: bytes, side: int) -> Image.Image | None:
    try:
        opened = Image.open(io.BytesIO(data))
        opened.draft("RGB", (side, side))  # a JPEG decodes at a fraction of its size
        picture = opened.convert("RGB")
        picture.thumbnail((side, side))
        return picture
    except Exception:  # Pillow raises OSError, SyntaxError, ValueError and others on broken images
        return None


def to_uri(picture: Image.Image | None, side: int | None = None) -> str | None:
    """A JPEG as a data: URI."""
    if picture is None:
        return None
    if side and max(picture.size) > side:
        picture = picture.copy()
        picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def to_picture(colours: np.ndarray) -> Image.Image:
    """An array (h, w, 3) in 0..1 as an image."""
    return Image.fromarray(np.round(colours.clip(0, 1) * 255).astype(np.uint8))


# --- cameras and points -----------------------------------------------------------------------------------------------


def collect_cameras(scene: Scene | None, pictures: Pictures, held_out: Iterable[int]) -> list[dict[str, Any]]:
    if scene is None:
        return []
    held_out = set(held_out)
    lens = {"fx": scene.focal[0], "fy": scene.focal[1], "cx": scene.principal[0], "cy": scene.principal[1]}
    return [
        {
            "name": name,
            "matrix": [round(number, 6) for number in (pose @ OPENGL_FROM_OPENCV).ravel().tolist()],
            **lens,
            "w": scene.width,
            "h": scene.height,
            "thumb": to_uri(pictures.undistorted.get(name)),
            "held_out": index in held_out,
        }
        for index, (name, pose) in enumerate(zip(scene.names, scene.world_from_cam, strict=True))
    ]


def find_held_out(results: Results, scene: Scene | None) -> list[int]:
    """Numbers of the frames that training did not see, if its settings tell."""
    settings = results.read("train/config/config.yaml")
    first, every = settings.get("held_out_first"), settings.get("held_out_every")
    if scene is None or not isinstance(first, int) or not isinstance(every, int) or every < 1:
        return []
    return list(range(first, len(scene.names), every))


def collect_points(
    results: Results, scene: Scene | None, pictures: Pictures, blobs: dict[str, bytes]
) -> dict[str, str] | None:
    """The sparse points, each in the colour that the first frame which sees it has there."""
    if scene is None:
        return None
    try:
        points = read_points(results.files["region/points.npz"], scene)
    except (KeyError, UserError):
        return None
    store_points(points, scene, pictures, blobs)
    return {"blob": "blob-points", "colours": "blob-point-colours"}


def store_points(points: SparsePoints, scene: Scene, pictures: Pictures, blobs: dict[str, bytes]) -> np.ndarray:
    """Put places and colours of the points into blobs. Returns the rows of those that are shown. Grey: nobody knows."""
    rows = np.arange(len(points.xyz))
    if len(rows) > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))
    xyz, observer = points.xyz[rows], points.observers[rows, 0] if points.observers.shape[1] else np.full(len(rows), -1)
    colours = np.full((len(xyz), 3), 128, np.uint8)
    for number in np.unique(observer[observer >= 0]):
        picture = pictures.undistorted.get(scene.names[number])
        if picture is not None:
            seen = observer == number
            colours[seen] = sample(np.asarray(picture), scene, scene.world_from_cam[number], xyz[seen])
    blobs["blob-points"] = xyz.astype("<f4").tobytes()
    blobs["blob-point-colours"] = colours.tobytes()
    return rows


def sample(picture: np.ndarray, scene: Scene, world_from_cam: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """Colours (n, 3) of the pixels that points fall on in a picture, which may be smaller than the camera's."""
    points = (xyz - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
    depth = np.maximum(points[:, 2:], 1e-9)
    share = (points[:, :2] / depth * scene.focal + scene.principal) / [scene.width, scene.height]
    height, width = picture.shape[:2]
    place = np.clip(share * [width, height], 0, [width - 1, height - 1]).astype(int)
    return np.asarray(picture[place[:, 1], place[:, 0]])


def collect_crop(results: Results) -> dict[str, Any] | None:
    """What the mesh keeps. The automatic crop is the ball in which the subject is looked for."""
    crop = results.settings.get("crop") or {}
    if crop.get("method") == "sphere":
        return {"kind": "sphere", "center": crop["center"], "radius": crop["radius"]}
    if crop.get("method") == "box" and "size" in crop:  # set by hand, in config/regions/SCENE.json
        return {"kind": "box", "center": crop["center"], "size": crop["size"], "rotation": crop["rotation"]}
    if crop.get("method") == "box":
        box = np.array(crop["box"], float)
        rotation = np.eye(3).ravel().tolist()
        return {"kind": "box", "center": box.mean(1).tolist(), "size": np.ptp(box, 1).tolist(), "rotation": rotation}
    found = results.read("region/region.json").get("crop")
    if crop.get("method") == "auto" and isinstance(found, dict) and "center" in found and "radius" in found:
        return {"kind": "sphere", "center": found["center"], "radius": found["radius"]}
    return None


def collect_ring(results: Results, scene: Scene | None) -> dict[str, Any] | None:
    """How many frames look from each direction round the middle, in degrees counterclockwise from x, from above.

    Only an object is filmed from all sides. A direction is missing by the same rule as in the gate's check.
    """
    kind = results.read("region/region.json").get("scene_type") or {}
    if scene is None or kind.get("used") != "object":
        return None
    offset = scene.world_from_cam[:, :2, 3] - scene.center[:2]
    azimuth = np.degrees(np.arctan2(offset[:, 1], offset[:, 0])) % 360
    width = 360 / SECTORS
    counts = np.bincount((azimuth // width).astype(int) % SECTORS, minlength=SECTORS).tolist()
    middles = (np.arange(SECTORS) + 0.5) * width
    distance = np.abs((middles[:, None] - azimuth + 180) % 360 - 180).min(1)
    missing = distance > max(width / 2, 360 / len(azimuth))
    sectors = [
        {"from": number * width, "to": (number + 1) * width, "frames": count} for number, count in enumerate(counts)
    ]
    return {"sectors": sectors, "missing": merge(missing, width)}


def merge(missing: np.ndarray, width: float) -> list[list[float]]:
    """Neighbouring sectors as one stretch [from, to] in degrees; one across 0 ends above 360."""
    if missing.all():
        return [[0.0, 360.0]]
    start = int(np.flatnonzero(~missing)[0])
    stretches: list[list[float]] = []
    for step in range(1, len(missing)):
        number = start + step
        if missing[number % len(missing)]:
            if stretches and stretches[-1][1] == number * width:
                stretches[-1][1] = (number + 1) * width
            else:
                stretches.append([number * width, (number + 1) * width])
    return [[begin % 360, begin % 360 + end - begin] for begin, end in stretches]


# --- frames -----------------------------------------------------------------------------------------------------------


def collect_frames(results: Results, pictures: Pictures) -> list[dict[str, Any]]:
    """All frames that were kept. Those without a pose say so."""
    frames_json = results.read("frames/frames.json")
    without = set(results.read("poses/poses.json").get("unregistered") or [])
    return [
        {
            "name": frame["name"],
            "time": frame.get("time"),
            **place_clip(frames_json, frame.get("clip")),
            "sharpness": frame.get("sharpness"),
            "exposure": frame.get("luminance"),
            "reason": "no camera pose was found" if frame["name"] in without else None,
            "thumb": to_uri(pictures.undistorted.get(frame["name"]) or pictures.frames.get(frame["name"]), STRIP_SIZE),
        }
        for frame in frames_json.get("frames") or []
    ]


def collect_rejected(results: Results) -> list[dict[str, Any]]:
    """Stretches of the footage, in seconds of their clip, of which no frame was kept."""
    frames_json = results.read("frames/frames.json")
    return [
        {
            "from": entry.get("from"),
            "to": entry.get("to"),
            **place_clip(frames_json, entry.get("clip")),
            "reason": REASONS.get(entry["reason"], entry["reason"]),
        }
        for entry in frames_json.get("rejected") or []
    ]


def place_clip(frames_json: Mapping[str, Any], number: Any) -> dict[str, Any]:
    """The name of a clip, and how many seconds the clips before it last. {} for one clip, or without lengths."""
    clips = frames_json.get("clips") or []
    durations = [clip.get("duration") for clip in clips]
    if len(clips) < 2 or not isinstance(number, int) or number >= len(clips) or None in durations:
        return {}
    return {"clip": clips[number]["name"], "start": sum(durations[:number])}


# --- training ---------------------------------------------------------------------------------------------------------


def collect_series(results: Results) -> list[dict[str, Any]]:
    """A curve over the iterations for each number that the engine reports."""
    done = results.list_done("train/{iteration}/metrics.jsonl")
    rows = read_lines(done[-1][1]) if done else []
    names = list(dict.fromkeys(name for row in rows for name in row if name not in NO_CURVES))
    series = []
    for name in names:
        steps = [(row["iteration"], row[name]) for row in rows if is_number(row.get(name)) and "iteration" in row]
        steps = steps[:: math.ceil(len(steps) / MAX_STEPS) or 1]
        if steps:
            x, y = zip(*steps, strict=True)
            series.append({"name": name, "unit": UNITS.get(name), "x": list(x), "y": list(y)})
    return series


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def compare_held_out(
    results: Results, scene: Scene | None, pictures: Pictures, held_out: list[int], model: Model | None
) -> list[dict[str, Any]]:
    """Frames that training did not see, beside the delivered mesh from the same camera."""
    if scene is None or model is None:
        return []
    most = results.read("train/config/config.yaml").get("held_out_views") or 6
    entries = []
    for number in held_out[:: max(1, len(held_out) // most)][:most]:
        picture = pictures.undistorted.get(scene.names[number])
        if picture is None:
            continue
        photo = picture.copy()
        photo.thumbnail((HELD_OUT_SIZE, HELD_OUT_SIZE))
        entries.append({"name": scene.names[number], **compare(photo, scene, scene.world_from_cam[number], model)})
    return entries


def compare(photo: Image.Image, scene: Scene, world_from_cam: np.ndarray, model: Model) -> dict[str, Any]:
    """Photo, rendering, their difference as pictures, and the PSNR (dB) where the mesh covers the photo."""
    across, down = photo.width / scene.width, photo.height / scene.height
    camera = Pinhole(
        np.linalg.inv(world_from_cam),
        (scene.focal[0] * across, scene.focal[1] * down),
        (scene.principal[0] * across, scene.principal[1] * down),
        photo.size,
    )
    drawing = draw(model, camera)
    colours = np.asarray(photo, np.float32) / 255
    error = np.where(drawing.covered[:, :, None], np.abs(colours - drawing.colours), 0)
    square = float((error[drawing.covered] ** 2).mean()) if drawing.covered.any() else 0.0
    return {
        "photo": to_uri(photo),
        "rendering": to_uri(to_picture(drawing.colours)),
        "difference": to_uri(to_picture(error * 2)),
        "psnr": round(-10 * math.log10(square), 2) if square > 0 else None,
    }
