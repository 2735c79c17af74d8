"""Send notifications: as JSON to a webhook, and by mail or chat with the package Apprise.

Environment variables name the places, since an address of a webhook or a chat is a secret, which no message tells. A
thread of its own sends: a server that is slow, refuses or hangs never ends a run, and delays only its end, by seconds.
"""

import hashlib
import hmac
import json
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

URL, SECRET, CHATS = "VIDEOMESH_WEBHOOK_URL", "VIDEOMESH_WEBHOOK_SECRET", "VIDEOMESH_APPRISE_URLS"
SIGNATURE = "X-Hub-Signature-256"  # as GitHub signs its webhooks: receivers know how to check it
TIMEOUT = (5.0, 10.0)  # seconds to connect, and without a byte of the answer
PAUSES = (1.0, 5.0)  # seconds before the second and the third try
PATIENCE = 15.0  # seconds for which the end of a run waits for what is still to be sent

Message = dict[str, Any]
Send = Callable[[Message], tuple[str, bool]]  # what is wrong, empty if nothing is; and whether another try may help


class Notifier:
    """No error leaves it."""

    def __init__(self, places: dict[str, Send], logger: logging.Logger) -> None:
        """places: by the variable that names them."""
        self.places, self.logger = places, logger
        self.queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.complaints: set[str] = set()
        self.given_up = threading.Event()
        self.tap = Tap(self)
        logger.addHandler(self.tap)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def tell(self, event: str, text: str, **details: Any) -> None:
        """Returns at once. text: a sentence for people."""
        place = f"{socket.gethostname()}:{Path.cwd()}"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.queue.put({"event": event, "text": text, "time": now, "place": place, **details})

    def close(self) -> None:
        self.logger.removeHandler(self.tap)
        self.queue.put(None)
        self.thread.join(PATIENCE)
        self.given_up.set()
        if self.thread.is_alive():
            self.complain("The run does not wait longer for its notifications; the last of them may be lost.")

    def work(self) -> None:
        while (message := self.queue.get()) and not self.given_up.is_set():
            for variable, send in self.places.items():
                if problem := try_to_send(send, message):
                    self.complain(f"A notification ({message['event']}) could not be sent: {variable} {problem}.")

    def complain(self, text: str) -> None:
        """Once for each text."""
        if text not in self.complaints:
            self.complaints.add(text)
            self.logger.warning(text)


class Tap(logging.Handler):
    """Takes those records of a log that have the attribute `notification`, which is the name of an event.

    So any part of a run can tell something that it alone knows, such as an executor whose limit of money is reached.
    """

    def __init__(self, notifier: Notifier) -> None:
        super().__init__()
        self.notifier = notifier

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "notification", None)
        if isinstance(event, str):
            self.notifier.tell(event, record.getMessage())


def try_to_send(send: Send, message: Message) -> str:
    """What is wrong after the last try. Empty if the message is sent."""
    for pause in (*PAUSES, None):
        try:
            problem, may_pass = send(message)
        except Exception as error:  # its text may hold the address
            problem, may_pass = f"cannot be used ({type(error).__name__})", False
        if not problem or not may_pass or pause is None:
            return problem
        time.sleep(pause)
    raise AssertionError("the last pause is None")


def open_notifier(logger: logging.Logger) -> Notifier | None:
    """What the environment asks for; None if that is nothing. No program that the run starts gets these variables."""
    url, secret, chats = (os.environ.pop(name, "").strip() for name in (URL, SECRET, CHATS))
    places: dict[str, Send] = {}
    if url:
        if url.lower().startswith(("http://", "https://")):
            places[URL] = make_webhook(url, secret)
        else:
            logger.warning(f"{URL} does not begin with http:// or https://, so no webhook is called.")
    if chats:
        try:
            places |= dict(open_chats(chats, logger))
        except Exception as error:  # its text may hold an address
            logger.warning(f"Apprise cannot be used ({type(error).__name__}), so {CHATS} gets nothing.")
    if not places:
        return None
    quiet = logging.getLogger("urllib3.connectionpool")  # in its debugging lines stand whole addresses
    quiet.setLevel(max(quiet.level, logging.INFO))
    return Notifier(places, logger)


def make_webhook(url: str, secret: str) -> Send:
    """secret: signs the messages; may be empty."""

    def send(message: Message) -> tuple[str, bool]:
        body = json.dumps(message).encode()
        headers = {"Content-Type": "application/json"}
        if secret:
            headers[SIGNATURE] = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
        try:
            # A redirected POST would become a GET, and the body of an answer says nothing, however long it is.
            with requests.post(
                url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True
            ) as reply:
                status = reply.status_code
        except requests.Timeout:
            return "does not answer", True
        except requests.ConnectionError:
            return "cannot be reached", True
        return "" if 200 <= status < 300 else f"answers with status {status}", status >= 500 or status == 429

    return send


def open_chats(addresses: str, logger: logging.Logger) -> Iterator[tuple[str, Send]]:
    """addresses: of Apprise, with blanks between them."""
    try:
        import apprise
    except ImportError:
        logger.warning(f"{CHATS} is set, but Apprise is not installed: install the extra `notify` of this project.")
        return
    logging.getLogger("apprise").disabled = True  # it names addresses
    chats = apprise.Apprise()
    known = [chats.add(address) for address in addresses.split()]
    if not all(known):
        logger.warning(f"Apprise does not know every address in {CHATS}; those are left out.")

    def send(message: Message) -> tuple[str, bool]:
        sent = chats.notify(title=f"Meshes: {message['event'].replace('_', ' ')}", body=message["text"])
        return "" if sent else "has an address that did not take it", True

    if len(chats):
        yield CHATS, send
