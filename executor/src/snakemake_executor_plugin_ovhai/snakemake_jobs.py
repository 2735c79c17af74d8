"""From Snakemake's jobs to job specs: files, command, container image, resources.

No other module reads the parameters or resources of Snakemake's job objects. flags.py reads flags and keywords.
"""

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from .flags import find_file_problem, find_keyword_problems, get_ensured, get_variables
from .job_spec import JobSpec, Member, Resources, SubmissionError
from .rule_script import Shadow, get_rule_script
from .volumes import StoredFile, Volume, VolumeError, plan_volumes

MEASURED = {"mem", "disk"}  # texts with a unit, which Snakemake reads as numbers
KINDS = ("script", "notebook", "wrapper", "cwl", "template_engine", "run")


def find_problems(job: JobExecutorInterface, default_image: str | None) -> list[str]:
    """Why a job can never run on the platform, whatever its resources. Empty if it can."""
    problems = []
    kind = next((kind for kind in KINDS if getattr(job, f"is_{kind}", False)), None)
    if kind or not job.is_shell:
        problems.append(
            f"it has `{kind or 'something else'}:`, which needs Snakemake in the container image; use `shell:`, or "
            "make it a local rule with `localrule: True`"
        )
    if not get_image(job, default_image):
        problems.append("it has no `container:`; add one, or set --ovhai-image for all such rules")
    problems += find_keyword_problems(job)
    provider = job.rule.workflow.storage_registry.default_storage_provider
    benchmarks = [job.benchmark] if job.benchmark else []
    for what, files in (("input", job.input), ("output", job.output), ("log", job.log), ("benchmark", benchmarks)):
        problems += filter(None, (find_file_problem(what, file, provider) for file in files))
    return problems


def get_image(job: JobExecutorInterface, default_image: str | None) -> str:
    """The container image as the platform knows it. Empty if there is none."""
    return str(job.container_img_url or default_image or "").removeprefix("docker://")


def find_image_problem(images: Iterable[str]) -> str | None:
    """images: the container images of a group's rules."""
    different = sorted(set(images))
    if len(different) < 2:
        return None
    return f"its rules have different container images, {' and '.join(different)}, but a group runs in one"


def find_flavor_problem(members: Iterable[JobExecutorInterface]) -> str | None:
    """members: of a group. A flavor that depends on files is checked when the job is submitted."""
    rules: dict[str, str] = {}  # flavor -> a rule that asks for it
    for member in members:
        if flavor := get_known_texts(member).get("flavor"):
            rules.setdefault(flavor, member.rule.name)
    if len(rules) < 2:
        return None
    named = " and ".join(f"{flavor} (rule {rule})" for flavor, rule in sorted(rules.items()))
    return f"its rules ask for different flavors, {named}, but a group runs on one machine; give them the same flavor"


def find_text_problems(level: Iterable[JobExecutorInterface]) -> list[str]:
    """level: members of a group of which none needs another's files. Snakemake ends if their texts differ."""
    texts = [(member.rule.name, get_known_texts(member)) for member in level]
    problems = []
    for name in sorted({name for _, known in texts for name in known} - MEASURED):
        rules = {known.get(name, "none"): rule for rule, known in texts}
        if len(rules) > 1:
            named = " and ".join(f"{value} (rule {rule})" for value, rule in sorted(rules.items()))
            problems.append(f"its rules have different texts as resource {name}, {named}; give them the same one")
    return problems


def get_known_texts(job: JobExecutorInterface) -> dict[str, str]:
    """Those of its resources that are texts, as far as they do not depend on files that do not exist yet."""
    with contextlib.suppress(Exception):  # functions of the user
        return {name: value for name, value in job.resources.items() if type(value) is str}
    return {}


def get_members(job: JobExecutorInterface) -> list[JobExecutorInterface]:
    """The jobs of a group in the order in which they run, which is the same in every process. Or the job itself."""
    if not job.is_group():
        return [job]
    return [member for level in job.toposorted for member in sorted(level, key=get_order)]


def get_order(job: JobExecutorInterface) -> tuple[str, list[str]]:
    return job.rule.name, [str(file) for file in job.output]


