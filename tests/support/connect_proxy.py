"""An HTTP proxy that opens tunnels (CONNECT, RFC 9110), and finds every name on this machine."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Tunnel(BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        port = int(self.path.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as behind:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            sending = threading.Thread(target=_copy, args=(self.connection, behind))
            sending.start()
            _copy(behind, self.connection)
            sending.join()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def connect_proxy() -> Iterator[tuple[str, list[str]]]:
    """Run the proxy; yield its URL and the names and ports that it was asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Tunnel) as server:
        server.daemon_threads = True
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()
