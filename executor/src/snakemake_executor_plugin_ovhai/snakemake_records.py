"""Snakemake reads and writes its records of outputs through the bucket (provenance.py).

This reaches into Snakemake's own classes, in three places:

* Its persistence, local files or a database, gets a layer: the record in the bucket counts if it describes the object
  that is there. A local record that describes another version does not. An output without a record is planned.
* A stored file has a checksum: its version in the bucket. So Snakemake sees that an input with a newer date still has
  the same content.
* A stored input whose content is another one than the record says makes its outputs stale, whatever its date is: it may
  have been replaced while they were made.
"""

import inspect
import linecache
import sys
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any

from .bucket import Bucket, BucketError
from .provenance import Entry, Provenance, get_uri

CHECKSUM = "etag:"  # how the checksum of a stored file begins
READ = 1000  # records that are kept as Snakemake wants them
UNKNOWN = "not known, since no record describes this version of the file"

# What this module stands on: function -> lines that it must have.
READS = {
    "snakemake.workflow.Workflow._prepare_dag": ("persistence = FilePersistence", "persistence = DbPersistence"),
    "snakemake.persistence.PersistenceBase.finished": (
        "record = self._read_record(key) or MetadataRecord()",
        "str(infile): await infile.checksum(self.max_checksum_file_size)",
        "self._write_record(key, record)",
    ),
    "snakemake.persistence.PersistenceBase.metadata": ("self._read_record(self._get_key(target))",),
    "snakemake.persistence.PersistenceBase.input_changed": ("_bool_or_gen(self._input_changed, job, file=file)",),
    "snakemake.persistence.PersistenceBase.code_changed": ("_bool_or_gen(self._code_changed, job, file=file)",),
    "snakemake.io._IOFile.checksum": ("await self.storage_object.managed_checksum()",),
    "snakemake.dag.DAG.update_needrun": (
        "await f.is_checksum_eligible(self.max_checksum_file_size)",
        "self.workflow.persistence.input_checksums(job, f)",
        "if not self.workflow.persistence.has_metadata(job):",
        "self.workflow.persistence.params_changed(job)",
    ),
    "snakemake.workflow.Workflow.execute": ("self.persistence.deactivate_cache()",),
}


def attach() -> None:
    """Before Snakemake plans. If this Snakemake is another one, say what is lost."""
    import snakemake.api  # noqa: F401 - before snakemake.workflow, which imports it too
    from snakemake import io, workflow

    if hasattr(workflow.FilePersistence, "provenance"):
        return
    if not fits():
        print(
            "The executor ovhai does not know this version of Snakemake: records of results stay in this folder and do "
            "not travel with the bucket. From another folder, changed settings are not seen. Install the version that "
            "the executor asks for.",
            file=sys.stderr,
        )
        return

    for name in ("FilePersistence", "DbPersistence"):
        setattr(workflow, name, type(name, (BucketRecords, getattr(workflow, name)), {}))
    is_eligible = io._IOFile.is_checksum_eligible

    async def is_checksum_eligible(file: Any, threshold: int) -> bool:
        return bool(file.is_storage and get_checksum(file.storage_object)) or await is_eligible(file, threshold)

    io._IOFile.is_checksum_eligible = is_checksum_eligible


def fits() -> bool:
    """Whether Snakemake is as this module needs it."""
    return has_lines(READS)


def has_lines(reads: Mapping[str, Iterable[str]]) -> bool:
    """Whether each of these functions is there, in a module that is loaded, and has these lines."""
    try:
        for name, lines in reads.items():
            module, owner, function = name.rsplit(".", 2)
            source = read_source(getattr(getattr(sys.modules[module], owner), function))
            if not all(line in source for line in lines):
                return False
    except (AttributeError, KeyError):
        return False
    return True


def read_source(function: Any) -> str:
    """As inspect.getsource, but without reading all words of it, which takes a tenth of a second at each start."""
    code = inspect.unwrap(function).__code__
    return "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : find_last_line(code)])


def find_last_line(code: CodeType) -> int:
    """Functions and comprehensions inside count too."""
    own = max((line for *_, line in code.co_lines() if line), default=code.co_firstlineno)
    return max([own, *(find_last_line(inner) for inner in code.co_consts if isinstance(inner, CodeType))])


def get_checksum(stored: Any) -> str | None:
    """Of a file in the bucket, for Snakemake. None if the file is not one of the workflow's, or not there."""
    provenance = getattr(stored.provider, "provenance", None)
    if provenance is None or not provenance.covers(stored.query):
        return None
    load(provenance)
    version = provenance.get_version(get_uri(stored.query))
    return None if version is None else CHECKSUM + version


