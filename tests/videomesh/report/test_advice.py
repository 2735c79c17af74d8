"""What would improve a scene, ranked; times and figures."""

import base64
import json
import os
from pathlib import Path
from typing import Any

from videomesh.report.advice import advise
from videomesh.report.figures import list_mesh, list_provenance, list_training, show_seconds
from videomesh.report.results import Results, find_files
from videomesh.report.times import RECORDS, read_durations

CHECK: dict[str, Any] = {
    "name": "track_length",
    "meaning": "frames that see a point",
    "value": 2.5,
    "unit": "frames",
    "worse": "below",
    "warn": 3,
    "fail": 2,
    "advice": "Film slower.",
}


def get_results(root: Path) -> Results:
    settings = {"train": {"iterations": 200, "milestones": [100]}, "engine": "sdfgrid", "video": "ball.mp4"}
    return Results("ball", settings, find_files(root, "ball"))


def test_failures_come_first_then_what_is_farthest_beyond_its_limit(root: Path) -> None:
    checks = [
        {**CHECK, "verdict": "warn", "value": 2.9, "advice": "near"},
        {**CHECK, "verdict": "warn", "value": 2.1, "advice": "far"},
        {**CHECK, "verdict": "warn", "value": 2.0, "advice": "far"},
        {**CHECK, "verdict": "pass", "value": 9.0, "advice": "good"},
        {**CHECK, "verdict": "fail", "value": 1.9, "advice": "worst"},
    ]
    path = root / "results/ball/gate/gate.json"
    path.write_text(json.dumps({"verdict": "fail", "checks": checks}))
    advice = advise(get_results(root))
    assert [entry.text for entry in advice if entry.level != "hint"] == ["worst", "far", "near"]
    assert advice[0].subject == "frames that see a point: 1.9 frames"


def test_hints_name_what_no_check_asks_for(root: Path) -> None:
    hints = [entry.subject for entry in advise(get_results(root)) if entry.level == "hint"]
    assert hints == ["frames without a pose", "parts of the footage left out", "8 frames", "no real size"]


def test_figures_of_what_is_known(root: Path) -> None:
    results = get_results(root)
    assert dict(list_mesh(results))["size"] == "2 x 2 x 2 (no known unit)"
    assert dict(list_training(results)) == {
        "engine": "sdfgrid", "iterations": "200", "time": "20.0 s", "PSNR of the last frames": "20.00 dB",
    }  # fmt: skip
    provenance = dict(list_provenance(results, "c0de", elsewhere=False))
    assert provenance["source"] == "ball.mp4" and provenance["programs"] == "c0de"
    assert len(provenance["settings, SHA-256"]) == len(provenance["transforms.json, SHA-256"]) == 64
    assert "source, SHA-256" not in provenance  # it is not here
    results.settings["containers"] = {"colmap": "docker.io/example/colmap:3.8"}
    assert dict(list_provenance(results, "c0de", elsewhere=True))["container images"] == "docker.io/example/colmap:3.8"
    assert "container images" not in dict(list_provenance(results, "c0de", elsewhere=False))


def test_seconds_as_people_read_them() -> None:
    assert [show_seconds(seconds) for seconds in (4.21, 59.97, 200, 7500)] == [
        "4.2 s", "1 min 0 s", "3 min 20 s", "2 h 5 min",
    ]  # fmt: skip


def test_times_come_from_the_records_of_snakemake(tmp_path: Path) -> None:
    """Without those of other scenes, broken ones, and dates that accepted results were given later."""
    log = tmp_path / "results/ball/poses/poses.log"
    log.parent.mkdir(parents=True)
    log.write_text("")
    os.utime(log, (1040, 1040))
    records = {
        "results/ball/poses/poses.json": {"rule": "poses", "starttime": 1010, "endtime": 9000,
                                          "log": ["results/ball/poses/poses.log"]},
        "results/ball/frames/frames.json": {"rule": "frames", "starttime": 1000, "endtime": 1004.5},
        "results/ball/mesh/200/mesh.glb": {"rule": "web_mesh", "starttime": 1100, "endtime": 1101},
        "results/other/frames/frames.json": {"rule": "frames", "starttime": 1, "endtime": 2},
        "results/ball/gate/gate.json": {"rule": "gate", "starttime": None, "endtime": 5},
    }  # fmt: skip
    for name, record in records.items():
        encoded = base64.urlsafe_b64encode(name.encode()).decode()
        parts = [f"@{encoded[:8]}", encoded[8:]] if "mesh" in name else [encoded]  # as long names are stored
        path = (tmp_path / RECORDS).joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    (tmp_path / RECORDS / "notes").write_text("{")
    found = [(duration.rule, duration.milestone, duration.seconds) for duration in read_durations(tmp_path, "ball")]
    assert found == [("frames", "", 4.5), ("poses", "", 30), ("web_mesh", "200", 1)]
    assert read_durations(tmp_path / "nowhere", "ball") == []
