"""What the tests of snakemake-ovhai share; the fixture `run` is in conftest.py."""

from collections.abc import Callable

from ovhai_standin.platform import Platform
from submission import submit

Said = tuple[int, str, str]  # exit code, standard output, standard error
Run = Callable[..., Said]


def start(platform: Platform, rule: str, *wildcards: str, workflow: str = "w", script: str = "sleep 60") -> str:
    """A job as the executor labels it; answers its id."""
    labels = {"workflow": workflow, "rule": rule, "attempt": "1"}
    labels |= {f"wildcard-{name}": value for name, value in zip("abc", wildcards, strict=False)}
    options = [word for name, value in labels.items() for word in ("--label", f"snakemake-{name}={value}")]
    return submit(platform, *options, command=script)


def stuck(platform: Platform, state: str = "QUEUED") -> None:
    """Jobs stay where they are and need no process."""
    platform.fault(when=state, action="stuck")
