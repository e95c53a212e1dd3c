"""The middleware of every request: its id and trace, unexpected errors, and the drain of the process.

Plain ASGI, so that nothing is buffered.
"""

import logging
import re
import secrets

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.drain import ApiDrain
from api.http.access_log import route_of
from api.http.answer_headers import with_safe_headers
from api.http.errors import UnexpectedError, error_response
from config.log_context import logged_with
from config.traceparent import trace_id

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[\w.:-]{1,128}", re.ASCII)


class RequestIdMiddleware:
    """Gives every answer an ``x-request-id``: the client's own, if that has only letters, digits and ``_.:-``.

    A ``traceparent`` is kept for the job, and its trace id is in every log line of the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}".encode()
        traceparent = headers.get(b"traceparent", b"").decode("latin-1").strip()
        trace = trace_id(traceparent)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()
        state["traceparent"] = traceparent if trace else None

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*with_safe_headers(message["headers"]), (b"x-request-id", request_id)]
            await send(message)

        with logged_with(request_id=request_id.decode(), trace_id=trace):
            await self._app(scope, receive, send_with_id)


class UnexpectedErrorMiddleware:
    """Answers an unexpected error, without its text. Starlette's own middleware would answer it too, but outside of all
    other middleware (so without a request id), and it would close a connection that clients may already reuse."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def send_and_keep_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_keep_start)
        except ClientDisconnect:
            log.info("%s: the client disconnected before its body was read", route_of(scope))
        except Exception:
            if started or scope["type"] != "http":
                raise
            log.exception("%s %s failed", scope["method"], route_of(scope))
            await error_response(UnexpectedError(), scope)(scope, receive, send)


class DrainMiddleware:
    """Counts the requests and, once the process shuts down, closes their connections after the answer."""

    def __init__(self, app: ASGIApp, drain: ApiDrain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._drain.is_on:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        with self._drain.counted():
            await self._app(scope, receive, send_closing)
