"""The table of scenes: one row a scene, tab-separated. Its columns are scene, video, and settings by their keys."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from videomesh.configuration.schema import Leaves, find_former, is_column, read_schema
from videomesh.configuration.values import INVALID, Setting, Settings, check_value, is_valid
from videomesh.configuration.words import show, show_path, suggest_file, where_paths_begin
from videomesh.errors import suggest
from videomesh.sources import resolve

WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, .xls
SAVE_AS_TEXT = (
    'In Excel, save it as "Unicode Text (*.txt)" and name that file. In other spreadsheet programs, save it as '
    "tab-separated text in UTF-8."
)
SEPARATORS = {",": "commas", ";": "semicolons", " ": "spaces"}


def read_rows(table: Setting, leaves: Leaves) -> tuple[dict[str, Settings], list[str]]:
    """Scene name -> the settings of its row, "video" first. Also all errors of the table."""
    file = Path(table.value)
    lines, errors = read_lines(file, table.place)
    if errors:
        return {}, errors
    header_line, *row_lines = lines
    columns, errors = check_header(lines[header_line], f"{show_path(file)} line {header_line}", leaves)
    rows: dict[str, Settings] = {}
    line_of: dict[str, int] = {}  # by scene name
    for line in row_lines:
        place = f"{show_path(file)} line {line}"
        cells, cell_errors = match_cells(columns, lines[line], place)
        settings, value_errors = check_row(cells, columns, place, leaves)
        errors += cell_errors + value_errors
        name = cells.get("scene", f"line {line}")
        if name in line_of:
            errors.append(
                f"{place}, column scene: {show(name)} is the name of line {line_of[name]} already. "
                f"Give each scene a different name, for example {name}-2."
            )
            name = f"line {line}"  # the other cells are checked all the same
        line_of[name] = line
        rows[name] = settings
    if not row_lines:
        advice = "Write a line with a name, a tab and the path of a video."
        errors.append(f"{show_path(file)} line {header_line}: there is no scene below the column names. {advice}")
    return rows, errors


def read_lines(file: Path, place: str) -> tuple[dict[int, list[str]], list[str]]:
    """Line number -> cells, the column names first, without comments and empty lines. Or the error."""
    text, errors = read_text(file, place)
    if errors:
        return {}, errors
    numbered = enumerate(text.split("\n"), start=1)
    lines = {
        number: line for number, line in numbered if line.replace('"', "").strip() and line.lstrip('" ')[:1] != "#"
    }
    if not lines:
        advice = "Write a first line with the column names scene, a tab, video."
        return {}, [f"{show_path(file)}: this table is empty. {advice}"]
    width = 1 + max(line.count("\t") for line in lines.values())
    joined = io.StringIO("\n".join(lines.values()))
    shape: dict[str, Any] = {"header": None, "names": range(width), "skip_blank_lines": False}
    text_only: dict[str, Any] = {"dtype": str, "keep_default_na": False, "quoting": csv.QUOTE_NONE}
    table = pd.read_csv(joined, sep="\t", **shape, **text_only).fillna("")
    rows = [[clean(cell) for cell in row] for row in table.to_numpy().tolist()]
    return dict(zip(lines, rows, strict=True)), []


def read_text(file: Path, place: str) -> tuple[str, list[str]]:
    """The table with line feeds between its lines, whatever system saved it. Or the error."""
    if not os.path.isfile(file):
        advice = suggest_file(file) or f"{where_paths_begin()} Write the path of your table."
        return "", [f"{place}: there is no file {show_path(file)}. {advice}"]
    try:
        content = file.read_bytes()
        if content.startswith(WORKBOOKS):
            return "", [f"{show_path(file)}: this is a workbook of a spreadsheet program, not text. {SAVE_AS_TEXT}"]
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except OSError as error:
        advice = "Change its permissions with chmod, or copy it."
        return "", [f"{show_path(file)}: this file cannot be read: {error.strerror}. {advice}"]
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return "", [f"{show_path(file)}: this is not text in UTF-8. {SAVE_AS_TEXT}"]
    return text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n"), []


def clean(cell: str) -> str:
    """A cell without spaces around it and without the quotes that spreadsheet programs put around commas."""
    cell = cell.strip()
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        cell = cell[1:-1].replace('""', '"').strip()
    return cell


def check_header(header: Sequence[str], place: str, leaves: Leaves) -> tuple[list[str], list[str]]:
    """The column names, "" for one that cannot be used, [] if there are none. Also the errors in them."""
    while not header[-1]:
        header = header[:-1]
    separator = next((name for sign, name in SEPARATORS.items() if sign in header[0]), None)
    if len(header) == 1 and separator:
        advice = "Save it as tab-separated text, or put one tab between the cells of every line."
        return [], [f"{place}: the columns are separated by {separator}, not by tabs. {advice}"]
    known = ["scene", "video", *(key for key, leaf in leaves.items() if is_column(leaf))]
    former = find_former(leaves)
    columns: list[str] = []
    errors = []
    for position, name in enumerate(header, start=1):
        column = f"{place}, column {name or position}"
        if name in known and name not in columns:
            columns.append(name)
            continue
        columns.append("")
        if not name:
            errors.append(f"{column}: there is no name above this column. Write one, or remove the column.")
        elif name in columns:
            errors.append(f"{column}: this column appears twice. Remove one of the two.")
        elif name in former:
            errors.append(f"{column}: {name} is now {former[name]}. Write that name above this column.")
        elif name in leaves:
            advice = f"Write it in a configuration file.{suggest(name, ('scene', 'video'))}"
            errors.append(f"{column}: this setting has one value for all scenes. {advice}")
        else:
            others = " Allowed are scene, video and the keys in config/README.md, for example train.iterations."
            errors.append(f"{column}: there is no such setting.{suggest(name, known) or others}")
    for name in ("scene", "video"):
        if name not in columns:
            errors.append(f"{place}: the column {name} is missing. Begin the table with the columns scene and video.")
    return columns, errors


def match_cells(columns: Sequence[str], row: Sequence[str], place: str) -> tuple[dict[str, str], list[str]]:
    """The cells of a row that are not empty, by column. Also an error if the row does not fit below the header."""
    if len(columns) > 1 and not any(row[1:]) and re.search(r"[ ,;]", row[0]):
        return {}, [f"{place}: there is no tab in this line. Put one tab between the cells."]
    surplus = [cell for cell in row[len(columns) :] if cell]
    errors = []
    if columns and surplus:
        advice = "Remove it, remove a surplus tab before it, or write a name above its column."
        errors.append(f"{place}: {show(surplus[0])} stands to the right of the last column. {advice}")
    return {column: cell for column, cell in zip(columns, row, strict=False) if column and cell}, errors


def check_row(
    cells: Mapping[str, str], columns: Sequence[str], place: str, leaves: Leaves
) -> tuple[Settings, list[str]]:
    """The settings of a row, "video" first, and the errors in its values."""
    errors = []
    if cells:
        for column, content in (("scene", "a name"), ("video", "the path or address of a video or of photos")):
            if column in columns and column not in cells:
                advice = f"Write {content}, or put # before the line to skip it."
                errors.append(f"{place}, column {column}: this cell is empty. {advice}")
    scene = cells.get("scene")
    if scene and not is_valid(scene, read_schema("scenes")["properties"]["scene"]):
        errors.append(
            f"{place}, column scene: {show(scene)} is not allowed. Write 1 to 63 lower-case letters a-z, digits and "
            f"hyphens, with no hyphen at either end, for example {to_scene_name(scene)}."
        )
    video = resolve(cells["video"]) if "video" in cells else INVALID
    settings = {"video": Setting(video, f"{place}, column video", 2)}
    for column, cell in cells.items():
        if column in leaves:
            settings[column], value_errors = check_value(cell, f"{place}, column {column}", 2, leaves[column])
            errors += value_errors
    return settings, errors


def to_scene_name(text: str) -> str:
    """The nearest allowed name: "My lamp (2)" becomes my-lamp-2."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:63].strip("-") or "lamp"
