"""Requests as no HTTP library would send them: bytes out, an answer in."""

import socket
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from urllib.parse import urlsplit

from tests.fuzz.fuzz_support import ADMINISTRATOR
from tests.support.service import Service

_TIMEOUT_S = 30.0
KEY = ADMINISTRATOR["Authorization"].encode()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: HTTPMessage
    content: bytes

    @property
    def kind(self) -> str:
        return self.headers.get("content-type", "")


def ask(
    service: Service,
    method: bytes,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes = b"",
    *,
    stated_length: int | None = None,
) -> Answer | None:
    """Send these very bytes and return the answer; None where the server closed the connection without one.

    ``stated_length`` says another Content-Length than the body's; the sending side is closed
    where the server would wait for more.
    """
    length = len(body) if stated_length is None else stated_length
    lines = [
        b"%s %s HTTP/1.1" % (method, target),
        b"Host: fuzz",
        b"Connection: close",
        b"Content-Length: %d" % length,
        *(b"%s: %s" % header for header in headers),
    ]
    url = urlsplit(service.url)
    with socket.create_connection((url.hostname, url.port), _TIMEOUT_S) as connection:
        try:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            # A body that says it comes in chunks has none here, and a server waits for the first.
            if length > len(body) or any(name.lower() == b"transfer-encoding" for name, _ in headers):
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent; the answer may be there
        return _answer(connection, method)


def _answer(connection: socket.socket, method: bytes) -> Answer | None:
    """Of a stream that is followed with GET, which may never end, the answer has the beginning."""
    response = HTTPResponse(connection)
    try:
        response.begin()
        is_followed = method == b"GET" and response.headers.get_content_type() == "text/event-stream"
        return Answer(response.status, response.headers, response.read1() if is_followed else response.read())
    except (HTTPException, ConnectionResetError):
        return None
