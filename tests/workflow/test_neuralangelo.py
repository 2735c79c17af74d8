"""engine: neuralangelo through every rule, with upstream's test double: on this machine and as jobs of the stand-in."""

import json
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
import trimesh
from double import CHECKSUM, UPSTREAM
from heads import jobs_of
from ovhai_standin.platform import Platform

import s3_server
from checkout import DEMO, ROOT, SMALL, Checkout
from remote_checkout import ENVIRONMENT, Remote
from videomesh import gpus

GPU = f"GPU-test-{uuid.uuid4()}"  # a name is all that it takes to keep jobs apart
SURFACE = "neuralangelo_train-neuralangelo_mesh"  # the label of the jobs that do both
ROW = {"scene": "lego", "video": "film.mp4", "engine": "neuralangelo", "scene_type": "object"}
SETTINGS = {
    "frames": SMALL["frames"],
    "mesh": {"resolution": 64, "web_faces": 3000},
    "train": {"iterations": 120, "milestones": [60]},
    "neuralangelo": {"source": "upstream", "checksum": CHECKSUM, "overrides": {"checkpoint.save_iter": 20}},
}


def make_checkout(folder: Path) -> Checkout:
    checkout = Checkout.make(folder)
    shutil.copy(DEMO, checkout.folder / "film.mp4")
    shutil.copytree(UPSTREAM, checkout.folder / "upstream")
    checkout.configure([ROW], **SETTINGS)
    return checkout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A finished run on this machine."""
    checkout = make_checkout(tmp_path_factory.mktemp("neuralangelo") / "checkout")
    run = checkout.snakemake(CUDA_VISIBLE_DEVICES=GPU)
    assert run.returncode == 0, run.stdout
    assert "non-commercially only" in run.stdout  # the licence is said by the first run
    return checkout


def change(finished: Checkout, folder: Path, **settings: dict[str, Any]) -> Checkout:
    checkout = finished.copy(folder)
    checkout.configure([ROW], **{name: {**SETTINGS.get(name, {}), **values} for name, values in settings.items()}
                       | {name: values for name, values in SETTINGS.items() if name not in settings})  # fmt: skip
    return checkout


def test_the_same_files_come_out(finished: Checkout) -> None:
    deliveries = {"deliver/lego/mesh.ply", "deliver/lego/mesh.glb", "deliver/lego/previews/60.glb"}
    results = {"train/60/checkpoint.pt", "train/120/metrics.jsonl", "mesh/120/mesh.json"}
    assert deliveries | {f"results/lego/{name}" for name in results} <= finished.files()
    mesh = trimesh.load(finished.folder / "deliver/lego/mesh.ply", process=False)
    assert len(mesh.faces) > 1000
    summary = json.loads((finished.folder / "results/lego/mesh/120/mesh.json").read_text())
    assert (summary["extractor"], summary["iteration"]) == ("sparse", 120)
    log = (finished.folder / "results/lego/train/120/train.log").read_text()
    assert "iter 60)" in log, "the second milestone resumes from the first"
    left = [path.stat().st_size for path in (finished.folder / "results/lego/train").glob("*/resume/checkpoint.pt")]
    assert set(left) <= {0}, "no gigabytes stay beside the checkpoint"


def test_nothing_is_made_twice_and_a_change_costs_only_what_depends_on_it(finished: Checkout, tmp_path: Path) -> None:
    assert finished.planned() == {}
    extractor = change(finished, tmp_path / "extractor", neuralangelo={"extractor": "upstream"})
    pages = {"scene_page", "deliver_page"}
    assert set(extractor.planned()) == {"neuralangelo_mesh", "web_mesh", "deliver", "deliver_preview"} | pages
    preset = change(finished, tmp_path / "preset", neuralangelo={"preset": "fast"})
    assert {"neuralangelo_config", "neuralangelo_train", "neuralangelo_mesh"} <= set(preset.planned())
    assert not {"neuralangelo_source", "frames", "poses"} & set(preset.planned())
    longer = change(finished, tmp_path / "longer", neuralangelo={"stall_minutes": 60})
    assert longer.planned() == {}, "how long to wait changes no result"


def test_each_scene_has_its_own_engine(finished: Checkout, tmp_path: Path) -> None:
    checkout = finished.copy(tmp_path / "both")
    checkout.configure([ROW, {**ROW, "scene": "duplo", "engine": "sdfgrid"}], **SETTINGS)
    planned = checkout.planned()
    assert planned["sdfgrid_train"] == 2 and planned["sdfgrid_mesh"] == 2
    assert not {"neuralangelo_train", "neuralangelo_mesh"} & set(planned)


def test_a_wrong_override_is_told_with_its_place_before_anything_runs(finished: Checkout, tmp_path: Path) -> None:
    overrides = {"model.object.sdf.encoding.dict_size": 19, "optim.params.lr": 0}
    checkout = change(finished, tmp_path / "wrong", neuralangelo={"overrides": overrides})
    run = checkout.snakemake("-n")
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert "Did you mean model.object.sdf.encoding.hashgrid.dict_size?" in run.stdout
    assert "settings.yaml line" in run.stdout and "optim.params.lr: 0 is not allowed" in run.stdout


def test_a_training_gets_as_many_gpus_as_its_job(finished: Checkout) -> None:
    run = finished.snakemake("-np", "--forceall", "--set-resources", "neuralangelo_train:gpu=2")
    assert run.returncode == 0, run.stdout
    assert re.findall(r" train .* --gpus (\d)", run.stdout) == ["2", "2"]
    assert re.findall(r"-m videomesh.gpus --count (\d) -- python3 -m \w+ train", run.stdout) == ["2", "2"]
    more = ("--set-resources", "neuralangelo_train:gpu=2", "neuralangelo_mesh:gpu=2")
    assert finished.planned(*more) == {}, "what is done stays done, on however many GPUs it was"


def test_each_job_of_an_engine_has_its_gpu_to_itself(finished: Checkout) -> None:
    results = finished.folder / "results/lego"
    for log in ("train/60/train.log", "train/120/train.log", "mesh/120/mesh.log"):
        assert f"this job has GPU {GPU} of 1 to itself\n" in (results / log).read_text()
    (gpus.LOCKS / f"videomesh-gpu-{GPU}.lock").unlink()


def test_the_profile_for_a_workstation_runs_one_gpu_job_at_a_time(finished: Checkout, tmp_path: Path) -> None:
    """What Apptainer itself does was never tried: this is a dry run."""
    (tmp_path / "apptainer").write_text("#!/bin/sh\necho apptainer version 1.3.0\n")
    (tmp_path / "apptainer").chmod(0o755)
    arguments = finished.arguments("--dry-run", "--forceall")
    arguments[arguments.index("profiles/local")] = "profiles/gpu"
    run = finished.run(arguments, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert run.returncode == 0, run.stdout
    (job,) = [part for part in run.stdout.split("\n\n") if "rule neuralangelo_train:" in part and "train/120/" in part]
    assert "gpu=1" in job


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory, s3: s3_server.S3Server) -> Any:
    """Jobs of the stand-in platform: a GPU fails in the first training, then a mesh, and a second run goes on."""
    folder = tmp_path_factory.mktemp("neuralangelo-remote")
    bucket = "neuralangelo"
    s3.client().create_bucket(Bucket=bucket)
    platform = Platform.start(folder / "platform", s3, hidden=[str(ROOT)])
    checkout = make_checkout(folder / "checkout")
    overrides = {"checkpoint.save_iter": 20, "inference_args": {"crash": 90, "crash_extraction": True}}
    settings = {**SETTINGS, "train": {"iterations": 120}}
    settings["neuralangelo"] = {**SETTINGS["neuralangelo"], "overrides": overrides}
    checkout.configure([ROW | {"neuralangelo.extractor": "upstream"}], **settings)
    environment = {**platform.environment, **s3.profile_environment(bucket), **ENVIRONMENT, "OVHAI_GPU": "1"}
    remote = Remote(checkout, platform, environment, bucket, s3)
    run = remote.run("--retries", "1")
    assert run.returncode == 1 and "Cause: The GPU has too little memory" in run.stdout, run.stdout
    checkout.configure([ROW], **settings)
    run = remote.run()
    assert run.returncode == 0, run.stdout
    yield remote
    platform.stop_everything()


def test_jobs_go_on_from_the_last_save_in_the_bucket(remote: Remote) -> None:
    assert (remote.checkout.folder / "deliver/lego/mesh.ply").exists()
    jobs = jobs_of(remote.platform, SURFACE)
    assert [job["status"]["state"] for job in jobs] == ["FAILED", "FAILED", "DONE"]
    assert "saved iteration 80; going on from there" in "\n".join(remote.platform.log(jobs[1]["id"]))
    assert "failed after it; its checkpoint is taken" in "\n".join(remote.platform.log(jobs[2]["id"]))
    client = remote.s3.client()
    stored = client.list_objects_v2(Bucket=remote.bucket, Prefix="experiments/results/lego/train/120/")["Contents"]
    sizes = {entry["Key"].rpartition("train/120/")[2]: entry["Size"] for entry in stored}
    assert sizes["checkpoint.pt"] > 1000
    assert sizes["resume/checkpoint.pt"] == 0, "a job cannot remove it, but need not leave gigabytes"


def test_a_job_gets_one_gpu_upstreams_image_and_only_its_folders(remote: Remote) -> None:
    job = remote.jobs()[SURFACE]
    assert job["spec"]["image"] == "docker.io/chenhsuanlin/neuralangelo:23.04-py3"
    assert job["spec"]["resources"]["gpu"] == 1
    prefixes = {prefix.removeprefix("experiments/") for prefix in remote.prefixes(SURFACE)}
    folders = {prefix for prefix in prefixes if not prefix.startswith(".ovhai")}
    assert folders == {"resources/neuralangelo"} | {
        f"results/lego/{stage}" for stage in ("poses", "region", "gate", "train/config", "train/120", "mesh/120")
    }
    config = remote.load("train/config/config.yaml")
    assert config["model"]["object"]["sdf"]["encoding"]["hashgrid"]["dict_size"] == 22  # no gpu_memory: the whole table
