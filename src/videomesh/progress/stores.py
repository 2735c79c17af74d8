"""Where the files of scenes are: on this machine, or the results in a bucket. Listing them downloads nothing."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from videomesh.errors import UserError
from videomesh.progress.steps import find_file
from videomesh.report.results import LOG_BYTES, read_end

Listing = dict[str, dict[str, float]]  # scene -> name of a file -> when it was written, in seconds since 1970


class Store(Protocol):
    def list(self) -> Listing: ...
    def read(self, scene: str, name: str) -> str:
        """A small file of the results, or the end of a log; empty if it cannot be read."""


class Folder:
    """The working folder."""

    def __init__(self, root: Path, scenes: Collection[str]) -> None:
        self.root, self.scenes = root, scenes

    def list(self) -> Listing:
        listing: Listing = {scene: {} for scene in self.scenes}
        for path in self.walk():
            file = find_file(path.relative_to(self.root).as_posix(), self.scenes)
            try:
                if file:
                    listing[file.scene][file.name] = path.stat().st_mtime
            except OSError:  # it has just been moved
                continue
        return listing

    def walk(self) -> Iterator[Path]:
        for scene in self.scenes:
            for folder in (f"results/{scene}", f"resources/videos/{scene}", f"deliver/{scene}"):
                yield from (path for path in (self.root / folder).rglob("[!.]*") if path.is_file())

    def read(self, scene: str, name: str) -> str:
        path = self.root / "results" / scene / name
        try:
            return read_end(path) if path.suffix == ".log" else path.read_text(errors="replace")
        except OSError:
            return ""


class Bucket:
    """Results in the S3 storage of a workflow. One request lists a thousand of them. What is delivered is here."""

    def __init__(self, root: Path, scenes: Collection[str], workflow: Any) -> None:
        self.folder, self.scenes, self.workflow = Folder(root, scenes), scenes, workflow

    def list(self) -> Listing:
        listing = {scene: {n: t for n, t in files.items() if n.startswith("deliver/")}
                   for scene, files in self.folder.list().items()}  # fmt: skip
        for top in ("results/", "resources/videos/"):
            for item in self.walk(self.get_stored(f"{top}_")):
                file = find_file(item["Key"], self.scenes)
                # A log of a delivery may be that of another machine.
                if file and not file.name.startswith("deliver/"):
                    listing[file.scene][file.name] = item["LastModified"].timestamp()
        return listing

    def walk(self, stored: Any) -> Iterator[dict[str, Any]]:
        """All beside an object. Raises UserError if the bucket does not answer, or not to these keys."""
        pages = get_client(stored).get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=stored.bucket, Prefix=stored.key.rpartition("/")[0] + "/"):
                yield from page.get("Contents", [])
        except (BotoCoreError, ClientError) as error:
            raise UserError(f"bucket {stored.bucket}: cannot be listed; check its name, keys and region. {error}")

    def read(self, scene: str, name: str) -> str:
        try:
            part = {"Range": f"bytes=-{LOG_BYTES}"} if name.endswith(".log") else {}
            stored = self.get_stored(f"results/{scene}/{name}")
            body = get_client(stored).get_object(Bucket=stored.bucket, Key=stored.key, **part)["Body"]
            return str(body.read().decode("utf-8", "replace"))
        except Exception:  # botocore raises errors of its own for what is missing
            return ""

    def get_stored(self, path: str) -> Any:
        stored = self.workflow.modifier.path_modifier.apply_default_storage(path).flags["storage_object"]
        if not hasattr(stored, "s3bucket"):
            raise UserError(f"the storage {type(stored).__module__} cannot be listed; only S3 and this machine can")
        return stored


def get_client(stored: Any) -> Any:
    """The storage plugin's, which any thread may use; what the plugin has built on it may not."""
    return stored.provider.s3c.meta.client


def open_store(root: Path, scenes: Collection[str], workflow: Any) -> Store:
    if workflow.storage_settings.default_storage_provider is None:
        return Folder(root, scenes)
    return Bucket(root, scenes, workflow)
