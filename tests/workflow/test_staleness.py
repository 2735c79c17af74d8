"""What makes which stage stale, as `snakemake -n` shows it: each key of the configuration, programs, dates, folders."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkout import DEMO, ROOT, Checkout
from videomesh.configuration.schema import find_leaves, is_column, read_schema

ENGINES = ("sdfgrid", "neuralangelo")
# Rule -> those that read its outputs, so that they run after it. The verdict of the gate is for the order only.
READERS = {
    "ingest_video": {"frames"},
    "frames": {"poses", "region", "gate", "neuralangelo_config", "scene_page"},
    "poses": {
        "region",
        "gate",
        "neuralangelo_config",
        "sdfgrid_train",
        "neuralangelo_train",
        "sdfgrid_mesh",
        "neuralangelo_mesh",
        "web_mesh",
        "scene_page",
    },
    "region": {
        "gate",
        "neuralangelo_config",
        "sdfgrid_train",
        "neuralangelo_train",
        "sdfgrid_mesh",
        "neuralangelo_mesh",
        "web_mesh",
        "scene_page",
    },
    "gate": {"gate_decision", "scene_page"},
    "gate_decision": set(),
    "sdfgrid_config": {"sdfgrid_train", "scene_page"},
    "sdfgrid_train": {"sdfgrid_mesh", "scene_page"},
    "sdfgrid_mesh": {"web_mesh", "deliver", "scene_page"},
    "sdfgrid_train_and_mesh": {"web_mesh", "deliver", "scene_page"},  # in place of the two, for the scenes that want it
    "neuralangelo_source": {"neuralangelo_config", "neuralangelo_train", "neuralangelo_mesh"},
    "neuralangelo_config": {"neuralangelo_train", "neuralangelo_mesh", "scene_page"},
    "neuralangelo_train": {"neuralangelo_mesh", "scene_page"},
    "neuralangelo_mesh": {"web_mesh", "deliver", "scene_page"},
    "web_mesh": {"deliver", "scene_page"},
    "deliver": set(),
    "deliver_obj": set(),
    "deliver_stl": set(),
    "scene_page": {"deliver_page"},
    "deliver_page": set(),
}
PAGE = {"scene_page", "deliver_page"}
# Key, or section -> the rules that use it.
USES = {
    "scene_type": {"region"},
    "frames": {"frames"},
    "poses": {"poses"},
    "region": {"region"},
    "scale": {"region"},
    "gate": {"gate"},
    "gate.mode": {"gate_decision"},
    "train.iterations": {"sdfgrid_config", "neuralangelo_config"},
    "train.seed": {"sdfgrid_config", "neuralangelo_train"},
    "train.stop": {"sdfgrid_train", "neuralangelo_train"},
    "sdfgrid.image_size": {"sdfgrid_config"},
    "sdfgrid.train_and_mesh": {"sdfgrid_train_and_mesh"},
    "neuralangelo.schedule": {"neuralangelo_config"},
    "neuralangelo.preset": {"neuralangelo_config"},
    "neuralangelo.appearance": {"neuralangelo_config"},
    "neuralangelo.gpu_memory": {"neuralangelo_config"},
    "neuralangelo.overrides": {"neuralangelo_config"},
    "neuralangelo.extractor": {"neuralangelo_mesh"},
    "neuralangelo.checksum": {"neuralangelo_source"},
    "mesh": {"sdfgrid_mesh", "neuralangelo_mesh"},
    "crop": {"sdfgrid_mesh", "neuralangelo_mesh"},
    "mesh.web_faces": {"web_mesh"},
    "mesh.texture_size": {"web_mesh"},
    "deliver.formats": {"deliver_obj", "deliver_stl"},
    "containers.colmap": {"frames", "poses"},
    "containers.pytorch": {"sdfgrid_train", "sdfgrid_mesh"},
    "containers.neuralangelo": {"neuralangelo_train", "neuralangelo_mesh"},
}
NOTHING_STALE = {
    "scenes": "where the table is says nothing of what stands in it",
    "frames.target": "has no effect with frames.downsample, and is tried with it in a row of its own",
    "masks": "a video has none; photos are tried in a test of their own",
    "neuralangelo.stall_minutes": "how long to wait for a sign of life changes no result",
    "neuralangelo.source": "where the same programs come from; their checksum counts",
}
MILESTONES = "train.milestones"  # has rules of its own, below
APART, TOGETHER = {"sdfgrid_train", "sdfgrid_mesh"}, {"sdfgrid.train_and_mesh": "together"}
LEAVES = find_leaves(read_schema("config"))
ENGINES = LEAVES["engine"]["enum"]
GLOBAL = [key for key, leaf in LEAVES.items() if not is_column(leaf)]


def get_used(key: str) -> set[str]:
    return USES.get(key) or USES.get(key.split(".")[0], set())


def get_behind(rules: set[str], engine: str) -> set[str]:
    """Those of the rules that a scene of this engine has, and all that read what they make."""
    others = tuple(f"{other}_" for other in ENGINES if other != engine)
    found = {rule for rule in rules if not rule.startswith(others)}
    while more := {reader for rule in found for reader in READERS[rule] if not reader.startswith(others)} - found:
        found |= more
    return found


def get_expected(key: str, engine: str) -> set[str]:
    return get_behind(get_used(key), engine)


def get_other_value(key: str) -> Any:
    """An allowed value that is not the default, as a table cell."""
    leaf, default = LEAVES[key], LEAVES[key]["default"]
    if key.endswith((".warn", ".fail")):  # off, or the same as the check's other limit
        other = key[:-4] + ("fail" if key.endswith("warn") else "warn")
        return "null" if default is not None else LEAVES[other]["default"]
    if "enum" in leaf:
        return next(value for value in leaf["enum"] if value != default)
    if "examples" in leaf:
        example = leaf["examples"][0]
        return ",".join(map(str, example)) if isinstance(example, list) else example
    if isinstance(default, float | int):
        low, high = leaf.get("minimum", leaf.get("exclusiveMinimum")), leaf["maximum"]
        middle = default + 1 if default + 1 <= high else (low + default) / 2
        return middle if default != middle else high
    return leaf["maximum"]  # null by default


def get_row(scene: str, engine: str, **cells: Any) -> dict[str, Any]:
    return {"scene": scene, "video": "film.mp4", "engine": engine, **cells}


def get_changes() -> dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Scene -> the key that changes, the engine, the cells that change it, and those that the scene has before."""
    changes = {}
    keys = [key for key in LEAVES if key not in (*GLOBAL, "engine", MILESTONES)]
    for number, key in enumerate(keys):
        cells = {key: get_other_value(key)}
        if key in ("region.center", "region.radius"):
            cells = {"region.center": "0.1,-0.2,1.5", "region.radius": 0.8}
        if key in ("crop.center", "crop.radius"):
            cells = {"crop.method": "sphere", "crop.center": "0.1,-0.2,1.5", "crop.radius": 0.8}
        if key == "crop.box":
            cells = {"crop.method": "box", key: "[[-0.5, 0.5], [-0.4, 0.4], [0, 1.2]]"}
        if key.startswith("scale."):
            cells = {f"scale.{name}": LEAVES[f"scale.{name}"]["examples"][0] for name in ("distance", "from", "to")}
        if key == "deliver.formats":
            cells = {key: "obj,stl"}
        if key == "frames.select":
            cells |= {"frames.downsample": 2, key: "every"}
        section = key.split(".")[0]
        engine = section if section in ENGINES else ENGINES[number % 2]
        changes[f"{engine}-{number}"] = (key, engine, cells, {})
        if get_used(key) & {"sdfgrid_config", *APART}:
            changes[f"together-{number}"] = (key, "sdfgrid", cells, TOGETHER)
    return changes


