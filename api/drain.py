"""How an API process ends: no new work, then no more waiting, then uvicorn's own end.

On SIGTERM uvicorn by itself closes its listening socket and waits. Clients that come meanwhile are refused by the
kernel, and an SDK's two retries (after 0.5 and 1 s) are used up long before the next process listens. So this process
goes on listening while it answers those who wait, and tells everybody else by 503 when to come again. That serves a
balancer as well: its probes of /v2/health/ready see 503 at once, what it had sent already comes back with a reason, and
``Connection: close`` takes its kept connections away from here. Only where the address outlives this process does it
stop to listen at once: with ``--reuse_port`` the kernel would go on sending it new connections, and with ``--fd`` they
wait in the socket's queue until the next process takes them, which heals better than any retry.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.settings import HttpSettings
from graphs.errors import ShuttingDown

# What an SDK is sure to obey.
_LONGEST_RETRY_S = 60
_LOOK_EVERY_S = 0.05
# To tell those who still wait, which also a hurried end does.
_LAST_WORDS_S = 1.0


class Drain:
    """What the parts of one API process must know of its end. All of it happens on the event loop."""

    def __init__(self, http: HttpSettings) -> None:
        self._limit_s = http.shutdown_timeout_s
        self._restart_s = http.restart_s
        self._ends_at: float | None = None
        self._requests = self._followers = 0
        self._listeners: list[Callable[[], None]] = []
        self.is_over = False

    @property
    def is_on(self) -> bool:
        """Tell whether this process ends."""
        return self._ends_at is not None

    def begin(self) -> None:
        """Take no new work."""
        self._ends_at = self._ends_at or time.monotonic() + self._limit_s

    def check_open(self) -> None:
        """Raise ShuttingDown where new work would have to be refused."""
        if self._ends_at is not None:
            left_s = self._ends_at - time.monotonic() + self._restart_s if self._restart_s else 0.0
            raise self.refusal("The server is shutting down and takes no new work", left_s)

    def refusal(self, what: str, retry_after_s: float | None = None) -> ShuttingDown:
        """Return the error that says so; by default the retry is for the next process."""
        wait_s = min(_LONGEST_RETRY_S, max(1, math.ceil(self._restart_s if retry_after_s is None else retry_after_s)))
        return ShuttingDown(f"{what}; ask again in {wait_s} s.", retry_after_s=wait_s)

    def on_end(self, act: Callable[[], None]) -> None:
        """Have something done when nobody may wait any longer."""
        self._listeners.append(act)

    @contextlib.contextmanager
    def not_waited_for(self) -> Iterator[None]:
        """A request that can go on elsewhere does not hold up the end."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request that is being answered."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def run(self, hurry: Callable[[], bool]) -> int:
        """Wait until all are answered, at most until the limit, then end all waiting. Returns how many still waited."""
        self.begin()
        assert self._ends_at is not None  # noqa: S101 - set by begin
        while self._requests > self._followers and time.monotonic() < self._ends_at and not hurry():
            await asyncio.sleep(_LOOK_EVERY_S)
        left = self._requests - self._followers
        self.is_over = True
        for act in self._listeners:
            act()
        give_up_at = time.monotonic() + _LAST_WORDS_S
        while self._requests and time.monotonic() < give_up_at:
            await asyncio.sleep(_LOOK_EVERY_S)
        return left


class Leaving:
    """Counts the requests and, once the process ends, takes the kept connections away from it. Plain ASGI."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app, self._drain = app, drain

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
