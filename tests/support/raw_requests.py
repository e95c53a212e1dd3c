"""Requests as bytes on a connection of their own, as clients of other languages and libraries send them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers by lower-case name, and the body."""

    status: int
    headers: dict[str, str]
    content: bytes


@contextmanager
def sending(url: str, head: str, body: bytes = b"") -> Iterator[socket.socket]:
    """Send a request on a new connection; leaving the block closes it.

    ``head``: the request line and the headers but for Host and Content-Length, one a line.
    """
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
        first, *headers = head.strip().splitlines()
        lines = [first, f"Host: {address.netloc}", *headers, *([f"Content-Length: {len(body)}"] if body else [])]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        yield connection


def answer_to(url: str, head: str, body: bytes = b"") -> Answer:
    """Send a request, and return its answer. ``head`` as for ``sending``."""
    with sending(url, head, body) as connection:
        response = HTTPResponse(connection, method=head.split(" ", 1)[0])
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
