"""uvicorn's HTTP/1.1 protocol with bounds on what a client may take before its request, and so its key, is known.

uvicorn leaves these bounds to a proxy in front of it. Its protocol on h11 is used: it bounds incomplete headers in
bytes, and it ignores ``Upgrade: h2c``, as RFC 9110 (7.8) allows. The protocol on httptools has no bounds, and loses the
body of such a request. Added here: a time for the headers, and a time for a client that takes no byte of its answer or
goes on sending a body that has been answered.
"""

import asyncio
import json
import logging
import secrets
import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.http.connections import Connections
from api.http.errors import HeadersTooLarge, HeadersTooSlow, HttpRefusal, TooManyConnections, error_body, status_of
from api.http.proxies import plain_address
from graphs.errors import ImagegenError

# How long the rest of a body is received, and dropped, after its request was answered: a client that is still sending
# reads the answer only if its connection is not reset.
_LINGER_S = 10.0
# The same after a refusal, when what comes is not even HTTP.
_REFUSED_STAYS_S = 2.0
_DROPPED_BYTES = 2**20
# uvicorn warns of each request that is not HTTP; those are counted instead, since they would fill the log.
_log = logging.getLogger(__name__)
_log.addFilter(lambda record: record.levelno > logging.WARNING)
_NOT_HTTP = HttpRefusal("The request is not HTTP/1.1.")


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with the bounds of its ``registry``."""

    registry: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take a new connection, or refuse it."""
        super().connection_made(transport)
        self.logger = _log
        # A socket of both versions shows a client of IPv4 as ::ffff:192.0.2.1, which no list of addresses has.
        self.client = self.client and (plain_address(self.client[0]), self.client[1])
        self.address = self.client[0] if self.client else ""
        # Requests copy this; a proxy's headers have replaced the address of their client by then.
        self.app_state = {**self.app_state, "is_from_proxy": self.address in self.registry.proxies}
        self._has_sent = False
        self._answered_at = self._unsent_since = self.loop.time()
        self._head_began: float | None = self._answered_at
        self._unsent_bytes = 0
        self._refused_at: float | None = None
        self._dropped_bytes = 0
        if not self.registry.opened(self):
            self.registry.refused("too_many_connections")
            self._refuse(TooManyConnections())
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.registry.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._refused_at is not None:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > _DROPPED_BYTES:
                self.abort()
            return
        self._has_sent = True
        if self._head_began is None and self.conn.their_state is h11.IDLE:
            self._head_began = self.loop.time()
        super().data_received(data)
        if self._head_began is not None and self.conn.their_state is not h11.IDLE:
            self._head_began = None
            self.registry.is_asked(self)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._answered_at = self.loop.time()
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next request had already come
            self.registry.waits(self)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has too large headers. h11 says which of both it is."""
        problem = sys.exc_info()[1]
        if isinstance(problem, h11.RemoteProtocolError) and problem.error_status_hint == 431:
            self.registry.refused("headers_too_large")
            self._refuse(HeadersTooLarge())
        else:
            self.registry.refused("invalid_http")
            self._refuse(_NOT_HTTP)

    def close_if_overdue(self, now: float) -> None:
        """Close the connection if the client has not done its part in time."""
        limits = self.registry.settings
        if self._refused_at is not None:
            if now - self._refused_at > _REFUSED_STAYS_S:
                self.abort()
            return
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent_bytes:
            self._unsent_since = now
            self._unsent_bytes = unsent
        if now - self._unsent_since > limits.answer_timeout_s:
            self.registry.refused("answer_not_taken")
            self.abort()
        elif self._head_began is not None and now - self._head_began > limits.header_timeout_s:
            self._head_began = None
            self.registry.refused("headers_too_slow" if self._has_sent else "silent")
            self._refuse(HeadersTooSlow() if self._has_sent else None)
        elif self._body_goes_on() and now - self._answered_at > _LINGER_S:
            self.registry.refused("body_after_answer")
            self.abort()

    def is_sending(self) -> bool:
        """Return whether the body of the connection's request has not come completely."""
        return self.conn.their_state is h11.SEND_BODY

    def abort(self) -> None:
        """End the connection now, without what has not been sent yet."""
        self.transport.abort()

    def _body_goes_on(self) -> bool:
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _refuse(self, error: ImagegenError | None) -> None:
        """End the connection, with an answer where there is an error and no other answer has begun.

        What the client still sends is dropped for a moment, since it would not read the answer after a reset.
        """
        self._refused_at = self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if error is None or self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        self.transport.write(_answer(error))
        self.transport.write_eof()


def protocol_of(connections: Connections) -> type[BoundedProtocol]:
    """Return the protocol class of these connections, as uvicorn takes it."""
    return type("Protocol", (BoundedProtocol,), {"registry": connections})


def _answer(error: ImagegenError) -> bytes:
    status = status_of(error)
    body = json.dumps(error_body(error)).encode()
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-request-id: req_{secrets.token_hex(12)}",
        "connection: close",
    ]
    if error.retry_after_s is not None:
        head.append(f"retry-after: {error.retry_after_s}")
    return "\r\n".join([*head, "", ""]).encode() + body
