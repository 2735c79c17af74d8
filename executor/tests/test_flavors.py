"""flavors.py: what is refused before a submission."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ovhai_standin.flavors import FLAVORS as RECORDS

from snakemake_executor_plugin_ovhai.flavors import Flavor, check_resources, read_flavors, read_quota
from snakemake_executor_plugin_ovhai.job_spec import Resources

FLAVORS = read_flavors(RECORDS.values())
GIB = 2**30


def check(
    gpu: int = 0, cpu: int = 1, flavor: str = "ai1-1-cpu", runtime: int = 60, memory: int | None = None
) -> list[str]:
    return check_resources(Resources(gpu, cpu, flavor, runtime), FLAVORS, memory)


def test_flavors_of_the_platform() -> None:
    assert FLAVORS["ai1-1-cpu"] == Flavor("ai1-1-cpu", "cpu", 12, 1, 4 * GIB, default=True)
    assert FLAVORS["a100-1-gpu"] == Flavor("a100-1-gpu", "gpu", 2, 13, 160 * GIB, gpu_memory=80 * GIB)


@pytest.mark.parametrize(
    ("gpu", "cpu", "flavor", "quota", "words"),
    [
        (2, 1, "ai1-1-gpu", {"gpu": 1}, "gpu is 2, but the project's whole quota is 1 GPUs"),
        (2, 1, "", {"gpu": 1}, "gpu is 2, but"),
        (
            1,
            1,
            "h200-4-gpu",
            {"gpu": 2},
            "gpu is 1 units of h200-4-gpu with 4 each, but the project",
        ),
        (0, 12, "ai1-1-cpu", {"cpu": 8, "gpu": 0}, "threads is 12, but the project's whole quota is 8 CPUs"),
        (1, 1, "ai1-1-gpu", {"gpu": 0}, "whole quota is 0 GPUs"),
        (1, 1, "ai1-1-gpu", {"gpu": 1, "cpu": 1}, ""),
        (1, 1, "h200-4-gpu", {"gpu": 4}, ""),
        (4, 1, "ai1-1-gpu", {}, ""),
    ],
)
def test_a_job_larger_than_the_whole_quota(gpu: int, cpu: int, flavor: str, quota: dict[str, int], words: str) -> None:
    problems = check_resources(Resources(gpu, cpu, flavor, 60), FLAVORS, None, quota)
    assert [words in problem for problem in problems] == [True] * bool(words), problems


@pytest.mark.parametrize(
    ("account", "quota"),
    [
        ({"quotas": {"resources": {"CPU": 20, "GPU": "4"}}}, {"cpu": 20, "gpu": 4}),
        ({"quotas": {"resources": {"CPU": None, "gpu": 0}}}, {"gpu": 0}),
        ({"quotas": None}, {}),
        ({}, {}),
    ],
)
def test_a_quota_is_read_as_far_as_the_platform_tells_it(account: dict[str, Any], quota: dict[str, int]) -> None:
    assert read_quota(account) == quota


def test_flavors_of_which_the_platform_says_little() -> None:
    records: list[dict[str, Any]] = [
        {"id": "x"},
        {"id": "y", "type": "GPU", "max": "3", "resourcesPerUnit": None},
        {"id": None},
        {},
    ]
    assert read_flavors(records) == {"x": Flavor("x", "", None, None, None), "y": Flavor("y", "gpu", 3, None, None)}
    # What is not known is not checked.
    assert check_resources(Resources(99, 1, "x", 60), read_flavors(records), 10**9) == []


@pytest.mark.parametrize(
    ("gpu", "cpu", "flavor"),
    [(0, 1, "ai1-1-cpu"), (0, 12, "ai1-1-cpu"), (1, 1, "ai1-1-gpu"), (4, 40, "ai1-1-gpu"), (0, 3, ""), (2, 1, "")],
)
def test_nothing_is_wrong(gpu: int, cpu: int, flavor: str) -> None:
    assert check(gpu, cpu, flavor) == []


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (check(flavor="ai1-1-gpu"), ["ai1-1-gpu is a GPU flavor, but gpu is 0", "set gpu to 1 or more"]),
        (check(gpu=2), ["ai1-1-cpu is a CPU flavor, but gpu is 2", "set gpu to 0 or choose a GPU flavor"]),
        (check(cpu=13), ["threads is 13", "at most 12 units of flavor ai1-1-cpu"]),
        (check(gpu=3, flavor="a100-1-gpu"), ["gpu is 3", "at most 2 units of flavor a100-1-gpu"]),
        (check(gpu=-1), ["gpu is -1"]),
        (check(cpu=0), ["threads are 0"]),
        (check(cpu=2, memory=9_000), ["mem_mb is 9000, but 2 x ai1-1-cpu has 9 GB"]),
        (check(runtime=0), ["runtime is 0 minutes; allowed are 1 to 10,080"]),
        (check(runtime=-5), ["runtime is -5 minutes"]),
        (check(runtime=10_081), ["runtime is 10081 minutes; allowed are 1 to 10,080"]),
    ],
)
def test_each_rule(problem: list[str], words: list[str]) -> None:
    assert problem
    for part in words:
        assert part in problem[0]


def test_limits_themselves_are_allowed() -> None:
    assert check(runtime=1) == check(runtime=10_080) == []
    assert check(cpu=2, memory=8_589) == []
    assert check(cpu=2, memory=8_590) != []  # 2 x 4 GiB are 8,589.9 MB


@pytest.mark.parametrize(
    ("flavor", "near"),
    [("ai1-1-gpus", "ai1-1-gpu"), ("l40-1-gpu", "l40s-1-gpu"), ("H100-1-gpu", "h100-1-gpu"), ("a100", "a100-1-gpu")],
)
def test_the_nearest_flavor_is_proposed(flavor: str, near: str) -> None:
    (problem,) = check(flavor=flavor)
    assert f"flavor {flavor!r} is unknown; there are a100-1-gpu, ai1-1-cpu" in problem
    assert problem.endswith(f"did you mean {near!r}?")


def test_no_flavor_is_proposed_where_none_is_near() -> None:
    (problem,) = check(flavor="zzzz")
    assert "unknown" in problem and "mean" not in problem


def test_all_problems_at_once() -> None:
    assert len(check(gpu=-1, flavor="none", runtime=0)) == 3


def test_without_flavors_the_rest_is_checked() -> None:
    assert check_resources(Resources(0, 1, "anything", 60), {}, 10**9) == []
    assert len(check_resources(Resources(-1, 1, "anything", 0), {})) == 2


@given(st.integers(-2, 6), st.integers(-2, 14), st.sampled_from(sorted(FLAVORS)), st.integers(-1, 10_100))
def test_what_passes_is_what_the_platform_takes(gpu: int, cpu: int, flavor: str, runtime: int) -> None:
    known = FLAVORS[flavor]
    assert known.max
    fits = 1 <= gpu <= known.max and cpu >= 1 if known.kind == "gpu" else gpu == 0 and 1 <= cpu <= known.max
    assert (not check(gpu, cpu, flavor, runtime)) == (fits and 1 <= runtime <= 10_080)
