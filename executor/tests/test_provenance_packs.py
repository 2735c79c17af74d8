"""Records in the bucket: many in one object, several heads, calls that fail. A real S3 server counts the requests."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import s3_server
from snakemake_executor_plugin_ovhai import provenance as module
from snakemake_executor_plugin_ovhai.bucket import Bucket, BucketError, ObjectInfo
from snakemake_executor_plugin_ovhai.provenance import Entry, Provenance, get_uri, pack

NOW = datetime.now(UTC)
RECORD = {"rule": "mesh", "shellcmd": "python3 programs/mesh.py --resolution 512 " * 20, "params": ["'512'"] * 10}


class Counted:
    """A client of the server, and the requests that it has sent."""

    def __init__(self, s3: s3_server.S3Server) -> None:
        self.client = s3.client()
        self.sent: list[str] = []
        self.client.meta.events.register("before-send.s3", self.count)

    def count(self, request: Any, **_: Any) -> None:
        listed = "list-type=2" in request.url
        self.sent.append("LIST" if listed else request.method)


@pytest.fixture
def counted(s3: s3_server.S3Server) -> Counted:
    return Counted(s3)


@pytest.fixture
def store(counted: Counted, bucket: str) -> Iterator[Any]:
    """Makes another head's view of the records of one workflow."""
    yield lambda: Provenance(Bucket(counted.client), bucket, "work")


def uri(bucket: str, name: object) -> str:
    return f"s3://{bucket}/work/results/{name}.txt"


def put(counted: Counted, bucket: str, name: str, content: str) -> ObjectInfo:
    counted.client.put_object(Bucket=bucket, Key=f"work/results/{name}.txt", Body=content.encode())
    info = Provenance(Bucket(counted.client), bucket, "work").look_up(uri(bucket, name))
    assert info
    return info


def info_of(text: str) -> ObjectInfo:
    return ObjectInfo(f'"{text}" 3', NOW, 3)


