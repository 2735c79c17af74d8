"""Provenance travels with the results: the bucket has Snakemake's records of all outputs that are in it.

A record says how a file was made: command, params, inputs, and the versions of the inputs. It belongs to one version of
the object, that is, to its ETag and size. Once the object is another one, the record describes it no longer.

Many records share one object, a pack, so that a start reads thousands of them with few requests:

* A head writes only packs of its own. So two heads never overwrite each other's records.
* A pack is written again with each new record. When it is full, or has not been written for a while, the next begins.
* A start that finds many packs writes one with the content of all, and then removes them. It leaves those alone that
  a head may still write.
"""

import functools
import gzip
import json
import posixpath
import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlparse

from .bucket import Bucket, BucketError, ObjectInfo, SilenceError
from .volumes import StoredFile

FULL = 100  # records
IDLE = 1800.0  # seconds after which a head begins another pack
SETTLED = 7200.0  # seconds since a pack was written, after which no head writes it any more
MANY = 20  # packs
CALLS = 8  # at a time
RECENT = 600.0  # seconds; a server whose listings lag behind has caught up with them by then
LATE = 100  # objects; if more are not what they were, somebody has removed them
LISTS = 5  # a pack may vanish between the list and the call, since another head has put it together with others
WORKS = 40  # fingerprints and ids of jobs that are kept for one version


@dataclass(frozen=True)
class Entry:
    """One of Snakemake's records, and what it describes.

    version   of the object (ObjectInfo.version); empty if it is not known which one the job made
    work      fingerprints and ids of the jobs that made exactly this version; none if it was made on the head
    time      when the record was written, in seconds since 1970 by the clock of its head
    """

    uri: str
    version: str
    work: tuple[str, ...]
    time: float
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """What a job of the platform made.

    info     the object; None if another job may have replaced it
    work     fingerprint and id of the job
    inputs   their versions by path
    """

    info: ObjectInfo | None
    work: tuple[str, ...]
    inputs: Mapping[str, str]


