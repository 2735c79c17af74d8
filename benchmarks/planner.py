"""`snakemake`, changed in one way, for planning.py: python planner.py HOW ARGUMENTS

as-is        not changed
one-by-one   Snakemake asks the bucket about each object in turn, as it does without the executor's listing
make         it plans, then every output is made, empty and with its record; nothing runs
profile      the time goes into the file `profile` of the working folder, for Python's pstats
"""

import cProfile
import itertools
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import snakemake.cli
from snakemake.dag import DAG

RECORDS = 100  # in one object of the bucket, as the executor writes them


def main() -> None:
    how = {"as-is": plan, "one-by-one": plan_one_by_one, "make": make, "profile": profile}[sys.argv[1]]
    sys.argv[:2] = ["snakemake"]
    how()


def plan() -> None:
    snakemake.cli.main()


def plan_one_by_one() -> None:
    from snakemake_executor_plugin_ovhai import inventory

    inventory.attach = lambda: None
    plan()


def profile() -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        plan()
    finally:
        profiler.disable()
        profiler.dump_stats("profile")


def make() -> None:
    init: Callable[..., Any] = DAG.init

    async def init_and_make(dag: Any, *arguments: Any, **keywords: Any) -> None:
        await init(dag, *arguments, **keywords)
        say("planned")
        make_outputs(dag)
        say("made")
        await record_outputs(dag)
        say("recorded")

    DAG.init = init_and_make
    plan()


def make_outputs(dag: Any) -> None:
    """Inputs before outputs: each level is older than the next by a second, the unit of an object's date."""
    for level in dag.toposorted():
        files = [file for job in level for file in job.output]
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(make_file, files):
                pass
        time.sleep(1)


def make_file(file: Any) -> None:
    """A few bytes that no other file has."""
    content = f"{file}\n".encode()
    if file.is_storage:
        stored = file.storage_object
        stored.provider.s3c.meta.client.put_object(Bucket=stored.bucket, Key=stored.key, Body=content)
    else:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_bytes(content)


async def record_outputs(dag: Any) -> None:
    """As after each job of a run, but with one listing in place of questions about each object."""
    workflow = dag.workflow
    workflow.iocache = type(workflow.iocache)(0)
    provenance = getattr(workflow.persistence, "provenance", None)
    if provenance is not None:
        from snakemake_executor_plugin_ovhai.inventory import fill
        from snakemake_executor_plugin_ovhai.provenance import Made

        provenance.loaded = False
        fill(workflow)
        provenance.note({uri: Made(info, (), {}) for uri, info in provenance.objects.items()})
        workflow.persistence.save = lambda: None  # below, for many jobs at once
    for job in itertools.chain(*dag.toposorted()):
        if job.output:
            await workflow.persistence.finished(job)
        if provenance is not None and len(provenance.own) >= RECORDS:
            provenance.flush()
            provenance.own, provenance.own_key = [], provenance.make_key()
    if provenance is not None:
        provenance.flush()


def say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", file=sys.stderr)


if __name__ == "__main__":
    main()
