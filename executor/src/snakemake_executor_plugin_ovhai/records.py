"""Read the platform's JSON, where any field may be missing, null or of an unexpected type."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def get_map(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of a record, empty if the record has none by this name."""
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}


def get_list(record: Mapping[str, Any], name: str) -> list[Any]:
    """A list of a record, empty if the record has none by this name."""
    value = record.get(name)
    return value if isinstance(value, list) else []


def get_text(record: Mapping[str, Any], name: str) -> str:
    """A text of a record, empty if the record has none by this name."""
    value = record.get(name)
    return value if isinstance(value, str) else ""


def read_int(value: object) -> int | None:
    """A number, which some versions of the platform send as text."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):  # Python's JSON may hold Infinity
        return None


def read_time(value: object) -> datetime | None:
    """A time in RFC 3339 as UTC. The platform writes up to nine digits after the second."""
    found = re.match(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?", value) if isinstance(value, str) else None
    if not found:
        return None
    date, clock, fraction = found.groups()
    try:  # strptime() takes ten times as long, and a list of thousands of jobs has ten times for each
        return datetime.fromisoformat(f"{date}T{clock}{fraction or ''}").replace(tzinfo=UTC)
    except ValueError:
        return None
