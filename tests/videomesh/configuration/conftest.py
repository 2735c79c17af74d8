from pathlib import Path

import pytest

from settings_folder import make_folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of each test here."""
    make_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
