"""Rules between values, each of which is fine by itself."""

import functools
from collections.abc import Callable

from videomesh.configuration.overrides import check_overrides
from videomesh.configuration.schema import read_schema
from videomesh.configuration.sources import check_cell, check_masks
from videomesh.configuration.values import INVALID, Setting, Settings
from videomesh.configuration.words import join_words, show


def check_meaning(settings: Settings) -> list[str]:
    """What is wrong with the settings of a scene together. A rule with an invalid value is passed over."""
    rules: list[tuple[Callable[..., list[str]], str, str]] = [
        (check_selection, "frames.select", "frames.downsample"),
        (check_sphere, "region.center", "region.radius"),
        (check_milestones, "train.milestones", "train.iterations"),
    ]
    for name, check in read_schema("config")["properties"]["gate"]["properties"].items():
        if "worse" in check:
            rule = functools.partial(check_thresholds, check["worse"])
            rules.append((rule, f"gate.{name}.warn", f"gate.{name}.fail"))
    errors = check_text(settings["video"], check_cell) + check_text(settings["masks"], check_masks)
    errors += check_neuralangelo(settings["neuralangelo.overrides"])
    errors += check_crop(settings) + check_scale(settings) + check_formats(settings)
    for apply, first, second in rules:
        if INVALID not in (settings[first].value, settings[second].value):
            errors += apply(settings[first], settings[second])
    return errors


def check_text(setting: Setting, check: Callable[[str], str]) -> list[str]:
    problem = "" if setting.value is INVALID else check(setting.value)
    return [f"{setting.place}: {show(setting.value)}: {problem}"] if problem else []


def check_neuralangelo(overrides: Setting) -> list[str]:
    """Neuralangelo would take a misspelt name without a word."""
    problems = [] if overrides.value is INVALID else check_overrides(overrides.value)
    return [f"{overrides.place}: {problem}" for problem in problems]


def check_selection(select: Setting, downsample: Setting) -> list[str]:
    if select.value != "every" or downsample.value is not None:
        return []
    return [
        f"{select.place}: every needs frames.downsample, the step between frames. "
        "Write frames.downsample, for example 2 for every second frame, or write sharpest here."
    ]


def check_sphere(center: Setting, radius: Setting) -> list[str]:
    if (center.value is None) == (radius.value is None):
        return []
    given, missing = ("center", "radius") if radius.value is None else ("radius", "center")
    return [
        f"{last_set(center, radius).place}: there is a region.{given} and no region.{missing}, but the sphere needs "
        f"both. Write region.{missing} too, or null for both."
    ]


def check_crop(settings: Settings) -> list[str]:
    """A box or a sphere needs its numbers, and what they belong to has to be chosen."""
    method, box = settings["crop.method"], settings["crop.box"]
    sphere = [settings["crop.center"], settings["crop.radius"]]
    if INVALID in [setting.value for setting in (method, box, *sphere)]:
        return []
    if method.value == "sphere" and any(setting.value is None for setting in sphere):
        return [f"{method.place}: sphere needs crop.center and crop.radius. Write both, or write auto here."]
    if method.value == "box" and box.value is None:
        return [f"{method.place}: box needs crop.box. Write it, such as [[-0.5, 0.5], [-0.4, 0.4], [0, 1.2]], or auto."]
    if box.value is not None and any(low >= high for low, high in box.value):
        return [f"{box.place}: {show(box.value)} is not allowed. Write the lower number of each pair first."]
    return []


def check_formats(settings: Settings) -> list[str]:
    """An OBJ file has its colours in a picture."""
    formats, size = settings["deliver.formats"], settings["mesh.texture_size"]
    if INVALID in (formats.value, size.value) or "obj" not in formats.value or size.value:
        return []
    return [
        f"{last_set(formats, size).place}: obj in deliver.formats needs a picture, but mesh.texture_size is 0. Write a "
        "size there, such as 4096, or remove obj."
    ]


def check_scale(settings: Settings) -> list[str]:
    parts = {name: settings[f"scale.{name}"] for name in ("distance", "from", "to")}
    values = [setting.value for setting in parts.values()]
    missing = [f"scale.{name}" for name, setting in parts.items() if setting.value is None]
    if INVALID in values or len(missing) in (0, 3):
        return []
    place = last_set(*(setting for setting in parts.values() if setting.value is not None)).place
    return [
        f"{place}: the real size needs scale.distance, scale.from and scale.to. "
        f"Write {join_words(missing, 'and')} too, or null for all."
    ]


def check_milestones(milestones: Setting, iterations: Setting) -> list[str]:
    ascending = sorted(milestones.value)
    if milestones.value != ascending:
        wrong, right = (",".join(map(str, values)) for values in (milestones.value, ascending))
        return [f"{milestones.place}: {wrong} is not allowed. Write the numbers in ascending order: {right}."]
    late = [value for value in ascending if value >= iterations.value]
    if not late:
        return []
    return [
        f"{last_set(milestones, iterations).place}: milestone {late[0]} is not below train.iterations, which is "
        f"{iterations.value} and makes the last mesh. Remove {','.join(map(str, late))} from train.milestones, "
        "or raise train.iterations."
    ]


def check_thresholds(worse: str, warn: Setting, fail: Setting) -> list[str]:
    if warn.value is None or fail.value is None:
        return []
    if warn.value == fail.value or (warn.value < fail.value) == (worse == "above"):
        return []
    side = "least" if worse == "above" else "most"
    return [
        f"{last_set(warn, fail).place}: fail {fail.value:g} would come before warn {warn.value:g}, because values "
        f"{worse} a limit are bad here. Write a number of at {side} {warn.value:g} for fail, or null."
    ]


def last_set(*settings: Setting) -> Setting:
    """The one that overrides the others, which is probably the one that was just changed."""
    return max(settings, key=lambda setting: setting.rank)
