"""Calls of the command-line program `ovhai`: their arguments, replies and errors. No other module starts it."""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .job import Job, read_job

TIMEOUT = 120  # seconds; the platform's own Airflow provider waits as long
PROGRAM = "ovhai"
INSTALL = "install it from https://cli.gra.ai.cloud.ovh.net"


class OvhaiError(Exception):
    """The platform did not answer, or its reply cannot be read. Asking again later may help."""


class NotAuthenticatedError(OvhaiError):
    """Nobody is logged in, or the login has expired."""


class RefusedError(OvhaiError):
    """The platform understood the call and refused it. Asking again does not help."""


class QuotaError(RefusedError):
    """The platform made no job, because the project's quota is used up."""


class NotFoundError(RefusedError):
    """What the call names does not exist."""


# The first pattern that matches counts. The program's exit codes are not documented, so its messages decide.
ERRORS: list[tuple[str, type[OvhaiError]]] = [
    (r"not authenticated|unauthori[sz]ed|\b401\b|token (has )?expired|please log ?in", NotAuthenticatedError),
    (r"\b402\b|quota", QuotaError),
    # This comes before the next two: when the network is down, a message may say "no such host" or "invalid
    # certificate".
    (r"\b50[0-4]\b|\bdns\b|no such host|lookup|connection|certificate|gateway|timed? ?out", OvhaiError),
    (r"\b404\b|not found|does not exist|no such", NotFoundError),
    (r"\b(400|403|409|413|422)\b|forbidden|invalid|bad request|unexpected argument", RefusedError),
]


class Client:
    """Several threads may use one client."""

    def __init__(self, program: str = PROGRAM, timeout: float | None = None) -> None:
        """timeout: seconds for a call; TIMEOUT if it is None."""
        self.program, self.timeout = program, timeout

    def is_installed(self) -> bool:
        return shutil.which(self.program) is not None

    def submit(self, arguments: Sequence[str]) -> Job:
        """Start a job. arguments are those after `ovhai job run`.

        After RefusedError and NotAuthenticatedError there is no job. After any other error there may be one.
        """
        job = read_job(self.read("job", "run", *arguments))
        if job is None:
            raise OvhaiError("the reply to `ovhai job run` names no job")
        return job

    def list_jobs(self) -> list[Job]:
        """All jobs of the project, also those that have ended."""
        return [job for job in map(read_job, self.list_records()) if job]

    def list_records(self) -> list[object]:
        """All jobs of the project in the platform's JSON."""
        records = self.read("job", "list", "-a", "-o", "json")
        if not isinstance(records, list):
            raise OvhaiError("the reply to `ovhai job list` is not a list")
        return records

    def get_job(self, job_id: str) -> Job:
        job = read_job(self.read("job", "get", job_id, "-o", "json"))
        if job is None or job.id != job_id:
            raise OvhaiError(f"the reply to `ovhai job get {job_id}` does not show this job")
        return job

    def get_record(self, job_id: str) -> dict[str, Any]:
        """One job in the platform's JSON."""
        record = self.read("job", "get", job_id, "-o", "json")
        if not isinstance(record, dict):
            raise OvhaiError(f"the reply to `ovhai job get {job_id}` does not show this job")
        return record

    def stop(self, job_id: str) -> None:
        self.call("job", "stop", job_id)

    def push(self, job_id: str) -> None:
        self.call("job", "push-data", job_id)

    def get_logs(self, job_id: str) -> str:
        return self.call("job", "logs", job_id)

    def follow_logs(self, job_id: str, path: Path) -> subprocess.Popen[bytes]:
        """Write the job's log to a file, until the job ends or the caller ends the process."""
        with path.open("wb") as log:
            return subprocess.Popen(
                [self.program, "job", "logs", "--follow", job_id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C must reach only Snakemake
            )

    def stream_logs(self, job_id: str) -> Iterator[str]:
        """Lines of the job's log as they come, until the job ends."""
        with tempfile.TemporaryFile() as messages:
            try:
                process = subprocess.Popen(
                    [self.program, "job", "logs", "--follow", job_id],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=messages,
                    text=True,
                    errors="replace",
                )
            except OSError as error:
                raise OvhaiError(f"`{self.program} job logs` could not be started: {error}") from None
            assert process.stdout
            try:
                for line in process.stdout:
                    yield line.rstrip("\n")
                code = process.wait()
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
            if code:
                messages.seek(0)
                message = messages.read().decode(errors="replace").strip()[-500:]
                kind = classify(message, code)
                raise kind(f"`{self.program} job logs` failed with exit code {code}: {message or 'no message'}")

    def list_flavors(self) -> list[dict[str, Any]]:
        return read_records(self.read("capabilities", "flavor", "list", "-o", "json"))

    def list_datastores(self) -> str:
        return self.call("datastore", "list")

    def get_account(self) -> dict[str, Any]:
        account = self.read("me", "-o", "json")
        if not isinstance(account, dict):
            raise OvhaiError("the reply to `ovhai me` is not a description of the account")
        return account

    def get_version(self) -> str:
        return self.call("--version").strip()

    def read(self, *arguments: str) -> Any:
        """The JSON that a call prints."""
        return read_json(self.call(*arguments), arguments)

    def call(self, *arguments: str) -> str:
        """What a call prints on standard output. Standard error counts only if the call fails."""
        what = " ".join([self.program, *arguments[:2]])
        timeout = self.timeout or TIMEOUT
        try:
            done = subprocess.run(
                [self.program, *arguments],
                stdin=subprocess.DEVNULL,  # it must not ask questions
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise RefusedError(f"the program `{self.program}` is not on PATH; {INSTALL}") from None
        except subprocess.TimeoutExpired:
            raise OvhaiError(f"`{what}` did not answer within {timeout:g} s") from None
        except OSError as error:
            raise OvhaiError(f"`{what}` could not be started: {error}") from None
        if done.returncode:
            message = (done.stderr.strip() or done.stdout.strip())[-500:]
            kind = classify(message, done.returncode)
            raise kind(f"`{what}` failed with exit code {done.returncode}: {message or 'no message'}")
        return done.stdout


def classify(message: str, code: int) -> type[OvhaiError]:
    """The kind of error. Exit code 2 means that the program does not understand the command line."""
    for pattern, kind in ERRORS:
        if re.search(pattern, message, re.IGNORECASE):
            return kind
    return RefusedError if code == 2 else OvhaiError


def read_json(text: str, arguments: Sequence[str] = ()) -> Any:
    """The JSON in a reply. There may be other lines before and after it."""
    if text.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            return json.loads(text)  # nearly always: what follows copies a text of many megabytes
    lines = text.splitlines(keepends=True)
    for start, line in enumerate(lines):
        if line.startswith(("{", "[")):
            rest = "".join(lines[start:])
            try:
                value, end = json.JSONDecoder().raw_decode(rest)
            except ValueError:
                continue
            if not rest[end:].partition("\n")[0].strip():  # otherwise it is a message such as "[2026] new version"
                return value
    what = " ".join([PROGRAM, *arguments[:2]])
    raise OvhaiError(f"the reply to `{what}` is not JSON: {text.strip()[:80]!r}")


def read_records(reply: Any) -> list[dict[str, Any]]:
    """The records of a list. Some commands wrap the list into {"items": [...]}."""
    records = reply.get("items") if isinstance(reply, dict) else reply
    if not isinstance(records, list):
        raise OvhaiError("the reply is not a list")
    return [record for record in records if isinstance(record, dict)]
