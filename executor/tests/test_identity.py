"""identity.py: which files a job writes, and from what, alone and in a group."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from snakemake_executor_plugin_ovhai.arguments import get_arguments
from snakemake_executor_plugin_ovhai.bucket import ObjectInfo
from snakemake_executor_plugin_ovhai.fingerprint import get_fingerprint
from snakemake_executor_plugin_ovhai.identity import (
    VARIABLE,
    JobIndex,
    find_equal_jobs,
    get_output_fingerprints,
    get_output_id,
    write_outputs,
)
from snakemake_executor_plugin_ovhai.job import Job, read_job
from snakemake_executor_plugin_ovhai.job_spec import JobSpec, Member, Resources, SubmissionError
from snakemake_executor_plugin_ovhai.leftovers import may_have_written
from snakemake_executor_plugin_ovhai.volumes import StoredFile

FILM, FRAMES, POSES = (StoredFile("b", f"w/{name}/out", f"{name}/out") for name in ("film", "frames", "poses"))
EXTRACT = Member("extract", ["x"], (FILM,), (FRAMES,))
SOLVE = Member("solve", [], (FRAMES,), (POSES,))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def make_spec(*members: Member) -> JobSpec:
    inputs = tuple(file for member in members for file in member.inputs)
    outputs = tuple(file for member in members for file in member.outputs)
    command = "\n".join(member.command for member in members)
    return JobSpec("r", {}, 1, command, "image", [], Resources(0, 1, "", 10), inputs, outputs, (), (), (), members)


GROUP = get_output_fingerprints(make_spec(EXTRACT, SOLVE), {FILM: "f"})


def test_a_rule_does_the_same_work_alone_and_in_a_group() -> None:
    alone = get_output_fingerprints(make_spec(EXTRACT), {FILM: "f"})
    assert alone == {get_output_id(FRAMES): GROUP[get_output_id(FRAMES)]}
    assert alone[get_output_id(FRAMES)] == get_fingerprint("extract", "image", ["x"], [FRAMES], {FILM: "f"})


@pytest.mark.parametrize(
    "members, film",
    [
        ((EXTRACT, SOLVE), "g"),
        ((replace(EXTRACT, command="other"), SOLVE), "f"),
        ((replace(EXTRACT, params=["y"]), SOLVE), "f"),
    ],
)
def test_what_changes_the_first_rule_of_a_group_changes_what_follows(members: Any, film: str) -> None:
    other = get_output_fingerprints(make_spec(*members), {FILM: film})
    assert all(other[output] != GROUP[output] for output in GROUP)


def test_a_change_of_the_last_rule_leaves_the_first_ones_work_as_it_is() -> None:
    other = get_output_fingerprints(make_spec(EXTRACT, replace(SOLVE, command="other")), {FILM: "f"})
    assert [other[output] == GROUP[output] for output in (get_output_id(FRAMES), get_output_id(POSES))] == [True, False]


def test_a_rule_whose_input_the_same_group_made_has_been_done() -> None:
    """Alone it knows the content of its input; the group knew only the work that makes it."""
    spec = make_spec(SOLVE)
    variables = {VARIABLE: write_outputs(GROUP)}
    end = BEGIN + timedelta(minutes=5)
    job = Job("g", "DONE", created_at=BEGIN, variables=variables, finalized_at=end)
    outputs = get_output_fingerprints(spec, {FRAMES: "content"})

    def find(modified: datetime, job: Job = job, spec: JobSpec = spec) -> set[str]:
        inputs = {FRAMES: ObjectInfo("content", modified, 7)}
        return find_equal_jobs(spec, outputs, inputs, [job], lambda job, _, info: may_have_written(info.modified, job))

    assert find(end) == {"g"}
    assert find(end + timedelta(hours=1)) == set()  # somebody has written the input since
    assert find(end, job=replace(job, state="FAILED")) == set()
    assert find(end, spec=make_spec(replace(SOLVE, command="other"))) == set()
    assert find(end, job=replace(job, variables={})) == set()


def test_jobs_are_found_by_any_of_their_files() -> None:
    group = Job("g", "RUNNING", variables={VARIABLE: write_outputs(GROUP)})
    old = Job("o", "RUNNING", labels={"snakemake-target": "T"})
    index = JobIndex([group, old, Job("x", "RUNNING")])
    assert index.find([get_output_id(POSES)], "t") == [group, old]
    assert index.find([get_output_id(FILM)], "other") == []


def test_the_platform_may_name_the_variables_as_it_did_before() -> None:
    for name in ("envVars", "env"):
        job = read_job({"id": "a", "spec": {name: [{"name": VARIABLE, "value": "x"}, None, {"name": 3}]}})
        assert job and job.variables[VARIABLE] == "x"
    job = read_job({"id": "a", "spec": {"envVars": None}})
    assert job and job.variables == {}


def test_hundreds_of_outputs_fit_and_too_many_are_refused_with_words() -> None:
    spec = make_spec(EXTRACT)
    many = {f"{number:020x}": f"{number % 300:040x}" for number in range(3000)}
    assert f"{VARIABLE}={write_outputs(many)}" in get_arguments(spec, {}, "S", many)
    with pytest.raises(SubmissionError, match="too many for one job"):
        get_arguments(spec, {}, "S", {f"{number:020x}": "f" for number in range(7000)})