def test_ten_thousand_records_are_read_with_one_listing_and_few_requests(
    store: Any, counted: Counted, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in range(0, 10_000, 100):
        writer = store()
        for number in range(first, first + 100):
            writer.add(uri(bucket, number), info_of("abc"), ("work",), RECORD)
        writer.flush()

    monkeypatch.setattr(module, "RECENT", -60)  # as if they were written long ago: their objects are not there
    counted.sent.clear()
    reader = store()
    reader.load()
    assert len(reader.entries) == 10_000
    assert counted.sent.count("LIST") == 1 and counted.sent.count("GET") == 100 and len(counted.sent) == 101

    monkeypatch.setattr(module, "SETTLED", -60)  # as if no head wrote any of them for hours
    reader.compact()
    counted.sent.clear()
    reader = store()
    reader.load()
    assert len(reader.entries) == 10_000
    assert counted.sent == ["LIST", "GET"]


def test_a_record_describes_one_version_only(store: Any, counted: Counted, bucket: str) -> None:
    writer = store()
    writer.add(uri(bucket, "a"), put(counted, bucket, "a", "one"), (), RECORD)
    writer.flush()

    def find() -> Entry | None:
        reader = store()
        reader.load()
        found: Entry | None = reader.find(uri(bucket, "a"))
        return found

    entry = find()
    assert entry and entry.record == RECORD
    put(counted, bucket, "a", "two")
    assert find() is None
    put(counted, bucket, "a", "one")
    assert find() is not None, "a newer date alone changes nothing"
    counted.client.delete_object(Bucket=bucket, Key="work/results/a.txt")
    assert find() is not None, "as in Snakemake's own records, which know files that are gone"


def test_a_record_of_an_unknown_version_describes_nothing(store: Any, counted: Counted, bucket: str) -> None:
    put(counted, bucket, "a", "one")
    writer = store()
    writer.add(uri(bucket, "a"), None, ("work",), RECORD)
    writer.flush()
    reader = store()
    reader.load()
    assert reader.find(uri(bucket, "a")) is None


def test_the_same_content_made_by_different_work_is_known_for_both(store: Any, bucket: str) -> None:
    for work in ("old", "new"):
        writer = store()
        writer.add(uri(bucket, "a"), info_of("same"), (work, f"job-{work}"), {**RECORD, "rule": work})
        writer.flush()
    reader = store()
    reader.load()
    entry = reader.find(uri(bucket, "a"))
    assert entry.record["rule"] == "new", "the later one"
    assert all(reader.is_made_by(uri(bucket, "a"), "same 3", work) for work in ("old", "new"))
    assert reader.is_made_by(uri(bucket, "a"), "same 3", "third") is False
    assert reader.is_made_by(uri(bucket, "a"), "other 3", "old") is None
    assert reader.has_other_version(uri(bucket, "a"), "other 3", "job-old")


def test_two_heads_never_overwrite_each_other(store: Any, bucket: str) -> None:
    heads = [store(), store()]
    for head in heads:
        head.load()
    for number in range(6):
        head = heads[number % 2]
        head.add(uri(bucket, number), info_of("abc"), (), RECORD)
        head.flush()
    reader = store()
    reader.load()
    assert len(reader.entries) == 6 and len(reader.packs) == 2


def test_a_full_pack_is_followed_by_another(store: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL", 3)
    writer = store()
    for number in range(7):
        writer.add(uri(bucket, number), info_of("abc"), (), RECORD)
        writer.flush()
    reader = store()
    reader.load()
    assert len(reader.entries) == 7 and len(reader.packs) == 3


def test_what_could_not_be_written_is_written_with_the_next(
    store: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FULL", 2)
    writer = store()

    def fail(*_: object) -> None:
        raise BucketError("503")

    for number in range(5):
        writer.add(uri(bucket, number), info_of("abc"), (), RECORD)
        with monkeypatch.context() as outage, pytest.raises(BucketError):
            outage.setattr(writer.bucket, "put", fail)
            writer.flush()
    writer.add(uri(bucket, 5), info_of("abc"), (), RECORD)
    writer.flush()
    reader = store()
    reader.load()
    assert len(reader.entries) == 6


@pytest.mark.parametrize("cut", ["put", "remove_all"])
def test_nothing_is_lost_when_packs_are_put_together(
    store: Any, bucket: str, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """The head dies before the new pack is written, or before the old ones are removed."""
    monkeypatch.setattr(module, "MANY", 3)
    monkeypatch.setattr(module, "SETTLED", -60)
    for number in range(8):
        writer = store()
        writer.add(uri(bucket, number), info_of("abc"), ("work",), RECORD)
        writer.flush()
    head = store()
    head.load()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as death, pytest.raises(KeyboardInterrupt):
        death.setattr(head.bucket, cut, die)
        head.compact()
    for packs in (8 + (cut == "remove_all"), 1):
        reader = store()
        reader.load()
        assert len(reader.entries) == 8 and len(reader.packs) == packs
        reader.compact()


def test_a_pack_that_a_head_may_still_write_is_left_alone(
    store: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY", 3)
    for number in range(8):
        writer = store()
        writer.add(uri(bucket, number), info_of("abc"), (), RECORD)
        writer.flush()
    reader = store()
    reader.load()
    reader.compact()
    reader = store()
    reader.load()
    assert len(reader.packs) == 8


def test_packs_that_vanish_while_they_are_read(store: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another head puts them together between this head's listing and its first call."""
    monkeypatch.setattr(module, "MANY", 3)
    monkeypatch.setattr(module, "SETTLED", -60)
    for number in range(8):
        writer = store()
        writer.add(uri(bucket, number), info_of("abc"), (), RECORD)
        writer.flush()
    other, reader = store(), store()
    other.load()
    get, once = reader.bucket.get, threading.Lock()

    def get_late(*arguments: str) -> bytes | None:
        with once:
            other.compact()
        content: bytes | None = get(*arguments)
        return content

    monkeypatch.setattr(reader.bucket, "get", get_late)
    reader.load()
    assert len(reader.entries) == 8


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", pack([])[:5], pack([]) + b"x", b"\x1f\x8b"],
    ids=["empty", "no gzip", "cut", "more", "two bytes"],  # a pack holds the time, which workers must not differ in
)
def test_a_pack_that_cannot_be_read_counts_for_nothing(
    store: Any, counted: Counted, bucket: str, content: bytes
) -> None:
    counted.client.put_object(Bucket=bucket, Key="work/.ovhai/records/broken.jsonl.gz", Body=content)
    reader = store()
    reader.load()
    assert reader.entries == {}


def test_names_as_the_storage_plugin_reads_them() -> None:
    assert get_uri("s3://bucket//a//b/../c.txt") == "s3://bucket/a/c.txt"
    provenance = Provenance(Bucket(None), "bucket", "a//b/")
    assert provenance.covers("s3://bucket/a/b/c.txt") and provenance.covers("s3://bucket/a//b/c.txt")
    assert not provenance.covers("s3://bucket/a/bc/c.txt") and not provenance.covers("s3://other/a/b/c.txt")
    assert not provenance.covers("deliver/a.txt")
    assert Provenance(Bucket(None), "bucket", "").covers("s3://bucket/c.txt")


def test_a_listing_that_lags_behind_is_not_believed(store: Any, counted: Counted, bucket: str) -> None:
    """Some S3 servers list for a while what was there before."""
    old, gone = put(counted, bucket, "changed", "one"), put(counted, bucket, "removed", "one")
    writer = store()
    for name in ("new", "changed"):
        writer.add(uri(bucket, name), put(counted, bucket, name, "two"), (), RECORD)
    writer.add(uri(bucket, "removed"), info_of("other"), (), RECORD)
    counted.client.delete_object(Bucket=bucket, Key="work/results/removed.txt")
    writer.flush()

    reader = store()
    list_objects = reader.bucket.list_objects

    def list_late(name: str, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        late = {"work/results/changed.txt": old, "work/results/removed.txt": gone}
        for key, info in list_objects(name, prefix):
            if not key.endswith("new.txt"):
                yield key, late.pop(key, info)
        yield from late.items()

    reader.bucket.list_objects = list_late
    reader.load()
    assert reader.find(uri(bucket, "new")) and reader.find(uri(bucket, "changed"))
    assert reader.get_version(uri(bucket, "removed")) is None


def test_many_objects_that_somebody_has_removed_are_not_all_asked_for(
    store: Any, counted: Counted, bucket: str
) -> None:
    writer = store()
    for number in range(300):
        writer.add(uri(bucket, number), info_of("gone since"), (), RECORD)
    writer.flush()
    counted.sent.clear()
    store().load()
    assert counted.sent == ["LIST", "GET", *["HEAD"] * module.LATE]