def open_provenance(workflow: Any) -> Provenance | None:
    """None if this process keeps no records, or if the files are not in S3."""
    from snakemake_interface_executor_plugins.settings import ExecMode

    settings = workflow.execution_settings
    provider = workflow.storage_registry.default_storage_provider
    prefix = str(workflow.storage_settings.default_storage_prefix or "")
    if workflow.exec_mode != ExecMode.DEFAULT or (settings is not None and not settings.keep_metadata):
        return None
    if provider is None or not hasattr(provider, "s3c") or not prefix.startswith("s3://"):
        return None
    bucket, _, root = prefix.removeprefix("s3://").strip("/").partition("/")
    provider.get_storage_object_cls().checksum = get_checksum
    provider.provenance = Provenance(Bucket(provider.s3c.meta.client), bucket, root)
    return provider.provenance


def load(provenance: Provenance) -> None:
    """WorkflowError if the records cannot be read: a plan without them would make everything again."""
    try:
        provenance.load()
    except BucketError as error:
        from snakemake_interface_common.exceptions import WorkflowError

        raise WorkflowError(
            f"The records of the results in the bucket cannot be read, so nothing can be planned: {error}\n"
            "Check everything with `snakemake-ovhai doctor`, and run the same command again."
        ) from None


class BucketRecords:
    """A layer over Snakemake's FilePersistence or DbPersistence."""

    provenance: Provenance | None = None
    # Snakemake's own.
    metadata: Callable[[Any], Any]
    _get_key: Callable[[Any], str]
    _params: Callable[[Any], list[Any]]

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        dag: Any = keywords.get("dag")
        self.provenance = open_provenance(dag.workflow) if dag is not None else None
        # What a user forces. Snakemake adds the outputs that a crash left behind.
        self.forced_files = frozenset(dag.forcefiles if dag is not None else ())
        self.unsaved: dict[str, Any] = {}  # records of this folder that the bucket lacks, by key
        self.read: dict[str, tuple[Entry, Any]] = {}  # by key: what the bucket has, and the same as Snakemake's record
        self.warned = False
        self.patient = False  # whether a record that cannot be written is kept for later

    def covering(self, key: str) -> Provenance | None:
        """The records that are responsible for a file. WorkflowError if they cannot be read."""
        if self.provenance is None or not self.provenance.covers(key):
            return None
        load(self.provenance)
        return self.provenance

    # Reading ---------------------------------------------------------------------------------------------------------

    def _read_record(self, key: str) -> Any:
        provenance = self.covering(key)
        uri = get_uri(key)
        if provenance is not None and (entry := provenance.find(uri)):
            return self.get_record(key, entry)
        own = super()._read_record(key)  # type: ignore[misc]
        if provenance is None:
            return own
        info = provenance.objects.get(uri)
        if info is None:
            return own
        if own is None or own.endtime is None or is_of_another_version(own, provenance.entries.get(uri, {})):
            return None
        # A record of an earlier version of this executor, or one that could not be written into the bucket.
        if abs(own.endtime - info.modified.timestamp()) < 1:
            self.unsaved[key] = own
            return own
        return None

    def get_record(self, key: str, entry: Entry) -> Any:
        """A plan reads each record a dozen times in a row, and making one takes longer than the rest of it."""
        if len(self.read) >= READ:
            self.read.clear()
        known = self.read.get(key)
        if known is None or known[0] is not entry:
            known = self.read[key] = (entry, make_record(**entry.record))
        return known[1]

    def _clear_cache(self) -> None:
        """Snakemake is about to change records."""
        super()._clear_cache()  # type: ignore[misc]
        self.read.clear()

    def is_unknown(self, file: Any) -> bool:
        """Whether a file is in the bucket and nobody knows how it was made. Snakemake alone would not make it again."""
        key = self._get_key(file)
        provenance = self.covering(key)
        if provenance is None or get_uri(key) not in provenance.objects or self._read_record(key) is not None:
            return False
        self.warn(key)
        return True

    def has_metadata(self, job: Any) -> bool:
        return all(self.metadata(file) is not None or self.is_unknown(file) for file in job.output)

    def params_changed(self, job: Any, file: Any = None) -> Any:
        from snakemake.persistence import ParamsChange

        changes = super().params_changed(job, file)  # type: ignore[misc]
        for output in [file] if file is not None else job.output:
            if self.is_unknown(output):
                changes |= ParamsChange(only_old={UNKNOWN}, only_new=set(self._params(job)), files={output})
        return changes

    def _code_changed(self, job: Any, file: Any = None) -> bool:
        return super()._code_changed(job, file) or self.is_unknown(file)  # type: ignore[misc]

    def warn(self, key: str) -> None:
        from snakemake.logging import logger

        if not self.warned:
            self.warned = True
            logger.warning(
                f"How {key} was made is not known, and the same may be true for more results: no record in the bucket "
                "describes this version of it. A head may have died before it wrote the record, somebody may have "
                "replaced the file, or an earlier version of the executor made it. Such results are planned again. If "
                "the platform still shows a successful job that did exactly this work, its result is taken and nothing "
                "is paid. If results come from an earlier version of the executor, first run it once in the folder "
                "that made them: that folder has their records, and puts them into the bucket."
            )

    def input_checksums(self, job: Any, input_path: Any) -> set[Any]:
        found: set[Any] = super().input_checksums(job, input_path)  # type: ignore[misc]
        if not (getattr(input_path, "is_storage", False) and get_checksum(input_path.storage_object)):
            return found
        return {checksum if checksum and checksum.startswith(CHECKSUM) else None for checksum in found}

    def _input_changed(self, job: Any, file: Any = None) -> bool:
        return super()._input_changed(job, file) or self.has_replaced_input(job, file)  # type: ignore[misc]

    def has_replaced_input(self, job: Any, file: Any) -> bool:
        record = self.metadata(file)
        recorded = record.input_checksums or {} if record else {}
        for path in job.input:
            then = recorded.get(str(path))
            if path.is_storage and not path.is_ancient and then and then.startswith(CHECKSUM):
                now = get_checksum(path.storage_object)
                if now and now != then:
                    return True
        return False

    # Writing ---------------------------------------------------------------------------------------------------------

    async def finished(self, job: Any) -> None:
        await super().finished(job)  # type: ignore[misc]
        self.save()

    def _write_record(self, key: str, record: Any) -> None:
        from snakemake_interface_common.exceptions import WorkflowError

        provenance = self.covering(key)
        if provenance is None:
            super()._write_record(key, record)  # type: ignore[misc]
            return
        self.read.pop(key, None)  # Snakemake has changed it
        uri = get_uri(key)
        made = provenance.made.pop(uri, None)
        if made:
            checksums = {path: CHECKSUM + version for path, version in made.inputs.items()}
            record.input_checksums = {**(record.input_checksums or {}), **checksums}
        try:
            info = made.info if made else provenance.look_up(uri)
        except BucketError as error:
            # The local record fits if it has the object's date, and the next run writes it into the bucket.
            super()._write_record(key, record)  # type: ignore[misc]
            if not self.patient:
                raise WorkflowError(f"The record of {key} could not be written into the bucket: {error}") from None
            return
        if info:
            record.endtime = info.modified.timestamp()  # Snakemake's is before the upload of a step on the head
        super()._write_record(key, record)  # type: ignore[misc]
        provenance.add(uri, info, made.work if made else (), dict(record.items()))

    def save(self) -> None:
        """Write into the bucket what is new."""
        from snakemake.logging import logger
        from snakemake_interface_common.exceptions import WorkflowError

        try:
            if self.provenance is not None:
                self.provenance.flush()
        except BucketError as error:
            if not self.patient:
                raise WorkflowError(f"Records of results could not be written: {error}") from None
            logger.warning(f"Records of results are not in the bucket yet. They are written with the next one: {error}")

    def deactivate_cache(self) -> None:
        """Snakemake has planned, and now it begins to run. A dry run does not come here."""
        from snakemake.logging import logger

        super().deactivate_cache()  # type: ignore[misc]
        if self.provenance is None:
            return
        load(self.provenance)
        self.patient = True
        for key, record in self.unsaved.items():
            uri = get_uri(key)
            self.provenance.add(uri, self.provenance.objects[uri], (), dict(record.items()))
        self.unsaved = {}
        self.save()
        try:
            self.provenance.compact()
        except BucketError as error:
            logger.debug(f"Records of results could not be put together: {error}")


def is_of_another_version(record: Any, entries: Mapping[str, Entry]) -> bool:
    """Whether the bucket has this record of Snakemake's already. By the date alone, what somebody puts in place of a
    result within a second would be taken for the result."""
    return any(entry.record.get("endtime") == record.endtime for entry in entries.values())


def make_record(**fields: Any) -> Any:
    """A record of Snakemake's. Fields that this version does not know are left out."""
    from snakemake.persistence import MetadataRecord

    return MetadataRecord.model_validate({name: fields[name] for name in fields if name in MetadataRecord.model_fields})


def is_forced(dag: Any, jobs: Iterable[Any]) -> bool:
    """Whether a user asked for one of the jobs, and not only a crash that left its outputs half written."""
    files = getattr(dag.workflow.persistence, "forced_files", dag.forcefiles)
    return any(job.rule in dag.forcerules or not files.isdisjoint(job.output) for job in jobs)
