"""The settings of every scene: defaults, configuration files over them, the scene's row of the table over those.

Each value is checked against config/schemas (name, type, limits), then the values against each other and the disk. All
errors are reported together. As a program it prints every scene's settings and where each was set.
"""

import argparse
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from config_schema import (
    INVALID,
    Leaves,
    Setting,
    Settings,
    check_value,
    find_leaves,
    find_sections,
    read_schema,
    show,
    show_path,
    suggest_file,
)
from config_table import read_rows
from neuralangelo_engine import keys
from videomesh.errors import ConfigurationError, nearest, run, suggest
from videomesh.photos import PHOTO_SUFFIXES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[Path("config/config.yaml")],
        metavar="FILE",
        help="configuration files, later ones over earlier ones (default: config/config.yaml)",
    )
    files = parser.parse_args().config
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    try:
        scenes = resolve(read_config(files), files)
    except ConfigurationError as error:
        sys.exit(str(error))
    print("\n\n".join(describe(name, settings) for name, settings in scenes.items()))
    for warning in find_unused_regions(scenes):
        print(f"warning: {warning}", file=sys.stderr)


def load_scenes(config: Mapping[str, Any], files: Sequence[str | Path] = ()) -> dict[str, dict[str, Any]]:
    """Scene name -> all its settings, nested as in config.yaml (without `scenes`), and its "video".

    config is the merged configuration; files, from which it was read, serve to name the line of an error. Paths are
    relative to the working folder. Raises ConfigurationError with all that is wrong.
    """
    return {name: nest(settings) for name, settings in resolve(config, files).items()}


def find_unused_regions(scenes: Iterable[str]) -> list[str]:
    """A warning for each config/regions/SCENE.json without a scene of that name."""
    names = list(scenes)
    return [
        f"{path}: there is no scene {path.stem}, so this region is not used.{suggest(path.stem, names)}"
        for path in sorted(Path("config/regions").glob("*.json"))
        if path.stem not in names
    ]


def check_files(files: Iterable[str | Path]) -> None:
    """Raises ConfigurationError unless each file is YAML with keys; Snakemake's own message has no file and no line."""
    errors = [error for file in files for error in check_file(Path(file))]
    if errors:
        raise ConfigurationError(errors)


def resolve(config: Mapping[str, Any], files: Sequence[str | Path]) -> dict[str, Settings]:
    """Scene name -> all settings with the places where they were set. Raises ConfigurationError."""
    leaves = find_leaves(read_schema("config"))
    defaults = {key: Setting(leaf["default"], "default", 0) for key, leaf in leaves.items()}
    given, errors = check_config(config, [Path(file) for file in files], leaves)
    base = defaults | given
    scenes: dict[str, Settings] = {}
    if base["scenes"].value is not INVALID:
        rows, row_errors = read_rows(base["scenes"], leaves)
        scenes = {name: order(base | row) for name, row in rows.items()}
        errors += row_errors
    for settings in scenes.values():
        errors += check_meaning(settings)
    if errors:
        raise ConfigurationError(errors)
    return scenes


def order(settings: Settings) -> Settings:
    """video first; `scenes`, which is no scene's, left out."""
    return {"video": settings["video"]} | {key: setting for key, setting in settings.items() if key != "scenes"}


def nest(settings: Settings) -> dict[str, Any]:
    """{"train.seed": 0} becomes {"train": {"seed": 0}}."""
    nested: dict[str, Any] = {}
    for key, setting in settings.items():
        *sections, name = key.split(".")
        level = functools.reduce(lambda outer, section: outer.setdefault(section, {}), sections, nested)
        level[name] = setting.value
    return nested


def describe(scene: str, settings: Settings) -> str:
    """A scene's settings as lines of key, value, place."""
    rows = [
        (key, show(setting.value), setting.place.rpartition(", ")[0] or "default") for key, setting in settings.items()
    ]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join([scene, *(f"  {key:{key_width}}  {value:{value_width}}  {place}" for key, value, place in rows)])


# --- configuration files ----------------------------------------------------------------------------------------------


def read_config(files: Sequence[Path]) -> dict[str, Any]:
    """The files merged as Snakemake merges them, later ones over earlier ones. Raises ConfigurationError."""
    check_files(files)
    merged: dict[str, Any] = {}
    for file in files:
        merge(merged, yaml.safe_load(file.read_text(encoding="utf-8")))
    return merged


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if not isinstance(value, Mapping):
            into[key] = value
            continue
        if not isinstance(into.get(key), dict):
            into[key] = {}
        merge(into[key], value)


