"""What must be equal in two places."""

import re
import tomllib

import yaml

from checkout import ROOT

CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "imageio-ffmpeg": "ffmpeg"}
HEAD_ONLY = {"snakemake", "snakemake-storage-plugin-s3"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[ =<>]", requirement)[0] for requirement in requirements}


def test_the_conda_environment_has_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = names(project["dependencies"] + project["optional-dependencies"]["local"]) - HEAD_ONLY
    conda = names(yaml.safe_load((ROOT / "envs" / "workflow.yaml").read_text())["dependencies"])
    assert conda - {"python"} == {CONDA_NAMES.get(name, name) for name in wanted}
