"""Rules between values, each of which is fine by itself."""

import functools
from collections.abc import Callable

from videomesh.configuration.overrides import check_overrides
from videomesh.configuration.schema import read_schema
from videomesh.configuration.sources import check_cell, check_masks
from videomesh.configuration.values import INVALID, Setting, Settings
from videomesh.configuration.words import show


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
