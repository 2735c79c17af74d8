"""scripts/ingest.py as a process of its own."""

from pathlib import Path

import media
from ingest_program import get_arguments
from programs import run_process


def test_a_folder_of_photos(tmp_path: Path) -> None:
    folder = media.write_photos(tmp_path / "lamp", 20)
    output = tmp_path / "out" / "photos.tar"
    done = run_process("ingest", *get_arguments(folder, output))
    assert (done.returncode, done.stdout, done.stderr) == (0, "scene tractor: 20 photos\n", "")
    assert list(output.parent.iterdir()) == [output]


def test_a_bad_source_is_one_message_without_secrets_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_process(
        "ingest", *get_arguments("ftp://user:SECRET@host/film.mp4?key=SECRET", tmp_path / "out" / "a.mp4")
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: scene tractor: source ftp://host/film.mp4: ftp:// is not known here; ")
    assert done.stderr.count("\n") == 1 and "SECRET" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
