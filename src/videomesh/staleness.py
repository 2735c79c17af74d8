"""What makes a stage stale: checksums of the programs that its rule calls, and what comes before it in name only.

Snakemake compares parameters, inputs and the text of a rule's command. It does not look into the programs that the
command calls, so their checksum goes into the parameters of the rule.
"""

import ast
import contextlib
import functools
import hashlib
import inspect
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from videomesh.files import outputs

# Only the reader of a program sees these: arguments of calls, by their names.
WORDS = {"help", "description", "metavar", "epilog"}
STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)


class Facts(NamedTuple):
    """What a program consists of, as far as it counts."""

    digest: str  # of what it does
    imports: Sequence[tuple[int, str, Sequence[str]]]  # dots, module and names of each import, as they are written


def get_code(root: Path, *programs: str, idle: Sequence[str] = ()) -> str:
    """A checksum over programs and all that they import, in 16 hexadecimal digits.

    idle: programs that are imported and do nothing, as the settings are; they and their imports do not count

    Programs are paths below root, the folder of the Snakefile; what they import is looked for in root/src. What only
    people read makes no difference: comments, docstrings, layout, messages of errors, printed text, help texts. Nor
    does the place of the checkout.
    """
    content, known = hashlib.sha256(), open_known()
    paths = [root / program for program in programs]
    for file in sorted(find_imported(root / "src", *paths, idle=[root / program for program in idle])):
        content.update(f"{file.relative_to(root)}\n{known.get(file.read_bytes()).digest}\n".encode())
    known.save()
    return content.hexdigest()[:16]


# --- facts that are known ---------------------------------------------------------------------------------------------

# To read all programs takes most of the time of a plan, so what was found is kept beside Snakemake's own records.
KNOWN = Path(".snakemake/programs.json")
MOST = 2000  # programs; more are those of many versions, and it begins anew


class Known:
    """Facts by checksum of a program. None if this module, which finds them, was another one."""

    def __init__(self) -> None:
        self.by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        self.facts: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(KNOWN.read_text())
            if found["by"] == self.by and len(found["facts"]) < MOST:
                self.facts = {key: [str(digest), list(imports)] for key, (digest, imports) in found["facts"].items()}
        self.saved = len(self.facts)

    def get(self, content: bytes) -> Facts:
        key = hashlib.sha256(content).hexdigest()
        if key not in self.facts:
            tree = ast.parse(content)
            self.facts[key] = [hashlib.sha256(show(tree).encode()).hexdigest(), list_statements(tree)]
        return Facts(*self.facts[key])

    def save(self) -> None:
        """If that cannot be, the next plan only takes longer."""
        if len(self.facts) > self.saved:
            with contextlib.suppress(OSError), outputs(KNOWN) as (part,):
                part.write_text(json.dumps({"by": self.by, "facts": self.facts}))
            self.saved = len(self.facts)


@functools.cache  # rules share most of their code
def open_known() -> Known:
    return Known()


# --- imports ----------------------------------------------------------------------------------------------------------


def find_imported(sources: Path, *programs: Path, idle: Sequence[Path] = ()) -> set[Path]:
    """The programs and, through all levels, the modules below sources that they import, wherever in the file.

    idle: modules that are left out
    """
    ours = {path.stem for path in sources.iterdir()}
    found: set[Path] = set()
    names: set[str] = set()
    todo = list(programs)
    while todo:
        file = todo.pop()
        if file not in found and file not in idle:
            found.add(file)
            package = file.relative_to(sources).with_suffix("").parts[:-1] if sources in file.parents else ()
            imported = list_imports(file.read_bytes(), package)
            new = {name for name in imported if name.partition(".")[0] in ours} - names
            names |= new
            todo += [path for name in new for path in find_files(sources, name)]
    return found


def list_imports(content: bytes, package: Sequence[str]) -> set[str]:
    """Dotted names that a file of a package imports, if it runs: `from a.b import c` gives a.b and a.b.c."""
    names = set()
    for dots, module, parts in open_known().get(content).imports:
        begin = package[: len(package) + 1 - dots] if dots else []
        whole = ".".join([*begin, *filter(None, [module])])
        names |= {whole, *(f"{whole}.{part}" for part in parts)}
    return names


