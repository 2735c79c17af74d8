"""Which files a job writes, and which work made each of them.

Work is known by every single output file, because groupings differ from run to run: one job may write some of another
job's files. The list travels in a variable of the job's environment. A label would not do. The platform may cut labels
or change their letters, and how many a job may have is not documented.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

from .bucket import ObjectInfo
from .fingerprint import get_checksum, get_fingerprint
from .job import Job
from .job_spec import JobSpec
from .labels import get_checksum_label
from .volumes import StoredFile

VARIABLE = "SNAKEMAKE_OVHAI_OUTPUTS"
LENGTH = 20  # hexadecimal digits for each file; a group may have hundreds of them


def get_output_id(file: StoredFile) -> str:
    return get_checksum(file.uri)[:LENGTH]


def get_output_ids(files: Iterable[StoredFile]) -> set[str]:
    return {get_output_id(file) for file in files}


def get_output_fingerprints(spec: JobSpec, checksums: Mapping[StoredFile, str]) -> dict[str, str]:
    """Id of each output -> fingerprint of the one Snakemake job that makes it, also in a group.

    checksums: of the inputs that exist before the job. The content of a file that the group itself makes is not known
    yet, so the fingerprint of the work that makes it stands for it.
    """
    known = dict(checksums)
    outputs: dict[str, str] = {}
    for member in spec.get_members():
        inputs = {file: known.get(file, "") for file in member.inputs if file not in member.outputs}
        fingerprint = get_fingerprint(member.command, spec.image, member.params, member.outputs, inputs)
        known |= dict.fromkeys(member.outputs, fingerprint)
        outputs |= dict.fromkeys(map(get_output_id, member.outputs), fingerprint)
    return outputs


def write_outputs(outputs: Mapping[str, str]) -> str:
    """FINGERPRINT.OUTPUT.OUTPUT-FINGERPRINT.OUTPUT, which is safe on any command line."""
    by_fingerprint: dict[str, list[str]] = {}
    for output, fingerprint in outputs.items():
        by_fingerprint.setdefault(fingerprint, []).append(output)
    return "-".join(".".join([fingerprint, *found]) for fingerprint, found in by_fingerprint.items())


def read_outputs(job: Job) -> dict[str, str]:
    """Id of each output -> fingerprint. Empty if the platform does not show it, or for a job of another program."""
    outputs: dict[str, str] = {}
    for part in filter(None, job.variables.get(VARIABLE, "").lower().split("-")):
        fingerprint, *found = part.split(".")
        outputs |= dict.fromkeys(filter(None, found), fingerprint)
    return outputs


class JobIndex:
    """The platform's jobs by the files that they write."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.by_id: dict[str, Job] = {}
        self.by_output: dict[str, list[Job]] = defaultdict(list)
        self.by_target: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            self.by_id[job.id] = job
            self.by_target[get_checksum_label(job, "target")].append(job)
            for output in read_outputs(job):
                self.by_output[output].append(job)

    def find(self, outputs: Iterable[str], target: str) -> list[Job]:
        """Jobs that write any of the outputs. target: their checksum, for jobs that do not show what they write."""
        found = {job.id: job for output in outputs for job in self.by_output.get(output, ())}
        return list((found | {job.id: job for job in self.by_target.get(target, ())}).values())


def find_equal_jobs(
    spec: JobSpec,
    outputs: Collection[str],
    inputs: Mapping[StoredFile, ObjectInfo],
    jobs: Iterable[Job],
    has_written: Callable[[Job, StoredFile, ObjectInfo], bool],
) -> set[str]:
    """Ids of jobs that have made these outputs in one go with some of the inputs.

    In such a job the fingerprint of the work that made an input stands for its content. The input in the bucket must be
    the one that the job wrote, which has_written tells.
    """
    equal = set()
    for job in jobs:
        theirs = read_outputs(job)
        if not job.succeeded or not theirs.keys() >= set(outputs):
            continue
        known = {file: info.checksum for file, info in inputs.items()}
        for file, info in inputs.items():
            if get_output_id(file) in theirs and has_written(job, file, info):
                known[file] = theirs[get_output_id(file)]
        wanted = get_output_fingerprints(spec, known)
        if all(theirs[output] == fingerprint for output, fingerprint in wanted.items()):
            equal.add(job.id)
    return equal
