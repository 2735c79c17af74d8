"""Flags and keywords of Snakemake: the same rules run with `snakemake -c1` and with the executor, or are refused.

The table in docs/further.md has a row for each of them.
"""

import ast
import hashlib
import inspect
import json
import os
import re
import textwrap
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
import snakemake.cli  # first: the modules import each other
import snakemake.io
import snakemake.ioflags
import snakemake.ioutils
import snakemake.workflow
from heads import SNAKEFILE, Head, finish, start_and_kill, states, strip_colours
from snakemake import parser
from snakemake.benchmark import BenchmarkRecord
from snakemake.io.flags import access_patterns
from snakemake.jobs import Job

import s3_server
from snakemake_executor_plugin_ovhai import flags
from snakemake_executor_plugin_ovhai.bucket import Bucket, BucketError, ObjectInfo
from snakemake_executor_plugin_ovhai.flags import Verifier, get_ensured
from snakemake_executor_plugin_ovhai.job_spec import EnsuredFile, SubmissionError
from snakemake_executor_plugin_ovhai.updates import keep_good_outputs
from snakemake_executor_plugin_ovhai.volumes import StoredFile
from snakemake_process import run_snakemake

GOOD = b"good\n"
CHECKSUMS = {name: hashlib.new(name.lower(), GOOD).hexdigest() for name in ("SHA256", "SHA1", "MD5")}

