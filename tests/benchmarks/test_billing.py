"""What the benchmark of billed time computes."""

import re
from pathlib import Path

import yaml

import billing
from billing import COMMANDS, Scene
from checkout import ROOT


def test_started_minutes_are_paid_and_the_longest_pull_follows() -> None:
    scene = Scene("x", billed=[301.0, 60.0], useful=[100.0, 20.0])
    assert scene.billed_minutes == 7 and scene.ratio == 7 * 60 / 120
    assert scene.get_longest_pull(60.0) < 0
    good = Scene("y", billed=[1000.0 + 180], useful=[1000.0])
    assert round(good.get_longest_pull(180)) == 300
    text = billing.table([scene, good], 60)
    assert "| x | 2 | 2.0 | 7 | 3.50 | none |" in text


def test_each_time_belongs_to_one_command_of_the_rules() -> None:
    rules = {path.name: path.read_text() for path in (ROOT / "rules").glob("*.smk")}
    for rule, pattern in COMMANDS.items():
        bodies = [body for text in rules.values() for body in re.split(r"^rule ", text, flags=re.MULTILINE)]
        assert [body.partition(":")[0] for body in bodies if re.search(pattern, body)] == [rule]


def test_the_profile_without_groups_is_the_profile_otherwise(tmp_path: Path) -> None:
    checkout = billing.make_checkout(tmp_path / "single", "sdfgrid", grouped=False)
    before = yaml.safe_load((ROOT / "profiles/ovhai/config.yaml").read_text())
    after = yaml.safe_load((checkout.folder / "profiles/ovhai/config.yaml").read_text())
    assert before.pop("groups") and before == after
