"""videomesh-accept: results that are there stand, although Snakemake calls them stale.

After an upgrade, or a change that makes no difference, this writes into Snakemake's records that the results of the
chosen stages and scenes were made as the workflow makes them now. No result changes. What else is given, such as
--profile or --configfile, is for Snakemake and the same as in the runs that made the results.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from snakemake import cli
from snakemake.settings.types import ExecutionSettings
from snakemake.workflow import Workflow

from videomesh.errors import UserError, run, suggest

STAGES = ("ingest", "frames", "poses", "region", "gate", "train", "mesh", "report", "deliver")


def main() -> None:
    run(accept)


def accept() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help=f"{', '.join(STAGES)}; all without this option")
    parser.add_argument("--scenes", nargs="+", metavar="SCENE", help="names of scenes; all without this option")
    args, for_snakemake = parser.parse_known_args()
    check_names("stage", args.stages or [], STAGES)

    def accept_planned(workflow: Workflow) -> None:
        try:
            results = plan(workflow)
            check_names("scene", args.scenes or [], sorted({get_scene(job) for job in results} - {""}))
            chosen = [job for job in results if is_chosen(job, args.stages, args.scenes)]
            with workflow.persistence.lock():
                asyncio.run(record(workflow, results, chosen))
        except UserError as error:
            sys.exit(f"error: {error}")

    # Snakemake has no hook for a plan that is made and not carried out. This is what --dag does with it.
    Workflow.printdag = accept_planned
    cli.main([*for_snakemake, "--quiet", "--dag"])


def check_names(kind: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"there is no {kind} {name}.{suggest(name, known)} The {kind}s are {', '.join(known)}.")


def plan(workflow: Any) -> list[Any]:
    """All jobs that the workflow consists of, whether they would run or not; each after those that it depends on."""
    workflow.execution_settings = workflow.execution_settings or ExecutionSettings()  # --dag needs none
    workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=False)
    workflow._build_dag()
    workflow.iocache.deactivate()  # dates change below
    return [job for level in workflow.dag.toposorted() for job in level if job.output]


def get_stage(job: Any) -> str:
    """resources/videos/lamp/video.mp4 is of the stage ingest, results/lamp/mesh/3000/mesh.ply of mesh."""
    path = get_path(job.output[0]).split("/")
    if path[0] == "deliver":
        return "deliver"
    if path[0] == "resources":
        return "ingest" if path[1] == "videos" else "train"
    return path[2]


def get_path(file: Any) -> str:
    """Below the storage prefix, or below the working folder."""
    path = str(file.storage_object.query if file.is_storage else file)
    parts = path.split("/")
    start = max((parts.index(name) for name in ("results", "resources", "deliver") if name in parts), default=0)
    return "/".join(parts[start:])


def get_scene(job: Any) -> str:
    return str(getattr(job.wildcards, "scene", ""))


def is_chosen(job: Any, stages: Sequence[str] | None, scenes: Sequence[str] | None) -> bool:
    return (not stages or get_stage(job) in stages) and (not scenes or get_scene(job) in scenes)


async def record(workflow: Any, results: Sequence[Any], chosen: Sequence[Any]) -> None:
    """Write the records of the chosen jobs, as after a run; and say which these are."""
    persistence = workflow.persistence
    touched: set[str] = set()
    accepted = 0
    for job in results:
        missing = [str(file) for file in job.output if not await file.exists()]
        reasons = [] if missing else await find_reasons(persistence, job)
        newer = not missing and await has_newer_input(persistence, job)
        if job in chosen and missing:
            print(f"{describe(job)}: there is nothing to accept, since {missing[0]} does not exist")
        elif job in chosen and await persistence.incomplete(job):
            print(f"{describe(job)}: a run that was cut off left this half written; it is made again")
        elif job in chosen and (reasons or newer):
            if newer:
                touched |= await touch(job)
            await persistence.finished(job)
            accepted += 1
            print(f"{describe(job)}: accepted ({', '.join([*reasons, *(['newer input'] if newer else [])])})")
        elif newer and not reasons and touched & set(map(str, job.input)):
            touched |= await touch(job)  # only since the date of its input has just changed
            await persistence.finished(job)  # a copy in a bucket may get another checksum
    print(f"Accepted: {accepted}. `snakemake -n` with the same options shows what is left to do.")


def describe(job: Any) -> str:
    return " ".join(filter(None, [get_scene(job), get_stage(job), f"(rule {job.rule.name})"]))


async def find_reasons(persistence: Any, job: Any) -> list[str]:
    """Why Snakemake would make the outputs again, apart from dates: in the words of its plan."""
    if not persistence.has_metadata(job):
        return ["no record"]
    found = {
        "parameters": bool(persistence.params_changed(job)),
        "set of inputs": any(persistence.input_changed(job)),
        "code": any(persistence.code_changed(job)),
        "software environment": any(persistence.software_stack_changed(job)),
        "inputs' content": await has_other_inputs(persistence, job),
    }
    return [name for name, changed in found.items() if changed]


async def has_other_inputs(persistence: Any, job: Any) -> bool:
    """Whether a small input has another checksum than in the record."""
    for file in job.input:
        now = await file.checksum(persistence.max_checksum_file_size)
        then = persistence.input_checksums(job, str(file)) - {None}
        if now and then and then != {now}:
            return True
    return False


async def has_newer_input(persistence: Any, job: Any) -> bool:
    """Whether the date of an input makes Snakemake run the job. It does not if the content is known to be the same."""
    oldest = min([(await file.mtime()).local_or_storage() for file in job.output])
    return any(
        [
            await file.exists() and await file.is_newer(oldest) and not await is_same(persistence, job, file)
            for file in job.input
        ]
    )


async def is_same(persistence: Any, job: Any, file: Any) -> bool:
    """Whether an input has the checksum that is in the records of all outputs."""
    limit = persistence.max_checksum_file_size
    if not await file.is_checksum_eligible(limit):
        return False
    then = persistence.input_checksums(job, file)
    return len(then) == 1 and await file.is_same_checksum(then.pop(), limit)


async def touch(job: Any) -> set[str]:
    """Give the outputs the date of the newest input, or in a bucket the present one, the only one that it gives."""
    newest = max([(await file.mtime()).local_or_storage(follow_symlinks=True) for file in job.input])
    for file in job.output:
        if file.is_storage:
            stored = file.storage_object.s3obj()
            source = {"Bucket": stored.bucket_name, "Key": stored.key}
            keep = {"Metadata": stored.metadata, "MetadataDirective": "REPLACE"}
            stored.meta.client.copy(source, stored.bucket_name, stored.key, ExtraArgs=keep)
        else:
            os.utime(file, (newest, newest))
    return set(map(str, job.output))


if __name__ == "__main__":
    main()