# Name of a rule -> its text. A rule writes below results/NAME/. NAME stands for the rule's name, SHA256 for the
# checksum of GOOD. Every rule gets a container. A rule whose name ends with `_wrong` fails.
CASES = {
    # flags
    "ensure_filled": """
        output: ensure("results/NAME/a.txt", non_empty=True)
        shell: "echo good > {output}" """,
    "ensure_filled_wrong": """
        output: ensure("results/NAME/a.txt", non_empty=True)
        shell: ": > {output}" """,
    "ensure_sha256": """
        output: ensure("results/NAME/a.txt", sha256="SHA256")
        shell: "echo good > {output}" """,
    "ensure_sha256_wrong": """
        output: ensure("results/NAME/a.txt", sha256="SHA256")
        shell: "echo bad > {output}" """,
    "ensure_function": """
        output: ensure("results/NAME/{x}.txt", sha256=lambda wildcards: "SHA256" if wildcards.x == "a" else "")
        shell: "echo good > {output}" """,
    "ensure_md5_wrong": """
        output: ensure("results/NAME/a.txt", md5="MD5"), "results/NAME/b.txt"
        shell: "echo bad | tee {output}" """,
    "ensure_sha1": """
        output: ensure("results/NAME/a.txt", sha1="SHA1", non_empty=True)
        shell: "echo good > {output}" """,
    "touched": """
        output: touch("results/NAME/a.done")
        log: "results/NAME/a.log"
        shell: "true" """,
    "touched_and_written": """
        singularity: "docker://example/tools:1"
        output: touch("results/NAME/a.done"), "results/NAME/b.txt"
        shell: "echo content | tee {output}" """,
    "protected_file": """
        output: protected("results/NAME/a.txt")
        shell: "echo good > {output}" """,
    "several_ends": """
        output: report(multiext("results/NAME/a", ".x", ".y"), category="x")
        shell: "echo good | tee {output}" """,
    "named_ends": """
        containerized: "docker://example/tools:1"
        output: multiext("results/NAME/a", x=".x", y=".y")
        shell: "echo x > {output.x}; echo y > {output.y}" """,
    "flagged_inputs": """
        input: ancient("results/several_ends/a.x"), access.sequential("results/several_ends/a.y"), unpack(get_ends),
            access.multi("results/several_ends/a.x")
        output: access.random("results/NAME/a.txt")
        shell: "cat {input} {input.x} > {output}" """,
    "temporary_file": """
        output: temp("results/NAME/a.txt"), temporary("results/NAME/c.txt"), "results/NAME/b.txt"
        shell: "echo good | tee {output}" """,
    "reader_of_temporary": """
        input: "results/temporary_file/a.txt"
        output: "results/NAME/a.txt"
        shell: "cat {input} > {output}" """,
    # keywords
    "shadow_minimal": """
        input: "results/several_ends/a.x"
        output: "results/NAME/a.txt"
        log: "results/NAME/a.log"
        shadow: "minimal"
        shell: "cat {input} | tee {output} {log} stray $(dirname {output})/stray" """,
    "shadow_copy": """
        input: "results/several_ends/a.x"
        output: "results/NAME/a.txt"
        shadow: "copy-minimal"
        shell: "echo more >> {input}; mv {input} {output}" """,
    "shadow_full": """
        input: "results/several_ends/a.x"
        output: "results/NAME/a.txt"
        shadow: "full"
        shell: "cat {input} $(dirname {input})/a.y programs/add.py | tee {output} $(dirname {output})/stray" """,
    "shadow_shallow": """
        input: "results/several_ends/a.x"
        output: "results/NAME/a.txt"
        shadow: "shallow"
        shell: "cat {input} $(dirname {input})/a.y programs/add.py > {output}; echo stray > stray" """,
    "shadow_wrong": """
        output: "results/NAME/a.txt"
        log: "results/NAME/a.log"
        shadow: "minimal"
        shell: "echo words > {log}; echo half > {output}; exit 3" """,
    "shadow_without_output_wrong": """
        output: "results/NAME/a.txt"
        shadow: "minimal"
        shell: "true" """,
    "benchmarked": """
        output: "results/NAME/a.txt"
        benchmark: "results/NAME/a.tsv"
        shell: "sleep 1.2; echo good > {output}" """,
    "benchmarked_often": """
        output: "results/NAME/a.txt"
        benchmark: repeat("results/NAME/a.jsonl", 2)
        shadow: "minimal"
        shell: "echo run {bench_iteration} >> {output}" """,
    "benchmarked_wrong": """
        output: "results/NAME/a.txt"
        benchmark: "results/NAME/a.tsv"
        shell: "echo half > {output}; false; true" """,
    "touched_wrong": """
        output: touch("results/NAME/a.txt")
        log: "results/NAME/a.log"
        shell: "false" """,
    "first_member": """
        output: touch("results/NAME/a.done"), temp("results/NAME/b.txt")
        benchmark: "results/NAME/a.tsv"
        group: "members"
        shell: "echo good > {output[1]}" """,
    "second_member": """
        input: "results/first_member/a.done", "results/first_member/b.txt"
        output: "results/NAME/a.txt"
        benchmark: "results/NAME/a.tsv"
        shadow: "minimal"
        group: "members"
        shell: "cat {input} > {output}" """,
    "variable": """
        output: "results/NAME/a.txt"
        shell: "echo $A_WORD $PREFIX > {output}" """,
    # After the checkpoint: Snakemake 9.27.1 forgets jobs that wait for another try when a checkpoint ends.
    "tried_again": """
        input: "results/a_checkpoint/a.txt"
        output: "results/NAME/a.txt"
        retries: 1
        resources: try_number=lambda wildcards, attempt: attempt
        shell: "echo {resources.try_number} > {output}; [ {resources.try_number} = 2 ]" """,
    "many_keywords": """
        name: "a_name"
        input: x="results/named_ends/a.x", rest=["results/named_ends/a.y"]
        output: "results/NAME/{word}-<part>.txt"
        wildcard_constraints: word="[a-z]+"
        params: words=["a b", "c"], function=lambda wildcards: wildcards.word * 2
        threads: 1
        priority: 5
        message: "words for {wildcards.word}"
        cache: True
        conda: "environment.yaml"
        envmodules: "no/such/module"
        group: "a_group"
        default_target: False
        pathvars: other="there"
        shell: "echo {params.words:q} {params.function} {threads} {rule} > {output}" """,
    "waits_for_checkpoint": """
        input: lambda wildcards: checkpoints.a_checkpoint.get().output[0]
        output: "results/NAME/a.txt"
        shell: "cat {input} > {output}" """,
    "handed_over": """
        output: "results/NAME/a.txt"
        handover: True
        resources: mem_mb=10
        shell: "echo good > {output}" """,
    "here": """
        output: "results/NAME/a.txt"
        localrule: True
        run: open(output[0], "w").write("good") """,
}
FIRST = """
envvars: "A_WORD"
shell.prefix("set -euo pipefail; export PREFIX=prefix; ")
shell.suffix(" ; true")

pathvars:
    part="here"

def get_ends(wildcards):
    return {"x": "results/named_ends/a.x"}

"""
# What a second run finds. `updated` fails if the configuration says so.
AGAIN = {
    "updated": """
        output: update("results/NAME/a.txt")
        shell: "echo more >> {output}; exit {config[end]}" """,
    "before_updated": """
        input: before_update("results/updated/a.txt")
        output: "results/NAME/a.txt"
        shell: "cat {input} > {output}" """,
    "stopped_halfway": """
        output: "results/NAME/a.txt"
        shell: "echo half > {output}; exit 3" """,
    "protected_file": """
        output: protected("results/NAME/a.txt")
        shell: "echo good > {output}" """,
}
REST = """
checkpoint a_checkpoint:
    output: "results/a_checkpoint/a.txt"
    container: "docker://example/tools:1"
    shell: "echo check > {output}"
"""
TARGETS = {
    "several_ends": ["results/several_ends/a.x"],
    "named_ends": ["results/named_ends/a.x"],
    "touched": ["results/touched/a.done"],
    "touched_and_written": ["results/touched_and_written/a.done"],
    "temporary_file": [],
    "first_member": [],
    "many_keywords": ["results/many_keywords/tea-here.txt"],
}

