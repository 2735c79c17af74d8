"""Later stages come first, in every rule file."""

import re

import yaml

from checkout import ROOT
from videomesh.accept import STAGES

# Where a stage does not write to a folder of its own name.
FOLDERS = {"resources/videos": "ingest", "resources/neuralangelo": "train", "deliver": "deliver"}


def find_stage(output: str) -> str:
    folder = next((folder for folder in FOLDERS if output.startswith(f"{folder}/")), None)
    return FOLDERS[folder] if folder else output.removeprefix("results/{scene}/").split("/")[0]


def test_each_rule_has_the_priority_of_the_stage_that_it_writes() -> None:
    """Of the first one, if it writes two: what only makes a mesh is nearer to its end."""
    found = {}
    for file in (ROOT / "rules").glob("*.smk"):
        for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", file.read_text(), re.MULTILINE):
            outputs = re.search(r"    output:\n((?:        .*\n)+)", body)
            paths = re.findall(r'"((?:results|resources|deliver)/[^"]+)"', outputs[1]) if outputs else []
            priority = re.search(r'^    priority: PRIORITY\["(\w+)"\]$', body, re.MULTILINE)
            assert bool(paths) == bool(priority), f"{file.name}: rule {name}"
            if priority:
                found[name] = ({find_stage(path) for path in paths}, priority[1])
    assert len(found) > 15 and set().union(*(stages for stages, _ in found.values())) == set(STAGES)
    assert [name for name, (stages, stage) in found.items() if stage != min(stages, key=STAGES.index)] == []


def test_the_profile_of_the_platform_uses_the_scheduler_that_does_not_slow_down() -> None:
    text = (ROOT / "profiles/ovhai/config.yaml").read_text()
    assert yaml.safe_load(text)["scheduler"] == "greedy"
