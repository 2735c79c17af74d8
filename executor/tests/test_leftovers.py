"""leftovers.py: which job a file in the bucket dates from."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.leftovers import find_failed_writer

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def make(id: str, state: str, begin: float, end: float) -> Job:
    """begin and end: minutes."""
    submitted = BEGIN + timedelta(minutes=begin)
    labels = {"snakemake-submitted": str(int(submitted.timestamp())), "snakemake-workflow": "w"}
    labels |= {"snakemake-rule": "frames-poses", "snakemake-wildcard-scene": "a"}
    return Job(id, state, submitted, labels=labels, finalized_at=BEGIN + timedelta(minutes=end))


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def test_a_file_dates_from_the_failed_job_in_whose_time_it_was_written() -> None:
    failed = make("a", "ERROR", 0, 10)
    assert find_failed_writer(at(9), [failed]) == failed
    assert find_failed_writer(at(10.5), [failed]) == failed  # clocks differ a little
    assert find_failed_writer(at(12), [failed]) is None  # somebody else, later
    assert find_failed_writer(at(-1), [failed]) is None  # from before
    assert find_failed_writer(at(9), [replace(failed, finalized_at=None)]) is None  # nobody knows: it stays


def test_a_job_that_ended_well_may_have_written_it() -> None:
    failed, good = make("a", "INTERRUPTED", 0, 10), make("b", "DONE", 1, 9)
    assert find_failed_writer(at(8), [failed, good]) is None
    assert find_failed_writer(at(8), [failed, replace(good, push_failed=True)]) is not None
    assert find_failed_writer(at(8), [failed, replace(good, state="RUNNING")]) == failed
