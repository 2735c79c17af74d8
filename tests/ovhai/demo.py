"""make demo-ovhai: the demo through `snakemake --profile ovhai`, with the stand-in platform and a real S3 server.

Everything lies in a folder of its own (default: demo-ovhai): a checkout's copy, the platform, the S3 server's data.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "ovhai"), str(TESTS / "helpers")]

from ovhai_standin.platform import Platform  # noqa: E402

import s3_server  # noqa: E402
from checkout import ROOT, Checkout  # noqa: E402

BUCKET = "videos-and-meshes"
# Seconds a job spends in each state, so that the table of jobs shows something of a platform.
DELAYS = {"QUEUED": 1, "PENDING": 1, "FINALIZING": 0.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo-ovhai"), help="made anew (%(default)s)")
    parser.add_argument("arguments", nargs="*", help="further arguments of snakemake, after --")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "s3").mkdir(parents=True)
    with s3_server.s3_server(folder / "s3") as s3:
        s3.client().create_bucket(Bucket=BUCKET)
        platform = Platform.start(folder / "platform", s3, delays=DELAYS)
        try:
            code = run(Checkout.make(folder / "checkout"), platform, s3, arguments.arguments)
        finally:
            platform.stop_everything()
    if code == 0:
        delivered = folder / "checkout" / "deliver"
        target = ROOT / "deliver"
        shutil.copytree(delivered, target, dirs_exist_ok=True)
        print(f"The mesh is {os.path.relpath(target)}/tractor/mesh.ply; the jobs and their files were in {folder}.")
    sys.exit(code)


def run(checkout: Checkout, platform: Platform, s3: s3_server.S3Server, arguments: list[str]) -> int:
    environment = {**os.environ, **platform.environment, **s3.profile_environment(BUCKET)}
    programs = Path(sys.executable).parent
    command = [str(programs / "snakemake"), "--profile", "ovhai", "--configfile", "config/demo/config.yaml"]
    code = subprocess.run([*command, *arguments], cwd=checkout.folder, env=environment).returncode
    subprocess.run([str(programs / "snakemake-ovhai"), "jobs", "--all"], cwd=checkout.folder, env=environment)
    return code


if __name__ == "__main__":
    main()
