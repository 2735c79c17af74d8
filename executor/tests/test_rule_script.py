"""rule_script.py: the shell text of one rule, run by bash in a folder of the test."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from snakemake.benchmark import BenchmarkRecord

from snakemake_executor_plugin_ovhai import rule_script as module
from snakemake_executor_plugin_ovhai.rule_script import MEASURE, TSV, Shadow, get_rule_script


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work space"
    folder.mkdir()
    monkeypatch.setattr(module, "WORKDIR", folder)
    return folder


def run(folder: Path, *arguments: Any, before: str = "", **keywords: Any) -> "subprocess.CompletedProcess[str]":
    script = f"{before}\nset -e\n{get_rule_script(*arguments, **keywords)}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("name", ["two words", "it's", "$(touch hit)", "-rf", "a;touch hit", "\\", "é", "a\nb", "*"])
def test_shadow_benchmark_and_flag_file_take_any_name(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    source, output, log, flag, table = (f"{name}/{name}.{end}" for end in ("in", "out", "log", "done", "tsv"))
    (folder / source).write_text("content\n")
    command = f"cat ./{shlex.quote(source)} | tee stray ./{shlex.quote(log)} > ./{shlex.quote(output)}"
    done = run(folder, [command], Shadow("minimal", [source], [output, flag], [log]), table, [flag])
    assert (done.returncode, done.stderr) == (0, "")
    there = {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert {str(path) for path in there} == {source, output, log, flag, table}
    assert (there[Path(output)], there[Path(log)], there[Path(flag)]) == ("content\n", "content\n", "")
    assert there[Path(table)].splitlines()[0].split("\t") == BenchmarkRecord.get_header()


@pytest.mark.parametrize("depth", ["minimal", "copy-minimal", "shallow", "full"])
def test_a_failure_in_a_shadow_brings_back_the_log_alone(folder: Path, depth: str) -> None:
    (folder / "in").write_text("content\n")
    command = "cat in > log; echo half > out; false; true"
    done = run(
        folder, [f"set -euo pipefail; {command}"], Shadow(depth, ["in"], ["out"], ["log"]), "table.tsv", ["flag"]
    )
    assert done.returncode == 1
    assert {path.name for path in folder.iterdir()} == {"in", "log"}


def test_an_exit_with_success_ends_only_the_command(folder: Path) -> None:
    done = run(folder, ["echo 1 > out; exit 0"], Shadow("minimal", [], ["out"], []), "table.jsonl", ["flag"])
    assert done.returncode == 0
    assert {path.name for path in folder.iterdir()} == {"out", "table.jsonl", "flag"}


def test_the_cpu_time_of_each_run_counts_for_itself(folder: Path) -> None:
    busy = "n=0; while [ $n -lt 200000 ]; do n=$((n + 1)); done"
    assert run(folder, [busy, "sleep 0.3"], benchmark="table.jsonl").returncode == 0
    first, second = (json.loads(line) for line in (folder / "table.jsonl").read_text().splitlines())
    assert first["cpu_time"] > 0.1 > second["cpu_time"]
    assert second["s"] >= 0.3 and second["mean_load"] < 50 < first["mean_load"] * 20
    assert first["mean_load"] == pytest.approx(100 * first["cpu_time"] / first["s"], rel=0.1)


@pytest.mark.parametrize(
    ("took", "seconds", "text"),
    [
        (12_345, "0.01", "0:00:00"),
        (59_999_000, "60.00", "0:00:59"),
        (3_661_250_000, "3661.25", "1:01:01"),
        (86_400_000_000, "86400.00", "1 day, 0:00:00"),
        (200_000_000_000, "200000.00", "2 days, 7:33:20"),
    ],
)
def test_times_are_written_as_snakemake_writes_them(folder: Path, took: int, seconds: str, text: str) -> None:
    script = f"{MEASURE}{TSV}clock() {{ echo {took}; }}; rows=table; measure 0"
    subprocess.run(["bash", "-euc", script], cwd=folder, check=True)
    assert (folder / "table").read_text().split("\t")[:2] == [seconds, text]
    record = BenchmarkRecord(running_time=took / 1e6)
    record.process_gone = True
    assert record.to_tsv(False).split("\t")[:2] == [seconds, text]


def test_an_older_bash_counts_whole_seconds(folder: Path) -> None:
    done = run(folder, ["sleep 1.1"], benchmark="table.tsv", before="unset EPOCHREALTIME")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "table.tsv").read_text().splitlines()[1].split("\t")[0] in ("1.00", "2.00")
