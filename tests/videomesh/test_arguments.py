"""Numbers on the command line that make no sense."""

import argparse

import pytest

from videomesh.arguments import at_least


@pytest.mark.parametrize(("least", "text"), [(1, "0"), (1, "-3"), (20, "19"), (0, "-1")])
def test_a_number_that_is_too_small(least: int, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is too small; it must be {least} or more"):
        at_least(least)(text)


@pytest.mark.parametrize(("least", "text"), [(0, "0"), (1, "1"), (1, "99999")])
def test_a_number_that_is_large_enough(least: int, text: str) -> None:
    assert at_least(least)(text) == int(text)


@pytest.mark.parametrize("text", ["nan", "1.5", "", "many"])
def test_what_is_no_whole_number(text: str) -> None:
    """argparse says "invalid whole_number value" then."""
    whole_number = at_least(1)
    assert whole_number.__name__ == "whole_number"
    with pytest.raises(ValueError):
        whole_number(text)