CHANGES = get_changes()


def pretend(checkout: Checkout) -> None:
    """Make files in place of all results, and have them accepted: their content does not matter to a plan."""
    run = checkout.snakemake("--dry-run")
    assert run.returncode == 0, run.stdout
    for line in re.findall(r"^    output: (.*)$", run.stdout, re.MULTILINE):
        for name in line.split(", "):
            file = checkout.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
    accepted = checkout.accept()
    assert accepted.returncode == 0, accepted.stdout
    assert checkout.planned() == {}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A scene for each key, as if all of them had been run to their end."""
    checkout = Checkout.make(tmp_path_factory.mktemp("many") / "checkout")
    (checkout.folder / "film.mp4").write_text("a film")
    (checkout.folder / "masks").mkdir()
    (checkout.folder / "programs").mkdir()
    (checkout.folder / "programs" / "train.py").write_text("")
    checkout.configure(
        [get_row(scene, engine, **before) for scene, (_, engine, _, before) in CHANGES.items()], neuralangelo=SOURCE
    )
    pretend(checkout)
    return checkout


SOURCE = {"source": "programs"}


def test_a_key_makes_exactly_the_stages_stale_that_use_it_and_for_its_scene_only(many: Checkout) -> None:
    rows = [get_row(scene, engine, **before, **cells) for scene, (_, engine, cells, before) in CHANGES.items()]
    unchanged = [get_row(scene, engine, **before) for scene, (_, engine, _, before) in CHANGES.items()]
    many.configure(rows, neuralangelo=SOURCE)
    planned = many.planned_by_scene()
    many.configure(unchanged, neuralangelo=SOURCE)
    for scene, (key, engine, cells, before) in CHANGES.items():
        expected = get_expected(key, engine) if key not in NOTHING_STALE or len(cells) > 1 else set()
        if key == "frames.target":
            expected = get_expected("frames", engine)
        if key == "train.iterations":  # a training of another length is another file
            expected |= {f"{engine}_train", f"{engine}_mesh"}
        if before == TOGETHER and expected & APART:
            expected = expected - APART | {"sdfgrid_train_and_mesh"}
        assert set(planned.get(scene, ())) == expected, (key, engine, cells, before)


def test_every_key_has_its_stages_or_a_reason_why_it_has_none() -> None:
    without = [key for key in LEAVES if not get_used(key) and key not in (*NOTHING_STALE, "engine", MILESTONES)]
    assert without == []
    assert set(NOTHING_STALE) <= set(LEAVES)
    steps = {f"{engine}_{step}" for engine in ENGINES for step in ("config", "train", "mesh")}
    assert steps.union(*USES.values(), *READERS.values()) - set(READERS) == set(), "rules without an entry in READERS"


@pytest.fixture(scope="module")
def finished_two(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A scene for each engine with a milestone each, as if both had been run to their end. Copy it."""
    checkout = Checkout.make(tmp_path_factory.mktemp("two") / "checkout")
    (checkout.folder / "film.mp4").write_bytes(bytes(2_000_000))  # too large for a checksum in Snakemake's records
    (checkout.folder / "programs").mkdir()
    (checkout.folder / "programs" / "train.py").write_text("")
    checkout.configure(
        [get_row(engine, engine) for engine in ENGINES], neuralangelo=SOURCE, train={"milestones": [500]}
    )
    pretend(checkout)
    return checkout


