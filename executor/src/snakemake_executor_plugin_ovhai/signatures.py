"""Known errors in the logs of jobs: read the YAML files that hold them (signatures.yaml explains the format)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

# Whether another attempt may help. "free" does not count as an attempt, "changed" needs another machine.
Retry = Literal["yes", "no", "free", "changed"]
OWN_FILE = Path(__file__).with_name("signatures.yaml")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # some builds lack libyaml, which is ten times as fast


@dataclass(frozen=True)
class Signature:
    pattern: re.Pattern[str]
    cause: str
    remedy: str
    retry: Retry


def load_signatures(path: Path) -> list[Signature]:
    """ValueError names the file, the entry and what is wrong with it."""
    try:
        entries = yaml.load(path.read_text(), LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"signatures {path}: {error}") from None
    if not isinstance(entries, list):
        raise ValueError(f"signatures {path}: a list of entries is expected")
    return [read_signature(entry, f"signatures {path}, entry {number}") for number, entry in enumerate(entries, 1)]


def read_signature(entry: Any, origin: str) -> Signature:
    """origin: file and number of the entry, for errors."""
    names = {"pattern", "cause", "remedy", "retry"}
    if not isinstance(entry, dict) or set(entry) != names:
        raise ValueError(f"{origin}: needs exactly {', '.join(sorted(names))}")
    for name in ("pattern", "cause", "remedy"):
        if not isinstance(entry[name], str) or not entry[name]:
            raise ValueError(f"{origin}: {name} is {entry[name]!r}; a text is expected")
    retry = entry["retry"]
    if isinstance(retry, bool):  # YAML reads yes and no without quotes as booleans
        retry = "yes" if retry else "no"
    if retry not in get_args(Retry):
        raise ValueError(f"{origin}: retry is {retry!r}; allowed are {', '.join(get_args(Retry))}")
    try:
        pattern = re.compile(entry["pattern"], re.MULTILINE)
    except re.error as error:
        raise ValueError(f"{origin}: pattern {entry['pattern']!r}: {error}") from None
    return Signature(pattern, entry["cause"], entry["remedy"], retry)
