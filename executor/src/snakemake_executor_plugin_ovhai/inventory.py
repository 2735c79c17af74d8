"""Snakemake plans by one listing of the workflow's objects. Alone, it asks for each object in turn, three times.

While it plans, Snakemake keeps what it knows about files in a cache, and the cache has a place for inventories. But
Snakemake 9.27.1 begins one only at the inputs of the target rule, and its S3 storage plugin then lists one folder. So
the cache is filled here, just before the plan.

* The listing is good for the plan alone. Before the first job, Snakemake throws the cache away and asks for each object
  anew.
* What the listing lacks does not exist. What lies elsewhere, such as videos in another bucket, is asked for as before,
  until several questions are about one folder. Then that folder is listed.
* A listing answers as the plugin does. Dates are in whole seconds, as in the answer about one object. A folder is as
  old as its newest object.
* The records of results (provenance.py) need the same listing, so one serves both.
"""

import contextlib
import functools
import itertools
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import botocore.parsers
import botocore.utils

from .bucket import Bucket, BucketError, ObjectInfo
from .outage import tell
from .provenance import normalise
from .snakemake_records import has_lines, load

# What this module stands on: function -> lines that it must have.
READS: dict[str, tuple[str, ...]] = {
    "snakemake.workflow.Workflow._build_dag": ("self.async_run(self.dag.init())",),
    "snakemake.workflow.Workflow.execute": ("self._build_dag()", "self.iocache.deactivate()"),
    "snakemake.io.IOCache.deactivate": ("self.clear()", "self.active = False"),
    "snakemake.io.IOCache.clear": ("self.mtime.clear()", "self.size.clear()", "self.exists_in_storage.clear()"),
    "snakemake.io.ExistsDict.__contains__": (
        "parent = path.get_inventory_parent()",
        "return parent in self.has_inventory or super().__contains__(path)",
    ),
    "snakemake.io.ExistsDict.__getitem__": ("return self.get(path, False)",),
    "snakemake.io._IOFile.get_inventory_parent": ("return self.storage_object.get_inventory_parent()",),
    "snakemake.io._IOFile.exists_in_storage": ("@iocache", "return await self.storage_object.managed_exists()"),
    "snakemake.io._IOFile.mtime": ("if self.rule.workflow.iocache.active:", "if self in cache.mtime:"),
    "snakemake_storage_plugin_s3.StorageObject.__post_init__": (
        "parsed = urlparse(self.query)",
        'self.key = posixpath.normpath(parsed.path.lstrip("/"))',
    ),
    "snakemake_storage_plugin_s3.StorageObject._local_suffix_from_key": ('return f"{self.bucket}/{key}"',),
    "snakemake_storage_plugin_s3.StorageObject.exists": (
        "self.s3obj().load()",
        "if self.bucket_exists() and self.is_dir():",
    ),
    "snakemake_storage_plugin_s3.StorageObject.mtime": (
        "return max(item.last_modified.timestamp() for item in self.get_subkeys())",
        "return self.s3obj().last_modified.timestamp()",
    ),
    "snakemake_storage_plugin_s3.StorageObject.size": ("return sum(item.size for item in self.get_subkeys())",),
    "snakemake_interface_storage_plugins.storage_object.StorageObjectRead.managed_size": (
        "return self.size()",
        "self._raise_object_not_found_if_not_exists()",
    ),
    "snakemake_storage_plugin_s3.StorageObject.get_subkeys": ('if item.key != prefix and not item.key.endswith("/")',),
}
SLOW = "Planning is slow, because Snakemake asks for each object in turn: {}."


FEW = 10  # questions about a folder outside of the prefix, which are fewer than a listing may cost
PARSED = 1 << 18  # names; Snakemake goes round all of them several times, so a cache that is too small is none
MOST = 10_000  # objects below such a folder; one that holds more is not listed

Key = str  # of an object in its bucket


@dataclass
class Found:
    """What an object, or a folder of objects, looks like. time: seconds since 1970."""

    time: float
    size: int  # bytes


