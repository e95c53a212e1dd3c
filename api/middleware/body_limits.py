"""Bounds the bodies of requests: each in bytes and time, and all of them together in bytes.

What counts are the bytes that have come, until the request has become a job or ends. The last quarter of the common
bound is for small bodies, so that requests without images go on while large ones fill the rest. A body that is still
coming after some seconds makes room for others first.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import TooManyBodies, error_response
from config.http_settings import ConnectionSettings, HttpSettings
from graphs.errors import RequestTooLarge, RequestTooSlow

_SMALL_BYTES = 2**20
# A body that has been coming for so long may have to make room for others.
_SLOW_S = 10.0


class HeldBody:
    """The body of one request, as far as it has come."""

    def __init__(self, bodies: "Bodies", began: float) -> None:
        self._bodies = bodies
        self.began = began
        self.held_bytes = 0
        self.received_bytes = 0
        self.gave_way = False
        # The time-out of the receiving that is going on; None while the body is not being received.
        self.receiving: asyncio.Timeout | None = None

    def release(self) -> None:
        """Note that the body is not in memory any more; again: no effect."""
        self._bodies.release(self)


class Bodies:
    """All bodies that this process holds. All methods run on the event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0
        # Oldest first.
        self._held: dict[HeldBody, None] = {}

    def take(self, body: HeldBody, size_bytes: int) -> None:
        """Count some more bytes of a body. Raises TooManyBodies."""
        body.received_bytes += size_bytes
        limit = self._max_bytes if body.received_bytes <= _SMALL_BYTES else self._max_bytes * 3 // 4
        while self._held_bytes + size_bytes > limit:
            slow = self._slowest(body)
            if slow is None:
                raise TooManyBodies
            self._give_way(slow)
        self._held_bytes += size_bytes
        body.held_bytes += size_bytes
        self._held[body] = None

    def release(self, body: HeldBody) -> None:
        """Note that a body is not in memory any more; again: no effect."""
        self._held.pop(body, None)
        self._held_bytes -= body.held_bytes
        body.held_bytes = 0

    def _slowest(self, but: HeldBody) -> HeldBody | None:
        latest = asyncio.get_running_loop().time() - _SLOW_S
        return next((b for b in self._held if b is not but and b.receiving is not None and b.began < latest), None)

    def _give_way(self, body: HeldBody) -> None:
        body.gave_way = True
        self.release(body)
        assert body.receiving is not None  # noqa: S101 - as _slowest found it
        body.receiving.reschedule(asyncio.get_running_loop().time())


class BodyLimitMiddleware:
    """Refuses bodies over ``max_body_bytes``, by their stated length at once and by their real length while they are
    read, bodies that are not complete after ``body_timeout_s``, and bodies for which there is no room."""

    def __init__(self, app: ASGIApp, http: HttpSettings, connections: ConnectionSettings) -> None:
        self._app = app
        self._max_bytes = http.max_body_bytes
        self._timeout_s = http.body_timeout_s
        self._bodies = Bodies(max(connections.max_bodies_bytes, 2 * http.max_body_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if stated.isdigit() and int(stated) > self._max_bytes:
            await error_response(self._too_large(), scope)(scope, receive, send)
            return
        body = HeldBody(self._bodies, asyncio.get_running_loop().time())
        scope["state"]["body"] = body
        try:
            await self._app(scope, self._bounded(body, receive), send)
        finally:
            body.release()

    def _bounded(self, body: HeldBody, receive: Receive) -> Receive:
        complete = False

        async def receive_bounded() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            part = await self._receive(body, receive)
            complete = not part.get("more_body", False)
            if content := part.get("body", b""):
                self._bodies.take(body, len(content))
                if body.received_bytes > self._max_bytes:
                    raise self._too_large()
            return part

        return receive_bounded

    async def _receive(self, body: HeldBody, receive: Receive) -> Message:
        if body.gave_way:
            raise TooManyBodies
        try:
            async with asyncio.timeout_at(body.began + self._timeout_s) as body.receiving:
                return await receive()
        except TimeoutError:
            if body.gave_way:
                raise TooManyBodies from None
            raise RequestTooSlow(f"The body was not complete after {self._timeout_s:g} s.") from None
        finally:
            body.receiving = None

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"The body is larger than {self._max_bytes} bytes.")
