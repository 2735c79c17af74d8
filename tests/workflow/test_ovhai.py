"""`snakemake --profile ovhai`: the whole workflow on the stand-in platform, with a real S3 server."""

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trimesh
from heads import labels
from ovhai_standin.platform import Platform

import s3_server
from checkout import DEMO, KNOWN, ROOT, SMALL, Checkout
from remote_checkout import ENVIRONMENT, Remote
from snakemake_process import run_snakemake

ROW = {
    "scene": "lego",
    "video": "film.mp4",
    "scene_type": "object",
    "frames.downsample": 4,
    "train.iterations": 20,
    "mesh.resolution": 48,
}


SURFACE = "sdfgrid_train-sdfgrid_mesh"  # the rules of the job that trains and extracts


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory, s3: s3_server.S3Server) -> Any:
    """A finished run of one scene. Tests may start more runs that do little."""
    folder = tmp_path_factory.mktemp("remote")
    bucket = "videos-and-meshes"
    s3.client().create_bucket(Bucket=bucket)
    platform = Platform.start(folder / "platform", s3, hidden=[str(ROOT)])
    checkout = Checkout.make(folder / "checkout")
    shutil.copy(DEMO, checkout.folder / "film.mp4")
    settings = {name: dict(section) for name, section in SMALL.items()}
    settings["train"]["milestones"] = []
    checkout.configure([ROW], **settings)
    environment = {**platform.environment, **s3.profile_environment(bucket), **ENVIRONMENT}
    remote = Remote(checkout, platform, environment, bucket, s3)
    run = remote.run()
    assert run.returncode == 0, run.stdout
    yield remote
    platform.stop_everything()


def test_the_mesh_is_delivered_and_everything_else_stays_in_the_bucket(remote: Remote, s3: s3_server.S3Server) -> None:
    delivered = {f"deliver/lego/{file}" for file in ("mesh.ply", "mesh.glb", "scene.html", "scene.json")}
    assert remote.checkout.files() == delivered | {
        f"deliver/{file}" for file in ("index.html", "scenes.csv", "bill.csv")
    }
    assert '<li class="card done"' in (remote.checkout.folder / "deliver/index.html").read_text()
    mesh = trimesh.load(remote.checkout.folder / "deliver/lego/mesh.ply", process=False)
    assert len(mesh.faces) > 3000
    stored = s3.client().list_objects_v2(Bucket=remote.bucket, Prefix="experiments/results/lego/")["Contents"]
    names = {entry["Key"].removeprefix("experiments/results/lego/") for entry in stored}
    assert {"region/transforms.json", "train/20/checkpoint.pt", "mesh/20/mesh.ply", "mesh/20/mesh.log"} <= names
    assert [job["status"]["state"] for job in remote.platform.jobs()] == ["DONE"] * 2


def test_the_pages_say_what_each_step_took_and_cost(remote: Remote) -> None:
    deliver = remote.checkout.folder / "deliver"
    page = (deliver / "lego/scene.html").read_text()
    table = page.split("Time and cost of each step</h2>")[1].split("</table>")[0]
    rows = dict(re.findall(r'<th scope="row">(.*?)</th>(<td>.*</td>)', table))
    assert {"frames + poses", "sdfgrid_train + sdfgrid_mesh 20", "all rented machines"} <= set(rows)
    time, machine, attempts, cost = re.findall(r"<td>(.*?)</td>", rows["sdfgrid_train + sdfgrid_mesh 20"])
    assert time and (machine, attempts) == ("2 x l4-1-gpu", "1") and re.fullmatch(r"0\.\d\d EUR", cost)
    (row,) = csv.DictReader((deliver / "scenes.csv").read_text().splitlines())
    bill = list(csv.DictReader((deliver / "bill.csv").read_text().splitlines()))
    assert float(row["cost"]) == pytest.approx(sum(float(job["cost"]) for job in bill)) and row["currency"] == "EUR"
    assert f"cost {float(row['cost']):.2f} EUR, billed" in (deliver / "index.html").read_text()


def test_time_limits_come_from_the_quote(remote: Remote) -> None:
    jobs = remote.jobs()
    assert {name: job["spec"]["timeout"] for name, job in jobs.items()} == dict.fromkeys(
        jobs, 30 * 60
    )  # they are short
    assert all(int(labels(job, "expected")) > 0 for job in jobs.values())


