"""One value against its schema: converted to the type that the schema asks for, or an error that explains it."""

import math
import re
from typing import Any, NamedTuple

import jsonschema
import yaml

from videomesh.configuration.schema import Leaf, types_of
from videomesh.configuration.words import allowed, example, show
from videomesh.errors import suggest

INVALID = object()  # the value of a setting that has an error already, so that no second error follows from it


class Setting(NamedTuple):
    value: Any
    place: str  # for people: "config/scenes.tsv line 3, column train.iterations" or "default, train.iterations"
    rank: int  # 0 default, 1 configuration, 2 the scene's row


Settings = dict[str, Setting]  # by dotted key. A scene's settings also have "video"


def check_value(raw: Any, place: str, rank: int, leaf: Leaf) -> tuple[Setting, list[str]]:
    """A value from a file or a table cell in the type that the schema asks for. Or INVALID, and the error."""
    value = convert(raw, leaf)
    if is_valid(value, leaf):
        return Setting(value, place, rank), []
    error = f"{place}: {show(raw)} is not allowed. Write {allowed(leaf)}{example(leaf)}.{suggest_value(raw, leaf)}"
    return Setting(INVALID, place, rank), [error]


def convert(raw: Any, leaf: Leaf) -> Any:
    """Text becomes what it stands for, where the schema wants no text. What cannot be converted stays as it is.

    Table cells are text, and so are all values in `snakemake --config 'train={seed: 1}'`.
    """
    types = types_of(leaf)
    if raw is None and "null" in types:
        return raw
    if isinstance(raw, str) and "null" in types and raw.strip().lower() in ("null", "none"):
        return None
    if "string" in types:
        return raw
    if "object" in types:
        return read_object(raw) if isinstance(raw, str) else raw
    if "array" in types:
        if isinstance(raw, str) and "array" in types_of(leaf["items"]):
            raw = read_object(raw)
        if isinstance(raw, str):
            raw = raw.strip("[]() ").split(",") if raw.strip("[]() ") else []
        return [convert(item, leaf["items"]) for item in raw] if isinstance(raw, list) else raw
    number = to_number(raw) if isinstance(raw, str) else raw
    return int(number) if isinstance(number, float) and "integer" in types and number.is_integer() else number


def read_object(text: str) -> Any:
    """What a table cell like {name: value} or [[0, 1], [2, 3]] stands for, or text itself."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def to_number(text: str) -> int | float | str:
    """The number that text stands for, or text itself if it is none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def is_valid(value: Any, leaf: Leaf) -> bool:
    return _VALIDATOR(leaf).is_valid(value)


def _is_finite(_: object, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_VALIDATOR = jsonschema.validators.extend(  # JSON has no infinity and no NaN, YAML and table cells do
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("number", _is_finite),
)


def suggest_value(raw: Any, leaf: Leaf) -> str:
    """The nearest allowed word, or the number that was probably meant."""
    if "enum" in leaf:
        return suggest(str(raw), leaf["enum"]) if len(leaf["enum"]) > 1 else ""
    if not isinstance(raw, str) or "string" in types_of(leaf):
        return ""
    guesses = [
        re.sub(r"[;\s]+", ",", raw),  # a list with other separators
        raw.replace(",", "."),  # a decimal comma
        re.sub(r"[ ,.']", "", raw),  # separators of thousands
        re.sub(r"^(\d+) ?%$", lambda match: str(int(match[1]) / 100), raw),
    ]
    guess = next((text for text in guesses if is_valid(convert(text, leaf), leaf)), None)
    return f" Did you mean {guess}?" if guess else ""