def list_statements(tree: ast.Module) -> list[tuple[int, str, Sequence[str]]]:
    found: list[tuple[int, str, Sequence[str]]] = []
    for node in walk(tree):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return found


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """All statements, and what holds some, but those that only type checkers see."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, STATEMENTS) and not (
            isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        ):
            yield from walk(child)


def find_files(sources: Path, name: str) -> Iterator[Path]:
    """Files that Python runs for `import name`: those of the packages around it too."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = sources.joinpath(*parts[:depth])
        candidates = (path / "__init__.py", path.with_suffix(".py"))
        yield from (file for file in candidates if file.is_file())


# --- what a program does ----------------------------------------------------------------------------------------------


def show(node: Any) -> str:
    """A program as text that is the same for two programs that do the same but for what they say to people.

    The text is the same in all versions of Python from 3.11 on: fields that are empty, some of which only newer
    versions have, are left out.
    """
    if isinstance(node, list):
        return f"[{','.join(filter(None, map(show, node)))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Expr) and is_said(node.value):
        return ""
    fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        fields = [("exc", node.exc.func)]
    if isinstance(node, ast.Call):
        said = [keyword for keyword in node.keywords if keyword.arg in WORDS]
        fields = [
            (name, [k for k in value if k not in said] if name == "keywords" else value) for name, value in fields
        ]
    return f"{type(node).__name__}({','.join(f'{name}={show(value)}' for name, value in fields if value != [])})"


def is_said(value: ast.expr) -> bool:
    """A docstring or another text that stands alone, or a print() that writes into no file."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, str)
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print"):
        return False
    targets = [ast.unparse(keyword.value) for keyword in value.keywords if keyword.arg == "file"]
    return targets in ([], ["sys.stderr"])


# --- Snakemake's plan -------------------------------------------------------------------------------------------------


# What the way below stands on, in DAG.update_needrun.
READS = (
    "depending = self.depending",
    "masked.update(self.bfs(self.depending, job))",
    "f.is_ancient and await f.exists()",
)


def keep_order_only(dag_class: Any) -> bool:
    """Let an input marked ancient() say "first that", and nothing else. Returns whether this Snakemake can do it.

    The verdict of the gate is such an input of the training. Snakemake 9.27.1 almost does so, but for two cases:
    * It looks for no reason of a job if any job before it runs, since it would run anyway. If every way from there
      leads through ancient files, the job then does not run, whatever its own reasons are.
    * An ancient file that is missing makes a job run again as soon as it is made. A verdict of "no" leaves none.

    Both are gone if the plan does not see the ways that lead through ancient files only: jobs still wait for what they
    depend on, and ask for what is missing, since that follows the ways in the other direction.
    """
    update_needrun: Callable[..., Awaitable[None]] = dag_class.update_needrun
    if getattr(update_needrun, "keeps_order_only", False):
        return True
    source = inspect.getsource(update_needrun)
    if not all(source.count(line) == 1 for line in READS):
        return False

    async def update(dag: Any, *arguments: Any, **keywords: Any) -> None:
        whole = dag.depending
        dag.depending = without_ancient(whole)
        try:
            await update_needrun(dag, *arguments, **keywords)
        finally:
            dag.depending = whole

    update.keeps_order_only = True  # type: ignore[attr-defined]
    dag_class.update_needrun = update
    return True


def without_ancient(depending: Mapping[Any, Mapping[Any, Any]]) -> dict[Any, dict[Any, Any]]:
    """Job -> jobs that read its outputs -> the files, without readers for which all of them are ancient."""
    kept: dict[Any, dict[Any, Any]] = defaultdict(dict)
    for job, readers in depending.items():
        for reader, files in readers.items():
            if not all(file.is_ancient for file in files):
                kept[job][reader] = files
    return kept
