"""Helpers for the tests of request bodies: each sends a body without waiting for the image."""

import json
from typing import Any

import httpx2

from tests.api.api_support import AT_ONCE, PNG, Api

GENERATIONS, EDITS = "/v3/images/generations", "/v3/images/edits"
FILE = {"image": ("red.png", PNG, "image/png")}


def send_json(api: Api, body: bytes | dict[str, Any], path: str = GENERATIONS) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.http.post(path, content=content, headers={"Content-Type": "application/json", **AT_ONCE})


def send_form(api: Api, data: dict[str, Any], files: Any = FILE) -> httpx2.Response:
    return api.http.post(EDITS, data={"prompt": "x", **data}, files=files, headers=AT_ONCE)


def send_edit(api: Api, images: Any, **more: Any) -> httpx2.Response:
    """Send an edit as JSON."""
    return send_json(api, {"prompt": "x", "images": images, **more}, EDITS)
