"""Values, limits and paths as messages and tables show them."""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videomesh.configuration.schema import Leaf, types_of

FORMATS = {
    "image": "the name of an image",
    "checksum": "64 hexadecimal digits",
    "marks": "NAME X Y for two pictures or more, separated by commas",
}


def allowed(leaf: Leaf) -> str:
    """What the schema allows, as the end of a sentence that begins with "Write"."""
    types = types_of(leaf)
    if "enum" in leaf:
        return join_words(leaf["enum"])
    if "object" in types:
        return "names with their values in braces"
    if "string" in types:
        text = FORMATS.get(leaf.get("format", ""), "a path")
    elif "array" in types and "array" in types_of(leaf["items"]):
        text = "three pairs of numbers in brackets"
    elif "array" in types and "enum" in leaf["items"]:
        text = f"{join_words(leaf['items']['enum'], 'and')}, or some of them, separated by commas"
    elif "array" in types:
        count = "three numbers" if leaf.get("maxItems") == 3 else "different whole numbers"
        text = f"{count} {limits(leaf['items'])}, separated by commas"
    else:
        text = f"a {'whole number' if 'integer' in types else 'number'} {limits(leaf)}"
    return f"{text}, or null" if "null" in types else text


def example(leaf: Leaf) -> str:
    """An allowed value as the end of a sentence. Empty for words, since allowed() gives all of them."""
    value = leaf["examples"][0] if "examples" in leaf else leaf["default"]
    if "enum" in leaf or value is None:
        return ""
    nested = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], list))
    text = json.dumps(value) if nested else value
    if nested:
        return f", for example {text}"
    return f", for example {','.join(map(str, value)) if isinstance(value, list) else text}"


def limits(leaf: Leaf) -> str:
    """Minimum and maximum in words."""
    if "exclusiveMinimum" in leaf:
        return f"above {leaf['exclusiveMinimum']} and up to {leaf['maximum']}"
    return f"from {leaf['minimum']} to {leaf['maximum']}"


def show(value: Any) -> str:
    """A value on one line, not too long: plain words as they are, the rest as in JSON."""
    plain = isinstance(value, str) and re.fullmatch(r"[\w./:,%+-]+", value)
    text = value if plain else json.dumps(value, ensure_ascii=False, default=str, skipkeys=True)
    return text if len(text) <= 120 else f"{text[:117]}..."


def join_words(words: Sequence[str], last: str = "or") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def show_path(path: Path) -> str:
    """Relative to the working folder if it is below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def suggest_file(path: Path) -> str:
    """A question that gives the most similar file of the same folder. Empty if there is none.

    Unlike the names of settings, these do not count by their last part: .mp4 makes no two videos similar.
    """
    try:
        names = {file.name.lower(): file.name for file in path.parent.iterdir()}
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name.lower(), names, n=1, cutoff=0.7)
    return f"Did you mean {path.with_name(names[near[0]])}?" if near else ""


def where_paths_begin() -> str:
    return f"Paths begin at the working folder, {Path.cwd()}."
