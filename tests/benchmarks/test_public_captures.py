"""The script that downloads public captures: from a repository on this machine in place of GitHub."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from programs import call_main
from videomesh.configuration.load import load_scenes

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "public_captures.py"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("public_captures", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def capture(script: ModuleType, tmp_path: Path) -> Any:
    """The only capture that there is: three of four photos of a repository, at a commit before its last."""
    repository = tmp_path / "repository"
    (repository / "data" / "cup" / "images").mkdir(parents=True)
    git(tmp_path, "init", "--quiet", str(repository))
    git(repository, "config", "uploadpack.allowFilter", "true")  # as GitHub does
    for name in ("images/1.jpg", "images/2.jpg", "images/3.JPG", "images/9.jpg", "notes.txt", "transforms.json"):
        (repository / "data" / "cup" / name).write_text(f"content of {name}")
    (repository / "large.bin").write_bytes(bytes(1000))
    git(repository, "add", "-A")
    git(repository, "commit", "--quiet", "-m", "Photos")
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "rm", "-r", "--quiet", "data")
    git(repository, "commit", "--quiet", "-m", "They are gone")
    found = script.Capture(
        repository=repository.as_uri(),
        commit=commit,
        folder="data/cup",
        files=("images/[1-3].*", "transforms.json"),
        photos=3,
        megabytes=1,
        kind="a cup",
        licence="CC0 1.0, Somebody",
        rows={"cup": "images", "cup-posed": ""},
    )
    script.CAPTURES.clear()
    script.CAPTURES["cup"] = found
    return found


def test_a_capture_is_downloaded_once_and_nothing_else_is(script: ModuleType, capture: Any, tmp_path: Path) -> None:
    folder = tmp_path / "my captures"
    done = call_main(script, ["public_captures.py", str(folder), "cup", "cup"])
    assert done.returncode == 0, done.stderr
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == [f"cup/{name}" for name in ("images/1.jpg", "images/2.jpg", "images/3.JPG", "transforms.json")]
    assert (folder / "cup" / "images" / "2.jpg").read_text() == "content of images/2.jpg"
    assert done.stdout == f"cup\t{folder}/cup/images\ncup-posed\t{folder}/cup\n"
    for part in ("cup: a cup", "3 photos, about 1 MB", f"{capture.repository}/tree/{capture.commit}", "CC0 1.0"):
        assert part in done.stderr
    again = call_main(script, ["public_captures.py", str(folder)])
    assert again.returncode == 0 and "is there already" in again.stderr and again.stdout == done.stdout


def test_a_download_that_fails_leaves_nothing(script: ModuleType, capture: Any, tmp_path: Path) -> None:
    for change, says in (
        ({"commit": "0" * 40}, ["git fetch failed", "check the connection"]),
        ({"repository": (tmp_path / "nowhere").as_uri()}, ["git fetch failed", "check the connection"]),
        ({"photos": 4}, ["cup: 3 of 4 photos came from"]),
    ):
        script.CAPTURES["cup"] = capture._replace(**change)
        done = call_main(script, ["public_captures.py", str(tmp_path / "captures"), "cup"])
        assert done.returncode == 1 and done.stderr.count("\nerror: ") == 1, done.stderr
        assert all(part in done.stderr for part in says), done.stderr
        assert list((tmp_path / "captures").iterdir()) == []


def test_arguments(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call_main(script, ["public_captures.py", str(tmp_path / "captures"), "fox", "seneka"])
    assert done.returncode == 1 and not (tmp_path / "captures").exists()
    assert "there is no capture seneka. Write one of fox, sceaux, seneca" in done.stderr
    assert "Did you mean seneca?" in done.stderr
    assert "name the FOLDER" in call_main(script, ["public_captures.py"]).stderr
    monkeypatch.setattr(shutil, "which", lambda name: None)
    done = call_main(script, ["public_captures.py", str(tmp_path / "captures"), "fox"])
    assert "git is not installed" in done.stderr


def test_each_capture_names_its_source_and_licence(script: ModuleType) -> None:
    said = call_main(script, ["public_captures.py", "--list"]).stdout
    assert {"fox", "sceaux", "seneca"} <= set(script.CAPTURES)
    for name, capture in script.CAPTURES.items():
        assert f"{name}: {capture.kind}\n" in said and f"    {capture.licence}\n" in said
        assert re.fullmatch("[0-9a-f]{40}", capture.commit)
        assert (
            f"https://github.com/{capture.repository.split('.com/')[1]}/tree/{capture.commit}/{capture.folder}" in said
        )


def test_the_rows_are_rows_of_the_table(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a table with more columns."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for name, capture in script.CAPTURES.items():
        folder = Path("captures", name)
        for path in capture.rows.values():
            (folder / path).mkdir(parents=True, exist_ok=True)
            (folder / path / "1.jpg").write_bytes(b"photo")
        rows += script.make_rows(capture, folder)
    Path("config").mkdir()
    Path("config", "scenes.tsv").write_text("\n".join(["scene\tvideo\tscene_type\tframes.target", *rows]) + "\n")
    scenes = load_scenes({})
    assert {name: scene["video"] for name, scene in scenes.items()} == dict(row.split("\t") for row in rows)
