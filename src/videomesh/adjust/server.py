"""The server behind the page: for this machine alone, and for those who know the token in its address."""

import hmac
import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from videomesh.errors import UserError

LARGEST = 64 * 1024  # bytes of a request
IDLE = 30  # seconds after which a silent connection is closed
ADDRESS = "127.0.0.1"

Answer = tuple[HTTPStatus, Any]  # a status, and what becomes JSON


class Server(ThreadingHTTPServer):
    """show: makes the page, and its policy. ask: path below the token -> answer. save: a request's JSON -> answer."""

    daemon_threads = True

    def __init__(
        self, show: Callable[[], tuple[str, str]], ask: Callable[[str], Answer], save: Callable[[Any], Answer]
    ) -> None:
        super().__init__((ADDRESS, 0), Handler)
        self.token = secrets.token_urlsafe(24)
        self.show, self.ask, self.save = show, ask, save
        self.hosts = [f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")]

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"


class Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "adjust", ""
    timeout = IDLE

    def do_GET(self) -> None:
        path = self.check()
        if path is None:
            return
        if path == "":
            html, policy = self.server.show()
            self.send(HTTPStatus.OK, html.encode(), "text/html; charset=utf-8", policy)
        else:
            self.answer(*self.try_to(self.server.ask, path))

    def do_POST(self) -> None:
        path = self.check()
        if path is None:
            return
        content = self.read_json()
        if content is None:
            return
        if path != "save":
            self.refuse(HTTPStatus.NOT_FOUND, "there is no such address")
        else:
            self.answer(*self.try_to(self.server.save, content))

    def check(self) -> str | None:
        """The path below the token, or None after a refusal.

        A page elsewhere can send requests here, and with a name of its own that leads here (DNS rebinding) also read
        the answers. It knows no token, and cannot choose these headers.
        """
        if self.headers.get("Host") not in self.server.hosts:
            self.refuse(HTTPStatus.FORBIDDEN, "this server answers only to its own address")
            return None
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in self.server.hosts]:
            self.refuse(HTTPStatus.FORBIDDEN, "this server answers only to its own page")
            return None
        token, slash, path = urlsplit(self.path).path.lstrip("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self.refuse(HTTPStatus.FORBIDDEN, "use the whole address that scripts/adjust.py printed")
            return None
        return unquote(path)

    def read_json(self) -> Any:
        """The content of a request, or None after a refusal."""
        if self.headers.get_content_type() != "application/json":
            self.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
            return None
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
            return None
        if len(length) > 9 or int(length) > LARGEST:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {LARGEST} bytes")
            return None
        try:
            content = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            self.refuse(HTTPStatus.BAD_REQUEST, "send a JSON object")
            return None
        return content

    def try_to(self, act: Callable[[Any], Answer], content: Any) -> Answer:
        try:
            return act(content)
        except UserError as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except Exception as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"this did not work: {error!r}"}

    def refuse(self, status: HTTPStatus, words: str) -> None:
        self.close_connection = True  # what else was sent is not read
        self.answer(status, {"error": words})

    def answer(self, status: HTTPStatus, content: Any) -> None:
        self.send(status, json.dumps(content).encode(), "application/json")

    def send(self, status: HTTPStatus, data: bytes, kind: str, policy: str = "default-src 'none'") -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address in each line would hold the token."""
