"""A real S3 server (SeaweedFS) on this machine, for tests."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions

FRUGAL = {"GOMAXPROCS": "1", "GOGC": "400"}  # for Go: a third of its CPU time goes to threads and memory
ACCESS_KEY, SECRET_KEY, REGION = "test-access-key", "test-secret-key", "us-east-1"


@dataclass
class S3Server:
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What a user exports for Snakemake's S3 storage plugin."""
        return {
            "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": self.endpoint,
            "SNAKEMAKE_STORAGE_S3_REGION": REGION,
            "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": ACCESS_KEY,
            "SNAKEMAKE_STORAGE_S3_SECRET_KEY": SECRET_KEY,
        }

    def profile_environment(self, bucket: str) -> dict[str, str]:
        """What a user exports for profiles/ovhai."""
        return {
            "OVHAI_DATASTORE": "S3GRA",
            "OVHAI_BUCKET": bucket,
            "OVHAI_REGION": REGION,
            "OVHAI_ENDPOINT": self.endpoint,
            "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": ACCESS_KEY,
            "SNAKEMAKE_STORAGE_S3_SECRET_KEY": SECRET_KEY,
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start SeaweedFS with its data in folder, wait until it answers, stop it at the end."""
    identity = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    settings = folder / "s3.json"
    settings.write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    # Iceberg and Lance listen on fixed ports, which two servers on one machine would fight for: 0 turns them off.
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.config={settings}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",  # as everywhere else, an upload to a bucket that does not exist is refused
        "-master.volumeSizeLimitMB=64",
        # Each bucket takes several volumes, and those of deleted buckets are not free at once; the default is 8.
        "-volume.max=200",
        *(f"-{name}.port={port}" for name, port in ports.items()),
    ]
    log = folder / "weed.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env={**os.environ, **FRUGAL})
    server = S3Server(f"http://127.0.0.1:{ports['s3']}")
    try:
        wait_until_ready(server, process, log)
        yield server
    finally:
        process.kill()  # asked politely it takes more than 20 s to end
        process.wait()


def wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.client().list_buckets()
            return
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            time.sleep(0.2)
    raise RuntimeError(f"the S3 server did not start:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    """A port that is free, and so is the one 10000 above it, where SeaweedFS puts its gRPC."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port + 10000 > 65535:
                continue
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 10000))
                return int(port)
