"""The page over all scenes: cards, scenes.csv, and pages of scenes that are not done."""

import csv
import io
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from videomesh.progress.runs import write_run
from videomesh.report.index import COLUMNS, make_index, update_pages

SETTINGS: dict[str, Any] = {
    "engine": "sdfgrid",
    "video": "ball.mp4",
    "gate": {"mode": "fail"},
    "crop": {"method": "auto"},
    "train": {"iterations": 200, "milestones": [100]},
}


def make_summary(number: int, **changes: Any) -> dict[str, Any]:
    picture = "data:image/webp;base64," + "A" * 8000
    return {"scene": f"scene-{number}", "state": "done", "stage": "", "reason": "", "gate": "pass", "mesh": "warn",
            "engine": "sdfgrid", "frames": 48, "registered": 40, "reprojection_error": 0.4, "faces": 1000 * number,
            "held_out_psnr": "23.20 dB", "picture": picture, **changes}  # fmt: skip


def read_table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_thousand_scenes_have_a_card_and_a_row_each() -> None:
    html, table = make_index([make_summary(number) for number in range(1000)])
    assert html.count('<li class="card') == 1000 and len(read_table(table)) == 1000
    assert len(html) < 15e6


def test_a_card_says_what_is_known_and_nothing_else() -> None:
    html, table = make_index([make_summary(7), {"scene": "new", "state": "waiting", "stage": "ingest"}])
    assert 'href="scene-7/scene.html"' in html and "40 of 48 frames" in html and "7,000 faces" in html
    assert 'href="new/scene.html"' not in html  # there is no page yet
    assert "1 waiting" in html and "None" not in html
    rows = read_table(table)
    assert list(rows[0]) == list(COLUMNS) and rows[1]["faces"] == ""


def test_hostile_summaries_inject_nothing() -> None:
    texts = ["</script><script>alert(1)</script>", '" onmouseover="alert(1)', "{{ 7 * 7 }}", "javascript:alert(1)"]
    for text in texts:
        html, _ = make_index([make_summary(1, scene=text, state=text, stage=text, reason=text, picture=text)])
        assert html.count("<script") == 1 and 'onmouseover="' not in html and "49" not in html
        assert 'href="javascript:' not in html
    _, table = make_index([make_summary(1, reason='=HYPERLINK("http://x")'), make_summary(2, reason="a\nb,c")])
    assert [row["reason"] for row in read_table(table)] == ['\'=HYPERLINK("http://x")', "a\nb,c"]


def update(root: Path, ended: bool = True, **scenes: dict[str, Any]) -> dict[str, dict[str, str]]:
    update_pages(root, scenes or {"ball": SETTINGS}, ended)
    return {row["scene"]: row for row in read_table((root / "deliver/scenes.csv").read_text())}


def stop(root: Path) -> None:
    path = root / "results/ball/gate/gate.json"
    gate = json.loads(path.read_text())
    entry = {**gate["checks"][0], "verdict": "fail", "value": 1.0}
    path.write_text(json.dumps({**gate, "verdict": "fail", "checks": [entry]}))


def test_a_scene_without_files_waits_and_has_no_page(tmp_path: Path) -> None:
    rows = update(tmp_path, lamp=SETTINGS)
    assert rows["lamp"]["state"] == "waiting" and not (tmp_path / "deliver/lamp").exists()


def test_a_stopped_scene_has_a_page_and_a_done_one_is_left_to_its_rule(root: Path) -> None:
    assert update(root)["ball"]["state"] == "done"
    assert not (root / "deliver/ball").exists()
    stop(root)
    assert update(root)["ball"]["state"] == "stopped"
    assert "Why it stopped" in (root / "deliver/ball/scene.html").read_text()


def test_a_page_is_made_again_only_if_something_is_newer(root: Path) -> None:
    stop(root)
    update(root)
    page = root / "deliver/ball/scene.html"
    page.write_text("as it was")
    update(root)
    assert page.read_text() == "as it was"
    later = time.time() + 5
    os.utime(root / "results/ball/gate/gate.json", (later, later))
    update(root)
    assert page.read_text() != "as it was"


def test_a_page_that_is_put_in_place_of_a_finished_one_is_older_than_that(root: Path) -> None:
    """So Snakemake delivers the finished one again as soon as it is right again."""
    finished = root / "results/ball/report/scene.html"
    finished.parent.mkdir()
    finished.write_text("finished")
    stop(root)
    update(root)
    for name in ("scene.html", "scene.json"):
        assert (root / "deliver/ball" / name).stat().st_mtime < finished.stat().st_mtime


def test_a_run_under_way_is_told_from_a_failure(root: Path) -> None:
    shutil.rmtree(root / "results/ball/mesh/200")
    (root / "results/ball/mesh/200").mkdir()
    (root / "results/ball/mesh/200/mesh.log").write_text("mesh: working\n")
    assert update(root, ended=False)["ball"]["state"] == "failed"
    write_run(root, time.time(), ["results/other/mesh/200/mesh.ply"])
    assert update(root, ended=False)["ball"]["state"] == "failed"
    write_run(root, time.time(), ["results/ball/mesh/200/mesh.ply"])
    assert update(root, ended=False)["ball"]["state"] == "running"
    assert update(root, ended=True)["ball"]["state"] == "failed"


def test_results_in_a_bucket_keep_what_was_delivered(tmp_path: Path) -> None:
    (tmp_path / "deliver/ball").mkdir(parents=True)
    (tmp_path / "deliver/ball/scene.json").write_text(json.dumps(make_summary(1, scene="ball")))
    assert update(tmp_path)["ball"]["faces"] == "1000"
