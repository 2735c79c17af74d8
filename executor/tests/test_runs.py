"""The executor from `snakemake` to the bucket, against the stand-in platform: what goes well, and what is refused."""

import json
import re
import time

import pytest
from heads import SNAKEFILE, Head, jobs_of, labels, strip_colours

import s3_server
from snakemake_process import run_snakemake


def test_a_run_makes_the_results_and_a_second_one_does_nothing(head: Head) -> None:
    run = head.run()
    assert run.returncode == 0, run.stdout
    assert (head.folder / "deliver" / "a.txt").read_text() == "6\n"
    assert [job["status"]["state"] for job in head.platform.jobs()] == ["DONE", "DONE"]
    assert "working on a" in str(head.stored("results/a/make/make.log"))
    logs = list((head.folder / ".snakemake" / "ovhai_logs").rglob("*.log"))
    assert len(logs) == 2 and all(str(log.relative_to(head.folder)) in run.stdout for log in logs)
    assert any("working on a" in log.read_text() for log in logs)

    again = head.run()
    assert "Nothing to be done" in again.stdout, again.stdout
    assert len(head.platform.jobs()) == 2


def test_a_job_gets_its_own_folders_its_resources_and_no_keys(head: Head) -> None:
    assert head.run("--config", "scenes=a,b").returncode == 0
    make, add = (
        next(job for job in jobs_of(head.platform, rule) if labels(job, "wildcard-scene") == "b")
        for rule in ("make", "add")
    )
    assert make["spec"]["image"] == "example/tools:1"
    assert (make["spec"]["resources"]["cpu"], make["spec"]["resources"]["gpu"]) == (2, 0)
    assert (add["spec"]["resources"]["gpu"], add["spec"]["resources"]["flavor"]) == (1, "ai1-1-gpu")
    assert make["spec"]["timeout"] == 600
    volumes = {volume["dataStore"]["prefix"]: volume["permission"] for volume in add["spec"]["volumes"]}
    sources = next(prefix for prefix in volumes if "/.ovhai/sources/" in prefix)
    assert volumes == {"work/results/b/make": "RO", "work/results/b/add": "RW", sources: "RO"}
    everything = json.dumps(head.platform.jobs()) + json.dumps(head.platform.calls())
    for path in (head.folder / ".snakemake").rglob("*"):
        everything += path.read_text(errors="replace") if path.is_file() else ""
    assert s3_server.SECRET_KEY not in everything and s3_server.ACCESS_KEY not in everything


def test_a_changed_program_is_uploaded_under_another_name(head: Head) -> None:
    assert head.run().returncode == 0
    program = head.folder / "programs" / "add.py"
    program.write_text(program.read_text().replace("{total}", "{total + 1}"))
    assert head.run("--forcerun", "add").returncode == 0
    assert (head.folder / "deliver" / "a.txt").read_text() == "7\n"
    first, second = jobs_of(head.platform, "add")
    assert first["spec"]["volumes"][-1] != second["spec"]["volumes"][-1]


def test_all_that_cannot_run_remotely_is_said_at_once_and_nothing_is_submitted(head: Head) -> None:
    (head.folder / "Snakefile").write_text(
        """
rule all:
    input: local("end.txt")
rule end:
    localrule: True
    input:
        "results/run/f.txt", "results/script/f.txt", "results/shell/f.txt",
        "results/folder/d", "results/flavor/f.txt"
    output: local("end.txt")
    shell: "touch {output}"
rule with_run:
    output: "results/run/f.txt"
    run: open(output[0], "w").close()
rule with_script:
    output: "results/script/f.txt"
    container: "docker://example/tools:1"
    script: "programs/add.py"
rule without_image:
    output: "results/shell/f.txt"
    shell: "touch {output}"
rule with_folder:
    output: directory("results/folder/d")
    container: "docker://example/tools:1"
    shell: "mkdir {output}"
rule with_flavor:
    output: "results/flavor/f.txt"
    container: "docker://example/tools:1"
    resources: gpu=9, flavor="ai1-1-gqu", runtime=20000
    shell: "touch {output}"
"""
    )
    run = head.run()
    assert run.returncode == 1 and "Traceback" not in run.stdout
    message = strip_colours(run.stdout)
    assert "Nothing was submitted" in message
    for words in (
        r"rule with_run: it has `run:`.*localrule",
        r"rule with_script: it has `script:`",
        r"rule without_image: it has no `container:`.*--ovhai-image",
        r"rule with_folder: .*directory\(\).*tar",
        r"rule with_flavor: runtime is 20000 minutes; allowed are 1 to 10,080",
        r"rule with_flavor: flavor 'ai1-1-gqu' is unknown; .*did you mean 'ai1-1-gpu'",
    ):
        assert re.search(words, message), f"{words}\n{message}"
    assert head.platform.jobs() == []


def test_a_default_image_serves_rules_without_one(head: Head) -> None:
    head.write(snakefile=SNAKEFILE.replace('    container:\n        "docker://example/tools:1"\n', ""))
    run = head.run("--ovhai-image", "example/default:2")
    assert run.returncode == 0, run.stdout
    assert {job["spec"]["image"] for job in head.platform.jobs()} == {"example/default:2"}


