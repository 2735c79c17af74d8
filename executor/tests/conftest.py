"""Settings and fixtures for the tests of the executor."""

import os
from collections.abc import Iterator

import pytest
from cli_helpers import Run, Said
from hypothesis import settings
from ovhai_standin.platform import Platform

import s3_server
from s3_proxy import Proxy, s3_proxy
from snakemake_executor_plugin_ovhai.cli import main, stop, waiting

# No time limit for an example: the machine may be busy with other tests.
settings.register_profile("executor", deadline=None, max_examples=60)
settings.load_profile("executor")


@pytest.fixture
def proxy(s3: s3_server.S3Server) -> Iterator[Proxy]:
    with s3_proxy(s3) as proxy:
        yield proxy


@pytest.fixture
def run(
    platform: Platform, s3: s3_server.S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Call the command; answers exit code, standard output, standard error. None of the latter may be a traceback."""
    for name in [name for name in os.environ if name.startswith(("OVHAI_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in {**s3.environment, **platform.environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(waiting, "POLL", 0.1)
    monkeypatch.setattr(stop, "ASK_AGAIN", 0.5)

    def call(*arguments: str) -> Said:
        try:
            code = main.main(arguments)
        except SystemExit as end:  # argparse
            code = int(str(end.code))
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert s3_server.SECRET_KEY not in said.out + said.err
        return code, said.out, said.err

    return call
