"""A stand-in of Hugging Face: its API and its file addresses, with a second server in the place of its CDN.

Small files come from the Hub itself, those in LFS by a redirect to the CDN, as at the real one. What goes wrong is
planned in ``faults``. Every body that is sent is counted by file and place.
"""

import hashlib
import json
import re
import ssl
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/models/([^/]+/[^/]+?)(?:/revision/([^/]+))?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_CHUNK = 4096
_LARGE_BYTES = 2**24
# Of large bodies, which are kept here, so that an id is not used again: id -> body, SHA-256.
_DIGESTS: dict[int, tuple[bytes, str]] = {}


@dataclass
class Fault:
    """What goes wrong with an answer, for so many ``times``: another status, or a body that ends early."""

    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    times: int = 1


@dataclass
class StoredRepository:
    """A repository: its files, and who may read it."""

    files: dict[str, bytes]
    commit: str = COMMIT
    is_private: bool = False
    is_gated: bool = False
    renamed_to: str = ""


class HubStandIn:
    """The state of both servers. ``tokens`` are those that it knows; ``pause_s`` follows each chunk."""

    def __init__(self, tls_chain: Path | None = None, name: str = "127.0.0.1") -> None:
        """``tls_chain``: a certificate for ``name`` with its key; then both servers speak HTTPS only."""
        self.name = name
        self.scheme = "https" if tls_chain else "http"
        self.repositories: dict[str, StoredRepository] = {}
        self.tokens = {"hf_good"}
        self.faults: list[Fault] = []
        self.pause_s = 0.0
        self.chunk_bytes = _CHUNK
        self.etag_changes = False
        # File -> the parts that were sent: (first byte, bytes).
        self.sent: dict[str, list[tuple[int, int]]] = defaultdict(list)
        # File -> the first byte of each part that was begun.
        self.begun: dict[str, list[int]] = defaultdict(list)
        self.bytes_written = 0
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.hub = _Server(self, is_cdn=False)
        self.cdn = _Server(self, is_cdn=True)
        if tls_chain is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls_chain)
            for server in (self.hub, self.cdn):
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        return self.address_of(self.hub)

    def address_of(self, server: "_Server") -> str:
        """Return the address of one of both servers."""
        return f"{self.scheme}://{self.name}:{server.server_address[1]}"

    def add(self, name: str, folder: Path, **options: object) -> StoredRepository:
        """Add a repository with the files of a folder."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.repositories[name] = StoredRepository(files, **options)  # type: ignore[arg-type]
        return self.repositories[name]

    def fault_of(self, path: str) -> Fault | None:
        """Return the next fault that is planned for a path (a part of it), and count it."""
        with self.lock:
            found = next((fault for fault in self.faults if fault.times and fault.path in path), None)
            if found is not None:
                found.times -= 1
            return found

    def bytes_sent(self, file: str) -> int:
        """Return how many bytes of a file were sent in all."""
        return sum(length for _, length in self.sent[file])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, state: HubStandIn, *, is_cdn: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state, self.is_cdn = state, is_cdn


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        state = self.server.state
        path = unquote(self.path.partition("?")[0])
        state.requests.append((self.command, path))
        fault = state.fault_of(path)
        if fault is not None and fault.status:
            self._send(fault.status, b'{"error": "planned"}', fault.headers)
        elif self.server.is_cdn:
            digest = path.removeprefix("/lfs/")
            name, body = next(
                (name, body)
                for repository in state.repositories.values()
                for name, body in repository.files.items()
                if _sha256(body) == digest
            )
            self._send_file(name, body, digest, fault)
        elif found := _API.fullmatch(path):
            self._api(found[1])
        elif found := _FILE.fullmatch(path):
            self._file(found[1], found[3], fault)
        else:
            self._send(404, b"{}", {})

    def _api(self, name: str) -> None:
        state = self.server.state
        repository = state.repositories.get(name)
        if repository is not None and repository.renamed_to:
            path = self.path.replace(name, repository.renamed_to)
            self._send(307, b"", {"Location": path})
        elif self._is_allowed(repository) and repository is not None:
            siblings = [_sibling(file, body) for file, body in repository.files.items()]
            self._send(200, json.dumps({"id": name, "sha": repository.commit, "siblings": siblings}).encode(), {})

    def _file(self, name: str, file: str, fault: Fault | None) -> None:
        repository = self.server.state.repositories.get(name)
        if not self._is_allowed(repository, is_file=True) or repository is None:
            return
        body = repository.files.get(file)
        if body is None:
            self._send(404, b"Entry not found", {"X-Error-Code": "EntryNotFound"})
        elif _is_lfs(file):
            digest = _sha256(body)
            state = self.server.state
            cdn = f"{state.address_of(state.cdn)}/lfs/{digest}?signed=1"
            linked = {
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(body)),
                "X-Repo-Commit": repository.commit,
            }
            self._send(302, b"", {"Location": cdn, **linked})
        else:
            self._send_file(file, body, hashlib.sha1(body).hexdigest(), fault)  # as git names it

    def _is_allowed(self, repository: StoredRepository | None, *, is_file: bool = False) -> bool:
        """Answer for a reader who may not read the repository, as the Hub does."""
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.server.state.tokens:
            self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repository is None or (repository.is_private and not token):
            error = "Repository not found" if token else "Invalid username or password."
            self._send(404 if token else 401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": error})
        elif repository.is_gated and is_file and not token:
            self._send(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        else:
            return True
        return False

    def _send_file(self, name: str, body: bytes, etag: str, fault: Fault | None) -> None:
        state = self.server.state
        if state.etag_changes:
            etag = f"{etag}-{len(state.requests)}"
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        condition = self.headers.get("if-range")
        start = int(asked[1]) if asked and (condition is None or condition == f'"{etag}"') else 0
        part = body[start:]
        ranges = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        cut = fault.cut_after if fault is not None else None
        self._send(206 if start else 200, part, {"ETag": f'"{etag}"', **ranges}, name=name, start=start, cut=cut)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        *,
        name: str = "",
        start: int = 0,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for header, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        state, done = self.server.state, 0
        if name:
            state.begun[name].append(start)
        try:
            size = state.chunk_bytes
            for at in range(0, min(len(body), cut if cut is not None else len(body)), size):
                chunk = body[at : at + size] if cut is None else body[at : min(at + size, cut)]
                self.wfile.write(chunk)
                done += len(chunk)
                state.bytes_written += len(chunk)
                if state.pause_s:
                    self.wfile.flush()
                    threading.Event().wait(state.pause_s)
        finally:
            if name:
                state.sent[name].append((start, done))
        if cut is not None:
            self.close_connection = True

    def handle(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):  # a client that was killed
            super().handle()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _sha256(body: bytes) -> str:
    if len(body) < _LARGE_BYTES:
        return hashlib.sha256(body).hexdigest()
    if id(body) not in _DIGESTS:
        _DIGESTS[id(body)] = (body, hashlib.sha256(body).hexdigest())
    return _DIGESTS[id(body)][1]


def _is_lfs(file: str) -> bool:
    return file.endswith((".bin", ".safetensors"))


def _sibling(file: str, body: bytes) -> dict[str, object]:
    if not _is_lfs(file):
        blob = hashlib.sha1(body).hexdigest()  # as git names it
        return {"rfilename": file, "size": len(body), "blobId": blob}
    sha256 = _sha256(body)
    lfs = {"sha256": sha256, "size": len(body), "pointerSize": 134}
    return {"rfilename": file, "size": len(body), "blobId": sha256[:40], "lfs": lfs}


@contextmanager
def hub_stand_in(tls_chain: Path | None = None, name: str = "127.0.0.1") -> Iterator[HubStandIn]:
    """Run both servers until the block ends; the arguments are those of HubStandIn."""
    state = HubStandIn(tls_chain, name)
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        for server in (state.hub, state.cdn)
    ]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        for server in (state.hub, state.cdn):
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
