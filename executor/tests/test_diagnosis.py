"""diagnosis.py: the meaning of each end of a job, and known errors in logs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakemake_executor_plugin_ovhai.diagnosis import Failure, diagnose, format_failure
from snakemake_executor_plugin_ovhai.job import IMAGE_PROBLEMS, PREEMPTED, Job
from snakemake_executor_plugin_ovhai.signatures import OWN_FILE, Signature, load_signatures

DONE = Job("a", "DONE", exit_code=0)
FAILED = Job("a", "FAILED", exit_code=3, info_code="JOB_FAILED")
ENTRY = {"pattern": "boom", "cause": "It blew up.", "remedy": "Do not.", "retry": "no"}
KNOWN = load_signatures(OWN_FILE)


def load(folder: Path, content: Any) -> list[Signature]:
    path = folder / "signatures.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_signatures(path)


# Ends


@pytest.mark.parametrize(
    ("changes", "success"),
    [
        ({}, True),
        ({"exit_code": None}, True),
        ({"exit_code": 1}, False),
        ({"state": "FAILED"}, False),
        ({"state": "FINALIZING"}, False),
        ({"state": ""}, False),
        ({"push_failed": True}, False),
        ({"push_failed": True, "saved": True}, True),
        ({"push_failed": True, "saved": True, "state": "SYNC_FAILED"}, True),
        ({"push_failed": True, "saved": True, "state": "SYNC_FAILED", "exit_code": 1}, False),
        ({"push_failed": True, "saved": True, "state": "SYNC_FAILED", "stop_requested": True}, False),
        ({"state": "SYNC_FAILED", "saved": True}, False),
        ({"timed_out": True}, False),
    ],
)
def test_success_is_done_with_outputs_back(changes: dict[str, Any], success: bool) -> None:
    assert replace(DONE, **changes).succeeded is success


@pytest.mark.parametrize(
    ("job", "words", "retry"),
    [
        (replace(FAILED, state="TIMEOUT", timed_out=True), "reached its time limit of 90 minutes", "yes"),
        (replace(FAILED, state="INTERRUPTED", timed_out=True), "time limit", "yes"),
        (Job("a", "INTERRUPTED", info_code="JOB_INTERRUPTED"), "stopped by somebody else", "no"),
        (Job("a", "ERROR", info_code="JOB_ERROR"), "error of the platform", "yes"),
        (Job("a", "SYNC_FAILED"), "SYNC_FAILED", "yes"),
        (replace(DONE, push_failed=True), "SYNC_FAILED", "yes"),
        (FAILED, "failed with exit code 3", "yes"),
        (replace(DONE, exit_code=1), "failed with exit code 1", "yes"),
        (Job("a", "FAILED"), "failed", "yes"),
        (replace(FAILED, exit_code=137), "failed with exit code 137", "changed"),
        *(
            (Job("a", "INTERRUPTED", info_code=code), f"taken away by the platform ({code})", "free")
            for code in sorted(PREEMPTED)
        ),
        *(
            (
                Job("a", "FAILED", info_code=code),
                f"could not use its container image ({code})",
                "free" if code in ("JOB_REGISTRY_UNAVAILABLE", "JOB_IMAGE_PULL_BACKOFF") else "no",
            )
            for code in sorted(IMAGE_PROBLEMS)
        ),
    ],
)
def test_each_end_says_what_happened_and_whether_to_try_again(job: Job, words: str, retry: str) -> None:
    failure = diagnose(job, "", KNOWN, 90)
    assert words in failure.what
    assert failure.retry == retry
    assert failure.remedy


@pytest.mark.parametrize(
    ("message", "retry", "words"),
    [
        ("Pod ephemeral local storage usage exceeds the total limit of containers 40Gi.", "changed", "more disk"),
        ("The node was low on resource: ephemeral-storage.", "changed", "more disk"),
        ("ephemeral storage exceeded", "changed", "more disk"),
        ('Usage of EmptyDir volume "data" exceeds the limit "40Gi".', "changed", "more disk"),
        ("The node had condition: [DiskPressure].", "changed", "more disk"),
        ("The node was low on resource: memory. Threshold quantity: 100Mi", "changed", "more memory"),
        ("maintenance of the host", "free", "need not do anything"),
        ("", "free", "need not do anything"),
    ],
)
@pytest.mark.parametrize("code", sorted(PREEMPTED))
def test_a_job_is_taken_away_for_different_causes(code: str, message: str, retry: str, words: str) -> None:
    failure = diagnose(Job("a", "FAILED", info_code=code, info=message), "", KNOWN, 90)
    assert (failure.retry, words in failure.remedy) == (retry, True)


@pytest.mark.parametrize(
    ("code", "message", "retry"),
    [
        ("JOB_IMAGE_PULL_BACKOFF", "Back-off pulling image example/tools:1", "free"),
        ("JOB_IMAGE_PULL", "toomanyrequests: You have reached your unauthenticated pull rate limit.", "free"),
        ("JOB_IMAGE_PULL", "unexpected status: 429 Too Many Requests", "free"),
        ("JOB_IMAGE_PULL", "dial tcp 1.2.3.4:443: i/o timeout", "free"),
        ("JOB_IMAGE_PULL", "unexpected status: 503 Service Unavailable", "free"),
        ("JOB_IMAGE_PULL", "Error image pull", "no"),
        ("JOB_IMAGE_PULL", "manifest for example/tools:2 not found: manifest unknown", "no"),
        ("JOB_IMAGE_PULL_BACKOFF", "pull access denied, repository does not exist or may require login", "no"),
        ("JOB_INVALID_IMAGE_NAME", "couldn't parse image reference", "no"),
    ],
)
def test_a_registry_that_counts_requests_is_waited_for_and_a_wrong_name_is_not(
    code: str, message: str, retry: str
) -> None:
    failure = diagnose(Job("a", "FAILED", info_code=code, info=message), "", KNOWN, 90)
    assert failure.retry == retry
    assert (failure.wait > 0) == (retry == "free")


def test_memory_is_the_likely_cause_of_a_killed_process() -> None:
    for code in (137, -9):
        assert "memory was full" in diagnose(replace(FAILED, exit_code=code), "", [], 90).cause
    assert diagnose(replace(FAILED, exit_code=139), "", [], 90).cause == ""


def test_the_platforms_own_words_are_shown_unless_they_only_repeat_the_code() -> None:
    assert diagnose(replace(FAILED, info="node went away"), "", [], 90).cause == "node went away"
    for words in ("Job failed with code 3", "Job failed with exit code 3"):
        assert diagnose(replace(FAILED, info=words), "", [], 90).cause == ""


def test_a_time_limit_counts_more_than_what_the_log_says() -> None:
    assert "time limit" in diagnose(replace(FAILED, timed_out=True), "CUDA out of memory", KNOWN, 90).what


# Known errors


@pytest.mark.parametrize(
    ("line", "cause", "retry"),
    [
        ("RuntimeError: CUDA out of memory. Tried to allocate 2 GiB", "GPU has too little memory", "changed"),
        ("torch.cuda.OutOfMemoryError: no", "GPU has too little memory", "changed"),
        ("CUDA error: unspecified launch failure", "GPU or its connection failed", "free"),
        ("NVRM: Xid (PCI:0000:3b:00): 79", "GPU or its connection failed", "free"),
        ("CUDA error: no kernel image is available for execution on the device", "image does not fit the GPU", "no"),
        ("tar: x: Cannot write: No space left on device", "disk is full", "no"),
        ("OSError: [Errno 28] No space left on device", "disk is full", "no"),
        ("touch: cannot touch 'x': Read-only file system", "read-only", "no"),
        ("bash: line 12: colmap: command not found", "lacks a program", "no"),
        ("/bin/sh: 1: ffmpeg: not found", "lacks a program", "no"),
        ("ModuleNotFoundError: No module named 'torch'", "lacks a program", "no"),
        ("missing output: r/out.txt", "without one of its outputs", "no"),
        ("OSError: [Errno 98] Address already in use", "A port", "yes"),
        ("curl: (6) Could not resolve host: example.org", "network failed", "yes"),
    ],
)
@pytest.mark.parametrize("place", ["alone", "stamped", "last", "info"])
def test_each_known_error(line: str, cause: str, retry: str, place: str) -> None:
    log = {
        "alone": line,
        "stamped": f"2026-07-30T08:45:19Z [job] {line}\n2026-07-30T08:45:20Z [job] bye\n",
        "last": "begin\n" * 1000 + line,
        "info": "",
    }[place]
    job = replace(FAILED, info=line) if place == "info" else FAILED
    failure = diagnose(job, log, KNOWN, 90)
    assert cause in failure.cause and failure.retry == retry
    assert failure.what == "failed with exit code 3" and failure.remedy


@pytest.mark.parametrize(
    "line", ["", "checking whether cache was not found, going on", "0 errors", "wrote missing outputs.txt", "exit 3"]
)
def test_other_lines_are_no_known_errors(line: str) -> None:
    assert diagnose(FAILED, line, KNOWN, 90) == Failure("failed with exit code 3", "", "Its log tells more.")


def test_an_error_long_before_the_end_is_not_its_cause() -> None:
    log = "ImportError: no tqdm, going on without\n" + "step\n" * 1000 + "Segmentation fault\n"
    assert diagnose(FAILED, log, KNOWN, 90).cause == ""


def test_the_first_entry_that_matches_counts(tmp_path: Path) -> None:
    own = load(tmp_path, [ENTRY, {**ENTRY, "cause": "Second.", "retry": "free"}])
    assert diagnose(FAILED, "x boom", [*own, *KNOWN], 90).cause == "It blew up."
    assert diagnose(FAILED, "boom\nCUDA out of memory", [*own, *KNOWN], 90).cause == "It blew up."
    assert diagnose(FAILED, "CUDA out of memory", [*own, *KNOWN], 90).retry == "changed"


# Files of known errors


@pytest.mark.parametrize(
    ("word", "retry"),
    [("yes", "yes"), ("no", "no"), ("free", "free"), ("'yes'", "yes"), ("true", "yes"), ("off", "no")],
)
def test_yes_and_no_of_yaml_need_no_quotes(tmp_path: Path, word: str, retry: str) -> None:
    text = f"- pattern: a\n  cause: b\n  remedy: c\n  retry: {word}\n"
    assert [signature.retry for signature in load(tmp_path, text)] == [retry]


def test_begin_and_end_are_those_of_a_line(tmp_path: Path) -> None:
    signatures = load(tmp_path, [{**ENTRY, "pattern": "^boom$"}])
    assert diagnose(FAILED, "a\nboom\nb", signatures, 90).cause == "It blew up."
    assert diagnose(FAILED, "a\nboom boom\nb", signatures, 90).cause == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("pattern: [", "signatures.yaml"),
        ("", "a list of entries is expected"),
        ({"pattern": "a"}, "a list of entries is expected"),
        ([ENTRY, "text"], "entry 2: needs exactly cause, pattern, remedy, retry"),
        ([{**ENTRY, "more": 1}], "entry 1: needs exactly"),
        ([{name: ENTRY[name] for name in ("pattern", "cause", "retry")}], "entry 1: needs exactly"),
        ([ENTRY, ENTRY, {**ENTRY, "pattern": "("}], "entry 3: pattern '(': "),
        ([{**ENTRY, "pattern": ""}], "entry 1: pattern is ''"),
        ([{**ENTRY, "pattern": None}], "entry 1: pattern is None"),
        ([{**ENTRY, "cause": None}], "entry 1: cause is None"),
        ([{**ENTRY, "remedy": ["a"]}], "entry 1: remedy is ['a']"),
        ([{**ENTRY, "retry": "maybe"}], "entry 1: retry is 'maybe'; allowed are yes, no, free, changed"),
        ([{**ENTRY, "retry": None}], "entry 1: retry is None"),
        ([{**ENTRY, "retry": 1}], "entry 1: retry is 1"),
        ([{**ENTRY, "retry": ["yes"]}], "entry 1: retry is ['yes']"),
        ([{**ENTRY, "retry": {}}], "entry 1: retry is {}"),
    ],
)
def test_errors_in_a_file_name_file_and_entry(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(ValueError) as raised:
        load(tmp_path, content)
    assert words in str(raised.value)
    assert str(tmp_path / "signatures.yaml") in str(raised.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"- \xff\xfe")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(ValueError, match=r"^signatures ") as raised:
            load_signatures(path)
        assert str(path) in str(raised.value)


# Messages


def test_a_message_has_everything_and_the_end_of_the_log() -> None:
    failure = Failure("failed with exit code 3", "It blew up.", "Do not.", "no")
    log = "".join(f"line {number}\n" for number in range(50))
    lines = format_failure("add-tea", "0d91", failure, log, Path("logs/0d91.log")).splitlines()
    assert lines[:5] == [
        "add-tea (0d91) failed with exit code 3.",
        "Cause: It blew up.",
        "Remedy: Do not.",
        "The job is not tried again, because another attempt would end in the same way.",
        "The end of its log (logs/0d91.log):",
    ]
    assert lines[5:] == [f"  line {number}" for number in range(30, 50)]


def test_a_message_leaves_out_what_is_not_known() -> None:
    message = format_failure("add", "0d91", Failure("failed"), "", Path("logs/0d91.log"))
    assert message.splitlines() == ["add (0d91) failed.", "There is no log (logs/0d91.log)."]
