"""A copy of the workflow in a folder of its own, and snakemake run in it as a user would."""

import collections
import os
import re
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg
import yaml

from snakemake_process import run_snakemake

ROOT = Path(__file__).resolve().parents[2]
ENGINES = sorted(file.parent.name for file in (ROOT / "src").glob("*/__main__.py"))  # the packages
DEMO = ROOT / "config" / "demo" / "tractor.mp4"

# As small as still gives a surface: the whole pipeline takes about half a minute a scene on two cores.
SMALL = {
    "frames": {"target": 24, "max_size": 320},
    "train": {"iterations": 120, "milestones": [60]},
    "sdfgrid": {"image_size": 160},
    "mesh": {"resolution": 64, "web_faces": 3000},
}

PARTS = ("Snakefile", "rules", "scripts", "src", "config", "envs", "profiles", "ovhai")


# What a plan finds out about the programs comes along, if there has been a plan: it costs a second and a half.
KNOWN = Path(".snakemake/programs.json")


class Checkout:
    """The workflow's files in a folder; results appear beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, folder: Path) -> "Checkout":
        for part in PARTS:
            source = ROOT / part
            ignore = shutil.ignore_patterns("*.pyc", "*.egg-info")  # compiled kernels come along: they cost 12 s
            if source.is_symlink():
                (folder / part).symlink_to(source.readlink())
            elif source.is_dir():
                shutil.copytree(source, folder / part, ignore=ignore, symlinks=True)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder / part)
        if (known := ROOT / KNOWN).exists():
            (folder / KNOWN).parent.mkdir(exist_ok=True)
            shutil.copy2(known, folder / KNOWN)
        return cls(folder)

    def copy(self, folder: Path) -> "Checkout":
        """Results, time stamps and Snakemake's records included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def configure(self, rows: list[dict[str, object]], **settings: object) -> None:
        """Write the table of scenes and a configuration file beside it that holds only the given settings."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        lines = ["\t".join(columns)] + ["\t".join(str(row.get(column, "")) for column in columns) for row in rows]
        (self.folder / "table.tsv").write_text("\n".join(lines) + "\n")
        (self.folder / "settings.yaml").write_text(yaml.safe_dump({"scenes": "table.tsv", **settings}))

    def arguments(self, *arguments: str) -> list[str]:
        """Those that are given, and those that every run on this machine needs."""
        return [*arguments, "--profile", "profiles/local", "--configfile", "settings.yaml"]

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.arguments(*arguments), **environment)

    def run(self, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Run snakemake with these arguments only; its output and messages come together in stdout."""
        return run_snakemake(arguments, self.folder, {**os.environ, **environment})

    def planned(self, *arguments: str, **environment: str) -> dict[str, int]:
        """What a dry run would do: rule -> number of jobs, the target rule left out."""
        run = self.snakemake("--dry-run", *arguments, **environment)
        assert run.returncode == 0, run.stdout
        jobs = collections.Counter(re.findall(r"^(?:local)?rule (\w+):", run.stdout, re.MULTILINE))
        del jobs["all"]
        assert jobs or "Nothing to be done" in run.stdout, run.stdout
        return dict(jobs)

    def planned_by_scene(self, *arguments: str, **environment: str) -> dict[str, list[str]]:
        """What a dry run would do: scene -> rules, one for each job."""
        run = self.snakemake("--dry-run", *arguments, **environment)
        assert run.returncode == 0, run.stdout
        found = collections.defaultdict(list)
        pattern = r"^(?:local)?rule (\w+):(?:\n    .*)*?\n    wildcards: .*?scene=([^,\n]+)"
        for rule, scene in re.findall(pattern, run.stdout, re.MULTILINE):
            found[scene].append(rule)
        return dict(found)

    def accept(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """videomesh-accept, of this checkout."""
        return self.accept_with(self.arguments(*arguments), **environment)

    def accept_with(self, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PYTHONPATH": str(self.folder / "src"), **environment}
        return run_snakemake(arguments, self.folder, variables, module="videomesh.accept")

    def files(self) -> set[str]:
        """Everything in the folders that hold results."""
        folders = (self.folder / name for name in ("resources", "results", "deliver"))
        return {str(path.relative_to(self.folder)) for top in folders for path in top.rglob("*") if path.is_file()}


def make_photos(folder: Path) -> None:
    folder.mkdir()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(DEMO)]
    command += ["-vf", "select='not(mod(n,4))',scale=320:-1", "-fps_mode", "passthrough", "-q:v", "2"]
    subprocess.run([*command, str(folder / "IMG_%d.jpg")], check=True)
