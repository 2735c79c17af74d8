"""The face of the stand-in for tests."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import s3_server
from ovhai_standin import faults, processes, records, server
from ovhai_standin.folder import VARIABLE, PlatformFolder

PROGRAMS = Path(__file__).resolve().parent.parent / "bin"
ALIAS = "S3GRA"


class Platform:
    """A platform in a folder, with the S3 server of the tests as its data store `S3GRA`.

    platform = Platform.start(tmp_path / "platform", s3, quota={"gpu": 2}, delays={"QUEUED": 0.5})
    subprocess.run(["ovhai", "job", "run", ...], env={**os.environ, **platform.environment})
    platform.fault(when="job list", action="fail", text="503: unavailable", count=2)
    ...
    platform.stop_everything()

    start(folder, s3, **settings)   a new platform; s3 None: no data store. Settings: see settings.py
    environment                     OVHAI_STANDIN, a server for calls, and a PATH that begins with our `ovhai`
    ovhai(*arguments)               call the command; answers subprocess.CompletedProcess (text)
    set(**settings)                 change settings at any time; maps are merged, None removes a key
    fault(**rule)                   add a rule of faults.py at any time; answers its id
    clear_faults()                  no more faults
    fired(id)                       how often a rule has fired
    firings()                       each time that a rule has fired as {"time", "when", "action"}
    jobs(), job(id)                 what the platform knows (without faults of display), oldest job first
    wait(id, *states, seconds=20)   until the job is in one of the states; no states: until it has ended
    log(id)                         lines of the job's log, with timestamp and source
    calls(*command)                 calls so far as {"time", "argv", "pid", "caller"}; calls("job", "list") only those
    kill_runner(id)                 kill -9 the job's runner: the job keeps its state for ever, as on a lost node
    stop_everything()               kill all jobs and runners; the records remain. Call it in the test's teardown
    """

    def __init__(self, folder: Path) -> None:
        self.folder = PlatformFolder(folder)

    @classmethod
    def start(cls, folder: Path, s3: s3_server.S3Server | None, **settings: Any) -> "Platform":
        if s3:
            settings["data_stores"] = {ALIAS: data_store(s3), **settings.get("data_stores", {})}
        platform = cls(folder)
        platform.folder.create(**settings)
        return platform

    @property
    def environment(self) -> dict[str, str]:
        # The interpreter of the tests comes second, because the command's first line asks env for python3.
        search = [str(PROGRAMS), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        return {
            VARIABLE: str(self.folder.path),
            server.VARIABLE: server.start(),
            "PATH": os.pathsep.join(search),
        }

    def ovhai(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PROGRAMS / "ovhai"), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def set(self, **settings: Any) -> None:
        self.folder.change_settings(**settings)

    def fault(self, **rule: Any) -> str:
        return faults.add(self.folder, rule)

    def clear_faults(self) -> None:
        faults.clear(self.folder)

    def fired(self, rule_id: str) -> int:
        return faults.fired(self.folder, rule_id)

    def firings(self) -> list[dict[str, Any]]:
        return self.folder.lines("fired.jsonl")

    def jobs(self) -> list[dict[str, Any]]:
        settings = self.folder.settings()
        return [records.shown(record["job"], settings) for record in self.folder.records()]

    def job(self, job_id: str) -> dict[str, Any]:
        record = self.folder.record(job_id)
        if record is None:
            raise KeyError(f"no job {job_id}")
        return records.shown(record["job"], self.folder.settings())

    def billed(self, job_id: str) -> dict[str, Any]:
        """What the invoice of a job says: flavor, units, and seconds from the start of the image pull. A job does not
        show it. Started minutes are paid."""
        record = self.folder.record(job_id)
        if record is None:
            raise KeyError(f"no job {job_id}")
        return records.bill(record["job"], self.folder.settings())

    def wait(self, job_id: str, *states: str, seconds: float = 20) -> dict[str, Any]:
        def reached(job: dict[str, Any]) -> bool:
            return job["status"]["state"] in states if states else bool(job["status"]["finalizedAt"])

        return self.wait_for(job_id, reached, seconds)

    def wait_for(self, job_id: str, reached: Callable[[dict[str, Any]], bool], seconds: float = 20) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not reached(job := self.job(job_id)):
            if time.monotonic() > deadline:
                runner_log = self.folder.runners / f"{job_id}.log"
                errors = runner_log.read_text() if runner_log.exists() else ""
                raise TimeoutError(f"after {seconds} s the job's status is {job['status']}\n{errors}")
            time.sleep(0.05)
        return job

    def log(self, job_id: str) -> list[str]:
        file = self.folder.log(job_id)
        return file.read_text().splitlines() if file.exists() else []

    def calls(self, *command: str) -> list[dict[str, Any]]:
        return [call for call in self.folder.calls() if tuple(call["argv"][: len(command)]) == command]

    def kill_runner(self, job_id: str) -> None:
        record = self.folder.record(job_id)
        if record:
            processes.kill(record["private"]["runner"])

    def stop_everything(self) -> None:
        for record in self.folder.records():
            processes.kill(record["private"]["runner"])
        shutil.rmtree(self.folder.files, ignore_errors=True)


def data_store(s3: s3_server.S3Server) -> dict[str, str]:
    return {
        "endpoint": s3.endpoint,
        "region": s3_server.REGION,
        "access_key": s3_server.ACCESS_KEY,
        "secret_key": s3_server.SECRET_KEY,
    }
