"""Follows all jobs of an owner, for each client that asks for them.

What happened stands in Redis, in a stream of the owner (workers/jobs/redis/lua/follow.lua); a client that lags reads
it later. The one reader of this process only tells when there is something to read.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from api.waiting.waiter import REREAD_S, JobWaiter, either
from config.settings import RedisSettings
from graphs.errors import ServiceUnavailable
from workers.jobs.events import OwnerEvent, OwnerEvents, OwnerEventsFound

# Each event of an owner wakes each of its followers: many pages that follow many jobs would read all the time.
READS_APART_S = 0.1


@dataclass(frozen=True)
class Passage:
    """A part of an owner's stream: its beginning for this client, or events; nothing of both for a heartbeat.

    ``begins``: "start" at the present end of the stream, "gap" there too, because events before it are gone.
    ``position`` is the id of the last entry.
    """

    position: str
    begins: Literal["start", "gap"] | None = None
    events: tuple[OwnerEvent, ...] = ()


class OwnerFeed:
    """Lets coroutines follow all jobs of an owner."""

    def __init__(self, waiter: JobWaiter, redis_settings: RedisSettings) -> None:
        self._waiter = waiter
        self._events = OwnerEvents(redis_settings)

    async def follow(
        self, owner: str, after: str, heartbeat_s: float, timeout_s: float | None
    ) -> AsyncIterator[Passage]:
        """Yield the events of the owner's jobs after the entry with the id ``after``, '' for those from now on.

        Yields a heartbeat where nothing happened for ``heartbeat_s`` seconds, and ends after ``timeout_s`` seconds, if
        that is not None, with what has happened by then. Events that come within READS_APART_S arrive together. An
        absent Redis is waited for. Raises WaitingEnded.
        """
        ends_at = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        position = after
        async with self._waiter.changes_of(owner) as changed:
            last_sent = time.monotonic()
            while True:
                self._waiter.check_not_over()
                changed.clear()
                next_read_at = time.monotonic() + READS_APART_S
                found = await self._after(owner, position)
                passage = _passage(found, position)
                if passage is not None:
                    yield passage
                    position = passage.position
                    last_sent = time.monotonic()
                if found is not None and found.has_more:
                    continue
                now = time.monotonic()
                if now >= ends_at:
                    return
                if now - last_sent >= heartbeat_s:
                    yield Passage(position)
                    last_sent = now
                await either(changed, min(REREAD_S, heartbeat_s, ends_at - now))
                await asyncio.sleep(max(0.0, min(next_read_at, ends_at) - time.monotonic()))

    async def _after(self, owner: str, position: str) -> OwnerEventsFound | None:
        with contextlib.suppress(ServiceUnavailable):
            return await self._events.after(owner, position)
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._events.close()


def _passage(found: OwnerEventsFound | None, position: str) -> Passage | None:
    """Return what a client that has heard everything up to ``position`` hears now, None for nothing."""
    if found is None:
        return None
    if not position or found.has_gap:
        return Passage(found.last, "gap" if position else "start")
    return Passage(found.events[-1].entry_id, events=tuple(found.events)) if found.events else None
