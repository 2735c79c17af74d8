"""What the executor tells the user while jobs run. A problem that lasts is not repeated at every check."""

import time
from collections.abc import Mapping
from typing import Protocol

from .bucket import BucketError, SilenceError
from .client import NotAuthenticatedError, OvhaiError
from .outage import OUTAGE

REMINDER = 900.0  # seconds until a lasting problem is mentioned again


class Logger(Protocol):
    def info(self, message: str) -> None: ...
    def warning(self, message: str, *, extra: Mapping[str, object] | None = None) -> None: ...


class Notices:
    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self.mentioned: dict[str, float] = {}  # kind of problem -> when it was last mentioned

    def info(self, message: str) -> None:
        self.logger.info(message)

    def warn(self, message: str) -> None:
        self.logger.warning(message)

    def remind(self, kind: str, message: str) -> None:
        """Warn about a problem that may last: once, and then from time to time."""
        if self.is_due(kind):
            self.logger.warning(message)

    def alert(self, event: str, message: str) -> None:
        """The same for whoever is not at the terminal: a workflow finds the event in the log's record."""
        if self.is_due(event):
            self.logger.warning(message, extra={"notification": event})

    def is_due(self, kind: str) -> bool:
        now = time.monotonic()
        due = now - self.mentioned.get(kind, -REMINDER) >= REMINDER
        if due:
            self.mentioned[kind] = now
        return due

    def report_outage(self, error: OvhaiError) -> None:
        if isinstance(error, NotAuthenticatedError):
            self.remind(
                "outage login",
                "Nobody is logged in, or the login has expired: run `ovhai login` in another terminal. Jobs keep "
                f"running, and none is lost. ({error})",
            )
        else:
            self.remind(
                "outage", f"The platform does not answer. Jobs keep running, and the executor asks again later. {error}"
            )

    def report_recovery(self) -> None:
        """The platform has answered."""
        if [self.mentioned.pop(kind) for kind in list(self.mentioned) if kind.startswith("outage")]:
            self.logger.info("The platform answers again.")

    def report_bucket_outage(self, error: BucketError, consequence: str = "The executor asks again later.") -> None:
        if isinstance(error, SilenceError) and OUTAGE.silent:
            return  # the user knows
        self.remind("bucket", f"The bucket does not answer. {consequence} {error}")
