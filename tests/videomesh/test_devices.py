"""The device and the threads of PyTorch."""

import os
from collections.abc import Iterator

import pytest
import torch

from videomesh.devices import set_threads


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_no_more_threads_than_cores() -> None:
    set_threads(1000)
    assert torch.get_num_threads() == len(os.sched_getaffinity(0))
    set_threads(1)
    assert torch.get_num_threads() == 1
