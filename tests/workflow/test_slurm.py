"""profiles/slurm: the workflow as jobs of a real SLURM, of one node, which lives as long as these tests."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from checkout import DEMO, ROOT, SMALL, Checkout
from slurm_cluster import PROGRAMS, SlurmCluster, needs_slurm, slurm_cluster
from snakemake_process import SnakemakeProcess, run_snakemake

PROFILE = ROOT / "profiles/slurm/config.yaml"
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
    assert {*profile["set-resources"], *profile["groups"]} == set(read_rules())
    with_gpu = {rule for rule, resources in profile["set-resources"].items() if resources.get("gpu")}
    assert with_gpu == set(yaml.safe_load((ROOT / "profiles/gpu/config.yaml").read_text())["set-resources"])


def test_each_line_that_is_to_be_changed_stands_where_it_works() -> None:
    lines = ["slurm-status-command", "software-deployment-method", "apptainer-args", "slurm_account", "slurm_partition"]
    plain, changed = yaml.safe_load(PROFILE.read_text()), yaml.safe_load(uncomment(*lines))
    assert set(changed) - set(plain) == set(lines[:3])
    assert changed["default-resources"] == {
        **plain["default-resources"], "slurm_account": "my-project", "slurm_partition": "cpu"
    }  # fmt: skip
    for rule, resources in changed["set-resources"].items():
        assert resources.get("slurm_partition") == ("gpu" if "gpu" in resources else None), rule


def test_a_plan_needs_no_slurm_and_shows_what_each_job_asks_for(tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path / "checkout")
    (checkout.folder / "film.mp4").symlink_to(DEMO)
    checkout.configure([{"scene": "film", "video": "film.mp4"}], **SMALL)
    run = checkout.run(["--profile", "profiles/slurm", "--configfile", "settings.yaml", "-n"])
    assert run.returncode == 0, run.stdout
    jobs = dict(re.findall(r"^ *rule (\w+):\n((?: +.*\n)*)", run.stdout, re.MULTILINE))
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
    cluster.ask("sbatch", "--output=/dev/null", "--wrap=sleep 1000")
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
    deadline = time.monotonic() + 10
    while any(list_processes(name, folder) for name in PROGRAMS):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def list_processes(program: str, folder: Path) -> list[int]:
    """Those whose environment names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = str(folder).encode() in (entry / "environ").read_bytes()
            if named and (entry / "comm").read_text().strip() == program:
                found.append(int(entry.name))
    return found


# --- the workflow on it -----------------------------------------------------------------------------------------------


@dataclass
class Finished:
    cluster: SlurmCluster
    checkout: Checkout
    run: subprocess.CompletedProcess[str]

    @cached_property
    def jobs(self) -> dict[str, dict[str, str]]:
        """By what the plugin calls them: rule_sdfgrid_train_wildcards_film_20."""
        return {job["Comment"]: job for job in self.cluster.list_jobs() if "Comment" in job}

    @property
    def arguments(self) -> list[str]:
        return ["--profile", "profiles/slurm", "--configfile", "settings.yaml"]


@pytest.fixture(scope="module")
def on_slurm(cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A scene that is done, one that the gate stops, and one that has no poses, in one run."""
    checkout = Checkout.make(tmp_path_factory.mktemp("on-slurm") / "checkout")
    (checkout.folder / "film.mp4").symlink_to(DEMO)
    make_noise(checkout.folder / "noise")
    rows = [
        {"scene": "film", "video": "film.mp4"},
        {"scene": "stopped", "video": "film.mp4", "region.center": "50,0,0", "region.radius": 1},
        {"scene": "noise", "video": "noise"},
    ]
    checkout.configure([{**row, **SHORT} for row in rows], **SMALL)
    (checkout.folder / "profiles/slurm/config.yaml").write_text(
        uncomment("slurm-status-command", "slurm_partition: gpu")
    )
    finished = Finished(cluster, checkout, run=None)  # type: ignore[arg-type]
    options = [*QUICKLY, "--retries", "0", "--set-threads", *TWO_CORES]
    finished.run = checkout.run([*finished.arguments, *options], **cluster.get_environment())
    return finished


def make_noise(folder: Path) -> None:
    folder.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"IMG_{number}.jpg")


@needs_slurm
def test_a_scene_goes_through_all_stages(on_slurm: Finished) -> None:
    delivered = on_slurm.checkout.folder / "deliver/film"
    files = {path.name for path in delivered.iterdir()}
    assert files == {"mesh.ply", "mesh.glb", "scene.html", "scene.json"}, on_slurm.run.stdout
    assert {name: job["JobState"] for name, job in on_slurm.jobs.items() if "film" in name} == {
        "rule_sdfgrid_train_wildcards_film_20": "COMPLETED", "rule_sdfgrid_mesh_wildcards_film_20": "COMPLETED"
    }  # fmt: skip
    assert "train: iteration 20 of 20" in (on_slurm.checkout.folder / "results/film/train/20/train.log").read_text()
