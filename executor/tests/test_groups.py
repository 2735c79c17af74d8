"""Groups: what a group of rules gets from the platform, and whose work it does when other runs group in another way."""

import re
import shutil
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from heads import SNAKEFILE, Head, finish, get_written_files, jobs_of, kill, states
from submission import wait_until

from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.labels import get_workflow_label, sanitise
from snakemake_executor_plugin_ovhai.preflight import warn_of_cut_list

PARTS = """\
rule all:
    input:
        local("deliver/a.txt"),

rule part:
    output:
        "results/a/part{n}/out.txt",
    container:
        "docker://example/tools:1"
    threads: 2
    resources:
        gpu=1,
        flavor=PART_FLAVOR,
        runtime=PART_RUNTIME,
    shell:
        "echo {wildcards.n} > {output:q}"

rule join:
    input:
        expand("results/a/part{n}/out.txt", n=[1, 2, 3]),
    output:
        "results/a/join/sum.txt",
    container:
        "docker://example/tools:1"
    resources:
        gpu=lambda wildcards, attempt: attempt,
        flavor="ai1-1-gpu",
        runtime=10,
    shell:
        "cat {input:q} | awk '{{ s += $1 }} END {{ print s }}' > {output:q}; [ {resources.gpu} = 2 ]"

rule deliver:
    localrule: True
    input:
        "results/a/join/sum.txt",
    output:
        local("deliver/a.txt"),
    shell:
        "cp {input:q} {output:q}"
"""
GROUP = ("--groups", "part=g", "join=g")
PAIR = ("--groups", "make=g", "add=g")


def write_parts(head: Head, flavor: str = '"ai1-1-gpu"', runtime: str = "10") -> None:
    head.write(snakefile=PARTS.replace("PART_FLAVOR", flavor).replace("PART_RUNTIME", runtime))


def ever_together(head: Head) -> list[tuple[str, str]]:
    """Jobs whose lives overlapped although they write a common file."""
    jobs = [job for job in head.platform.jobs() if job["spec"]["envVars"]]
    return [
        (one["id"], two["id"])
        for one, two in combinations(jobs, 2)
        if get_written_files(one) & get_written_files(two) and not (ended_before(one, two) or ended_before(two, one))
    ]


def ended_before(one: dict[str, Any], two: dict[str, Any]) -> bool:
    end = one["status"].get("finalizedAt") or one["status"].get("stoppedAt")
    return bool(end) and end <= two["createdAt"]


# Resources


def test_a_group_gets_what_one_rule_after_the_other_needs(head: Head) -> None:
    """Three rules with a GPU each, and one that needs more at its second attempt."""
    write_parts(head)
    run = head.run(*GROUP, "--retries", "1")
    assert run.returncode == 0, run.stdout
    first, second = head.platform.jobs()
    assert [job["spec"]["resources"]["gpu"] for job in (first, second)] == [1, 2]
    assert [job["spec"]["timeout"] for job in (first, second)] == [40 * 60, 40 * 60]
    assert head.stored("results/a/join/sum.txt") == "6\n"


def test_rules_of_a_group_that_do_not_fit_together_are_named_before_anything_starts(head: Head) -> None:
    write_parts(head, flavor='"l4-1-gpu"')
    run = head.run(*GROUP)
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert re.search(r"group g: its rules ask for different flavors, ai1-1-gpu \(rule join\) and l4-1-gpu", run.stdout)
    write_parts(head, flavor='"ai1-1-gpu", partition=lambda wildcards: f"p{wildcards.n}"')
    assert re.search(r"group g: .* different texts as resource partition, p1 \(rule part\)", head.run(*GROUP).stdout)
    write_parts(head, runtime="5000")
    assert re.search(r"group g: runtime is 15010 minutes; allowed are 1 to 10,080", head.run(*GROUP).stdout)
    assert head.platform.jobs() == []
    # Rules of the same group that are not connected are different jobs, and may differ.
    write_parts(head, flavor='lambda wildcards: "l4-1-gpu" if wildcards.n == "2" else "ai1-1-gpu"')
    run = head.run("--groups", "part=g", "--retries", "1")
    assert run.returncode == 0, run.stdout


# Identity


def test_a_group_that_is_live_is_not_run_again_without_groups(head: Head) -> None:
    """The head dies, and the next one has other groups or targets."""
    head.write(make="sleep 4;")
    first = head.start(*PAIR)
    wait_until(lambda: states(head, "make-add") == ["RUNNING"])
    kill(first)
    assert head.run("--until", "make").returncode == 0
    assert "is already there" in finish(head)
    assert [job["status"]["state"] for job in head.platform.jobs()] == ["DONE"]