def attach() -> None:
    """Before Snakemake plans. A second call does nothing."""
    import snakemake.api  # noqa: F401 - before snakemake.dag, which imports it too
    from snakemake.dag import DAG

    try:
        import snakemake_storage_plugin_s3
    except ImportError:
        return  # the executor says what it needs

    StorageObject = snakemake_storage_plugin_s3.StorageObject
    init = DAG.init
    if getattr(init, "fills_inventory", False):
        return
    if not has_lines(READS):
        tell("warning", SLOW.format("the executor ovhai does not know this version of Snakemake or its S3 plugin"))
        return

    @functools.wraps(init)
    async def fill_and_init(dag: Any, *arguments: Any, **keywords: Any) -> None:
        fill(dag.workflow)
        await init(dag, *arguments, **keywords)

    fill_and_init.fills_inventory = True  # type: ignore[attr-defined]
    DAG.init = fill_and_init
    # dateutil, which botocore uses, takes 70 microseconds for a date, and a listing has tens of thousands.
    botocore.parsers.DEFAULT_TIMESTAMP_PARSER = read_date
    # The plugin parses the name of each object several times.
    snakemake_storage_plugin_s3.urlparse = functools.lru_cache(PARSED)(snakemake_storage_plugin_s3.urlparse)
    StorageObject.get_inventory_parent = let_inventory_answer(StorageObject.get_inventory_parent)
    StorageObject.exists = let_folder_answer(StorageObject.exists)
    StorageObject.size = leave_out_missing(StorageObject.size)


def read_date(value: Any) -> datetime:
    """2026-11-28T02:25:37.000Z, as S3 lists it, or whatever botocore can read."""
    if isinstance(value, str) and value.endswith("Z"):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value)
    return botocore.utils.parse_timestamp(value)


def let_inventory_answer(get_inventory_parent: Any) -> Any:
    """Snakemake's cache answers for all objects whose parent stands in its list of inventories."""

    @functools.wraps(get_inventory_parent)
    def get_parent(stored: Any) -> Any:
        inventory = getattr(stored.provider, "inventory", None)
        if inventory is not None and stored.local_suffix().startswith(inventory.parent):
            return inventory.parent
        return get_inventory_parent(stored)

    return get_parent


def let_folder_answer(exists: Any) -> Any:
    @functools.wraps(exists)
    def exists_in_folder(stored: Any) -> Any:
        inventory = getattr(stored.provider, "inventory", None)
        if inventory is None:
            return exists(stored)
        if inventory.covers(stored) or inventory.has_folder_of(stored.bucket, stored.key):
            return inventory.has(stored)
        return exists(stored)

    return exists_in_folder


def leave_out_missing(size: Any) -> Any:
    """The memory of a job depends on the sizes of its inputs, and most of a new scene's are not made yet."""

    @functools.wraps(size)
    def size_if_there(stored: Any) -> Any:
        inventory = getattr(stored.provider, "inventory", None)
        if inventory is not None and inventory.covers(stored) and not inventory.has(stored):
            raise FileNotFoundError(stored.query)
        return size(stored)

    return size_if_there


def fill(workflow: Any) -> None:
    """Fill the cache of a plan. If the objects cannot be listed, Snakemake asks for each of them."""
    from snakemake_interface_executor_plugins.settings import ExecMode

    provider = workflow.storage_registry.default_storage_provider
    place = str(workflow.storage_settings.default_storage_prefix or "")
    cache = workflow.iocache
    if provider is None or not hasattr(provider, "s3c") or not place.startswith("s3://"):
        return
    # With --trust-io-cache, Snakemake takes the answers of the last dry run.
    if workflow.exec_mode != ExecMode.DEFAULT or not cache.active or workflow.dag_settings.trust_io_cache:
        return
    name, _, root = place.removeprefix("s3://").strip("/").partition("/")
    prefix = normalise(root) + "/" if root else ""
    bucket = Bucket(provider.s3c.meta.client)
    try:
        objects = list_objects(workflow, bucket, name, prefix)
    except BucketError as error:
        tell("warning", SLOW.format(error))
        return
    provider.inventory = Inventory(cache, bucket, provider.local_prefix, f"{name}/{prefix}")
    provider.inventory.add(name, prefix, objects)
    cache.exists_in_storage.has_inventory.add(provider.inventory.parent)


