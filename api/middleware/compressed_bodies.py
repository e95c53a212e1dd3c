"""Reads bodies with Content-Encoding gzip and deflate (RFC 9110, 8.4.1), a part at a time.

Their size is bounded by what comes out of them, not by what was sent.
"""

import zlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import error_response
from graphs.errors import InvalidRequest, MediaTypeNotAccepted, RequestTooLarge

_PART_BYTES = 2**20
# The forms that zlib reads: gzip, its own, and none around the content.
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS
# The low four bits of the first byte of zlib's form (RFC 1950) name the method; "deflate" without it is sent as well.
_METHOD_BITS = 0x0F
_DEFLATE = 8
_OF_COMPRESSED = (b"content-encoding", b"content-length")


class CompressedBodiesMiddleware:
    """Hands on the bodies of requests without their compression. Plain ASGI.

    ``max_bytes`` bounds what is sent; the middleware behind this one bounds what comes out.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        encoding = _encoding(scope) if scope["type"] == "http" else ""
        if not encoding:
            await self._app(scope, receive, send)
            return
        if encoding not in ("gzip", "x-gzip", "deflate"):
            error = MediaTypeNotAccepted(f"Content-Encoding {encoding[:40]!r} is not read here; send gzip or none.")
            await error_response(error, scope)(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name not in _OF_COMPRESSED]
        parts = _parts(receive, is_gzip=encoding != "deflate", max_bytes=self._max_bytes)
        ended = False

        async def receive_plain() -> Message:
            nonlocal ended
            if ended:
                return await receive()
            part = await anext(parts, None)
            ended = part is None
            return {"type": "http.request", "body": part or b"", "more_body": not ended}

        await self._app({**scope, "headers": headers}, receive_plain, send)


def _encoding(scope: Scope) -> str:
    found = next((value for name, value in scope["headers"] if name == b"content-encoding"), b"")
    text = found.decode("latin-1").strip().lower()
    return "" if text == "identity" else text


async def _parts(receive: Receive, *, is_gzip: bool, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield what the body contains, in parts of at most 1 MiB. Raises InvalidRequest, and RequestTooLarge."""
    decoder = None
    received_bytes = 0
    async for content in _received(receive):
        received_bytes += len(content)
        if received_bytes > max_bytes:
            raise RequestTooLarge(f"The body is larger than {max_bytes} bytes.")
        if decoder is None:
            form = _ZLIB if content[0] & _METHOD_BITS == _DEFLATE else _RAW
            decoder = zlib.decompressobj(_GZIP if is_gzip else form)
        part = b""
        # A full part may leave output in the decoder although it has taken all input.
        while content or (len(part) == _PART_BYTES and not decoder.eof):
            if decoder.eof:
                decoder = _next_member(is_gzip=is_gzip)
            try:
                part = decoder.decompress(content, _PART_BYTES)
            except zlib.error as error:
                raise InvalidRequest("The body is not compressed as its Content-Encoding says.") from error
            if part:
                yield part
            content = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    if decoder is None or not decoder.eof:
        raise InvalidRequest("The compressed body ends too early.")


def _next_member(*, is_gzip: bool) -> "zlib._Decompress":
    """Return what reads on behind the end of a member: gzip may have several (RFC 1952, 2.2)."""
    if not is_gzip:
        raise InvalidRequest("The compressed body goes on behind its end.")
    return zlib.decompressobj(_GZIP)


async def _received(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if content := message.get("body", b""):
            yield content
        more = message.get("more_body", False)
