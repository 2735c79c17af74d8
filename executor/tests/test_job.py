"""job.py: jobs from the platform's JSON, complete, incomplete and nonsensical."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_ovhai.job import ENDED, ENDING, KNOWN, LIVE, Job, read_job
from snakemake_executor_plugin_ovhai.records import read_int, read_time

RECORD: dict[str, Any] = {
    "id": "0d916855-1cd4-4b66-8803-000000000001",
    "createdAt": "2026-07-30T08:45:01.297780123Z",
    "spec": {
        "name": "add-tea",
        "labels": {"snakemake-rule": "add", "ovh/type": "job"},
        "resources": {"cpu": 26, "gpu": 2, "flavor": "ai1-1-gpu"},
    },
    "status": {
        "state": "DONE",
        "exitCode": 0,
        "queuedAt": "2026-07-30T08:45:01Z",
        "startedAt": "2026-07-30T08:45:19Z",
        "stoppedAt": "2026-07-30T08:45:25Z",
        "finalizedAt": "2026-07-30T08:45:31Z",
        "history": [{"state": "QUEUED", "date": "2026-07-30T08:45:01Z"}, {"state": "DONE"}],
        "info": {"code": "JOB_DONE", "message": "Job is done"},
        "dataSync": [{"spec": {"direction": "push", "manual": False}, "status": {"state": "DONE"}}],
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["DONE", "TIMEOUT", "push"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def find_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    return [path] * bool(path) + [below for key, entry in entries for below in find_paths(entry, (*path, key))]


PATHS = find_paths(RECORD)


def change(path: tuple[Any, ...], *value: Any) -> dict[str, Any]:
    """The record with another value at a path, or with the field missing."""
    record = copy.deepcopy(RECORD)
    owner: Any = record
    for key in path[:-1]:
        owner = owner[key]
    if value:
        owner[path[-1]] = value[0]
    else:
        del owner[path[-1]]
    return record


def read(**status: Any) -> Job:
    job = read_job({"id": "a", "status": status})
    assert job
    return job


def sync(state: str, direction: str = "push", manual: bool = False) -> dict[str, Any]:
    return {"spec": {"direction": direction, "manual": manual}, "status": {"state": state}}


def test_a_complete_record() -> None:
    assert read_job(RECORD) == Job(
        id="0d916855-1cd4-4b66-8803-000000000001",
        state="DONE",
        created_at=datetime(2026, 7, 30, 8, 45, 1, 297780, tzinfo=UTC),
        name="add-tea",
        labels={"snakemake-rule": "add", "ovh/type": "job"},
        exit_code=0,
        info_code="JOB_DONE",
        info="Job is done",
        timed_out=False,
        finalized=True,
        push_failed=False,
        flavor="ai1-1-gpu",
        units=2,
        started_at=datetime(2026, 7, 30, 8, 45, 19, tzinfo=UTC),
        stopped_at=datetime(2026, 7, 30, 8, 45, 25, tzinfo=UTC),
        finalized_at=datetime(2026, 7, 30, 8, 45, 31, tzinfo=UTC),
    )


@given(JSON)
def test_nothing_in_a_record_raises(value: Any) -> None:
    assert read_job(value) is None or isinstance(value["id"], str)
    job = read_job({"id": "a", "spec": value, "status": value, "createdAt": value})
    assert job and job.id == "a"


@given(st.sampled_from(PATHS), JSON)
def test_a_field_of_the_wrong_type_raises_nothing_and_harms_no_other(path: tuple[Any, ...], value: Any) -> None:
    for record in (change(path, value), change(path)):
        job = read_job(record)
        if path == ("id",):
            assert job is None or record.get("id")
        else:
            assert job and job.id == RECORD["id"] and job.age_key
            if path[0] != "spec":
                assert (job.flavor, job.units, job.name) == ("ai1-1-gpu", 2, "add-tea")
            if path[0] != "status":
                assert (job.state, job.exit_code, job.ended) == ("DONE", 0, True)


@given(JSON)
def test_what_json_can_hold_can_be_read(value: Any) -> None:
    """Python's own decoder knows Infinity and NaN."""
    text = json.dumps({"id": "a", "status": {"exitCode": value}, "spec": {"resources": {"gpu": value, "cpu": value}}})
    assert read_job(json.loads(text))


@pytest.mark.parametrize("record", [None, [], "a", 1, {}, {"id": None}, {"id": 7}, {"id": ""}])
def test_without_an_id_there_is_no_job(record: object) -> None:
    assert read_job(record) is None


def test_each_state_is_live_or_ending_or_ended() -> None:
    for state in sorted(KNOWN):
        job = read(state=state)
        assert [job.live, job.ending, job.ended] == [state in LIVE, state in ENDING, state in ENDED]
        assert read(state=state.lower()) == job


