"""Records travel with the results: a fresh folder, or another laptop, plans what the first one plans."""

import re
import shutil
from pathlib import Path

import pytest
from heads import Head, finish, jobs_of, kill, start_and_kill, states, strip_colours
from submission import wait_until

SNAKEFILE = """\
from hashlib import sha256

configfile: "settings.yaml"

def get_code(path):
    return sha256(open(workflow.source_path(path), "rb").read()).hexdigest()

rule all:
    input:
        local("deliver/a.txt"),

rule ingest:
    localrule: True
    input:
        local("film.txt"),
    output:
        "resources/a/film.txt",
    shell:
        "cp {input:q} {output:q}"

rule frames:
    input:
        "resources/a/film.txt",
    output:
        "results/a/frames/frames.txt",
    container:
        config["image"]
    params:
        image=config["image"],
        size=config["size"],
    shell:
        "head -c {params.size} {input:q} > {output:q}"

rule region:
    localrule: True
    input:
        "results/a/frames/frames.txt",
    output:
        "results/a/region/region.txt",
    params:
        limit=config["limit"],
    shell:
        "wc -c < {input:q} > {output:q}"

rule mesh:
    input:
        frames="results/a/frames/frames.txt",
        region="results/a/region/region.txt",
    output:
        "results/a/mesh/mesh.txt",
    container:
        "docker://example/tools:1"
    params:
        code=get_code("programs/mesh.sh"),
    shell:
        "bash programs/mesh.sh {input:q} > {output:q}"

rule deliver:
    localrule: True
    input:
        "results/a/mesh/mesh.txt",
    output:
        local("deliver/a.txt"),
    shell:
        "cp {input:q} {output:q}"
"""
SETTINGS = {"image": "docker://example/tools:1", "size": "5", "limit": "1"}
EVERYTHING = ["ingest", "frames", "region", "mesh", "deliver"]


@pytest.fixture
def chain(head: Head) -> Head:
    """A head of a longer workflow, in which steps on the head and jobs take turns."""
    (head.folder / "programs" / "mesh.sh").write_text("cat $*\n")
    (head.folder / "film.txt").write_text("a film of a lamp\n")
    head.write(snakefile=SNAKEFILE)
    configure(head)
    return head


def configure(head: Head, **settings: str) -> None:
    lines = [f"{name}: {value!r}\n" for name, value in {**SETTINGS, **settings}.items()]
    (head.folder / "settings.yaml").write_text("".join(lines))


def make_fresh(head: Head, folder: Path) -> Head:
    """Another laptop: a clone of the workflow, and the film with the date of its copy. No results, no records."""
    ignored = shutil.ignore_patterns(".snakemake", "deliver", "head-*.log")
    shutil.copytree(head.folder, folder, ignore=ignored)
    return Head(folder, head.platform, head.s3, head.bucket, head.prefix)


def plan(head: Head) -> list[str]:
    run = head.run("--dry-run")
    assert run.returncode == 0, run.stdout
    rules = re.findall(r"^(?:local)?rule (\w+):", strip_colours(run.stdout), re.MULTILINE)
    return [rule for rule in EVERYTHING if rule in rules]


def run(head: Head, *arguments: str) -> str:
    done = head.run(*arguments)
    assert done.returncode == 0 and "Traceback" not in done.stdout, done.stdout
    return strip_colours(done.stdout)


def count_jobs(head: Head) -> list[int]:
    return [len(jobs_of(head.platform, rule)) for rule in ("frames", "mesh")]


def change_param(head: Head) -> None:
    configure(head, size="7")


def change_param_of_a_local_rule(head: Head) -> None:
    configure(head, limit="2")


def change_image(head: Head) -> None:
    configure(head, image="docker://example/tools:2")


def change_program(head: Head) -> None:
    (head.folder / "programs" / "mesh.sh").write_text("cat $* $*\n")


def change_command(head: Head) -> None:
    file = head.folder / "Snakefile"
    file.write_text(file.read_text().replace("wc -c <", "wc -l <"))


def change_input(head: Head) -> None:
    (head.folder / "film.txt").write_text("a film of a chair\n")


def change_nothing(head: Head) -> None:
    pass


CHANGES = {
    change_nothing: [],
    change_param: EVERYTHING[1:],
    change_param_of_a_local_rule: EVERYTHING[2:],
    change_image: EVERYTHING[1:],
    change_program: EVERYTHING[3:],
    change_command: EVERYTHING[2:],
    change_input: EVERYTHING,
}


def test_a_fresh_folder_plans_what_the_first_one_plans(chain: Head, tmp_path: Path) -> None:
    run(chain)
    before = (chain.folder / "film.txt").stat()
    for number, (change, expected) in enumerate(CHANGES.items()):
        first = Head(chain.copy(tmp_path / f"first{number}").folder, chain.platform, chain.s3, chain.bucket)
        other = make_fresh(chain, tmp_path / f"other{number}")
        for head in (first, other):
            change(head)
        planned = {"first": plan(first), "other": plan(other)}
        assert planned == {"first": expected, "other": sorted({*expected, "deliver"}, key=EVERYTHING.index)}, change
    assert (chain.folder / "film.txt").stat() == before


def test_the_same_film_with_a_newer_date_costs_nothing(chain: Head, tmp_path: Path) -> None:
    run(chain)
    other = make_fresh(chain, tmp_path / "other")
    for head in (chain, other):
        (head.folder / "film.txt").touch()
        assert "No job is needed" in run(head)
        assert plan(head) == []
        assert count_jobs(head) == [1, 1]
    assert (other.folder / "deliver" / "a.txt").read_text() == "a fil5\n"
