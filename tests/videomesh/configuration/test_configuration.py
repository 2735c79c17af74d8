"""The configuration: what it gives to the rules, and what it says when something in it is wrong."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkout import ROOT
from videomesh.configuration.files import check_files, read_config
from videomesh.configuration.load import find_unused_regions, load_scenes
from videomesh.configuration.schema import find_leaves, read_schema
from videomesh.configuration.words import allowed, show
from videomesh.errors import ConfigurationError

CONFIG, TABLE = "config/config.yaml", "config/scenes.tsv"
HEADER = "scene\tvideo"
ROW = "lamp\tvideos/lamp.mp4"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one good scene; the test changes what it is about."""
    for name in ("videos/lamp.mp4", "videos/chair.mov", "photos/IMG_1.JPG", "notes/todo.txt"):
        write(tmp_path / name, "content")
    write(tmp_path / "videos/empty.mp4", "")
    write(tmp_path / "resources/videos/lamp.mp4", "content")
    write(tmp_path / CONFIG, "scenes: config/scenes.tsv\n")
    write(tmp_path / TABLE, f"{HEADER}\n{ROW}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/configuration.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def load(*files: str) -> dict[str, Any]:
    paths = [Path(file) for file in files or (CONFIG,)]
    return load_scenes(read_config(paths), paths)


def errors() -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load()
    header, *lines = str(caught.value).split("\n")
    assert header == f"configuration: {len(lines)} error{'s' if len(lines) > 1 else ''}"
    assert all(line.startswith("  ") and line.endswith((".", "?")) for line in lines)
    return [line.strip() for line in lines]


def cell(column: str, text: str) -> str:
    return f"{HEADER}\t{column}\n{ROW}\t{text}\n"


BAD = yaml.safe_load(Path(__file__).with_name("errors.yaml").read_text())


@pytest.mark.parametrize("bad", BAD, ids=[bad["name"].replace(" ", "-") for bad in BAD])
def test_a_bad_input_gives_one_error_with_place_value_and_remedy(bad: dict[str, str]) -> None:
    for key, file in (("config", CONFIG), ("table", TABLE)):
        if key in bad:
            write(Path(file), bad[key].replace("→", "\t"))
    assert errors() == [bad["error"].replace("FOLDER", str(Path.cwd()))]


@pytest.mark.parametrize(
    ("file", "content", "advice"),
    [
        (CONFIG, b"engine: sdfgrid # caf\xe9", "Save it as UTF-8 in your editor."),
        (TABLE, b"PK\x03\x04\xff\x00\xfe", "In a spreadsheet program, save it as tab-separated text in UTF-8."),
    ],
)
def test_a_file_that_is_no_text(file: str, content: bytes, advice: str) -> None:
    write(Path(file), content)
    assert errors() == [f"{file}: this is not text in UTF-8. {advice}"]


ODD = [
    None,
    True,
    -1,
    2.5,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "x",
    "1e400",
    "1,2",
    "٣",
    [],
    [1, [2]],
    [None],
    {"a": 1},
]


def test_all_errors_come_at_once_in_the_order_of_the_files() -> None:
    write(Path(CONFIG), "mesh:\n  crop: 2\ntrane: {}\n")
    write(Path(TABLE), f"{HEADER}\ttrain.seed\tcolour\n{ROW}\tx\tred\nlamp\tvideos/none.mp4\t1\n")
    places = [re.sub(r": .*", "", error) for error in errors()]
    assert places == [
        f"{CONFIG} line 2, mesh.crop",
        f"{CONFIG} line 3, trane",
        f"{TABLE} line 1, column colour",
        f"{TABLE} line 2, column train.seed",
        f"{TABLE} line 3, column scene",
        f"{TABLE} line 3, column video",
    ]


def test_an_error_that_all_scenes_inherit_is_said_once() -> None:
    write(Path(CONFIG), "region: {radius: 2}\n")
    write(Path(TABLE), f"{HEADER}\n{ROW}\nchair\tvideos/chair.mov\n")
    assert len(errors()) == 1


def test_an_invalid_value_causes_no_second_error() -> None:
    write(Path(TABLE), f"{HEADER}\ttrain.iterations\ttrain.milestones\n{ROW}\t9k\t5000\n")
    (error,) = errors()
    assert "9k" in error


@given(
    st.lists(
        st.sampled_from(["\t", "\n", "\r", '"', "#", ",", " ", "lamp", "videos/lamp.mp4", "0,5", "\0", "\u2028", "é"])
    )
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_table_makes_a_traceback(parts: list[str]) -> None:
    write(Path(TABLE), f"{HEADER}\tmesh.crop\n{''.join(parts)}")
    with contextlib.suppress(ConfigurationError):
        load()


@given(st.sampled_from(sorted(find_leaves(read_schema("config")))), st.sampled_from(ODD))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_is_refused_or_fits_the_schema(key: str, value: Any) -> None:
    *sections, name = key.split(".")
    config: dict[str, Any] = {name: value}
    for section in reversed(sections):
        config = {section: config}
    with contextlib.suppress(ConfigurationError):
        lamp = load_scenes(config)["lamp"]
        del lamp["video"]
        jsonschema.validate(lamp, read_schema("config"))


# --- what it gives ----------------------------------------------------------------------------------------------------


def test_defaults_then_files_then_row() -> None:
    write(Path(CONFIG), "train: {iterations: 500, seed: 3}\n")
    write(Path("more.yaml"), "train: {seed: 4}\nregion:\n")
    columns = "train.iterations\tregion.center\tregion.radius\ttrain.milestones\tgate.models.warn\tframes.downsample"
    write(Path(TABLE), f"{HEADER}\t{columns}\n{ROW}\t700\t1,-2,3.5\t2\t100,200\tnull\t3\nchair\tvideos/chair.mov\n")
    scenes = load(CONFIG, "more.yaml")
    lamp, chair = scenes["lamp"], scenes["chair"]
    assert list(scenes) == ["lamp", "chair"]
    assert (lamp["video"], chair["video"]) == ("videos/lamp.mp4", "videos/chair.mov")
    assert lamp["train"] == {"iterations": 700, "milestones": [100, 200], "seed": 4}
    assert chair["train"] == {"iterations": 500, "milestones": [], "seed": 4}
    assert (lamp["region"]["center"], lamp["region"]["radius"]) == ([1, -2, 3.5], 2)
    assert (lamp["gate"]["models"], chair["gate"]["models"]) == (
        {"warn": None, "fail": None},
        {"warn": 1, "fail": None},
    )
    assert (lamp["frames"]["downsample"], chair["frames"]["downsample"]) == (3, None)
    assert "scenes" not in lamp


def test_every_scene_has_every_setting() -> None:
    expected = yaml.safe_load((ROOT / CONFIG).read_text())
    del expected["scenes"]
    assert load()["lamp"] == {"video": "videos/lamp.mp4", **expected}


def test_cells_take_back_what_the_configuration_sets() -> None:
    write(Path(CONFIG), "frames: {downsample: 2}\ntrain: {milestones: [100]}\n")
    write(Path(TABLE), f"{HEADER}\tframes.downsample\ttrain.milestones\n{ROW}\tnull\t[]\n")
    lamp = load()["lamp"]
    assert (lamp["frames"]["downsample"], lamp["train"]["milestones"]) == (None, [])


def test_whole_numbers_are_integers_however_they_are_written() -> None:
    write(Path(CONFIG), "train: {iterations: 1e3, seed: 5.0}\n")
    write(Path(TABLE), cell("mesh.resolution", "128.0"))
    lamp = load()["lamp"]
    values = lamp["train"]["iterations"], lamp["train"]["seed"], lamp["mesh"]["resolution"]
    assert values == (1000, 5, 128)
    assert all(type(value) is int for value in values)


def test_values_from_the_command_line_are_text_and_have_their_own_place() -> None:
    config = {"train": {"iterations": "400", "milestones": ["100"]}, "frames": {"downsample": "null"}}
    assert load_scenes(config)["lamp"]["train"]["milestones"] == [100]
    with pytest.raises(ConfigurationError, match=r"--config, train.iterations: x is not allowed"):
        load_scenes({"train": {"iterations": "x"}}, [CONFIG])


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}\n".replace("\n", "\r\n"),
        f"{HEADER}\n{ROW}".replace("\n", "\r"),
        f"{HEADER}\n{ROW}\n".encode("utf-16"),
        f"# comment\n\n {HEADER} \t\n#chair\tx\n\t\t\n lamp \t videos/lamp.mp4  \t\t\n",
        '"# comment, quoted"\n"scene"\t"video"\n"lamp"\t"videos/lamp.mp4"\n',
        f"{HEADER}\ttrain.seed\n{ROW}\n",
    ],
    ids=["bom", "crlf", "cr", "utf-16", "untidy", "quotes", "trimmed"],
)
def test_tables_as_editors_and_spreadsheet_programs_save_them(content: str | bytes) -> None:
    write(Path(TABLE), content)
    scenes = load()
    assert list(scenes) == ["lamp"]
    assert scenes["lamp"]["video"] == "videos/lamp.mp4"


