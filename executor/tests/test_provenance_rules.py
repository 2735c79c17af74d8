"""Which results are taken: a pure look at one job, its outputs, and what the records say of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_ovhai import snakemake_records
from snakemake_executor_plugin_ovhai.bucket import Bucket, BucketError, ObjectInfo
from snakemake_executor_plugin_ovhai.completion import Completion
from snakemake_executor_plugin_ovhai.decision import Claim, is_contested
from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.provenance import Provenance
from snakemake_executor_plugin_ovhai.snakemake_records import BucketRecords, make_record
from snakemake_executor_plugin_ovhai.volumes import StoredFile

BEGIN = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FILE = StoredFile("bucket", "work/results/mesh.ply", "results/mesh.ply")


class FakeTask:
    fingerprint = "print"
    outputs: dict[str, str] = {}


def make_job(name: str, state: str, begin: int, end: int, skew: int = 0) -> Job:
    """begin, end: minutes since BEGIN by the bucket's clock. skew: minutes that the platform's clock is ahead."""
    times = [BEGIN + timedelta(minutes=minutes) for minutes in (begin, end)]
    labels = {"snakemake-submitted": str(int(times[0].timestamp())), "snakemake-fingerprint": "print"}
    created, finalized = (time + timedelta(minutes=skew) for time in times)
    return Job(name, state, created, labels=labels, finalized_at=finalized)


def is_taken(job: Job, rivals: list[Job], minutes: int, records: Provenance | None = None) -> bool:
    """minutes: when the output was written."""
    nothing: Any = None
    completion = Completion(Bucket(None), nothing, nothing, [], None, records)
    info = ObjectInfo('"abc" 3', BEGIN + timedelta(minutes=minutes), 3)
    task: Any = FakeTask()
    return completion.is_result(task, job, rivals, FILE, info)


def make_records(version: str, *work: str) -> Provenance:
    records = Provenance(Bucket(None), "bucket", "work")
    records.add(FILE.uri, ObjectInfo(f'"{version}" 3', BEGIN, 3), work, {})
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


def test_an_output_that_later_work_may_have_replaced_gets_no_record() -> None:
    """Two heads with different settings: the other's job may have ended before this head looked."""
    mine = make_job("mine", "DONE", 0, 10)
    other = make_job("other", "DONE", 5, 11)
    claim = Claim("target", "print")

    def label(job: Job, **labels: str) -> Job:
        return replace(job, labels={f"snakemake-{name}": value for name, value in labels.items()})

    mine = label(mine, target="target", fingerprint="print")
    assert is_contested(claim, mine, [mine, label(other, target="target", fingerprint="else")])
    assert not is_contested(claim, mine, [mine, label(other, target="target", fingerprint="print")])
    assert not is_contested(claim, mine, [mine, label(other, target="elsewhere", fingerprint="else")])
    earlier = label(make_job("earlier", "DONE", -5, -1), target="target", fingerprint="else")
    assert not is_contested(claim, mine, [mine, earlier])


class Local:
    """Snakemake's own persistence, as far as the layer calls it."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}

    def _read_record(self, key: str) -> Any:
        return self.records.get(key)

    def _write_record(self, key: str, record: Any) -> None:
        self.records[key] = record

    def deactivate_cache(self) -> None:
        pass


class Persistence(BucketRecords, Local):
    pass


def make_persistence(monkeypatch: pytest.MonkeyPatch, endtime: float) -> Persistence:
    """The folder has a record of the file, and the bucket has none. What is written is kept in memory."""
    persistence = Persistence()
    records = Provenance(Bucket(None), "bucket", "work")
    records.loaded = True
    records.objects[FILE.uri] = ObjectInfo('"abc" 3', BEGIN, 3)
    persistence.provenance = records
    persistence.records[FILE.uri] = make_record(rule="mesh", endtime=endtime, record_format_version=6)
    monkeypatch.setattr(Bucket, "put", lambda *_: None)
    return persistence


def fail(*_: object) -> None:
    raise BucketError("s3://bucket: 503")


@pytest.mark.parametrize("seconds", [0.0, 0.7, -1.5, 3600.0])
def test_a_local_record_counts_if_its_object_has_its_date(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """S3 tells seconds or parts of them. When the run begins, the record goes into the bucket."""
    fits = abs(seconds) < 1
    persistence = make_persistence(monkeypatch, BEGIN.timestamp() + seconds)
    assert (persistence._read_record(FILE.uri) is not None) is fits
    persistence.deactivate_cache()
    assert persistence.provenance and (persistence.provenance.find(FILE.uri) is not None) is fits


def test_what_is_put_in_place_of_a_result_within_a_second_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder has the same record as the bucket, which describes another version."""
    persistence = make_persistence(monkeypatch, BEGIN.timestamp())
    assert persistence.provenance
    record = {"rule": "mesh", "endtime": BEGIN.timestamp()}
    persistence.provenance.add(FILE.uri, ObjectInfo('"abc" 3', BEGIN, 3), (), record)
    assert persistence._read_record(FILE.uri) is not None
    persistence.provenance.objects[FILE.uri] = ObjectInfo('"mine" 4', BEGIN + timedelta(seconds=0.9), 4)
    assert persistence._read_record(FILE.uri) is None and persistence.unsaved == {}


def test_a_local_record_has_the_date_of_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake's own is that of a step on the head, which may have waited for its upload."""
    persistence = make_persistence(monkeypatch, 0)
    monkeypatch.setattr(Bucket, "get_info", lambda *_: ObjectInfo('"abc" 3', BEGIN, 3))
    persistence._write_record(FILE.uri, make_record(rule="region", endtime=BEGIN.timestamp() - 40))
    assert persistence.provenance
    persistence.provenance.entries.clear()  # the bucket has lost the record, or never got it
    assert persistence._read_record(FILE.uri) is not None


def test_an_outage_after_a_job_costs_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    persistence = make_persistence(monkeypatch, 0)
    persistence.deactivate_cache()  # a run begins
    monkeypatch.setattr(Bucket, "get_info", fail)
    monkeypatch.setattr(Bucket, "put", fail)
    record = make_record(rule="mesh", endtime=BEGIN.timestamp())
    persistence._write_record(FILE.uri, record)
    persistence.save()
    assert persistence.records[FILE.uri] is record and persistence._read_record(FILE.uri) is record


def test_what_is_accepted_is_written_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a run, such as videomesh-accept, nobody writes it later."""
    persistence = make_persistence(monkeypatch, 0)
    monkeypatch.setattr(Bucket, "get_info", fail)
    with pytest.raises(WorkflowError, match="could not be written into the bucket"):
        persistence._write_record(FILE.uri, make_record(rule="mesh"))


def test_records_that_cannot_be_read_are_no_reason_to_plan_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    persistence = make_persistence(monkeypatch, 0)
    assert persistence.provenance
    persistence.provenance.loaded = False
    monkeypatch.setattr(Bucket, "list_objects", fail)
    with pytest.raises(WorkflowError, match=r"(?s)cannot be read, so nothing can be planned.*doctor"):
        persistence._read_record(FILE.uri)
    persistence._read_record("deliver/a.txt")  # none of the bucket's