def list_objects(workflow: Any, bucket: Bucket, name: str, prefix: str) -> dict[Key, ObjectInfo]:
    """The records have listed them already, if there are records."""
    provenance = getattr(workflow.persistence, "provenance", None)
    if provenance is None:
        return dict(bucket.list_objects(name, prefix))
    load(provenance)
    start = len(f"s3://{name}/")
    return {uri[start:]: info for uri, info in provenance.objects.items()}


class Inventory:
    """What Snakemake's cache knows of the bucket from listings."""

    def __init__(self, cache: Any, bucket: Bucket, local_prefix: Path, parent: str) -> None:
        """parent: "BUCKET/PREFIX/" of the workflow, which is listed as a whole."""
        self.cache, self.bucket, self.local_prefix, self.parent = cache, bucket, local_prefix, parent
        self.asked: Counter[tuple[str, str]] = Counter()  # bucket and folder -> questions, as far as there was no list
        self.folders: dict[tuple[str, str], bool] = {}  # whether they are listed, or too large

    def add(self, name: str, prefix: str, objects: Mapping[Key, ObjectInfo]) -> None:
        """All objects of a bucket below a prefix. Folders below it count too."""
        from snakemake_interface_storage_plugins.io import Mtime

        for key, found in describe(objects, prefix).items():
            path = str(self.local_prefix / name / key)
            self.cache.exists_in_storage[path] = True
            self.cache.mtime[path] = Mtime(storage=found.time)
            self.cache.size[path] = found.size

    def covers(self, stored: Any) -> bool:
        """Whether an object is the workflow's, so that the cache knows whether it is there, while the plan is made."""
        return bool(self.cache.active and stored.local_suffix().startswith(self.parent))

    def has(self, stored: Any) -> bool:
        return bool(self.cache.exists_in_storage.get(stored.cache_key()))

    def has_folder_of(self, name: str, key: Key) -> bool:
        """Whether the cache knows all objects beside this one."""
        if not self.cache.active:
            return False  # the plan is over
        folder = (name, posixpath.dirname(key))
        if folder not in self.folders:
            self.asked[folder] += 1
            if self.asked[folder] <= FEW:
                return False
            self.folders[folder] = self.list_folder(*folder)
        return self.folders[folder]

    def list_folder(self, name: str, folder: str) -> bool:
        """Whether it is small enough, and may be listed."""
        prefix = f"{folder}/" if folder else ""
        try:
            objects = dict(itertools.islice(self.bucket.list_objects(name, prefix), MOST + 1))
        except BucketError:
            return False
        if len(objects) > MOST:
            return False
        self.add(name, prefix, objects)
        return True


def describe(objects: Mapping[Key, ObjectInfo], prefix: str) -> dict[Key, Found]:
    """What the S3 storage plugin says of each key below a prefix, objects and folders alike."""
    files: dict[Key, Found] = {}
    folders: dict[Key, Found] = {}
    around: dict[Key, list[Found]] = {}  # folder of an object -> what is known of that one and of those around it
    for key, info in objects.items():
        if key.endswith("/"):
            continue  # a console's mark of a folder, which the plugin leaves out too
        found = Found(info.modified.timestamp() // 1, info.size)
        if is_askable(key):
            files[key] = found
        place = key.rpartition("/")[0]
        if place not in around:
            askable = filter(is_askable, list_folders(key, len(prefix)))
            around[place] = [folders.setdefault(folder, Found(found.time, 0)) for folder in askable]
        for known in around[place]:
            known.time = max(known.time, found.time)
            known.size += found.size
    return files | folders  # the plugin takes a key that is both for a folder


def list_folders(key: Key, start: int) -> Iterator[Key]:
    """All folders around a key, but for those that end within its first characters."""
    end = key.find("/", start)
    while end > 0:
        yield key[:end]
        end = key.find("/", end + 1)


def is_askable(key: Key) -> bool:
    """Whether the plugin can ask for this key. It normalises what it asks for, so some keys stay out of its reach."""
    return normalise(key) == key
