"""profiles/slurm: the workflow as jobs of a real SLURM, of one node, which lives as long as these tests."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from checkout import DEMO, ROOT, SMALL, Checkout
from slurm_cluster import PROGRAMS, SlurmCluster, needs_slurm, slurm_cluster
from snakemake_process import SnakemakeProcess, run_snakemake

PROFILE = ROOT / "profiles/slurm/config.yaml"
OPTIONS = ["--profile", "profiles/slurm", "--configfile", "settings.yaml"]
QUICKLY = ["--slurm-init-seconds-before-status-checks", "1"]
TWO_CORES = [f"{rule}=2" for rule in ("frames", "poses", "sdfgrid_train", "sdfgrid_mesh")]
SHORT = {"train.iterations": 20, "train.milestones": "[]", "mesh.resolution": 48}


def uncomment(*lines: str) -> str:
    """The profile after someone took the # away from all lines that begin so."""
    text = PROFILE.read_text()
    for line in lines:
        text, number = re.subn(rf"^( *)# (?={re.escape(line)})", r"\1", text, flags=re.MULTILINE)
        assert number, line
    return text


# --- without SLURM ----------------------------------------------------------------------------------------------------


def read_rules() -> dict[str, str]:
    """Name -> text of each rule that is no local one and runs a command."""
    text = "".join(file.read_text() for file in sorted((ROOT / "rules").glob("*.smk")))
    rules = re.findall(r"^rule (\w+):\n((?:(?: .*)?\n)*)", text, re.MULTILINE)
    return {name: rule for name, rule in rules if "    shell:\n" in rule and "localrule: True" not in rule}


def test_the_profile_has_a_line_for_each_rule_that_becomes_a_job() -> None:
    profile = yaml.safe_load(PROFILE.read_text())
    assert {*profile["set-resources"]} == set(read_rules()) - {"frames"}  # which takes what is for all jobs
    with_gpu = {rule for rule, resources in profile["set-resources"].items() if resources.get("gpu")}
    assert with_gpu == set(yaml.safe_load((ROOT / "profiles/gpu/config.yaml").read_text())["set-resources"])


def test_each_line_that_is_to_be_changed_stands_where_it_works() -> None:
    lines = ["software-deployment-method", "apptainer-args", "slurm_account", "slurm_partition"]
    plain, changed = yaml.safe_load(PROFILE.read_text()), yaml.safe_load(uncomment(*lines))
    assert set(changed) - set(plain) == set(lines[:2])
    assert changed["default-resources"] == {
        **plain["default-resources"], "slurm_account": "my-project", "slurm_partition": "cpu"
    }  # fmt: skip
    for rule, resources in changed["set-resources"].items():
        assert resources.get("slurm_partition") == ("gpu" if "gpu" in resources else None), rule


def test_a_plan_needs_no_slurm_and_shows_what_each_job_asks_for(tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path / "checkout")
    (checkout.folder / "film.mp4").symlink_to(DEMO)
    checkout.configure([{"scene": "film", "video": "film.mp4"}], **SMALL)
    run = checkout.run([*OPTIONS, "-n"])
    assert run.returncode == 0, run.stdout
    found = re.findall(r"^( *)rule (\w+):\n((?:\1 +.*\n)*)", run.stdout, re.MULTILINE)
    jobs = {name: block for _, name, block in found}
    asked = {name: dict(re.findall(r"\b(gpu|mem_mb|runtime)=(\d+)", jobs[name])) for name in ("poses", "sdfgrid_train")}
    assert asked["poses"] == {"mem_mb": "8000", "runtime": "240"}
    assert asked["sdfgrid_train"] == {"gpu": "1", "mem_mb": "16000", "runtime": "240"}


# --- the cluster itself -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


START = """
import sys, time
from pathlib import Path
from slurm_cluster import slurm_cluster
with slurm_cluster(Path(sys.argv[1])) as cluster:
    cluster.ask("sbatch", "--output=/dev/null", "--wrap=sleep 20")
    print("ready", flush=True)
    time.sleep(1000)
"""


