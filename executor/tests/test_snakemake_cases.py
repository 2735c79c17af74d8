"""Snakemake's own test workflows for executors. Their files get folders, since a job is given whole folders."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ovhai_standin.platform import Platform
from snakemake.common.tests import TestWorkflowsMinioPlayStorageBase
from snakemake_interface_common.plugin_registry.plugin import TaggedSettings
from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase
from snakemake_storage_plugin_s3 import StorageProviderSettings

import s3_server
from snakemake_executor_plugin_ovhai import ExecutorSettings


class TestSnakemakeCases(TestWorkflowsMinioPlayStorageBase):
    __test__ = True

    @pytest.fixture(autouse=True)
    def place(
        self, platform: Platform, s3: s3_server.S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        self.platform, self.server, self.own_bucket = platform, s3, bucket
        for name, value in platform.environment.items():
            monkeypatch.setenv(name, value)
        yield
        assert {job["status"]["state"] for job in platform.jobs()} == {"DONE"}

    def get_executor(self) -> str:
        return "ovhai"

    def get_executor_settings(self) -> ExecutorSettingsBase:
        return ExecutorSettings(datastore="S3GRA", image="example/tools:1", min_interval=0.3)

    def get_assume_shared_fs(self) -> bool:
        return False

    def get_default_storage_prefix(self) -> str:
        return f"s3://{self.own_bucket}/work"

    def get_default_storage_provider_settings(self) -> dict[str, TaggedSettings]:
        tagged = TaggedSettings()
        keys = {"access_key": s3_server.ACCESS_KEY, "secret_key": s3_server.SECRET_KEY}
        tagged.register_settings(StorageProviderSettings(endpoint_url=self.server.endpoint, **keys))
        return {"s3": tagged}

    def cleanup_test(self) -> None:
        pass

    def _copy_test_files(self, test_path: Path, tmp_path: Path) -> None:
        shutil.copytree(test_path, tmp_path)
        snakefile = tmp_path / "Snakefile"
        # "test1.{sample}.out" becomes "test1/{sample}/file.out", "a.log" becomes "a/file.log"
        text = re.sub(r'"(test\d)\.(\{sample\})\.out"', r'"\1/\2/file.out"', snakefile.read_text())
        text = re.sub(r'"(test\d|[abc])\.(out|log)"', r'"\1/file.\2"', text)
        snakefile.write_text(text.replace("res/{somewildcard}.out", "res/{somewildcard}/file.out"))
