"""The adapter to Snakemake's plugin for SLURM."""

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yte

from checkout import ROOT
from videomesh import slurm

PROFILE = ROOT / "profiles/slurm/config.yaml"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    plugin = importlib.import_module(slurm.PLUGIN)
    for owner, name in (
        (plugin, "query_job_status"), (plugin, "is_query_tool_available"), (plugin.Executor, "check_active_jobs")
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, getattr(owner, name))  # as it is now, again after the test
    yield plugin


@pytest.fixture
def sacct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of SLURM's."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write(tmp_path / "sacct", "exit 0")
    return tmp_path / "sacct"


def write(program: Path, commands: str) -> None:
    program.write_text(f"#!/bin/sh\n{commands}\n")
    program.chmod(0o755)


def test_the_profile_asks_sacct_only_where_it_answers(plugin: ModuleType, sacct: Path) -> None:
    def choose() -> object:
        return yte.process_yaml(PROFILE.read_text(), require_use_yte=True)["slurm-status-command"]

    assert choose() == "sacct"
    write(sacct, "echo Slurm accounting storage is disabled >&2; exit 1")
    assert choose() == "squeue"


def test_the_plugin_never_asks_a_sacct_that_does_not_answer(plugin: ModuleType, sacct: Path) -> None:
    write(sacct, "exit 1")
    assert plugin.is_query_tool_available("sacct")
    assert slurm.choose_status_command() == "squeue"
    assert not plugin.is_query_tool_available("sacct")
    assert plugin.is_query_tool_available("sh")


def test_no_job_is_forgotten_while_slurm_does_not_answer(
    plugin: ModuleType, sacct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slurm.choose_status_command()
    slurm.choose_status_command()  # Snakemake may read a profile twice
    executor = make_executor(plugin)
    job = SimpleNamespace(external_jobid="5", aux={})

    async def check() -> list[object]:
        return [kept async for kept in plugin.Executor.check_active_jobs(executor, [job])]

    write(sacct, "exit 1")
    assert asyncio.run(check()) == [job]
    assert caplog.text.count("SLURM does not say how the 1 jobs stand") == 1
    write(sacct, "echo '5|RUNNING'")
    assert asyncio.run(check()) == [job]
    write(sacct, "echo '5|COMPLETED'")
    assert asyncio.run(check()) == [] and executor.ended == [job]


def make_executor(plugin: ModuleType) -> Any:
    """The plugin's, with nothing of Snakemake behind it."""
    executor = plugin.Executor.__new__(plugin.Executor)
    settings = SimpleNamespace(
        status_attempts=5, status_command="sacct", init_seconds_before_status_checks=1, keep_successful_logs=True
    )
    executor.workflow = SimpleNamespace(executor_settings=settings)
    executor.logger, executor.run_uuid, executor.ended = logging.getLogger("test"), "run", []
    executor.status_rate_limiter = contextlib.nullcontext()
    executor.report_job_success = executor.ended.append
    executor._status_query_calls = executor._status_query_failures = executor._status_query_total_seconds = 0
    executor._status_query_min_seconds, executor._status_query_max_seconds = None, 0.0
    executor._status_query_cycle_rows, executor.next_seconds_between_status_checks = [], 1
    return executor


def test_a_plugin_of_another_make_is_left_alone_and_that_is_said(
    plugin: ModuleType, sacct: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugin, "query_job_status", print)
    assert slurm.choose_status_command() == "sacct"
    assert plugin.query_job_status is print
    assert "the run may wait for ever" in capsys.readouterr().err
