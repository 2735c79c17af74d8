"""Configuration files: which settings they set, and in which line."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from videomesh.configuration.schema import CHECKOUT, Leaves, find_children, find_former, find_sections
from videomesh.configuration.values import Settings, check_value
from videomesh.configuration.words import show, show_path, suggest_file, where_paths_begin
from videomesh.errors import ConfigurationError, nearest
from videomesh.nesting import merge

CONFIG = Path("config/config.yaml")  # in the working folder


def read_config(files: Sequence[Path]) -> dict[str, Any]:
    """The files merged as Snakemake merges them, later ones over earlier ones. Raises ConfigurationError."""
    check_files(files)
    merged: dict[str, Any] = {}
    for file in files:
        merged = merge(merged, yaml.safe_load(file.read_text(encoding="utf-8")))
    return merged


def check_files(files: Iterable[str | Path]) -> None:
    """Raises ConfigurationError unless each file is YAML with keys. Snakemake's own message has no file and no line."""
    errors = [error for file in files for error in check_file(Path(file))]
    if errors:
        raise ConfigurationError(errors)


def check_file(file: Path) -> list[str]:
    place = show_path(file)
    if not os.path.isfile(file):
        return [f"{place}: there is no such file. {suggest_file(file) or advise_on_missing(file)}"]
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        return [f"{place}: this file cannot be read: {error.strerror}. Change its permissions with chmod, or copy it."]
    except UnicodeDecodeError:
        return [f"{place}: this is not text in UTF-8. Save it as UTF-8 in your editor."]
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        advice = "Indent with spaces, not tabs. Write a space after each colon. Close all brackets and quotes."
        return [f"{place}{line}: this is not valid YAML: {error.problem}. {advice}"]
    except (yaml.YAMLError, ValueError) as error:
        return [f"{place}: this is not valid YAML: {str(error).splitlines()[0]}. Write plain text."]
    if not isinstance(values, dict):
        return [f"{place}: there are no settings in this file. Write one a line, for example engine: sdfgrid."]
    return []


def advise_on_missing(file: Path) -> str:
    if file != CONFIG:
        return f"{where_paths_begin()} Write the path of a configuration file."
    shipped = CHECKOUT / CONFIG
    return f"{where_paths_begin()} Copy {shipped} there, name another configuration file, or name the folder with -d."


def check_config(config: Mapping[str, Any], files: Sequence[Path], leaves: Leaves) -> tuple[Settings, list[str]]:
    """The settings of the configuration with their places, and the errors in its names and values."""
    sections = find_sections([*leaves, *find_former(leaves)])
    keys, errors = find_keys(files, sections)
    settings: Settings = {}
    for key, raw in flatten(config, sections).items():
        place = find_place(key, raw, keys)
        if key in leaves:
            settings[key], value_errors = check_value(raw, place, 1, leaves[key])
            errors += value_errors
        elif key in find_sections(leaves):
            names = list_children(key, leaves)
            errors.append(f"{place}: {show(raw)} is not allowed. Write its settings below it, indented: {names}.")
        else:
            errors.append(f"{place}: {explain_unknown(key, leaves)}")
    return settings, errors


class Key(NamedTuple):
    """A key in a configuration file."""

    file: str
    line: int
    value: Any


def find_keys(files: Sequence[Path], sections: set[str]) -> tuple[dict[str, list[Key]], list[str]]:
    """Dotted key -> where the files set it and to what. Also an error for each key that stands twice in one file."""
    keys: dict[str, list[Key]] = {}
    errors = []
    for file in files:
        if check_file(file):
            continue  # Snakemake could read it. Only the line numbers are lost
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
    """The line that sets a key to this value. Without one it came from the command line."""
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


def explain_unknown(key: str, leaves: Leaves) -> str:
    """What to do about a key that is no setting: its new name, the nearest key, or those allowed at its level."""
    former = key.strip("'")
    moved = find_former(leaves)
    present = moved.get(former)
    if present:
        section, _, name = present.rpartition(".")
        return f"{former} is now {present}. Write {name}, indented below {section}."
    sections = {old.rpartition(".")[0]: new.rpartition(".")[0] for old, new in moved.items()}
    if former in sections:
        section = sections[former]
        return f"{former} is now {section}. Write its settings below it, indented: {list_children(section, leaves)}."
    near = nearest(key, [*leaves, *find_sections(leaves)])
    section, _, name = (near or key).rpartition(".")
    if near:
        below = f" ({name}, indented below {section})" if section else ""
        return f"there is no such setting. Did you mean {near}{below}?"
    where = f"below {section}" if section else "at the left margin"
    return f"there is no such setting. Allowed {where} are {list_children(section, leaves)}."


def list_children(section: str, leaves: Leaves) -> str:
    return ", ".join(find_children(section, leaves))