HAS_OWN = re.compile(r"\b(handover|localrule|singularity|containerized):")


def write_snakefile(cases: dict[str, str], rest: str = "") -> str:
    """A workflow that asks for all cases."""
    targets = [path for name in cases for path in TARGETS.get(name, [f"results/{name}/a.txt"])]
    rules = []
    for name, text in cases.items():
        for word, meaning in {"NAME": name, **CHECKSUMS}.items():
            text = text.replace(word, meaning)
        body = textwrap.indent(textwrap.dedent(text).strip(), "    ")
        container = "" if HAS_OWN.search(text) else '    container: "docker://example/tools:1"\n'
        rules.append(f"rule {name}:\n{container}{body}\n")
    first = f"rule all:\n    input: {targets!r}\n    default_target: True\n\n"
    return FIRST + first + "\n".join(rules) + rest


class Pair:
    """The same workflow twice: with `snakemake -c1` in a folder, and with the executor."""

    def __init__(self, head: Head, folder: Path) -> None:
        self.head, self.folder = head, folder

    def write(self, snakefile: str) -> None:
        for folder in (self.head.folder, self.folder):
            (folder / "programs").mkdir(parents=True, exist_ok=True)
            (folder / "programs" / "add.py").write_text("# a program\n")
            (folder / "environment.yaml").write_text("dependencies: [no-such-program]\n")
            (folder / "Snakefile").write_text(snakefile)

    def run(self, *arguments: str) -> tuple[str, str]:
        """Returns what the two say."""
        common = ["--keep-going", "--envvars", "A_WORD", "--config", "end=0", *arguments]
        # Without --force-use-threads, Snakemake starts another Snakemake for each rule with `shadow:`.
        local = ["-c1", "--force-use-threads", "--latency-wait", "0"]
        here = run_snakemake([*local, *common], self.folder, dict(os.environ))
        there = self.head.run(*common, timeout=600)  # many jobs, on a machine that may be busy
        assert here.returncode == there.returncode, there.stdout
        assert "Traceback" not in there.stdout, there.stdout
        return strip_colours(here.stdout), strip_colours(there.stdout)

    def files(self) -> tuple[dict[str, str], dict[str, str]]:
        """Below results/: names and contents."""
        top = self.folder / "results"
        here = {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}
        client, prefix = self.head.s3.client(), f"{self.head.prefix}/results/"
        entries = client.list_objects_v2(Bucket=self.head.bucket, Prefix=prefix).get("Contents", [])
        keys = [entry["Key"].removeprefix(prefix) for entry in entries]
        return here, {key: self.head.stored(f"results/{key}") or "" for key in keys if not key.endswith("/")}


