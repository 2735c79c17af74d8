"""sdfgrid.train_and_mesh: together. One job makes checkpoint, metrics, mesh and summary of a milestone."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import trimesh

from checkout import DEMO, SMALL, Checkout
from snakemake_process import run_snakemake

ROW = {"scene": "film", "video": "film.mp4"}
TOGETHER = {**ROW, "sdfgrid.train_and_mesh": "together"}
JOB, APART = "sdfgrid_train_and_mesh", {"sdfgrid_train", "sdfgrid_mesh"}
BEHIND = {"web_mesh": 2, "deliver": 1, "deliver_preview": 1, "scene_page": 1, "deliver_page": 1}


@pytest.fixture(scope="module")
def finished_together(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A scene with a milestone, run to its end from the poses that two rules had. Copy it."""
    checkout = finished.copy(tmp_path_factory.mktemp("together") / "checkout")
    for made in ("results/film/train", "results/film/mesh", "results/film/report", "deliver"):
        shutil.rmtree(checkout.folder / made)
    checkout.configure([TOGETHER], **SMALL)
    run = checkout.snakemake()
    assert run.returncode == 0, run.stdout
    assert "train: iteration 120 of 120" in run.stdout, "progress belongs on the terminal"
    return checkout


@pytest.fixture
def together(finished_together: Checkout, tmp_path: Path) -> Checkout:
    return finished_together.copy(tmp_path / "checkout")


def read_job(run: str, milestone: int) -> str:
    """What a dry run says of the job that makes the checkpoint of a milestone."""
    (job,) = [part for part in run.split("\n\n") if f"output: results/film/train/{milestone}/checkpoint.pt" in part]
    return job


def test_each_scene_has_the_rules_that_it_wants(tmp_path: Path) -> None:
    """An engine without the setting does not look at it, as at every setting of another engine."""
    checkout = Checkout.make(tmp_path / "checkout")
    shutil.copy(DEMO, checkout.folder / "film.mp4")
    (checkout.folder / "programs.tar").write_text("")
    others = [{**ROW, "scene": "apart"}, {**TOGETHER, "scene": "other", "engine": "neuralangelo"}]
    checkout.configure([TOGETHER, *others], neuralangelo={"source": "programs.tar"}, train={"milestones": [500, 1000]})
    engine = re.compile("sdfgrid_|neuralangelo_(?!source)")
    planned = {
        scene: sorted(rule for rule in rules if engine.match(rule))
        for scene, rules in checkout.planned_by_scene().items()
    }
    assert planned == {
        "film": ["sdfgrid_config", *[JOB] * 3],
        "apart": ["sdfgrid_config", *["sdfgrid_mesh"] * 3, *["sdfgrid_train"] * 3],
        "other": ["neuralangelo_config", *["neuralangelo_mesh"] * 3, *["neuralangelo_train"] * 3],
    }


def test_a_milestone_is_one_job_that_goes_on_from_the_one_before(together: Checkout) -> None:
    run = together.snakemake("--dry-run", "--forceall", "--printshellcmds").stdout
    for milestone in (60, 120):
        job = read_job(run, milestone)
        assert f"rule {JOB}:" in job and f"results/film/mesh/{milestone}/mesh.json" in job
        assert ("--resume results/film/train/60/checkpoint.pt" in job) == (milestone == 120)
    lines = (together.folder / "results/film/train/120/metrics.jsonl").read_text().splitlines()
    first = (together.folder / "results/film/train/60/metrics.jsonl").read_text().splitlines()
    assert lines[: len(first)] == first and json.loads(lines[-1])["iteration"] == 120


def test_results_and_logs_lie_where_those_of_two_rules_do(together: Checkout, finished: Checkout) -> None:
    def list_files(checkout: Checkout) -> set[str]:
        folders = ("results/film/train/", "results/film/mesh/", "results/film/report/", "deliver/film/")
        return {file for file in checkout.files() if file.startswith(folders)}

    exported = {f"deliver/film/mesh.{suffix}" for suffix in ("obj", "mtl", "jpg", "stl")}
    assert list_files(together) == list_files(finished) - exported
    assert len(trimesh.load_mesh(together.folder / "deliver/film/mesh.ply").faces) > 1000
    logs = {
        stage: (together.folder / f"results/film/{stage}/120/{stage}.log").read_text() for stage in ("train", "mesh")
    }
    assert logs["mesh"].startswith("mesh: ") and logs["train"].endswith(logs["mesh"])
    assert f'<th scope="row">{JOB}' in (together.folder / "deliver/film/scene.html").read_text(), "how long it took"
    assert together.planned() == {}


def test_the_mesh_is_that_of_two_rules(together: Checkout, finished: Checkout) -> None:
    for file in ("mesh/60/mesh.ply", "mesh/120/mesh.ply"):
        one, two = ((checkout.folder / "results/film" / file).read_bytes() for checkout in (together, finished))
        assert one == two, file


def test_a_setting_of_the_mesh_trains_again_and_one_of_the_web_mesh_does_not(together: Checkout) -> None:
    together.configure([{**TOGETHER, "mesh.resolution": 56}], **SMALL)
    assert together.planned() == {JOB: 2, **BEHIND}
    together.configure([{**TOGETHER, "mesh.web_faces": 2000}], **SMALL)
    assert together.planned() == BEHIND


def test_a_finished_scene_that_changes_over_is_accepted(together: Checkout) -> None:
    """Other rules make its files now, so Snakemake would make them again."""
    rows: list[dict[str, Any]] = [ROW, TOGETHER]
    for row, rules in zip(rows, (APART, {JOB}), strict=True):
        together.configure([row], **SMALL)
        assert together.planned() == {**dict.fromkeys(rules, 2), **BEHIND}
        accepted = together.accept("--stages", "train", "mesh")
        assert accepted.returncode == 0, accepted.stdout
        assert together.planned() == {}


def test_an_extraction_that_fails_is_told_and_counts_as_a_failed_training(together: Checkout) -> None:
    together.configure([{**TOGETHER, "mesh.resolution": 60}], **SMALL)
    program = together.folder / "src/sdfgrid/extract.py"
    program.write_text(
        program.read_text()
        .replace("    started =", '    raise UserError("no luck")\n    started =', 1)
        .replace("import argparse", "import argparse\nfrom videomesh.errors import UserError", 1)
    )
    run = together.snakemake()
    assert run.returncode == 1 and "error: no luck" in run.stdout
    left = {file for file in together.files() if file.startswith(("results/film/train/60/", "results/film/mesh/60/"))}
    assert {Path(file).name for file in left} == {"train.log", "mesh.log", "mesh.glb", "web_mesh.log"}
    page = (together.folder / "deliver/film/scene.html").read_text()
    assert "The stage train ended without a result." in page and "error: no luck" in page
    variables = {**os.environ, "PYTHONPATH": str(together.folder / "src")}
    said = run_snakemake(together.arguments(), together.folder, variables, module="videomesh.status").stdout
    assert "film: failed in train 60: error: no luck" in said