def test_work_that_is_live_alone_is_not_run_again_in_a_group_beside_it(head: Head) -> None:
    head.platform.fault(when="QUEUED", match="rule=make", action="stuck", count=1)
    first = head.write().start()
    wait_until(lambda: states(head) == ["QUEUED"])
    kill(first)
    said = finish(head, *PAIR)
    assert "Stopping job" in said
    assert states(head) == ["INTERRUPTED"] and states(head, "make-add") == ["DONE"]
    assert ever_together(head) == []


def test_a_group_that_fails_for_its_other_work_is_done_alone(head: Head) -> None:
    head.write(add="sleep 15; [ -e /tmp/never ];")
    first = head.start(*PAIR)
    wait_until(lambda: states(head, "make-add") == ["RUNNING"])
    kill(first)
    run = head.run("--until", "make")
    assert run.returncode == 0, run.stdout
    assert "gets a job of its own" in run.stdout
    assert states(head, "make-add") == ["FAILED"] and states(head) == ["DONE"]
    assert ever_together(head) == []


def test_two_heads_with_different_groups_start_together(head: Head, tmp_path: Path) -> None:
    """Both lists are old when the jobs are submitted. The group goes on, and its result serves both."""
    head.write(make="sleep 6;")
    other = Head(tmp_path / "other", head.platform, head.s3, head.bucket).write(make="sleep 6;")
    head.platform.fault(when="job run", match="rule=make", action="slow", seconds=3, count=2)
    heads = [head.start(*PAIR), other.start()]
    assert [process.wait(90) for process in heads] == [0, 0], head.said() + other.said()
    assert states(head) in ([], ["INTERRUPTED"]) and states(head, "make-add") == ["DONE"]


def test_half_a_file_of_any_scene_of_a_group_is_no_result(head: Head, tmp_path: Path) -> None:
    """Two scenes in one job, which is evicted when no head is there. A head in a fresh folder finds the files."""
    two = ("--config", "scenes=a,b", "--groups", "make=g", "--group-components", "g=2")
    head.platform.fault(
        when="RUNNING", match="rule=make", action="end", state="INTERRUPTED", code="JOB_EVICTED", seconds=2, push=True,
        count=1,
    )  # fmt: skip
    head.write(make="echo part > {output:q}; sleep 6;")
    snakefile = head.folder / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("sleep 6; seq", "[ -e {output:q}.b ] || sleep 6; seq"))
    first = head.start(*two)
    wait_until(lambda: states(head) == ["RUNNING"])
    kill(first)
    wait_until(lambda: states(head) == ["INTERRUPTED"])
    assert "part\n" in (head.stored("results/a/make/numbers.txt"), head.stored("results/b/make/numbers.txt"))
    fresh = Head(tmp_path / "fresh", head.platform, head.s3, head.bucket).write()
    run = fresh.run(*two)
    assert run.returncode == 0, run.stdout
    assert [(fresh.folder / "deliver" / f"{scene}.txt").read_text() for scene in "ab"] == ["6\n", "6\n"]


def test_scenes_that_only_look_alike_in_labels_are_different_work(head: Head, tmp_path: Path) -> None:
    """Their first 63 letters are the same, or the platform makes them so. The half file of one is made again, and the
    good file of the other is taken."""
    head.platform.set(alter_labels=True, quota={"gpu": 100, "cpu": 400})
    scenes = ["Cat", "cat", "x" * 70 + "1", "x" * 70 + "2"]
    alike = ("--config", f"scenes={','.join(scenes)}")
    lost = rf"results/(Cat|{scenes[2]})/make"
    head.platform.fault(when="RUNNING", match=lost, action="end", state="ERROR", seconds=4, push=True, count=2)
    first = head.write(make="echo part > {output:q}; sleep 6;").start(*alike)
    wait_until(lambda: len(states(head)) == 4)
    kill(first)
    wait_until(lambda: sorted(states(head)) == ["DONE", "DONE", "ERROR", "ERROR"])
    fresh = head.copy(tmp_path / "fresh")
    shutil.rmtree(fresh.folder / ".snakemake")
    run = fresh.run(*alike)
    assert run.returncode == 0, run.stdout
    assert all((fresh.folder / "deliver" / f"{scene}.txt").read_text() == "6\n" for scene in scenes)
    assert len(jobs_of(head.platform, "make")) == 6, run.stdout


