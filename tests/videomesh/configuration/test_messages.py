"""What is said about a wrong configuration: one line a problem, with place, value, what is allowed, the next step."""

import contextlib
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settings_folder import CONFIG, HEADER, ROW, TABLE, load, load_errors, write
from videomesh.configuration.files import check_files
from videomesh.configuration.load import load_scenes
from videomesh.configuration.schema import find_leaves, read_schema
from videomesh.configuration.table import SAVE_AS_TEXT
from videomesh.errors import ConfigurationError

BAD = yaml.safe_load(Path(__file__).with_name("errors.yaml").read_text())


@pytest.mark.parametrize("bad", BAD, ids=[bad["name"].replace(" ", "-") for bad in BAD])
def test_a_bad_input_gives_one_error_with_place_value_and_remedy(bad: dict[str, str]) -> None:
    for key, file in (("config", CONFIG), ("table", TABLE)):
        if key in bad:
            write(file, bad[key].replace("→", "\t"))
    assert load_errors() == [
        re.sub(r"<names(?: of (\w+))?>", list_names, bad["error"]).replace("FOLDER", str(Path.cwd()))
    ]


def list_names(section: re.Match[str]) -> str:
    names = read_schema("config")["properties"]
    return ", ".join(sorted(names[section[1]]["properties"] if section[1] else names))


@pytest.mark.parametrize(
    ("file", "content", "advice"),
    [
        (CONFIG, b"engine: sdfgrid # caf\xe9", "Save it as UTF-8 in your editor."),
        (TABLE, b"scene\tvideo\nlamp\tvideos/caf\xe9.mp4", SAVE_AS_TEXT),
    ],
)
def test_a_file_that_is_no_text(file: str, content: bytes, advice: str) -> None:
    write(file, content)
    assert load_errors() == [f"{file}: this is not text in UTF-8. {advice}"]


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04\xff\x00\xfe", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"], ids=["xlsx", "xls"]
)
def test_a_workbook_as_a_table(content: bytes) -> None:
    """Excel's choice with Unicode in its name gives tab-separated text in UTF-16, which is read."""
    write(TABLE, content)
    (error,) = load_errors()
    assert error == f"{TABLE}: this is a workbook of a spreadsheet program, not text. {SAVE_AS_TEXT}"
    assert "Unicode Text (*.txt)" in error


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
    write(CONFIG, "mesh:\n  min_component: 2\ntrane: {}\n")
    write(TABLE, f"{HEADER}\ttrain.seed\tcolour\n{ROW}\tx\tred\nlamp\tvideos/none.mp4\t1\n")
    places = [re.sub(r": .*", "", error) for error in load_errors()]
    assert places == [
        f"{CONFIG} line 2, mesh.min_component",
        f"{CONFIG} line 3, trane",
        f"{TABLE} line 1, column colour",
        f"{TABLE} line 2, column train.seed",
        f"{TABLE} line 3, column scene",
        f"{TABLE} line 3, column video",
    ]


def test_an_error_that_all_scenes_inherit_is_said_once() -> None:
    write(CONFIG, "region: {radius: 2}\n")
    write(TABLE, f"{HEADER}\n{ROW}\nchair\tvideos/chair.mov\n")
    assert len(load_errors()) == 1


def test_an_invalid_value_causes_no_second_error() -> None:
    write(TABLE, f"{HEADER}\ttrain.iterations\ttrain.milestones\n{ROW}\t9k\t5000\n")
    (error,) = load_errors()
    assert "9k" in error


@given(
    st.lists(
        st.sampled_from(["\t", "\n", "\r", '"', "#", ",", " ", "lamp", "videos/lamp.mp4", "0,5", "\0", "\u2028", "é"])
    )
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_table_makes_a_traceback(parts: list[str]) -> None:
    write(TABLE, f"{HEADER}\tmesh.resolution\n{''.join(parts)}")
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


def test_a_missing_configuration_file() -> None:
    with pytest.raises(
        ConfigurationError, match=r"config/confg\.yaml: there is no such file\. Did you mean config/config"
    ):
        check_files(["config/confg.yaml"])
    with pytest.raises(ConfigurationError, match=r"none\.yaml: there is no such file"):
        check_files([CONFIG, "none.yaml"])


def test_a_folder_without_a_configuration_says_where_to_get_one(folder: Path) -> None:
    Path(CONFIG).unlink()
    Path(TABLE).unlink()
    with pytest.raises(ConfigurationError) as caught:
        check_files([CONFIG])
    (error,) = caught.value.errors
    assert f"Paths begin at the working folder, {folder}." in error
    shipped = re.search(r"Copy (\S+) there", error)
    assert shipped and Path(shipped[1]).is_file()


def test_a_folder_without_a_table_says_where_it_is_looked_for(folder: Path) -> None:
    Path(TABLE).unlink()
    with pytest.raises(ConfigurationError) as caught:
        load_scenes({})
    assert caught.value.errors == [
        f"default, scenes: there is no file config/scenes.tsv. Paths begin at the working folder, {folder}. "
        "Write the path of your table."
    ]
