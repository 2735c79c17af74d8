"""Flags of files, keywords of rules and options of Snakemake that act where a job runs: done here, or refused.

docs/further.md has a table of all of them. No Snakemake runs in a job. So what it would do there is done by the job's
script (rule_script.py, arguments.py) or by the head (this module), or it is refused before anything is submitted.
"""

import hashlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any

from .bucket import Bucket
from .job_spec import EnsuredFile, SubmissionError
from .volumes import StoredFile

READERS = 2  # files whose checksums are computed at a time
SMALL_FILE = 1.0  # seconds in which it is read; for a larger one, the next check asks again


# Refused -------------------------------------------------------------------------------------------------------------


def find_keyword_problems(job: Any) -> list[str]:
    """Keywords of a rule that a job cannot have. job: one of Snakemake's."""
    workflow, problems = job.rule.workflow, []
    methods = {method.name for method in workflow.deployment_settings.deployment_method}
    if "CONDA" in methods and job.rule.conda_env and not job.is_wrapper:
        problems.append(
            "it has `conda:`, and conda is in --software-deployment-method, but no conda runs in a job; give it a "
            "`container:` with the same programs, and leave conda out of the option"
        )
    if "ENV_MODULES" in methods and job.rule.env_modules:
        problems.append(
            "it has `envmodules:`, and env-modules is in --software-deployment-method, but a job has no modules; give "
            "it a `container:` with the same programs, and leave env-modules out of the option"
        )
    if workflow.workflow_settings.cache is not None and job.rule.cache.output:
        problems.append("it has `cache:`, and a job cannot reach the cache; leave the rule out of --cache")
    if job.benchmark and workflow.output_settings.benchmark_extended:
        problems.append("it has `benchmark:`, and only Snakemake itself can write what --benchmark-extended asks for")
    return problems


def find_file_problem(what: str, file: Any, provider: Any) -> str:
    """Why a job cannot have a file. Empty if it can.

    what: input, output, log or benchmark. provider: the S3 storage.
    """
    flags = file.flags
    if "pipe" in flags or "service" in flags:
        return f"its {what} {file} is a pipe() or service(), which cannot leave a machine; make it a file"
    if "nodelocal" in flags:
        return f"its {what} {file} is temp(..., group_jobs=True); leave group_jobs out, and use a group"
    if not file.is_storage or file.storage_object.provider is not provider:
        return f"its {what} {file} is not in the S3 storage, so a job cannot reach it"
    if file.should_not_be_retrieved_from_storage:
        return f"its {what} {file} has retrieve=False, but a job has no keys to fetch it itself; leave retrieve out"
    if what == "output" and "directory" in flags:
        return f"its output {file} is a directory(), which Snakemake never finds in S3; make it a tar"
    return ""


def find_workflow_problems(workflow: Any) -> list[str]:
    """What no job of the workflow can have."""
    from snakemake.shell import shell  # the command snakemake-ovhai works without Snakemake

    settings, problems = workflow.remote_execution_settings, []
    if hidden := sorted(set(workflow.envvars) - set(settings.envvars or ())):
        problems.append(
            f"`envvars:` names {', '.join(hidden)}, which a job would not see. Everybody in the project could read the "
            f"value in the job. If that does no harm, add `--envvars {' '.join(hidden)}`. If it is a secret that only "
            "local rules need, read it with os.environ instead"
        )
    executable = shell.get_executable()
    if executable and os.path.basename(executable) != "bash":
        problems.append(f"shell.executable is {executable}, but a job runs its commands with bash")
    if settings.precommand:
        problems.append("--precommand: no Snakemake starts in a job, so nothing runs before it; put it into `shell:`")
    if settings.immediate_submit:
        problems.append("--immediate-submit: a job needs its inputs when it is submitted; leave the option out")
    return problems


def get_variables(workflow: Any) -> dict[str, str]:
    """The environment variables that the option --envvars passes on to jobs."""
    return {name: os.environ[name] for name in sorted(workflow.remote_execution_settings.envvars or ())}


# protected() ---------------------------------------------------------------------------------------------------------


def find_protected(bucket: Bucket, files: Iterable[StoredFile]) -> str:
    """What is wrong if a protected file would be replaced. Empty if nothing is. Only a missing file may be made.

    Snakemake protects a file by its mode, which a bucket has not. So the flag in the rule is what counts.
    """
    present = [file.uri for file in files if bucket.get_info(file)]
    if not present:
        return ""
    return f"its output {', '.join(present)} is protected() and exists; remove the file or the flag to make it again"


def check_protected(bucket: Bucket, files: Iterable[StoredFile]) -> None:
    if problem := find_protected(bucket, files):
        raise SubmissionError(problem)


# ensure() ------------------------------------------------------------------------------------------------------------


def get_ensured(file: StoredFile, flag: Mapping[str, Any], wildcards: Any) -> EnsuredFile:
    """flag: as Snakemake keeps it with the file. SubmissionError if its function for the checksum fails."""
    checksum = flag["checksum"]
    if callable(checksum):
        try:
            checksum = checksum(wildcards)
        except Exception as error:  # the user's code
            raise SubmissionError(f"the function for the checksum of its output {file.uri} failed: {error!r}") from None
    return EnsuredFile(file, bool(flag["non_empty"]), flag["checksum_algorithm"] or "", str(checksum or ""))


class Verifier:
    """Checks outputs against ensure(), from the bucket.

    A large file is read in the background, while jobs are watched.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.readers = threading.Semaphore(READERS)
        self.reading: dict[str, Future[str]] = {}

    def find_problem(self, key: str, files: Sequence[EnsuredFile]) -> str | None:
        """What is wrong with the files. Empty if all is well, None while they are read. Raises BucketError.

        key: the same for each question about the same files, such as the id of the job that wrote them.
        """
        if not files:
            return ""
        if key not in self.reading:
            self.reading[key] = Future()
            # A daemon does not hold up the end of the run.
            threading.Thread(target=self.read, args=(self.reading[key], files), daemon=True).start()
        done, _ = wait([self.reading[key]], SMALL_FILE)
        return self.reading.pop(key).result() if done else None

    def read(self, answer: "Future[str]", files: Sequence[EnsuredFile]) -> None:
        try:
            with self.readers:
                answer.set_result(find_wrong_file(self.bucket, files))
        except Exception as error:  # for the thread that asks
            answer.set_exception(error)


def find_wrong_file(bucket: Bucket, files: Iterable[EnsuredFile]) -> str:
    for ensured in files:
        file = ensured.file
        info = bucket.get_info(file)
        if info is None:
            return f"its output {file.uri} is not in the bucket"
        if ensured.non_empty and info.size == 0:
            return f"its output {file.uri} is empty, which ensure(non_empty=True) forbids"
        if ensured.algorithm:
            found = hashlib.new(ensured.algorithm)
            for chunk in bucket.read(file):
                found.update(chunk)
            if found.hexdigest() != ensured.checksum:
                return (
                    f"its output {file.uri} has the {ensured.algorithm} {found.hexdigest()}, but ensure() asks for "
                    f"{ensured.checksum}"
                )
    return ""
