"""Snakemake's plan without pauses: Python looks for dead objects rarely while Snakemake plans, and then as before."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from videomesh.planning import YOUNG, collect_rarely


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def make_class(error: Exception | None = None) -> type:
    class Plan:
        threshold = (-1, -1, -1)

        async def init(self, progress: bool = False) -> None:
            self.threshold = gc.get_threshold()
            if error:
                raise error

    return Plan


def test_python_looks_rarely_while_snakemake_plans() -> None:
    plan_class = make_class()
    collect_rarely(plan_class)
    once = plan_class.init  # type: ignore[attr-defined]
    collect_rarely(plan_class)
    assert plan_class.init is once  # type: ignore[attr-defined]
    plan = plan_class()
    asyncio.run(plan.init(progress=True))
    assert plan.threshold == (YOUNG, 10, 10) and gc.get_threshold() == (700, 10, 10)


def test_it_looks_as_before_after_a_plan_that_failed() -> None:
    plan_class = make_class(ValueError("a cycle"))
    collect_rarely(plan_class)
    with pytest.raises(ValueError, match="a cycle"):
        asyncio.run(plan_class().init())
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("first", [0, 10 * YOUNG])
def test_whoever_wants_it_to_look_never_or_more_rarely_has_his_way(first: int) -> None:
    plan_class = make_class()
    collect_rarely(plan_class)
    gc.set_threshold(first, 10, 10)
    plan = plan_class()
    asyncio.run(plan.init())
    assert plan.threshold[0] == first


def test_another_snakemake_is_left_as_it_is() -> None:
    class Plan:
        def init(self) -> None:
            pass

    before = Plan.init
    collect_rarely(Plan)
    collect_rarely(object())
    assert Plan.init is before


def test_it_finds_the_plan_of_the_installed_snakemake() -> None:
    program = """
import snakemake.api
from snakemake.dag import DAG
from videomesh.planning import collect_rarely
collect_rarely(DAG)
assert DAG.init.collects_rarely
"""
    subprocess.run([sys.executable, "-c", program], check=True)
