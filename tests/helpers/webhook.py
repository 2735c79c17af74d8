"""A webhook on this machine, which keeps what it is sent and can also fail in the ways in which servers fail."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any


class Webhook(http.server.ThreadingHTTPServer):
    """Answers in the way that `kinds` asks for, one request after the other; the last kind stays.

    A kind is a status, "slow" (200 after half a second), "hang", "drop", "garbage" or "endless".
    """

    daemon_threads = True

    def __init__(self, *kinds: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kinds = list(kinds or ("200",))
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/hook/TOKEN-OF-THE-ADDRESS"

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    def handle_error(self, *_: object) -> None:
        """A client that goes away is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        server = self.server
        server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        server.headers.append(dict(self.headers))
        server.paths.append(self.path)
        kind = server.kinds.pop(0) if len(server.kinds) > 1 else server.kinds[0]
        if kind == "drop":
            return
        if kind == "garbage":
            self.wfile.write(b"\0\1 this is no HTTP\n\n")
            return
        if kind == "hang":
            server.ended.wait(30)
            return
        if kind == "slow":
            time.sleep(0.5)
        self.send_response(int(kind) if kind.isdigit() else 200)
        if kind.startswith("3"):
            self.send_header("Location", self.server.url)
        self.end_headers()
        while kind == "endless" and not server.ended.is_set():
            self.wfile.write(b"x" * 1000)
            time.sleep(0.01)

    def do_GET(self) -> None:
        self.server.paths.append(f"GET {self.path}")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def open_webhook(*kinds: str) -> Iterator[Webhook]:
    with Webhook(*kinds) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()
