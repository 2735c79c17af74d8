"""How far a run is, through snakemake and videomesh-status: on a terminal, in a log, and from a second terminal."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

from checkout import SMALL, Checkout
from snakemake_process import SnakemakeProcess, run_snakemake

Rows = list[dict[str, object]]


def ask(checkout: Checkout, *arguments: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(checkout.folder / "src")}
    run = run_snakemake(checkout.arguments(*arguments), checkout.folder, variables, module="videomesh.status")
    assert run.returncode == 0, run.stdout
    return "\n".join(run.stdout.splitlines()[2:])  # without what Snakemake says of profile and configuration


def list_all(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"}


def test_a_second_terminal_asks_beside_a_run_and_changes_nothing(copy: Checkout, scenes: Rows, tmp_path: Path) -> None:
    assert ask(copy) == "film: done\nphotos: done\nweb: done\n3 scenes: 3 done; no run is under way"
    (copy.folder / "scripts/web_mesh.py").write_text("import time\ntime.sleep(600)\n")
    copy.configure([{**scenes[0], "mesh.web_faces": 2900}, *scenes[1:]], **SMALL)
    target = "results/film/mesh/120/mesh.glb"
    process = SnakemakeProcess(copy.arguments(target), copy.folder, os.environ, tmp_path / "log")
    try:
        marks, deadline = copy.folder / ".snakemake/incomplete", time.time() + 60
        while not any(path.is_file() for path in marks.rglob("*")):
            assert process.poll() is None and time.time() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        before = list_all(copy.folder)
        said = ask(copy)
        assert "film: running, mesh 120 for " in said and "photos: done" in said, said
        assert "3 scenes: 1 running, 2 done; " in said.splitlines()[-1] and "no run" not in said
        assert ask(copy, "--states", "running").startswith("film: running")
        assert ask(copy, "--scenes", "web").startswith("web: done\n1 scene")
        assert list_all(copy.folder) == before and list((copy.folder / ".snakemake/locks").iterdir())
    finally:
        os.killpg(process.pid, 9)
        process.wait(10)
    assert "film: failed in mesh 120: " in ask(copy), "the run was killed"


def test_a_run_says_how_it_stands_in_plain_lines_and_as_a_table_on_a_terminal(copy: Checkout) -> None:
    (copy.folder / "deliver/film/mesh.ply").unlink()
    run = copy.snakemake()
    assert run.returncode == 0 and "\x1b" not in run.stdout
    assert "progress: 3 scenes: 3 done; no run is under way" in run.stdout.splitlines()
    (copy.folder / "deliver/film/mesh.ply").unlink()
    said = run_on_terminal([str(Path(sys.executable).with_name("snakemake")), *copy.arguments()], copy.folder)
    assert "✓ done" in said and "✓ 2/2" in said and "progress: " not in said
    assert not list((copy.folder / ".snakemake/runs").glob("*"))


def run_on_terminal(command: list[str], folder: Path) -> str:
    """All that a program writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "COLUMNS": "100", "TERM": "xterm-256color", "NO_COLOR": "1"}
    process = subprocess.Popen(command, cwd=folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert process.wait() == 0, said.decode()
    return said.decode()
