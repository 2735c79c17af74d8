"""Pages that name tests and files: they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_all_known_failures_of_neuralangelo_have_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "neuralangelo.md").read_text()
    rows = re.findall(r"^\| (NA-\d\d) \|.*\| `(tests/\S+)::(\w+)` \|$", page, re.MULTILINE)
    assert [number for number, _, _ in rows] == [f"NA-{number:02}" for number in range(1, 35)]
    missing = [name for _, file, name in rows if f"def {name}(" not in (ROOT / file).read_text()]
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
