"""Who does the work? This module decides from one list of the platform's jobs what happens to one task.

decide() is a pure function, so a test can play every race. All heads come to the same answer from the same list,
whether it is this head, a restarted one, or one on another machine:

* If several live jobs do the same work, the one created first continues. The others are stopped.
* A live job may write the same files but do other work, because the rule or its inputs have changed since. It is
  stopped before a new job is started.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from .job import Job
from .labels import get_label

Action = Literal["submit", "wait", "watch", "ended", "missing"]


@dataclass(frozen=True)
class Claim:
    """What this head knows about the work of one task.

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


@dataclass(frozen=True)
class Decision:
    action: Action
    job: Job | None = None
    stop: tuple[Job, ...] = ()  # jobs to stop; after "ended" only once the outputs are verified


def decide(claim: Claim, jobs: Sequence[Job]) -> Decision:
    """jobs: all of the platform's, or at least those with this target and this job_id, in any order."""
    ours = [job for job in jobs if get_label(job, "target") == claim.target]
    same = [job for job in ours if get_label(job, "fingerprint") == claim.fingerprint]
    mine = find_mine(claim, jobs, same)
    live = sorted((job for job in same if job.live), key=lambda job: job.age_key)

    if mine and mine.state == "DONE":
        return Decision("ended", mine, stop=tuple(job for job in live if job is not mine))
    if live:
        winner, *losers = live
        return Decision("watch", winner, tuple(losers))
    if mine:
        # This head's job may have been stopped in favour of another head's job, which is done already.
        done = [job for job in same if job.state == "DONE" and (job.stopped_at or job.age_key[0]) >= mine.age_key[0]]
        return Decision("ended" if mine.ended else "watch", done[0] if done and mine.ended else mine)
    if claim.job_id:
        return Decision("missing")
    if finished := find_finished(claim, ours):
        return Decision("ended", finished)
    unended = tuple(job for job in ours if not job.ended)
    if unended:
        return Decision("wait", unended[0], stop=tuple(job for job in unended if job.live))
    return Decision("submit")


def is_contested(claim: Claim, job: Job, jobs: Sequence[Job]) -> bool:
    """Whether a later job for other work may have replaced the outputs of this one, before anybody looked at them."""
    ours = [other for other in jobs if get_label(other, "target") == claim.target]
    return any(other.age_key > job.age_key and get_label(other, "fingerprint") != claim.fingerprint for other in ours)


def find_mine(claim: Claim, jobs: Sequence[Job], same: Sequence[Job]) -> Job | None:
    for job in jobs:
        if job.id == claim.job_id:
            return job
    for job in same:
        if claim.submission and get_label(job, "submission") == claim.submission:
            return job
    return None


def find_finished(claim: Claim, ours: Sequence[Job]) -> Job | None:
    """A successful job that belongs to a head that died, or that another head has run since. Its result is kept.

    Snakemake's records must show that the work was started and not finished: if a user forces a rule, it runs again.
    And no job for other work may have written the same files since.
    """
    same = [job for job in ours if get_label(job, "fingerprint") == claim.fingerprint]
    begun = min((job.age_key for job in same if job.id in claim.unfinished), default=None)
    done = [job for job in same if job.succeeded and (claim.orphaned or (begun is not None and job.age_key >= begun))]
    last = max(done, key=lambda job: job.age_key, default=None)
    if last and any(job.age_key > last.age_key for job in ours if job not in same):
        return None
    return last
