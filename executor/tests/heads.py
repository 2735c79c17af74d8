"""A small workflow of shell rules. `snakemake` runs it with the executor ovhai against the stand-in platform."""

import os
import re
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

from ovhai_standin.platform import Platform
from submission import wait_until

import s3_server
from snakemake_process import SnakemakeProcess, run_snakemake

SNAKEFILE = """\
SCENES = config.get("scenes", "a").split(",")

rule all:
    input:
        local(expand("deliver/{scene}.txt", scene=SCENES)),

rule make:
    output:
        "results/{scene}/make/numbers.txt",
    log:
        "results/{scene}/make/make.log",
    container:
        "docker://example/tools:1"
    threads: 2
    resources:
        runtime=10,
    shell:
        "echo working on {wildcards.scene:q} | tee {log:q};"
        " MAKE seq 3 > {output:q}"

rule add:
    input:
        numbers="results/{scene}/make/numbers.txt",
    output:
        sum="results/{scene}/add/sum.txt",
    container:
        "docker://example/tools:1"
    resources:
        gpu=1,
        flavor="ai1-1-gpu",
        runtime=10,
    shell:
        "echo adding; ADD python3 programs/add.py {input.numbers:q} {output.sum:q}"

rule deliver:
    localrule: True
    input:
        "results/{scene}/add/sum.txt",
    output:
        local("deliver/{scene}.txt"),
    shell:
        "cp {input:q} {output:q}"
"""
PROGRAM = """\
import sys
total = sum(map(int, open(sys.argv[1])))
open(sys.argv[2], "w").write(f"{total}\\n")
"""


class Head:
    """A working folder in which `snakemake --executor ovhai` runs; several may share one bucket and platform."""

    def __init__(
        self, folder: Path, platform: Platform, s3: s3_server.S3Server, bucket: str, prefix: str = "work"
    ) -> None:
        self.folder, self.platform, self.s3, self.bucket, self.prefix = folder, platform, s3, bucket, prefix
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, make: str = "", add: str = "", snakefile: str = SNAKEFILE) -> "Head":
        """make and add: shell commands put before those of the rules, such as `sleep 5;`."""
        text = snakefile.replace("MAKE", make).replace("ADD", add)
        (self.folder / "Snakefile").write_text(text)
        (self.folder / "programs").mkdir(exist_ok=True)
        (self.folder / "programs" / "add.py").write_text(PROGRAM)
        return self

    def copy(self, folder: Path) -> "Head":
        shutil.copytree(self.folder, folder)
        return Head(folder, self.platform, self.s3, self.bucket, self.prefix)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.s3.environment, **self.platform.environment}

    def arguments(self, *arguments: str) -> list[str]:
        """Arguments of snakemake. Those that are given come last, so that they win."""
        return [
            *("--executor", "ovhai", "--ovhai-datastore", "S3GRA", "--ovhai-sources", "programs"),
            *("--ovhai-min-interval", "0.5", "--ovhai-max-interval", "2"),
            *("--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{self.bucket}/{self.prefix}"),
            *("--shared-fs-usage", "none", "--jobs", "20", "--keep-going", "--rerun-incomplete", "--nolock"),
            *("--scheduler", "greedy"),  # as in profiles/ovhai: the other one starts a solver each time
            *("--latency-wait", "5"),
            *arguments,
        ]

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return run_snakemake(self.arguments(*arguments), self.folder, self.environment, timeout)

    def start(self, *arguments: str) -> SnakemakeProcess:
        """In the background; what it says goes to a new file head-*.log."""
        log = self.folder / f"head-{uuid.uuid4().hex[:6]}.log"
        return SnakemakeProcess(self.arguments(*arguments), self.folder, self.environment, log)

    def said(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("head-*.log")))

    def stored(self, key: str) -> str | None:
        client = self.s3.client()
        try:
            return str(client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")["Body"].read().decode())
        except client.exceptions.NoSuchKey:
            return None


def labels(job: dict[str, Any], name: str) -> str:
    return str(job["spec"]["labels"].get(f"snakemake-{name}"))


def jobs_of(platform: Platform, rule: str) -> list[dict[str, Any]]:
    return [job for job in platform.jobs() if labels(job, "rule") == rule]


def states(head: Head, rule: str = "make") -> list[str]:
    return [job["status"]["state"] for job in jobs_of(head.platform, rule)]


def get_written_files(job: dict[str, Any]) -> set[str]:
    """The files that a job's command checks at its end."""
    return set(re.findall(r"\[ -e '?(\S+?)'? \] \|\|", job["spec"]["command"][-1]))


def finish(head: Head, *arguments: str) -> str:
    """Run a head that must succeed. Returns what it prints, without colours."""
    run = head.run(*arguments)
    assert run.returncode == 0, run.stdout
    assert (head.folder / "deliver" / "a.txt").read_text() == "6\n"
    return strip_colours(run.stdout)


def run_side_by_side(head: Head, faults: dict[str, list[dict[str, Any]]]) -> subprocess.CompletedProcess[str]:
    """One run of a scene for each entry: name -> what goes wrong with the jobs of its rule make.

    A run for each case would take a hundred times as long as the case itself.
    """
    head.platform.set(quota={"gpu": 100, "cpu": 400})
    for scene, rules in faults.items():
        for rule in rules:
            head.platform.fault(**rule, match=rf"\bmake-{scene}\b")
    run = head.run("--config", f"scenes={','.join(faults)}")
    run.stdout = strip_colours(run.stdout)
    assert "Traceback" not in run.stdout, run.stdout
    return run


def kill(process: SnakemakeProcess) -> None:
    """kill -9 of a head and all that it started, as when a laptop is switched off.

    A call of `ovhai` that is under way survives, because it has a process group of its own.
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def start_and_kill(head: Head) -> None:
    """Start a head, and kill it when its job of rule make is running."""
    process = head.start()
    wait_until(lambda: states(head) == ["RUNNING"])
    kill(process)


def strip_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
