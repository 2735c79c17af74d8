"""Snakemake plans by one listing of the workflow's objects. Alone, it asks for each object in turn, three times.

While it plans, Snakemake keeps what it knows about files in a cache, and the cache has a place for inventories. But
Snakemake 9.27.1 begins one only at the inputs of the target rule, and its S3 storage plugin then lists one folder. So
the cache is filled here, just before the plan.

* The listing is good for the plan alone. Before the first job, Snakemake throws the cache away and asks for each object
  anew.
* What the listing lacks does not exist. What lies elsewhere, in another bucket for example, is asked for as before.
* A listing answers as the plugin does. Dates are in whole seconds, as in the answer about one object. A folder is as
  old as its newest object.
* The records of results (provenance.py) need the same listing, so one serves both.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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
    "snakemake_storage_plugin_s3.StorageObject.get_subkeys": ('if item.key != prefix and not item.key.endswith("/")',),
}
SLOW = "Planning is slow, because Snakemake asks for each object in turn: {}."


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
        from snakemake_storage_plugin_s3 import StorageObject
    except ImportError:
        return  # the executor says what it needs

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
    StorageObject.get_inventory_parent = let_listing_answer(StorageObject.get_inventory_parent)


def let_listing_answer(get_inventory_parent: Any) -> Any:
    """The cache answers for all objects below a folder that stands in its list of inventories."""

    @functools.wraps(get_inventory_parent)
    def get_parent(stored: Any) -> Any:
        listed = getattr(stored.provider, "listed", None)
        if listed is not None and stored.local_suffix().startswith(listed):
            return listed
        return get_inventory_parent(stored)

    return get_parent


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
    bucket, _, root = place.removeprefix("s3://").strip("/").partition("/")
    prefix = normalise(root) + "/" if root else ""
    try:
        objects = list_objects(workflow, provider, bucket, prefix)
    except BucketError as error:
        tell("warning", SLOW.format(error))
        return
    for key, found in describe(objects, prefix).items():
        fill_one(cache, str(provider.local_prefix / bucket / key), found)
    provider.listed = f"{bucket}/{prefix}"
    cache.exists_in_storage.has_inventory.add(provider.listed)


def list_objects(workflow: Any, provider: Any, bucket: str, prefix: str) -> Mapping[str, ObjectInfo]:
    """By key. The records have listed them already, if there are records."""
    provenance = getattr(workflow.persistence, "provenance", None)
    if provenance is None:
        return dict(Bucket(provider.s3c.meta.client).list_objects(bucket, prefix))
    load(provenance)
    start = len(f"s3://{bucket}/")
    return {uri[start:]: info for uri, info in provenance.objects.items()}


def describe(objects: Mapping[str, ObjectInfo], prefix: str) -> dict[str, Found]:
    """What the S3 storage plugin says of each key below a prefix, objects and folders alike."""
    files: dict[str, Found] = {}
    folders: dict[str, Found] = {}
    for key, info in objects.items():
        if key.endswith("/"):
            continue  # a console's mark of a folder, which the plugin leaves out too
        found = Found(float(info.modified.timestamp() // 1), info.size)
        if is_askable(key):
            files[key] = found
        for folder in filter(is_askable, list_folders(key, len(prefix))):
            known = folders.get(folder)
            if known is None:
                folders[folder] = Found(found.time, found.size)
            else:
                known.time = max(known.time, found.time)
                known.size += found.size
    return files | folders  # the plugin takes a key that is both for a folder


def list_folders(key: str, start: int) -> Iterable[str]:
    """All folders around a key, but for those that end within its first characters."""
    end = key.find("/", start)
    while end > 0:
        yield key[:end]
        end = key.find("/", end + 1)


def is_askable(key: str) -> bool:
    """Whether the plugin can ask for this key. It normalises what it asks for, so some keys stay out of its reach."""
    return normalise(key) == key


def fill_one(cache: Any, path: str, found: Found) -> None:
    from snakemake_interface_storage_plugins.io import Mtime

    cache.exists_in_storage[path] = True
    cache.mtime[path] = Mtime(storage=found.time)
    cache.size[path] = found.size
