"""What the attacking tests share: connections without any HTTP library. They go to this machine only."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from tests.support.service import Service

_TIMEOUT_S = 60.0


def connected(service: Service) -> socket.socket:
    """Return a new connection to the service."""
    url = urlsplit(service.url)
    assert url.hostname == "127.0.0.1"
    return socket.create_connection((url.hostname, url.port), _TIMEOUT_S)


@contextmanager
def many_connections(service: Service, count: int) -> Iterator[list[socket.socket]]:
    """Hold so many open connections."""
    with ExitStack() as stack:
        yield [stack.enter_context(connected(service)) for _ in range(count)]


def head(method: str, path: str, *headers: str) -> bytes:
    """Return a request line with headers, without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def send_all(connection: socket.socket, parts: Iterable[bytes]) -> int:
    """Send the parts until the other side refuses them, and return how many bytes it took."""
    sent = 0
    for part in parts:
        try:
            connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            break
        sent += len(part)
    return sent


def status_of(connection: socket.socket) -> int | None:
    """Return the status of the answer; None where the connection ended without one."""
    response = HTTPResponse(connection)
    try:
        response.begin()
        response.read()
    except (HTTPException, ConnectionResetError):
        return None
    return response.status


def is_closed(connection: socket.socket) -> bool:
    """Wait until the other side closes the connection; what it sends before that is dropped."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True
