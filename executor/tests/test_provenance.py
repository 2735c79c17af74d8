"""Records travel with the results: a fresh folder, or another laptop, plans what the first one plans."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from heads import Head, labels, strip_colours
from submission import wait_until

SNAKEFILE = """\
from hashlib import sha256

configfile: "settings.yaml"

def get(name):
    return lambda wildcards: config[wildcards.scene][name]

def get_code(wildcards):
    return sha256(open(f"programs/{wildcards.scene}.sh", "rb").read()).hexdigest()

rule all:
    input:
        local(expand("deliver/{scene}.txt", scene=config)),

rule ingest:
    localrule: True
    input:
        local("films/{scene}.txt"),
    output:
        "resources/{scene}/film.txt",
    shell:
        "cp {input:q} {output:q}"

rule frames:
    input:
        "resources/{scene}/film.txt",
    output:
        "results/{scene}/frames/frames.txt",
    container:
        "docker://example/{scene}:IMAGE"
    params:
        image="IMAGE",
        size=get("size"),
    resources:
        runtime=10,
    shell:
        "SLEEP head -c {params.size} {input:q} > {output:q}"

rule region:
    localrule: True
    input:
        "results/{scene}/frames/frames.txt",
    output:
        "results/{scene}/region/region.txt",
    params:
        limit=get("limit"),
    shell:
        "wc -c < {input:q} > {output:q}"

rule mesh:
    input:
        frames="results/{scene}/frames/frames.txt",
        region="results/{scene}/region/region.txt",
    output:
        "results/{scene}/mesh/mesh.txt",
    container:
        "docker://example/tools:1"
    params:
        code=get_code,
    resources:
        runtime=10,
    shell:
        "bash programs/{wildcards.scene}.sh {input:q} > {output:q}"

rule deliver:
    localrule: True
    input:
        "results/{scene}/mesh/mesh.txt",
    output:
        local("deliver/{scene}.txt"),
    shell:
        "cp {input:q} {output:q}"
"""
RULES = ["ingest", "frames", "region", "mesh", "deliver"]


class Chain(Head):
    """A head of a longer workflow, in which steps on the head and jobs take turns."""

    def fill(self, *scenes: str) -> "Chain":
        self.settings = {scene: {"size": "5", "limit": "1"} for scene in scenes}
        for folder in ("films", "programs"):
            (self.folder / folder).mkdir(exist_ok=True)
        for scene in scenes:
            self.write_film(scene, "a lamp")
            self.write_program(scene, "cat $*")
        self.configure()
        self.write_rules()
        wait_for_next_second()
        return self

    def write_rules(self, sleep: str = "", image: str = "1") -> None:
        text = SNAKEFILE.replace("SLEEP", sleep).replace("IMAGE", image)
        (self.folder / "Snakefile").write_text(text)

    def write_film(self, scene: str, content: str) -> None:
        """More than the megabyte up to which Snakemake compares the content of local files."""
        (self.folder / "films" / f"{scene}.txt").write_text(f"{content}\n" * 200_000)

    def write_program(self, scene: str, command: str) -> None:
        (self.folder / "programs" / f"{scene}.sh").write_text(f"{command}\n")

    def configure(self, **changes: dict[str, str]) -> None:
        """changes: scene -> settings."""
        settings = {scene: {**values, **changes.get(scene, {})} for scene, values in self.settings.items()}
        (self.folder / "settings.yaml").write_text(json.dumps(settings))

    def clone(self, folder: Path, *left_out: str) -> "Chain":
        """left_out: patterns. With none of them this is a copy of everything, as that of a folder in a backup."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(*left_out))
        other = Chain(folder, self.platform, self.s3, self.bucket, self.prefix)
        other.settings = self.settings
        return other

    def make_fresh(self, folder: Path) -> "Chain":
        """Another laptop: a clone of the workflow and the films. No results, no records."""
        return self.clone(folder, ".snakemake", "deliver", "head-*.log")

    def plan(self, *arguments: str) -> dict[str, list[str]]:
        """Scene -> rules."""
        said = self.say("--dry-run", *arguments)
        found = re.findall(r"^(?:local)?rule (\w+):(?:\n    .*)*?\n    wildcards: scene=(\w+)", said, re.MULTILINE)
        planned = {scene: [rule for rule in RULES if (rule, scene) in found] for scene in self.settings}
        return {scene: rules for scene, rules in planned.items() if rules}

    def say(self, *arguments: str) -> str:
        """What a run says that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0 and "Traceback" not in done.stdout, done.stdout
        return strip_colours(done.stdout)

    def jobs(self) -> list[str]:
        return [f"{labels(job, 'rule')} {job['status']['state']}" for job in self.platform.jobs()]


def wait_for_next_second() -> None:
    """S3 tells dates in whole seconds: what is made of a file in the same second looks older than that."""
    time.sleep(1 - time.time() % 1)


@pytest.fixture
def chain(head: Head) -> Chain:
    return Chain(head.folder, head.platform, head.s3, head.bucket).fill("a")


def test_a_fresh_folder_plans_what_the_first_one_plans(chain: Chain, tmp_path: Path) -> None:
    """Each scene has another change. A change of the rules' text concerns all of them, so it comes last."""
    chain.fill("same", "param", "limit", "program", "film")
    chain.platform.set(quota={"gpu": 100, "cpu": 400})
    chain.say()
    heads = {"first": chain.clone(tmp_path / "first"), "other": chain.make_fresh(tmp_path / "other")}
    for head in heads.values():
        head.configure(param={"size": "7"}, limit={"limit": "2"})
        head.write_program("program", "cat $* $*")
        head.write_film("film", "a chair")
    planned = {name: head.plan() for name, head in heads.items()}
    expected = {"param": RULES[1:], "limit": RULES[2:], "program": RULES[3:], "film": RULES}
    assert planned == {"first": expected, "other": {"same": ["deliver"], **expected}}

    for head in heads.values():
        head.write_rules(image="2")
    planned = {name: head.plan() for name, head in heads.items()}
    expected = dict.fromkeys(chain.settings, RULES[1:]) | {"film": RULES}
    assert planned == {"first": expected, "other": expected}


