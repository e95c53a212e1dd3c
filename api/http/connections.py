"""The open connections of this process, and how many there may be.

At the bound, the connection that has waited longest without a request is closed for a new one, or else the oldest one
whose body is still coming, so that neither silent nor slow clients can keep others out. What is refused is counted, and
logged at most once a minute.
"""

import asyncio
import logging
import resource
import sys
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from api.http.proxies import TrustedProxies, parsed_address
from config.http_settings import ConnectionSettings

log = logging.getLogger(__name__)

_SWEEP_EVERY_S = 0.5
_LOG_EVERY_S = 60.0
# Files of the process that are no connections of clients: those of Redis, of threads and of its libraries.
_OTHER_FILES = 128


class Connection(Protocol):
    """A connection of a client."""

    address: str

    def close_if_overdue(self, now: float) -> None:
        """Close the connection if the client has not done its part in time."""

    def is_sending(self) -> bool:
        """Return whether the body of the connection's request has not come completely."""

    def abort(self) -> None:
        """End the connection now, without what has not been sent yet."""


class Connections:
    """The open connections of this process. All methods run on the event loop."""

    def __init__(self, settings: ConnectionSettings, count: Callable[[str], object]) -> None:
        """``count`` counts what is refused, by its reason."""
        self.settings = settings
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self._max_open = min(settings.max_open, _open_at_most())
        self._count = count
        self._open: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        # Those without a request, oldest first.
        self._waiting: dict[Connection, None] = {}
        # Those with a request, oldest first.
        self._asked: dict[Connection, None] = {}
        self._refused: Counter[str] = Counter()
        self._logged_at = float("-inf")

    async def watch(self) -> None:
        """Close overdue connections, and log what was refused, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            for connection in list(self._open):
                connection.close_if_overdue(loop.time())
            if self._refused and loop.time() - self._logged_at >= _LOG_EVERY_S:
                self._logged_at = loop.time()
                log.warning(
                    "refused since the last such line: %s",
                    ", ".join(f"{reason} {n}" for reason, n in sorted(self._refused.items())),
                )
                self._refused.clear()

    def opened(self, connection: Connection) -> bool:
        """Note a new connection, and return whether it may stay."""
        address = connection.address
        if self._is_counted(address) and self._by_address[address] >= self.settings.max_open_per_address:
            return False
        if len(self._open) >= self._max_open:
            oldest = next(iter(self._waiting), None) or next(filter(_is_sending, self._asked), None)
            if oldest is None:
                return False
            self.refused("connection_displaced")
            oldest.abort()
            self.closed(oldest)
        self._open.add(connection)
        self._by_address[address] += 1
        self._waiting[connection] = None
        return True

    def closed(self, connection: Connection) -> None:
        """Note that a connection has ended; again: no effect."""
        self._waiting.pop(connection, None)
        self._asked.pop(connection, None)
        if connection in self._open:
            self._open.remove(connection)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def waits(self, connection: Connection) -> None:
        """Note that a connection has no request now."""
        self._asked.pop(connection, None)
        if connection in self._open:
            self._waiting[connection] = None

    def is_asked(self, connection: Connection) -> None:
        """Note that a connection has a request."""
        self._waiting.pop(connection, None)
        if connection in self._open:
            self._asked[connection] = None

    def refused(self, reason: str) -> None:
        """Count something that was refused, by its reason."""
        self._refused[reason] += 1
        self._count(reason)

    def _is_counted(self, address: str) -> bool:
        return address not in self.proxies and not any(parsed.is_loopback for parsed in parsed_address(address))


def _is_sending(connection: Connection) -> bool:
    return connection.is_sending()


def _open_at_most() -> int:
    """Return how many connections this process can have open beside its other files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, files - _OTHER_FILES) if files != resource.RLIM_INFINITY else sys.maxsize
