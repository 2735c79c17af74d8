"""What config/schemas allow: all settings by their dotted keys. The folder is found beside the code."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
SCHEMAS = CHECKOUT / "config" / "schemas"

Leaf = Mapping[str, Any]  # the JSON schema of one setting
Leaves = Mapping[str, Leaf]  # by dotted key, such as train.iterations


@functools.cache
def read_schema(name: str) -> dict[str, Any]:
    """A schema of config/schemas: config, scenes or neuralangelo."""
    text = (SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
    schema: dict[str, Any] = yaml.load(text, loader)
    return schema


def find_leaves(schema: Mapping[str, Any], prefix: str = "") -> dict[str, Leaf]:
    """The settings of a nested schema by their dotted keys, in the schema's order."""
    leaves: dict[str, Leaf] = {}
    for name, child in schema["properties"].items():
        leaves |= find_leaves(child, f"{prefix}{name}.") if "properties" in child else {f"{prefix}{name}": child}
    return leaves


def find_sections(keys: Iterable[str]) -> set[str]:
    """Every dotted beginning of a key: gate, gate.track_length, train, ..."""
    parts = [key.split(".") for key in keys]
    return {".".join(part[:depth]) for part in parts for depth in range(1, len(part))}


def find_children(section: str, leaves: Leaves) -> list[str]:
    """The names right below a section, sorted. "" is the top level."""
    keys = [*leaves, *find_sections(leaves)]
    return sorted(key.split(".")[-1] for key in keys if key.rpartition(".")[0] == section)


def find_former(leaves: Leaves) -> dict[str, str]:
    """Former key -> its present one."""
    return {leaf["formerly"]: key for key, leaf in leaves.items() if "formerly" in leaf}


def is_column(leaf: Leaf) -> bool:
    """Whether a setting may be a column of the table of scenes, so that each scene can have another value."""
    return bool(leaf.get("column", True))


def types_of(leaf: Leaf) -> list[str]:
    types = leaf.get("type", "string")  # an enum of words states no type
    return [types] if isinstance(types, str) else types
