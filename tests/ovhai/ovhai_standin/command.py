"""A job's command in its sandbox, with its output going to the job's log."""

import contextlib
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ovhai_standin import records
from ovhai_standin.folder import PlatformFolder
from ovhai_standin.sandbox import Mount, Sandbox, exit_code

USER_FOLDERS = [Path("/root"), Path("/home"), Path("/tmp"), Path("/var/tmp")]
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WORKSPACE = Path("/workspace")


class SandboxError(Exception):
    """The command could not be given its view of the machine."""


class Command:
    """exit_code is None until the command has ended."""

    def __init__(self, folder: PlatformFolder, job: records.Job, settings: dict[str, Any]) -> None:
        self.job = job
        self.settings = settings
        self.platform_folder = folder.path
        self.files = folder.job_files(job["id"])
        self.log = folder.log(job["id"])
        self.supervisor: int | None = None  # the sandbox's process until the command has ended
        self.exit_code: int | None = None
        self.log_writer: threading.Thread | None = None

    def start(self) -> None:
        sandbox = self.sandbox()
        reading, writing = os.pipe()
        words = self.job["spec"]["command"] or ["true"]  # the image's own command is not known here
        self.supervisor = sandbox.start(words, self.environment(), writing)
        os.close(writing)
        self.log_writer = threading.Thread(target=self.write_log, args=(reading,), daemon=True)
        self.log_writer.start()

    def has_ended(self) -> bool:
        """Raises SandboxError."""
        if self.supervisor is not None and os.waitid(os.P_PID, self.supervisor, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self.reap()
        return self.supervisor is None

    def terminate(self, grace: float) -> None:
        """SIGTERM, and after seconds of grace SIGKILL. SIGCHLD must be blocked."""
        if self.supervisor is None:
            return
        os.kill(self.supervisor, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while not self.has_ended() and time.monotonic() < deadline:
            signal.sigtimedwait([signal.SIGCHLD], max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        if self.supervisor is not None:
            os.kill(self.supervisor, signal.SIGKILL)
            with contextlib.suppress(SandboxError):
                self.reap()

    def reap(self) -> None:
        assert self.supervisor is not None and self.log_writer is not None
        _, status = os.waitpid(self.supervisor, 0)
        self.supervisor = None
        self.log_writer.join(timeout=5)
        if self.errors.exists():
            raise SandboxError(self.errors.read_text())
        self.exit_code = exit_code(status)

    def write_log(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as output:
            for line in output:
                add_log_line(self.log, "job", line.decode(errors="replace").rstrip("\r\n"), self.settings)

    def environment(self) -> dict[str, str]:
        """Never the environment of the caller: keys that leak into a job would not be noticed."""
        image = image_settings(self.job, self.settings)
        environment = {"PATH": image.get("path") or f"{Path(sys.executable).parent}:{SYSTEM_PATH}"}
        if self.settings["home"]:
            environment["HOME"] = self.settings["home"]
        return environment | {entry["name"]: entry["value"] for entry in self.job["spec"]["envVars"] or []}

    @property
    def errors(self) -> Path:
        return self.files / "sandbox_errors"

    def sandbox(self) -> Sandbox:
        user = job_user(self.settings)
        hidden = [*USER_FOLDERS, self.platform_folder, *map(Path, self.settings["hidden"])]
        workspace, temporary, root = (self.made_folder(name) for name in ("workspace", "tmp", "root"))
        temporary.chmod(0o1777)
        mounts = [Mount(path, path, read_only=True) for path in interpreter_folders(hidden)]
        mounts += [Mount(workspace, WORKSPACE), Mount(temporary, Path("/tmp"))]
        if user is not None:
            os.chown(workspace, user, user)
            mounts += [Mount(account_file(name, user, self.files), Path("/etc", name)) for name in ("passwd", "group")]
        for volume in self.job["spec"]["volumes"]:
            source = volume_folder(self.files, self.job, volume)
            mounts.append(Mount(source, Path(volume["mountPath"]), volume["permission"] == "RO"))
        return Sandbox(
            root=root,
            errors=self.errors,
            mounts=mounts,
            hidden=hidden,
            user=user,
            mount_parents_writable=self.settings["mount_parents_writable"],
            working_folder=WORKSPACE,
        )

    def made_folder(self, name: str) -> Path:
        folder = self.files / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def image_settings(job: records.Job, settings: dict[str, Any]) -> dict[str, str]:
    """What the settings say about a job's image."""
    for pattern, entry in settings["images"].items():
        if re.search(pattern, job["spec"]["image"]):
            return dict(entry)
    return {}


def volume_folder(files: Path, job: records.Job, volume: dict[str, Any]) -> Path:
    """The folder on this machine that holds a volume's files."""
    number = [entry["mountPath"] for entry in job["spec"]["volumes"]].index(volume["mountPath"])
    folder = files / "volumes" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def job_user(settings: dict[str, Any]) -> int | None:
    """The user of commands and of files in volumes; None: the present one."""
    return settings["job_uid"] if os.geteuid() == 0 else None


def interpreter_folders(hidden: list[Path]) -> list[Path]:
    """Folders of the Python that runs the tests, if they lie in a hidden folder such as a user's home."""
    folders = {Path(sys.prefix), Path(sys.base_prefix)}
    return [path for path in sorted(folders) if any(path.is_relative_to(folder) for folder in hidden)]


def account_file(name: str, user: int, files: Path) -> Path:
    """/etc/passwd or /etc/group with the platform's user, called ovh."""
    line = {"passwd": f"ovh:x:{user}:{user}::/workspace:/bin/bash", "group": f"ovh:x:{user}:"}[name]
    file = files / name
    file.write_text(Path("/etc", name).read_text() + line + "\n")
    return file


def add_log_line(log: Path, source: str, text: str, settings: dict[str, Any]) -> None:
    with log.open("a") as file:
        file.write(f"{records.timestamp(settings)[:19]}Z [{source}] {text}\n")
