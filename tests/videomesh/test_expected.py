"""How long steps may take: against what was measured, and with more frames, pixels, iterations and cells."""

import re
from typing import Any

import pytest

from checkout import ROOT
from videomesh.configuration.load import load_scenes
from videomesh.expected import EXPECTED, get_expected_seconds


def make_settings(**changes: Any) -> dict[str, Any]:
    """changes: dotted keys with __ for a dot."""
    settings: dict[str, Any] = {
        "frames": {"target": 150, "max_size": 1920},
        "poses": {"max_image_size": 1600},
        "train": {"iterations": 3000, "milestones": []},
        "mesh": {"resolution": 256},
        "neuralangelo": {"preset": "full"},
    }
    for key, value in changes.items():
        section, name = key.split("__")
        settings[section][name] = value
    return settings


@pytest.mark.parametrize(
    ("rule", "changes", "iteration", "low", "high"),
    [
        ("frames", {"frames__target": 300}, 0, 14, 40),  # docs/benchmarks.md: 14.2 s
        ("poses", {"frames__target": 300}, 0, 150, 250),  # 486 s on two cores
        ("sdfgrid_train", {}, 3000, 75, 95),  # 84 s on an H100
        ("sdfgrid_train", {"train__iterations": 6000}, 6000, 145, 165),  # 155 s
        ("sdfgrid_train_and_mesh", {}, 3000, 85, 100),  # and a mesh in 8 s
        ("neuralangelo_train", {}, 1000, 285, 315),  # OVHcloud's tutorial: about 5 minutes on a V100S
        ("neuralangelo_train", {}, 20_000, 3500, 3700),  # and 1 hour
        ("neuralangelo_mesh", {"mesh__resolution": 2048}, 0, 180, 240),  # and about 3 minutes
    ],
)
def test_what_was_measured_is_expected(
    rule: str, changes: dict[str, Any], iteration: int, low: float, high: float
) -> None:
    assert low <= get_expected_seconds(rule, make_settings(**changes), iteration) <= high


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("frames", {"frames__target": 600}),
        ("frames", {"frames__max_size": 3840}),
        ("poses", {"frames__target": 600}),
        ("poses", {"poses__max_image_size": 1900}),
        ("sdfgrid_mesh", {"mesh__resolution": 512}),
        ("neuralangelo_mesh", {"mesh__resolution": 512}),
    ],
)
def test_more_takes_longer(rule: str, changes: dict[str, Any]) -> None:
    assert get_expected_seconds(rule, make_settings(**changes)) > get_expected_seconds(rule, make_settings())


def test_a_milestone_takes_what_lies_between_it_and_the_one_before() -> None:
    settings = make_settings(train__milestones=[500, 2500])
    times = [get_expected_seconds("sdfgrid_train", settings, iteration) for iteration in (500, 2500, 3000)]
    assert times[0] == times[2] < times[1]
    fast = make_settings(neuralangelo__preset="fast")
    assert get_expected_seconds("neuralangelo_train", fast, 3000) < get_expected_seconds(
        "neuralangelo_train", make_settings(), 3000
    )


def test_each_step_that_has_a_container_has_an_expected_time_with_the_settings_as_they_are() -> None:
    rules = {}
    for file in (ROOT / "rules").glob("*.smk"):
        for name, body in re.findall(r"^rule (\w+):\n((?: .*\n|\n)*)", file.read_text(), re.MULTILINE):
            rules[name] = body
    remote = {name for name, body in rules.items() if "container:" in body}
    assert remote == set(EXPECTED)
    assert all(f'expected_seconds=get_expected("{name}")' in rules[name] for name in remote)
    scenes = load_scenes({}, [])
    for settings in scenes.values():
        assert all(get_expected_seconds(name, settings, 3000) > 0 for name in remote)
