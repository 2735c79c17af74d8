"""Settings of Neuralangelo itself: what is said of wrong ones."""

from typing import Any

import pytest

from videomesh.configuration.overrides import check_overrides


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model.object.sdf.encoding.dict_size": 19}, "Did you mean model.object.sdf.encoding.hashgrid.dict_size?"),
        ({"optim.parms.lr": 1e-3}, "Did you mean optim.params.lr?"),
        ({"optim.params": {"lr": 1}}, "Write one setting below it, such as optim.params."),
        ({"max_iter": 5}, "Use train.iterations."),
        ({"data.readjust.scale": 2}, "Use region.radius."),
        ({"model.object.sdf.encoding.hashgrid.dim": 3}, "Write 1 or 2 or 4 or 8."),
        ({"optim.params.lr": "fast"}, "'fast' is not allowed. Write a number above 0."),
        ({"data.val.image_size": [300]}, "Write a list of 2, each a whole number from 1."),
        ({"model.background.enabled": 1}, "Write true or false."),
        ({"zzz": 1}, "Neuralangelo has no setting zzz. Its settings are in config/schemas/neuralangelo.schema.yaml."),
    ],
)
def test_wrong_overrides_are_refused(overrides: dict[str, Any], words: str) -> None:
    (error,) = check_overrides(overrides)
    assert words in error


def test_all_errors_come_at_once_and_what_is_right_has_none() -> None:
    right = {"optim.params.lr": 0.002, "data.num_workers": 2, "pretrained_weight": None}
    assert check_overrides(right) == []
    assert len(check_overrides({**right, "max_iter": 1, "optim.sched.gamma": 0})) == 2
