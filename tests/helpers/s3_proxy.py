"""A proxy before an S3 server, for tests. It counts and records requests, and it plays a server that does not answer.

    with s3_proxy(s3) as proxy:
        proxy.inject("503", first=7, count=6)            # requests 7 to 12
        proxy.inject("refuse", first=7, seconds=20)      # from request 7 on nobody listens, for 20 s
        client = proxy.server.client()                   # as s3.client(), through the proxy
        ...
        proxy.requests                                   # what was asked, and what was answered
        proxy.delay = 0.03                               # a server that is far away

Clients sign for the address that they talk to. The proxy passes their Host header on, so the server accepts them.
"""

import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import s3_server

HELD = 0.5  # seconds for which "hang" holds a request, unless it is told otherwise
# A number of three digits is a status: the server answers that, with the body of S3's errors.
KINDS = ("refuse", "reset", "hang", "truncate", "empty")
CODES = {"403": "AccessDenied", "429": "TooManyRequests", "500": "InternalError", "503": "SlowDown"}


@dataclass
class Request:
    number: int
    method: str
    path: str
    answer: str = ""  # the status, or the kind of the fault


@dataclass
class Fault:
    """kind: one of KINDS or a status. It acts on requests from number `first` on, for `count` of them or for
    `seconds` after the first of them. match: a regular expression for "METHOD PATH". skip: how many that match pass."""

    kind: str
    first: int = 1
    count: int | None = None
    seconds: float | None = None
    match: str = ""
    skip: int = 0
    hold: float = HELD
    code: str = ""  # S3's name of the error, in a body
    acted: int = 0
    began: float | None = None
    request: Request | None = None  # the first on which it acted

    def acts_on(self, request: Request) -> bool:
        if request.number < self.first or not re.search(self.match, f"{request.method} {request.path}"):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count is not None and self.acted >= self.count:
            return False
        self.began = self.began or time.monotonic()
        if self.seconds is not None and time.monotonic() - self.began >= self.seconds:
            return False
        self.acted += 1
        self.request = self.request or request
        return True


@dataclass
class Proxy:
    target: str  # HOST:PORT of the S3 server
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    listener: ThreadingHTTPServer | None = None
    port: int = 0
    delay: float = 0.0  # seconds that each answer takes longer

    @property
    def server(self) -> s3_server.S3Server:
        return s3_server.S3Server(f"http://127.0.0.1:{self.port}")

    def inject(self, kind: str, **how: object) -> Fault:
        """how: the fields of Fault."""
        if kind not in KINDS and not re.fullmatch(r"\d{3}", kind):
            raise ValueError(f"{kind!r} is no kind of fault; choose a status or one of {', '.join(KINDS)}")
        fault = Fault(kind, **how)  # type: ignore[arg-type]
        with self.lock:
            self.faults.append(fault)
        return fault

    def inject_now(self, kind: str, **how: object) -> Fault:
        """From the next request on."""
        return self.inject(kind, first=len(self.requests) + 1, **how)

    def clear(self) -> list[Fault]:
        """No more faults, once somebody listens again. Returns those that there were."""
        while self.listener is None:
            time.sleep(0.1)
        with self.lock:
            faults, self.faults = self.faults, []
        return faults

    def register(self, method: str, path: str) -> tuple[Request, Fault | None]:
        with self.lock:
            request = Request(len(self.requests) + 1, method, path)
            self.requests.append(request)
            return request, next((fault for fault in self.faults if fault.acts_on(request)), None)

    def listen(self) -> None:
        proxy = self

        class BoundHandler(Handler):
            def __init__(self, *arguments: object) -> None:
                self.proxy = proxy
                super().__init__(*arguments)  # type: ignore[arg-type]

        self.listener = Listener(("127.0.0.1", self.port), BoundHandler)
        self.port = int(self.listener.server_address[1])
        threading.Thread(target=self.listener.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        if self.listener:
            self.listener.shutdown()
            self.listener.server_close()
            self.listener = None

    def stay_closed(self, seconds: float) -> None:
        """Refuse connections for so long."""
        self.close()

        def reopen() -> None:
            time.sleep(seconds)
            with self.lock:  # several requests may have been refused at once
                if self.listener is None:
                    self.listen()

        threading.Thread(target=reopen, daemon=True).start()


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error here."""


class Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request, fault = self.proxy.register(self.command, self.path)
        if fault is None:
            self.pass_on(request, body)
            return
        request.answer = fault.kind
        if fault.kind == "refuse":
            self.proxy.stay_closed(fault.seconds or 1.0)
        elif fault.kind == "hang":
            time.sleep(fault.hold)
        elif fault.kind in ("truncate", "empty"):
            self.pass_on(request, body, part=0.5 if fault.kind == "truncate" else 0.0)
        elif fault.kind != "reset":
            self.refuse(fault)
            return
        self.break_off()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

    def pass_on(self, request: Request, body: bytes, part: float = 1.0) -> None:
        """part: how much of the answer's body is sent."""
        time.sleep(self.proxy.delay)
        connection = http.client.HTTPConnection(self.proxy.target, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        request.answer = request.answer or str(reply.status)
        self.send_response_only(reply.status, reply.reason)
        length = reply.getheader("Content-Length") or "0" if self.command == "HEAD" else str(len(content))
        for name, value in reply.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content[: int(len(content) * part)])

    def refuse(self, fault: Fault) -> None:
        code = fault.code or CODES.get(fault.kind, "InternalError")
        content = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()
        self.send_response_only(int(fault.kind))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def break_off(self) -> None:
        """Close the connection in the middle of what the client waits for."""
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def s3_proxy(server: s3_server.S3Server) -> Iterator[Proxy]:
    proxy = Proxy(urlsplit(server.endpoint).netloc)
    proxy.listen()
    try:
        yield proxy
    finally:
        proxy.close()
