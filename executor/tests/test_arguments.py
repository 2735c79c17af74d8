"""arguments.py: arguments of a job, and the script around its command, run by bash in a folder of the test."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snakemake_executor_plugin_ovhai import arguments as module
from snakemake_executor_plugin_ovhai.arguments import check_secrets, get_arguments, get_labels, get_script
from snakemake_executor_plugin_ovhai.job_spec import JobSpec, Resources, SubmissionError
from snakemake_executor_plugin_ovhai.labels import sanitise
from snakemake_executor_plugin_ovhai.volumes import StoredFile, Volume

GOOD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def store(path: str) -> StoredFile:
    return StoredFile("b", f"work/{path}", path)


def make(
    command: str = "true",
    outputs: tuple[str, ...] = ("r/out.txt",),
    updated: tuple[str, ...] = (),
    logs: tuple[str, ...] = (),
    wildcards: Mapping[str, str] | None = None,
    **fields: Any,
) -> JobSpec:
    given: dict[str, Any] = {
        "rule": "add",
        "wildcards": wildcards or {},
        "attempt": 1,
        "command": command,
        "image": "example/tools:1",
        "params": [],
        "resources": Resources(0, 2, "", 10),
        "inputs": (),
        "outputs": tuple(map(store, outputs)),
        "updated": tuple(map(store, updated)),
        "logs": tuple(map(store, logs)),
        "volumes": (Volume("b", "work/r", "/workspace/r", True),),
    }
    return JobSpec(**{**given, **fields})


# Names and labels


@given(st.text(max_size=100))
@example("é" * 100)
@example("-" * 70)
@example("a" * 62 + "--b")
def test_names_have_only_allowed_letters(text: str) -> None:
    assert GOOD.fullmatch(sanitise(text))
    assert sanitise(sanitise(text)) == sanitise(text)
    assert GOOD.fullmatch(make(wildcards={"scene": text}, rule=text or "r").name)


def test_good_names_stay() -> None:
    assert sanitise("Kitchen_2.a-b") == "Kitchen_2.a-b"
    assert sanitise("two words/ü!") == "two-words"
    assert make(wildcards={"scene": "tea", "part": "1"}).name == "add-tea-1"


@given(st.dictionaries(st.text(min_size=1, max_size=70), st.text(max_size=100), max_size=3), st.text(min_size=1))
@example({"scene" * 13: "tea"}, "add")
def test_labels_have_only_allowed_letters(wildcards: dict[str, str], rule: str) -> None:
    labels = get_labels(make(wildcards=wildcards, rule=rule), "bucket-work", "t" * 40, "f" * 40)
    for name, value in labels.items():
        assert GOOD.fullmatch(name) and GOOD.fullmatch(value), (name, value)
        assert name.startswith("snakemake-")


def test_labels_say_who_and_what() -> None:
    spec = make(wildcards={"scene": "tea time"}, attempt=3)
    assert get_labels(spec, "w", "t" * 40, "f" * 40) == {
        "snakemake-workflow": "w",
        "snakemake-rule": "add",
        "snakemake-attempt": "3",
        "snakemake-target": "t" * 40,  # whole: heads find each other's jobs by them
        "snakemake-fingerprint": "f" * 40,
        "snakemake-wildcard-scene": "tea-time",
    }


# Arguments


def get_options(arguments: list[str]) -> dict[str, list[str]]:
    """The values of each option. It fails if there is anything else before the image."""
    options: dict[str, list[str]] = {}
    words = arguments[: arguments.index("--") - 1]
    for name, value in zip(words[::2], words[1::2], strict=True):
        assert name.startswith("--") and not value.startswith("--")
        options.setdefault(name, []).append(value)
    return options


def test_options_image_dashes_and_command() -> None:
    spec = make("echo --output yaml -- done", resources=Resources(2, 8, "ai1-1-gpu", 90))
    arguments = get_arguments(spec, {"a": "1", "b": "2"}, "S3GRA")
    assert arguments[-5:-1] == ["example/tools:1", "--", "bash", "-c"]
    assert "echo --output yaml -- done" in arguments[-1]
    assert get_options(arguments) == {
        "--name": ["add"],
        "--label": ["a=1", "b=2"],
        "--env": ["HOME=/tmp", "SNAKEMAKE_ATTEMPT=1"],
        "--volume": ["b@S3GRA/work/r:/workspace/r:rw"],
        "--gpu": ["2"],
        "--flavor": ["ai1-1-gpu"],
        "--timeout": ["5400s"],
        "--output": ["json"],
    }


@given(st.integers(0, 4), st.integers(1, 12), st.sampled_from(["", "ai1-1-cpu"]), st.integers(1, 10_080))
def test_each_job_has_a_time_limit_and_one_kind_of_units(gpu: int, cpu: int, flavor: str, runtime: int) -> None:
    options = get_options(get_arguments(make(resources=Resources(gpu, cpu, flavor, runtime)), {}, "S"))
    assert options["--timeout"] == [f"{runtime * 60}s"]
    assert options.get("--gpu", options.get("--cpu")) == [str(gpu or cpu)]
    assert ("--gpu" in options) != ("--cpu" in options)
    assert options.get("--flavor", [""]) == [flavor]


def test_commands_that_no_system_passes_on_are_refused() -> None:
    get_arguments(make("#" * 100_000), {}, "S")
    with pytest.raises(SubmissionError, match=r"its command has 1\d\d,\d\d\d bytes, but 131,000 is the most"):
        get_arguments(make("#" * 131_000), {}, "S")
    with pytest.raises(SubmissionError, match="bytes"):  # not letters
        get_arguments(make("é" * 66_000), {}, "S")


def test_the_longest_command_can_really_be_passed_on() -> None:
    script = get_script(make("#"))
    script += "#" * (module.LONGEST_ARGUMENT - len(script))
    assert subprocess.run(["true", script]).returncode == 0


def test_secrets_are_refused_and_not_repeated() -> None:
    secrets = ["key-of-the-bucket"]
    check_secrets(get_arguments(make(), {}, "S"), secrets)
    for spec in (
        make("curl -H key-of-the-bucket"),
        make(image="key-of-the-bucket"),
        make(wildcards={"scene": "key-of-the-bucket"}),
        make(outputs=("r/key-of-the-bucket",)),
    ):
        with pytest.raises(SubmissionError) as refused:
            check_secrets(get_arguments(spec, {}, "S"), secrets)
        assert "key-of-the-bucket" not in str(refused.value)


# The script


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for /workspace."""
    monkeypatch.setattr(module, "WORKDIR", tmp_path)
    return tmp_path


