"""The source command: the programs of Neuralangelo's pinned commit, unmodified, in one tar.

They come from GitHub. For a machine without internet the configuration can name a checkout, or a .tar or .tar.gz as
GitHub offers it. Only the programs and the licence are packed. Their checksum has to be the pinned one.
"""

import argparse
import contextlib
import gzip
import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from videomesh.download import Progress, downloaded
from videomesh.errors import UserError
from videomesh.files import add_to_tar, outputs

COMMIT = "94390b64683c067c620d9e075224ccfe582647d0"  # 2023-10-02, upstream's newest
ADDRESS = f"https://codeload.github.com/NVlabs/neuralangelo/tar.gz/{COMMIT}"
FILES = ("train.py", "LICENSE.md")
FOLDERS = ("imaginaire", "projects")
SUFFIXES = (".py", ".yaml")
LICENCE = (
    "NVIDIA Source Code License: Neuralangelo may be used non-commercially only, for research or evaluation. "
    "Read https://github.com/NVlabs/neuralangelo/blob/main/LICENSE.md before you use its results."
)


def main(args: argparse.Namespace) -> None:
    with outputs(args.output) as (part,):
        with find_archive(args.source, args.output) as source:
            files = read_programs(source)
        found = get_checksum(files)
        if found != args.checksum:
            raise UserError(
                f"{args.source or ADDRESS}: the checksum of its programs is {found}, not {args.checksum}. This is not "
                f"Neuralangelo at commit {COMMIT[:7]}, or a file was changed. Name the unchanged commit in "
                "neuralangelo.source. If the changes are yours, set neuralangelo.checksum to the checksum found"
            )
        pack(files, part)
    print(f"{len(files)} programs of Neuralangelo. {LICENCE}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", required=True, help="checkout, .tar or .tar.gz. An empty text downloads it from GitHub"
    )
    parser.add_argument("--checksum", required=True, help="checksum that the programs must have")
    parser.add_argument("--output", type=Path, required=True, help=".tar.gz to write")


@contextlib.contextmanager
def find_archive(source: str, output: Path) -> Iterator[Path]:
    """The folder or tar to read. A download is removed afterwards."""
    if source:
        yield Path(source)
        return
    try:
        with downloaded(ADDRESS, output, Progress("neuralangelo")) as path:
            yield path
    except UserError as error:
        raise UserError(
            f"{ADDRESS}: {error}. Without internet, name a checkout or tarball of it in neuralangelo.source"
        )


def read_programs(source: Path) -> dict[str, bytes]:
    """Path below the repository's root -> content, of what is needed. Raises UserError if that cannot be read."""
    try:
        files = read_folder(source) if source.is_dir() else read_tar(source)
    except FileNotFoundError:
        raise UserError(f"{source}: no such file or folder; give a checkout or tarball (neuralangelo.source)")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise UserError(f"{source}: not a whole .tar or .tar.gz ({reason}); give a checkout or tarball of it")
    if "train.py" not in files:
        raise UserError(f"{source}: there is no train.py at its top; give the repository's root folder, or its tarball")
    return dict(sorted(files.items()))


def read_folder(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = ((path.relative_to(folder).as_posix(), path) for path in paths)
    return {name: path.read_bytes() for name, path in names if is_needed(name)}


def read_tar(path: Path) -> dict[str, bytes]:
    """Members lie at the top, or below one folder, as GitHub packs them."""
    with tarfile.open(path) as tar:
        members = [member for member in tar if member.isfile()]
        tops = {PurePosixPath(member.name).parts[0] for member in members}
        depth = 1 if len(tops) == 1 else 0
        files = {}
        for member in members:
            name = "/".join(PurePosixPath(member.name).parts[depth:])
            file = tar.extractfile(member) if is_needed(name) else None
            if file:
                files[name] = file.read()
    return files


def is_needed(name: str) -> bool:
    top, _, rest = name.partition("/")
    return name in FILES or (top in FOLDERS and rest.endswith(SUFFIXES) and ".." not in rest.split("/"))


def get_checksum(files: dict[str, bytes]) -> str:
    """SHA-256 over the sorted names and the contents' own SHA-256."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def pack(files: dict[str, bytes], path: Path) -> None:
    """No times, no owners: the same programs give the same tar."""
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, content in files.items():
            add_to_tar(tar, name, content)
