"""A scratch folder in which upstream finds each file where it expects it. Nothing of it is left behind."""

import os
import shutil
import tarfile
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, NamedTuple

from videomesh.errors import UserError

STANDINS = Path(__file__).resolve().parent / "standins"


class Scratch(NamedTuple):
    folder: Path
    programs: Path  # upstream's root, from where its programs have to be started
    config: Path


@contextmanager
def scratch_folder(source: Path, transforms: Path, images: Path, config: Path) -> Iterator[Scratch]:
    """A folder with programs/, data/transforms.json, data/images/ and config.yaml, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="neuralangelo-") as name:
        folder = Path(name)
        unpack(source, folder / "programs")
        (folder / "data").mkdir()
        copy(transforms, folder / "data" / "transforms.json")
        unpack(images, folder / "data" / "images")
        copy(config, folder / "config.yaml")
        yield Scratch(folder, folder / "programs", folder / "config.yaml")


def copy(path: Path, target: Path) -> None:
    try:
        shutil.copyfile(str(path), str(target))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage before again")


def unpack(path: Path, folder: Path) -> None:
    """Unpack the files of a tar. Raises UserError if one would lie outside of the folder."""
    try:
        with tarfile.open(str(path)) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                target = folder / member.name
                if os.path.isabs(member.name) or ".." in Path(member.name).parts:
                    raise UserError(f"{path}: {member.name} would be unpacked outside of its folder; make it anew")
                target.parent.mkdir(parents=True, exist_ok=True)
                file = tar.extractfile(member)
                assert file
                with file, open(str(target), "wb") as out:
                    shutil.copyfileobj(file, out)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage before again")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a whole tar ({reason.rstrip(':')}); remove it and run again")


def get_environment(scratch: Scratch) -> Dict[str, str]:
    """The environment of upstream's programs: they write into the scratch folder only, and call no wandb."""
    paths = [str(STANDINS), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(scratch.folder),  # a job's user may have none
        "USER": os.environ.get("USER", "neuralangelo"),  # nor a name, which torch asks for
        "TMPDIR": str(scratch.folder),
        "TORCH_EXTENSIONS_DIR": str(scratch.folder / "extensions"),
    }