@pytest.mark.parametrize("status", [{}, {"state": None}, {"state": "HIBERNATING"}, {"state": 7}])
def test_an_unknown_state_is_live(status: dict[str, Any]) -> None:
    job = read(**status)
    assert job.live and not job.ending and not job.ended


def test_a_job_that_ran_out_of_time_has_ended_once_its_outputs_are_back() -> None:
    assert read(state="TIMEOUT").ending
    assert read(state="TIMEOUT", dataSync=[sync("RUNNING")]).ending
    assert read(state="TIMEOUT", dataSync=[sync("DONE"), sync("RUNNING")]).ending
    assert read(state="TIMEOUT", dataSync=[sync("DONE", direction="pull")]).ending
    assert read(state="TIMEOUT", dataSync=[sync("DONE")]).ended
    assert read(state="TIMEOUT", finalizedAt="2026-07-30T08:45:31Z").ended


def test_a_copy_that_the_user_has_asked_for_is_not_that_of_the_end() -> None:
    assert read(state="TIMEOUT", dataSync=[sync("DONE", manual=True)]).ending
    assert not read(state="RUNNING", dataSync=[sync("FAILED", manual=True)]).push_failed


def test_a_job_that_copies_its_outputs_back_after_a_stop_is_not_live() -> None:
    history = [{"state": "RUNNING"}, {"state": "INTERRUPTING"}, {"state": "FINALIZING"}]
    assert read(state="FINALIZING", history=history).ending
    assert read(state="FINALIZING", history=history[:1]).live
    assert read(state="INTERRUPTED", history=history).ended


@pytest.mark.parametrize(
    ("status", "timed_out"),
    [
        ({"state": "TIMEOUT"}, True),
        ({"state": "INTERRUPTED", "history": [{"state": "TIMEOUT"}, {"state": "INTERRUPTED"}]}, True),
        ({"state": "FAILED", "info": {"code": "JOB_TIMEOUT"}}, True),
        ({"state": "INTERRUPTED", "history": [{"state": "RUNNING"}], "info": {"code": "JOB_INTERRUPTED"}}, False),
        ({"state": "FAILED", "history": ["TIMEOUT", None]}, False),
    ],
)
def test_a_timeout_shows_in_state_history_or_code(status: dict[str, Any], timed_out: bool) -> None:
    assert read(**status).timed_out is timed_out


@pytest.mark.parametrize(
    ("syncs", "failed"),
    [
        ([], False),
        ([sync("DONE")], False),
        ([sync("FAILED")], True),
        ([sync("ERROR")], True),
        ([sync("FAILED"), sync("DONE")], False),
        ([sync("DONE"), sync("FAILED")], True),
        ([sync("DONE"), sync("FAILED", direction="pull")], False),
        ([{"spec": {"direction": "PUSH"}, "status": {"state": "FAILED"}}, "nonsense", {}], True),
    ],
)
def test_only_the_last_copy_back_counts(syncs: list[Any], failed: bool) -> None:
    assert read(state="DONE", dataSync=syncs).push_failed is failed


def test_units_are_gpus_or_else_cpus() -> None:
    for resources, units in (({"gpu": 2, "cpu": 26}, 2), ({"gpu": 0, "cpu": 3}, 3), ({"cpu": "3"}, 3), ({}, 0)):
        job = read_job({"id": "a", "spec": {"resources": resources}})
        assert job and job.units == units


def test_the_order_of_age_is_total() -> None:
    early, late, unknown = (
        read_job({"id": id, "createdAt": created})
        for id, created in (("b", "2026-07-30T08:45:01Z"), ("a", "2026-07-30T08:45:02Z"), ("c", None))
    )
    assert early and late and unknown
    assert sorted([late, early, unknown], key=lambda job: job.age_key) == [unknown, early, late]
    queued = read_job({"id": "d", "status": {"queuedAt": "2026-07-30T08:45:01Z"}})
    assert queued and queued.age_key == (early.created_at, "d")


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7", 7), (" 7 ", 7), (None, None), ("", None), ("x", None), ([], None), (float("inf"), None)],
)
def test_numbers(value: object, number: int | None) -> None:
    assert read_int(value) == number


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-07-30T08:45:01Z", datetime(2026, 7, 30, 8, 45, 1, tzinfo=UTC)),
        ("2026-07-30T08:45:01.123456789Z", datetime(2026, 7, 30, 8, 45, 1, 123456, tzinfo=UTC)),
        ("2026-02-30T08:45:01Z", None),
        ("2026-07-30", None),
        ("", None),
        (None, None),
        (1753865101, None),
    ],
)
def test_times(value: object, time: datetime | None) -> None:
    assert read_time(value) == time
