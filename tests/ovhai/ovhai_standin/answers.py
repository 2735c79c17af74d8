"""What the platform answers to a call: output in the asked form, or a refusal."""

import json
from collections.abc import Iterator
from typing import Any


class Refusal(Exception):
    """The platform answers with an error."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def formatted(content: Any, output: str | None) -> str:
    if output == "json" and isinstance(content, list):
        # An entry in one line: with an indent, Python's JSON takes ten times as long, for thousands of jobs.
        return "[\n" + ",\n".join(map(json.dumps, content)) + "\n]\n"
    if output == "json":
        return json.dumps(content, indent=2) + "\n"
    if output == "yaml":
        import yaml

        return str(yaml.safe_dump(content, sort_keys=False))
    return "".join(human_lines(content, ""))


def human_lines(content: dict[str, Any], indent: str) -> Iterator[str]:
    """A listing for people, as older versions of the real command print it."""
    for name, value in content.items():
        title = name[0].upper() + name[1:]
        if isinstance(value, dict) and value:
            yield f"{indent}{title}:\n"
            yield from human_lines(value, indent + "  ")
        else:
            yield f"{indent}{title}: {'~' if value in (None, [], {}) else value}\n"


def table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    aligned = ("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in aligned)
