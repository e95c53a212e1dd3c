"""The headers that keep an answer from being misused by a browser, on every answer and on those that are pages."""

import base64
import hashlib
from collections.abc import Iterable, Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.proxies import path_here

Headers = Iterable[tuple[bytes, bytes]]

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_PAGE = "/docs"
# An image that is opened by its address runs nothing, even if it were a document.
IMAGE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    "font-src 'self' data:; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; worker-src blob:; "
    "script-src 'self'{hashes}"
)
_SCRIPT = b"<script>"


def with_safe_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers with those that every answer needs: no guessing of types, no keeping of JSON."""
    found = [*headers, _NO_SNIFFING]
    is_json = False
    for name, value in found:
        if name == b"cache-control":
            return found
        if name == b"content-type":
            is_json = value == b"application/json"
    if is_json:
        found.append(_NO_STORE)
    return found


class PagePolicyMiddleware:
    """Gives the documentation page a Content-Security-Policy that names its own inline scripts by their hashes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or path_here(scope) != _PAGE:
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_with_policy(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                policy = _PAGE_POLICY.format(hashes="".join(_hashes(message.get("body", b""))))
                headers = [*start["headers"], (b"content-security-policy", policy.encode())]
                await send({**start, "headers": headers})
                start = None
            await send(message)

        await self._app(scope, receive, send_with_policy)


def _hashes(page: bytes) -> Iterator[str]:
    """Yield the sources of the page's inline scripts, as a Content-Security-Policy names them (W3C CSP 3, 2.3.1)."""
    for part in page.split(_SCRIPT)[1:]:
        script = part.partition(b"</script>")[0]
        yield f" 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
