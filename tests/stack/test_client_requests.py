"""Requests as clients of other languages send them, as bytes on a connection of the running service."""

import json
from http.client import parse_headers
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.raw_requests import answer_to, sending
from tests.support.service import Service


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_upgrade_is_answered_over_http_1(service: Service, protocol: str) -> None:
    """Java's client offers h2c with its first request, and sends the body with it."""
    head = f"""POST /v3/images/generations HTTP/1.1
Content-Type: application/json
Connection: Upgrade, HTTP2-Settings
Upgrade: {protocol}
HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="""
    answer = answer_to(service.url, head, json.dumps({"prompt": "a star", "steps": 1}).encode())
    assert answer.status == 200
    assert json.loads(answer.content)["data"][0]["b64_json"]


def test_head_has_the_headers_and_no_body(service: Service) -> None:
    body = {"prompt": "a star", "steps": 1, "response_format": "url"}
    url = httpx2.post(f"{service.url}/v3/images/generations", json=body, timeout=60).json()["data"][0]["url"]
    for path in ("/v3/models", "/v2/health/live", urlsplit(url).path):
        head = f"HEAD {path} HTTP/1.1\nConnection: close"
        with sending(service.url, head) as connection, connection.makefile("rb") as file:
            status, headers, rest = file.readline(), parse_headers(file), file.read()
        same = httpx2.get(service.url + path)
        assert (status.strip(), rest) == (b"HTTP/1.1 200 OK", b"")
        assert all(headers[name] == same.headers[name] for name in ("content-type", "content-length"))
