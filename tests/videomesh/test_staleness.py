"""What counts of a program, and what Snakemake plans when only the order matters."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import snakemake.cli  # its modules import each other, and only from here in a good order

from videomesh import staleness

TRAIN = '''\
"""The trainer."""

import argparse

from tools.maths import double


def main() -> None:
    """Begin."""
    parser = argparse.ArgumentParser(description="Trains.")
    parser.add_argument("--rate", type=float, default=0.5, help="how fast")
    rate = parser.parse_args().rate
    if rate < 0:
        raise ValueError(f"the rate {rate} is too small")
    print("training")
    open("out", "w").write(str(double(rate)))
'''
MATHS = """\
def double(value):
    return 2 * value
"""
FILES = {
    "scripts/train.py": TRAIN,
    "src/tools/__init__.py": '"""Tools."""\n',
    "src/tools/maths.py": MATHS,
    "src/tools/other.py": "OTHER = 1\n",
    "src/engine/__init__.py": "",
    "src/engine/__main__.py": "from .run import start\n\nstart()\n",
    "src/engine/run.py": "def start():\n    from tools import maths\n\n    return maths.double(1)\n",
}


@pytest.fixture
def code(tmp_path: Path) -> Callable[..., str]:
    """The checksum of a program of a small checkout, with changes: path, old text, new text."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def get(program: str = "scripts/train.py", *change: str) -> str:
        if change:
            path, old, new = change
            assert old in (tmp_path / path).read_text()
            (tmp_path / path).write_text((tmp_path / path).read_text().replace(old, new))
        return staleness.get_code(tmp_path, program)

    return get


@pytest.fixture(autouse=True)
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the facts about programs are kept."""
    monkeypatch.chdir(tmp_path)
    begin_again()
    return tmp_path / staleness.KNOWN


def begin_again() -> None:
    """As a new process does."""
    staleness.open_known.cache_clear()


def test_a_second_plan_parses_only_what_is_new(
    code: Callable[..., str], known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = code()
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda content: parsed.append(content) or parse(content))
    begin_again()
    assert code() == first and parsed == []
    changed = code("scripts/train.py", "src/tools/maths.py", "2 * value", "3 * value")
    assert changed != first and len(parsed) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"by": "an earlier version", "facts": {}}', '{"facts": 1}'])
def test_what_is_known_may_be_broken_or_of_another_version(code: Callable[..., str], known: Path, content: str) -> None:
    first = code()
    by = staleness.open_known().by
    for text in (content, json.dumps({"by": by, "facts": {"a": 1}})):
        known.write_text(text)
        begin_again()
        assert code() == first
    assert by in known.read_text()


def test_a_folder_that_cannot_be_written_costs_only_time(code: Callable[..., str], known: Path) -> None:
    known.parent.write_text("a file")
    assert code() and not known.exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import argparse\n", "import argparse  # for the arguments\n"),
        ('"""The trainer."""\n', ""),
        ('    """Begin."""\n', '    """Start, and do not stop\n\n    before the end."""\n'),
        ('default=0.5, help="how fast")', 'default=0.5,\n        help="how fast",\n    )'),
        ("how fast", "how quickly it learns"),
        ("Trains.", "It learns."),
        ("the rate {rate} is too small", "--rate {rate}: it must be 0 or more"),
        ('print("training")', 'print("training begins")'),
        ('"training"', "'training'"),
        ("rate < 0", "(rate < 0)"),
        ("def main() -> None:\n", "\n\n\ndef main() -> None:\n    # begin\n"),
    ],
)
def test_words_and_layout_make_nothing_stale(code: Callable[..., str], old: str, new: str) -> None:
    assert code() == code("scripts/train.py", "scripts/train.py", old, new)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("scripts/train.py", "default=0.5", "default=0.25"),
        ("scripts/train.py", "rate < 0", "rate <= 0"),
        ("scripts/train.py", "raise ValueError", "raise KeyError"),
        ("scripts/train.py", 'open("out", "w").write(', 'print("text", file=open("out", "w"));('),
        ("scripts/train.py", 'open("out"', 'open("OUT"'),
        ("src/tools/maths.py", "2 * value", "3 * value"),
        ("src/tools/__init__.py", '"""Tools."""\n', "import os\n"),
    ],
)
def test_what_a_program_does_counts(code: Callable[..., str], path: str, old: str, new: str) -> None:
    assert code() != code("scripts/train.py", path, old, new)


def test_text_printed_into_a_file_counts(code: Callable[..., str]) -> None:
    before = code("scripts/train.py", "scripts/train.py", 'print("training")', 'print("a", file=open("out", "w"))')
    assert before != code("scripts/train.py", "scripts/train.py", 'print("a"', 'print("b"')


def test_imports_count_through_packages_and_only_those(code: Callable[..., str]) -> None:
    """Relative ones, ones in functions, modules of packages, and the packages themselves."""
    before = code("src/engine/__main__.py")
    assert before == code("src/engine/__main__.py", "src/tools/other.py", "OTHER = 1", "OTHER = 2")
    assert before != code("src/engine/__main__.py", "src/tools/maths.py", "2 * value", "3 * value")
    assert code() == code("scripts/train.py", "src/engine/run.py", "double(1)", "double(2)")


@pytest.mark.parametrize(
    "lines",
    [
        "try:\n    pass\nexcept ValueError:\n    from tools.other import OTHER\n",
        "match 1:\n    case 1:\n        from tools.other import OTHER\n",
        "with open('a'):\n    for _ in ():\n        from tools.other import OTHER\n",
        "if value:\n    pass\nelse:\n    from tools.other import OTHER\n",
    ],
)
def test_imports_count_wherever_they_stand(code: Callable[..., str], lines: str) -> None:
    before = code("scripts/train.py", "scripts/train.py", "import argparse\n", f"import argparse\n{lines}")
    assert before != code("scripts/train.py", "src/tools/other.py", "OTHER = 1", "OTHER = 2")


def test_imports_for_type_checkers_do_not_count(code: Callable[..., str]) -> None:
    lines = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from tools.other import OTHER\n"
    before = code("scripts/train.py", "scripts/train.py", "import argparse\n", f"import argparse\n{lines}")
    assert before == code("scripts/train.py", "src/tools/other.py", "OTHER = 1", "OTHER = 2")


def test_the_place_of_the_checkout_does_not_count(code: Callable[..., str], tmp_path: Path) -> None:
    before = code()
    elsewhere = tmp_path / "elsewhere"
    for name in FILES:
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_text((tmp_path / name).read_text())
    assert staleness.get_code(elsewhere, "scripts/train.py") == before


def test_a_new_version_of_snakemake_that_plans_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        async def update_needrun(self) -> None:
            """No such line."""

    monkeypatch.setattr(snakemake.dag.DAG, "update_needrun", snakemake.dag.DAG.update_needrun)  # is put back afterwards
    assert staleness.keep_order_only(snakemake.dag.DAG)
    assert not staleness.keep_order_only(Other)


def test_a_module_that_does_nothing_counts_only_where_it_does(code: Callable[..., str], tmp_path: Path) -> None:
    def get() -> list[str]:
        return [
            staleness.get_code(tmp_path, "src/engine/__main__.py", idle=idle) for idle in ([], ["src/tools/maths.py"])
        ]

    whole, part = get()
    assert whole != part
    code("src/engine/__main__.py", "src/tools/maths.py", "2", "3")
    assert get()[0] != whole and get()[1] == part
