"""neuralangelo.overrides: settings of NVIDIA's Neuralangelo by their dotted names, checked against its schema.

Neuralangelo takes a misspelt name for a new setting and says nothing, so a name that it lacks must not reach it.
"""

import difflib
from collections.abc import Mapping
from typing import Any

import jsonschema

from videomesh.configuration.schema import Leaf, read_schema, types_of


def check_overrides(overrides: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings given by their dotted names, each as a sentence with the remedy."""
    known = read_schema("neuralangelo")["properties"]
    errors = []
    for key, value in overrides.items():
        if key not in known:
            errors.append(f"Neuralangelo has no setting {key}.{suggest_override(str(key), list(known))}")
        elif "decided" in known[key]:
            errors.append(f"{key} is decided by the workflow. {known[key]['decided']}")
        elif not jsonschema.Draft202012Validator(known[key]).is_valid(value):
            errors.append(f"{key}: {value!r} is not allowed. Write {describe(known[key])}.")
    return errors


def suggest_override(key: str, known: list[str]) -> str:
    """The nearest name: of the whole, or one that ends alike (hashgrid.dict_size)."""
    section = next((name for name in known if name.startswith(f"{key}.")), None)
    if section:
        return f" Write one setting below it, such as {section}."
    same_end = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = difflib.get_close_matches(key, same_end or known, 1, 0 if len(same_end) == 1 else 0.6)
    return f" Did you mean {near[0]}?" if near else " Its settings are in config/schemas/neuralangelo.schema.yaml."


def describe(leaf: Leaf) -> str:
    """What is allowed, as the end of a sentence."""
    if "enum" in leaf:
        return " or ".join(map(str, leaf["enum"]))
    types = types_of(leaf)
    words = {
        "boolean": "true or false",
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "object": "keys with values",
        "null": "null",
        "array": "a list",
    }
    text = " or ".join(words[kind] for kind in types)
    if "array" in types:
        count = f" of {leaf['minItems']}" if "minItems" in leaf else ""
        text = f"a list{count}, each {describe(leaf['items'])}"
    if leaf.get("minimum"):
        text += f" from {leaf['minimum']}" + (f" to {leaf['maximum']}" if "maximum" in leaf else "")
    if "exclusiveMinimum" in leaf:
        text += f" above {leaf['exclusiveMinimum']}"
    return text