@pytest.fixture
def pair(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setenv("A_WORD", "a word")
    return Pair(head, tmp_path / "here")


def failed_rules(said: str) -> set[str]:
    return set(re.findall(r"(?:Error|Exception) in rule (\w+)", said))


def is_benchmark(name: str) -> bool:
    return name.endswith((".tsv", ".jsonl"))


def test_each_flag_and_keyword_has_the_same_outcome_as_on_one_machine(pair: Pair) -> None:
    pair.write(write_snakefile(CASES, REST))
    said_here, said_there = pair.run()
    here, there = pair.files()
    print(said_here, said_there)
    assert failed_rules(said_here) == failed_rules(said_there)
    assert failed_rules(said_there) - {"tried_again"} == {name for name in CASES if name.endswith("_wrong")}
    assert sorted(here) == sorted(there)
    assert {name: text for name, text in here.items() if not is_benchmark(name)} == {
        name: text for name, text in there.items() if not is_benchmark(name)
    }
    compare_tables(here["benchmarked/a.tsv"], there["benchmarked/a.tsv"])
    for text in (here["benchmarked_often/a.jsonl"], there["benchmarked_often/a.jsonl"]):
        rows = [json.loads(line) for line in text.splitlines()]
        assert len(rows) == 2 and all(set(row) == set(BenchmarkRecord.get_header()) for row in rows)


def compare_tables(here: str, there: str) -> None:
    """The same columns. Times are alike; memory and disk are not measured in a job."""
    mine, theirs = (dict(zip(*map(str.split, text.splitlines()), strict=True)) for text in (here, there))
    assert list(mine) == list(theirs) == BenchmarkRecord.get_header()
    assert 1.2 <= float(theirs["s"]) < float(mine["s"]) + 5
    assert re.fullmatch(r"0:00:0\d", theirs["h:m:s"])
    assert 0 <= float(theirs["cpu_time"]) < 2 and 0 <= float(theirs["mean_load"]) < 100
    assert {theirs[name] for name in ("max_rss", "max_vms", "max_uss", "max_pss", "io_in", "io_out")} == {"NA"}


def test_what_exists_already_has_the_same_outcome_as_on_one_machine(pair: Pair) -> None:
    """update() that fails, --keep-incomplete, and protected()."""
    pair.write(write_snakefile(AGAIN))
    pair.run("--keep-incomplete", "--", "updated", "protected_file", "stopped_halfway")
    here, there = pair.files()
    assert here == there
    assert there == {
        "updated/a.txt": "more\n",
        "protected_file/a.txt": "good\n",
        "stopped_halfway/a.txt": "half\n",
    }

    said = pair.run("--config", "end=3", "--forcerun", "updated", "stopped_halfway")
    assert failed_rules(said[0]) == failed_rules(said[1]) == {"updated", "stopped_halfway"}
    here, there = pair.files()
    assert here == there
    assert there["updated/a.txt"] == there["before_updated/a.txt"] == "more\n"
    assert "stopped_halfway/a.txt" not in there

    jobs = len(pair.head.platform.jobs())
    # Snakemake protects the file here by its mode, which does not stop root, so only the executor is asked.
    assert not (pair.folder / "results/protected_file/a.txt").stat().st_mode & 0o222
    refused = pair.head.run("--envvars", "A_WORD", "--config", "end=0", "--forcerun", "protected_file")
    assert refused.returncode == 1
    words = r"rule protected_file: .*protected_file/a.txt is protected\(\) and exists"
    assert re.search(words, strip_colours(refused.stdout)), refused.stdout
    assert len(pair.head.platform.jobs()) == jobs
    assert pair.head.stored("results/protected_file/a.txt") == "good\n"


OUTPUT, SHELL = 'output: "results/NAME/a.txt"', 'shell: "cat {input} > {output}"'
# Name of a rule -> its lines, and what the refusal says. Nothing, if the rule is there only for another one.
REFUSED = {
    "piped": (['output: pipe("results/NAME/a.txt")', SHELL], r"pipe\(\) or service\(\), which cannot leave a machine"),
    "pipe_reader": (['input: "results/piped/a.txt"', OUTPUT, SHELL], ""),
    "serves": (['output: service("results/NAME/a.txt")', SHELL], r"is a pipe\(\) or service\(\)"),
    "service_reader": (['input: "results/serves/a.txt"', OUTPUT, SHELL], ""),
    "on_one_node": (['output: temp("results/NAME/a.txt", group_jobs=True)', SHELL], r"leave group_jobs out"),
    "node_reader": (['input: "results/on_one_node/a.txt"', OUTPUT, SHELL], ""),
    "folder": (['output: directory("results/NAME/a.txt")', SHELL], r"directory\(\).*make it a tar"),
    "other_storage": (
        ['output: storage.other("s3://BUCKET/other/b"), "results/NAME/a.txt"', SHELL],
        "not in the S3 stor",
    ),
    "not_retrieved": (
        ['input: storage("s3://BUCKET/work/there/a.txt", retrieve=False)', OUTPUT, SHELL],
        "retrieve=False",
    ),
    "source_file": (
        ['input: sourcecache_entry(workflow.source_path("Snakefile"), "Snakefile")', OUTPUT, SHELL],
        "is not in the S3 storage",
    ),
    "with_conda": ([OUTPUT, 'conda: "environment.yaml"', SHELL], "it has `conda:`.*container"),
    "with_modules": ([OUTPUT, 'envmodules: "a/module"', SHELL], "it has `envmodules:`.*container"),
    "cached": ([OUTPUT, "cache: True", SHELL], "it has `cache:`.*leave the rule out of --cache"),
    "measured": ([OUTPUT, 'benchmark: "results/NAME/a.tsv"', SHELL], "it has `benchmark:`.*--benchmark-extended"),
    "runs": ([OUTPUT, 'run: open(output[0], "w")'], "it has `run:`.*localrule"),
    "scripted": ([OUTPUT, 'script: "programs/add.py"'], "it has `script:`"),
    "noted": ([OUTPUT, 'notebook: "programs/a.py.ipynb"'], "it has `notebook:`"),
    "wrapped": ([OUTPUT, 'wrapper: "file:programs/wrapper"'], "it has `wrapper:`"),
    "in_cwl": ([OUTPUT, 'cwl: "programs/a.cwl"'], "it has `cwl:`"),
    "templated": ([OUTPUT, 'group: "a_group"', 'template_engine: "jinja2"'], "it has `template_engine:`"),
}


def test_what_a_job_cannot_do_is_named_with_the_way_out(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"access_key": s3_server.ACCESS_KEY, "secret_key": s3_server.SECRET_KEY}
    settings = {"provider": "s3", "endpoint_url": head.s3.endpoint, **keys}
    rules = ["storage other:\n" + "".join(f"    {name}={value!r},\n" for name, value in settings.items())]
    rules.append("envvars: 'A_TOKEN'\n")
    wanted = [f"results/{name}/a.txt" for name in REFUSED if name not in ("piped", "serves", "on_one_node")]
    rules.append(f"rule all:\n    input: {wanted!r}\n")
    for name, (lines, _) in REFUSED.items():
        container = [] if name == "templated" else ['container: "docker://example/tools:1"']
        rule = "\n    ".join([f"rule {name}:", *container, *lines])
        rules.append(rule.replace("NAME", name).replace("BUCKET", head.bucket) + "\n")
    head.write(snakefile="\n".join(rules))
    (head.folder / "programs" / "wrapper").mkdir()
    for name in ("environment.yaml", "programs/wrapper/environment.yaml"):
        (head.folder / name).write_text("dependencies: [no-such-program]\n")
    for name in ("wrapper/wrapper.py", "a.cwl"):
        (head.folder / "programs" / name).write_text("")
    notebook = {"cells": [], "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}
    (head.folder / "programs" / "a.py.ipynb").write_text(json.dumps(notebook))
    head.s3.client().put_object(Bucket=head.bucket, Key="work/there/a.txt", Body=b"there\n")
    monkeypatch.setenv("A_TOKEN", "secret")
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(head.folder / "cache"))
    options = ["--cache", "cached", "--benchmark-extended", "--sdm", "conda", "env-modules", "--precommand", "true"]
    run = head.run(*options)
    said = strip_colours(run.stdout)
    assert run.returncode == 1 and "Traceback" not in said and "Nothing was submitted" in said, said
    for name, (_, words) in REFUSED.items():
        assert not words or re.search(f"rule {name}: .*{words}", said), f"{name}: {words}\n{said}"
    for words in ("`envvars:` names A_TOKEN, .*--envvars A_TOKEN", "--precommand: "):
        assert re.search(words, said), said
    assert head.platform.jobs() == []


# The table -----------------------------------------------------------------------------------------------------------


def read_table(heading: str) -> dict[str, str]:
    """Name -> done, refused or planning."""
    page = (Path(__file__).parents[1] / "docs" / "further.md").read_text()
    section = page.split(f"### {heading}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (`.*?) \| (done|refused|planning) \|", section, re.MULTILINE)
    return {name: state for names, state in rows for name in re.findall(r"`(\w+(?:\.\w+)?)`", names)}


def find_flags() -> set[str]:
    """All flags and helpers of the installed Snakemake: what calls flag() in its sources, and what Snakefiles know."""
    helpers: dict[str, object] = {}
    snakemake.ioflags.register_in_globals(helpers)
    snakemake.ioutils.register_in_globals(helpers)
    known = vars(snakemake.workflow).items()
    given = {name for name, value in known if inspect.isfunction(value) and value.__module__.startswith("snakemake.io")}
    made = {name for module in (snakemake.io, snakemake.ioflags) for name in find_callers_of_flag(module)}
    given.discard("IOFile")  # Snakemake's own way to make a file of a name
    return {*helpers, *given, *made, *(f"access.{name}" for name in find_callers_of_flag(access_patterns))}


def find_callers_of_flag(module: ModuleType) -> set[str]:
    functions = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions if re.search(r"\bflag\(", ast.unparse(function))}