def test_nothing_is_done_twice_and_a_change_costs_only_what_depends_on_it(remote: Remote) -> None:
    assert "Nothing to be done" in remote.run("--dry-run").stdout
    fresh = remote.checkout.copy(remote.checkout.folder.parent / "changed")
    settings = {name: dict(section) for name, section in SMALL.items()}
    settings["train"]["milestones"] = []
    fresh.configure([ROW | {"mesh.resolution": 40}], **settings)
    run = Remote(fresh, remote.platform, remote.environment, remote.bucket, remote.s3).run("--dry-run")
    assert set(re.findall(r"^ *(?:local)?rule (\w+):", run.stdout, re.MULTILINE)) == {  # those of groups are indented
        "sdfgrid_mesh",
        "web_mesh",
        "deliver",
        "scene_page",
        "deliver_page",
        "all",
    }


def test_a_second_laptop_asks_how_far_the_scenes_in_the_bucket_are(remote: Remote, tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path / "checkout")
    shutil.copy(DEMO, checkout.folder / "film.mp4")
    settings = {name: dict(section) for name, section in SMALL.items()}
    checkout.configure([ROW, {**ROW, "scene": "new"}], **{**settings, "train": {"milestones": []}})
    arguments = ["--profile", "ovhai", "--configfile", "settings.yaml"]
    variables = {**os.environ, **remote.environment, "PYTHONPATH": str(checkout.folder / "src")}
    run = run_snakemake(arguments, checkout.folder, variables, module="videomesh.status")
    assert run.returncode == 0, run.stdout
    # What is delivered is on the first laptop.
    assert "lego: waiting, next is deliver" in run.stdout and "new: waiting, next is ingest" in run.stdout
    assert "2 scenes: 2 waiting; no run is under way" in run.stdout


def test_no_job_sees_more_than_its_inputs(remote: Remote) -> None:
    def stages(rule: str) -> set[str]:
        return {re.sub("^experiments/(results/lego/)?", "", prefix) for prefix in remote.prefixes(rule)} - sources

    sources = {prefix.removeprefix("experiments/") for prefix in remote.prefixes("frames-poses") if ".ovhai" in prefix}
    assert len(sources) == 2  # scripts and src
    assert stages("frames-poses") == {"resources/videos/lego", "frames", "poses"}
    assert stages(SURFACE) == {"poses", "region", "gate", "train/config", "train/20", "mesh/20"}


CHECKS: dict[str, Callable[[Remote], bool]] = {
    "GROUP": lambda remote: all(prefix.startswith("experiments/") for prefix in remote.prefixes(SURFACE)),
    "MODEL": lambda remote: labels(remote.jobs()[SURFACE], "wildcard-scene") == "lego",
    "DOWNSAMPLE_RATE": lambda remote: "--downsample 4" in remote.command("frames-poses"),
    "SCENE_TYPE": lambda remote: remote.load("region/region.json")["scene_type"]["used"] == "object",
    "DATASTORE": lambda remote: remote.jobs()[SURFACE]["spec"]["volumes"][0]["dataStore"]["alias"] == "S3GRA",
    "BUCKET_NAME": lambda remote: (
        remote.jobs()[SURFACE]["spec"]["volumes"][0]["dataStore"]["container"] == remote.bucket
    ),
    "FLAVOR": lambda remote: remote.jobs()[SURFACE]["spec"]["resources"]["flavor"] == "l4-1-gpu",
    "GPU": lambda remote: remote.jobs()[SURFACE]["spec"]["resources"]["gpu"] == 2,
    "ITERATIONS": lambda remote: "--iterations 20" in remote.command(SURFACE),
    "RESOLUTION": lambda remote: "--resolution 48" in remote.command(SURFACE),
    "BLOCK_RES": lambda remote: "block" not in remote.command(SURFACE),  # not needed any more
}


def test_every_variable_of_the_tutorial_has_its_place(remote: Remote) -> None:
    page = (ROOT / "docs" / "ovhcloud.md").read_text()
    table = page.split("## The tutorial's variables")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)
    assert rows == list(CHECKS)
    assert [name for name, check in CHECKS.items() if not check(remote)] == []


def test_steps_without_gpu_get_cpus(remote: Remote) -> None:
    resources = remote.jobs()["frames-poses"]["spec"]["resources"]
    assert resources["gpu"] == 0 and resources["flavor"] == "ai1-1-cpu" and resources["cpu"] >= 4


