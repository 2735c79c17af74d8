"""The page over all scenes and scenes.csv, from the summaries of their pages; and pages of what is not done."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from videomesh.errors import UserError
from videomesh.files import outputs, read_json, write_json
from videomesh.progress.runs import Runs, read_runs
from videomesh.report import bill
from videomesh.report.page import get_policy, get_template, make_page, read_asset
from videomesh.report.results import STAGES, Results, State, find_files, find_state, list_steps, name_files

COLUMNS = {  # of scenes.csv: key of a summary -> heading on the page
    "scene": "scene",
    "state": "state",
    "stage": "stage",
    "reason": "reason",
    "gate": "capture",
    "mesh": "mesh",
    "engine": "engine",
    "frames": "frames",
    "registered": "frames with a pose",
    "reprojection_error": "reprojection error, px",
    "faces": "faces",
    "held_out_psnr": "PSNR of unseen frames",
    "cost": "cost of rented machines",
    "currency": "currency",
    "cost_complete": "every cost is known",
    "billed_share": "billed over useful minutes",
}
RESULTS = ("frames/", "poses/", "region/", "gate/", "train/", "mesh/", "ingest/")  # what a page is made of
EXTRAS = {"region": ("region/region.json", "region/points.npz")}
NOT_FETCHED = {"ingest"}  # the footage is large, and frames.json tells that it was there


Fetch = Callable[[str, Sequence[str]], list[Path]]  # scene and names of files -> copies of those that a bucket has


def update_pages(root: Path, scenes: Mapping[str, dict[str, Any]], ended: bool, fetch: Fetch | None = None) -> None:
    """Pages of scenes that are not done, and the page over all. Only what is newer than its page is made again.

    root: the working folder. scenes: the settings of each. ended: no stage can be at work, since the run has ended.
    fetch: brings files of a scene whose results are in a bucket to this machine.
    """
    runs = Runs() if ended else read_runs(root, scenes)
    bills = {scene: bill.summarize(charges) for scene, charges in bill.read_bill(root).items()}
    summaries = [
        {
            **update_page(root, scene, settings, bool(runs.list_planned(scene)), fetch, bills.get(scene, {})),
            **bills.get(scene, {}),
        }
        for scene, settings in scenes.items()
    ]
    html, table = make_index(summaries)
    with outputs(root / "deliver/index.html", root / "deliver/scenes.csv") as (page, sheet):
        page.write_text(html, encoding="utf-8")
        sheet.write_text(table, encoding="utf-8", newline="")


def update_page(
    root: Path, scene: str, settings: dict[str, Any], running: bool, fetch: Fetch | None, paid: Mapping[str, Any]
) -> dict[str, Any]:
    """The summary of a scene, whose page is made if it is not done and something is newer than the page.

    paid: what the bill says of the scene now.

    The page of a scene that is done is made by its rule, as all other results are.
    """
    page, summary = root / "deliver" / scene / "scene.html", root / "deliver" / scene / "scene.json"
    known = read_summary(summary)
    results = Results(scene, settings, find_files(root, scene))
    if fetch and (known.get("state") != "done" or is_stopped_in_bucket(results, fetch)):
        results = fetch_results(results, fetch)
    state = find_state(results, running)
    if not [name for name in results.files if name.startswith(RESULTS)]:  # results may be in a bucket
        return known or {"scene": scene, "state": state.name, "stage": state.stage}
    if state.name == "done":
        return known or {"scene": scene, "state": state.name}
    results = results.without_outdated()
    shown = (known.get("state"), known.get("stage"), known.get("cost"))
    if is_older(page, results) or shown != (state.name, state.stage, paid.get("cost")):
        write_page(root, results, state, page, summary, fetch is not None)
        known = read_summary(summary)
    return known


def fetch_results(results: Results, fetch: Fetch) -> Results:
    """The small files up to the first stage that is not done, and the log of that."""
    files = dict(results.files)
    for stage, iteration in list_steps(results):
        output, log = (name.format(iteration=iteration) for name in STAGES[stage])
        names = [output, *EXTRAS.get(stage, ())] if stage not in NOT_FETCHED else []
        files.update(name_files(results.scene, fetch(results.scene, names)))
        if names and output not in files:
            files.update(name_files(results.scene, fetch(results.scene, [log])))
            break
    return replace(results, files=files)


def is_stopped_in_bucket(results: Results, fetch: Fetch) -> bool:
    """Whether the gate says no to a scene that was done before."""
    files = name_files(results.scene, fetch(results.scene, ["gate/gate.json"]))
    return find_state(replace(results, files=files)).name == "stopped"


def read_summary(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def is_older(page: Path, results: Results) -> bool:
    """Whether a result or a log appeared since the page was made."""
    if not page.exists():
        return True
    made = page.stat().st_ctime
    return any(path.stat().st_mtime > made for name, path in results.files.items() if name.startswith(RESULTS))


def write_page(root: Path, results: Results, state: State, page: Path, summary: Path, in_bucket: bool) -> None:
    """Write the page in the place where the rule delivers it, older than what that rule delivers.

    So the rule delivers the page of the finished scene again once that is so.
    """
    html, content = make_page(results, state, root)
    with outputs(page, summary) as (page_part, summary_part):
        page_part.write_text(html, encoding="utf-8")
        write_json(summary_part, content)
    finished = root / "results" / results.scene / "report" / "scene.html"
    if finished.exists() or in_bucket:
        date = finished.stat().st_mtime - 1 if finished.exists() else 0
        os.utime(page, (date, date))
        os.utime(summary, (date, date))


def make_index(summaries: list[dict[str, Any]]) -> tuple[str, str]:
    """index.html and scenes.csv. A key that a summary lacks is left empty."""
    rows = [{"picture": None, "cost_text": None, **dict.fromkeys(COLUMNS), **summary} for summary in summaries]
    script, style = read_asset("templates/index.js"), read_asset("templates/page.css")
    own = read_asset("templates/index.css")
    html = get_template("index.html.j2").render(
        rows=rows,
        script=script,
        styles=[style, own],
        policy=get_policy([script], [style, own]),
    )
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: defuse(row[name]) for name in COLUMNS} for row in rows)
    return html, table.getvalue()


def defuse(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula starts with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