def test_the_same_film_with_a_newer_date_costs_nothing(chain: Chain, tmp_path: Path) -> None:
    """Neither while the platform shows the jobs, nor after it has forgotten them."""
    chain.say()
    heads = {"is already there": chain, "No job is needed": chain.make_fresh(tmp_path / "other")}
    for words, head in heads.items():
        (head.folder / "films" / "a.txt").touch()
        wait_for_next_second()
        said = head.say()
        assert "rule frames" in said and said.count(words) == 2, said
        assert head.plan() == {}
        assert chain.jobs() == ["frames DONE", "mesh DONE"]
        assert (head.folder / "deliver" / "a.txt").read_text() == "a lam5\n"
        chain.platform.fault(when="job list", action="hide")


def remove_records(head: Head) -> None:
    client = head.s3.client()
    for entry in client.list_objects_v2(Bucket=head.bucket, Prefix="work/.ovhai/records/")["Contents"]:
        client.delete_object(Bucket=head.bucket, Key=entry["Key"])


def test_a_head_that_dies_before_it_writes_records_costs_nothing(chain: Chain, tmp_path: Path) -> None:
    """The two moments: its own folder has the record and the bucket has not, and neither has it."""
    chain.say()
    remove_records(chain)
    assert chain.plan() == {}
    assert "Nothing to be done" in chain.say()
    assert chain.make_fresh(tmp_path / "other").plan() == {"a": ["deliver"]}, "the record has been written after all"

    remove_records(chain)
    other = chain.make_fresh(tmp_path / "third")
    said = other.say()
    assert "is not known" in said and said.count("is already there") == 2
    assert other.plan() == {} and chain.jobs() == ["frames DONE", "mesh DONE"]


def test_old_and_new_settings_take_turns_on_one_bucket(chain: Chain, tmp_path: Path) -> None:
    """Each folder sees what the other has done, although its own records say that everything is up to date."""
    chain.say()
    other = chain.make_fresh(tmp_path / "other")
    other.configure(a={"size": "6"})
    other.say()
    assert (other.folder / "deliver" / "a.txt").read_text() == "a lamp6\n"
    assert chain.plan() == {"a": RULES[1:]}
    chain.say()
    assert (chain.folder / "deliver" / "a.txt").read_text() == "a lam5\n"
    assert other.plan() == {"a": RULES[1:]} and chain.plan() == {}


def test_what_somebody_put_in_place_of_a_result_is_not_taken_for_it(chain: Chain, tmp_path: Path) -> None:
    chain.say()
    client = chain.s3.client()
    client.put_object(Bucket=chain.bucket, Key="work/results/a/mesh/mesh.txt", Body=b"mine\n")
    assert chain.plan() == {"a": ["mesh", "deliver"]}
    other = chain.make_fresh(tmp_path / "other")
    other.say()
    assert (other.folder / "deliver" / "a.txt").read_text() == "a lam5\n"
    assert chain.jobs() == ["frames DONE", "mesh DONE", "mesh DONE"]


def test_an_input_that_is_replaced_while_a_job_runs_is_seen(chain: Chain, tmp_path: Path) -> None:
    """By its date the output is newer. Then the replaced input is put back, and nothing is stale."""
    chain.write_rules(sleep="sleep 4;")
    process = chain.start("--until", "frames")
    wait_until(lambda: chain.jobs() == ["frames RUNNING"])
    client = chain.s3.client()
    film = client.get_object(Bucket=chain.bucket, Key="work/resources/a/film.txt")["Body"].read()
    client.put_object(Bucket=chain.bucket, Key="work/resources/a/film.txt", Body=b"another film\n")
    assert process.wait(60) == 0
    for head in (chain, chain.make_fresh(tmp_path / "other")):
        assert "frames" in head.plan("--until", "frames")["a"]
    client.put_object(Bucket=chain.bucket, Key="work/resources/a/film.txt", Body=film)
    assert chain.plan("--until", "frames") == {}


def test_a_forced_step_runs_again(chain: Chain) -> None:
    chain.say()
    chain.say("--forcerun", "frames")
    assert chain.jobs() == ["frames DONE", "mesh DONE", "frames DONE"], "the mesh has the same inputs"
    chain.say("results/a/mesh/mesh.txt", "--force")
    assert chain.jobs()[3:] == ["mesh DONE"]
    assert chain.plan() == {}


def test_a_database_of_records_and_a_report(chain: Chain, tmp_path: Path) -> None:
    """Snakemake may keep its own records in a database. A report, of another folder, has all of them."""
    database = ("--persistence-backend", "db")
    chain.say(*database)
    assert "Nothing to be done" in chain.say(*database)
    other = chain.make_fresh(tmp_path / "other")
    other.say(*database)
    said = other.say("--report", "report.html", *database)
    assert "Missing metadata" not in said and (other.folder / "report.html").exists()
    (other.folder / "programs" / "a.sh").write_text("cat $* $*\n")
    assert other.plan(*database) == {"a": ["mesh", "deliver"]}
