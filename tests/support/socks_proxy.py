"""A proxy that speaks SOCKS 5 (RFC 1928) and knows one server for all names."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer

_VERSION, _NO_LOGIN, _CONNECT, _NAME, _GRANTED = 5, 0, 1, 3, 0


class _Connection(StreamRequestHandler):
    def handle(self) -> None:
        methods = self.rfile.read(2)[1]
        self.rfile.read(methods)
        self.wfile.write(bytes([_VERSION, _NO_LOGIN]))
        version, command, _, kind = self.rfile.read(4)
        assert (version, command, kind) == (_VERSION, _CONNECT, _NAME)
        name = self.rfile.read(self.rfile.read(1)[0]).decode()
        port = int.from_bytes(self.rfile.read(2), "big")
        self.server.connected.append(f"{name}:{port}")  # type: ignore[attr-defined]
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:  # type: ignore[attr-defined]
            self.wfile.write(bytes([_VERSION, _GRANTED, 0, 1, 127, 0, 0, 1, 0, 0]))
            sending = threading.Thread(target=_copy, args=(self.connection, behind))
            sending.start()
            _copy(behind, self.connection)
            sending.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


@contextmanager
def socks_proxy(behind: int) -> Iterator[tuple[str, list[str]]]:
    """Run the proxy; yield its URL and the names and ports that it was asked for. ``behind`` is the server's port."""
    with ThreadingTCPServer(("127.0.0.1", 0), _Connection) as server:
        server.behind = behind  # type: ignore[attr-defined]
        server.connected = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"socks5h://127.0.0.1:{server.server_address[1]}", server.connected  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()
