"""Stands in for the package `wandb`, which upstream imports everywhere and reports its progress to.

Every log() becomes one line of <dir>/metrics.jsonl: {"step": step, "time": seconds, "attempt": seconds, name: number or
null, ...}. The attempt is the time at which this process began: a file may go on with what an earlier one wrote.
Numbers that are not finite become null, since JSON has none; images are left out. Nothing leaves the machine.
"""

import enum
import json
import math
import time
import uuid
from pathlib import Path
from typing import Any, Dict, Optional

_metrics: Optional[Path] = None
_step = 0
_attempt = time.time()


def init(*_: Any, dir: Optional[str] = None, **__: Any) -> None:
    global _metrics
    _metrics = Path(dir or ".") / "metrics.jsonl"
    _metrics.parent.mkdir(parents=True, exist_ok=True)


def log(data: Dict[str, Any], step: Optional[int] = None, **_: Any) -> None:
    global _step
    _step = _step if step is None else int(step)
    if _metrics is None:
        return
    row: Dict[str, Any] = {"step": _step, "time": time.time(), "attempt": _attempt}
    row.update({name: _number(value) for name, value in data.items() if not isinstance(value, Image)})
    with open(_metrics, "a") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


def _number(value: Any) -> Any:
    """A plain number of a Python, NumPy or PyTorch scalar; None of anything else."""
    try:
        value = value.item() if hasattr(value, "item") else value
        return value if math.isfinite(value) else None
    except (TypeError, ValueError, RuntimeError):  # a text; an array of several
        return None


def watch(*_: Any, **__: Any) -> None:
    pass


def finish(*_: Any, **__: Any) -> None:
    pass


class AlertLevel(enum.Enum):
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


def alert(title: str = "", text: str = "", level: AlertLevel = AlertLevel.INFO, **_: Any) -> None:
    print(f"{level.value}: {title}: {text}", flush=True)


class Image:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass


class Settings:
    def __init__(self, **_: Any) -> None:
        pass


class config:
    @staticmethod
    def update(*_: Any, **__: Any) -> None:
        pass


class util:
    @staticmethod
    def generate_id(*_: Any) -> str:
        return uuid.uuid4().hex[:8]
