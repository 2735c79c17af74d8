"""The distribution stands alone: it declares all that it imports, and it knows nothing of a workflow."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

DISTRIBUTION = Path(__file__).resolve().parents[1]
PACKAGE = DISTRIBUTION / "src" / "snakemake_executor_plugin_ovhai"
# Imported packages of a distribution, if they are not called like it.
PROVIDES = {"boto3": {"boto3", "botocore"}, "pyyaml": {"yaml"}}


def find_imports() -> Iterator[str]:
    """Top-level names of all absolute imports, also of those inside functions."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield str(node.module).partition(".")[0]


def test_dependencies_cover_what_is_imported_and_nothing_else() -> None:
    requirements = tomllib.loads((DISTRIBUTION / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.split(r"[ =<>]", requirement)[0] for requirement in requirements]
    provided = {name: PROVIDES.get(name, {name.replace("-", "_")}) for name in names}
    # The package runs inside Snakemake with its S3 storage plugin, whatever versions they are.
    imported = set(find_imports()) - set(sys.stdlib_module_names) - {"snakemake", "snakemake_storage_plugin_s3"}
    assert imported == set().union(*provided.values())


def test_the_command_needs_no_snakemake() -> None:
    """snakemake-ovhai imports the package, so only functions may import Snakemake itself."""
    for file in PACKAGE.rglob("*.py"):
        assert not re.search(r"^(import|from) snakemake[. ]", file.read_text(), re.MULTILINE), file


def test_the_map_names_each_module() -> None:
    for file, modules in (
        (PACKAGE / "__init__.py", PACKAGE.glob("*.py")),
        (PACKAGE / "cli" / "__init__.py", (PACKAGE / "cli").glob("*.py")),
    ):
        text = ast.get_docstring(ast.parse(file.read_text())) or ""
        named = set(re.findall(r"\b(\w+)\.py\b", text))
        assert named == {path.stem for path in modules} - ({"__init__"} - named)