def test_the_table_has_a_row_for_each_flag_and_keyword_of_the_installed_snakemake() -> None:
    assert find_flags() - set(read_table("Flags of files")) == set()
    assert set(parser.Rule.subautomata) == set(read_table("Keywords of a rule"))
    assert set(parser.Python.subautomata) == set(read_table("Keywords of a workflow"))


def test_each_row_has_a_case() -> None:
    tried = "\n".join([FIRST, REST, *CASES.values(), *AGAIN.values(), *(str(lines) for lines, _ in REFUSED.values())])
    tables = [read_table(heading) for heading in ("Flags of files", "Keywords of a rule", "Keywords of a workflow")]
    rows = {name for table in tables for name, state in table.items() if state != "planning"}
    assert [name for name in sorted(rows) if not re.search(rf"\b{re.escape(name)}[(: ]", tried)] == []


def test_a_snakemake_that_removes_outputs_in_another_way_is_told_of() -> None:
    class Other:
        async def cleanup(self, skip: object) -> None: ...

        async def postprocess(self) -> None: ...

    before = Other.cleanup
    assert "cleanup() has no" in keep_good_outputs(Other)
    assert Other.cleanup is before
    assert keep_good_outputs(Job) == "" and keep_good_outputs(Job) == ""


# ensure() ------------------------------------------------------------------------------------------------------------


