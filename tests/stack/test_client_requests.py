"""Requests as clients of other languages send them, as bytes on a connection of the running service."""

import json
import socket
from email.message import Message
from http.client import parse_headers
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.service import Service


def _answer(service: Service, head: str, body: bytes = b"") -> tuple[str, Message, bytes]:
    """Send a request as it is; return the status line, the headers, and all bytes that follow them."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
        lines = [head, f"Host: {address.netloc}", "Connection: close", f"Content-Length: {len(body)}"]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        with connection.makefile("rb") as file:
            return file.readline().decode().strip(), parse_headers(file), file.read()


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_upgrade_is_answered_over_http_1(service: Service, protocol: str) -> None:
    """Java's client offers h2c with its first request, and sends the body with it."""
    head = (
        "POST /v3/images/generations HTTP/1.1\r\nContent-Type: application/json\r\n"
        f"Upgrade: {protocol}\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    )
    status, _, content = _answer(service, head, json.dumps({"prompt": "a star", "steps": 1}).encode())
    assert status == "HTTP/1.1 200 OK"
    assert json.loads(content)["data"][0]["b64_json"]


def test_head_has_the_headers_and_no_body(service: Service) -> None:
    body = {"prompt": "a star", "steps": 1, "response_format": "url"}
    url = httpx.post(f"{service.url}/v3/images/generations", json=body, timeout=60).json()["data"][0]["url"]
    for path in ("/v3/models", "/v2/health/live", urlsplit(url).path):
        status, headers, content = _answer(service, f"HEAD {path} HTTP/1.1")
        same = httpx.get(service.url + path)
        assert (status, content) == ("HTTP/1.1 200 OK", b"")
        assert all(headers[name] == same.headers[name] for name in ("content-type", "content-length"))
