"""What config/schemas allow: settings by their dotted keys, one value checked, and the words that explain it."""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml

from videomesh.errors import nearest, suggest

SCHEMAS = Path(__file__).resolve().parent.parent / "config" / "schemas"
# Settings that are no column of the table of scenes.
GLOBAL = (
    "scenes",
    "images.colmap",
    "images.pytorch",
    "images.neuralangelo",
    "neuralangelo.source",
    "neuralangelo.checksum",
)
INVALID = object()  # the value of a setting that has an error of its own, so that no second error follows from it

Leaf = Mapping[str, Any]  # the JSON schema of one setting
Leaves = Mapping[str, Leaf]  # by dotted key, such as train.iterations


class Setting(NamedTuple):
    value: Any
    place: str  # for people: "config/scenes.tsv line 3, column train.iterations"
    rank: int  # 0 default, 1 configuration, 2 the scene's row


Settings = dict[str, Setting]  # by dotted key; a scene's also have "video"


@functools.cache
def read_schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text())
    return schema


def find_leaves(schema: Mapping[str, Any], prefix: str = "") -> dict[str, Leaf]:
    """The settings of a nested schema by their dotted keys, in the schema's order."""
    leaves: dict[str, Leaf] = {}
    for name, child in schema["properties"].items():
        leaves |= find_leaves(child, f"{prefix}{name}.") if "properties" in child else {f"{prefix}{name}": child}
    return leaves


def find_sections(leaves: Leaves) -> set[str]:
    """Every dotted beginning of a key: gate, gate.track_length, train, ..."""
    parts = [key.split(".") for key in leaves]
    return {".".join(part[:depth]) for part in parts for depth in range(1, len(part))}


def check_value(raw: Any, place: str, rank: int, leaf: Leaf) -> tuple[Setting, list[str]]:
    """A value from a file or a table cell in the type that the schema asks for; or INVALID, and the error."""
    value = convert(raw, leaf)
    if is_valid(value, leaf):
        return Setting(value, place, rank), []
    error = f"{place}: {show(raw)} is not allowed. Write {allowed(leaf)}{example(leaf)}.{suggest_value(raw, leaf)}"
    return Setting(INVALID, place, rank), [error]


def convert(raw: Any, leaf: Leaf) -> Any:
    """Text becomes what it stands for, where the schema wants no text; what cannot be converted stays as it is.

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
        if isinstance(raw, str):
            raw = raw.strip("[]() ").split(",") if raw.strip("[]() ") else []
        return [convert(item, leaf["items"]) for item in raw] if isinstance(raw, list) else raw
    number = to_number(raw) if isinstance(raw, str) else raw
    return int(number) if isinstance(number, float) and "integer" in types and number.is_integer() else number


def read_object(text: str) -> Any:
    """What a table cell like {name: value} stands for, or text itself."""
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


def types_of(leaf: Leaf) -> list[str]:
    types = leaf.get("type", "string")  # words in an enum have no type of their own
    return [types] if isinstance(types, str) else types


# --- words ------------------------------------------------------------------------------------------------------------


WORDS = {"image": "the name of an image", "checksum": "64 hexadecimal digits"}


def allowed(leaf: Leaf) -> str:
    """What the schema allows, as the end of a sentence that begins with "Write"."""
    types = types_of(leaf)
    if "enum" in leaf:
        return join_words(leaf["enum"])
    if "object" in types:
        return "names with their values in braces"
    if "string" in types:
        return WORDS.get(leaf.get("format", ""), "a path") + (", or null" if "null" in types else "")
    if "array" in types:
        count = "three numbers" if leaf.get("maxItems") == 3 else "different whole numbers"
        text = f"{count} {limits(leaf['items'])}, separated by commas"
    else:
        text = f"a {'whole number' if 'integer' in types else 'number'} {limits(leaf)}"
    return f"{text}, or null" if "null" in types else text


def example(leaf: Leaf) -> str:
    """An allowed value as the end of a sentence; empty for words, which are all named by allowed()."""
    value = leaf["examples"][0] if "examples" in leaf else leaf["default"]
    if "enum" in leaf or value is None:
        return ""
    text = json.dumps(value) if isinstance(value, dict) else value
    return f", for example {','.join(map(str, value)) if isinstance(value, list) else text}"


def limits(leaf: Leaf) -> str:
    """Minimum and maximum in words."""
    if "exclusiveMinimum" in leaf:
        return f"above {leaf['exclusiveMinimum']} and up to {leaf['maximum']}"
    return f"from {leaf['minimum']} to {leaf['maximum']}"


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


def show(value: Any) -> str:
    """A value on one line, not too long: plain words as they are, the rest as in JSON."""
    plain = isinstance(value, str) and re.fullmatch(r"[\w./:,%+-]+", value)
    text = value if plain else json.dumps(value, ensure_ascii=False, default=str, skipkeys=True)
    return text if len(text) <= 120 else f"{text[:117]}..."


def join_words(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


# --- files ------------------------------------------------------------------------------------------------------------


def show_path(path: Path) -> str:
    """Relative to the working folder if it is below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def suggest_file(path: Path) -> str:
    """A question that names the most similar file of the same folder; empty if there is none."""
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        return ""
    near = nearest(path.name, names)
    return f"Did you mean {path.with_name(near)}?" if near else ""
