"""From Snakemake's jobs to requests: files, command, image, resources. Only this file reads Snakemake's job objects."""

import re
from collections.abc import Iterable
from typing import Any

from snakemake.shell import shell
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from .submission import Request, Resources, SubmissionError
from .volumes import StoredFile, Volume, VolumeError, plan_volumes

KINDS = ("script", "run", "notebook", "wrapper", "cwl")


def list_problems(job: JobExecutorInterface, default_image: str | None) -> list[str]:
    """Why a job can never run on the platform, whatever its resources; empty if it can."""
    problems = []
    kind = next((kind for kind in KINDS if getattr(job, f"is_{kind}", False)), None)
    if kind or not job.is_shell:
        problems.append(
            f"it has `{kind or 'something else'}:`, which needs Snakemake in the image; use `shell:`, or make it a "
            "local rule with `localrule: True`"
        )
    if not job.container_img_url and not default_image:
        problems.append("it has no `container:`, and there is no --ovhai-image for such rules")
    if job.benchmark:
        problems.append("it has `benchmark:`, which only Snakemake itself could write; leave it out")
    for what, files in (("input", job.input), ("output", job.output), ("log", job.log)):
        for file in files:
            if not file.is_storage or not hasattr(file.storage_object, "bucket"):
                problems.append(f"its {what} {file} is not in the S3 storage, so that a job cannot reach it")
            elif what == "output" and file.flags.get("directory"):
                problems.append(f"its output {file} is a directory(), which is never seen in S3; make it a tar")
            elif any(file.flags.get(flag) for flag in ("pipe", "service")):
                problems.append(f"its {what} {file} is a pipe() or service(), which cannot leave a machine")
    return problems


def get_resources(job: JobExecutorInterface, default_runtime: int) -> tuple[Resources | None, int | None]:
    """What a job asks for and its mem_mb; None where that depends on files which are not there yet."""
    try:
        resources = job.resources
        flavor = resources.get("flavor", "")
        numbers = [resources.get("gpu", 0), job.threads, resources.get("runtime", default_runtime)]
    except Exception:  # functions of the user, which may read their input
        return None, None
    if not all(isinstance(number, int) for number in numbers) or not isinstance(flavor, str):
        return None, None  # <TBD>
    gpu, cpu, runtime = numbers
    memory = resources.get("mem_mb")
    asked = "mem_mb" in getattr(job.rule, "resources", {}) if not job.is_group() else False
    return Resources(gpu, cpu, flavor, runtime), memory if asked and isinstance(memory, int) else None


def get_request(
    job: JobExecutorInterface, default_image: str | None, default_runtime: int, sources: Iterable[Volume], root: str
) -> Request:
    """A job or a group of jobs. SubmissionError says why it cannot be one of the platform's."""
    members = [member for level in job.toposorted for member in level] if job.is_group() else [job]
    problems = [problem for member in members for problem in list_problems(member, default_image)]
    if problems:
        raise SubmissionError("; ".join(dict.fromkeys(problems)))
    images = {str(member.container_img_url or default_image).removeprefix("docker://") for member in members}
    if len(images) > 1:
        raise SubmissionError(f"the rules of a group need one image, these have {' and '.join(sorted(images))}")
    resources, _ = get_resources(job, default_runtime)
    if resources is None:
        raise SubmissionError(
            f"its resources gpu, runtime (both numbers) and flavor (text) cannot be read: {dict(job.resources)}"
        )
    if any("<TBD>" in member.shellcmd for member in members):
        raise SubmissionError(
            "its command uses a resource that only the machine of the job knows, such as {resources.tmpdir}; "
            "write /tmp or a variable of the shell instead"
        )
    inputs = unique(file for member in members for file in map(get_stored, member.input))
    outputs = unique(file for member in members for file in map(get_stored, member.output))
    kept = unique(get_stored(file) for member in members for file in member.output if file.flags.get("update"))
    logs = unique(file for member in members for file in map(get_stored, member.log))
    inner = frozenset(inputs) & frozenset(outputs)
    try:
        volumes = plan_volumes([file for file in inputs if file not in inner], [*outputs, *logs], root)
    except VolumeError as error:
        raise SubmissionError(str(error)) from None
    wildcards: dict[str, str] = {}
    for member in members:
        wildcards |= {name: str(value) for name, value in member.wildcards.items()}
    return Request(
        rule="-".join(dict.fromkeys(member.rule.name for member in members)),
        wildcards=wildcards,
        attempt=job.attempt,
        command="\n".join(["set -e", *(f"(\n{get_shell_prefix()}{member.shellcmd}\n)" for member in members)]),
        image=images.pop(),
        params=[get_params(member) for member in members],
        resources=resources,
        inputs=inputs,
        outputs=outputs,
        kept=kept,
        logs=logs,
        volumes=(*volumes, *sources),
        inner=inner,
    )


def get_shell_prefix() -> str:
    """What Snakemake puts before each command: bash's strict mode, or the workflow's own `shell.prefix(...)`."""
    return str(shell._get_process_prefix("bash"))


def get_stored(file: Any) -> StoredFile:
    return StoredFile(file.storage_object.bucket, file.storage_object.key, str(file))


def get_params(job: JobExecutorInterface) -> list[str]:
    """As text that is the same in every process: sets in order, objects without their address."""
    named = {index: name for name, (index, _) in getattr(job.params, "_names", {}).items()}
    return [f"{named.get(index, '')}={get_text(value)}" for index, value in enumerate(job.params)]


def get_text(value: Any) -> str:
    text = repr(sorted(map(repr, value))) if isinstance(value, (set, frozenset)) else repr(value)
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def unique(files: Iterable[StoredFile]) -> tuple[StoredFile, ...]:
    return tuple(dict.fromkeys(files))
