"""A job spec as arguments of `ovhai job run`: labels, resources, volumes, and the shell script around its command."""

import shlex
from collections.abc import Mapping, Sequence

from .identity import VARIABLE, write_outputs
from .job_spec import JobSpec, SubmissionError
from .labels import make_labels
from .volumes import WORKDIR, StoredFile

LONGEST_ARGUMENT = 131_000  # bytes; Linux takes 128 KiB for one argument of a program


def get_labels(spec: JobSpec, workflow: str, target: str, fingerprint: str) -> dict[str, str]:
    labels = {
        "workflow": workflow,
        "rule": spec.rule,
        "attempt": str(spec.attempt),
        "target": target,
        "fingerprint": fingerprint,
    }
    return make_labels(labels | {f"wildcard-{name}": value for name, value in spec.wildcards.items()})


def get_arguments(
    spec: JobSpec, labels: Mapping[str, str], datastore: str, outputs: Mapping[str, str] | None = None
) -> list[str]:
    """Everything after `ovhai job run`. Options stand before `--`, since all after it belongs to the container.

    outputs: id of each output -> fingerprint (identity.py). SubmissionError if the command, or the list of outputs, is
    too long for the operating system.
    """
    resources = spec.resources
    arguments = ["--name", spec.name]
    for name, value in labels.items():
        arguments += ["--label", f"{name}={value}"]
    # A job runs as a user without a home folder, and many programs write caches there.
    arguments += ["--env", "HOME=/tmp", "--env", f"SNAKEMAKE_ATTEMPT={spec.attempt}"]
    if outputs:
        arguments += ["--env", f"{VARIABLE}={write_outputs(outputs)}"]
    for name, value in spec.variables.items():
        arguments += ["--env", f"{name}={value}"]
    for volume in spec.volumes:
        arguments += ["--volume", volume.argument(datastore)]
    arguments += ["--gpu", str(resources.gpu)] if resources.gpu else ["--cpu", str(resources.cpu)]
    if resources.flavor:
        arguments += ["--flavor", resources.flavor]
    arguments += ["--timeout", f"{resources.runtime * 60}s", "--output", "json"]
    script = get_script(spec)
    size = len(script.encode())
    if size > LONGEST_ARGUMENT:
        raise SubmissionError(
            f"its command has {size:,} bytes, but {LONGEST_ARGUMENT:,} is the most that the operating system "
            "accepts; put long lists of files into an input file"
        )
    if max(map(len, arguments)) > LONGEST_ARGUMENT:
        raise SubmissionError(f"it has {len(spec.outputs):,} outputs, too many for one job; make its group smaller")
    return [*arguments, spec.image, "--", "bash", "-c", script]


def get_script(spec: JobSpec) -> str:
    """The rule's command, and around it what Snakemake does when it runs a job itself.

    The script makes the folders of outputs and logs, and it removes old outputs and logs. It also removes the outputs
    of a command that failed or was stopped: the platform copies everything in a volume back to the bucket, where a
    partial file would count as complete. An output that the command updates gets its earlier content back.

    The outer shell prints nothing. When bash fails it would write the whole command into the log, and texts in the
    command could then match known errors.
    """
    folders = {file.path.rpartition("/")[0] for file in (*spec.outputs, *spec.logs, *spec.benchmarks)} - {""}
    checks = "".join(
        f"[ -e {shlex.quote(file.path)} ] || {{ echo {shlex.quote('missing output: ' + file.path)} >&2; exit 1; }}\n"
        for file in spec.outputs
    )
    checks += "".join(
        f"[ -s {shlex.quote(file.path)} ] || {{ echo {shlex.quote('empty output: ' + file.path)} >&2; exit 1; }}\n"
        for file in (ensured.file for ensured in spec.ensured if ensured.non_empty)
    )
    remove = get_command("rm -rf --", spec.replaced_outputs)
    backups = [(shlex.quote(file.path), f'"$earlier/{number}"') for number, file in enumerate(spec.updated)]
    save = "".join(f"[ ! -e {path} ] || cp -p -- {path} {copy} || exit 1\n" for path, copy in backups)
    restore = "".join(
        f"\nif [ -e {copy} ]; then cp -p -- {copy} {path}; else rm -f -- {path}; fi" for path, copy in backups
    )
    make_logs = "".join(f"[ -e {path} ] || : > {path}\n" for path in (shlex.quote(file.path) for file in spec.logs))
    return f"""\
cd {WORKDIR} || exit 1
mkdir -p -- {" ".join(map(shlex.quote, sorted(folders)))} || exit 1
{remove}
{get_command("rm -f --", spec.logs)}
{"earlier=$(mktemp -d) || exit 1" if backups else ":"}
{save}clean_up() {{
{":" if spec.keep_incomplete else remove}{restore}
}}
stop() {{ [ -z "$!" ] || {{ kill -TERM -- "-$!"; wait "$!"; }}; clean_up; exit 143; }}
trap stop TERM INT
set -m
(
{spec.command}
{checks})&
exec 2> /dev/null
wait "$!"
code=$?
{make_logs}[ "$code" -eq 0 ] || clean_up
exit "$code"
"""


def get_command(command: str, files: Sequence[StoredFile]) -> str:
    """The command with the files as its arguments. `:` if there are none."""
    return " ".join([command, *(shlex.quote(file.path) for file in files)]) if files else ":"


def check_secrets(arguments: Sequence[str], secrets: Sequence[str]) -> None:
    """SubmissionError if an argument holds a secret.

    Everybody on this machine can read a command line in the list of processes. Everybody in the project can read it in
    the job.
    """
    for argument in arguments:
        if any(secret in argument for secret in secrets):
            raise SubmissionError(
                "its command, container image, labels, variables or files hold one of the bucket's keys, which "
                "everybody in the project could read; let the job get its files as inputs instead"
            )
