"""How an API process shuts down: it takes no new work, then it ends all waiting, then uvicorn closes.

On SIGTERM uvicorn itself closes its listening socket and waits. Then the kernel refuses new clients, and an SDK's two
retries (after 0.5 and 1 s) fail long before the next process listens. So this process keeps listening while it answers
the requests that it has, and answers new ones with 503 and a Retry-After. A load balancer is served as well: its probes
of /v2/health/ready get 503 at once, requests that it has already sent get an answer, and ``Connection: close`` ends its
kept connections. Only where the address outlives this process does it stop listening at once: with ``--reuse_port`` the
kernel would keep sending it new connections, and with ``--fd`` new connections stay in the socket's backlog until the
next process accepts them, which no client notices.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator

from config.http_settings import HttpSettings
from graphs.errors import ShuttingDown

# The OpenAI SDKs ignore a longer Retry-After.
_LONGEST_RETRY_S = 60
_CHECK_EVERY_S = 0.05
# For the answers to requests that still wait, which a hurried shutdown sends too.
_LAST_ANSWERS_S = 1.0


class ApiDrain:
    """The state of one API process's shutdown. All methods run on the event loop."""

    def __init__(self, http: HttpSettings) -> None:
        self._limit_s = http.shutdown_timeout_s
        self._restart_s = http.restart_s
        self._ends_at: float | None = None
        self._requests = 0
        self._followers = 0
        self._listeners: list[Callable[[], None]] = []
        self.is_over = False

    @property
    def is_on(self) -> bool:
        """Return whether this process shuts down."""
        return self._ends_at is not None

    def begin(self) -> None:
        """Take no new work."""
        self._ends_at = self._ends_at or time.monotonic() + self._limit_s

    def check_open(self) -> None:
        """Raise ShuttingDown if this process takes no new work."""
        if self._ends_at is not None:
            left_s = self._ends_at - time.monotonic() + self._restart_s if self._restart_s else 0.0
            raise self.refusal("The server is shutting down and takes no new work", left_s)

    def refusal(self, what: str, retry_after_s: float | None = None) -> ShuttingDown:
        """Return the error of a refused request; without ``retry_after_s``, its retry is for the next process."""
        wait_s = min(_LONGEST_RETRY_S, max(1, math.ceil(self._restart_s if retry_after_s is None else retry_after_s)))
        return ShuttingDown(f"{what}; ask again in {wait_s} s.", retry_after_s=wait_s)

    def on_end(self, act: Callable[[], None]) -> None:
        """Call ``act`` when all waiting ends."""
        self._listeners.append(act)

    @contextlib.contextmanager
    def not_waited_for(self) -> Iterator[None]:
        """Do not wait for the request in this block: its client can continue at another process."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count the request that is answered in this block."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def run(self, hurry: Callable[[], bool]) -> int:
        """Wait until all requests are answered or the limit is reached, then end all waiting.

        ``hurry`` returns whether to end at once. Returns how many requests still waited.
        """
        self.begin()
        assert self._ends_at is not None  # noqa: S101 - set by begin
        while self._requests > self._followers and time.monotonic() < self._ends_at and not hurry():
            await asyncio.sleep(_CHECK_EVERY_S)
        left = self._requests - self._followers
        self.is_over = True
        for act in self._listeners:
            act()
        give_up_at = time.monotonic() + _LAST_ANSWERS_S
        while self._requests and time.monotonic() < give_up_at:
            await asyncio.sleep(_CHECK_EVERY_S)
        return left
