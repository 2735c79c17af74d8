"""Downloads over https:// and http:// and from Google Drive. What may pass is tried again.

No message quotes an address: it may hold secrets.
"""

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import gdown
import requests
from urllib3.exceptions import ReadTimeoutError

from videomesh.errors import UserError

TRIES = 3
CONNECT_SECONDS, READ_SECONDS = 20, 60  # to wait for a connection, and for the next bytes
PROGRESS_SECONDS = 5
CHUNK = 1 << 20
SHARE_DRIVE = (
    "share the file with anyone who has the link; if Google says that its quota is exceeded, wait a day or keep the "
    "file elsewhere"
)


class Progress:
    """Says every few seconds how far a download is."""

    def __init__(self, scene: str) -> None:
        self.scene = scene
        self.shown = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self.shown >= PROGRESS_SECONDS:
            self.shown = time.monotonic()
            self.report(f"{megabytes(done)} of {megabytes(total) if total else 'an unknown size'} downloaded")

    def report(self, text: str) -> None:
        print(f"scene {self.scene}: {text}", flush=True)


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


@contextlib.contextmanager
def downloaded(source: str, output: Path, progress: Progress) -> Iterator[Path]:
    """A downloaded archive, under a temporary name that files.outputs clears away after a kill."""
    path = output.with_name(f"{output.name.rsplit('.', 2)[0]}.download.{os.getpid()}.part")
    try:
        download(source, path, progress)
        yield path
    finally:
        path.unlink(missing_ok=True)


def download(source: str, path: Path, progress: Progress) -> None:
    """Download to a file. What may pass, such as a server that is busy, is tried again. Raises UserError."""
    fetch = fetch_drive if source.startswith("gdrive://") else fetch_address
    for attempt in range(1, TRIES + 1):
        try:
            with open(path, "wb") as file:
                fetch(source, file, progress)
            return
        except (requests.RequestException, gdown.exceptions.DownloadError) as error:
            reason, advice, passing = diagnose(error)
        if not passing or attempt == TRIES:
            tried = f" (tried {attempt} times)" if attempt > 1 else ""
            raise UserError(f"{reason}{tried}; {advice}")
        progress.report(f"{reason}; trying again")
        time.sleep(attempt)


def fetch_address(source: str, file: BinaryIO, progress: Progress) -> None:
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    with requests.get(source, stream=True, timeout=timeout) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        done = 0
        for chunk in response.iter_content(CHUNK):  # raises if fewer bytes come than announced
            file.write(chunk)
            done += len(chunk)
            progress(done, total)


def fetch_drive(source: str, file: BinaryIO, progress: Progress) -> None:
    """Google Drive asks questions before it hands out large files; gdown answers them."""
    drive_id = source.removeprefix("gdrive://").split("/")[0]
    if not re.fullmatch(r"[\w-]{10,}", drive_id):
        raise UserError("not gdrive://ID; the ID is what stands between /d/ and /view in the link to the file")
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    gdown.download(id=drive_id, output=file, quiet=True, progress=progress, timeout=timeout)


def diagnose(error: Exception) -> tuple[str, str, bool]:
    """What happened, the next step, and whether trying again may help."""
    if isinstance(error, gdown.exceptions.FileURLRetrievalError):
        said = " ".join(str(error).split())[:200]
        return f"Google Drive does not hand the file out ({said})", SHARE_DRIVE, False
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return diagnose_status(error.response.status_code)
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not valid", "check the address and this machine's clock", False
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refuses", "check the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY", False
    if isinstance(error, requests.TooManyRedirects):
        return "the address leads in circles", "use the address of the file itself", False
    if isinstance(error, requests.Timeout) or is_caused_by(error, ReadTimeoutError):
        return "the server does not answer in time", "check the address and the network, or try later", True
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, gdown.exceptions.DownloadError)):
        return "the download broke off before its end", "check the network, or try later", True
    if isinstance(error, requests.ConnectionError):
        if is_caused_by(error, socket.gaierror):
            return "the host name is not known", "check the address and the network (DNS)", True
        if is_caused_by(error, ConnectionRefusedError):
            return "the server refuses the connection", "check the address and that the server runs", True
        return "the connection failed", "check the address and the network, or try later", True
    return "the address is not valid", "check it in the table of scenes", False


def diagnose_status(status: int) -> tuple[str, str, bool]:
    reason = f"the server answers HTTP {status}"
    if status in (401, 403):
        return (
            f"{reason} (access refused)",
            "make the file public, or renew the signature in the address",
            False,
        )
    if status in (404, 410):
        return f"{reason} (not found)", "check the address", False
    passing = status == 429 or status >= 500
    return reason, "try later" if passing else "check the address", passing


def is_caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an exception of this kind is among what led to the error; urllib3 keeps some in `reason` only."""
    seen: list[BaseException] = [error]
    for current in seen:
        if isinstance(current, kind):
            return True
        further = (current.__cause__, current.__context__, getattr(current, "reason", None), *current.args)
        seen += [other for other in further if isinstance(other, BaseException) and other not in seen]
    return False