def test_a_group_runs_as_one_job_with_one_image(head: Head) -> None:
    groups = ("--groups", "make=g", "add=g")
    run = head.run(*groups)
    assert run.returncode == 0, run.stdout
    (job,) = head.platform.jobs()
    assert (head.folder / "deliver" / "a.txt").read_text() == "6\n"
    assert labels(job, "rule") == "make-add"

    head.write(snakefile=SNAKEFILE.replace("tools:1", "other:1", 1))
    refused = head.run("--forceall", *groups)
    assert refused.returncode == 1
    assert re.search(r"group g: its rules have different container images, \S+other:1 and \S+tools:1", refused.stdout)
    assert len(head.platform.jobs()) == 1


def test_names_of_files_are_not_commands(head: Head) -> None:
    """The rules quote; the executor quotes what it adds itself."""
    scene = "x; touch $(hostname) `id` 'q"
    snakefile = SNAKEFILE.replace('config.get("scenes", "a").split(",")', repr([scene]))
    run = head.write(snakefile=snakefile).run()
    assert run.returncode == 0, run.stdout
    assert (head.folder / "deliver" / f"{scene}.txt").read_text() == "6\n"
    for job in head.platform.jobs():
        assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,63}", labels(job, name)) for name in ("wildcard-scene", "rule"))


@pytest.mark.parametrize("scene", ["..", "a:b", "a@b"])
def test_names_that_would_leave_the_folder_or_change_the_volume_are_refused(head: Head, scene: str) -> None:
    run = head.write(snakefile=SNAKEFILE.replace('config.get("scenes", "a").split(",")', repr([scene]))).run()
    assert run.returncode == 1
    assert head.platform.jobs() == []


def test_a_command_that_holds_a_key_is_refused(head: Head) -> None:
    run = head.write(make=f"export KEY={s3_server.SECRET_KEY};").run()
    assert run.returncode == 1
    assert "holds one of the bucket's keys" in run.stdout.replace("hold one", "holds one")
    assert head.platform.jobs() == []


def test_a_missing_program_is_one_clear_message(head: Head) -> None:
    environment = {**head.environment, "PATH": "/usr/bin:/bin"}
    run = run_snakemake(head.arguments(), head.folder, environment)
    assert run.returncode == 1 and "not on PATH" in run.stdout and "Traceback" not in run.stdout


def test_retries_reach_resources_and_stop_where_they_are_of_no_use(head: Head) -> None:
    flavors = SNAKEFILE.replace(
        'flavor="ai1-1-gpu"', 'flavor=lambda w, attempt: ["ai1-1-gpu", "l4-1-gpu"][attempt - 1]'
    )
    head.write(snakefile=flavors, add="echo CUDA out of memory; exit 1;")
    run = head.run("--retries", "1")
    assert run.returncode == 1
    assert [job["spec"]["resources"]["flavor"] for job in jobs_of(head.platform, "add")] == ["ai1-1-gpu", "l4-1-gpu"]
    assert [labels(job, "attempt") for job in jobs_of(head.platform, "add")] == ["1", "2"]
    assert {"name": "SNAKEMAKE_ATTEMPT", "value": "2"} in jobs_of(head.platform, "add")[1]["spec"]["envVars"]
    assert "The GPU has too little memory" in run.stdout and "attempt" in run.stdout
    assert head.stored("results/a/add/sum.txt") is None

    # On the same machine it would end in the same way.
    head.write(add="echo CUDA out of memory; exit 1;")
    assert head.run("--retries", "3").returncode == 1
    assert len(jobs_of(head.platform, "add")) == 3

    head.write(add="no-such-program;")
    run = head.run("--retries", "3")
    assert run.returncode == 1
    assert "image lacks a program" in run.stdout and "is not tried again" in run.stdout
    assert len(jobs_of(head.platform, "add")) == 4


def test_outputs_of_a_failed_command_do_not_count(head: Head) -> None:
    head.write(make="echo 1 > {output:q}; sync; exit 3;")
    started = time.monotonic()
    run = head.run()
    assert run.returncode == 1 and time.monotonic() - started < 60
    assert head.stored("results/a/make/numbers.txt") is None
    assert "failed with exit code 3" in run.stdout and "The end of its log" in run.stdout
    assert "working on a" in run.stdout


def test_a_resource_that_only_the_job_knows_is_refused(head: Head) -> None:
    run = head.write(make="echo {resources.tmpdir};").run()
    assert run.returncode == 1 and "{resources.tmpdir}" in run.stdout and "/tmp" in run.stdout
    assert head.platform.jobs() == []


def test_params_without_an_order_do_not_change_the_fingerprint(head: Head) -> None:
    """Each head is a process with its own addresses of objects and its own order of sets."""
    params = '    params:\n        names={"b", "a", "d", "c"},\n        made=object(),\n    threads: 2\n'
    head.write(snakefile=SNAKEFILE.replace("    threads: 2\n", params))
    assert head.run().returncode == 0
    assert head.run("--forcerun", "make").returncode == 0
    first, second = jobs_of(head.platform, "make")
    assert labels(first, "fingerprint") == labels(second, "fingerprint")
