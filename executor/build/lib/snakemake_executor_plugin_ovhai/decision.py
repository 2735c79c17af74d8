"""Who does the work? What one look at the platform's jobs means for one piece of work: a pure function, so that every
race can be played in a test.

All heads (this one, a restarted one, one on another machine) come to the same answer from the same list:
* of several live jobs for the same work the one that was created first goes on, the others are stopped;
* a live job that writes to the same place but does other work (the rule or its inputs have changed since) is stopped
  before a new one is started.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from .diagnosis import is_success
from .states import Job
from .submission import LABEL_PREFIX

Action = Literal["submit", "wait", "watch", "ended", "missing"]


@dataclass(frozen=True)
class Claim:
    """What this head knows about one piece of work.

    job_id       the job that does it, as far as known
    submission   mark of the last submission whose reply was lost
    unfinished   jobs that Snakemake's records name for outputs left incomplete by a head that died
    orphaned     there may be an earlier job whose result is still good, but the records do not say which
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
    stop: tuple[Job, ...] = ()  # to be stopped; if the action is "ended", only once its outputs have been seen


def get_label(job: Job, name: str) -> str:
    return job.labels.get(LABEL_PREFIX + name, "")


def decide(claim: Claim, jobs: Sequence[Job]) -> Decision:
    """jobs: all of the platform's, in any order."""
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
        # Stopped for the sake of another head's job, which is through already: its result is the result.
        done = [job for job in same if job.state == "DONE" and (job.stopped or job.age_key[0]) >= mine.age_key[0]]
        return Decision("ended" if mine.ended else "watch", done[0] if done and mine.ended else mine)
    if claim.job_id:
        return Decision("missing")
    if finished := find_finished(claim, ours):
        return Decision("ended", finished)
    unended = tuple(job for job in ours if not job.ended)
    if unended:
        return Decision("wait", unended[0], stop=tuple(job for job in unended if job.live))
    return Decision("submit")


def find_mine(claim: Claim, jobs: Sequence[Job], same: Sequence[Job]) -> Job | None:
    for job in jobs:
        if job.id == claim.job_id:
            return job
    for job in same:
        if claim.submission and get_label(job, "submission") == claim.submission:
            return job
    return None


def find_finished(claim: Claim, ours: Sequence[Job]) -> Job | None:
    """A job that has ended well since a head which died had started this work: its own, or one of another head, whose
    result is as good and must not be removed.

    Only where Snakemake's records know of such a start: a user who forces a rule wants it to run again. And not if
    other work has been written to the same place since.
    """
    same = [job for job in ours if get_label(job, "fingerprint") == claim.fingerprint]
    begun = min((job.age_key for job in same if job.id in claim.unfinished), default=None)
    done = [job for job in same if is_success(job) and (claim.orphaned or (begun is not None and job.age_key >= begun))]
    last = max(done, key=lambda job: job.age_key, default=None)
    if last and any(job.age_key > last.age_key for job in ours if job not in same):
        return None
    return last
