"""Helpers for tests of the stand-in."""

import json
import time
from collections.abc import Callable
from typing import Any

from ovhai_standin.platform import Platform

import s3_server


def submit(platform: Platform, *options: str, command: str = "true", units: tuple[str, ...] = ("--cpu", "1")) -> str:
    """Submit a job that runs a bash command; answers its id."""
    result = platform.ovhai("job", "run", *units, "-o", "json", *options, "ubuntu:24.04", "--", "bash", "-c", command)
    assert result.returncode == 0, result.stderr
    return str(json.loads(result.stdout)["id"])


def run(platform: Platform, *options: str, command: str = "true") -> dict[str, Any]:
    """Submit a job and wait for its end; answers the job."""
    return platform.wait(submit(platform, *options, command=command))


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def wait_for_line(platform: Platform, job_id: str, text: str) -> None:
    wait_until(lambda: any(line.endswith(text) for line in platform.log(job_id)))


def texts(platform: Platform, job: dict[str, Any]) -> list[str]:
    """What a job has printed."""
    return [line.partition("] ")[2] for line in platform.log(job["id"])]


def listed(platform: Platform, *options: str) -> list[dict[str, Any]]:
    result = platform.ovhai("job", "list", "-o", "json", *options)
    assert result.returncode == 0, result.stderr
    return list(json.loads(result.stdout))


def states(job: dict[str, Any]) -> list[str]:
    return [entry["state"] for entry in job["status"]["history"]]


def put(s3: s3_server.S3Server, bucket: str, **objects: str) -> None:
    for key, text in objects.items():
        s3.client().put_object(Bucket=bucket, Key=key.replace("__", "/"), Body=text.encode())


def contents(s3: s3_server.S3Server, bucket: str) -> dict[str, str]:
    client = s3.client()
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in keys}
