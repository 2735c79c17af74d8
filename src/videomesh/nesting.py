"""Settings by dotted keys, and nested. Standard library only."""

from collections.abc import Mapping
from typing import Any


def nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"train.seed": 0} becomes {"train": {"seed": 0}}."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *sections, name = key.split(".")
        level = nested
        for section in sections:
            level = level.setdefault(section, {})
        level[name] = value
    return nested


def merge(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """base with values over it, at every depth. Neither is changed."""
    merged = dict(base)
    for name, value in values.items():
        inner = merged.get(name)
        merged[name] = (
            merge(inner if isinstance(inner, Mapping) else {}, value) if isinstance(value, Mapping) else value
        )
    return merged