class SlowBucket:
    """A bucket of one object that comes in pieces, of which any may fail."""

    def __init__(self, *pieces: bytes | BucketError) -> None:
        self.pieces, self.reads, self.go_on = pieces, 0, threading.Event()

    def get_info(self, file: StoredFile) -> ObjectInfo:
        return ObjectInfo("", datetime.now(UTC), 5)

    def read(self, file: StoredFile) -> Iterator[bytes]:
        self.reads += 1
        for piece in self.pieces:
            if isinstance(piece, BucketError) and self.reads == 1:
                raise piece
            if isinstance(piece, bytes):
                yield piece
            self.go_on.wait(20)


FILE = EnsuredFile(StoredFile("b", "k/a", "k/a"), True, "sha256", CHECKSUMS["SHA256"])


def test_jobs_are_watched_while_a_large_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "SMALL_FILE", 0.05)
    bucket = SlowBucket(b"go", b"od\n")
    verifier = Verifier(cast(Bucket, bucket))
    assert verifier.find_problem("job", [FILE]) is None
    assert verifier.find_problem("job", [FILE]) is None
    bucket.go_on.set()
    monkeypatch.setattr(flags, "SMALL_FILE", 20)
    assert verifier.find_problem("job", [FILE]) == ""
    assert bucket.reads == 1


def test_an_outage_while_a_file_is_read_is_no_verdict() -> None:
    bucket = SlowBucket(b"go", BucketError("503"), b"od\n")
    bucket.go_on.set()
    verifier = Verifier(cast(Bucket, bucket))
    with pytest.raises(BucketError):
        verifier.find_problem("job", [FILE])
    assert verifier.find_problem("job", [FILE]) == ""
    assert bucket.reads == 2


def test_a_function_for_a_checksum_that_fails_is_told_before_the_job_is_paid() -> None:
    flag = {"non_empty": False, "checksum": lambda wildcards: wildcards["no"], "checksum_algorithm": "md5"}
    with pytest.raises(SubmissionError, match=r"checksum of its output s3://b/k/a failed: KeyError\('no'\)"):
        get_ensured(FILE.file, flag, {})


# protected() ---------------------------------------------------------------------------------------------------------


def test_a_protected_output_of_a_run_that_was_killed_is_taken_over(head: Head) -> None:
    head.write("sleep 4;", snakefile=SNAKEFILE.replace('"results/{scene}/make/numbers.txt",', PROTECTED, 1))
    start_and_kill(head)
    (job,) = head.platform.jobs()
    head.platform.wait(job["id"])
    assert head.stored("results/a/make/numbers.txt") == "1\n2\n3\n"
    finish(head)
    assert states(head) == ["DONE"]


PROTECTED = 'protected("results/{scene}/make/numbers.txt"),'
