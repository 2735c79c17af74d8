"""decision.py: which of several jobs goes on, from made lists of the platform's jobs."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_ovhai.decision import Claim, Decision, decide
from snakemake_executor_plugin_ovhai.identity import VARIABLE, read_outputs, write_outputs
from snakemake_executor_plugin_ovhai.job import KNOWN, Job

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CLAIM = Claim("target", "print")


def make(
    id: str,
    state: str = "RUNNING",
    second: int = 0,
    fingerprint: str = "print",
    target: str = "target",
    submission: str = "",
    stopped: int | None = None,
    finalized: bool = False,
) -> Job:
    labels = {"target": target, "fingerprint": fingerprint, "submission": submission}
    return Job(
        id,
        state,
        created_at=EPOCH + timedelta(seconds=second),
        labels={f"snakemake-{name}": value for name, value in labels.items()},
        stopped_at=None if stopped is None else EPOCH + timedelta(seconds=stopped),
        finalized=finalized,
    )


# Examples


def test_nothing_there() -> None:
    assert decide(CLAIM, []) == Decision("submit")
    assert decide(CLAIM, [make("a", target="other"), Job("b", "RUNNING")]) == Decision("submit")


def test_a_live_job_for_the_same_work_is_taken_over() -> None:
    job = make("a")
    assert decide(CLAIM, [job]) == Decision("watch", job)


def test_of_several_the_first_goes_on_whoever_has_started_it() -> None:
    first, second, third = make("c", second=1), make("a", second=2), make("b", second=2)
    for claim in (CLAIM, replace(CLAIM, job_id="a"), replace(CLAIM, job_id="c")):
        assert decide(claim, [third, first, second]) == Decision("watch", first, (second, third))


def test_the_own_job_is_watched_and_its_end_is_the_end() -> None:
    claim = replace(CLAIM, job_id="a")
    for state in ("QUEUED", "RUNNING", "HIBERNATING", ""):
        assert decide(claim, [make("a", state)]).action == "watch"
    for state in ("INTERRUPTING", "TIMEOUT"):
        assert decide(claim, [make("a", state)]) == Decision("watch", make("a", state))
    for state in ("DONE", "FAILED", "ERROR", "INTERRUPTED", "SYNC_FAILED"):
        assert decide(claim, [make("a", state)]) == Decision("ended", make("a", state))
    assert decide(claim, [make("a", "TIMEOUT", finalized=True)]).action == "ended"


def test_the_own_job_without_labels_is_still_the_own() -> None:
    job = Job("a", "DONE")
    assert decide(replace(CLAIM, job_id="a"), [job]) == Decision("ended", job)


def test_an_own_job_that_the_list_lacks_is_missing_and_not_submitted_again() -> None:
    assert decide(replace(CLAIM, job_id="a"), [make("b", target="other")]) == Decision("missing")


def test_another_live_job_stands_in_for_the_own_that_is_missing_or_has_failed() -> None:
    other = make("b")
    assert decide(replace(CLAIM, job_id="a"), [other]) == Decision("watch", other)
    assert decide(replace(CLAIM, job_id="a"), [make("a", "FAILED"), other]) == Decision("watch", other)


def test_a_lost_reply_is_found_by_its_mark() -> None:
    claim = replace(CLAIM, submission="mark")
    ended = make("a", "FAILED", submission="mark")
    assert decide(claim, [ended]) == Decision("ended", ended)
    assert decide(claim, [make("a", "FAILED", submission="other")]) == Decision("submit")
    assert decide(CLAIM, [make("a", "FAILED")]) == Decision("submit")


def test_once_done_other_jobs_for_the_same_work_are_stopped() -> None:
    mine, late = make("a", "DONE"), make("b", second=1)
    assert decide(replace(CLAIM, job_id="a"), [late, mine]) == Decision("ended", mine, (late,))


def test_a_job_stopped_for_another_that_is_done_counts_as_done() -> None:
    claim = replace(CLAIM, job_id="b")
    winner, mine = make("a", "DONE", second=1, stopped=9), make("b", "INTERRUPTED", second=2)
    assert decide(claim, [mine, winner]) == Decision("ended", winner)
    # Not one that had ended before: its outputs have been removed since.
    earlier = make("a", "DONE", second=0, stopped=1)
    assert decide(claim, [mine, earlier]) == Decision("ended", mine)
    # One whose copy failed can be copied again, and one that was copied again is done.
    rescuable = replace(winner, state="SYNC_FAILED", exit_code=0, push_failed=True)
    assert decide(claim, [mine, rescuable]) == Decision("ended", rescuable)
    rescued = replace(rescuable, id="c", saved=True)
    assert decide(claim, [mine, rescuable, rescued]) == Decision("ended", rescued)
    # And not while the own may still write.
    assert decide(claim, [replace(mine, state="INTERRUPTING"), winner]).job == replace(mine, state="INTERRUPTING")


def test_a_finished_job_is_taken_only_if_the_records_know_it() -> None:
    old, new = make("a", "DONE", second=1), make("b", "DONE", second=2)
    assert decide(CLAIM, [old, new]) == Decision("submit")
    assert decide(replace(CLAIM, unfinished=["a"]), [old]) == Decision("ended", old)
    # One that another head has started since is as good, one from before is stale.
    assert decide(replace(CLAIM, unfinished=["a"]), [old, new]) == Decision("ended", new)
    assert decide(replace(CLAIM, unfinished=["a"]), [replace(old, state="FAILED"), new]) == Decision("ended", new)
    assert decide(replace(CLAIM, unfinished=["b"]), [old, replace(new, state="FAILED")]) == Decision("submit")
    assert decide(replace(CLAIM, unfinished=["x"]), [old, new]) == Decision("submit")
    assert decide(replace(CLAIM, orphaned=True), [new, old]) == Decision("ended", new)
    failed = make("c", "FAILED", second=3)
    assert decide(replace(CLAIM, unfinished=["c"], orphaned=True), [failed]) == Decision("submit")


def test_a_finished_job_is_not_taken_once_other_work_has_written_there() -> None:
    done = make("a", "DONE", second=1)
    claim = replace(CLAIM, orphaned=True)
    assert decide(claim, [done, make("b", "DONE", second=2, fingerprint="other")]) == Decision("submit")
    assert decide(claim, [done, make("b", "DONE", second=0, fingerprint="other")]) == Decision("ended", done)


def test_a_job_whose_files_were_not_copied_back_is_second_best() -> None:
    done, lost = make("a", "DONE", second=2), replace(make("b", "SYNC_FAILED", second=1), push_failed=True)
    later = replace(make("c", "SYNC_FAILED", second=3), push_failed=True)
    for claim in (replace(CLAIM, orphaned=True), replace(CLAIM, unfinished=["a"])):
        assert decide(claim, [done, lost]) == Decision("ended", done)
        # It may have replaced some files of the other. A copy of all of its files mends that.
        assert decide(claim, [done, later]) == Decision("ended", later)
    assert decide(replace(CLAIM, orphaned=True), [lost]) == Decision("ended", lost)
    assert decide(replace(CLAIM, orphaned=True), [replace(lost, timed_out=True)]) == Decision("submit")


def test_a_job_that_failed_is_no_finished_one() -> None:
    for claim in (replace(CLAIM, orphaned=True), replace(CLAIM, unfinished=["a"])):
        assert decide(claim, [replace(make("a", "DONE"), exit_code=1)]) == Decision("submit")


def test_other_work_with_the_same_outputs_is_stopped_and_waited_for() -> None:
    other = make("a", fingerprint="other")
    assert decide(CLAIM, [other]) == Decision("wait", other, (other,))
    ending = make("b", "INTERRUPTING", fingerprint="other")
    assert decide(CLAIM, [ending]) == Decision("wait", ending)
    assert decide(CLAIM, [make("c", "FAILED", fingerprint="other")]) == Decision("submit")


def test_the_same_work_that_is_just_being_stopped_is_waited_for() -> None:
    ending = make("a", "INTERRUPTING")
    assert decide(CLAIM, [ending]) == Decision("wait", ending)


# Jobs that share some files


def run(id: str, outputs: dict[str, str], state: str = "RUNNING", second: int = 0, **labels: str) -> Job:
    """outputs: name of each file -> fingerprint."""
    labels = {f"snakemake-{name}": value for name, value in labels.items()}
    variables = {VARIABLE: write_outputs(outputs)}
    return Job(id, state, created_at=EPOCH + timedelta(seconds=second), labels=labels, variables=variables)


def claim(outputs: dict[str, str], **known: Any) -> Claim:
    return Claim("".join(outputs), "".join(outputs.values()), outputs=outputs, **known)


FRAMES, POSES = {"frames": "f1"}, {"poses": "p1"}


def test_a_group_that_makes_these_files_from_the_same_work_is_taken() -> None:
    group = run("g", FRAMES | POSES)
    assert decide(claim(FRAMES), [group]) == Decision("watch", group)
    done = replace(group, state="DONE")
    assert decide(claim(FRAMES), [done]) == Decision("submit")
    assert decide(claim(FRAMES, orphaned=True), [done]) == Decision("ended", done)
    assert decide(claim(FRAMES, unfinished=["g"]), [done]) == Decision("ended", done)


def test_a_job_that_shares_one_file_and_does_other_work_is_stopped_first() -> None:
    group = run("g", FRAMES | POSES)
    assert decide(claim({"frames": "f2"}), [group]) == Decision("wait", group, (group,))
    assert decide(claim({"frames": "f1", "more": "m1"}), [group]) == Decision("wait", group, (group,))
    alone = run("a", FRAMES)
    assert decide(claim(FRAMES | POSES), [alone]) == Decision("wait", alone, (alone,))
    assert decide(claim(FRAMES | POSES), [replace(alone, state="INTERRUPTING")]).action == "wait"
    assert decide(claim(FRAMES | POSES, orphaned=True), [replace(alone, state="DONE")]) == Decision("submit")
    assert decide(claim(FRAMES), [run("x", {"elsewhere": "f1"})]) == Decision("submit")


def test_two_live_jobs_that_share_a_file_never_go_on_together() -> None:
    """Both heads had old lists when they submitted. They agree, whichever looks first."""
    group, alone = run("g", FRAMES | POSES, second=2), run("a", FRAMES, second=1)
    for mine in (claim(FRAMES | POSES, job_id="g"), claim(FRAMES, job_id="a"), claim(FRAMES)):
        assert decide(mine, [alone, group]) == Decision("watch", group, (alone,))
    one, two = run("1", {"a": "a", "b": "b"}, second=1), run("2", {"b": "b", "c": "c"}, second=2)
    assert decide(claim({"a": "a", "b": "b"}, job_id="1"), [one, two]) == Decision("watch", one, (two,))
    assert decide(claim({"b": "b", "c": "c"}, job_id="2"), [one, two]) == Decision("wait", one, (two,))
    old, new = run("o", {"a": "old"}, second=1), run("n", {"a": "new"}, second=2)
    assert decide(claim({"a": "old"}, job_id="o"), [old, new]) == Decision("watch", old, (new,))
    assert decide(claim({"a": "new"}, job_id="n"), [old, new]) == Decision("wait", old, (new,))


def test_labels_in_other_letters_or_cut_change_nothing() -> None:
    job = run("g", FRAMES | POSES, target="TARGET", fingerprint="PRINT", rule="fr")
    upper = replace(job, variables={VARIABLE: job.variables[VARIABLE].upper()})
    assert decide(claim(FRAMES), [upper]).action == "watch"
    assert decide(CLAIM, [replace(job, variables={})]).action == "watch"


def test_what_is_written_about_outputs_can_be_read() -> None:
    outputs = {"aa": "11", "bb": "22", "cc": "11"}
    assert read_outputs(run("a", outputs)) == outputs
    assert read_outputs(Job("a", "RUNNING")) == {}
    assert read_outputs(Job("a", "RUNNING", variables={VARIABLE: "--..-"})) == {}


def test_a_job_stopped_in_favour_of_an_older_one_does_not_hide_its_result() -> None:
    """Two heads race in one folder. The loser wrote its job into the records last, and both heads were killed."""
    done, loser = make("a", "DONE", second=1, stopped=9), make("b", "INTERRUPTED", second=2)
    assert decide(replace(CLAIM, unfinished=["b"]), [loser, done]) == Decision("ended", done)
    early = make("a", "DONE", second=0, stopped=1)  # its outputs were removed before the loser was submitted
    assert decide(replace(CLAIM, unfinished=["b"]), [loser, early]) == Decision("submit")


# Properties

files = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), min_size=1)
names = st.sampled_from("uvwxyz")
sharing = st.lists(
    st.builds(run, names, files, st.sampled_from(sorted(KNOWN)), st.integers(0, 5)),
    max_size=5,
    unique_by=lambda job: job.id,
)


@given(sharing, files, st.booleans(), st.lists(names, max_size=2))
def test_whatever_the_grouping_nothing_starts_beside_a_job_that_shares_a_file(
    jobs: list[Job], outputs: dict[str, str], orphaned: bool, unfinished: list[str]
) -> None:
    decision = decide(claim(outputs, orphaned=orphaned, unfinished=unfinished), jobs)
    sharers = [job for job in jobs if read_outputs(job).keys() & outputs]
    if any(not job.ended for job in sharers):
        assert decision.action in ("watch", "wait", "ended")
    assert all(job in sharers and job.live for job in decision.stop)
    if decision.action == "watch":
        assert {job.id for job in sharers if job.live} - {decision.job and decision.job.id} == get_ids(decision.stop)


@given(sharing)
def test_of_live_jobs_that_share_files_no_two_heads_stop_both(jobs: list[Job]) -> None:
    """Each live job has its head. The first of them goes on, and no job goes on beside one that shares a file."""
    live = [job for job in jobs if job.live]
    stopped = {
        stop.id for job in live for stop in decide(claim(read_outputs(job), job_id=job.id), jobs).stop
    }  # one check of each head
    left = [job for job in live if job.id not in stopped]
    assert bool(left) == bool(live)
    for one in left:
        assert not any(read_outputs(one).keys() & read_outputs(two) for two in left if two is not one)


ids = st.sampled_from("abcdef")
jobs = st.builds(
    make,
    ids,
    st.sampled_from([*sorted(KNOWN), "HIBERNATING", ""]),
    st.integers(0, 5),
    st.sampled_from(["print", "print", "other"]),
    st.sampled_from(["target", "target", "elsewhere"]),
    st.sampled_from(["", "", "mark"]),
    st.none() | st.integers(0, 9),
    st.booleans(),
)
lists = st.lists(jobs, max_size=6, unique_by=lambda job: job.id).filter(
    lambda jobs: sum(job.labels["snakemake-submission"] == "mark" for job in jobs) < 2  # each submission has its own
)
claims = st.builds(
    Claim,
    st.just("target"),
    st.just("print"),
    st.none() | ids,
    st.none() | st.just("mark"),
    st.lists(ids, max_size=2),
    st.booleans(),
)


def get_same(jobs: list[Job]) -> list[Job]:
    names = ("snakemake-target", "snakemake-fingerprint")
    return [job for job in jobs if [job.labels[name] for name in names] == ["target", "print"]]


def get_ids(jobs: Iterable[Job]) -> set[str]:
    return {job.id for job in jobs}


@given(lists, claims, claims, st.randoms())
def test_two_heads_choose_the_same_winner_and_stop_only_losers(
    jobs: list[Job], one: Claim, two: Claim, random: object
) -> None:
    first = decide(one, jobs)
    random.shuffle(jobs)  # type: ignore[attr-defined]
    second = decide(two, jobs)
    live = [job for job in get_same(jobs) if job.live]
    for decision in (first, second):
        if live and not (decision.action == "ended" and decision.job and decision.job.state == "DONE"):
            first_of_all = min(
                (job for job in jobs if job.live and job.labels["snakemake-target"] == "target"),
                key=lambda job: job.age_key,
            )
            assert decision.job == (min(live, key=lambda job: job.age_key) if first_of_all in live else first_of_all)
            assert decision.action == ("watch" if first_of_all in live else "wait")
        assert decision.job not in decision.stop or decision.action == "wait"
    if first.action == second.action == "watch" and live:
        assert (first.job, get_ids(first.stop)) == (second.job, get_ids(second.stop))


@given(lists, claims, st.randoms())
def test_the_order_of_the_list_does_not_matter(jobs: list[Job], claim: Claim, random: object) -> None:
    before = decide(claim, jobs)
    random.shuffle(jobs)  # type: ignore[attr-defined]
    after = decide(claim, jobs)
    assert (before.action, get_ids(before.stop)) == (after.action, get_ids(after.stop))


@given(lists, claims)
def test_only_live_jobs_with_the_same_outputs_are_stopped(jobs: list[Job], claim: Claim) -> None:
    for job in decide(claim, jobs).stop:
        assert job.live and job.labels["snakemake-target"] == "target"


@given(lists, claims)
def test_nothing_is_submitted_while_a_job_may_write_the_same_outputs(jobs: list[Job], claim: Claim) -> None:
    decision = decide(claim, jobs)
    if any(job.labels["snakemake-target"] == "target" and not job.ended for job in jobs):
        assert decision.action != "submit"
    if claim.job_id:
        assert decision.action != "submit"


@given(lists, claims)
def test_a_stale_job_is_never_taken_for_a_result(jobs: list[Job], claim: Claim) -> None:
    decision = decide(claim, jobs)
    if decision.action != "ended":
        return
    assert decision.job and decision.job.ended
    mine = [
        job
        for job in jobs
        if job.id == claim.job_id or (claim.submission and job.labels["snakemake-submission"] == claim.submission)
    ]
    begun = [job.age_key for job in get_same(jobs) if job.id in claim.unfinished]
    named = claim.orphaned or (begun and decision.job.age_key >= min(begun))
    # A result that is neither one's own nor known to the records ended after one's own job had begun.
    if decision.job not in mine and not named:
        assert mine and decision.job.state == "DONE"
        ended = decision.job.stopped_at or decision.job.created_at
        assert ended and ended >= min(job.created_at for job in mine if job.created_at)


@given(lists)
def test_without_records_no_finished_job_is_taken(jobs: list[Job]) -> None:
    assert decide(CLAIM, jobs).action != "ended"


class Race:
    """Heads that check one platform in any order. All have the same work to do, and none knows of the others."""

    def __init__(self, heads: int) -> None:
        self.jobs: dict[str, Job] = {}
        self.claims = [CLAIM] * heads
        self.results: dict[int, Job] = {}
        self.output = False  # in the bucket
        self.time = 0

    def look(self, head: int) -> None:
        """One check, and what the executor does about it. A submission becomes visible at once."""
        if head in self.results:
            return
        decision = decide(self.claims[head], list(self.jobs.values()))
        if decision.action == "submit":
            self.submit(head)
        elif decision.action in ("watch", "ended"):
            assert decision.job
            self.claims[head] = replace(self.claims[head], job_id=decision.job.id)
        if decision.action == "ended" and decision.job:
            if decision.job.state == "DONE" and not self.output and decision.stop:
                # Removed by the head that has started the other job, which makes it again.
                self.claims[head] = replace(self.claims[head], job_id=decision.stop[0].id)
                return
            assert decision.job.state != "DONE" or self.output
            self.results[head] = decision.job
        for job in decision.stop:
            self.jobs[job.id] = replace(self.jobs[job.id], state="INTERRUPTING")

    def submit(self, head: int) -> None:
        self.time += 1
        self.output = False
        id = f"{len(self.jobs)}"
        self.jobs[id] = make(id, second=self.time)
        self.claims[head] = replace(self.claims[head], job_id=id)

    def move(self) -> None:
        """Move every job one step towards its end."""
        self.time += 1
        following = {"RUNNING": "FINALIZING", "FINALIZING": "DONE", "INTERRUPTING": "INTERRUPTED"}
        for id, job in self.jobs.items():
            if job.state in following:
                stopped = EPOCH + timedelta(seconds=self.time)
                self.jobs[id] = replace(job, state=following[job.state], stopped_at=stopped)
                self.output |= self.jobs[id].state == "DONE"


@given(st.integers(1, 3), st.lists(st.integers(0, 3), max_size=12), st.booleans())
def test_heads_that_start_together_all_end_with_one_result(heads: int, steps: list[int], together: bool) -> None:
    race = Race(heads)
    if together:  # none has seen the others' jobs when it submits its own
        for head in range(heads):
            race.submit(head)
    for step in [*steps, *[*range(heads), 3] * 6]:
        if step == 3:
            race.move()
        elif step < heads:
            race.look(step)
    assert len(race.results) == heads
    assert all(job.state == "DONE" for job in race.results.values())
