"""scripts/ingest.py on a source of the scene tractor."""

from pathlib import Path

from programs import call


def get_arguments(source: str | Path, output: Path) -> list[str]:
    return ["--scene=tractor", f"--source={source}", f"--output={output}"]


def fetch(source: str | Path, output: Path, *options: str) -> str:
    """A run that must succeed; returns what it said."""
    done = call("ingest", *get_arguments(source, output), *options)
    assert done.returncode == 0, done.stderr
    assert list(output.parent.iterdir()) == [output] and not output.is_symlink()
    return done.stdout


def refuse(source: str | Path, output: Path, says: list[str], *options: str) -> str:
    """A run that must fail with one clear message and leave nothing behind; returns all that it said."""
    done = call("ingest", *get_arguments(source, output), *options)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: scene tractor: source ") and done.stderr.count("\n") == 1, done.stderr
    for words in says:
        assert words in done.stderr, done.stderr
    assert not output.parent.is_dir() or not list(output.parent.iterdir())
    return done.stdout + done.stderr