@pytest.fixture
def two(finished_two: Checkout, tmp_path: Path) -> Checkout:
    return finished_two.copy(tmp_path / "checkout")


def configure_two(checkout: Checkout, **settings: Any) -> None:
    settings["neuralangelo"] = {**SOURCE, **settings.get("neuralangelo", {})}
    checkout.configure([get_row(engine, engine) for engine in ENGINES], train={"milestones": [500]}, **settings)


def test_a_key_for_all_scenes(two: Checkout) -> None:
    configure_two(two, neuralangelo={"checksum": "0" * 64})
    planned = {scene: set(rules) for scene, rules in two.planned_by_scene().items()}
    behind = get_expected("neuralangelo.checksum", "neuralangelo") - {"neuralangelo_source"} | {"deliver_preview"}
    assert planned == {"neuralangelo": behind}
    assert two.planned()["neuralangelo_source"] == 1
    configure_two(two)
    (two.folder / "table.tsv").rename(two.folder / "other.tsv")
    settings = yaml.safe_load((two.folder / "settings.yaml").read_text())
    (two.folder / "settings.yaml").write_text(yaml.safe_dump({**settings, "scenes": "other.tsv"}))
    assert two.planned() == {}


def test_masks_of_photos(tmp_path: Path) -> None:
    """Another setting, mask or file of poses: the photos are ingested again. A note beside them is none of that."""
    checkout = Checkout.make(tmp_path / "checkout")
    for file in ("photos/a.jpg", "photos/deep/b.png", "photos/notes.md", "masks/a.png"):
        (checkout.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (checkout.folder / file).write_text(file)
    row = {"scene": "lamp", "video": "photos", "masks": "masks"}
    checkout.configure([row])
    pretend(checkout)
    (checkout.folder / "photos/notes.md").write_text("other words")
    assert checkout.planned() == {}
    for file in ("photos/deep/b.png", "masks/a.png", "photos/transforms.json"):
        (checkout.folder / file).write_text(f"another {file}")
        assert {"ingest_photos", "frames", "poses", "deliver"} <= set(checkout.planned()), file
        assert checkout.accept().returncode == 0
    for cells in ({"masks": "ignore"}, {"poses.given": "ignore"}):
        checkout.configure([{**row, **cells}])
        assert "ingest_photos" in checkout.planned(), cells
    checkout.configure([{**row, "poses.given": "refine"}])
    assert "ingest_photos" not in checkout.planned()


def test_clips_of_a_folder(tmp_path: Path) -> None:
    """A changed, new or removed clip makes the scene stale. What ingest leaves out does not."""
    checkout = Checkout.make(tmp_path / "checkout")
    for file in ("clips/a.mp4", "clips/deep/b.MOV", "clips/poster.jpg", "front.mp4", "back.mp4"):
        (checkout.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (checkout.folder / file).write_text(file)
    checkout.configure([{"scene": "lamp", "video": "clips"}, {"scene": "chair", "video": "front.mp4;back.mp4"}])
    pretend(checkout)
    (checkout.folder / "clips/poster.jpg").write_text("other words")
    assert checkout.planned() == {}
    changes = {"clips/deep/b.MOV": "lamp", "clips/c.mkv": "lamp", "back.mp4": "chair"}
    for file, scene in changes.items():
        (checkout.folder / file).write_text(f"another {file}")
        planned = checkout.planned_by_scene()
        assert set(planned) == {scene} and {"ingest_clips", "frames", "deliver"} <= set(planned[scene]), file
        assert checkout.accept().returncode == 0
    (checkout.folder / "clips/a.mp4").unlink()
    assert "ingest_clips" in checkout.planned()


REGION = {"center": [0, 0, 1], "radius": 0.8}
ADD_ON = {"sphere_center": [0, 0, 1], "sphere_radius": 0.8, "frames": []}
CROP = {"method": "box", "center": [0, 0, 1], "size": [1, 2, 3], "rotation": [0, -1, 0, 1, 0, 0, 0, 0, 1]}


def test_a_region_and_a_crop_in_one_file_make_only_their_own_stages_stale(two: Checkout) -> None:
    """In our own small file (sdfgrid), and in a transforms.json of Blender's add-on (neuralangelo)."""

    def write(region: float, **crop: Any) -> None:
        (two.folder / "config/regions").mkdir(exist_ok=True)
        own = {**REGION, "radius": region, **crop}
        of_add_on = {**ADD_ON, "sphere_radius": region, **crop}
        for engine, content in (("sdfgrid", own), ("neuralangelo", of_add_on)):
            (two.folder / f"config/regions/{engine}.json").write_text(json.dumps(content))

    def planned() -> dict[str, set[str]]:
        return {scene: set(rules) for scene, rules in two.planned_by_scene().items()}

    after_region = {engine: get_behind({"region"}, engine) | {"deliver_preview"} for engine in ENGINES}
    after_crop = {engine: get_behind({f"{engine}_mesh"}, engine) | {"deliver_preview"} for engine in ENGINES}
    write(0.8)
    assert planned() == after_region
    assert two.accept().returncode == 0
    write(0.8, crop=CROP)
    assert planned() == after_crop
    assert two.accept().returncode == 0
    write(0.9, crop=CROP)
    assert planned() == after_region
    write(0.8, crop=CROP)  # the same again, with a new date
    assert planned() == {}
    write(0.8, crop={**CROP, "size": [1, 2, 4]})
    assert planned() == after_crop
    (two.folder / "config/regions/sdfgrid.json").write_text('{"crop": {"method": "cube"}}')
    run = two.snakemake("--dry-run")
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert "configuration: 1 error" in run.stdout and "config/regions/sdfgrid.json: crop is" in run.stdout


def test_an_image_counts_where_it_is_used(two: Checkout, tmp_path: Path) -> None:
    """The same steps run without containers on this machine."""
    images = {name: f"example/{name}:2" for name in ("colmap", "pytorch", "neuralangelo")}
    configure_two(two, containers=images)
    assert two.planned() == {}
    (tmp_path / "apptainer").write_text("#!/bin/sh\necho apptainer version 1.3.0\n")
    (tmp_path / "apptainer").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    apptainer = ["--software-deployment-method", "apptainer"]
    assert two.accept(*apptainer, **path).returncode == 0
    assert two.planned(*apptainer, **path) == {}
    for name in images:
        configure_two(two, containers={**images, name: "example/other:3"})
        planned = two.planned_by_scene(*apptainer, **path)
        for engine in ENGINES:
            expected = get_expected(f"containers.{name}", engine)
            assert set(planned.get(engine, ())) - {"deliver_preview"} == expected, (name, engine)


CONDA = """\
#!/bin/sh
case "$*" in
    *version*) echo conda 25.1.0 ;;
    *) echo '{"platform": "linux-64", "conda_prefix": "/none", "get": {"channel_priority": "strict"}}' ;;
esac
"""


def test_a_conda_environment_counts_where_it_is_used(two: Checkout, tmp_path: Path) -> None:
    (tmp_path / "conda").write_text(CONDA)
    (tmp_path / "conda").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    conda = ["--software-deployment-method", "conda"]
    assert two.accept(*conda, **path).returncode == 0
    environment = two.folder / "envs" / "sdfgrid.yaml"
    environment.write_text(f"{environment.read_text()}  - example\n")
    behind = {"sdfgrid_train", "sdfgrid_mesh", "web_mesh", "deliver", "deliver_preview"} | PAGE
    planned = two.planned_by_scene(*conda, **path)
    assert {scene: set(rules) for scene, rules in planned.items()} == {"sdfgrid": behind}


def test_a_conda_environment_counts_nowhere_else(two: Checkout) -> None:
    for file in (two.folder / "envs").iterdir():
        file.rename(file.with_stem(f"{file.stem}-2"))
    for file in (two.folder / "rules").glob("*.smk"):
        file.write_text(re.sub(r"(envs/\w+)\.yaml", r"\1-2.yaml", file.read_text()))
    assert two.planned() == {}


def change(checkout: Checkout, file: str, old: str, new: str) -> dict[str, set[str]]:
    """What is planned with a change of a program; and the change is undone."""
    path = checkout.folder / file
    text = path.read_text()
    assert text.count(old) >= 1, (file, old)
    path.write_text(text.replace(old, new, 1))
    planned = {scene: set(rules) for scene, rules in checkout.planned_by_scene().items()}
    path.write_text(text)
    return planned


def test_programs_count_by_what_they_do_through_real_imports(two: Checkout) -> None:
    begin = "import "
    assert change(two, "src/videomesh/files.py", begin, "# Files are dear to us.\nimport ") == {}
    assert change(two, "src/videomesh/errors.py", '"""', '"""Errors, and more. ') == {}
    assert change(two, "scripts/gate.py", begin, "import this\nimport ") == {
        engine: {"gate", "gate_decision"} | PAGE for engine in ENGINES
    }
    sdfgrid = get_behind({"sdfgrid_config", "sdfgrid_train", "sdfgrid_mesh"}, "sdfgrid") | {"deliver_preview"}
    neuralangelo = get_behind({"neuralangelo_train", "neuralangelo_mesh"}, "neuralangelo") | {"deliver_preview"}
    assert change(two, "src/sdfgrid/__main__.py", begin, "import this\nimport ") == {"sdfgrid": sdfgrid}
    trainer = change(two, "src/sdfgrid/trainer.py", begin, "import this\nimport ")
    assert set(trainer) == {"sdfgrid"} and "sdfgrid_train" in trainer["sdfgrid"]
    wandb = change(two, "src/neuralangelo_engine/standins/wandb.py", begin, "import this\nimport ")
    assert wandb == {"neuralangelo": neuralangelo}
    meshing = change(two, "src/videomesh/meshing/sparse_mesh.py", begin, "import this\nimport ")
    behind = {"web_mesh", "deliver", "deliver_preview"} | PAGE
    assert meshing == {engine: {f"{engine}_mesh"} | behind for engine in ENGINES}


def test_results_are_accepted_by_stage_and_scene(two: Checkout) -> None:
    rows = [get_row(engine, engine, **{"crop.method": "none", "frames.max_size": 800}) for engine in ENGINES]
    two.configure(rows, neuralangelo=SOURCE, train={"milestones": [500]})
    run = two.accept("--stages", "mesh", "frames", "--scenes", "sdfgrid")
    assert run.returncode == 0 and run.stdout.count("accepted (parameters)") == 3, run.stdout
    assert set(two.planned_by_scene()) == set(ENGINES) - {"sdfgrid"}
    run = two.accept()
    assert run.returncode == 0, run.stdout
    assert two.planned() == {}
    for words in (["--stages", "meshes"], ["--scenes", "sdfgird"]):
        run = two.accept(*words)
        assert run.returncode == 1 and "Did you mean" in run.stdout and "Traceback" not in run.stdout


def test_a_newer_input_is_accepted_and_what_is_missing_or_half_written_is_not(two: Checkout) -> None:
    (two.folder / "film.mp4").touch()
    assert {"ingest_video", "deliver"} <= set(two.planned())
    assert two.accept("--stages", "ingest").returncode == 0
    assert two.planned() == {}
    missing = two.folder / "results/sdfgrid/mesh/3000/mesh.glb"
    missing.unlink()
    run = two.accept()
    assert "there is nothing to accept" in run.stdout and str(missing.name) in run.stdout
    assert two.planned("results/sdfgrid/mesh/3000/mesh.glb") == {"web_mesh": 1}


def test_a_limit_of_the_gate_hides_no_other_reason(two: Checkout) -> None:
    """ancient() alone would: Snakemake looks for no reason of a job behind one that runs."""
    rows = [get_row(engine, engine, **{"gate.track_length.warn": 2.5}) for engine in ENGINES]
    two.configure(rows, neuralangelo=SOURCE, train={"milestones": [500]})
    gate = {"gate", "gate_decision"} | PAGE
    assert {scene: set(rules) for scene, rules in two.planned_by_scene().items()} == dict.fromkeys(ENGINES, gate)
    for engine in ENGINES:  # as after a verdict of "no"
        (two.folder / f"results/{engine}/gate/gate.pass").unlink()
    assert {scene: set(rules) for scene, rules in two.planned_by_scene().items()} == dict.fromkeys(ENGINES, gate)
    rows = [{**row, "mesh.resolution": 300} for row in rows]
    two.configure(rows, neuralangelo=SOURCE, train={"milestones": [500]})
    for engine, rules in two.planned_by_scene().items():
        assert set(rules) == gate | {f"{engine}_mesh", "web_mesh", "deliver", "deliver_preview"}
    two.configure(rows, neuralangelo=SOURCE, train={"milestones": [500], "seed": 3})
    for engine, rules in two.planned_by_scene().items():
        assert gate | get_expected("train.seed", engine) <= set(rules)


def test_formats_that_are_asked_for_follow_the_mesh(two: Checkout) -> None:
    def plan(**cells: Any) -> dict[str, set[str]]:
        rows = [get_row(engine, engine, **{"deliver.formats": "obj,stl"}, **cells) for engine in ENGINES]
        two.configure(rows, neuralangelo=SOURCE, train={"milestones": [500]})
        return {scene: set(rules) for scene, rules in two.planned_by_scene().items()}

    assert plan() == {engine: {"deliver_obj", "deliver_stl"} for engine in ENGINES}
    for engine in ENGINES:
        for suffix in ("obj", "mtl", "jpg", "stl"):
            (two.folder / f"deliver/{engine}/mesh.{suffix}").write_text(suffix)
    assert two.accept().returncode == 0
    assert plan() == {}
    picture = {"web_mesh", "deliver", "deliver_obj"} | PAGE
    assert plan(**{"mesh.texture_size": 2048}) == dict.fromkeys(ENGINES, picture), "a preview has no picture"
    for change in ({"mesh.unseen": "close"}, {"mesh.refine": "never"}):
        assert plan(**change)["sdfgrid"] == picture | {"sdfgrid_mesh", "deliver_stl", "deliver_preview"}


def test_a_mesh_without_a_picture_needs_no_frames(two: Checkout) -> None:
    configure_two(two, mesh={"texture_size": 0})
    run = two.snakemake("--dry-run", "results/sdfgrid/mesh/3000/mesh.glb", "results/sdfgrid/mesh/500/mesh.glb")
    assert "images.tar" not in run.stdout and run.stdout.count("rule web_mesh") == 1, "the preview is as it was"
    configure_two(two)
    run = two.snakemake("--dry-run", "--forcerun", "web_mesh", "results/sdfgrid/mesh/3000/mesh.glb")
    assert "images.tar" in run.stdout


def test_targets_by_name(two: Checkout) -> None:
    """--until would end in an error of Snakemake's, as milestones are trained by one rule."""
    engines = {f"{engine}_{step}" for engine in ENGINES for step in ("train", "mesh")}
    captures = two.planned("captures", "--forceall")
    assert {"frames", "poses", "gate_decision"} <= set(captures) and not engines & set(captures)
    meshes = two.planned("meshes", "--forceall")
    assert engines <= set(meshes) and meshes["deliver"] == len(ENGINES) and "deliver_preview" not in meshes
    previews = two.planned("previews", "--forceall")
    assert previews["deliver_preview"] == len(ENGINES) and "deliver" not in previews
    assert set(two.planned_by_scene("deliver/sdfgrid/mesh.ply", "--forceall")) == {"sdfgrid"}


def test_the_workflow_runs_from_any_folder_and_the_checkout_may_lie_anywhere(two: Checkout, tmp_path: Path) -> None:
    """A project of two folders' checkouts: what one made, the other finds up to date."""
    project = Checkout(tmp_path / "project")
    (project.folder / "config").mkdir(parents=True)
    for name in ("config/config.yaml", "config/scenes.tsv"):
        (project.folder / name).write_bytes((ROOT / name).read_bytes())
    (project.folder / "config/scenes.tsv").write_text("scene\tvideo\nfilm\tfilms/tractor.mp4\n")
    (project.folder / "films").mkdir()
    (project.folder / "films/tractor.mp4").write_bytes(DEMO.read_bytes())
    target = "results/film/frames/frames.json"
    for folder in (two.folder, ROOT):
        places = ["-s", f"{folder}/Snakefile", "-d", str(project.folder), "--profile", f"{folder}/profiles/local"]
        run = two.run([*places, target])
        assert run.returncode == 0, run.stdout
        assert (project.folder / target).exists()
        assert ("Nothing to be done" in run.stdout) == (folder == ROOT), run.stdout
    assert not (two.folder / target).exists()


MODULE = """\
module meshes:
    snakefile:
        "{snakefile}"
    config:
        config["meshes"]

use rule * from meshes as meshes_*

rule count:
    default_target: True
    input:
        "results/film/frames/frames.tar",
    output:
        "count.txt",
    shell:
        "tar -tf {{input}} | wc -l > {{output}}"
"""


def test_the_workflow_is_a_module_of_another(tmp_path: Path) -> None:
    project = Checkout(tmp_path)
    (tmp_path / "Snakefile").write_text(MODULE.format(snakefile=ROOT / "Snakefile"))
    (tmp_path / "table.tsv").write_text(f"scene\tvideo\nfilm\t{DEMO}\n")
    settings = {"meshes": {"scenes": "table.tsv", "frames": {"target": 20, "max_size": 200}}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    arguments = ["--cores", "2", "--configfile", "settings.yaml"]
    run = project.run(arguments)
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "count.txt").read_text().strip() == "20"
    assert "Nothing to be done" in project.run([*arguments, "--dry-run"]).stdout


def test_a_folder_without_a_configuration_says_what_to_do(two: Checkout, tmp_path: Path) -> None:
    run = two.run(["-s", f"{ROOT}/Snakefile", "-d", str(tmp_path / "new"), "--cores", "1", "-n"])
    assert run.returncode == 1 and "Traceback" not in run.stdout
    assert "config/config.yaml: there is no such file" in run.stdout
