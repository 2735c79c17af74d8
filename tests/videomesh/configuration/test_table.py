"""Tables of scenes as people save them."""

import pytest

from settings_folder import HEADER, ROW, TABLE, load, write


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
    write(TABLE, content)
    scenes = load()
    assert list(scenes) == ["lamp"]
    assert scenes["lamp"]["video"] == "videos/lamp.mp4"
