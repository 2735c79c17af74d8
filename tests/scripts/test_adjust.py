"""scripts/adjust.py as a user runs it: with results on this machine, and in a bucket."""

import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adjust_results import make_results
from checkout import DEMO, ROOT
from programs import get_command, get_environment, run_process
from s3_server import S3Server

REGION = {"center": [0, 0, 1], "radius": 1.25}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project outside of the checkout."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_bytes((ROOT / "config/config.yaml").read_bytes())
    (tmp_path / "config/scenes.tsv").write_text(f"scene\tvideo\nthing\t{DEMO}\n")
    make_results(tmp_path, "thing", mesh=3000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def adjust(*arguments: str, **environment: str) -> Iterator[str]:
    """The address of the page, while the program runs. Ctrl-C ends it without a complaint."""
    command = get_command("adjust", "--scene", "thing", *arguments)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=get_environment(**environment)
    )
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Open http"):
            break
    assert "Open http" in said, said
    try:
        yield said.split("Open ")[1].strip()
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in rest, rest


def read_page(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url) as answer:
        html = answer.read().decode()
    return dict(json.loads(html.split('id="page-data">')[1].split("</script>")[0]))


def save(url: str, part: str, value: Any, version: str) -> None:
    body = json.dumps({"part": part, "value": value, "version": version}).encode()
    request = urllib.request.Request(f"{url}save", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()


def test_it_opens_the_browser_and_saves_for_the_next_run(folder: Path) -> None:
    (folder / "browser").write_text('#!/bin/sh\necho "$1" > opened\n')
    (folder / "browser").chmod(0o755)
    with adjust(BROWSER=str(folder / "browser")) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", url)
        data = read_page(url)
        assert [mesh["iteration"] for mesh in data["meshes"]] == [3000] and data["adjust"]["elsewhere"] is False
        assert data["cameras"][0]["thumb"]
        save(url, "region", REGION, data["adjust"]["file"]["version"])
    assert (folder / "opened").read_text().strip() == url
    assert json.loads((folder / "config/regions/thing.json").read_text()) == REGION


def test_of_results_in_a_bucket_it_reads_small_files_and_leaves_no_copies(
    folder: Path, s3: S3Server, bucket: str
) -> None:
    client = s3.client()
    for path in sorted((folder / "results").rglob("*.*")):
        client.upload_file(str(path), bucket, f"meshes/{path.relative_to(folder)}")
        path.unlink()
    storage = ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{bucket}/meshes"]
    with adjust("--no-browser", *storage, **s3.environment) as url:
        data = read_page(url)
        assert data["adjust"]["elsewhere"] is True and len(data["cameras"]) == 8 and data["points"]
        assert [mesh["iteration"] for mesh in data["meshes"]] == [3000]
        assert [path for path in (folder / ".snakemake/storage").rglob("*") if path.is_file()] == []
        save(url, "crop", {"method": "none"}, "none")
    assert json.loads((folder / "config/regions/thing.json").read_text()) == {"crop": {"method": "none"}}
    exported = run_process("adjust", "--scene", "thing", "--export-blender", "blender", *storage, **s3.environment)
    assert exported.returncode == 0 and "8 images" in exported.stdout, exported.stderr
    assert len(list((folder / "blender/images").iterdir())) == 8


def test_what_the_user_can_mend_is_one_message(folder: Path) -> None:
    done = run_process("adjust", "--scene", "thin")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: there is no scene thin. Did you mean thing? The scenes are thing." in done.stderr
    assert "no scene is named: make adjust SCENE=NAME" in run_process("adjust", "--scene", "").stderr
    (folder / "Snakefile").write_text("rule all:\n    input: []\n")
    done = run_process("adjust", "--scene", "thing", "--snakefile", "Snakefile")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: the snakefile is not the one of this workflow (it lacks SCENES" in done.stderr
