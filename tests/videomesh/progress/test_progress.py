"""How far each scene is, from folders as runs leave them: states, times left, and what is shown of them."""

import base64
import io
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from rich.console import Console

from s3_server import S3Server
from videomesh.errors import UserError
from videomesh.progress.left import Left
from videomesh.progress.runs import RUNS, SILENT, name_run, read_runs, remove_killed, remove_run, write_run
from videomesh.progress.show import describe_scene, describe_time, describe_totals, show
from videomesh.progress.state import SceneState, Status, read_status
from videomesh.progress.steps import File, Step, find_file, find_step
from videomesh.progress.stores import Folder, open_store

SETTINGS: dict[str, Any] = {
    "engine": "sdfgrid",
    "gate": {"mode": "fail"},
    "train": {"iterations": 200, "milestones": [100]},
    "mesh": {"resolution": 256},
}
TRAIN = "results/{}/train/{}/checkpoint.pt"
ALL = [
    "resources/videos/{}/video.mp4",
    "results/{}/frames/frames.json",
    "results/{}/poses/poses.json",
    "results/{}/region/transforms.json",
    "results/{}/gate/gate.json",
    "results/{}/gate/gate.pass",
    "results/{}/train/100/metrics.jsonl",
    "results/{}/mesh/100/mesh.json",
    "results/{}/mesh/100/mesh.glb",
    "results/{}/train/200/metrics.jsonl",
    "results/{}/mesh/200/mesh.json",
    "results/{}/mesh/200/mesh.glb",
    "results/{}/report/scene.html",
    "deliver/{}/mesh.ply",
]


def write(root: Path, path: str, content: str = "{}", age: float = 0) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)
    date = time.time() - age
    os.utime(root / path, (date, date))


def make_scene(root: Path, scene: str, number: int = len(ALL), age: float = 3600) -> None:
    """The first of the files that a scene gets."""
    for path in ALL[:number]:
        write(root, path.format(scene), age=age)


def record(root: Path, path: str, seconds: float, rule: str = "rule", ended: float = 100) -> None:
    """What Snakemake keeps of a job; ended: how long ago, in seconds."""
    end = time.time() - ended
    name = base64.urlsafe_b64encode(path.encode()).decode()
    content = {"rule": rule, "starttime": end - seconds, "endtime": end, "log": []}
    write(root, f".snakemake/metadata/{name}", json.dumps(content))


def begin(root: Path, path: str, age: float) -> None:
    """Snakemake's mark of a job that has begun. A long name is in parts."""
    name = base64.urlsafe_b64encode(path.encode()).decode()
    parts = [f"@{name[:40]}", name[40:]] if len(name) > 40 else [name]
    write(root, "/".join([".snakemake/incomplete", *parts]), age=age)


def plan(root: Path, *paths: str, age: float = 600) -> None:
    """A run under way that began `age` seconds ago."""
    write_run(root, time.time() - age, paths)


def read(root: Path, *scenes: str, **settings: Any) -> Status:
    names = scenes or ("lamp",)
    return read_status(root, {name: {**SETTINGS, **settings} for name in names}, Folder(root, names))


def seconds(left: Left | None) -> float:
    """Of a time of which all is known."""
    assert left and left.whole
    return left.seconds


def read_one(root: Path, **settings: Any) -> SceneState:
    return read(root, "lamp", **settings).scenes[0]


# --- files and steps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("results/lamp/train/60/checkpoint.pt", File("lamp", "train/60/checkpoint.pt")),
        ("s3://bucket/results/results/lamp/frames/frames.json", File("lamp", "frames/frames.json")),
        ("meshes/resources/videos/lamp/video.mp4", File("lamp", "source")),
        ("deliver/lamp/mesh.ply", File("lamp", "deliver/mesh.ply")),
        ("results/results/mesh/60/mesh.glb", File("results", "mesh/60/mesh.glb")),
        ("resources/neuralangelo/source.tar.gz", None),
        ("results/other/frames/frames.json", None),
        ("results/lamp", None),
        ("", None),
    ],
)
def test_a_path_tells_scene_and_file_wherever_it_begins(path: str, file: File | None) -> None:
    assert find_file(path, ["lamp", "results", "videos"]) == file


