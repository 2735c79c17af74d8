"""Who does the work? This module decides from one list of the platform's jobs what happens to one task.

decide() is a pure function, so a test can play every race. All heads come to the same answer from the same list,
whether it is this head, a restarted one, or one on another machine:

* If several live jobs do the same work, the one created first continues. The others are stopped.
* A live job may write some of the same files but do other work, because the rule or its inputs have changed since, or
  because the rules are grouped in another way. It is stopped before a new job is started.
* A job may do this work and more, since it runs a whole group. It is as good as a job for this work alone.
* If jobs that share a file are live together all the same, the one with the most files continues, and of several the
  one created first. Each head knows that from the jobs alone, whatever its own grouping is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from .identity import read_outputs
from .job import Job
from .labels import get_checksum_label

Action = Literal["submit", "wait", "watch", "ended", "missing"]


@dataclass(frozen=True)
class Claim:
    """What this head knows about the work of one task.

    outputs      id of each output file -> fingerprint of the work that makes it (identity.py)
    equal        jobs that have done the same work, although their fingerprints do not show it
    job_id       the job that does it, if that is known
    submission   mark of the last submission, if its reply is missing
    unfinished   jobs that Snakemake's records name, because a head that died left the outputs incomplete
    orphaned     an earlier job's result may still be good, but the records do not name the job
    """

    target: str
    fingerprint: str
    job_id: str | None = None
    submission: str | None = None
    unfinished: Collection[str] = ()
    orphaned: bool = False
    outputs: Mapping[str, str] = field(default_factory=dict)
    equal: Collection[str] = ()


@dataclass(frozen=True)
class Decision:
    action: Action
    job: Job | None = None
    stop: tuple[Job, ...] = ()  # jobs to stop; after "ended" only once the outputs are verified


def decide(claim: Claim, jobs: Sequence[Job]) -> Decision:
    """jobs: all of the platform's, or at least those that share an output and this job_id, in any order."""
    ours = [job for job in jobs if shares_files(job, claim)]
    same = [job for job in ours if does_all(job, claim)]
    mine = find_mine(claim, jobs, same)
    live = sorted((job for job in same if job.live), key=get_rank)
    rivals = sorted((job for job in ours if job.live and job not in same), key=get_rank)

    if mine and mine.state == "DONE":
        return Decision("ended", mine, stop=tuple(job for job in live if job is not mine))
    if live:
        winner, *losers = live
        if rivals and get_rank(rivals[0]) < get_rank(winner):
            return Decision("wait", rivals[0], stop=tuple(live))
        return Decision("watch", winner, (*losers, *rivals))
    if mine:
        # This head's job may have been stopped in favour of another head's job, which is done already.
        kept = [job for job in same if (job.succeeded or job.rescuable) and get_end(job) >= mine.age_key[0]]
        done = sorted(kept, key=lambda job: not job.succeeded)
        return Decision("ended" if mine.ended else "watch", done[0] if done and mine.ended else mine)
    if claim.job_id:
        return Decision("missing")
    unended = tuple(job for job in ours if not job.ended)
    if unended:
        return Decision("wait", unended[0], stop=tuple(job for job in unended if job.live))
    if finished := find_finished(claim, ours, same):
        return Decision("ended", finished)
    return Decision("submit")


def is_contested(claim: Claim, job: Job, jobs: Sequence[Job]) -> bool:
    """Whether a later job for other work may have replaced the outputs of this one, before anybody looked at them."""
    others = [other for other in jobs if shares_files(other, claim) and not does_all(other, claim)]
    return any(other.age_key > job.age_key for other in others)


def find_mine(claim: Claim, jobs: Sequence[Job], same: Sequence[Job]) -> Job | None:
    for job in jobs:
        if job.id == claim.job_id:
            return job
    for job in same:
        if claim.submission and get_checksum_label(job, "submission") == claim.submission:
            return job
    return None


def shares_files(job: Job, claim: Claim) -> bool:
    """Whether a job writes any of the claim's outputs."""
    if not read_outputs(job).keys().isdisjoint(claim.outputs):
        return True
    return get_checksum_label(job, "target") == claim.target


def does_all(job: Job, claim: Claim) -> bool:
    """Whether a job makes all of the claim's outputs from the same inputs in the same way."""
    outputs = read_outputs(job)
    if not outputs or not claim.outputs:  # the platform does not show it, or the job is from an older version
        return get_checksum_label(job, "fingerprint") == claim.fingerprint
    return job.id in claim.equal or all(outputs.get(output) == print for output, print in claim.outputs.items())


def get_rank(job: Job) -> tuple[int, tuple[datetime, str]]:
    """The order of live jobs that share a file. The first one continues."""
    return -len(read_outputs(job)), job.age_key


def find_finished(claim: Claim, ours: Sequence[Job], same: Sequence[Job]) -> Job | None:
    """A successful job that belongs to a head that died, or that another head has run since. Its result is kept.

    Second best is a job that did its work and could not copy its files back: the platform can copy them again.

    Snakemake's records must show that the work was started and not finished: if a user forces a rule, it runs again.
    They may name a job that was stopped in favour of another head's job, which is older but ended later.
    And no job for other work may have written the same files since, and none that did not succeed may have ended since:
    it may have left half a file.
    """
    begun = min((job.age_key[0] for job in ours if job.id in claim.unfinished), default=None)
    kept = [job for job in same if job.succeeded or job.rescuable]
    done = [job for job in kept if claim.orphaned or (begun is not None and get_end(job) >= begun)]
    for last in sorted(done, key=lambda job: (job.succeeded, job.age_key), reverse=True):
        if not any(may_have_spoiled(job, last, job in same) for job in ours if job is not last):
            return last
    return None


def may_have_spoiled(job: Job, last: Job, same: bool) -> bool:
    """Whether a job may have written over the outputs of the last good one. same: whether it does the same work."""
    if not same and job.age_key > last.age_key:
        return True
    return not job.succeeded and get_end(job) > get_end(last)


def get_end(job: Job) -> datetime:
    """When a job ended, or else when it began."""
    return job.stopped_at or job.age_key[0]
