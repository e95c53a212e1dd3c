"""An HTTP server with files from which adapters are downloaded; it can also answer like Hugging Face."""

import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

# A self-signed certificate for this host name, made for these tests only.
TLS_NAME = "adapters.example"
TLS_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBqzCCAVCgAwIBAgIUMfa/vuiHCGcJ/QS3rukpN2DwYAAwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQYWRhcHRlcnMuZXhhbXBsZTAgFw0yNjExMjIwMjU2NTdaGA8y
MTI2MTAyOTAyNTY1N1owGzEZMBcGA1UEAwwQYWRhcHRlcnMuZXhhbXBsZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABPKiZO4tsTyCKDqx6y65eOBAQgOmEwBMa/2q
A2DPZpyirQK0CPgTvfxDtC+KJ7/Vgtp9se9IPZ+h2IYNTYIYl7ijcDBuMB0GA1Ud
DgQWBBTOBYx2+wbbGCaOIwnikl5qWTP7aTAfBgNVHSMEGDAWgBTOBYx2+wbbGCaO
Iwnikl5qWTP7aTAPBgNVHRMBAf8EBTADAQH/MBsGA1UdEQQUMBKCEGFkYXB0ZXJz
LmV4YW1wbGUwCgYIKoZIzj0EAwIDSQAwRgIhAL3Pu4S+xpXunXkVJeOYeTTcVWUE
9LU6hM/SL2GQV+OCAiEA8nJiPsttMFukxmwJLuBnSZLAojhOvcqVCbbdX0znFbE=
-----END CERTIFICATE-----
"""
TLS_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgW/ttPF2VPxwVZQhU
qc0GgZmdUaxT3thuLej2ZRhGwrWhRANCAATyomTuLbE8gig6sesuuXjgQEIDphMA
TGv9qgNgz2acoq0CtAj4E738Q7Qviie/1YLafbHvSD2fodiGDU2CGJe4
-----END PRIVATE KEY-----
"""

REPOSITORY, COMMIT = "org/repo", "0123456789abcdef0123456789abcdef01234567"


def adapter_bytes(size: int = 3000, fill: bytes = b"x") -> bytes:
    """Return bytes that begin like a safetensors file."""
    header = b'{"__metadata__":{}}'
    return (len(header).to_bytes(8, "little") + header).ljust(size, fill)


@dataclass
class Page:
    """The answer for a path. ``cut`` closes the connection after this many bytes, ``cuts`` times in all."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str = '"v1"'
    ranges: bool = True
    cut: int | None = None
    cuts: int = 10**9
    length: bool = True


class FileServer(ThreadingHTTPServer):
    """Answers from ``pages``, and records the requests as (method, path, headers with lower-case names)."""

    daemon_threads = True
    # Closing the server waits for its connections, so that none outlives the test.
    block_on_close = True

    def __init__(self, host: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.queries: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self, method: str = "GET") -> list[str]:
        return [path for sent, path, _ in self.requests if sent == method]

    def add_repository(self, files: dict[str, bytes], *, lfs: bool = True, name: str = REPOSITORY) -> None:
        """Add a repository with the paths of the Hub's API: its listing, and each file under ``resolve``."""
        listing = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        self.pages[f"/api/models/{name}"] = Page(json.dumps(listing).encode())
        for file, body in files.items():
            hashed = hashlib.sha256(body).hexdigest() if lfs else hashlib.sha1(body).hexdigest()
            for revision in ("main", COMMIT, "refs%2Fpr%2F1"):
                headers = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(body)), "X-Linked-Etag": f'"{hashed}"'}
                self.pages[f"/{name}/resolve/{revision}/{quote(file)}"] = Page(body, headers=headers)


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    timeout = 10

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        sent = {name.lower(): value for name, value in self.headers.items()}
        path, _, query = self.path.partition("?")
        self.server.queries.append(query)
        self.server.requests.append((self.command, unquote(path), sent))
        missing = Page(b"{}", 404, {"X-Error-Code": "RepoNotFound" if path.startswith("/api/") else "EntryNotFound"})
        page = self.server.pages.get(path, missing)
        start, status = 0, page.status
        asked = re.fullmatch(r"bytes=(\d+)-", sent.get("range", ""))
        if asked and page.ranges and sent.get("if-range") == page.etag:
            start, status = int(asked[1]), 206 if int(asked[1]) < len(page.body) else 416
        body = page.body[start:] if status != 416 else b""
        self.send_response(status)
        of = f"bytes {start}-{len(page.body) - 1}" if status == 206 else "bytes *"
        ranges = {"Content-Range": f"{of}/{len(page.body)}"} if status in (206, 416) else {}
        lengths = {"Content-Length": str(len(body))} if page.length else {}
        for name, value in {"ETag": page.etag, **lengths, **ranges, **page.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            if page.cut is not None and page.cuts:
                page.cuts -= 1
                body = body[: page.cut]
            self.wfile.write(body)

    def handle(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):  # a client that refused the certificate
            super().handle()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def file_server(host: str = "127.0.0.1", tls_folder: Path | None = None) -> Iterator[FileServer]:
    """Run a server on an address of this machine; ``tls_folder`` receives its certificate and makes it speak HTTPS."""
    with FileServer(host) as server:
        if tls_folder:
            chain = tls_folder / "server.pem"
            chain.write_text(TLS_CERTIFICATE + TLS_KEY)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain)
            # The thread of each connection does its handshake.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