def get_resources(job: JobExecutorInterface, default_runtime: int) -> tuple[Resources | None, int | None]:
    """A job's resources and its mem_mb. Each is None if it depends on files that do not exist yet.

    The jobs of a group run one after the other on one machine. So the group needs the most of what any of them needs,
    and their time limits add up. Snakemake's own sum is for jobs that run at the same time.
    """
    return sum_resources(get_members(job), default_runtime)


def sum_resources(members: Sequence[JobExecutorInterface], default_runtime: int) -> tuple[Resources | None, int | None]:
    if len(members) == 1:
        return get_own_resources(members[0], default_runtime)
    found = [get_own_resources(member, default_runtime) for member in members]
    known = [resources for resources, _ in found if resources]
    memory = max((memory for _, memory in found if memory), default=None)
    flavors = {resources.flavor for resources in known if resources.flavor}
    if len(known) < len(found) or len(flavors) > 1:
        return None, memory
    return Resources(
        gpu=max(resources.gpu for resources in known),
        cpu=max(resources.cpu for resources in known),
        flavor=next(iter(flavors), ""),
        runtime=sum(resources.runtime for resources in known),
        expected=sum(resources.expected for resources in known) if all(r.expected for r in known) else 0.0,
        untimed=sum(resources.untimed for resources in known),
        gpu_memory=max(resources.gpu_memory for resources in known),
        memory_mb=max(resources.memory_mb for resources in known),
    ), memory


def get_own_resources(job: JobExecutorInterface, default_runtime: int) -> tuple[Resources | None, int | None]:
    try:
        resources = job.resources
        flavor = resources.get("flavor", "")
        expected = resources.get("expected_seconds", 0)
        expected = float(expected) if isinstance(expected, int | float) and expected > 0 else 0.0
        untimed = 0.0 if resources.get("runtime") is not None else expected
        numbers = [resources.get("gpu", 0), job.threads, resources.get("runtime", 0 if untimed else default_runtime)]
    except Exception:  # functions of the user, which may read their input
        return None, None
    if not all(isinstance(number, int) for number in numbers) or not isinstance(flavor, str):
        return None, None  # <TBD>
    gpu, cpu, runtime = numbers
    memory = resources.get("mem_mb")
    # Snakemake sets mem_mb of every job. Only what the rule itself asks for counts.
    asked = "mem_mb" in getattr(job.rule, "resources", {})
    memory = memory if asked and isinstance(memory, int) else None
    gpu_memory = resources.get("gpu_mem_gb", 0)
    gpu_memory = float(gpu_memory) if isinstance(gpu_memory, int | float) else 0.0
    return Resources(gpu, cpu, flavor, runtime, expected, untimed, gpu_memory, memory or 0), memory


def get_job_spec(
    members: Sequence[JobExecutorInterface],
    attempt: int,
    default_image: str | None,
    default_runtime: int,
    sources: Iterable[Volume],
    root: str,
) -> JobSpec:
    """The spec of a job, or of jobs of one group in their order. SubmissionError if the platform cannot run it.

    default_runtime: minutes. sources: volumes that every job gets. root: the prefix of the workflow in the bucket.
    """
    problems = [problem for member in members for problem in find_problems(member, default_image)]
    images = [get_image(member, default_image) for member in members]
    if problem := find_image_problem(images):
        problems.append(problem)
    if problem := find_flavor_problem(members):
        problems.append(problem)
    if problems:
        raise SubmissionError("; ".join(dict.fromkeys(problems)))
    resources, _ = sum_resources(members, default_runtime)
    if resources is None:
        raise SubmissionError(
            "its resources cannot be read; gpu and runtime must be numbers and flavor a text, but they are "
            + describe_unreadable(members, default_runtime)
        )
    if any("<TBD>" in member.shellcmd for member in members):
        raise SubmissionError(
            "its command uses a resource that only the job's machine knows, such as {resources.tmpdir}; "
            "write /tmp or a shell variable instead"
        )
    inputs = unique(file for member in members for file in map(get_stored, member.input))
    outputs = unique(file for member in members for file in map(get_stored, member.output))
    logs = unique(file for member in members for file in map(get_stored, member.log))
    benchmarks = unique(get_stored(member.benchmark) for member in members if member.benchmark)
    try:
        volumes = plan_volumes([file for file in inputs if file not in outputs], [*outputs, *logs, *benchmarks], root)
    except VolumeError as error:
        raise SubmissionError(str(error)) from None
    wildcards: dict[str, str] = {}
    for member in members:
        wildcards |= {name: str(value) for name, value in member.wildcards.items()}
    return JobSpec(
        rule="-".join(dict.fromkeys(member.rule.name for member in members)),
        wildcards=wildcards,
        attempt=attempt,
        command=get_command(members),
        image=images[0],
        params=[get_params(member) for member in members],
        resources=resources,
        inputs=inputs,
        outputs=outputs,
        updated=unique(get_stored(file) for member in members for file in member.output if file.flags.get("update")),
        logs=logs,
        volumes=(*volumes, *sources),
        members=tuple(map(get_member, members)),
        ensured=tuple(
            get_ensured(get_stored(file), file.flags["ensure"], member.wildcards)
            for member in members
            for file in member.output
            if "ensure" in file.flags
        ),
        protected=unique(get_stored(file) for member in members for file in get_protected(member)),
        benchmarks=benchmarks,
        variables=get_variables(members[0].rule.workflow),
        keep_incomplete=members[0].rule.workflow.execution_settings.keep_incomplete,
    )