def check_file(file: Path) -> list[str]:
    place = show_path(file)
    if not os.path.isfile(file):
        return [f"{place}: there is no such file. {suggest_file(file) or 'Write the path of a configuration file.'}"]
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        return [f"{place}: cannot be read: {error.strerror}. Change its permissions with chmod, or copy it."]
    except UnicodeDecodeError:
        return [f"{place}: this is not text in UTF-8. Save it as UTF-8 in your editor."]
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        advice = "Indent with spaces, not tabs; write a space after each colon; close brackets and quotes."
        return [f"{place}{line}: not valid YAML: {error.problem}. {advice}"]
    except (yaml.YAMLError, ValueError) as error:
        return [f"{place}: not valid YAML: {str(error).splitlines()[0]}. Write plain text."]
    if not isinstance(values, dict):
        return [f"{place}: there are no settings in it. Write one a line, for example engine: sdfgrid."]
    return []


def check_config(config: Mapping[str, Any], files: Sequence[Path], leaves: Leaves) -> tuple[Settings, list[str]]:
    """The settings of the configuration with their places; and the errors in its names and values."""
    sections = find_sections(leaves)
    keys, errors = find_keys(files, sections)
    settings: Settings = {}
    for key, raw in flatten(config, sections).items():
        place = find_place(key, raw, keys)
        if key in leaves:
            settings[key], value_errors = check_value(raw, place, 1, leaves[key])
            errors += value_errors
        elif key in sections:
            names = ", ".join(sorted(name.split(".")[-1] for name in find_children(key, leaves, sections)))
            errors.append(f"{place}: {show(raw)} is not allowed. Write its settings below it, indented: {names}.")
        else:
            errors.append(f"{place}: there is no such setting.{suggest_key(key, leaves, sections)}")
    return settings, errors


class Key(NamedTuple):
    """A key in a configuration file."""

    file: str
    line: int
    value: Any


def find_keys(files: Sequence[Path], sections: set[str]) -> tuple[dict[str, list[Key]], list[str]]:
    """Dotted key -> where the files set it and to what; and an error for each key that stands twice in one file."""
    keys: dict[str, list[Key]] = {}
    errors = []
    for file in files:
        if check_file(file):
            continue  # Snakemake could read it; only the line numbers are lost
        text = file.read_text(encoding="utf-8")
        values = flatten(yaml.safe_load(text), sections)
        lines: dict[str, int] = {}
        for key, line in find_lines(yaml.compose(text, Loader=yaml.SafeLoader), sections):
            if key in lines:
                place = f"{show_path(file)} line {line}, {key}"
                errors.append(f"{place}: this key is in line {lines[key]} already. Remove one of the two.")
            lines[key] = line
        for key, value in values.items():
            keys.setdefault(key, []).append(Key(show_path(file), lines.get(key, 1), value))
    return keys, errors


def find_lines(node: yaml.Node | None, sections: set[str], prefix: str = "") -> Iterator[tuple[str, int]]:
    """The dotted keys of a YAML document with their line numbers, counted from 1."""
    if not isinstance(node, yaml.MappingNode):
        return
    for name, value in node.value:
        key = prefix + quote_dots(name.value)
        yield key, name.start_mark.line + 1
        if key in sections:
            yield from find_lines(value, sections, f"{key}.")


def find_place(key: str, value: Any, keys: Mapping[str, list[Key]]) -> str:
    """The line that sets a key to this value; without one it came from the command line."""
    match = next((found for found in keys.get(key, []) if show(found.value) == show(value)), None)
    return f"{match.file} line {match.line}, {key}" if match else f"--config, {key}"


