"""What would make a scene better, ranked: what stops it first, then what costs most."""

from typing import Any, NamedTuple

from videomesh.moments import describe_burnt_in, describe_moments, describe_rejected
from videomesh.report.figures import show_value
from videomesh.report.results import Results

FEW_FRAMES = 80  # docs/captures.md: 100 to 300 frames are a good range


class Advice(NamedTuple):
    level: str  # fail, warn or hint
    subject: str  # what it is about
    text: str  # what to do, in full sentences


def advise(results: Results) -> list[Advice]:
    """What to do, most important first; the same advice once."""
    checks = [*results.read("gate/gate.json").get("checks", []), *read_mesh_checks(results)]
    bad = sorted((entry for entry in checks if entry["verdict"] != "pass"), key=rank)
    advice = [Advice(entry["verdict"], f"{entry['meaning']}: {show_value(entry)}", entry["advice"]) for entry in bad]
    first: dict[str, Advice] = {}
    for entry in [*advice, *find_hints(results)]:
        first.setdefault(entry.text, entry)
    return list(first.values())


def read_mesh_checks(results: Results) -> list[dict[str, Any]]:
    done = results.list_done("mesh/{iteration}/mesh.json")
    return results.read(f"mesh/{done[-1][0]}/mesh.json").get("checks", []) if done else []


def rank(entry: dict[str, Any]) -> tuple[bool, float]:
    """What fails comes first, then what is farthest beyond its limit, as a share of that."""
    limit = entry[entry["verdict"]]
    return entry["verdict"] != "fail", -abs(entry["value"] - limit) / max(abs(limit), 1e-9)


def find_hints(results: Results) -> list[Advice]:
    """What no check asks for, from what the stages left beside their results."""
    frames, poses = results.read("frames/frames.json"), results.read("poses/poses.json")
    hints = []
    unregistered = poses.get("unregistered") or []
    if unregistered and frames.get("frames"):
        place = describe_moments(frames, unregistered)
        text = f"No camera pose was found for {len(unregistered)} frames{f', {place}' if place else ''}."
        hints.append(Advice("hint", "frames without a pose", f"{text} Film these places again, slower."))
    for entry in (frames.get("burnt_in") or [])[:3]:
        hints.append(Advice("hint", "a mark in the picture", capitalize(describe_burnt_in(entry))))
    for entry in (frames.get("rejected") or [])[:3]:
        hints.append(Advice("hint", "parts of the footage left out", capitalize(describe_rejected(entry))))
    count = len(frames.get("frames") or [])
    if 0 < count < FEW_FRAMES:
        more = "Take more photos" if frames.get("source") == "photos" else "Raise frames.target, or film longer"
        hints.append(Advice("hint", f"{count} frames", f"{more}: 100 to 300 frames show more detail."))
    if results.read("region/transforms.json").get("units") == "arbitrary":
        text = "Lengths have no unit. Two marks and their distance make them metres: see scale.distance."
        hints.append(Advice("hint", "no real size", text))
    return hints


def capitalize(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
