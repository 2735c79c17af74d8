"""Snakemake's plan without pauses: the collector rests while Snakemake plans, and works before and afterwards."""

import asyncio
import gc
import subprocess
import sys

import pytest

from videomesh.planning import plan_without_collector


def make_class(error: Exception | None = None) -> type:
    class Plan:
        collected: bool | None = None

        async def init(self, progress: bool = False) -> None:
            self.collected = gc.isenabled()
            if error:
                raise error

    return Plan


def test_the_collector_rests_while_snakemake_plans() -> None:
    plan_class = make_class()
    plan_without_collector(plan_class)
    once = plan_class.init  # type: ignore[attr-defined]
    plan_without_collector(plan_class)
    assert plan_class.init is once  # type: ignore[attr-defined]
    plan = plan_class()
    asyncio.run(plan.init(progress=True))
    assert plan.collected is False and gc.isenabled()


def test_it_works_again_after_a_plan_that_failed() -> None:
    plan_class = make_class(ValueError("a cycle"))
    plan_without_collector(plan_class)
    with pytest.raises(ValueError, match="a cycle"):
        asyncio.run(plan_class().init())
    assert gc.isenabled()


def test_whoever_has_switched_it_off_keeps_it_off() -> None:
    plan_class = make_class()
    plan_without_collector(plan_class)
    gc.disable()
    try:
        asyncio.run(plan_class().init())
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_another_snakemake_is_left_as_it_is() -> None:
    class Plan:
        def init(self) -> None:
            pass

    before = Plan.init
    plan_without_collector(Plan)
    plan_without_collector(object())
    assert Plan.init is before


def test_it_finds_the_plan_of_the_installed_snakemake() -> None:
    program = """
import snakemake.api
from snakemake.dag import DAG
from videomesh.planning import plan_without_collector
plan_without_collector(DAG)
assert DAG.init.without_collector
"""
    subprocess.run([sys.executable, "-c", program], check=True)