Execute = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def execute(folder: Path) -> Execute:
    def run(*arguments: Any, **fields: Any) -> "subprocess.CompletedProcess[str]":
        script = get_script(make(*arguments, **fields))
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd="/", timeout=20)

    return run


def write(path: Path, text: str = "old\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_command_finds_the_folders_of_outputs_and_logs(execute: Execute, folder: Path) -> None:
    done = execute("pwd > r/deep/out.txt; echo hello | tee l/log.txt", ("r/deep/out.txt",), logs=("l/log.txt",))
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    assert (folder / "r/deep/out.txt").read_text() == f"{folder}\n"
    assert (folder / "l/log.txt").exists()


@pytest.mark.parametrize("code", [1, 3, 137, 255])
def test_a_failed_command_leaves_no_outputs_and_passes_its_code_on(execute: Execute, folder: Path, code: int) -> None:
    done = execute(f"echo part > r/out.txt; echo why > r/log.txt; exit {code}", logs=("r/log.txt",))
    assert done.returncode == code
    assert list_files(folder) == {"r/log.txt"}


def test_old_outputs_are_removed_first(execute: Execute, folder: Path) -> None:
    write(folder / "r/out.txt")
    write(folder / "r/beside.txt")
    done = execute("[ ! -e r/out.txt ] && echo new > r/out.txt")
    assert done.returncode == 0
    assert (folder / "r/out.txt").read_text() == "new\n"
    assert (folder / "r/beside.txt").read_text() == "old\n"


def test_old_outputs_do_not_hide_that_new_ones_are_missing(execute: Execute, folder: Path) -> None:
    write(folder / "r/out.txt")
    done = execute("true")
    assert (done.returncode, done.stderr) == (1, "missing output: r/out.txt\n")
    assert list_files(folder) == set()


def test_updated_outputs_stay_before_and_after_the_command(execute: Execute, folder: Path) -> None:
    write(folder / "r/state.txt")
    done = execute("cat r/state.txt; exit 1", ("r/out.txt", "r/state.txt"), updated=("r/state.txt",))
    assert (done.returncode, done.stdout) == (1, "old\n")
    assert list_files(folder) == {"r/state.txt"}
    done = execute("echo half >> r/state.txt; exit 4", ("r/state.txt",), updated=("r/state.txt",))
    assert (done.returncode, list_files(folder)) == (4, {"r/state.txt"})
    assert (folder / "r/state.txt").read_text() == "old\n"


def test_a_failed_command_leaves_nothing_where_there_was_nothing_to_update(execute: Execute, folder: Path) -> None:
    done = execute("echo half > r/state.txt; exit 4", ("r/state.txt",), updated=("r/state.txt",))
    assert (done.returncode, list_files(folder)) == (4, set())


def test_old_logs_go_first_and_each_log_exists_afterwards(execute: Execute, folder: Path) -> None:
    write(folder / "r/a.log")
    done = execute("echo new >> r/a.log; echo > r/out.txt", logs=("r/a.log", "r/b.log"))
    assert done.returncode == 0
    assert ((folder / "r/a.log").read_text(), (folder / "r/b.log").read_text()) == ("new\n", "")


def test_incomplete_outputs_stay_if_that_is_asked_for(execute: Execute, folder: Path) -> None:
    done = execute("echo half > r/out.txt; exit 4", keep_incomplete=True)
    assert (done.returncode, list_files(folder)) == (4, {"r/out.txt"})


def test_one_missing_output_of_several(execute: Execute, folder: Path) -> None:
    done = execute("echo > r/a; echo > r/c", ("r/a", "r/b", "r/c"))
    assert (done.returncode, done.stderr) == (1, "missing output: r/b\n")
    assert list_files(folder) == set()


def test_commands_of_several_lines_with_comments_and_here_documents(execute: Execute, folder: Path) -> None:
    done = execute("cat > r/out.txt <<END\n'one' $((1 + 1))\nEND\n# the end")
    assert done.returncode == 0
    assert (folder / "r/out.txt").read_text() == "'one' 2\n"


def test_without_its_working_folder_nothing_runs(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORKDIR", Path("/there/is/none"))
    done = execute("echo ran")
    assert (done.returncode, done.stdout) == (1, "")


NASTY = ["two words", "it's", '"quoted"', "$(touch hit)", "`touch hit`", "a;touch hit", "a&touch hit", "a\ntouch hit"]
NASTY += ["*", "?", "~", "$HOME", "-rf", "--", "#", "a'b\"c", "'; touch hit; '", "\\", "é", "{a,b}", "!x", "a|b", "(x)"]


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("end", ["done", "missing", "failed", "stopped"])
def test_names_of_files_are_never_run(execute: Execute, folder: Path, name: str, end: str) -> None:
    output, beside = f"{name}/{name}.txt", write(folder / "beside.txt")
    old = write(folder / output)
    command = {
        "done": f"echo new > ./{shlex.quote(output)}",
        "missing": "true",
        "failed": f"echo new > ./{shlex.quote(output)}; exit 5",
        "stopped": f"echo new > ./{shlex.quote(output)}; sleep 0.2; kill -TERM $$; sleep 20",
    }[end]
    done = execute(command, (output,), logs=(f"logs/{name}/log",))
    assert done.returncode == {"done": 0, "missing": 1, "failed": 5, "stopped": 143}[end], done.stderr
    if end == "missing":
        assert f"missing output: {output}\n" in done.stderr
    log = [f"logs/{name}/log"] if end != "stopped" else []  # Snakemake also makes an empty log
    assert list_files(folder) == {"beside.txt", *log, *([output] if end == "done" else [])}
    if end == "done":
        assert old.read_text() == "new\n"
    assert beside.exists() and (folder / "logs" / name).is_dir()


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_name_of_a_file_is_itself(name: str) -> None:
    if name in (".", ".."):
        return
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WORKDIR", Path(place))
        script = get_script(make(f"echo new > ./{shlex.quote('r/' + name)}", (f"r/{name}",)))
        assert subprocess.run(["bash", "-c", script], timeout=20).returncode == 0
        assert list_files(Path(place)) == {f"r/{name}"}


# Being stopped


def is_running(pid: str) -> bool:
    """Whether the process runs. A process that ended and waits for its parent (Z) does not."""
    stat = Path("/proc", pid.strip(), "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Run the script in the background. Nothing of it outlives the test."""
    processes = []

    def run(command: str) -> "subprocess.Popen[bytes]":
        processes.append(subprocess.Popen(["bash", "-c", get_script(make(command))], start_new_session=True))
        return processes[-1]

    yield run
    for process in processes:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                pid, session = path.parent.name, path.read_text().rpartition(")")[2].split()[3]
                if session == str(process.pid):
                    os.kill(int(pid), signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_job_ends_all_its_processes_and_leaves_no_outputs(
    folder: Path, start: Start, number: signal.Signals
) -> None:
    process = start(
        "echo part > r/out.txt; (sleep 60 & echo $! > first; wait) & sleep 60 | sleep 60 & echo $! > second; sleep 60"
    )
    pids = [wait_for(folder / name).strip() for name in ("first", "second")]
    assert all(map(is_running, pids))
    process.send_signal(number)
    assert process.wait(10) == 143
    deadline = time.monotonic() + 5
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert list_files(folder) == {"first", "second"}


def test_a_stopped_command_may_tidy_up(folder: Path, start: Start) -> None:
    process = start(
        "trap 'echo late > r/out.txt; echo tidy > tidied; exit 0' TERM; echo > ready; while :; do sleep 0.05; done"
    )
    wait_for(folder / "ready")
    process.terminate()
    assert process.wait(10) == 143
    assert list_files(folder) == {"ready", "tidied"}


def test_a_signal_that_comes_twice_changes_nothing(folder: Path, start: Start) -> None:
    process = start("trap 'sleep 0.3; exit 0' TERM; echo part > r/out.txt; echo > ready; while :; do sleep 0.05; done")
    wait_for(folder / "ready")
    process.terminate()
    time.sleep(0.1)
    process.terminate()
    assert process.wait(10) == 143
    assert list_files(folder) == {"ready"}