def test_every_kind_of_source_is_accepted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    write(Path("photos.zip"), "PK")
    write(Path("a #1 & more.mp4"), "content")
    sources = ["videos/lamp.mp4", str(folder / "videos/lamp.mp4"), "~/videos/lamp.mp4", "photos", "photos.zip"]
    sources += ["a #1 & more.mp4", "https://example.com/a.mp4?token=1#t", "http://127.0.0.1:8000/a.mp4"]
    sources += ["s3://bucket/folder/a.mp4", "gdrive://1a2B3c_4d-5E"]
    write(Path(TABLE), "\n".join([HEADER, *(f"scene-{n}\t{source}" for n, source in enumerate(sources))]))
    videos = [settings["video"] for settings in load().values()]
    assert videos == [source.replace("~", str(folder)) for source in sources]


def test_a_region_without_a_scene_is_a_warning() -> None:
    for name in ("lamp", "lamps"):
        write(Path(f"config/regions/{name}.json"), "{}")
    (warning,) = find_unused_regions(load())
    assert "config/regions/lamps.json" in warning and "Did you mean lamp?" in warning
    run = program()
    assert run.returncode == 0
    assert run.stderr == f"warning: {warning}\n"


# --- the program, and Snakemake ---------------------------------------------------------------------------------------


