"""Programs that we start must end with us, whenever we are told to end."""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from neuralangelo_engine.processes import child_group
from videomesh.children import child

SLEEP = ["sleep", "60"]
NUMBERS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def both_as_ctrl_c() -> Iterator[None]:
    """A shell that starts us in the background (`nohup make test &`) has Ctrl-C ignored."""
    before = [signal.signal(number, signal.default_int_handler) for number in NUMBERS]
    yield
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """The processes started since. `number` is sent to us while the first of them is not known to its caller yet."""
    found: list[subprocess.Popen] = []

    class Popen(subprocess.Popen):
        number = signal.SIGINT

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            found.append(self)
            os.kill(os.getpid(), self.number)
            for _ in range(1000):  # Python looks for signals between its steps
                pass

    monkeypatch.setattr(subprocess, "Popen", Popen)
    return found


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("start", [child, child_group])
def test_a_signal_at_the_very_start_ends_the_child(
    start: Any, number: signal.Signals, started: list[subprocess.Popen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess.Popen, "number", number)
    with pytest.raises(KeyboardInterrupt), start(SLEEP):
        raise AssertionError("the block began")
    assert [process.returncode < 0 for process in started] == [True]
    assert all(signal.getsignal(number) is signal.default_int_handler for number in NUMBERS)


def test_a_child_that_ends_by_itself_keeps_its_exit_code() -> None:
    with child(["sh", "-c", "exit 7"]) as process:
        assert process.wait() == 7
    assert process.returncode == 7


def test_a_child_ends_with_an_error_of_the_block() -> None:
    with pytest.raises(ValueError), child(SLEEP) as process:
        raise ValueError
    assert process.returncode == -signal.SIGKILL


def test_a_program_that_cannot_start_changes_no_handler() -> None:
    with pytest.raises(FileNotFoundError), child(["no-such-program"]):
        pass
    assert all(signal.getsignal(number) is signal.default_int_handler for number in NUMBERS)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup, or in the background of a shell: the child must ignore it too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with child(["sh", "-c", "kill -TERM $$; exit 3"]) as process:
        assert process.wait() == 3
