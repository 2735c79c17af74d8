"""fingerprint.py: the same work has the same checksums everywhere, other work has others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_ovhai.fingerprint import get_fingerprint, get_target
from snakemake_executor_plugin_ovhai.labels import sanitise
from snakemake_executor_plugin_ovhai.volumes import StoredFile

texts = st.text(st.sampled_from("ab/ \n\"',[]"), max_size=4)
files = st.builds(StoredFile, st.sampled_from("bc"), texts, texts)
file_lists = st.lists(files, max_size=4, unique=True)
IN, OUT = StoredFile("b", "work/in", "in"), StoredFile("b", "work/out", "out")
WORK: dict[str, Any] = {"command": "add", "image": "i", "params": ["x=1"], "outputs": [OUT], "inputs": {IN: "sum"}}
FINGERPRINT = get_fingerprint(**WORK)


@given(file_lists, st.randoms())
def test_the_order_of_files_does_not_matter(files: list[StoredFile], random: Any) -> None:
    shuffled = random.sample(files, len(files))
    assert get_target(files) == get_target(shuffled)
    one, two = (get_fingerprint("c", "i", [], order, dict.fromkeys(order, "sum")) for order in (files, shuffled))
    assert one == two


@given(file_lists, file_lists)
def test_other_places_have_other_targets(one: list[StoredFile], two: list[StoredFile]) -> None:
    same = sorted(file.uri for file in one) == sorted(file.uri for file in two)
    assert (get_target(one) == get_target(two)) == same


@pytest.mark.parametrize(
    "change",
    [
        {"command": "add "},
        {"image": "i:2"},
        {"params": ["x=2"]},
        {"params": []},
        {"outputs": [IN]},
        {"outputs": [OUT, IN]},
        {"inputs": {IN: "other"}},
        {"inputs": {}},
        {"inputs": {IN: "sum", OUT: "sum"}},
        {"inputs": {OUT: "sum"}},
    ],
)
def test_whatever_changes_the_outputs_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert get_fingerprint(**{**WORK, **change}) != FINGERPRINT


@given(texts, texts, texts, texts)
def test_fields_do_not_run_into_each_other(command: str, image: str, other_command: str, other_image: str) -> None:
    one = get_fingerprint(command, image, [], [], {})
    two = get_fingerprint(other_command, other_image, [], [], {})
    assert (one == two) == ((command, image) == (other_command, other_image))


def test_checksums_are_the_same_on_every_machine() -> None:
    """These numbers come from another process. They must not depend on Python's hash seed."""
    assert get_target([OUT]) == "8000a6f86b82105b74142aa6d93588a7584f6fe4"
    assert FINGERPRINT == "2b37481569e1a2bce6c8fb4f280c655d0ee7dcd0"


def test_the_place_on_the_heads_machine_is_no_part_of_it() -> None:
    moved = StoredFile("b", "work/out", "/elsewhere/out")
    assert get_target([moved]) == get_target([OUT])
    assert get_fingerprint(**{**WORK, "outputs": [moved]}) == FINGERPRINT


def test_checksums_are_good_labels() -> None:
    for checksum in (get_target([]), FINGERPRINT):
        assert sanitise(checksum) == checksum
