"""What one job of the platform needs, before it becomes the arguments of `ovhai job run`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .labels import sanitise
from .volumes import StoredFile, Volume


class SubmissionError(ValueError):
    """The job cannot be submitted as it is. The text says what to change."""


@dataclass(frozen=True)
class Resources:
    """gpu and cpu count units of the flavor. A job gets CPUs only if gpu is 0. runtime is in minutes.

    expected   seconds that the commands take on the reference machine (estimate.py). 0: not known
    untimed    those seconds of it for which no `runtime` is set, and for which runtime has no minutes yet
    gpu_memory, memory_mb   what it needs at least of one GPU (GB), and in all: for the flavor `auto` (choice.py)
    """

    gpu: int
    cpu: int
    flavor: str
    runtime: int
    expected: float = 0.0
    untimed: float = 0.0
    gpu_memory: float = 0.0
    memory_mb: int = 0


@dataclass(frozen=True)
class Member:
    """One Snakemake job of a spec, with what its outputs depend on."""

    command: str
    params: object
    inputs: tuple[StoredFile, ...]
    outputs: tuple[StoredFile, ...]


@dataclass(frozen=True)
class EnsuredFile:
    """An output with Snakemake's flag ensure(). algorithm and checksum are empty if only its size counts."""

    file: StoredFile
    non_empty: bool
    algorithm: str = ""
    checksum: str = ""


@dataclass(frozen=True)
class JobSpec:
    """One Snakemake job or group, apart from what each submission adds."""

    rule: str
    wildcards: Mapping[str, str]
    attempt: int
    command: str
    image: str  # the container image
    params: object
    resources: Resources
    inputs: tuple[StoredFile, ...]
    outputs: tuple[StoredFile, ...]
    updated: tuple[StoredFile, ...]  # outputs with Snakemake's flag update(): the job continues from their old content
    logs: tuple[StoredFile, ...]
    volumes: tuple[Volume, ...]
    members: tuple[Member, ...] = ()  # of a group, in the order in which they run
    ensured: tuple[EnsuredFile, ...] = ()
    protected: tuple[StoredFile, ...] = ()  # outputs with the flag protected(): what is in the bucket stays
    benchmarks: tuple[StoredFile, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)  # environment variables of the job
    keep_incomplete: bool = False  # outputs of a failed job stay, as the option --keep-incomplete asks

    def get_members(self) -> tuple[Member, ...]:
        return self.members or (Member(self.command, self.params, self.inputs, self.outputs),)

    @property
    def name(self) -> str:
        return sanitise("-".join([self.rule, *self.wildcards.values()]))

    @property
    def outer_inputs(self) -> list[StoredFile]:
        """Inputs that exist before the job. The other inputs of a group are made by the group itself."""
        return [file for file in self.inputs if file not in self.outputs]

    @property
    def replaced_outputs(self) -> list[StoredFile]:
        """Outputs that are removed before the job starts and after it fails."""
        return [file for file in self.outputs if file not in self.updated]
