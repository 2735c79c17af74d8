"""The process that takes one job through its states.

It sleeps in sigtimedwait and is woken by signals: SIGTERM, the job shall stop; SIGUSR1, its data shall be copied now;
SIGCHLD, its command has ended.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from ovhai_standin import faults, processes, records, s3, sync
from ovhai_standin.command import Command, SandboxError, add_log_line, image_settings, job_user, volume_folder
from ovhai_standin.folder import PlatformFolder

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)


class Stopped(Exception):
    """The user has asked for the job's end."""


class Stuck(Exception):
    """The job stays in its state for ever."""


class Ended(Exception):
    """The platform ends the job."""

    def __init__(self, state: str, code: str | None, message: str | None, push: bool, exit_code: int | None) -> None:
        super().__init__(state)
        self.state, self.code, self.message, self.push, self.exit_code = state, code, message, push, exit_code


def start(folder: PlatformFolder, job_id: str, task: str) -> processes.Process:
    """Start a runner that outlives this process. Task: `run`, or, for a job without a runner, `stop` or `copy`."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked before the fork: a signal that comes at once must wait until the runner listens.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    pid = os.fork()
    if pid == 0:
        run_detached(folder, job_id, task)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return processes.describe(pid)


def run_detached(folder: PlatformFolder, job_id: str, task: str) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        os.umask(0o022)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(folder.runners / f"{job_id}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, 256)
        runner = Runner(folder, job_id)
        {"run": runner.run, "stop": runner.interrupt, "copy": runner.copy_now}[task]()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class Runner:
    def __init__(self, folder: PlatformFolder, job_id: str) -> None:
        self.folder = folder
        self.id = job_id
        self.settings = folder.settings()
        with folder.lock():  # whoever started this process holds it until the record is complete
            record = folder.record(job_id)
        assert record is not None
        self.job: records.Job = record["job"]
        self.number: int = record["private"]["number"]
        self.files = folder.job_files(job_id)
        self.command = Command(folder, self.job, self.settings)

    def run(self) -> None:
        try:
            self.stay("QUEUED")
            self.enter("INITIALIZING")
            self.stay("INITIALIZING")
            self.pull()
            self.enter("PENDING")
            self.pull_image()
            self.stay("PENDING")
            self.enter("RUNNING")
            self.run_command()
            self.finish("DONE" if self.command.exit_code == 0 else "FAILED", exit_code=self.command.exit_code)
        except Stopped:
            self.interrupt()
        except Stuck:
            if self.was_asked_to_stop():
                self.interrupt()
        except Ended as end:
            self.end(end)
        except SandboxError as error:
            traceback.print_exc()
            self.enter("ERROR", "JOB_CREATE_CONTAINER_ERROR", str(error).splitlines()[-1], last=True)
        except Exception as error:
            traceback.print_exc()
            self.command.kill()
            self.enter("ERROR", "JOB_ERROR", str(error), last=True)
        self.remove_files()

    def was_asked_to_stop(self) -> bool:
        """If not, a later `job stop` sees that the job has no runner."""
        with self.folder.changing(self.id) as record:
            if not record["private"]["stop"]:
                record["private"]["runner"] = None
            return bool(record["private"]["stop"])

    # States

    def change(self, function: Callable[[records.Job], Any]) -> None:
        with self.folder.changing(self.id) as record:
            function(record["job"])
            self.job = record["job"]
        self.settings = self.folder.settings()

    def enter(self, state: str, code: str | None = None, message: str | None = None, last: bool = False) -> None:
        self.change(lambda job: records.enter(job, state, self.settings, code, message, last))

    def stay(self, state: str, stoppable: bool = True) -> None:
        """Spend the time that the settings and faults give to a state.

        Raises Stuck, Ended or, if stoppable, Stopped.
        """
        seconds = self.delay(state)
        # A job that is stuck in the queue never gets a runner.
        for rule in self.faults(state, faults.STATE_ACTIONS - ({"stuck"} if state == "QUEUED" else set())):
            if rule["action"] == "delay":
                seconds += rule["seconds"]
            elif rule["action"] == "stuck":
                self.get_stuck(rule)
            else:
                self.pause(rule.get("seconds", 0), stoppable)
                raise ended_by(rule)
        self.pause(seconds, stoppable)

    def get_stuck(self, rule: faults.Rule) -> NoReturn:
        self.change(lambda job: records.tell(job, rule))
        raise Stuck

    def delay(self, state: str) -> float:
        bounds = self.settings["delays"].get(state, 0)
        if isinstance(bounds, list):
            return random.Random(f"{self.settings['seed']}:{self.number}:{state}").uniform(*bounds)
        return float(bounds)

    def faults(self, when: str, actions: set[str]) -> list[faults.Rule]:
        return faults.take(self.folder, when, records.description(self.job), actions)

    def pause(self, seconds: float, stoppable: bool = True) -> None:
        """Wait for seconds of the platform."""
        deadline = time.monotonic() + seconds / self.settings["time_scale"]
        if stoppable:
            while self.wait_for_signal(deadline):
                pass
        else:
            time.sleep(max(0.0, deadline - time.monotonic()))

    def wait_for_signal(self, deadline: float) -> signal.Signals | None:
        """The next signal before the deadline, if any. Raises Stopped."""
        # Another stop may have been asked for while signals could not be looked at; they stay pending.
        received = signal.sigtimedwait(SIGNALS, max(0.0, deadline - time.monotonic()))
        if received is not None and received.si_signo == signal.SIGTERM:
            raise Stopped
        return signal.Signals(received.si_signo) if received else None

    def finish(
        self,
        state: str,
        code: str | None = None,
        message: str | None = None,
        exit_code: int | None = None,
        push: bool = True,
    ) -> None:
        """FINALIZING, then the last state."""

        def leave(job: records.Job) -> None:
            job["status"]["exitCode"] = exit_code
            if job["status"]["startedAt"]:
                job["status"]["stoppedAt"] = records.timestamp(self.settings)
            records.enter(job, "FINALIZING", self.settings)

        self.change(leave)
        self.stay("FINALIZING", stoppable=False)
        if push and self.has_pulled():
            self.push()
        if state == "FAILED" and exit_code is not None and code is None:
            message = f"Job failed with code {exit_code}"
        self.enter(state, code, message, last=True)

    def interrupt(self) -> None:
        """Stop the job, whatever it is doing."""
        try:
            self.enter("INTERRUPTING")
            self.terminate_command()
            self.stay("INTERRUPTING", stoppable=False)
            self.finish("INTERRUPTED", exit_code=self.command.exit_code)
        except Ended as end:
            self.end(end)
        except Stuck:
            return
        self.remove_files()

    def end(self, end: Ended) -> None:
        self.command.kill()
        if end.push:
            try:
                self.finish(end.state, end.code, end.message, end.exit_code)
            except Ended as failed_push:
                self.end(failed_push)
            except Stuck:
                pass
            return

        def leave(job: records.Job) -> None:
            job["status"]["exitCode"] = end.exit_code
            if job["status"]["startedAt"] and not job["status"]["stoppedAt"]:
                job["status"]["stoppedAt"] = records.timestamp(self.settings)
            records.enter(job, end.state, self.settings, end.code, end.message, last=True)

        self.change(leave)

    def pull_image(self) -> None:
        pull = image_settings(self.job, self.settings).get("pull")
        if pull == "fail":
            raise Ended("FAILED", "JOB_IMAGE_PULL", "Error image pull", push=False, exit_code=None)
        if pull == "backoff":
            message = f"Back-off pulling image {self.job['spec']['image']}"
            self.change(lambda job: records.set_info(job, "JOB_IMAGE_PULL_BACKOFF", message))
            raise Stuck

    # The command

    def run_command(self) -> None:
        """RUNNING. Raises Stopped or Ended."""
        timeout = self.job["spec"]["timeout"] / self.settings["time_scale"]
        out_of_time = time.monotonic() + timeout
        limits: list[tuple[float, faults.Rule | None]] = [(out_of_time, None)]
        simulated = self.delay("RUNNING") + self.simulated_seconds()
        for rule in self.faults("RUNNING", faults.STATE_ACTIONS):
            if rule["action"] == "stuck":
                self.get_stuck(rule)
            if rule["action"] == "delay":
                simulated += rule["seconds"]
            else:
                limits.append((time.monotonic() + rule.get("seconds", 0) / self.settings["time_scale"], rule))
        limit, ending = min(limits, key=lambda entry: entry[0])
        starts_at = time.monotonic() + simulated / self.settings["time_scale"]
        while time.monotonic() < min(starts_at, limit):
            if self.wait_for_signal(min(starts_at, limit)) == signal.SIGUSR1:
                self.copy_now()
        if time.monotonic() < limit:
            self.command.start()
            while not self.command.has_ended():
                received = self.wait_for_signal(limit)
                if received == signal.SIGUSR1:
                    self.copy_now()
                elif received is None:
                    break
        if self.command.exit_code is not None:
            return
        if ending is not None:
            raise ended_by(ending)
        self.time_out()

    def time_out(self) -> None:
        self.enter("TIMEOUT")
        self.terminate_command()
        self.stay("TIMEOUT", stoppable=False)
        code = self.settings["timeout_exit_code"]
        code = self.command.exit_code if code == "real" else code
        raise Ended(self.settings["timeout_state"], "JOB_TIMEOUT", None, push=True, exit_code=code)

    def terminate_command(self) -> None:
        self.command.terminate(self.settings["stop_grace"] / self.settings["time_scale"])

    def simulated_seconds(self) -> float:
        command = " ".join(self.job["spec"]["command"] or [])
        found = [seconds for pattern, seconds in self.settings["simulate"].items() if re.search(pattern, command)]
        return float(sum(found))  # a job may have several steps

    # Data

    def has_pulled(self) -> bool:
        """Whether the volumes are complete, so that they may go back."""
        return any(entry["state"] == "PENDING" for entry in self.job["status"]["history"])

    def pull(self) -> None:
        if self.job["spec"]["volumes"]:
            self.copy("pull", self.pull_volume)

    def pull_volume(self, volume: dict[str, Any]) -> sync.Counters:
        if "publicGit" in volume:
            raise sync.SyncError("DATASYNC_ERROR", "the stand-in has no git volumes")
        folder = volume_folder(self.files, self.job, volume)
        user = job_user(self.settings)
        counters = sync.Counters()
        if "dataStore" in volume:
            counters, pulled = sync.pull(self.bucket_folder(volume), folder, user)
            sync.add_to_snapshot(pulled, snapshot_file(folder))
        if user is not None:
            give_folders(folder, user)
        return counters

    def push(self) -> None:
        if self.writable_volumes():
            self.copy("push", self.push_volume)

    def push_volume(self, volume: dict[str, Any]) -> sync.Counters:
        folder = volume_folder(self.files, self.job, volume)
        known = sync.load_snapshot(snapshot_file(folder))
        delete = volume["permission"] == "RWD"
        counters, pushed = sync.push(folder, self.bucket_folder(volume), known, self.settings["push_unchanged"], delete)
        sync.add_to_snapshot(pushed, snapshot_file(folder))
        return counters

    def writable_volumes(self) -> list[dict[str, Any]]:
        volumes = self.job["spec"]["volumes"]
        return [volume for volume in volumes if volume["permission"] != "RO" and "dataStore" in volume]

    def copy_now(self) -> None:
        """Copies that a user has asked for; one that fails does not end the job."""
        with self.folder.changing(self.id) as record:
            directions, record["private"]["syncs"] = record["private"]["syncs"], []
        for direction in directions:
            with contextlib.suppress(Ended):
                self.copy(direction, self.pull_volume if direction == "pull" else self.push_volume, manual=True)

    def copy(
        self, direction: str, copy_volume: Callable[[dict[str, Any]], sync.Counters], manual: bool = False
    ) -> None:
        """Copy each volume and keep the platform's record of it. Raises Ended with SYNC_FAILED."""
        volumes = self.job["spec"]["volumes"] if direction == "pull" else self.writable_volumes()
        rules = self.faults(direction, faults.SYNC_ACTIONS)
        data_sync = records.new_data_sync(direction, manual, self.id, self.settings)
        self.change(lambda job: job["status"]["dataSync"].append(data_sync))
        time.sleep(sum(rule["seconds"] for rule in rules if rule["action"] == "delay") / self.settings["time_scale"])
        failing = next((rule for rule in rules if rule["action"] == "fail"), None)
        error: sync.SyncError | None = None
        for volume in volumes:
            counters = sync.Counters()
            try:
                if failing:
                    raise sync.SyncError(failing.get("code", "DATASYNC_FAILED"), failing.get("message", "sync failed"))
                counters = copy_volume(volume)
            except sync.SyncError as failure:
                error = failure
            except Exception as failure:
                traceback.print_exc()
                error = sync.as_sync_error(failure)
            self.add_progress(data_sync, volume, counters, error)
        records.end_data_sync(data_sync, error.code if error else None, str(error or ""), self.settings)
        self.change(lambda job: records.replace_data_sync(job, data_sync))
        if error and not (failing or {}).get("keep_state"):
            raise Ended("SYNC_FAILED", "JOB_SYNC_FAILED", str(error), push=False, exit_code=self.command.exit_code)

    def add_progress(
        self, data_sync: dict[str, Any], volume: dict[str, Any], counters: sync.Counters, error: sync.SyncError | None
    ) -> None:
        source = volume.get("dataStore")
        place = f"{source['container']}@{source['alias']}" if source else ""
        records.add_progress(data_sync, volume, place, asdict(counters), error.code if error else None, self.settings)
        if self.settings["sync_log_lines"]:
            text = f"{data_sync['spec']['direction']} {place}: {counters.completed} of {counters.total}"
            add_log_line(self.folder.log(self.id), "sync", text, self.settings)

    def bucket_folder(self, volume: dict[str, Any]) -> sync.BucketFolder:
        source = volume["dataStore"]
        store = self.settings["data_stores"].get(source["alias"])
        if store is None:
            raise sync.SyncError("DATASYNC_DATA_STORE_NOT_FOUND", f"data store {source['alias']} not found")
        return sync.BucketFolder(s3.Store(**store), source["container"], source["prefix"])

    def remove_files(self) -> None:
        """Data that could not be copied back is kept: the user may try again."""
        if records.has_ended(self.job) and self.job["status"]["state"] != "SYNC_FAILED":
            shutil.rmtree(self.files, ignore_errors=True)


def ended_by(rule: faults.Rule) -> Ended:
    state = rule.get("state", "ERROR")
    return Ended(state, rule.get("code"), rule.get("message"), rule.get("push", False), rule.get("exit_code"))


def snapshot_file(volume: Path) -> Path:
    return volume.with_suffix(".json")


def give_folders(volume: Path, user: int) -> None:
    for folder, _, _ in os.walk(volume):
        os.chown(folder, user, user)
