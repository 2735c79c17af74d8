"""Which results are taken: a pure look at one job, its outputs, and what the records say of them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from snakemake_executor_plugin_ovhai import snakemake_records
from snakemake_executor_plugin_ovhai.bucket import Bucket, ObjectInfo
from snakemake_executor_plugin_ovhai.completion import Completion
from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.provenance import Provenance
from snakemake_executor_plugin_ovhai.volumes import StoredFile

BEGIN = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FILE = StoredFile("bucket", "work/results/mesh.ply", "results/mesh.ply")


class FakeTask:
    fingerprint = "print"


def make_job(name: str, state: str, begin: int, end: int, skew: int = 0) -> Job:
    """begin, end: minutes since BEGIN by the bucket's clock. skew: minutes that the platform's clock is ahead."""
    times = [BEGIN + timedelta(minutes=minutes) for minutes in (begin, end)]
    labels = {"snakemake-submitted": str(int(times[0].timestamp())), "snakemake-fingerprint": "print"}
    created, finalized = (time + timedelta(minutes=skew) for time in times)
    return Job(name, state, created, labels=labels, finalized_at=finalized)


def is_taken(job: Job, rivals: list[Job], minutes: int, records: Provenance | None = None) -> bool:
    """minutes: when the output was written."""
    nothing: Any = None
    completion = Completion(Bucket(None), nothing, nothing, [], records)
    info = ObjectInfo('"abc" 3', BEGIN + timedelta(minutes=minutes))
    task: Any = FakeTask()
    return completion.is_result(task, job, rivals, FILE, info)


def make_records(version: str, *work: str) -> Provenance:
    records = Provenance(Bucket(None), "bucket", "work")
    records.add(FILE.uri, ObjectInfo(f'"{version}" 3', BEGIN), work, {})
    return records


@pytest.mark.parametrize("skew", [-120, 0, 120])
def test_half_a_file_of_a_later_job_that_failed_is_not_taken_for_the_earlier_result(skew: int) -> None:
    good = make_job("good", "DONE", 0, 10, skew)
    lost = make_job("lost", "ERROR", 60, 70, skew)
    assert not is_taken(good, [good, lost], minutes=65)
    assert is_taken(good, [good, lost], minutes=10)


def test_the_loser_of_two_heads_spoils_nothing() -> None:
    winner, loser = make_job("winner", "DONE", 0, 10), make_job("loser", "INTERRUPTED", 0, 1)
    assert is_taken(winner, [winner, loser], minutes=10)


RECORDS: dict[str, tuple[Callable[[], Provenance], bool]] = {
    "the same work made this version": (lambda: make_records("abc", "print", "job"), True),
    "other work made this version": (lambda: make_records("abc", "other", "other-job"), False),
    "this job made another version": (lambda: make_records("xyz", "print", "job"), False),
    "the same work made another version in an earlier job": (lambda: make_records("xyz", "print", "earlier"), True),
    "a step on the head made this version, or somebody accepted it": (lambda: make_records("abc"), True),
    "there is no record": (lambda: Provenance(Bucket(None), "bucket", "work"), True),
}


@pytest.mark.parametrize("case", RECORDS)
def test_records_tell_whose_result_an_object_is(case: str) -> None:
    make, expected = RECORDS[case]
    job = make_job("job", "DONE", 0, 10)
    assert is_taken(job, [job], 10, make()) is expected


def test_this_snakemake_fits() -> None:
    snakemake_records.attach()
    assert snakemake_records.fits()


def test_another_snakemake_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from snakemake import workflow
    from snakemake.persistence.file import FilePersistence

    monkeypatch.setattr(workflow, "FilePersistence", FilePersistence)
    for reads in (
        {"snakemake.dag.DAG.update_needrun": ("a line that it has no more",)},
        {"snakemake.dag.DAG.gone": ()},
        {"snakemake.dag.Gone.update_needrun": ()},
    ):
        monkeypatch.setattr(snakemake_records, "READS", reads)
        snakemake_records.attach()
        assert "do not travel with the bucket" in " ".join(capsys.readouterr().err.split())
        assert workflow.FilePersistence is FilePersistence
