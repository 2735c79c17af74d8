"""Download public captures of several kinds, and print their rows for config/scenes.tsv.

    python benchmarks/public_captures.py captures                # all of them, about 500 MB
    python benchmarks/public_captures.py captures sceaux stone   # two of them
    python benchmarks/public_captures.py --list                  # what there is, from where, under which licence

Each comes from its own repository, at a fixed commit, and only the files that are needed. The captures are not part of
this project. They have licences of their own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from videomesh.errors import UserError, run, suggest

GITHUB = "https://github.com"
EXAMPLES = f"{GITHUB}/john-davies/Photogrammetry-examples"
EXAMPLES_COMMIT = "f22d52902744b716c011319b66892563a12fc14e"
ATTRIBUTION = "CC BY-SA 4.0, John Davies"


class Capture(NamedTuple):
    repository: str
    commit: str
    folder: str  # in the repository; it becomes FOLDER/NAME
    files: tuple[str, ...]  # patterns of git's sparse checkout, below that folder
    photos: int
    megabytes: int
    kind: str
    licence: str
    rows: dict[str, str]  # scene -> path below FOLDER/NAME


CAPTURES = {
    "fox": Capture(
        repository=f"{GITHUB}/NVlabs/instant-ngp",
        commit="abe236ee00cf90cfca6e36e65c00435d5b21f50a",
        folder="data/nerf/fox",
        files=("images/*.jpg", "transforms.json"),
        photos=50,
        megabytes=19,
        kind="a fox's head on a wall, a quarter circle; once with poses that came along, once without",
        licence="NVIDIA Source Code License, not commercial, NVIDIA",
        rows={"fox": "images", "fox-posed": ""},
    ),
    "sceaux": Capture(
        repository=f"{GITHUB}/openMVG/ImageDataset_SceauxCastle",
        commit="fde7f5faba555e3c54700477c304488613346a19",
        folder="images",
        files=("*.JPG",),
        photos=11,
        megabytes=13,
        kind="the facade of a castle, few photos",
        licence="copyright 2012 Pierre Moulon, no licence is named",
        rows={"sceaux": ""},
    ),
    "seneca": Capture(
        repository=f"{GITHUB}/OpenDroneMap/odm_data_seneca",
        commit="9220acfdca75cc5e2dd6d27fe48550c5ae0877f2",
        folder="images",
        files=("IMG_04??.jpg", "IMG_050[0-5].jpg"),
        photos=60,
        megabytes=139,
        kind="fields from a drone, two sizes of photos; the first 60 of 167",
        licence="CC0 1.0, Ohio Department of Transportation",
        rows={"seneca": ""},
    ),
    "stone": Capture(
        repository=EXAMPLES,
        commit=EXAMPLES_COMMIT,
        folder="Stone_Mask/images",
        files=("*.JPG",),
        photos=14,
        megabytes=45,
        kind="a mask of stone on a wall: a relief, few photos, one side",
        licence=ATTRIBUTION,
        rows={"stone": ""},
    ),
    "menhir": Capture(
        repository=EXAMPLES,
        commit=EXAMPLES_COMMIT,
        folder="Gorsedd_Stone/images",
        files=("*.JPG",),
        photos=48,
        megabytes=150,
        kind="a standing stone in a park, all the way round",
        licence=ATTRIBUTION,
        rows={"menhir": ""},
    ),
    "turntable": Capture(
        repository=EXAMPLES,
        commit=EXAMPLES_COMMIT,
        folder="Fox/images",
        files=("*.jpg",),
        photos=144,
        megabytes=150,
        kind="a small fox of stone on a turntable",
        licence=ATTRIBUTION,
        rows={"turntable": ""},
    ),
}


def main() -> None:
    args = parse_arguments()
    if args.list:
        print(describe(CAPTURES), end="")
        return
    names = choose(args.names)
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        fetch(name, CAPTURES[name], args.folder)
    print("rows for config/scenes.tsv, with a tab between the cells:", file=sys.stderr)
    for name in names:
        print("\n".join(make_rows(CAPTURES[name], args.folder / name)))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", help="where each gets a folder of its own")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"which: {', '.join(CAPTURES)}; all by default")
    parser.add_argument("--list", action="store_true", help="download nothing, and say what there is")
    args = parser.parse_args()
    if not args.list and args.folder is None:
        parser.error("name the FOLDER to download to, or use --list")
    return args


def choose(names: list[str]) -> list[str]:
    """The names, each once; all if there are none. UserError if one is not known."""
    for name in names:
        if name not in CAPTURES:
            near = suggest(name, CAPTURES)
            raise UserError(f"there is no capture {name}. Write one of {', '.join(CAPTURES)}.{near}")
    return list(dict.fromkeys(names)) or list(CAPTURES)


def describe(captures: dict[str, Capture]) -> str:
    """All that is known of them, for a person."""
    return "".join(
        f"{name}: {capture.kind}\n"
        f"    {capture.photos} photos, about {capture.megabytes} MB\n"
        f"    {capture.repository}/tree/{capture.commit}/{capture.folder}\n"
        f"    {capture.licence}\n"
        for name, capture in captures.items()
    )


def make_rows(capture: Capture, folder: Path) -> list[str]:
    """Rows of the table of scenes."""
    return [f"{scene}\t{folder / path if path else folder}" for scene, path in capture.rows.items()]


def fetch(name: str, capture: Capture, folder: Path) -> None:
    """Download a capture to FOLDER/NAME, unless it is there. It appears complete or not at all."""
    final = folder / name
    if final.exists():
        print(f"{name}: {final} is there already", file=sys.stderr)
        return
    print(describe({name: capture}), end="", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as work:
        check_out(capture, Path(work))
        found = Path(work, capture.folder)
        photos = [path for path in found.rglob("*") if path.suffix.lower() == ".jpg"]
        if len(photos) < capture.photos:
            raise UserError(
                f"{name}: {len(photos)} of {capture.photos} photos came from {capture.repository}; remove {final} if "
                "it is there, and run this again"
            )
        found.rename(final)


def check_out(capture: Capture, work: Path) -> None:
    """The capture's files at its commit, in a checkout that holds nothing else. git compares each with its hash."""
    patterns = [f"/{capture.folder}/{pattern}" for pattern in capture.files]
    git(work, "init", "--quiet")
    git(work, "remote", "add", "origin", capture.repository)
    git(work, "config", "core.longpaths", "true")
    git(work, "sparse-checkout", "set", "--no-cone", *patterns)
    # Without blobs: those of the patterns are fetched when they are checked out.
    git(work, "fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", capture.commit)
    git(work, "-c", "advice.detachedHead=false", "checkout", "--quiet", capture.commit)
    shutil.rmtree(work / ".git")


def git(folder: Path, *arguments: str) -> None:
    """Run git there. UserError if it fails."""
    if shutil.which("git") is None:
        raise UserError("git is not installed; install git 2.25 or newer")
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}  # a repository that is gone asks for a password
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise UserError(f"git {arguments[0]} failed ({said}); check the connection, and run this again")


if __name__ == "__main__":
    run(main)
