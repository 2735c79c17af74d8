"""Neuralangelo's programs as one file: from where they come, and what is refused."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from double import CHECKSUM, UPSTREAM, call_engine


def pack(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return call_engine("source", source=source, checksum=CHECKSUM, output=output)


def archive(folder: Path, path: Path, prefix: str = "neuralangelo-94390b6") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, prefix)
    return path


def test_a_checkout_and_its_tarballs_give_the_same_file(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(UPSTREAM, checkout)
    (checkout / "assets").mkdir()
    (checkout / "assets" / "teaser.gif").write_bytes(b"not needed")
    (checkout / "projects" / "__pycache__").mkdir()
    (checkout / "projects" / "__pycache__" / "x.pyc").write_bytes(b"not needed")
    sources = [checkout, archive(checkout, tmp_path / "github.tar.gz"), archive(checkout, tmp_path / "flat.tar", ".")]
    packed = []
    for source in sources:
        result = pack(source, tmp_path / "source.tar.gz")
        assert result.returncode == 0, result.stderr
        assert "non-commercially only" in result.stdout
        packed.append((tmp_path / "source.tar.gz").read_bytes())
    assert packed[0] == packed[1] == packed[2]
    with tarfile.open(tmp_path / "source.tar.gz") as tar:
        assert {"train.py", "LICENSE.md", "imaginaire/config.py"} <= set(tar.getnames())
        assert not [name for name in tar.getnames() if "assets" in name or name.endswith(".pyc")]


def test_changed_programs_are_refused(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(UPSTREAM, checkout)
    with (checkout / "train.py").open("a") as file:
        file.write("# better\n")
    result = pack(checkout, tmp_path / "source.tar.gz")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert f"not {CHECKSUM}" in result.stderr and "neuralangelo.checksum" in result.stderr
    assert not list(tmp_path.glob("*source.tar.gz*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"x" * 1000, "not a whole .tar"), (b"", "not a whole .tar")],
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "given.tar.gz").write_bytes(content)
    result = pack(tmp_path / "given.tar.gz", tmp_path / "source.tar.gz")
    assert result.returncode == 1 and "given.tar.gz" in result.stderr and words in result.stderr, result.stderr


def test_a_tarball_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme").write_text("hello")
    result = pack(archive(tmp_path / "other", tmp_path / "other.tar"), tmp_path / "source.tar.gz")
    assert result.returncode == 1 and "no train.py at its top" in result.stderr
