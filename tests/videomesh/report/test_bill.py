"""What the pages say of the money: time, machine, attempts and cost of each step, from a bill of anybody's."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from videomesh.report import page
from videomesh.report.bill import BILL, add_up, read_bill, summarize
from videomesh.report.figures import list_steps
from videomesh.report.index import update_pages
from videomesh.report.results import Results, find_files, find_state
from videomesh.report.times import Duration

SETTINGS: dict[str, Any] = {
    "engine": "sdfgrid",
    "video": "ball.mp4",
    "gate": {"mode": "fail"},
    "crop": {"method": "auto"},
    "train": {"iterations": 200, "milestones": [100]},
}
COLUMNS = [
    *("job", "rules", "wildcards", "flavor", "units", "state", "started", "ended"),
    *("billed_seconds", "useful_seconds", "cost", "currency", "lost"),
]
ROWS = [
    "1 frames+poses scene=ball small 8 DONE 2026-11-27T12:00:00Z 2026-11-27T12:05:00Z 300 200 0.02 EUR",
    "3 train iteration=200,scene=ball large 1 DONE 2026-11-27T13:00:00Z 2026-11-27T14:00:00Z 3600 3400 2.0 EUR",
    "2 train iteration=200,scene=ball large 1 FAILED 2026-11-27T12:10:00Z 2026-11-27T12:20:00Z 600 0 0.5 EUR 1",
    "4 train iteration=100,scene=ball large 1 DONE 2026-11-27T12:05:00Z 2026-11-27T12:09:00Z 240 200 0.2 EUR",
    "5 frames+poses scene=other small 8 DONE 2026-11-27T12:00:00Z 2026-11-27T12:05:00Z 300 200 - -",
    "6 mesh scene=other large 2 RUNNING 2026-11-27T12:06:00Z - 60 - 0.1 EUR",
]


def write_bill(root: Path, rows: list[str] = ROWS) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        cells = ["" if cell == "-" else cell for cell in row.split()]
        writer.writerow([cell.replace("+", " ").replace(",", " ") for cell in cells])
    (root / BILL).parent.mkdir(exist_ok=True)
    (root / BILL).write_text(text.getvalue())


def test_each_step_has_time_machine_attempts_and_cost(tmp_path: Path) -> None:
    write_bill(tmp_path)
    local = [Duration("region", "", 4.2, 1.0), Duration("train", "100", 9e9, 2.0), Duration("train", "300", 60, 3.0)]
    steps = list_steps(local, read_bill(tmp_path)["ball"])
    assert [step[:5] for step in steps] == [
        ("region", "4.2 s", "this machine", "", ""),
        ("train 300", "1 min 0 s", "this machine", "", ""),
        ("frames + poses", "3 min 20 s", "8 x small", "1", "0.02 EUR"),
        ("train 100", "3 min 20 s", "1 x large", "1", "0.20 EUR"),
        ("train 200", "56 min 40 s", "1 x large", "2 (1 on a machine that was lost)", "2.50 EUR"),
        ("all rented machines", "", "", "4 (1 on a machine that was lost)", "2.72 EUR"),
    ]


def test_without_a_bill_the_table_says_what_is_known() -> None:
    assert [step[:5] for step in list_steps([Duration("mesh", "", 7, 1.0)], [])] == [
        ("mesh", "7.0 s", "this machine", "", "")
    ]
    assert list_steps([], []) == []


def test_what_is_not_known_is_not_0(tmp_path: Path) -> None:
    write_bill(tmp_path)
    steps = list_steps([], read_bill(tmp_path)["other"])
    assert [(step.cost, step.time) for step in steps[:2]] == [("unknown", "3 min 20 s"), ("0.10 EUR", "")]
    assert steps[2].cost == "at least 0.10 EUR"
    assert summarize(read_bill(tmp_path)["other"])["cost_complete"] is False
    write_bill(tmp_path, [ROWS[0], ROWS[3].replace("EUR", "USD")])
    assert add_up(read_bill(tmp_path)["ball"])[:3] == (0.2, "USD", False)  # two currencies are never added
    assert add_up([]).cost is None and summarize([]) == {}


def test_the_page_has_the_table_and_the_summary_the_cost(root: Path) -> None:
    html, summary = make(root)
    assert "Cost" not in html.partition("of each step")[2][:60] and "cost" not in summary
    write_bill(root)
    html, summary = make(root)
    assert "<h2>Time and cost of each step</h2>" in html and "1.25 times the useful time was billed" in html
    assert "<td>56 min 40 s</td><td>1 x large</td><td>2 (1 on a machine that was lost)</td><td>2.50 EUR</td>" in html
    assert (summary["cost"], summary["currency"], summary["billed_share"]) == (2.72, "EUR", 1.25)


def make(root: Path) -> tuple[str, dict[str, Any]]:
    results = Results("ball", SETTINGS, find_files(root, "ball"))
    return page.make_page(results, find_state(results), root)


def test_index_and_scenes_csv_have_the_cost_of_today(root: Path) -> None:
    write_bill(root)
    gate = root / "results/ball/gate/gate.json"
    gate.write_text(json.dumps({**json.loads(gate.read_text()), "verdict": "fail"}))  # so the page is made here
    update_pages(root, {"ball": SETTINGS, "new": SETTINGS}, True)
    html = (root / "deliver/index.html").read_text()
    assert "cost 2.72 EUR, billed 1.25 times the useful time" in html and html.count("cost 2.72") == 1
    rows = {row["scene"]: row for row in csv.DictReader((root / "deliver/scenes.csv").read_text().splitlines())}
    assert (rows["ball"]["cost"], rows["ball"]["currency"], rows["new"]["cost"]) == ("2.72", "EUR", "")
    assert (rows["ball"]["cost_complete"], rows["new"]["cost_complete"]) == ("True", "")
    write_bill(root, ROWS[:1])
    update_pages(root, {"ball": SETTINGS}, True)  # nothing is newer than the page but the bill
    assert "cost 0.02 EUR" in (root / "deliver/index.html").read_text()
    assert "2.72" not in (root / "deliver/ball/scene.html").read_text()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\0", b"a,b\n1,2\n", b'job\n"', b"job,wildcards,cost\n1,scene=ball,x\n"]
)
def test_a_bill_that_cannot_be_read_is_no_bill(root: Path, content: bytes) -> None:
    (root / BILL).parent.mkdir(exist_ok=True)
    (root / BILL).write_bytes(content)
    html, _ = make(root)
    assert "EUR" not in html


def test_nothing_in_a_bill_becomes_an_element(root: Path) -> None:
    text = "<img/src=x>"
    write_bill(root, [f"1 {text} scene=ball {text} {text} {text} {text} {text} 1 1 1 {text}"])
    html, _ = make(root)
    assert text not in html and "&lt;img/src=x&gt;" in html