def test_a_group_that_the_list_lacks_is_asked_for_by_its_id(head: Head) -> None:
    """The platform may show only its newest jobs. Snakemake's records know the job."""
    head.write(make="sleep 2;")
    first = head.start(*PAIR)
    wait_until(lambda: "was submitted" in head.said())
    kill(first)
    wait_until(lambda: states(head, "make-add") == ["DONE"])
    head.platform.fault(when="job list", match="rule=make", action="hide")
    said = finish(head, *PAIR)
    assert states(head, "make-add") == ["DONE"]
    assert "`ovhai job list -a` lacks job" in said


def test_a_list_with_a_round_number_of_jobs_may_be_cut() -> None:
    said: list[str] = []
    logger: Any = SimpleNamespace(warning=said.append)
    for count in (0, 99, 101):
        warn_of_cut_list([Job(str(number), "DONE") for number in range(count)], logger)
    assert said == []
    warn_of_cut_list([Job(str(number), "DONE") for number in range(200)], logger)
    assert "shows 200 jobs" in said[0]


def test_workflows_whose_names_look_alike_have_labels_of_their_own() -> None:
    roots = ["work", "Work", "w-ork", "x" * 70 + "1", "x" * 70 + "2", ""]
    names = [get_workflow_label("bucket", root) for root in roots] + [get_workflow_label("bucket-w", "ork")]
    assert len({name.lower()[:63] for name in names}) == len(names)
    assert all(sanitise(name) == name for name in names)


def test_a_group_counts_for_nothing_whose_inputs_were_made_again(head: Head, tmp_path: Path) -> None:
    """A moment after the group has ended, so that dates do not tell who wrote them."""
    head.write()
    finish(head, *PAIR)
    head.write(snakefile=SNAKEFILE.replace("seq 3", "seq 4"))
    fresh = Head(tmp_path / "fresh", head.platform, head.s3, head.bucket)
    fresh.write(snakefile=SNAKEFILE.replace("seq 3", "seq 5"))
    for changed, total in ((head, "10\n"), (fresh, "15\n")):
        run = changed.run()
        assert run.returncode == 0, run.stdout
        assert (changed.folder / "deliver" / "a.txt").read_text() == total


def test_a_group_takes_what_its_rules_have_done_alone(head: Head) -> None:
    """The head died before it could write a record of them."""
    head.platform.fault(when="QUEUED", match="rule=add", action="stuck", count=1)
    first = head.write().start()
    wait_until(lambda: states(head, "add") == ["QUEUED"])
    kill(first)
    forget_records(head)
    said = finish(head, *PAIR)
    assert "make-a done already. A job does the rest." in said
    assert states(head) == ["DONE"] and states(head, "make-add") == []
    assert states(head, "add") == ["INTERRUPTED", "DONE"]
    assert "seq 3" not in jobs_of(head.platform, "add")[-1]["spec"]["command"][-1]


def test_a_group_whose_rules_have_all_been_done_alone_needs_no_job(head: Head, tmp_path: Path) -> None:
    finish(head.write())
    forget_records(head)
    fresh = Head(tmp_path / "fresh", head.platform, head.s3, head.bucket).write()
    assert "make-a, add-a done already. No job is needed." in finish(fresh, *PAIR)
    assert len(head.platform.jobs()) == 2
    assert "Nothing to be done" in fresh.run(*PAIR).stdout
    # A user who forces it gets all of it.
    fresh.run(*PAIR, "--forceall")
    assert states(head, "make-add") == ["DONE"]


def test_a_group_that_fails_keeps_what_its_rules_have_done_alone(head: Head) -> None:
    head.platform.fault(when="QUEUED", match="rule=add", action="stuck", count=1)
    first = head.write(add="[ $SNAKEMAKE_ATTEMPT = 2 ];").start()
    wait_until(lambda: states(head, "add") == ["QUEUED"])
    kill(first)
    forget_records(head)
    finish(head, *PAIR, "--retries", "1")
    assert states(head) == ["DONE"] and states(head, "make-add") == []
    assert states(head, "add") == ["INTERRUPTED", "FAILED", "DONE"]


def forget_records(head: Head) -> None:
    shutil.rmtree(head.folder / ".snakemake")
    client = head.s3.client()
    for entry in client.list_objects_v2(Bucket=head.bucket, Prefix="work/.ovhai/records/").get("Contents", []):
        client.delete_object(Bucket=head.bucket, Key=entry["Key"])
