"""The open connections of this process, and how many there may be.

At the bound, one is closed for a new one: the oldest whose headers or body have not come completely, or else the one
that was answered longest ago. So neither silent nor slow clients keep others out, and clients that come back are kept.
What is refused is counted, and logged at most once a minute.
"""

import asyncio
import itertools
import logging
import resource
import sys
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from api.http.proxies import TrustedProxies, counted_as, parsed_address
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
        self.max_open = min(settings.max_open, _open_at_most())
        self._count = count
        self._open: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        # By what happened last, oldest first, with the number of that: they were opened, got a request, were answered.
        self._new: dict[Connection, int] = {}
        self._asked: dict[Connection, int] = {}
        self._kept: dict[Connection, int] = {}
        self._numbers = itertools.count()
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
        address = counted_as(connection.address)
        if self._is_counted(connection.address) and self._by_address[address] >= self.settings.max_open_per_address:
            return False
        if len(self._open) >= self.max_open:
            oldest = self._to_displace()
            if oldest is None:
                return False
            self.refused("connection_displaced")
            oldest.abort()
            self.closed(oldest)
        self._open.add(connection)
        self._by_address[address] += 1
        self._new[connection] = next(self._numbers)
        return True

    def closed(self, connection: Connection) -> None:
        """Note that a connection has ended; again: no effect."""
        self._forget(connection)
        if connection in self._open:
            self._open.remove(connection)
            address = counted_as(connection.address)
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def waits(self, connection: Connection) -> None:
        """Note that a connection's request was answered."""
        self._forget(connection)
        if connection in self._open:
            self._kept[connection] = next(self._numbers)

    def is_asked(self, connection: Connection) -> None:
        """Note that a connection has a request."""
        self._forget(connection)
        if connection in self._open:
            self._asked[connection] = next(self._numbers)

    def refused(self, reason: str) -> None:
        """Count something that was refused, by its reason."""
        self._refused[reason] += 1
        self._count(reason)

    def _to_displace(self) -> Connection | None:
        """Return the connection to close for a new one: one without a whole request, or else one that is kept."""
        silent = next(iter(self._new), None)
        sending = next((connection for connection in self._asked if connection.is_sending()), None)
        if silent is not None and sending is not None:
            return silent if self._new[silent] < self._asked[sending] else sending
        return silent or sending or next(iter(self._kept), None)

    def _forget(self, connection: Connection) -> None:
        for found in (self._new, self._asked, self._kept):
            found.pop(connection, None)

    def _is_counted(self, address: str) -> bool:
        return address not in self.proxies and not any(parsed.is_loopback for parsed in parsed_address(address))


def _open_at_most() -> int:
    """Return how many connections this process can have open beside its other files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, files - _OTHER_FILES) if files != resource.RLIM_INFINITY else sys.maxsize
