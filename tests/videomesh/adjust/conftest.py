"""A working folder with the results of one scene, and a second scene that has only settings."""

from pathlib import Path

import pytest

from adjust_results import get_settings, make_results
from videomesh.adjust.workflow import Project


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which has results of the scene thing."""
    make_results(tmp_path, "thing")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(root: Path) -> Project:
    return Project({"thing": get_settings(), "other": get_settings(method="sphere", center=[1, 2, 3], radius=0.5)})