def test_the_program_prints_each_setting_and_where_it_was_set() -> None:
    write(Path("more.yaml"), "# mine\ntrain: {seed: 4}\n")
    write(Path(TABLE), cell("mesh.resolution", "128"))
    run = program("--config", CONFIG, "more.yaml")
    assert (run.returncode, run.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in run.stdout.splitlines()]
    assert lines[0] == ["lamp"]
    assert ["video", "videos/lamp.mp4", f"{TABLE} line 2"] in lines
    assert ["mesh.resolution", "128", f"{TABLE} line 2"] in lines
    assert ["train.seed", "4", "more.yaml line 2"] in lines
    assert ["train.iterations", "3000", "default"] in lines


def test_the_program_prints_the_errors_and_nothing_else() -> None:
    write(Path(TABLE), f"{HEADER}\nlamp\tvideos/lanp.mp4\n")
    run = program()
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "configuration: 1 error\n"
        f"  {TABLE} line 2, column video: videos/lanp.mp4: there is no such file or folder. "
        "Did you mean videos/lamp.mp4?\n"
    )


def test_a_missing_configuration_file() -> None:
    run = program("--config", "config/confg.yaml")
    assert run.returncode == 1
    assert "config/confg.yaml: there is no such file. Did you mean config/config.yaml?" in run.stderr
    with pytest.raises(ConfigurationError, match="no such file"):
        check_files([CONFIG, "none.yaml"])


SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for part in ("Snakefile", "rules", "scripts", "src", "config/schemas"):
        source, target = ROOT / part, folder / part
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    command = [str(SNAKEMAKE), "--dry-run", "--cores", "1", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_snakemake_shows_only_the_errors(folder: Path) -> None:
    write(Path(CONFIG), "train: {iterations: 3k}\n")
    write(Path(TABLE), f"{HEADER}\nlamp\tvideos/lanp.mp4\n")
    run = snakemake(folder)
    assert run.returncode == 1
    header, *lines = (run.stdout + run.stderr).splitlines()
    assert header == "configuration: 2 errors"
    assert len(lines) == 2
    assert "train.iterations: 3k is not allowed" in lines[0]
    assert lines[1].startswith(f"  {TABLE} line 2, column video: ")


# --- schemas and documentation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config", "scenes"])
def test_schemas_are_strict_and_explain_every_key(name: str) -> None:
    schema = read_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"

    def check(node: dict[str, Any]) -> None:
        assert node["additionalProperties"] is False
        for child in node["properties"].values():
            assert child["description"]
            if "properties" in child:
                check(child)

    check(schema)


def test_the_shipped_configuration_holds_every_key_with_its_default() -> None:
    shipped = yaml.safe_load((ROOT / CONFIG).read_text())
    leaves = find_leaves(read_schema("config"))
    for key, leaf in leaves.items():
        value = shipped
        for part in key.split("."):
            value = value[part]
        assert value == leaf["default"], key
        jsonschema.validate(leaf["default"], leaf)
    jsonschema.validate(shipped, read_schema("config"))  # nothing else is in it


def test_a_fresh_clone_runs_and_the_demo_is_its_only_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shipped, demo = load(), load(CONFIG, "config/demo/config.yaml")
    # The same results: the demo after `make demo`, and the other way round, is not computed again.
    assert shipped == demo
    assert demo["tractor"]["video"] == "config/demo/tractor.mp4"
    assert demo["tractor"]["frames"]["target"] == 48


def test_the_gate_has_the_limits_of_its_program() -> None:
    gate = pytest.importorskip("gate")
    checks = {
        name: check
        for name, check in read_schema("config")["properties"]["gate"]["properties"].items()
        if name != "mode"
    }
    found = {
        name: (check["properties"]["warn"]["default"], check["properties"]["fail"]["default"], check["worse"])
        for name, check in checks.items()
    }
    assert found == {name: (limit.warn, limit.fail, limit.worse) for name, limit in gate.LIMITS.items()}


def test_the_readme_lists_every_key() -> None:
    text = (ROOT / "config/README.md").read_text()
    tables = text.split("## Settings")[1].split("## Files here")[0]
    rows = [line for line in tables.splitlines() if line.startswith("| `")]
    assert rows == readme_rows(), "copy these rows into config/README.md:\n" + "\n".join(readme_rows())


def readme_rows() -> list[str]:
    """The rows of the tables in config/README.md: settings, and the checks of the gate with both limits in one row."""
    schema = read_schema("config")
    rows = []
    for key, leaf in find_leaves(schema).items():
        if key.count(".") < 2:
            rows.append(f"| `{key}` | {show(leaf['default'])} | {allowed(leaf)} | {leaf['description']} |")
    for name, check in schema["properties"]["gate"]["properties"].items():
        if "worse" in check:
            warn, fail = (show(check["properties"][level]["default"]) for level in ("warn", "fail"))
            rows.append(f"| `{name}` | {warn} | {fail} | {check['worse']} | {check['description']} |")
    return rows
