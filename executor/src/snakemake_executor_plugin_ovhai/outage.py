"""What an outage of the bucket is, and whether there is one now."""

import http.client
import threading
import time
from typing import Any

import botocore.exceptions
import botocore.parsers
import urllib3.exceptions

QUIET = 60.0  # seconds after which a bucket that falls silent again is worth another line
REMINDER = 900.0  # seconds until an outage is mentioned again
NEVER = {501, 505}  # the server cannot do what it was asked, now or later
# What S3 servers call a moment's trouble, whatever status they put beside it.
BUSY = {
    "BandwidthLimitExceeded",
    "InternalError",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
# Errors of a connection, or of an answer that was cut off. The last three may come while a body is read.
NETWORK = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.IncompleteReadError,
    botocore.parsers.ResponseParserError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
)


class Outage:
    """Whether the bucket is silent, as the requests of this process show. All threads may call it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answered = False  # whether the bucket has ever answered well
        self.since: float | None = None  # when the bucket fell silent
        self.mentioned: float | None = None  # when the user was last told so
        self.told = False  # whether the user knows about this outage

    @property
    def silent(self) -> bool:
        return self.since is not None

    def report_failure(self, reason: str) -> None:
        """Tell the user once, and again from time to time."""
        with self.lock:
            now = time.monotonic()
            self.since = self.since or now
            pause = REMINDER if self.told else QUIET
            if self.mentioned is not None and now - self.mentioned < pause:
                return
            self.mentioned, self.told = now, True
            minutes = (now - self.since) / 60
        lasts = f" for {minutes:.0f} minutes" if minutes > 1 else ""
        tell("warning", f"The bucket has not answered{lasts}. The run waits for it. Jobs keep running. ({reason})")

    def report_answer(self) -> None:
        with self.lock:
            told, self.since, self.told = self.told, None, False
        if told:
            tell("info", "The bucket answers again.")


OUTAGE = Outage()


def tell(level: str, message: str) -> None:
    from snakemake_interface_common.logging import get_logger  # the command snakemake-ovhai works without Snakemake

    getattr(get_logger(), level)(message)


def find_outage(response: Any, operation: Any, error: Exception | None) -> str:
    """Why a request has to be made again, in a few words. Empty if the answer stands.

    response: botocore's pair of the raw and the read answer. It is None if there is an error. operation: botocore's
    description of the request.
    """
    if error is not None:
        return str(error) if is_outage(error) else ""
    raw, answer = response
    if is_cut_off(raw, operation):
        return "the answer is cut off"
    code = str(answer.get("Error", {}).get("Code", ""))
    return f"{raw.status_code} {code}".strip() if is_trouble(raw.status_code, code) else ""


def is_cut_off(raw: Any, operation: Any) -> bool:
    """Whether the end of an answer is missing. botocore takes a list that has no content for one of an empty bucket."""
    length = raw.headers.get("Content-Length", "")
    if operation.has_streaming_output or operation.http["method"] == "HEAD" or not length.isdigit():
        return False
    return len(raw.content) < int(length)


def is_outage(error: BaseException) -> bool:
    """Whether the same request may be answered later. A definite answer such as 403 or 404 is no outage."""
    if isinstance(error, botocore.exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return is_trouble(status, str(error.response.get("Error", {}).get("Code", "")))
    if type(error) is botocore.exceptions.HTTPClientError:  # botocore wraps whatever it does not know
        return isinstance(getattr(error, "kwargs", {}).get("error"), NETWORK)
    return isinstance(error, NETWORK)


def is_trouble(status: int, code: str) -> bool:
    """status: of HTTP. code: S3's name of the error."""
    return (status >= 500 and status not in NEVER) or status in (408, 429) or code in BUSY
