"""The settings of every scene: defaults, configuration files over them, the scene's row of the table over those.

Each value is checked against config/schemas (name, type, limits), then the values against each other and the disk. All
errors are reported together.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videomesh.configuration.files import check_config
from videomesh.configuration.meaning import check_meaning
from videomesh.configuration.schema import find_leaves, read_schema
from videomesh.configuration.table import read_rows
from videomesh.configuration.values import INVALID, Setting, Settings
from videomesh.configuration.words import show
from videomesh.errors import ConfigurationError, suggest
from videomesh.nesting import nest

REGIONS = Path("config/regions")  # in the working folder


def load_scenes(config: Mapping[str, Any], files: Sequence[str | Path] = ()) -> dict[str, dict[str, Any]]:
    """Scene name -> all its settings, nested as in config.yaml (without `scenes`), and its "video".

    config is the merged configuration. It was read from files, which are looked into for the line of an error. Without
    files it may come from anywhere. Paths begin at the working folder. Raises ConfigurationError with all problems.
    """
    scenes = resolve(config, files)
    return {name: nest({key: setting.value for key, setting in scene.items()}) for name, scene in scenes.items()}


def resolve(config: Mapping[str, Any], files: Sequence[str | Path]) -> dict[str, Settings]:
    """Scene name -> all settings with the places where they were set. Raises ConfigurationError."""
    leaves = find_leaves(read_schema("config"))
    defaults = {key: Setting(leaf["default"], f"default, {key}", 0) for key, leaf in leaves.items()}
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
    """Puts video first and leaves `scenes` out, which belongs to no scene."""
    return {"video": settings["video"]} | {key: setting for key, setting in settings.items() if key != "scenes"}


def describe(scene: str, settings: Settings) -> str:
    """A scene's settings as lines of key, value, place."""
    rows = [(key, show(setting.value), setting.place.rpartition(", ")[0]) for key, setting in settings.items()]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join([scene, *(f"  {key:{key_width}}  {value:{value_width}}  {place}" for key, value, place in rows)])


def find_unused_regions(scenes: Iterable[str]) -> list[str]:
    """A warning for each config/regions/SCENE.json without a scene of that name."""
    names = list(scenes)
    return [
        f"{path}: there is no scene {path.stem}, so this region is not used.{suggest(path.stem, names)}"
        for path in sorted(REGIONS.glob("*.json"))
        if path.stem not in names
    ]
