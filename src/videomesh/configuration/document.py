"""Write config/config.yaml and the tables of config/README.md from the schema: `make settings`."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from videomesh.configuration.files import CONFIG
from videomesh.configuration.schema import CHECKOUT, Leaf, find_leaves, is_column, read_schema
from videomesh.configuration.words import allowed, show

README = "config/README.md"
WIDTH = 120
HEADER = """\
# Settings for all scenes, with their defaults. A column of the table of scenes sets a key for one scene. Its name is
# the dotted path of the key, such as train.iterations. config/README.md explains every key and its limits.
"""


def main() -> None:
    for name, text in document().items():
        (CHECKOUT / name).write_text(text, encoding="utf-8")
        print(f"wrote {name}")


def document() -> dict[str, str]:
    """Path in the checkout -> what the schema makes of the file. Raises ValueError if the README lacks its marks."""
    schema = read_schema("config")
    readme = (CHECKOUT / README).read_text(encoding="utf-8")
    readme = replace_part(readme, "settings", write_settings(schema))
    return {str(CONFIG): write_config(schema), README: replace_part(readme, "checks", write_checks(schema))}


def replace_part(text: str, name: str, content: str) -> str:
    """The text with new content between the marks of a part. Raises ValueError if it has no such marks."""
    begin, end = f"<!-- begin {name}: make settings writes this -->\n", f"<!-- end {name} -->\n"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}{content}{end}{after}"


# --- config.yaml ------------------------------------------------------------------------------------------------------


def write_config(schema: Mapping[str, Any]) -> str:
    lines = [HEADER]
    for name, child in schema["properties"].items():
        if "properties" not in child:
            lines += write_key(name, child)
            continue
        lines += ["", *write_comment(child["description"]), f"{name}:"]
        for key, leaf in child["properties"].items():
            lines += [f"  {line}" for line in write_key(key, leaf)]
    return "\n".join(lines) + "\n"


def write_key(name: str, leaf: Leaf) -> Iterator[str]:
    """A key with its default and its comment, which stands above the key if it is too long."""
    choices = f"{' | '.join(leaf['enum'])}. " if "enum" in leaf else ""
    line, comment = f"{name}: {show_default(leaf)}", write_comment(choices + leaf["description"])
    if len(comment) == 1 and len(f"  {line} {comment[0]}") <= WIDTH:
        yield f"{line} {comment[0]}"
    else:
        yield from [*comment, line]


def show_default(leaf: Leaf) -> str:
    """The default as YAML. A check of the gate has two, one for each limit."""
    if "properties" not in leaf:
        return show(leaf["default"])
    return f"{{{', '.join(f'{name}: {show_default(child)}' for name, child in leaf['properties'].items())}}}"


def write_comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text.replace("`", ""), WIDTH - 4, break_on_hyphens=False)]


# --- README.md --------------------------------------------------------------------------------------------------------


def write_settings(schema: Mapping[str, Any]) -> str:
    """A table for the keys at the left margin, and one for each section."""
    top = {name: child for name, child in schema["properties"].items() if "properties" not in child}
    parts = [write_table(top)]
    for name, section in schema["properties"].items():
        if "properties" in section:
            keys = {f"{name}.{key}": leaf for key, leaf in section["properties"].items() if "properties" not in leaf}
            parts.append(f"### {name}\n\n{section['description']}\n\n{write_table(keys)}")
    return "\n".join(parts)


def write_table(leaves: Mapping[str, Leaf]) -> str:
    lines = ["| key | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for key, leaf in leaves.items():
        column = "" if is_column(leaf) else "It cannot be a column."
        meaning = " ".join(filter(None, [leaf["description"], leaf.get("details"), column]))
        lines.append(f"| `{key}` | {show(leaf['default'])} | {allowed(leaf)} | {meaning} |")
    return "\n".join(lines) + "\n"


def write_checks(schema: Mapping[str, Any]) -> str:
    lines = ["| check | warn | fail | bad is a value | measured |", "| --- | --- | --- | --- | --- |"]
    for name, check in schema["properties"]["gate"]["properties"].items():
        if "worse" in check:
            warn, fail = (show(leaf["default"]) for leaf in find_leaves(check).values())
            lines.append(f"| `{name}` | {warn} | {fail} | {check['worse']} its limit | {check['description']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