class Provenance:
    """The records of one workflow. Several threads may use it.

    BucketError if the bucket does not answer. What could not be written is written with the next record.
    """

    def __init__(self, bucket: Bucket, name: str, root: str) -> None:
        """name: of the bucket. root: prefix of all files of the workflow."""
        self.bucket, self.name = bucket, name
        self.prefix = normalise(root) + "/" if root.strip("/") else ""
        self.start = f"s3://{name}/{self.prefix}"
        self.folder = f"{self.prefix}.ovhai/records/"
        self.lock = threading.RLock()
        self.loaded = False
        self.objects: dict[str, ObjectInfo] = {}  # by URI, as they were when this run was planned, or as it made them
        self.entries: dict[str, dict[str, Entry]] = {}  # by URI and version
        self.works: set[str] = set()  # fingerprints, and ids of jobs
        self.packs: dict[str, ObjectInfo] = {}  # those that have been read
        self.made: dict[str, Made] = {}  # by URI: what Snakemake is about to record
        self.own: list[Entry] = []  # content of the pack that this head writes
        self.own_key = self.make_key()
        self.written_at = time.monotonic()
        self.unwritten = False

    # Reading ---------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """One listing of the workflow's objects, and all packs. Only the first call does anything."""
        if self.loaded:
            return
        with self.lock:
            if self.loaded:
                return
            found = dict(self.bucket.list_objects(self.name, self.prefix))
            self.objects = {f"s3://{self.name}/{key}": info for key, info in found.items()}
            self.read_packs({key: info for key, info in found.items() if key.startswith(self.folder)})
            self.look_again()
            self.loaded = True

    def look_again(self) -> None:
        """Ask for objects that the freshest records describe otherwise than the listing: it may be late."""
        begin = time.time() - RECENT
        last = [max(known.values(), key=lambda entry: entry.time) for known in self.entries.values()]
        fresh = [
            entry for entry in last if entry.time > begin and entry.version not in ("", self.get_version(entry.uri))
        ]
        for entry in sorted(fresh, key=lambda entry: entry.time)[-LATE:]:
            info = self.look_up(entry.uri)
            if info:
                self.objects[entry.uri] = info
            else:
                self.objects.pop(entry.uri, None)

    def read_packs(self, listed: Mapping[str, ObjectInfo]) -> None:
        for _ in range(LISTS):
            new = [key for key in listed if key not in self.packs]
            contents = self.get_all(new)
            for key, content in zip(new, contents, strict=True):
                if content is not None:
                    self.packs[key] = listed[key]
                    for entry in unpack(content):
                        self.merge(entry)
            if None not in contents:
                return
            listed = dict(self.bucket.list_objects(self.name, self.folder))
        raise BucketError(f"s3://{self.name}/{self.folder}: the records change faster than they can be read")

    def get_all(self, keys: Sequence[str]) -> list[bytes | None]:
        """Their contents, None where an object has vanished. What is not answered is asked for again by the thread that
        calls this: if it is the main one, it waits for the bucket (patience.py)."""
        with ThreadPoolExecutor(CALLS) as pool:
            answers = list(pool.map(self.try_to_get, keys))
        return [
            self.bucket.get(self.name, key) if silent else content
            for key, (content, silent) in zip(keys, answers, strict=True)
        ]

    def try_to_get(self, key: str) -> tuple[bytes | None, bool]:
        """The content, and whether there was no answer."""
        try:
            return self.bucket.get(self.name, key), False
        except SilenceError:
            return None, True

    def merge(self, entry: Entry) -> None:
        """Two records of the same content become one: the later, with the work of both."""
        known = self.entries.setdefault(entry.uri, {})
        if old := known.get(entry.version):
            work = tuple(dict.fromkeys([*old.work, *entry.work]))[-WORKS:]
            entry = replace(max(old, entry, key=lambda either: either.time), work=work)
        known[entry.version] = entry
        self.works |= set(entry.work)

    def covers(self, query: str) -> bool:
        return get_uri(query).startswith(self.start)

    def get_version(self, uri: str) -> str | None:
        """None if there is no such object."""
        info = self.objects.get(uri)
        return info.version if info else None

    def find(self, uri: str) -> Entry | None:
        """The record of the object as it is, or, if it is gone, of the last one."""
        known = self.entries.get(uri, {})
        version = self.get_version(uri)
        if version is not None:
            return known.get(version)
        return max(known.values(), key=lambda entry: entry.time, default=None)

    def is_made_by(self, uri: str, version: str, *works: str) -> bool | None:
        """Whether one of these jobs, by fingerprint or id, makes this version of an object. None if no record tells."""
        entry = self.entries.get(uri, {}).get(version)
        return not set(works).isdisjoint(entry.work) if entry and entry.work else None

    def knows(self, *works: str) -> bool:
        """Whether any object was made by one of these jobs, by fingerprint. This asks nobody."""
        return not self.works.isdisjoint(works)

    def has_other_version(self, uri: str, version: str, work: str) -> bool:
        """Whether the job with this id has made another version of an object."""
        return any(work in entry.work for entry in self.entries.get(uri, {}).values() if entry.version != version)

    def look_up(self, uri: str) -> ObjectInfo | None:
        """The object as it is now."""
        return self.bucket.get_info(StoredFile(self.name, uri.removeprefix(f"s3://{self.name}/"), ""))

    # Writing ---------------------------------------------------------------------------------------------------------

    def note(self, made: Mapping[str, Made]) -> None:
        """By URI. Snakemake's records of these outputs follow."""
        with self.lock:
            self.made |= made

    def add(self, uri: str, info: ObjectInfo | None, work: Collection[str], record: Mapping[str, Any]) -> None:
        """info: the object that the record describes; None if that is not known. flush() writes it."""
        with self.lock:
            if info:
                self.objects[uri] = info
            entry = Entry(uri, info.version if info else "", tuple(work), time.time(), record)
            self.merge(entry)
            if not self.unwritten and (len(self.own) >= FULL or time.monotonic() - self.written_at > IDLE):
                self.own, self.own_key = [], self.make_key()
            self.own.append(self.entries[uri][entry.version])
            self.unwritten = True

    def flush(self) -> None:
        with self.lock:
            if self.unwritten:
                self.bucket.put(self.name, self.own_key, pack(self.own))
                self.written_at, self.unwritten = time.monotonic(), False

    def compact(self) -> None:
        """Put many packs into one. Whenever this is cut off, no record is lost."""
        with self.lock:
            if len(self.packs) <= MANY:
                return
            now = self.bucket.get_time(self.name)
            settled = [key for key, info in self.packs.items() if (now - info.modified).total_seconds() > SETTLED]
            if len(settled) <= MANY:
                return
            self.bucket.put(self.name, self.make_key(), pack(self.list_useful()))
            self.bucket.remove_all(self.name, settled)
            for key in settled:
                del self.packs[key]

    def list_useful(self) -> Iterator[Entry]:
        """The records of the objects as they are, and the last one of each."""
        for uri, known in self.entries.items():
            last = max(known.values(), key=lambda entry: entry.time)
            yield from {entry.version: entry for entry in (self.find(uri), last) if entry}.values()

    def make_key(self) -> str:
        return f"{self.folder}{uuid.uuid4().hex}.jsonl.gz"


@functools.lru_cache(maxsize=1 << 18)  # a plan asks dozens of times for each file
def get_uri(query: str) -> str:
    """As the storage plugin finds the object: slashes that stand twice count once."""
    parsed = urlparse(query)
    return f"{parsed.scheme}://{parsed.netloc}/{normalise(parsed.path)}"


def normalise(path: str) -> str:
    return posixpath.normpath(path.lstrip("/")).rstrip("/")


def pack(entries: Iterable[Entry]) -> bytes:
    """One line of JSON for each."""
    return gzip.compress("".join(f"{json.dumps(vars(entry))}\n" for entry in entries).encode())


def unpack(content: bytes) -> Iterator[Entry]:
    """Whatever is not an entry is left out: what a record would have told counts as unknown."""
    try:
        lines = gzip.decompress(content).decode().splitlines()
    except (OSError, EOFError, ValueError):
        return
    for line in lines:
        try:
            fields = json.loads(line)
            yield Entry(
                str(fields["uri"]),
                str(fields["version"]),
                tuple(map(str, fields["work"])),
                float(fields["time"]),
                dict(fields["record"]),
            )
        except (ValueError, KeyError, TypeError):
            continue