@needs_slurm
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_nothing_of_a_cluster_outlives_its_tests(end: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests/helpers")}
    program = [sys.executable, "-c", START, str(folder)]
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        assert {name for name in PROGRAMS if list_processes(name, folder)} == set(PROGRAMS)
        process.send_signal(end)
    wait_for(lambda: not any(list_processes(name, folder) for name in PROGRAMS))


def list_processes(program: str, folder: Path) -> list[int]:
    """Those whose environment names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = str(folder).encode() in (entry / "environ").read_bytes()
            if named and (entry / "comm").read_text().strip() == program:
                found.append(int(entry.name))
    return found


# --- two runs on it at a time -----------------------------------------------------------------------------------------

SNAKEFILE = """
rule all:
    default_target: True
    localrule: True
    input: "slow", "hungry", "broken"

rule slow:  # it brings its time limit nearer, since the shortest that a job can ask for is a minute
    retries: 0
    output: "slow"
    log: "slow.log"
    shell: "echo it was slow > {log}; scontrol update jobid=$SLURM_JOB_ID EndTime=now+1; sleep 1000"

rule hungry:
    output: "hungry"
    log: "hungry.log"
    shell:
        "echo it was hungry > {log};"
        " python3 -c 'import time; eaten = bytearray(450 << 20); time.sleep(6)'; touch {output}"

rule broken:
    output: "broken"
    log: "broken.log"
    shell: "echo it was broken > {log}; exit 7"
"""


@dataclass
class Ran:
    """A run that has ended."""

    cluster: SlurmCluster
    folder: Path
    code: int
    said: str

    def list_jobs(self, name: str) -> list[dict[str, str]]:
        """Its jobs whose comment, such as rule_sdfgrid_train_wildcards_film_20, has that part."""
        jobs = [job for job in self.cluster.list_jobs() if job["WorkDir"] == str(self.folder)]
        return [job for job in jobs if name in job["Comment"]]


@pytest.fixture(scope="module")
def runs(cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Ran]:
    """The workflow, and beside it a small one whose jobs come to grief, since that takes time and no processor."""
    small = tmp_path_factory.mktemp("small")
    environment = cluster.get_environment()
    unlucky = SnakemakeProcess(write_small_workflow(small), small, environment, small / "log")
    checkout = make_checkout(tmp_path_factory.mktemp("on-slurm") / "checkout")
    run = checkout.run([*OPTIONS, *QUICKLY, "--retries", "0", "--set-threads", *TWO_CORES], **environment)
    whole = Ran(cluster, checkout.folder, run.returncode, run.stdout)
    return whole, Ran(cluster, small, unlucky.wait(300), (small / "log").read_text())


@pytest.fixture
def on_slurm(runs: tuple[Ran, Ran]) -> Ran:
    """A scene that is done, one that the gate stops, and one that has no poses, in one run."""
    return runs[0]


@pytest.fixture
def unlucky(runs: tuple[Ran, Ran]) -> Ran:
    return runs[1]


def make_checkout(folder: Path) -> Checkout:
    checkout = Checkout.make(folder)
    (folder / "film.mp4").symlink_to(DEMO)
    make_noise(folder / "noise")
    rows = [
        {"scene": "film", "video": "film.mp4"},
        {"scene": "stopped", "video": "film.mp4", "region.center": "50,0,0", "region.radius": 1},
        {"scene": "noise", "video": "noise"},
    ]
    checkout.configure([{**row, **SHORT} for row in rows], **SMALL)
    (folder / "profiles/slurm/config.yaml").write_text(uncomment("slurm_partition: gpu"))
    return checkout


def write_small_workflow(folder: Path) -> list[str]:
    """Arguments to run it with the profile, whose default is a tenth of the memory."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "config.yaml").write_text(PROFILE.read_text().replace("mem_mb: attempt * 4000", "mem_mb: attempt * 400"))
    return ["--profile", str(folder), *QUICKLY]


def make_noise(folder: Path) -> None:
    folder.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"IMG_{number}.jpg")


@needs_slurm
def test_a_scene_goes_through_all_stages(on_slurm: Ran) -> None:
    delivered = on_slurm.folder / "deliver/film"
    files = {path.name for path in delivered.iterdir()}
    assert files == {"mesh.ply", "mesh.glb", "scene.html", "scene.json"}, on_slurm.said
    names = ["frames_wildcards_film", "poses_wildcards_film"]
    names += ["sdfgrid_train_wildcards_film_20", "sdfgrid_mesh_wildcards_film_20"]
    ended = {job["Comment"]: job["JobState"] for job in on_slurm.list_jobs("film")}
    assert ended == {f"rule_{name}": "COMPLETED" for name in names}
    assert "train: iteration 20 of 20" in (on_slurm.folder / "results/film/train/20/train.log").read_text()


@needs_slurm
def test_a_job_gets_what_the_profile_asks_for(on_slurm: Ran) -> None:
    (train,) = on_slurm.list_jobs("rule_sdfgrid_train")
    assert (train["Partition"], train["TimeLimit"], train["NumCPUs"]) == ("gpu", "04:00:00", "2")
    assert train["TresPerJob"] == "gres:gpu:1" and "mem=16000M" in train["TRES"]


