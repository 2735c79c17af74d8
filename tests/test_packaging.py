"""What must be equal in two places."""

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from checkout import ROOT
from videomesh.staleness import find_imported, list_imports

SRC = ROOT / "src"
ENVIRONMENTS = sorted(file.stem for file in (ROOT / "envs").iterdir())
PACKAGES = importlib.metadata.packages_distributions()  # name in an import statement -> installed packages
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",  # without windows
    "imageio-ffmpeg": "ffmpeg",  # where there is no conda, it brings the program
    "urllib3": "requests",  # which raises its errors
    "triton": "pytorch",  # comes with it where there is a GPU
}
SNAKEMAKE_ONLY = {
    "snakemake",
    "snakemake-storage-plugin-s3",
    "pandas",
    "jsonschema",
    "pygments",
    "rich",
}  # table, settings, report, progress
NO_IMPORT = {"python", "pip"}  # run the programs, and install what conda lacks
NO_ENVIRONMENT = {"neuralangelo_train", "neuralangelo_mesh"}  # need upstream's packages: its image has them


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[ =<>]", requirement)[0] for requirement in requirements}


def read_environment(name: str) -> set[str]:
    conda, pip = [], []
    for requirement in yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())["dependencies"]:
        if isinstance(requirement, dict):
            pip += requirement["pip"]
        else:
            conda.append(requirement)
    return names(conda + pip) - NO_IMPORT


def read_rules() -> dict[str, str]:
    """Name -> text of each rule that runs a command."""
    text = "".join(file.read_text() for file in sorted((ROOT / "rules").glob("*.smk")))
    rules = dict(re.findall(r"^rule (\w+):\n((?:(?: .*)?\n)*)", text, re.MULTILINE))
    rules |= {new: rules[old] for old, new in re.findall(r"^use rule (\w+) as (\w+) with:", text, re.MULTILINE)}
    return {name: rule for name, rule in rules.items() if "    shell:\n" in rule}


def read_users() -> dict[str, set[str]]:
    """Environment, or "" -> the rules that run in it."""
    users: dict[str, set[str]] = {}
    for name, rule in read_rules().items():
        (environment,) = re.findall(r'^    conda:\n        "\.\./envs/(\w+)\.yaml"$', rule, re.MULTILINE) or [""]
        users.setdefault(environment, set()).add(name)
    return users


def find_programs(rule: str) -> list[Path]:
    """Those that the command of a rule calls."""
    command = rule.split("    shell:\n")[1]
    scripts = [ROOT / "scripts" / name for name in re.findall(r"/scripts/(\w+\.py)", command)]
    modules = re.findall(r"python3 -m (\w+) (\w+)", command)
    return scripts + [SRC / package / f"{name}.py" for package, step in modules for name in ("__main__", step)]


def find_packages(programs: list[Path]) -> set[str]:
    """Packages, as conda names them, that programs and all that they import of ours import."""
    found = set()
    for file in find_imported(SRC, *programs):
        package = file.relative_to(SRC).parts[:-1] if SRC in file.parents else ()
        found |= {name.split(".")[0] for name in list_imports(file.read_bytes(), package)}
    others = {name for name in found - sys.stdlib_module_names if not (SRC / name).exists()}
    # A package that is one compiled file has no entry.
    packages = {PACKAGES.get(name, [name])[0].lower().replace("_", "-") for name in others}
    return {CONDA_NAMES.get(name, name) for name in packages}


def test_every_rule_with_a_command_has_an_environment_or_a_reason_to_have_none() -> None:
    users = read_users()
    assert users.pop("") == NO_ENVIRONMENT
    assert sorted(users) == ENVIRONMENTS
    assert all(find_programs(rule) for rule in read_rules().values())


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_conda_environment_has_what_the_programs_of_its_rules_import_and_nothing_else(environment: str) -> None:
    rules = read_rules()
    imported = {name: find_packages(find_programs(rules[name])) for name in read_users()[environment]}
    assert read_environment(environment) == set().union(*imported.values()), imported


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_comment_of_a_conda_environment_names_its_rules(environment: str) -> None:
    comment = (ROOT / "envs" / f"{environment}.yaml").read_text().splitlines()[0].split(":")[0]
    named = re.sub("^# Rules? ", "", comment).split(", ")
    assert sorted(named) == sorted(read_users()[environment])


def test_conda_environments_have_together_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = names(project["dependencies"] + project["optional-dependencies"]["local"]) - SNAKEMAKE_ONLY
    conda = set().union(*map(read_environment, ENVIRONMENTS))
    assert conda == {CONDA_NAMES.get(name, name) for name in wanted}
