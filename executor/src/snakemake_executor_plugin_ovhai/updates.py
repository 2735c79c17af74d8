"""What outlives a failed job: outputs with the flag update(), and those that the job has not made.

Where Snakemake runs a rule itself, it restores an update() output after a failure and keeps it. Here the job's script
restores it (arguments.py). But the head of Snakemake 9.27.1 then removes all outputs of the failed job from the bucket,
and with them what many earlier jobs may have brought together. Of a group it removes the outputs of all rules, also of
those that were done before and left out of the job.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

NEEDED = {"cleanup": "to_remove = [", "postprocess": "await self.cleanup(skip_cleanup_outputs)"}
LOST = (
    "Snakemake removes outputs of failed jobs in another way than the executor ovhai knows ({}). If a job with an "
    "update() output fails, that output may be removed from the bucket, with its earlier content. If a group fails, "
    "rules that were done before may be done again."
)


LEFT_OUT = "ovhai_left_out"  # attribute of a job of Snakemake's


def leave_out(job: Any) -> None:
    """Mark a member of a group whose outputs are not those of the group's job."""
    setattr(job, LEFT_OUT, True)


def attach() -> None:
    """A second call does nothing."""
    from snakemake.jobs import Job
    from snakemake.logging import logger

    if problem := keep_good_outputs(Job):
        logger.warning(LOST.format(problem))


def keep_good_outputs(job_class: Any) -> str:
    """Returns why that cannot be done with this class. Empty if it is done."""
    clean_up: Callable[[Any, Iterable[Any]], Awaitable[None]] | None = getattr(job_class, "cleanup", None)
    if getattr(clean_up, "keeps_good_outputs", False):
        return ""
    for name, words in NEEDED.items():
        method = getattr(job_class, name, None)
        if method is None or words not in inspect.getsource(method):
            return f"its {name}() has no `{words}`"
    assert clean_up

    @functools.wraps(clean_up)
    async def clean_up_others(job: Any, skip_outputs: Iterable[Any]) -> None:
        kept = [file for file in job.storage_output if "update" in file.flags or getattr(job, LEFT_OUT, False)]
        for file in kept:
            # For a file that has a copy on this machine, Snakemake removes both copies, whatever it was told to skip.
            await file.remove(only_local=True)
        await clean_up(job, {*skip_outputs, *kept})

    clean_up_others.keeps_good_outputs = True  # type: ignore[attr-defined]
    job_class.cleanup = clean_up_others
    return ""
