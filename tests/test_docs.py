"""Pages that name tests and files: they are there."""

import re
from pathlib import Path

import yaml

import render

ROOT = Path(__file__).resolve().parents[1]


def test_all_known_failures_of_neuralangelo_have_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "neuralangelo.md").read_text()
    rows = re.findall(r"^\| (NA-\d\d) \|.*\| `(tests/\S+)::(\w+)` \|$", page, re.MULTILINE)
    assert [number for number, _, _ in rows] == [f"NA-{number:02}" for number in range(1, 35)]
    missing = [name for _, file, name in rows if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_the_page_of_captures_has_the_evidence_for_each_limit_of_the_gate() -> None:
    page = (ROOT / "docs" / "captures.md").read_text().split("## The limits of the gate")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \| (.*) \|(.*)\|$", page, re.MULTILINE)
    schema = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
    checks = {name: check for name, check in schema["properties"]["gate"]["properties"].items() if name != "mode"}
    levels = {
        name: [check["properties"][level]["default"] for level in ("warn", "fail")] for name, check in checks.items()
    }
    assert {name: [yaml.safe_load(warn), yaml.safe_load(fail)] for name, warn, fail, _, _ in rows} == levels
    assert all(beyond for _, _, _, beyond, _ in rows)
    without = [
        name for name, _, fail, _, near in rows if fail != "null" and not near
    ]  # nothing near it was seen to work
    assert without == []


def test_the_page_of_benchmarks_has_each_rendered_capture_and_each_flaw() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    missing = [scene for scene in render.CAPTURES if f"| `{scene}` |" not in page]
    missing += [flaw for flaw in render.USUAL if f"| `--{flaw.replace('_', '-')}` |" not in page]
    assert missing == []


def test_links_between_pages_lead_somewhere() -> None:
    folders = ("docs/**/*.md", "executor/*.md", "executor/docs/*.md")
    pages = [ROOT / "README.md", *(page for folder in folders for page in ROOT.glob(folder)), ROOT / "config/README.md"]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
