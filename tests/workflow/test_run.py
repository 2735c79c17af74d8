"""The whole workflow: what it makes, how good that is, and what makes it work again."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import trimesh

from checkout import ROOT, SMALL, Checkout
from snakemake_process import SnakemakeProcess, kill_session, run_snakemake
from webhook import open_webhook

STAGES = {
    "frames/frames.tar",
    "frames/masks.tar",
    "frames/frames.json",
    "poses/images.tar",
    "poses/cameras.bin",
    "poses/images.bin",
    "poses/points3D.bin",
    "poses/masks.tar",
    "poses/poses.json",
    "region/transforms.json",
    "region/region.json",
    "region/region.png",
    "region/points.npz",
    "gate/gate.json",
    "gate/gate.pass",
    "train/config/config.yaml",
}
PAGES = {"scene_page": 1, "deliver_page": 1}
PAGE = {"scene_page", "deliver_page"}
AFTER_REGION = {"region", "gate", "gate_decision", "sdfgrid_train", "sdfgrid_mesh", "web_mesh", "deliver"} | PAGE
FORMATS = {"deliver_obj", "deliver_stl"}


def milestone_files(iteration: int) -> set[str]:
    folders = {"train": ("checkpoint.pt", "metrics.jsonl"), "mesh": ("mesh.ply", "mesh.json", "mesh.glb")}
    return {f"{stage}/{iteration}/{file}" for stage, files in folders.items() for file in files}


def without_logs(files: set[str]) -> set[str]:
    return {file for file in files if not file.endswith(".log")}


def test_every_stage_leaves_its_files(finished: Checkout) -> None:
    expected = {f"resources/videos/{name}" for name in ("film/video.mp4", "web/video.mp4", "photos/photos.tar")}
    for scene, milestones in (("film", (60, 120)), ("web", (20,)), ("photos", (20,))):
        files = STAGES.union(*(milestone_files(iteration) for iteration in milestones))
        expected |= {f"results/{scene}/{file}" for file in files}
        expected |= {f"deliver/{scene}/{file}" for file in ("mesh.ply", "mesh.glb", "scene.html", "scene.json")}
        expected |= {f"results/{scene}/report/{file}" for file in ("scene.html", "scene.json")}
    expected |= {"deliver/film/previews/60.glb", "deliver/index.html", "deliver/scenes.csv"}
    expected |= {f"deliver/film/mesh.{suffix}" for suffix in ("obj", "mtl", "jpg", "stl")}
    assert without_logs(finished.files()) == expected


def test_every_rule_leaves_a_log(finished: Checkout) -> None:
    logs = {file for file in finished.files() if file.startswith("results/film/") and file.endswith(".log")}
    rules = "ingest frames poses region gate gate_decision config train mesh web_mesh deliver preview-60 report page"
    assert {Path(log).stem for log in logs} == {*rules.split(), "obj", "stl"}


def test_the_delivered_mesh_is_near_the_truth(finished: Checkout) -> None:
    truth = ROOT / "benchmarks" / "data" / "tractor_ground_truth.npz"
    mesh = finished.folder / "deliver/film/mesh.ply"
    transforms = finished.folder / "results/film/region/transforms.json"
    program = [sys.executable, str(ROOT / "benchmarks/evaluate_mesh.py")]
    files = ["--mesh", str(mesh), "--transforms", str(transforms), "--truth", str(truth)]
    result = json.loads(subprocess.run([*program, *files], check=True, capture_output=True, text=True).stdout)
    assert result["camera_error"] < 0.02
    # 120 iterations on 24 tiny frames give 0.033, a recognisable object; a blob has above 0.041.
    assert result["chamfer"] < 0.038


def test_the_web_mesh_has_colours_and_few_faces(finished: Checkout) -> None:
    file = finished.folder / "deliver/film/mesh.glb"
    assert 500 < len(trimesh.load_mesh(file).faces) <= 3000
    assert b"COLOR_0" in (finished.folder / "deliver/film/previews/60.glb").read_bytes()
    picture = trimesh.load(file, force="mesh").visual.material.baseColorTexture
    assert picture.size > (64, 64) and np.asarray(picture).std() > 5
    exported = trimesh.load(finished.folder / "deliver/film/mesh.obj", force="mesh")
    assert len(exported.faces) <= 3000 and exported.visual.material.image.size == picture.size
    assert len(trimesh.load(finished.folder / "deliver/film/mesh.stl").faces) > 3000
    mesh = trimesh.load_mesh(finished.folder / "deliver/film/mesh.ply")
    assert np.asarray(mesh.visual.vertex_colors)[:, :3].std() > 5


def test_a_milestone_continues_the_one_before(finished: Checkout) -> None:
    lines = (finished.folder / "results/film/train/120/metrics.jsonl").read_text().splitlines()
    iterations = [json.loads(line)["iteration"] for line in lines]
    assert iterations == sorted(iterations)
    assert min(iterations) <= 60 < max(iterations) == 120
    first = (finished.folder / "results/film/train/60/metrics.jsonl").read_text().splitlines()
    assert lines[: len(first)] == first


def test_nothing_changed_nothing_to_be_done(copy: Checkout) -> None:
    before = {file: (copy.folder / file).stat().st_mtime_ns for file in copy.files()}
    run = copy.snakemake()
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout
    assert before == {file: (copy.folder / file).stat().st_mtime_ns for file in copy.files()}


def test_a_changed_row_touches_its_scene_and_later_stages_only(copy: Checkout, scenes: list[dict[str, object]]) -> None:
    film, *others = scenes
    copy.configure([{**film, "mesh.resolution": 56}, *others], **SMALL)
    behind = {"web_mesh": 2, "deliver": 1, "deliver_obj": 1, "deliver_preview": 1} | PAGES
    assert copy.planned() == {"sdfgrid_mesh": 2, "deliver_stl": 1} | behind
    copy.configure([{**film, "mesh.web_faces": 2000}, *others], **SMALL)
    assert copy.planned() == behind
    copy.configure([{**film, "gate.track_length.warn": 2.5}, *others], **SMALL)
    assert copy.planned() == {"gate": 1, "gate_decision": 1} | PAGES
    copy.configure([{**film, "frames.target": 30}, *others], **SMALL)
    assert set(copy.planned()) == AFTER_REGION | FORMATS | {"frames", "poses", "deliver_preview"}
    assert copy.planned()["frames"] == 1


def test_a_setting_for_all_scenes_spares_a_scene_with_its_own(copy: Checkout, scenes: list[dict[str, object]]) -> None:
    copy.configure(scenes, **{**SMALL, "mesh": {"resolution": 80, "web_faces": 3000}})
    assert copy.planned()["deliver"] == 2  # photos has a resolution in its row


def test_an_earlier_milestone_is_inserted_into_the_chain(copy: Checkout, scenes: list[dict[str, object]]) -> None:
    film, *others = scenes
    copy.configure([{**film, "train.milestones": "60,90"}, *others], **SMALL)
    plan = copy.planned()
    assert plan["sdfgrid_train"] == 2  # 90, and 120 that now resumes from it
    assert plan["deliver_preview"] == 1


def test_a_changed_program_makes_its_stage_stale(copy: Checkout) -> None:
    for program, rules in {
        "scripts/web_mesh.py": {"web_mesh", "deliver_obj"},
        "src/videomesh/meshing/sparse_mesh.py": {"sdfgrid_mesh", "web_mesh"} | FORMATS,
        "src/videomesh/region/subject.py": AFTER_REGION | FORMATS,
    }.items():
        path = copy.folder / program
        original = path.read_text()
        path.write_text(original + "\n# a comment\n")
        assert copy.planned() == {}, program
        path.write_text(original + "\nCHANGED = True\n")
        assert set(copy.planned()) == rules | {"deliver", "deliver_preview"} | PAGE, program
        path.write_text(original)
    assert copy.planned() == {}


def test_a_changed_video_makes_its_scene_stale(copy: Checkout) -> None:
    (copy.folder / "film.mp4").touch()
    plan = copy.planned()
    assert plan["ingest_video"] == plan["frames"] == plan["poses"] == plan["deliver"] == 1


def test_a_photo_removed_makes_its_scene_stale(copy: Checkout) -> None:
    (copy.folder / "photos" / "IMG_3.jpg").unlink()
    assert copy.planned()["ingest_photos"] == 1


def test_a_region_by_hand_moves_region_and_later_stages(copy: Checkout) -> None:
    region = json.loads((copy.folder / "results/photos/region/region.json").read_text())
    override = copy.folder / "config/regions/photos.json"
    override.parent.mkdir()
    override.write_text(json.dumps({"center": region["center"], "radius": region["radius"] * 1.1}))
    assert set(copy.planned()) == AFTER_REGION
    target = "results/photos/region/transforms.json"
    assert copy.snakemake(target).returncode == 0
    transforms = json.loads((copy.folder / target).read_text())
    assert np.isclose(transforms["sphere_radius"], region["radius"] * 1.1)
    override.unlink()
    assert copy.planned(target) == {"region": 1}


def test_a_crop_by_hand_cuts_the_mesh_and_trains_nothing(copy: Checkout) -> None:
    """As the page of scripts/adjust.py saves it: a box that stands turned. The page of the scene shows it."""
    region = json.loads((copy.folder / "results/photos/region/region.json").read_text())
    size = [region["radius"] * share for share in (1.0, 0.7, 0.9)]
    turn = [0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1]
    crop = {"method": "box", "center": region["center"], "size": size, "rotation": turn}
    file = copy.folder / "config/regions/photos.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"crop": crop}))
    page = "results/photos/report/scene.html"
    assert copy.planned(page) == {"sdfgrid_mesh": 1, "web_mesh": 1, "scene_page": 1}
    run = copy.snakemake(page)
    assert run.returncode == 0, run.stdout
    summary = json.loads((copy.folder / "results/photos/mesh/20/mesh.json").read_text())
    assert summary["crop"] == crop and 0 < summary["cropped_share"] < 1
    vertices = trimesh.load_mesh(copy.folder / "results/photos/mesh/20/mesh.ply").vertices
    along = (vertices - region["center"]) @ np.reshape(turn, (3, 3))
    assert (np.abs(along) <= np.array(size) / 2 * 1.001).all() and (
        np.abs(along).max(0) > np.array(size) / 2 * 0.5
    ).any()
    html = (copy.folder / page).read_text()
    data = json.loads(html.split('id="page-data">')[1].split("</script>")[0])
    assert data["crop"] == {"kind": "box", "center": crop["center"], "size": size, "rotation": turn}


def test_results_of_a_removed_scene_stay(copy: Checkout, scenes: list[dict[str, object]]) -> None:
    before = copy.files()
    copy.configure(scenes[1:], **SMALL)
    assert "Nothing to be done" in copy.snakemake().stdout
    assert copy.files() == before


def test_a_failing_gate_stops_its_scene_only(copy: Checkout, scenes: list[dict[str, object]]) -> None:
    """And a webhook is told, also of a scene whose video is none."""
    film, photos, web = scenes
    (copy.folder / "broken.mp4").write_text("no video")
    film = {**film, "region.center": "50,0,0", "region.radius": 1}
    broken = {"scene": "broken", "video": "broken.mp4"}
    copy.configure([film, {**photos, "mesh.resolution": 40}, web, broken], **SMALL)
    trained = (copy.folder / "results/film/train/120/checkpoint.pt").stat().st_mtime_ns
    with open_webhook("500", "200") as webhook:
        run = copy.snakemake(VIDEOMESH_WEBHOOK_URL=webhook.url, VIDEOMESH_WEBHOOK_SECRET="the secret")
    told = {message["event"]: message for message in webhook.messages}
    assert [entry["scene"] for entry in told["gate_failed"]["scenes"]] == ["film"]
    assert "points_inside" in told["gate_failed"]["text"]
    (failure,) = told["scene_failed"]["scenes"]
    assert (failure["scene"], failure["stage"]) == ("broken", "ingest") and "broken.mp4" in failure["reason"]
    assert told["run_end"]["success"] is False and list(told)[-1] == "run_end"
    assert told["run_end"]["scene_counts"] == {"failed": 1, "stopped": 1, "done": 2}
    assert "TOKEN" not in run.stdout and "the secret" not in run.stdout
    assert run.returncode == 1
    assert "film" in run.stdout and "points_inside" in run.stdout and "gate.mode" in run.stdout
    checks = json.loads((copy.folder / "results/film/gate/gate.json").read_text())
    assert checks["verdict"] == "fail"
    assert (copy.folder / "results/film/train/120/checkpoint.pt").stat().st_mtime_ns == trained
    assert json.loads((copy.folder / "results/photos/mesh/20/mesh.json").read_text())["resolution"] == 40


def test_killed_while_training_it_goes_on_and_nothing_is_half_written(
    copy: Checkout, scenes: list[dict[str, object]]
) -> None:
    film = {**scenes[0], "train.iterations": 100000, "train.milestones": "[]"}
    for stop in (signal.SIGINT, signal.SIGKILL):
        copy.configure([film], **SMALL)
        log = copy.folder / "results/film/train/100000/train.log"
        log.unlink(missing_ok=True)
        with open_webhook() as webhook:
            variables = {**os.environ, "VIDEOMESH_WEBHOOK_URL": webhook.url}
            workflow = SnakemakeProcess(copy.arguments(), copy.folder, variables, copy.folder / "said.log")
            wait_for(lambda log=log: log.exists() and "iteration" in log.read_text(), workflow)
            os.killpg(workflow.pid, stop)
            assert workflow.wait(timeout=60) != 0
            kill_session(workflow.pid)
        told = [message["event"] for message in webhook.messages if not message.get("success")]
        assert told[-1:] == (["run_end"] if stop == signal.SIGINT else [])
        left = {Path(file).name for file in copy.files() if file.startswith("results/film/train/100000/")}
        assert {name for name in left if not name.startswith(".")} <= {"train.log"}
        assert "checkpoint.pt" not in left
    assert copy.snakemake("--unlock").returncode == 0
    copy.configure([{**film, "train.iterations": 40}], **SMALL)
    run = copy.snakemake()
    assert run.returncode == 0, run.stdout
    assert "results/film/mesh/40/mesh.ply" in copy.files()


def wait_for(condition, workflow: SnakemakeProcess) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert workflow.poll() is None, "the workflow ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.1)


# --- how far it is ----------------------------------------------------------------------------------------------------


def ask(checkout: Checkout, *arguments: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(checkout.folder / "src")}
    run = run_snakemake(checkout.arguments(*arguments), checkout.folder, variables, module="videomesh.status")
    assert run.returncode == 0, run.stdout
    return "\n".join(run.stdout.splitlines()[2:])  # without what Snakemake says of profile and configuration


def list_all(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"}


def test_a_second_terminal_asks_beside_a_run_and_changes_nothing(
    copy: Checkout, scenes: list[dict[str, object]], tmp_path: Path
) -> None:
    assert ask(copy) == "film: done\nphotos: done\nweb: done\n3 scenes: 3 done"
    (copy.folder / "scripts/web_mesh.py").write_text("import time\ntime.sleep(600)\n")
    copy.configure([{**scenes[0], "mesh.web_faces": 2900}, *scenes[1:]], **SMALL)
    target = "results/film/mesh/120/mesh.glb"
    process = SnakemakeProcess(copy.arguments(target), copy.folder, os.environ, tmp_path / "log")
    try:
        marks, deadline = copy.folder / ".snakemake/incomplete", time.time() + 60
        while not any(path.is_file() for path in marks.rglob("*")):
            assert process.poll() is None and time.time() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        before = list_all(copy.folder)
        said = ask(copy)
        assert "film: running, mesh 120 for " in said and "photos: done" in said, said
        assert "3 scenes: 1 running, 2 done; " in said.splitlines()[-1] and "no run" not in said
        assert ask(copy, "--states", "running").startswith("film: running")
        assert ask(copy, "--scenes", "web").startswith("web: done\n1 scene")
        assert list_all(copy.folder) == before and list((copy.folder / ".snakemake/locks").iterdir())
    finally:
        kill_session(process.pid)
        process.wait(10)
    assert "film: failed in mesh 120: " in ask(copy), "the run was killed"


def test_a_run_says_how_it_stands_in_plain_lines_and_as_a_table_on_a_terminal(copy: Checkout) -> None:
    (copy.folder / "deliver/film/mesh.ply").unlink()
    run = copy.snakemake()
    assert run.returncode == 0 and "\x1b" not in run.stdout
    assert "progress: 3 scenes: 3 done" in run.stdout.splitlines()
    (copy.folder / "deliver/film/mesh.ply").unlink()
    said = run_on_terminal([str(Path(sys.executable).with_name("snakemake")), *copy.arguments()], copy.folder)
    assert "✓ done" in said and "✓ 2/2" in said and "progress: " not in said
    assert not list((copy.folder / ".snakemake/runs").glob("*"))


def run_on_terminal(command: list[str], folder: Path) -> str:
    """All that a program writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "COLUMNS": "100", "TERM": "xterm-256color", "NO_COLOR": "1"}
    process = subprocess.Popen(command, cwd=folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert process.wait() == 0, said.decode()
    return said.decode()