@needs_slurm
def test_scenes_run_side_by_side(on_slurm: Ran) -> None:
    jobs = on_slurm.list_jobs("rule_frames") + on_slurm.list_jobs("rule_poses")
    assert len(jobs) == 6 and {job["Partition"] for job in jobs} == {"short"}
    times = sorted((job["StartTime"], job["EndTime"]) for job in jobs)
    assert any(later[0] < earlier[1] for earlier, later in itertools.pairwise(times)), times


@needs_slurm
def test_a_job_that_fails_shows_its_log_and_the_run_ends_with_an_error(on_slurm: Ran) -> None:
    assert on_slurm.code == 1
    said = (on_slurm.folder / "results/noise/poses/poses.log").read_text().splitlines()[-1]
    assert said.startswith("error: ") and said in on_slurm.said
    assert "SLURM status is: 'FAILED'" in on_slurm.said


@needs_slurm
def test_slurms_own_log_stays_only_of_a_job_that_failed(on_slurm: Ran) -> None:
    logs = list((on_slurm.folder / ".snakemake/slurm_logs").rglob("*.log"))
    (failed,) = [job for job in on_slurm.list_jobs("") if job["JobState"] == "FAILED"]
    assert [log.stem for log in logs] == [failed["JobId"]]


@needs_slurm
def test_gate_pages_and_status_work_as_on_one_machine(on_slurm: Ran) -> None:
    folder = on_slurm.folder
    assert "scene stopped: the capture is not good enough to train on" in on_slurm.said
    assert not (folder / "results/stopped/train/20").exists()
    rows = (folder / "deliver/scenes.csv").read_text().splitlines()[1:]
    ends = {"film": "done,", "noise": "failed,poses", "stopped": "stopped,gate"}  # state and stage
    assert {row.split(",")[0]: ",".join(row.split(",")[1:3]) for row in rows} == ends
    assert all((folder / f"deliver/{scene}/scene.html").exists() for scene in ends)
    variables = {**on_slurm.cluster.get_environment(), "PYTHONPATH": str(folder / "src")}
    status = run_snakemake(OPTIONS, folder, variables, module="videomesh.status")
    assert "3 scenes: 1 failed, 1 stopped by the gate, 1 done" in status.stdout, status.stdout


@needs_slurm
def test_a_second_run_plans_nothing_for_what_is_done(on_slurm: Ran) -> None:
    environment = on_slurm.cluster.get_environment()
    targets = ["deliver/film/mesh.ply", "deliver/film/scene.html"]
    run = Checkout(on_slurm.folder).run([*targets, *OPTIONS, "-n"], **environment)
    assert run.returncode == 0 and "Nothing to be done" in run.stdout, run.stdout


@needs_slurm
def test_a_job_that_runs_out_of_time_or_fails_says_so(unlucky: Ran) -> None:
    assert unlucky.code == 1
    assert [job["JobState"] for job in unlucky.list_jobs("rule_slow")] == ["TIMEOUT"], unlucky.said
    assert [job["JobState"] for job in unlucky.list_jobs("rule_broken")] == ["FAILED"] * 2
    for said in ("it was slow", "SLURM status is: 'TIMEOUT'", "it was broken"):
        assert said in unlucky.said, said
    assert not (unlucky.folder / "slow").exists()


@needs_slurm
def test_a_job_that_runs_out_of_memory_says_so_and_gets_twice_as_much(unlucky: Ran) -> None:
    first, second = unlucky.list_jobs("rule_hungry")
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    assert "mem=400M" in first["TRES"] and "mem=800M" in second["TRES"]
    assert (first["TimeLimit"], second["TimeLimit"]) == ("01:00:00", "02:00:00")
    assert "Exceeded job memory limit" in unlucky.said
    assert (unlucky.folder / "hungry").exists()


@needs_slurm
def test_ctrl_c_ends_the_jobs(cluster: SlurmCluster, tmp_path: Path) -> None:
    arguments = [*write_small_workflow(tmp_path), "slow"]
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("scontrol update jobid=$SLURM_JOB_ID EndTime=now+1; ", ""))
    run = SnakemakeProcess(arguments, tmp_path, cluster.get_environment(), tmp_path / "log")
    wait_for(lambda: (tmp_path / "slow.log").exists() and cluster.list_jobs()[-1]["JobState"] == "RUNNING")
    run.send_signal(signal.SIGINT)
    assert run.wait(60) != 0
    wait_for(lambda: cluster.list_jobs()[-1]["JobState"] == "CANCELLED")


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.2)