def test_files_tell_their_step() -> None:
    assert find_step("source", [60]) == Step("ingest")
    assert find_step("train/config/config.yaml", [60, 120]) == Step("train", 60)
    assert find_step("mesh/120/mesh.ply", [60, 120]) == Step("mesh", 120)
    assert find_step("mesh/500/mesh.ply", [60, 120]) is None, "a milestone of before"
    assert find_step("deliver/previews/60.glb", [60]) == Step("deliver")
    assert find_step("notes/x", [60]) is None


# --- states -----------------------------------------------------------------------------------------------------------


def test_a_scene_without_files_waits(tmp_path: Path) -> None:
    state = read_one(tmp_path)
    assert state.name == "waiting" and state.step == Step("ingest") and set(state.steps.values()) == {"waiting"}


def test_a_scene_with_all_files_is_done_also_if_its_source_was_cleared_away(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp")
    assert read_one(tmp_path).name == "done"
    (tmp_path / "resources/videos/lamp/video.mp4").unlink()
    assert read_one(tmp_path).name == "done"


def test_each_step_is_done_only_with_all_its_files(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp", 8)  # mesh.json of the first milestone is there, and its mesh.glb is not
    state = read_one(tmp_path)
    assert (state.name, state.step) == ("waiting", Step("mesh", 100))
    assert list(state.steps.values()).count("done") == 6


def test_a_log_without_a_result_is_a_failure_that_tells_its_last_line(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp", 2)
    write(tmp_path, "results/lamp/poses/poses.log", "starting\nerror: no pose was found\n\n")
    state = read_one(tmp_path)
    assert (state.name, state.step, state.reason) == ("failed", Step("poses"), "error: no pose was found")
    assert "failed in poses: error: no pose was found" in describe_scene(state)


def test_the_log_of_an_attempt_that_the_run_repeats_is_no_failure(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp", 2)
    write(tmp_path, "results/lamp/poses/poses.log", "error: no pose was found", age=700)
    plan(tmp_path, "results/lamp/poses/images.tar", age=600)
    assert read_one(tmp_path).name == "waiting"
    write(tmp_path, "results/lamp/poses/poses.log", "error: again no pose", age=10)
    assert read_one(tmp_path).reason == "error: again no pose"


def test_a_failure_is_still_one_while_a_run_does_something_else(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp", 2)
    write(tmp_path, "results/lamp/poses/poses.log", "error: no pose was found", age=700)
    plan(tmp_path, "results/cup/poses/images.tar", age=600)
    assert read(tmp_path, "lamp", "cup").count() == {"failed": 1, "waiting": 1}


@pytest.mark.parametrize(("mode", "name"), [("fail", "stopped"), ("warn", "waiting")])
def test_a_scene_that_the_gate_stops_tells_why(tmp_path: Path, mode: str, name: str) -> None:
    make_scene(tmp_path, "lamp", 4)
    check = {"name": "camera_motion", "meaning": "spread", "value": 0.0, "unit": "", "worse": "below", "warn": 0.1,
             "fail": 0.05, "verdict": "fail", "advice": "Walk round it.", "source": ""}  # fmt: skip
    write(tmp_path, "results/lamp/gate/gate.json", json.dumps({"verdict": "fail", "checks": [check]}))
    state = read_one(tmp_path, gate={"mode": mode})
    assert state.name == name
    assert ("Walk round it." in state.reason) == (name == "stopped")


def test_a_verdict_that_the_run_makes_anew_stops_nothing_yet(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp", 4)
    content = json.dumps({"checks": [{"verdict": "fail", "meaning": "m", "name": "n", "value": 1, "unit": "", "fail": 2,
                                      "worse": "below", "warn": 3, "advice": "a"}]})  # fmt: skip
    write(tmp_path, "results/lamp/gate/gate.json", content, age=700)
    plan(tmp_path, "results/lamp/gate/gate.pass", age=600)
    assert read_one(tmp_path).name == "waiting"
    write(tmp_path, "results/lamp/gate/gate_decision.log", "error: no\n")
    assert read_one(tmp_path).name == "stopped"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"checks": 3}', '{"checks": [{"verdict": "pass"}]}'])
def test_a_verdict_that_is_not_made_yet_stops_nothing(tmp_path: Path, content: str) -> None:
    make_scene(tmp_path, "lamp", 4)
    write(tmp_path, "results/lamp/gate/gate.json", content)
    assert read_one(tmp_path).name == "waiting"


def test_a_result_that_the_run_will_make_again_is_stale(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp")
    plan(tmp_path, TRAIN.format("lamp", 200), "results/lamp/mesh/200/mesh.ply", "deliver/lamp/mesh.ply")
    state = read_one(tmp_path)
    stale = [str(step) for step, name in state.steps.items() if name == "stale"]
    assert state.name == "waiting" and stale == ["train 200", "mesh 200", "deliver"]
    assert "next is train 200 again" in describe_scene(state)
    write(tmp_path, "results/lamp/train/200/metrics.jsonl")
    assert read_one(tmp_path).steps[Step("train", 200)] == "done", "it was just made; the plan is seconds old"


def test_a_job_runs_only_as_long_as_a_run_is_under_way(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp", 2)
    begin(tmp_path, "s3://bucket/a-very-long-prefix-of-a-bucket/results/lamp/poses/images.tar", age=90)
    plan(tmp_path, "s3://bucket/a-very-long-prefix-of-a-bucket/results/lamp/poses/images.tar")
    state = read_one(tmp_path)
    assert (state.name, state.step) == ("running", Step("poses"))
    assert state.since and abs(time.time() - state.since - 90) < 5
    remove_run(tmp_path)
    state = read_one(tmp_path)
    assert (state.name, state.step, state.reason) == ("failed", Step("poses"), "it ended without a result")


def test_a_killed_run_is_not_under_way_and_one_of_another_machine_is_until_it_is_silent(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    plan(tmp_path, "results/lamp/poses/images.tar")
    mine = tmp_path / RUNS / name_run()
    killed = mine.rename(mine.with_name(f"{socket.gethostname()}-{process.pid}.json"))
    assert read_runs(tmp_path, ["lamp"]).began is None
    kept = killed.read_text()
    remove_killed(tmp_path)
    assert not killed.exists()
    killed.write_text(kept)
    other = killed.rename(mine.with_name(f"another-machine-{process.pid}.json"))
    assert read_runs(tmp_path, ["lamp"]).began is not None
    write(tmp_path, str(other.relative_to(tmp_path)), other.read_text(), age=SILENT + 5)
    assert read_runs(tmp_path, ["lamp"]).began is None


def test_two_runs_and_a_broken_file_are_read_together(tmp_path: Path) -> None:
    plan(tmp_path, "results/lamp/poses/images.tar", age=50)
    (tmp_path / RUNS / name_run()).rename(tmp_path / RUNS / "other-1.json")
    plan(tmp_path, "results/cup/poses/images.tar", "resources/neuralangelo/x.tar.gz", age=100)
    (tmp_path / RUNS / "third-1.json").write_text('{"beg')
    (tmp_path / RUNS / f"{socket.gethostname()}-x.json").write_text("{}")
    runs = read_runs(tmp_path, ["lamp", "cup"])
    assert {file.scene for file in runs.planned} == {"lamp", "cup"}
    assert runs.began and abs(time.time() - runs.began - 100) < 5


class Storage:
    """As a workflow whose default storage is a bucket."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.modifier = SimpleNamespace(path_modifier=self)
        self.storage_settings = SimpleNamespace(default_storage_provider="s3")

    def apply_default_storage(self, path: str) -> Any:
        provider = SimpleNamespace(s3c=SimpleNamespace(meta=SimpleNamespace(client=self.client)))
        stored = SimpleNamespace(bucket="progress", key=f"results/{path}", provider=provider, s3bucket=None)
        return SimpleNamespace(flags={"storage_object": stored})


def test_results_in_a_bucket_are_listed_and_what_is_delivered_is_here(tmp_path: Path, s3: S3Server) -> None:
    client = s3.client()
    client.create_bucket(Bucket="progress")
    for scene, number in (("lamp", len(ALL) - 1), ("cup", 2)):
        for path in ALL[:number]:
            client.put_object(Bucket="progress", Key=f"results/{path.format(scene)}", Body=b"{}")
    client.put_object(Bucket="progress", Key="results/results/cup/poses/poses.log", Body=b"x\nerror: no pose\n")
    write(tmp_path, "deliver/lamp/mesh.ply")
    make_scene(tmp_path, "mug", 5)  # of a run on this machine
    scenes = dict.fromkeys(("lamp", "cup", "mug"), SETTINGS)
    store = open_store(tmp_path, scenes, Storage(client))
    states = {state.scene: state for state in read_status(tmp_path, scenes, store).scenes}
    assert {scene: state.name for scene, state in states.items()} == {
        "lamp": "done",
        "cup": "failed",
        "mug": "waiting",
    }
    assert states["cup"].reason == "error: no pose" and states["mug"].step == Step("ingest")
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    wrong = boto3.client("s3", endpoint_url=s3.endpoint, region_name="x", **keys)
    with pytest.raises(UserError, match="bucket progress: cannot be listed"):
        open_store(tmp_path, scenes, Storage(wrong)).list()


# --- times ------------------------------------------------------------------------------------------------------------

LINE = "train: iteration {} of 100 (40 %), 2.0 it/s, 0:30 left, PSNR 20.1 dB\n"


def start_training(root: Path, line: str, age: float = 0, log: str = "results/lamp/train/100/train.log") -> None:
    make_scene(root, "lamp", 6)
    plan(root, *(TRAIN.format("lamp", milestone) for milestone in (100, 200)))
    begin(root, TRAIN.format("lamp", 100), age=300)
    write(root, log, line, age=age)


@pytest.mark.parametrize("log", ["results/lamp/train/100/train.log", ".snakemake/x_logs/sdfgrid_train/lamp-100/1.log"])
def test_a_training_tells_the_time_left_of_all_its_milestones(tmp_path: Path, log: str) -> None:
    start_training(tmp_path, LINE.format(20) + LINE.format(40), log=log)
    state = read_one(tmp_path)
    assert state.position and state.position.iteration == 40
    assert seconds(state.step_left) == pytest.approx(30, abs=3), "60 iterations at 2 a second"
    assert seconds(state.left) == pytest.approx(80, abs=3), "and 100 more to the next milestone"
    assert (
        "train 100 for 5 min, iteration 40 of 100, about 30 s left; about 1 min left for the scene"
        in describe_scene(state)
    )


def test_the_words_of_neuralangelo_are_understood(tmp_path: Path) -> None:
    start_training(tmp_path, "Epoch 3\nneuralangelo: iteration 50 of 100, 0.5 it/s, PSNR 21.0 dB, 2 min left\n")
    assert seconds(read_one(tmp_path).step_left) == pytest.approx(100, abs=3)


@pytest.mark.parametrize(
    ("line", "age", "words"),
    [
        ("loading frames\n", 0, "train 100 for 5 min, time left unknown"),
        (LINE.format(40), 250, "iteration 40 of 100, silent for 4 min, time left unknown"),
        (LINE.format(40), 900, "train 100 for 5 min, time left unknown"),  # of the attempt before
        (LINE.format(1).replace("2.0", "0.0"), 0, "train 100 for 5 min, iteration 1 of 100, time left unknown"),
    ],
)
def test_what_is_not_known_is_called_unknown(tmp_path: Path, line: str, age: float, words: str) -> None:
    start_training(tmp_path, line, age)
    status = read(tmp_path)
    assert words in describe_scene(status.scenes[0])
    assert status.scenes[0].left is None and "time left unknown" in describe_totals(status)


def test_a_stage_takes_about_as_long_as_in_other_scenes(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp", 2)
    plan(tmp_path, "results/lamp/poses/images.tar")
    begin(tmp_path, "results/lamp/poses/images.tar", age=40)
    for scene, length in (("cup", 90), ("mug", 100), ("pot", 400)):
        record(tmp_path, f"results/{scene}/poses/images.tar", length)
    state = read(tmp_path, "lamp", "cup", "mug", "pot").scenes[0]
    assert seconds(state.step_left) == pytest.approx(60, abs=3)
    begin(tmp_path, "results/lamp/poses/images.tar", age=140)
    state = read(tmp_path, "lamp", "cup", "mug", "pot").scenes[0]
    assert state.step_left is None, "it takes longer than the others did"


def test_only_scenes_of_the_same_engine_and_milestones_tell_how_long_a_training_takes(tmp_path: Path) -> None:
    plan(tmp_path, TRAIN.format("lamp", 200))
    record(tmp_path, TRAIN.format("cup", 200), 500)
    scenes = {"lamp": SETTINGS, "cup": {**SETTINGS, "engine": "neuralangelo"}}
    assert read_status(tmp_path, scenes, Folder(tmp_path, scenes)).left is None
    scenes["cup"] = {**SETTINGS, "train": {"iterations": 200, "milestones": []}}
    assert read_status(tmp_path, scenes, Folder(tmp_path, scenes)).left is None
    scenes["cup"] = SETTINGS
    assert seconds(read_status(tmp_path, scenes, Folder(tmp_path, scenes)).left) == pytest.approx(500)


def test_five_hundred_scenes_are_read_in_seconds(tmp_path: Path) -> None:
    names = [f"scene-{number}" for number in range(500)]
    jobs = [path.format("{}") for path in ALL]
    for name in names[:100]:
        for job in jobs:
            record(tmp_path, job.format(name), 20, ended=5000)
    plan(tmp_path, *(job.format(name) for name in names[100:] for job in jobs))
    begin_time = time.process_time()
    status = read(tmp_path, *names)
    assert time.process_time() - begin_time < 3
    assert len(status.scenes) == 500 and seconds(status.left) == pytest.approx(400 * len(ALL) * 20, rel=0.1)


def test_a_mesh_takes_as_long_as_that_of_an_earlier_milestone(tmp_path: Path) -> None:
    record(tmp_path, "results/lamp/mesh/100/mesh.ply", 20)
    plan(tmp_path, "results/lamp/mesh/200/mesh.ply")
    assert seconds(read_one(tmp_path).left) == pytest.approx(20)


def test_a_milestone_that_is_done_tells_the_pace_of_the_next(tmp_path: Path) -> None:
    make_scene(tmp_path, "lamp", 9)
    record(tmp_path, TRAIN.format("lamp", 100), 70)
    plan(tmp_path, TRAIN.format("lamp", 200))
    assert seconds(read_one(tmp_path).left) == pytest.approx(70)


def test_jobs_side_by_side_make_a_run_shorter_but_not_shorter_than_its_longest_scene(tmp_path: Path) -> None:
    names = [f"scene-{number}" for number in range(8)]
    files = [f"results/{name}/poses/images.tar" for name in names]
    for file in files[:4]:  # four that ran side by side, since the run began 100 seconds ago
        record(tmp_path, file, 98, ended=1)
    plan(tmp_path, *files[4:], age=100)
    left = seconds(read(tmp_path, *names).left)
    assert left == pytest.approx(98 * 4 / 3.92, abs=5)
    plan(tmp_path, files[4], age=100)
    assert seconds(read(tmp_path, *names).left) == pytest.approx(98)


def test_if_only_a_part_is_known_the_time_is_called_a_minimum(tmp_path: Path) -> None:
    start_training(tmp_path, LINE.format(40))
    plan(tmp_path, TRAIN.format("lamp", 100), "results/lamp/mesh/100/mesh.ply", "results/cup/poses/images.tar")
    status = read(tmp_path, "lamp", "cup")
    assert status.scenes[0].left == (pytest.approx(30, abs=3), False)
    assert "about 30 s left; at least 30 s left for the scene" in describe_scene(status.scenes[0])
    assert describe_totals(status) == "2 scenes: 1 running, 1 waiting; at least 30 s left"


def test_scenes_that_failed_do_not_make_the_time_of_a_run_longer(tmp_path: Path) -> None:
    record(tmp_path, "results/cup/poses/images.tar", 50)
    make_scene(tmp_path, "lamp", 2)
    make_scene(tmp_path, "mug", 2)
    write(tmp_path, "results/mug/poses/poses.log", "error: no pose\n")
    plan(tmp_path, *(f"results/{name}/poses/images.tar" for name in ("lamp", "mug")))
    assert seconds(read(tmp_path, "lamp", "mug", "cup").left) == pytest.approx(50)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59, "59 s"), (75, "1 min"), (3599, "1 h 0 min"), (4000, "1 h 7 min"), (190000, "2 d 4 h")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert describe_time(seconds) == words


# --- what is shown ----------------------------------------------------------------------------------------------------


def make_status(root: Path, number: int = 3) -> Status:
    names = [f"scene-{index}" for index in range(number)]
    make_scene(root, "scene-0")
    make_scene(root, "scene-1", 2)
    write(root, "results/scene-1/poses/poses.log", "error: [red]\x1b[31m no pose\n")
    make_scene(root, "scene-2", 6)
    begin(root, TRAIN.format("scene-2", 100), age=300)
    plan(root, TRAIN.format("scene-2", 100))
    return read(root, *names)


def print_status(status: Status, width: int, terminal: bool = True, most: int | None = None, **options: Any) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=options.pop("encoding", "utf-8"))
    show(Console(file=file, width=width, force_terminal=terminal, **options), status, most)
    file.seek(0)
    return file.read()


def find_cells(shown: str) -> dict[str, list[str]]:
    """The rows of the table, by their first word."""
    lines = [line.split() for line in shown.splitlines()]
    return {words[0]: words[1:] for words in lines if words and (words[0] == "scene" or words[0].startswith("scene-"))}


def test_a_terminal_gets_one_table_of_scenes_and_stages(tmp_path: Path) -> None:
    shown = print_status(make_status(tmp_path), 80, color_system=None)
    cells = find_cells(shown)
    assert cells["scene"] == ["ingest", "frames", "poses", "region", "gate", "train", "mesh", "report", "deliver"]
    assert cells["scene-0"] == [*"✓✓✓✓✓", "✓", "2/2", "✓", "2/2", "✓", "✓"]
    assert cells["scene-1"] == [*"✓✓✗··", "·", "0/2", "·", "0/2", "·", "·"]
    assert cells["scene-2"] == [*"✓✓✓✓✓", "▶", "0/2", "·", "0/2", "·", "·"]
    assert "scene-1: failed in poses: error: [red] [31m no pose" in shown, "nothing steers the terminal"
    assert shown.splitlines()[-1] == "3 scenes: 1 running, 1 failed, 1 done; time left unknown"
    assert max(map(len, shown.splitlines())) <= 80


def test_a_log_gets_plain_lines_and_so_does_a_narrow_terminal(tmp_path: Path) -> None:
    status = make_status(tmp_path)
    plain = print_status(status, 80, terminal=False)
    assert plain.splitlines() == [
        "scene-0: done",
        "scene-1: failed in poses: error: [red] [31m no pose",
        "scene-2: running, train 100 for 5 min, time left unknown",
        "3 scenes: 1 running, 1 failed, 1 done; time left unknown",
    ]
    assert "✓" not in print_status(status, 50, color_system=None)
    assert max(map(len, print_status(status, 50, color_system=None).splitlines())) <= 56  # the totals may be longer


def test_colours_and_marks_are_left_out_where_they_cannot_be_shown(tmp_path: Path, monkeypatch: Any) -> None:
    status = make_status(tmp_path)
    assert "\x1b[1;31m" in print_status(status, 80, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in print_status(status, 80, color_system="standard")
    print_status(status, 80, encoding="ascii").encode("ascii")  # raises where there is another character


def test_hundreds_of_scenes_are_shortened_to_those_that_need_attention(tmp_path: Path) -> None:
    shown = print_status(make_status(tmp_path, 300), 80, most=20, color_system=None)
    cells = find_cells(shown)
    assert [*cells][1:4] == ["scene-2", "scene-1", "scene-3"] and "scene-0" not in cells
    assert "and 280 more" in shown and "300 scenes: 1 running, 1 failed, 297 waiting, 1 done" in shown
