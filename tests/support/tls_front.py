"""TLS before a server that speaks none, and certificates for it: the server in the wheel is built without TLS."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, MSG_PEEK, SHUT_RDWR, create_connection, create_server, socket

# The first byte of a TLS handshake.
_HANDSHAKE = b"\x16"


@dataclass(frozen=True)
class Certificates:
    """An authority, a certificate of it for localhost, one for clients, and an authority that signed neither."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def make(self) -> None:
        for authority in ("ca", "other"):
            self._openssl(f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={authority}", authority, "-out")
        self.sign("server", "localhost", "subjectAltName=DNS:localhost")
        self.sign("client", "worker", "extendedKeyUsage=clientAuth")

    def sign(self, name: str, subject: str, extension: str) -> None:
        extensions = self.path(f"{name}.ext")
        extensions.write_text(extension)
        self._openssl(f"req -newkey rsa:2048 -nodes -subj /CN={subject}", name, "-out", suffix="csr")
        files = {
            "-in": f"{name}.csr",
            "-CA": "ca.pem",
            "-CAkey": "ca.key",
            "-out": f"{name}.pem",
            "-extfile": extensions.name,
        }
        options = [word for option, file in files.items() for word in (option, str(self.path(file)))]
        command = ["openssl", "x509", "-req", "-days", "2", "-CAcreateserial", *options]
        subprocess.run(command, check=True, capture_output=True)

    def _openssl(self, arguments: str, name: str, out: str, suffix: str = "pem") -> None:
        files = ["-keyout", str(self.path(f"{name}.key")), out, str(self.path(f"{name}.{suffix}"))]
        subprocess.run(["openssl", *arguments.split(), *files], check=True, capture_output=True)


class TlsFront:
    """Takes TLS connections on a port of localhost, and passes what comes on to a server.

    ``wants_clients`` demands a certificate of each client. With ``passes_plain`` connections without TLS come through
    as well: those of a sentinel, which tells its clients the port that it watches. ``passed_on`` is what came by TLS.
    """

    def __init__(
        self,
        certificates: Certificates,
        connect: Callable[[], socket],
        *,
        wants_clients: bool = False,
        passes_plain: bool = False,
    ) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.path("ca.pem")))
        self._context.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
        self._context.verify_mode = ssl.CERT_REQUIRED if wants_clients else ssl.CERT_NONE
        self._connect = connect
        self._passes_plain = passes_plain
        self._listening = create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.passed_on: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket) -> None:
        client, seen = plain, None
        try:
            if not self._passes_plain or plain.recv(1, MSG_PEEK) == _HANDSHAKE:
                client, seen = self._context.wrap_socket(plain, server_side=True), self.passed_on
            server = self._connect()
        except OSError:  # no handshake with this client, or no server
            plain.close()
            return
        threading.Thread(target=_copy, args=(server, client, None), daemon=True).start()
        _copy(client, server, seen)


@contextmanager
def tls_before_socket(certificates: Certificates, path: str) -> Iterator[TlsFront]:
    """Put TLS, with clients' certificates, before a Unix socket."""

    def connected() -> socket:
        server = socket(AF_UNIX)
        server.connect(path)
        return server

    front = TlsFront(certificates, connected, wants_clients=True)
    yield front
    front.close()


@contextmanager
def tls_before_port(certificates: Certificates, port: int, *, passes_plain: bool = False) -> Iterator[TlsFront]:
    """Put TLS before a port of this machine."""
    front = TlsFront(certificates, lambda: create_connection(("127.0.0.1", port)), passes_plain=passes_plain)
    yield front
    front.close()


def _copy(source: socket, target: socket, seen: list[bytes] | None) -> None:
    with source, suppress(OSError):  # the other direction has closed its end
        while data := source.recv(65536):
            if seen is not None:
                seen.append(data)
            target.sendall(data)
        target.shutdown(SHUT_RDWR)