def test_missing_settings_are_all_named_before_anything_happens(remote: Remote, tmp_path: Path) -> None:
    checkout = Checkout.make(tmp_path / "checkout")
    names = ["OVHAI_DATASTORE", "OVHAI_BUCKET", "OVHAI_REGION"]
    keys = ["SNAKEMAKE_STORAGE_S3_ACCESS_KEY", "SNAKEMAKE_STORAGE_S3_SECRET_KEY"]
    profile = ["--profile", "ovhai"]
    empty = dict.fromkeys([*names, *keys], "") | {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    run = checkout.run(profile, **{**remote.environment, **empty})
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert all(f"{name} is not set" in run.stdout for name in [*names, *keys])
    assert {path.name for path in (checkout.folder / ".snakemake").rglob("*")} <= {KNOWN.name}
    wrong = {"OVHAI_BUCKET": "Not_A_Bucket", "OVHAI_GPU": "many"}
    run = checkout.run(profile, **{**remote.environment, **wrong})
    assert (
        run.returncode == 1 and "OVHAI_BUCKET is 'Not_A_Bucket'" in run.stdout and "OVHAI_GPU is 'many'" in run.stdout
    )


def test_results_in_the_bucket_are_accepted(remote: Remote) -> None:
    checkout = remote.checkout.copy(remote.checkout.folder.parent / "accepted")
    settings = {name: dict(section) for name, section in SMALL.items()}
    settings["train"]["milestones"] = []
    checkout.configure([ROW | {"mesh.resolution": 40}], **settings)
    (checkout.folder / "film.mp4").touch()
    fresh = Remote(checkout, remote.platform, remote.environment, remote.bucket, remote.s3)
    before = fresh.run("--dry-run").stdout
    assert "rule frames" in before and "rule deliver" in before
    profile = ["--profile", "ovhai", "--configfile", "settings.yaml"]
    run = checkout.accept_with([*profile, "--stages", "ingest"], **remote.environment)
    assert run.returncode == 0 and "lego ingest (rule ingest_video): accepted (newer input)" in run.stdout, run.stdout
    planned = fresh.run("--dry-run").stdout
    assert "rule frames" not in planned and "rule deliver" in planned
    run = checkout.accept_with([*profile, "--scenes", "lego"], **remote.environment)
    assert run.returncode == 0, run.stdout
    assert "Nothing to be done" in fresh.run("--dry-run").stdout
    # Another laptop with the same settings sees that they were accepted.
    other = checkout.copy(checkout.folder.parent / "other")
    for folder in (".snakemake", "deliver"):
        shutil.rmtree(other.folder / folder)
    said = Remote(other, remote.platform, remote.environment, remote.bucket, remote.s3).run("--dry-run").stdout
    assert set(re.findall(r"^(?:local)?rule (\w+):", said, re.MULTILINE)) == {"deliver", "deliver_page", "all"}, said


def test_a_capture_that_fails_the_gate_costs_no_gpu(remote: Remote) -> None:
    checkout = remote.checkout.copy(remote.checkout.folder.parent / "gate")
    settings = {name: dict(section) for name, section in SMALL.items()}
    settings["gate"] = {"frame_count": {"warn": None, "fail": 90}}
    settings["train"]["milestones"] = []
    checkout.configure([ROW], **settings)
    before = len(remote.platform.jobs())
    run = Remote(checkout, remote.platform, remote.environment, remote.bucket, remote.s3).run("--forcerun", "gate")
    assert run.returncode == 1 and "frame_count" in run.stdout
    assert len(remote.platform.jobs()) == before
    assert os.path.exists(checkout.folder / "deliver/lego/mesh.ply")
    left = [path for path in (checkout.folder / ".snakemake/storage").rglob("*.*") if path.suffix != ".log"]
    assert left == [], "copies with the date of now would make later stages stale"
    page = (checkout.folder / "deliver/lego/scene.html").read_text()
    assert page.index("Why it stopped") < page.index("frame_count is") < page.index('id="viewer"')
    assert '<li class="card stopped"' in (checkout.folder / "deliver/index.html").read_text()


def test_training_and_mesh_together_are_a_job_of_one_rule(remote: Remote) -> None:
    checkout = remote.checkout.copy(remote.checkout.folder.parent / "together")
    settings = {name: dict(section) for name, section in SMALL.items()}
    settings["train"]["milestones"] = []
    checkout.configure([ROW | {"sdfgrid.train_and_mesh": "together"}], **settings)
    before = len(remote.platform.jobs())
    run = Remote(checkout, remote.platform, remote.environment, remote.bucket, remote.s3).run()
    assert run.returncode == 0, run.stdout
    assert len(remote.platform.jobs()) == before + 1
    rule = "sdfgrid_train_and_mesh"
    assert "experiments/results/lego/mesh/20" in remote.prefixes(rule) == remote.prefixes(SURFACE)
    assert remote.jobs()[rule]["spec"]["resources"] == remote.jobs()[SURFACE]["spec"]["resources"]
    assert f'<th scope="row">{rule} 20</th>' in (checkout.folder / "deliver/lego/scene.html").read_text()
    for log in ("train/20/train.log", "mesh/20/mesh.log"):
        stored = remote.s3.client().get_object(Bucket=remote.bucket, Key=f"experiments/results/lego/{log}")
        assert "mesh: " in stored["Body"].read().decode(), log
