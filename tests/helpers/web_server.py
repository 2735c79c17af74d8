"""A server of files that can also fail in the ways in which servers fail."""

import http.server
import threading
import time
from collections.abc import Iterator


class Server(http.server.ThreadingHTTPServer):
    """Answers /KIND/... in the way that the kind asks for, and counts requests by path."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: dict[str, int] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        count = self.server.requests[path] = self.server.requests.get(path, 0) + 1
        kind, content = path.split("/")[1], self.server.content
        if kind.isdigit():
            self.answer(b"<html>an error page</html>", status=int(kind))
        elif kind == "busy-once" and count == 1:
            self.answer(b"", status=503)
        elif kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/video/film.mp4?token=SECRET2")
            self.end_headers()
        elif kind == "circle":
            self.send_response(302)
            self.send_header("Location", "/circle/film.mp4")
            self.end_headers()
        elif kind == "page":
            self.answer(b"\n<!doctype html><html><head><title>Google Drive -\nQuota exceeded</title></head></html>")
        elif kind == "half" or (kind == "half-once" and count == 1):
            self.answer(content[: len(content) // 2], announced=len(content))
        elif kind == "unannounced":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + content)
        elif kind == "slow":
            self.answer(content[:1000], announced=len(content), wait=3)
        else:
            self.answer(content)

    def answer(self, content: bytes, status: int = 200, announced: int | None = None, wait: float = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if announced is None else announced))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
        time.sleep(wait)

    def log_message(self, *_: object) -> None:
        pass


def serve(content: bytes) -> Iterator[Server]:
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
