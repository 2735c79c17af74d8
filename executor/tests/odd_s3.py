"""An S3 server that answers every request in one way."""

import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LISTING = "<ListBucketResult><Name>{bucket}</Name><KeyCount>0</KeyCount></ListBucketResult>"


def error(code: str, more: str = "") -> str:
    return f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>"


@contextlib.contextmanager
def odd_s3(
    status: int = 200,
    body: str = LISTING.format(bucket="bucket"),
    skew: timedelta = timedelta(0),
    headers: Mapping[str, str] | None = None,
    certificate: Path | None = None,
    seen: list[tuple[str, Mapping[str, str]]] | None = None,
) -> Iterator[str]:
    """Its address. skew: how far its clock is ahead. certificate: file with certificate and key, for https.

    seen gets method and headers of each request. As everywhere, an answer to HEAD has no body.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if seen is not None:
                seen.append((self.command, dict(self.headers)))
            content = b"" if self.command == "HEAD" else body.encode()
            self.send_response_only(status)
            self.send_header("Date", format_datetime(datetime.now(UTC) + skew, usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def make_certificate(folder: Path) -> Path:
    """Nobody has signed it."""
    file = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=somebody"]
    subprocess.run([*command, "-keyout", str(file), "-out", str(folder / "cert.pem")], check=True, capture_output=True)
    file.write_text(file.read_text() + (folder / "cert.pem").read_text())
    return file
