"""Limits stand in the schema only: no program checks them again, so the configuration has to."""

import pytest

from videomesh.configuration.load import load_scenes
from videomesh.configuration.schema import find_leaves, read_schema
from videomesh.errors import ConfigurationError

BEYOND = [
    (key, leaf[limit] + step)
    for key, leaf in find_leaves(read_schema("config")).items()
    for limit, step in (("minimum", -1), ("maximum", 1), ("exclusiveMinimum", 0), ("exclusiveMaximum", 0))
    if limit in leaf
]


@pytest.mark.parametrize(("key", "value"), BEYOND)
def test_a_number_beyond_its_limit_is_refused(key: str, value: float) -> None:
    section, _, name = key.rpartition(".")
    nested: dict[str, object] = {name: value}
    for part in reversed(section.split(".") if section else []):
        nested = {part: nested}
    with pytest.raises(ConfigurationError) as refused:
        load_scenes({"scenes": "config/scenes.tsv", **nested})
    assert any(f"{key}: {value} is not allowed" in error for error in refused.value.errors), refused.value
