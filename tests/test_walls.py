"""Who may import whom, and who may know of OVHcloud: the walls of the house (docs/developing.md)."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import ENGINES, ROOT

SRC = ROOT / "src"
OURS = ("videomesh", *ENGINES)
EXECUTOR = "snakemake_executor_plugin_ovhai"
SHARED_WITH_ENGINES = (
    "children", "errors", "files", "checks", "scene", "meshing", "command", "convergence", "devices",
    "download", "nesting",
)  # fmt: skip
KNOW_NO_ENGINE = ("scene.py", "checks.py", "meshing", "configuration")


def list_imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def list_files(*places: Path) -> list[Path]:
    return [file for place in places for file in ([place] if place.suffix else sorted(place.rglob("*.py")))]


def find(places: list[Path], forbidden: str) -> list[str]:
    """Imports of files that match a regular expression."""
    return [
        f"{file.relative_to(ROOT)}: {name}"
        for file in list_files(*places)
        for name in list_imports(file)
        if re.match(forbidden, name)
    ]


def test_what_all_engines_share_knows_no_engine() -> None:
    assert find([SRC / "videomesh" / name for name in KNOW_NO_ENGINE], rf"({'|'.join(ENGINES)})\b") == []


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_knows_no_other_and_only_what_is_shared(engine: str) -> None:
    others = "|".join(name for name in ENGINES if name != engine)
    assert find([SRC / engine], rf"({others})\b") == []
    assert find([SRC / engine], rf"videomesh\.(?!({'|'.join(SHARED_WITH_ENGINES)})\b)") == []


def test_the_workflow_knows_nothing_of_the_executor_and_the_executor_nothing_of_the_workflow() -> None:
    assert find([SRC, ROOT / "scripts"], rf"{EXECUTOR}\b") == []
    assert find([ROOT / "executor" / "src"], rf"({'|'.join(OURS)})\b") == []


def test_programs_are_imported_by_nobody() -> None:
    programs = "|".join(file.stem for file in (ROOT / "scripts").glob("*.py"))
    assert find([SRC, ROOT / "scripts"], rf"(scripts|{programs})(\.|$)") == []


def test_only_the_executor_its_profile_and_docs_name_ovhcloud() -> None:
    places = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk"), *list_files(SRC, ROOT / "scripts")]
    flavor = r"\b(ai1|l4|l40s|a10|a100|h100|v100s)-[\w-]*\d-(cpu|gpu)\b"
    found = [
        f"{file.relative_to(ROOT)} line {number}: {line.strip()}"
        for file in places
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if re.search(rf"ovhai|{flavor}", line, re.IGNORECASE)
    ]
    assert found == []


def test_the_snakefile_is_a_table_of_contents() -> None:
    statements = re.findall(r"^(\w+)", (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert set(statements) <= {"from", "min_version", "include", "rule"}
    assert (ROOT / "Snakefile").read_text().count("\nrule ") == 1


def test_rules_have_named_files_and_no_python() -> None:
    for file in sorted((ROOT / "rules").glob("*.smk")):
        text = file.read_text()
        if file.stem != "common":
            assert not re.search(r"^(def|import|from) |^\s+run:", text, re.MULTILINE), file
        for keyword in ("input", "output", "params"):
            for first in re.findall(rf"^    {keyword}:\n +(.*)$", text, re.MULTILINE):
                assert re.match(r"\w+=", first), f"{file.name}: {keyword}: {first}"


def test_no_two_modules_that_tests_import_have_the_same_name() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = settings["tool"]["pytest"]["ini_options"]["pythonpath"]
    names = Counter(file.stem for folder in folders for file in (ROOT / folder).glob("*.py"))
    assert [name for name, number in names.items() if number > 1] == []