def flatten(config: Mapping[str, Any], sections: set[str], prefix: str = "") -> dict[str, Any]:
    """{"train": {"seed": 0}} becomes {"train.seed": 0}. A section with nothing below it is left out."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        key = prefix + quote_dots(name)
        if key in sections and isinstance(value, Mapping):
            flat |= flatten(value, sections, f"{key}.")
        elif key not in sections or value is not None:
            flat[key] = value
    return flat


def quote_dots(name: object) -> str:
    """A key with a dot in it, 'train.seed' at the top level, is not the key seed below train."""
    return f"'{name}'" if "." in str(name) else str(name)


def suggest_key(key: str, leaves: Leaves, sections: set[str]) -> str:
    """The nearest key, or else those allowed at its level."""
    near = nearest(key, [*leaves, *sections])
    section, _, name = (near or key).rpartition(".")
    if near:
        return f" Did you mean {near}{f' ({name}, indented below {section})' if section else ''}?"
    names = ", ".join(sorted(child.split(".")[-1] for child in find_children(section, leaves, sections)))
    return f" Allowed {f'below {section}' if section else 'at the left margin'} are {names}."


def find_children(section: str, leaves: Leaves, sections: set[str]) -> list[str]:
    """The keys and sections right below a section; "" is the top level."""
    return [key for key in [*leaves, *sections] if key.rpartition(".")[0] == section]


# --- meaning ----------------------------------------------------------------------------------------------------------


def check_meaning(settings: Settings) -> list[str]:
    """What is wrong with values that are fine by themselves. A rule with an invalid value is passed over."""
    rules: list[tuple[Callable[..., list[str]], str, str]] = [
        (check_selection, "frames.select", "frames.downsample"),
        (check_sphere, "region.center", "region.radius"),
        (check_milestones, "train.milestones", "train.iterations"),
    ]
    for name, check in read_schema("config")["properties"]["gate"]["properties"].items():
        if "worse" in check:
            rule = functools.partial(check_thresholds, check["worse"])
            rules.append((rule, f"gate.{name}.warn", f"gate.{name}.fail"))
    errors = check_source(settings["video"]) + check_overrides(settings["neuralangelo.overrides"])
    for apply, first, second in rules:
        if INVALID not in (settings[first].value, settings[second].value):
            errors += apply(settings[first], settings[second])
    return errors


def check_selection(select: Setting, downsample: Setting) -> list[str]:
    if select.value != "every" or downsample.value is not None:
        return []
    return [
        f"{select.place}: every needs frames.downsample, the step between frames. "
        "Write frames.downsample, for example 2 for every second frame, or sharpest here."
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
        return [f"{milestones.place}: {wrong} is not allowed. Write the numbers ascending: {right}."]
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
        f"{last_set(warn, fail).place}: fail {fail.value:g} would come before warn {warn.value:g}, as values {worse} a "
        f"limit are bad here. Write for fail a number of at {side} {warn.value:g}, or null."
    ]


def check_overrides(overrides: Setting) -> list[str]:
    """Neuralangelo would take a misspelt name without a word."""
    if overrides.value is INVALID:
        return []
    return [f"{overrides.place}: {problem}" for problem in keys.check_overrides(overrides.value)]


def last_set(*settings: Setting) -> Setting:
    """The one that overrides the others, which is probably the one that was just changed."""
    return max(settings, key=lambda setting: setting.rank)


# --- sources ----------------------------------------------------------------------------------------------------------

KINDS = (
    "the path of a video or of a folder or archive of photos, or an address that begins with https://, http://, "
    "s3://BUCKET/ or gdrive://"
)


def check_source(video: Setting) -> list[str]:
    """Whether footage can be where a row says. What is behind an address is not looked at here."""
    if video.value is INVALID:
        return []
    scheme, separator, rest = video.value.partition("://")
    problem = check_address(scheme, rest) if separator else check_path(Path(video.value))
    return [f"{video.place}: {show(video.value)}: {problem}"] if problem else []


def check_address(scheme: str, rest: str) -> str | None:
    """What is wrong with SCHEME://REST."""
    if scheme in ("http", "https"):
        host = rest.split("/")[0].split("@")[-1]
        if host == "drive.google.com":
            file_id = re.search(r"(?:/d/|[?&]id=)([\w-]+)", rest)
            return f"this is a web page, not a video. Write gdrive://{file_id[1] if file_id else 'FILE_ID'}."
        return None if host else f"the server is missing. Write {scheme}://SERVER/PATH."
    if scheme == "s3":
        bucket, _, key = rest.partition("/")
        return None if bucket and key else "the bucket or the key is missing. Write s3://BUCKET/KEY."
    if scheme == "gdrive":
        good = re.fullmatch(r"[\w-]{10,}", rest)
        return None if good else "this is no file id. Write gdrive:// and the part of the share link after /d/."
    near = suggest(scheme, ("https", "http", "s3", "gdrive"))
    return f"{scheme}:// is no known kind of address. Write {KINDS}.{near}"


def check_path(path: Path) -> str | None:
    """What is wrong with the path of a video, of a folder of photos or of an archive of them."""
    scheme = re.match(r"(https?|s3|gdrive):", str(path))
    if scheme:
        return f"this address lacks its two slashes. Write {scheme[1]}://..."
    if not os.path.exists(path):
        if os.path.isdir(path.parent):
            return f"there is no such file or folder. {suggest_file(path) or f'Write {KINDS}.'}"
        advice = suggest_file(path.parent) or "Paths begin at the folder where snakemake runs. Write the whole path."
        return f"there is no folder {path.parent}. {advice}"
    if Path("resources/videos").resolve() in path.resolve().parents:
        return "the workflow keeps its own copies in resources/videos. Move the file elsewhere, for example to videos."
    if not os.access(path, os.R_OK):
        return "you may not read it. Change its permissions with chmod, or copy it."
    if path.is_dir():
        if any(file.suffix.lower() in PHOTO_SUFFIXES for file in path.iterdir()):
            return None
        suffixes = ", ".join(PHOTO_SUFFIXES)
        return f"there is no photo ({suffixes}) in this folder. Write the path of one with photos, or of a video."
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return "this is a single photo. Write the path of the folder that holds all photos of the scene."
    return None if path.stat().st_size else "this file is empty. Copy or download it again."


if __name__ == "__main__":
    run(main)