def get_command(members: Iterable[JobExecutorInterface]) -> str:
    return "\n".join(["set -e", *map(get_member_script, members)])


def get_member(job: JobExecutorInterface) -> Member:
    return Member(
        command=get_command([job]),
        params=[get_params(job)],
        inputs=unique(map(get_stored, job.input)),
        outputs=unique(map(get_stored, job.output)),
    )


def describe_unreadable(members: Iterable[JobExecutorInterface], default_runtime: int) -> str:
    """The resources of the jobs that cannot be read. Those of a group may depend on files that the group makes."""
    texts = []
    for member in members:
        if get_own_resources(member, default_runtime)[0] is None:
            try:
                values = dict(member.resources)
                texts.append(f"{ {name: values.get(name) for name in ('gpu', 'flavor', 'runtime')} }")
            except Exception as error:  # a function of the user
                texts.append(f"not known yet ({error!r})")
            texts[-1] += f" in rule {member.rule.name}"
    return "; ".join(texts)


def get_member_script(job: JobExecutorInterface) -> str:
    """The shell text of one rule's job, which may be a member of a group."""
    begin, end = get_shell_prefix(), get_shell_suffix()
    commands = [job.shellcmd]
    if job.benchmark:
        repeats = range(job.benchmark_repeats)
        commands = [job.format_wildcards(job.rule.shellcmd, bench_iteration=number) for number in repeats]
    files = [[str(file) for file in files] for files in (job.input, job.output, job.log)]
    return get_rule_script(
        [f"{begin}{command}{end}" for command in commands],
        Shadow(job.rule.shadow_depth, *files) if job.rule.shadow_depth else None,
        str(job.benchmark or ""),
        [str(file) for file in job.output if "touch" in file.flags],
    )


def get_protected(job: JobExecutorInterface) -> list[Any]:
    return [file for file in job.output if "protected" in file.flags]


def get_shell_suffix() -> str:
    """What Snakemake puts after each command, by the workflow's own `shell.suffix(...)`."""
    from snakemake.shell import shell

    return str(shell._process_suffix)


def get_shell_prefix() -> str:
    """What Snakemake puts before each command: bash's strict mode, or the workflow's own `shell.prefix(...)`."""
    from snakemake.shell import shell  # the command snakemake-ovhai works without Snakemake

    return str(shell._get_process_prefix("bash"))


def get_stored(file: Any) -> StoredFile:
    """A file of Snakemake's in the S3 storage."""
    return StoredFile(file.storage_object.bucket, file.storage_object.key, str(file))


def get_params(job: JobExecutorInterface) -> list[str]:
    """The params as text that is the same in every process."""
    named = {index: name for name, (index, _) in getattr(job.params, "_names", {}).items()}
    return [f"{named.get(index, '')}={get_stable_text(value)}" for index, value in enumerate(job.params)]


def get_stable_text(value: Any) -> str:
    """Sort sets and leave out the addresses of objects, since both differ from process to process."""
    text = repr(sorted(map(repr, value))) if isinstance(value, (set, frozenset)) else repr(value)
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def unique(files: Iterable[StoredFile]) -> tuple[StoredFile, ...]:
    return tuple(dict.fromkeys(files))
