"""A job as arguments of `ovhai job run`: labels, resources, volumes, and the shell script around its command."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .volumes import WORKDIR, StoredFile, Volume

LONGEST_RUN = 604_800  # seconds; the platform accepts no longer time-out
LONGEST_ARGUMENT = 131_000  # bytes; Linux takes 128 KiB for one argument of a program
LABEL_PREFIX = "snakemake-"


class SubmissionError(ValueError):
    """A job that cannot be submitted as it is; the text says what to change."""


@dataclass(frozen=True)
class Resources:
    """gpu and cpu are units of the flavor; the job has GPUs, or CPUs if gpu is 0. runtime is in minutes."""

    gpu: int
    cpu: int
    flavor: str
    runtime: int


@dataclass(frozen=True)
class Request:
    """All that a job is made of, apart from what each submission adds."""

    rule: str
    wildcards: Mapping[str, str]
    attempt: int
    command: str
    image: str
    params: object
    resources: Resources
    inputs: tuple[StoredFile, ...]
    outputs: tuple[StoredFile, ...]
    kept: tuple[StoredFile, ...]  # outputs that a job goes on with (`update`), so that they stay before it
    logs: tuple[StoredFile, ...]
    volumes: tuple[Volume, ...]
    inner: frozenset[StoredFile] = field(default_factory=frozenset)  # inputs that the job itself makes (groups)

    @property
    def name(self) -> str:
        return sanitise("-".join([self.rule, *self.wildcards.values()]))

    @property
    def outer_inputs(self) -> list[StoredFile]:
        return [file for file in self.inputs if file not in self.inner]


def get_labels(request: Request, workflow: str, target: str, fingerprint: str) -> dict[str, str]:
    labels = {
        "workflow": workflow,
        "rule": request.rule,
        "attempt": str(request.attempt),
        "target": target,
        "fingerprint": fingerprint,
    }
    labels |= {f"wildcard-{name}": value for name, value in request.wildcards.items()}
    return {sanitise(LABEL_PREFIX + name): sanitise(value) for name, value in labels.items()}


def get_arguments(request: Request, labels: Mapping[str, str], datastore: str) -> list[str]:
    """Everything after `ovhai job run`. Options come before `--`: what follows it belongs to the container."""
    resources = request.resources
    arguments = ["--name", request.name]
    for name, value in labels.items():
        arguments += ["--label", f"{name}={value}"]
    # The job runs as a user without a home; many programs write caches there.
    arguments += ["--env", "HOME=/tmp", "--env", f"SNAKEMAKE_ATTEMPT={request.attempt}"]
    for volume in request.volumes:
        arguments += ["--volume", volume.argument(datastore)]
    arguments += ["--gpu", str(resources.gpu)] if resources.gpu else ["--cpu", str(resources.cpu)]
    if resources.flavor:
        arguments += ["--flavor", resources.flavor]
    arguments += ["--timeout", f"{resources.runtime * 60}s", "--output", "json"]
    script = get_script(request)
    if len(script.encode()) > LONGEST_ARGUMENT:
        raise SubmissionError(
            f"its command has {len(script.encode()):,} bytes, but {LONGEST_ARGUMENT:,} is the most that the system "
            "passes on; put long lists of files into a file that is an input"
        )
    return [*arguments, request.image, "--", "bash", "-c", script]


def get_script(request: Request) -> str:
    """The rule's command with what Snakemake does around it on one's own machine.

    Folders of outputs and logs are made, old outputs removed, and outputs of a failed or stopped command too: what lies
    in a volume at the end is copied to the bucket, where it would count as complete.

    The outer shell says nothing itself: bash would write the whole command into the log when it fails, where texts in
    it would pass for messages of known errors.
    """
    outputs = [file for file in request.outputs if file not in request.kept]
    paths = " ".join(shlex.quote(file.path) for file in outputs)
    folders = {file.path.rpartition("/")[0] for file in (*request.outputs, *request.logs)} - {""}
    checks = "".join(
        f"[ -e {shlex.quote(file.path)} ] || {{ echo {shlex.quote('missing output: ' + file.path)} >&2; exit 1; }}\n"
        for file in request.outputs
    )
    remove = f"rm -rf -- {paths}" if paths else ":"
    return f"""\
cd {WORKDIR} || exit 1
mkdir -p -- {" ".join(map(shlex.quote, sorted(folders)))} || exit 1
remove_outputs() {{ {remove}; }}
remove_outputs
stop() {{ [ -z "$!" ] || {{ kill -TERM -- "-$!"; wait "$!"; }}; remove_outputs; exit 143; }}
trap stop TERM INT
set -m
(
{request.command}
{checks})&
exec 2> /dev/null
wait "$!"
code=$?
[ "$code" -eq 0 ] || remove_outputs
exit "$code"
"""


def sanitise(text: str) -> str:
    """Letters, digits, '.', '_' and '-', at most 63, alphanumeric at both ends: good for any label or name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:63].strip("._-") or "x"


def check_secrets(arguments: Sequence[str], secrets: Sequence[str]) -> None:
    """What is on the command line can be read in the list of processes, and later in the job by the whole project."""
    for argument in arguments:
        if any(secret in argument for secret in secrets):
            raise SubmissionError(
                "its command, image, labels or files hold one of the bucket's keys, which everybody in the project "
                "could read; let the job get its files as inputs instead"
            )
